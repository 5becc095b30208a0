"""Which Kubernetes the sandbox builds: ``SANDBOX_KUBERNETES`` names a minor, such as 1.34; without it the newest."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sandbox.errors import SandboxError

VARIABLE: Final = "SANDBOX_KUBERNETES"
#: The patch of each minor, the newest first. `python -m sandbox.modules` pins what it is built from.
SUPPORTED: Final[Mapping[str, str]] = MappingProxyType(
    {"1.37": "1.37.2", "1.36": "1.36.2", "1.35": "1.35.1", "1.34": "1.34.3"}
)
NEWEST: Final = next(iter(SUPPORTED))


def chosen(environment: Mapping[str, str] = os.environ) -> str:
    """The version that ``environment`` asks for. Raises :class:`SandboxError` for one that is not supported."""
    asked = environment.get(VARIABLE) or NEWEST
    minor = asked.removeprefix("v")
    if minor in SUPPORTED:
        return SUPPORTED[minor]
    if minor in SUPPORTED.values():
        return minor
    raise SandboxError(f"{VARIABLE}={asked}: the sandbox builds {', '.join(SUPPORTED)}; unset, it is {NEWEST}")


def check(running: Callable[[], str], what: str, advice: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raise :class:`SandboxError` if ``environment`` asks for a minor, and ``what`` is of another one."""
    if not environment.get(VARIABLE):
        return
    asked, is_there = chosen(environment), running()
    if _minor(asked) != _minor(is_there):
        raise SandboxError(f"{what} is Kubernetes {is_there}, and {VARIABLE} asks for {_minor(asked)}: {advice}")


def module(version: str) -> str:
    """The folder, in this one, of the Go module that pins a version or minor of Kubernetes."""
    return "controlplane" if _minor(version) == NEWEST else f"controlplane/{_minor(version)}"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
