"""Pin what a minor of Kubernetes is built from: `python -m sandbox.modules 1.34.3` writes its go.mod and go.sum.

The versions are those that Kubernetes itself requires; the Go client records the sum of each. Needed for another patch
of a minor, or for another minor; then change :data:`sandbox.versions.SUPPORTED`.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
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
    """Write the module of ``version``, such as 1.34.3, and return its folder. Raises :class:`SandboxError`, and what
    was there then stays."""
    if not re.fullmatch(r"1\.\d+\.\d+", version):
        raise SandboxError(f"{version!r} is no version of Kubernetes such as 1.34.3")
    folder = Path(__file__).resolve().parent / versions.module(version)
    go = toolchain.find(build.cache_folder())
    with tempfile.TemporaryDirectory() as name:
        draft = Path(name)
        (draft / "go.mod").write_text(_HEAD)
        found = json.loads(_go(go, draft, "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"))
        (draft / "go.mod").write_text(text(version, Path(found["GoMod"]).read_text()))
        _go(go, draft, "mod", "tidy")
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("go.mod", "go.sum"):
            shutil.copyfile(draft / file, folder / file)
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
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise SandboxError(f"go {' '.join(arguments)} failed:\n{said}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(pin("".join(sys.argv[1:])))
    except SandboxError as error:
        sys.exit(f"sandbox: {error}")
