"""Programs of others that judge NetworkPolicies: a second opinion for the tests. Built once into the cache.

Two are in Go, each with a module here that pins it. One is in Python, in a virtual environment of its own with what
nca.txt pins: its dependencies are none of ours.
"""

import hashlib
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from sandbox import build, process, progress, toolchain
from sandbox.build import Program
from sandbox.errors import SandboxError

Name: TypeAlias = Literal["nca", "netpolicy", "cyclonus"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)

_HERE: Final = Path(__file__).resolve().parent
_REQUIREMENTS: Final = _HERE / "nca.txt"
_PACKAGES: Final = {
    "netpolicy": "github.com/np-guard/netpol-analyzer/cmd/netpolicy",
    "cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus",
}


def ensure(name: Name) -> Path:
    """The program's path; makes it if it is not there. Raises :class:`SandboxError` when that cannot be done."""
    cache = build.cache_folder()
    folder = cache / "oracles" / key(name)
    path = folder / ("bin/nca" if name == "nca" else name)
    ready = folder / ".ready"
    if ready.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with process.locked(cache / "oracles" / f".{folder.name}.lock", lambda: progress.shown(f"waiting for {name}")):
        if not ready.exists():
            if name == "nca":
                _install(folder)
            else:
                program = Program(name, _PACKAGES[name], module=f"oracles/{name}", flags="-s -w")
                with build.drafted(path) as draft:
                    build.compiled(program, draft, toolchain.find(cache))
            ready.touch()
    return path


def key(name: Name) -> str:
    """A hash of what the program is made from. Any Go will do; a virtual environment belongs to one Python."""
    python = f"{sys.base_prefix}|{sys.version}" if name == "nca" else ""
    digest = hashlib.sha256(f"{platform.system()}-{platform.machine()}|{python}".encode())
    for file in _pins(name):
        digest.update(file.read_bytes())
    return f"{name}-{digest.hexdigest()[:12]}"


def _pins(name: Name) -> Iterator[Path]:
    if name == "nca":
        yield _REQUIREMENTS
    else:
        yield from (_HERE / name / file for file in ("go.mod", "go.sum"))


def _install(folder: Path) -> None:
    """A virtual environment, which cannot be moved: what was broken off is begun anew."""
    shutil.rmtree(folder)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    for what, command in (
        ("making a virtual environment for nca", [sys.executable, "-m", "venv", str(folder)]),
        ("installing nca", [*pip, "--requirement", str(_REQUIREMENTS)]),
    ):
        result = progress.run(what, command, _HERE, toolchain.environment())
        if result.code != 0:
            raise SandboxError(f"nca could not be installed from PyPI:\n{result.output}")
