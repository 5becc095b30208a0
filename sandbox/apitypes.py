"""The fields of the kinds that checks look at, as the API server decodes them, from the Go types of k8s.io/api.

`python -m sandbox.apitypes` writes `operator/securetenant/checks/types.json`, from the module that the sandbox's
newest API server is built from; tests/checks compares. Needed anew only when `versions.NEWEST` or its patch changes.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

from sandbox import build, toolchain, versions

FILE: Final = Path(__file__).resolve().parent.parent / "operator" / "securetenant" / "checks" / "types.json"
ROOTS: Final = (
    *("Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"),
    *("Service", "Endpoints", "EndpointSlice", "Ingress", "PersistentVolumeClaim", "PodDisruptionBudget"),
    *("Binding", "NetworkPolicy"),
)
#: What the server writes itself, whatever a manifest says.
_NOT_READ: Final = ("status", "managedFields")
_SOURCES: Final = (
    *(
        ("k8s.io/api", f"{group}/v1/types.go")
        for group in ("discovery", "networking", "core", "apps", "batch", "policy")
    ),
    ("k8s.io/apimachinery", "pkg/apis/meta/v1/types.go"),
)
_STRUCT: Final = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"^type (\w+) ([\[\]\w.]+)(?: //.*)?$", re.MULTILINE)
_FIELD: Final = re.compile(r'^\t(?:(\w+) +)?([\w.*\[\]]+) +`json:"([^"]*)"', re.MULTILINE)
#: Types with a decoder of their own, and Go's, by what they are here.
_PLAIN: Final = {
    **{name: name for name in ("string", "bool", "int32", "int64")},
    "metav1.Time": "time",
    "Time": "time",
    "resource.Quantity": "quantity",
    "intstr.IntOrString": "int-or-string",
    "types.UID": "string",
}
_PLAIN_NAMES: Final = frozenset(_PLAIN.values())


def module(name: str) -> Path:
    """The folder of a module that the newest control plane is built from, in Go's module cache. Nothing is fetched.

    FileNotFoundError if it is not there: nothing was built here yet, or the cache was cleaned since.
    """
    go = toolchain.present(build.cache_folder())
    if go is None:
        raise FileNotFoundError(f"no Go to find {name} with: run `python -m sandbox build`")
    folder = Path(__file__).resolve().parent / versions.module(versions.NEWEST)
    command = [str(go.command), "list", "-m", "-f", "{{.Dir}}", name]
    offline = toolchain.environment() | {"GOPROXY": "off"}
    shown = subprocess.run(command, cwd=folder, env=offline, capture_output=True, text=True, check=False)
    if shown.returncode != 0 or not shown.stdout.strip():
        raise FileNotFoundError(
            f"Go's module cache has no {name}: run `python -m sandbox build` {shown.stderr.strip()}"
        )
    return Path(shown.stdout.strip())


def text() -> str:
    """The file's content: a line for each type, {"field": "type"}. A type is "string", "bool", "int32", "int64",
    "time", "quantity", "int-or-string", "any" or the name of another; "*T": may be absent; "[]T"; "{}T": a map. "T!":
    written even if it is empty."""
    sources = "".join((module(name) / path).read_text() for name, path in _SOURCES)
    structs = {found[1]: found[2] for found in _STRUCT.finditer(sources)}
    named = {found[1]: found[2] for found in _NAMED.finditer(sources)}
    made: dict[str, dict[str, str]] = {}
    left = list(ROOTS)
    while left:
        name = left.pop(0)
        if name not in made:
            made[name] = {key: _known(kind, structs) for key, kind in _fields(name, structs, named).items()}
            left += [kind for text in made[name].values() if (kind := text.strip("*[]{}!")) in structs]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in made.items())
    return f"{{\n{lines}\n}}\n"


def _fields(name: str, structs: dict[str, str], named: dict[str, str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for found in _FIELD.finditer(structs[name]):
        _, kind, tag = found.groups()
        key, *options = tag.split(",")
        if "inline" in options or not key:
            embedded = kind.rpartition(".")[2]
            if embedded != "TypeMeta":
                fields |= _fields(embedded, structs, named)
            else:
                fields |= {"kind": "string", "apiVersion": "string"}
        elif key not in _NOT_READ:
            written = _type(kind, named)
            # omitempty leaves no struct out.
            omitted = {"omitzero"} if written in structs else {"omitempty", "omitzero"}
            fields[key] = written + ("" if omitted & set(options) else "!")
    return fields


def _known(kind: str, structs: dict[str, str]) -> str:
    """The type itself; of one that is of another API group, only what it is a list or a map of."""
    name = kind.strip("*[]{}!")
    return kind if name in structs or name in _PLAIN_NAMES else kind.replace(name, "any")


def _type(kind: str, named: dict[str, str]) -> str:
    if kind in _PLAIN:
        return _PLAIN[kind]
    for start, mark in (("*", "*"), ("[]", "[]")):
        if kind.startswith(start):
            return mark + _type(kind.removeprefix(start), named)
    if found := re.fullmatch(r"map\[[\w.]+\](.+)", kind):
        return "{}" + _type(found[1], named)
    kind = kind.rpartition(".")[2]
    return _type(named[kind], named) if kind in named else kind


if __name__ == "__main__":
    FILE.write_text(text())
