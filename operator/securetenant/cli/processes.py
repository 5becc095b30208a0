"""Work that is spread over the processors: by forked processes, so that nothing is copied to them."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_shares: list[Sequence[Any]] = []
_work: list[Callable[[Sequence[Any]], Any]] = []


def spread(work: Callable[[Sequence[Item]], Made], items: Sequence[Item], least: int) -> list[Made]:
    """What `work` makes of shares of the items, in order: a share for each processor, of at least `least` items. What
    it makes must be picklable."""
    number = min(_processors(), len(items) // least)
    if number < 2:
        return [work(items)]
    size = -(-len(items) // number)
    shares = [items[start : start + size] for start in range(0, len(items), size)]
    fork = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(len(shares), fork, initializer=_remember, initargs=(work, shares)) as pool:
            return list(pool.map(_run, range(len(shares))))
    except (OSError, NotImplementedError, BrokenProcessPool):
        # No semaphores (/dev/shm cannot be written), no more processes, or one was killed, as for its memory.
        return [work(items)]


def _processors() -> int:
    """Those that this process may use; 1 where a forked process is not safe."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _remember(work: Callable[[Sequence[Any]], Any], shares: Sequence[Sequence[Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # this is the parent's to answer
    _work[:] = [work]
    _shares[:] = shares


def _run(index: int) -> Any:
    return _work[0](_shares[index])
