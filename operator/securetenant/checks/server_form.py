"""A manifest in the form in which the API server judges it: decoded into its types, and defaulted.

What is null, empty or not a field is absent there, and a container without imagePullPolicy has one. Checks on the
manifest as it is written would take `hostPort: null` for a port and `key: null` for the key of a toleration.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

from securetenant.checks.variables import PODS, WORKLOADS, Target

_POD: Final = ("spec",)
_TEMPLATE: Final = ("spec", "template", "spec")
# Where the spec of the pod is, by apiVersion and kind.
_KINDS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("v1", "Pod"): _POD,
    ("v1", "ReplicationController"): _TEMPLATE,
    **{("apps/v1", kind): _TEMPLATE for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    ("batch/v1", "Job"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}

# github.com/distribution/reference with the registry written out; the tag and the digest are groups.
_LABEL: Final = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART: Final = "[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"({_LABEL}(\.{_LABEL})*|\[[a-fA-F0-9:]+\])(:[0-9]+)?/(?P<path>{_PART}(/{_PART})*)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha(256:[a-f0-9]{64}|384:[a-f0-9]{96}|512:[a-f0-9]{128})))?",
    re.ASCII,
)
_IDENTIFIER: Final = re.compile("[a-f0-9]{64}")


class Malformed(ValueError):
    """What the API server refuses before any policy sees it.

    `path`: the field, as "spec.containers[0].image"; `message`: what is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}" if path else message)
        self.path = path
        self.message = message


def target_of(body: Mapping[str, Any]) -> Target | None:
    """What the object is judged as; None if it makes no pods."""
    place = _KINDS.get(_kind(body))
    return None if place is None else PODS if place is _POD else WORKLOADS


