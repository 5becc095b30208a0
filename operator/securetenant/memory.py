"""Memory settings of the process: 97 MB at 1,000 tenants; with Python's and glibc's defaults it is 20 MB more."""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from typing import Final

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def leave_out(module: str) -> None:
    """Make the import of an optional module fail. structlog loads rich for tracebacks, which we print plainly: that is
    2.9 of the 71 MB that the operator uses before it starts to work (Python 3.11 and 3.13)."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]


@contextlib.contextmanager
def left_out(module: str) -> Iterator[None]:
    """The same for what is imported meanwhile, unless the module is there already. kopf loads `kubernetes` to recognise
    its objects, which it never gets from us: that is 20 MB and 0.2 s, where nothing else needs it (kube/plain.py)."""
    if module in sys.modules:
        yield
        return
    leave_out(module)
    try:
        yield
    finally:
        sys.modules.pop(module, None)


def prepare() -> None:
    """Call this before anything is built.

    The garbage collector runs rarely: the start builds many small objects without reference cycles, and traversing them
    would cost a quarter of the start. Large buffers (pages of a list) stay out of the heap, where each would leave a
    hole: glibc maps buffers over 128 KiB separately, but raises that limit when the first of them is freed, unless the
    limit is set. And all threads share one heap (arena), since they never run at once.
    """
    gc.set_threshold(50_000, 20, 100)
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, 128 * 1024)
        mallopt(_M_ARENA_MAX, 1)


def freeze() -> None:
    """Call this after the start: frees its garbage, and excludes what it built from later garbage collections, since
    that lives on. From then on the collector runs often, over few objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 100)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
