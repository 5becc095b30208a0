"""Network namespaces that only this process holds: when it ends, however it ends, they are gone, with all in them.

A socket stays in the namespace that it was made in, so the event loop of the test serves the sockets of all of them.
(network_namespaces(7), setns(2))
"""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from tests.support.packets import nfqueue

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A new network namespace, with nothing but its loopback up. Raises OSError without CAP_SYS_ADMIN."""

    def __init__(self) -> None:
        self._descriptor = in_thread(_made)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """By which another process finds it, while this one holds it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def inside(self, function: Callable[[], T]) -> T:
        """Call `function` in it, in a thread of its own."""

        def entered() -> T:
            _checked(_LIBC.setns(self._descriptor, _CLONE_NEWNET), "setns")
            return function()

        return in_thread(entered)

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs in it."""
        return ["nsenter", f"--net={self.path}", "--", *arguments]

    def run(self, *arguments: str, text: str = "") -> str:
        """Run a command in it and return its output; AssertionError with what it said if it fails."""
        done = subprocess.run(self.command(*arguments), input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr.strip()}\n{text}"
        return done.stdout

    def links(self, *lines: str) -> None:
        """Commands of `ip`, in one go."""
        self.run("ip", "-batch", "-", text="\n".join((*lines, "")))

    def set(self, setting: str, value: str) -> None:
        """Set a sysctl of the namespace, such as net/ipv4/ip_forward."""
        self.inside(lambda: Path("/proc/sys", setting).write_text(value))

    def socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A new one in it, that does not block."""
        made = self.inside(lambda: socket.socket(family, kind))
        made.setblocking(False)
        return made

    def queue_new(self, number: int) -> None:
        """Hand the first packet of every connection that it forwards to the queue with that number."""
        self.inside(lambda: nfqueue.forwarded(number))

    def close(self) -> None:
        """Let go of it. It is gone once its sockets are closed and its processes have ended."""
        os.close(self._descriptor)


def in_thread(function: Callable[[], T]) -> T:
    """Call it in a new thread, which alone may go into another namespace; what it raises is raised here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _made() -> int:
    _checked(_LIBC.unshare(_CLONE_NEWNET), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
