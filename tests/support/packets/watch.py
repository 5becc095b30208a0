"""Connections that are tried all the time while something changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.support.packets import calls
from tests.support.packets.calls import Attempt
from tests.support.sandbox import wait_for

_EVERY: Final = 0.05  # seconds


class Tried(NamedTuple):
    """The first packet was judged between the two times (of time.monotonic)."""

    attempt: Attempt
    began: float
    ended: float
    connected: bool


@dataclass
class Watch:
    """What was tried so far, in the order of ending."""

    tried: list[Tried] = field(default_factory=list)

    def of(self, *attempts: Attempt) -> list[Tried]:
        return [one for one in self.tried if one.attempt in attempts]

    def connected(self, *attempts: Attempt, since: float = 0.0) -> list[Tried]:
        """Those that connected, of what began after that time."""
        return [one for one in self.of(*attempts) if one.connected and one.began > since]

    async def opens(self, attempt: Attempt) -> float:
        """Wait until it connects from now on; when it had first done so."""
        begin = time.monotonic()
        await wait_for(lambda: self.connected(attempt, since=begin), 20, f"{attempt} to connect")
        return min(one.ended for one in self.connected(attempt, since=begin))

    async def closes(self, attempt: Attempt) -> float:
        """Wait until it is not answered any more; when it had last been."""
        begin = time.monotonic()

        def is_closed() -> bool:
            return any(not one.connected and one.began > begin for one in self.of(attempt))

        await wait_for(is_closed, 20, f"{attempt} to be blocked")
        return max((one.began for one in self.connected(attempt)), default=begin)


@asynccontextmanager
async def watch(attempts: Iterable[Attempt]) -> AsyncIterator[Watch]:
    """Try each of them anew every 50 ms, beside those that are not answered yet, until the end of the block."""
    watched, listed = Watch(), list(attempts)
    is_over = asyncio.Event()

    async def once(attempt: Attempt) -> None:
        began = time.monotonic()
        connected = await calls.connects(attempt, calls.BLOCKED)
        watched.tried.append(Tried(attempt, began, time.monotonic(), connected))

    async def forever(group: asyncio.TaskGroup) -> None:
        while not is_over.is_set():
            for attempt in listed:
                group.create_task(once(attempt))
            await asyncio.sleep(_EVERY)  # sleep: the pace

    async with asyncio.TaskGroup() as group:
        group.create_task(forever(group))
        try:
            yield watched
        finally:
            is_over.set()
