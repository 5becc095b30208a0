"""A keyed work queue: equal keys merge, one key is never worked on twice at once, failures back off per key.

The semantics are client-go's workqueue; Python has no library that offers them for asyncio. Timers (expiries,
back-off, resync) are entries of one heap, so that ten thousand of them cost one sleeping task.
"""

import asyncio
import contextlib
import heapq
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from securetenant.model.kinds import Kind

# Failures in a row after which the back-off grows beyond `soon_delay`.
MANY = 20
# The heap is rebuilt once it holds more than twice the live timers plus this many.
_SLACK = 64


class Key(NamedTuple):
    """An object of a custom resource of ours."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """A key to work on. `since`: when the first event for it arrived (clock seconds)."""

    key: Key
    since: float


class WorkQueue:
    """Single event loop; not thread-safe."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        base_delay: float = 0.05,
        soon_delay: float = 8.0,
        max_delay: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._base_delay = base_delay
        self._soon_delay = soon_delay
        self._max_delay = max_delay
        self._jitter = jitter
        self._ready: OrderedDict[Key, float] = OrderedDict()
        self._again: dict[Key, float] = {}
        self._active: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()
        self._rearm = asyncio.Event()

    @property
    def depth(self) -> int:
        """The number of waiting keys, those re-added while they are being worked on included."""
        return len(self._ready) + len(self._again)

    @property
    def active(self) -> int:
        return len(self._active)

    def oldest(self) -> float:
        """How long the oldest waiting key has waited (seconds); 0 if none waits."""
        waiting = [*self._ready.values(), *self._again.values()]
        return max(0.0, self._clock() - min(waiting)) if waiting else 0.0

    def add(self, key: Key, since: float | None = None) -> None:
        """Queue `key`. Merges with an equal key that waits (the earlier `since` is kept)."""
        arrived = self._clock() if since is None else since
        if key in self._active:
            self._again.setdefault(key, arrived)
        elif key not in self._ready:
            self._ready[key] = arrived
            self._wake.set()

    def add_after(self, key: Key, delay: float) -> None:
        """Queue `key` in `delay` seconds, unless it has an earlier timer already."""
        due = self._clock() + max(0.0, delay)
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, key))
        if len(self._timers) > 2 * len(self._due) + _SLACK:
            # Superseded entries otherwise leave the heap only when they reach its top.
            self._timers = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._timers)
        self._rearm.set()

    async def get(self) -> Item:
        """Wait for the next key; it is active until `done`."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key, since = self._ready.popitem(last=False)
        self._active.add(key)
        return Item(key, since)

    def done(self, key: Key) -> None:
        """Work on the key has ended; if it was added meanwhile, it is queued again."""
        self._active.discard(key)
        since = self._again.pop(key, None)
        if since is not None:
            self.add(key, since)

    def failures(self, key: Key) -> int:
        """The key's failures in a row."""
        return self._failures.get(key, 0)

    def succeeded(self, key: Key) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)

    def failed(self, key: Key) -> float:
        """Queue the key again after its back-off, which doubles with each failure in a row; the delay in seconds.

        For the first minute or two the delay is at most `soon_delay` (and up to half more, by jitter), so that the end
        of a short trouble, such as an overloaded API server, is noticed soon. After that it grows to `max_delay`.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = self._soon_delay if count < MANY else self._max_delay
        delay = min(longest, math.ldexp(self._base_delay, min(count, 30))) * (0.5 + self._jitter())
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Drop the timers and failures of a deleted object."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    async def run_timers(self) -> None:
        """Queue keys when their timers are due; runs until cancelled."""
        while True:
            self._rearm.clear()
            delay = self.release_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._rearm.wait()

    def release_due(self) -> float | None:
        """Queue what is due now; returns the seconds until the next timer, or None."""
        while self._timers:
            due, key = self._timers[0]
            if self._due.get(key) != due:
                heapq.heappop(self._timers)  # superseded by an earlier one, or forgotten
                continue
            wait = due - self._clock()
            if wait > 0:
                return wait
            heapq.heappop(self._timers)
            del self._due[key]
            self.add(key)
        return None