def judged(body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The object as policies see it on its creation at `now`. Raises `Malformed`.

    Its status and its managed fields are left out. What admission plugins add (the volume with the token of the
    ServiceAccount, the priority class that is the default, tolerations) is not there.
    """
    place = _KINDS.get(_kind(body))
    if place is None:
        raise Malformed("kind", "is none that makes pods")
    try:
        made: dict[str, Any] = _reader(_kind(body)[1])(body)
    except Malformed as error:
        raise Malformed(error.path.removeprefix("."), error.message) from None
    made["metadata"]["creationTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = made
    for index, field in enumerate(place):
        if field not in spec:
            raise Malformed(".".join(place[: index + 1]), "is required")
        spec = spec[field]
    _required(spec, ".".join(place))
    _defaulted(spec, is_pod=place is _POD)
    return made


def _kind(body: Mapping[str, Any]) -> tuple[str, str]:
    version, kind = body.get("apiVersion"), body.get("kind")
    return (version, kind) if isinstance(version, str) and isinstance(kind, str) else ("", "")


def _required(spec: Mapping[str, Any], path: str) -> None:
    """What each check rests on."""
    if not spec["containers"]:
        raise Malformed(f"{path}.containers", "is required")
    for key, container in _containers(spec):
        for field in ("name", "image"):
            if not container.get(field):
                raise Malformed(f"{path}.{key}.{field}", "is required")
    for index, volume in enumerate(spec.get("volumes", ())):
        if not volume["name"]:
            raise Malformed(f"{path}.volumes[{index}].name", "is required")


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind, ())):
            yield f"{kind}[{index}]", container


def _defaulted(spec: dict[str, Any], *, is_pod: bool) -> None:
    """The defaults that checks see (pkg/apis/core/v1/defaults.go)."""
    spec.setdefault("securityContext", {})
    for kind, container in _containers(spec):
        container.setdefault("imagePullPolicy", _pull_policy(container["image"]))
        if is_pod and spec.get("hostNetwork") and not kind.startswith("ephemeral"):
            for port in container.get("ports", ()):
                port.setdefault("hostPort", port["containerPort"])
    for volume in spec.get("volumes", ()):
        if len(volume) == 1:
            volume["emptyDir"] = {}
        if "image" in volume:
            volume["image"].setdefault("pullPolicy", _pull_policy(volume["image"].get("reference", "")))


def _pull_policy(image: str) -> str:
    """ "Always" for the tag "latest", written or not; what cannot be parsed has no tag."""
    found = _REFERENCE.fullmatch(_with_registry(image))
    if not found or _IDENTIFIER.fullmatch(image) or len(found["path"]) > 255:
        return "IfNotPresent"
    return "Always" if found["tag"] == "latest" or not (found["tag"] or found["digest"]) else "IfNotPresent"


def _with_registry(image: str) -> str:
    """nginx is docker.io/library/nginx."""
    first, slash, rest = image.partition("/")
    if not slash or not (first == "localhost" or first.lower() != first or "." in first or ":" in first):
        first, rest = "docker.io", image
    if first in ("docker.io", "index.docker.io") and "/" not in rest:
        rest = f"library/{rest}"
    return f"{first}/{rest}"


# --- decoding

_Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is read. `zero`: what null is; `keeps_empty`: whether it is written if it is empty."""

    read: _Read
    zero: Any
    keeps_empty: bool


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", type(None): "null"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _scalar(what: str, *types: type, bits: int = 0) -> _Read:
    bound = 1 << (bits - 1) if bits else 0

    def read(value: Any) -> Any:
        if type(value) not in types:
            raise Malformed("", f"must be {what}, not {_type_name(value)}")
        if bits and not -bound <= value < bound:
            raise Malformed("", f"must be {what} of {bits} bits")
        if type(value) is str and "\0" in value:
            # cel-expr-python would end the text there and judge only what stands before it.
            raise Malformed("", "must not contain the character NUL")
        return value

    return read


_SCALARS: Final[Mapping[str, tuple[_Read, Any]]] = {
    "string": (_scalar("a string", str), ""),
    "bool": (_scalar("true or false", bool), False),
    "int32": (_scalar("an integer", int, bits=32), 0),
    "int64": (_scalar("an integer", int, bits=64), 0),
    "time": (_scalar("a time", str), None),
    "quantity": (_scalar("a quantity", str, int, float), "0"),
    "int-or-string": (_scalar("an integer or a string", str, int), 0),
    "any": (lambda value: value, None),
}
_TYPES: Final[Mapping[str, Mapping[str, str]]] = json.loads(
    resources.files("securetenant.checks").joinpath("pod_types.json").read_text()
)
_READERS: Final[dict[str, _Read]] = {}


def _reader(kind: str) -> _Read:
    """The function that decodes a type of `pod_types.json`; kept."""
    if kind not in _READERS:
        _READERS[kind] = _made(kind)
    return _READERS[kind]


def _made(kind: str) -> _Read:
    if kind.startswith("[]"):
        return _list(kind.removeprefix("[]"))
    if kind.startswith("{}"):
        return _map(kind.removeprefix("{}"))
    if kind.startswith("*"):
        return _reader(kind.removeprefix("*"))
    return _SCALARS[kind][0] if kind in _SCALARS else _struct(kind)


def _zero(kind: str) -> Any:
    """What Go has where nothing is given."""
    if kind.startswith(("*", "[]", "{}")):
        return None
    return _SCALARS[kind][1] if kind in _SCALARS else {}


def _list(of: str) -> _Read:
    read, zero = _reader(of), _zero(of)

    def read_list(value: Any) -> Any:
        if not isinstance(value, list):
            raise Malformed("", f"must be a list, not {_type_name(value)}")
        made = []
        for index, item in enumerate(value):
            try:
                made.append(read(zero if item is None else item))
            except Malformed as error:
                raise _below(f"[{index}]", error) from None
        return made

    return read_list


def _map(of: str) -> _Read:
    read, zero = _reader(of), _zero(of)

    def read_map(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Malformed("", f"must be an object, not {_type_name(value)}")
        made = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Malformed(f"[{key}]", "has a key that is no string: quote it")
            try:
                made[key] = read(zero if item is None else item)
            except Malformed as error:
                raise _below(f"[{key}]", error) from None
        return made

    return read_map


def _struct(name: str) -> _Read:
    fields: dict[str, _Field] = {}
    always: dict[str, Any] = {}
    structs: list[tuple[str, _Read]] = []

    def read_struct(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Malformed("", f"must be an object, not {_type_name(value)}")
        made = dict(always)
        for key, given in value.items():
            field = fields.get(key)
            if field is None:
                continue
            try:
                decoded = field.zero if given is None else field.read(given)
            except Malformed as error:
                raise _below(f".{key}", error) from None
            if decoded or (field.keeps_empty and decoded is not None):
                made[key] = decoded
        for key, read in structs:
            if not made[key]:
                made[key] = read({})
        return made

    _READERS[name] = read_struct  # a type may hold itself
    for key, written in _TYPES[name].items():
        kind = written.removesuffix("!")
        fields[key] = _Field(_reader(kind), _zero(kind), kind.startswith("*") or kind != written)
        if kind != written:
            always[key] = _zero(kind)
            if kind in _TYPES:
                structs.append((key, _reader(kind)))
    return read_struct


def _below(step: str, error: Malformed) -> Malformed:
    return Malformed(step + error.path, error.message)
