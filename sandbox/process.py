"""What the operating system must be asked about processes: who still runs, and who dies with whom."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: after one, in the child, nothing may be imported.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(sig: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A ``preexec_fn`` that has the kernel send the child ``sig`` as soon as the forking *thread* is gone (Linux).

    It is the thread that counts, not the process: use it where the forking thread lives as long as the child. On
    other systems it does nothing.
    """
    parent = os.getpid()

    def in_child() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
        if os.getppid() != parent:  # died between fork and prctl: the signal will never come
            os._exit(1)

    return in_child


def started(pid: int) -> str | None:
    """When the process ``pid`` began, in the system's own words, or None if there is none (a zombie is none).

    A pid is used again; a pid together with its start is not.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the name in brackets may hold blanks and brackets
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = shown.stdout.strip().partition(" ")
    return None if not since or state.startswith("Z") else since.strip()


def alive(pid: int, since: str) -> bool:
    """Whether the process that began as ``(pid, since)`` still runs."""
    return started(pid) == since


@contextmanager
def locked(path: Path, waiting: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Hold the lock file ``path`` for the block; while another process has it, wait inside ``waiting()``."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting():
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> IO[str] | None:
    """Take the lock file ``path`` for as long as the returned file is open, or None if another process has it.

    The system frees it when its holder dies, however it dies.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
