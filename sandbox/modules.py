"""Pin what a minor of Kubernetes is built from: `python -m sandbox.modules 1.34.3` writes its go.mod and go.sum.

The versions are those that Kubernetes itself requires; the Go client records the sum of each. Needed for another patch
of a minor, or for another minor; then change :data:`sandbox.versions.SUPPORTED`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from sandbox import build, toolchain, versions
from sandbox.errors import SandboxError

_STAGING: Final = re.compile(r"^\t(k8s\.io/[\w-]+) => \./staging/src/", re.MULTILINE)
_LANGUAGE: Final = re.compile(r"^(?:go|godebug) .+$", re.MULTILINE)
_HEAD: Final = """\
// The programs of a real Kubernetes control plane, built from their own modules
// for the sandbox. No Go code is written here and nothing of it ships.
module securetenant.dev/sandbox/controlplane
"""


def pin(version: str) -> Path:
    """Write the module of ``version``, such as 1.34.3, and return its folder. Raises :class:`SandboxError`."""
    if not re.fullmatch(r"1\.\d+\.\d+", version):
        raise SandboxError(f"{version!r} is no version of Kubernetes such as 1.34.3")
    folder = Path(__file__).resolve().parent / versions.module(version)
    folder.mkdir(parents=True, exist_ok=True)
    go = toolchain.find(build.cache_folder())
    (folder / "go.sum").unlink(missing_ok=True)
    (folder / "go.mod").write_text(f"{_HEAD}\ngo 1.24.0\n")
    found = json.loads(_go(go, folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"))
    upstream = Path(found["GoMod"]).read_text()
    (folder / "go.mod").write_text(text(version, upstream))
    _go(go, folder, "mod", "tidy")
    return folder


def text(version: str, upstream: str) -> str:
    """go.mod before `go mod tidy`, from the go.mod of Kubernetes itself: there the staging modules are folders beside
    it, here the modules published with the same version."""
    published = f"v0.{version.removeprefix('1.')}"
    lines = [_HEAD, *(f"{line}\n" for line in _LANGUAGE.findall(upstream)), "tool ("]
    lines += sorted(f"\t{package}" for package in build.KUBERNETES.values())
    lines += [")\n", f"require k8s.io/kubernetes v{version}\n", "replace ("]
    lines += [f"\t{name} => {name} {published}" for name in sorted(_STAGING.findall(upstream))]
    return "\n".join([*lines, ")", ""])


def _go(go: toolchain.Go, folder: Path, *arguments: str) -> str:
    environment = toolchain.environment() | {"GOFLAGS": "-mod=mod"}
    command = [str(go.command), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(build.explain(" ".join(arguments), done.stdout + done.stderr, folder))
    return done.stdout


if __name__ == "__main__":
    print(pin(sys.argv[1]))
