"""Reconciles the tenants that leave the cluster's own addresses out of a block, when these have changed."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from securetenant.cache.world import World

# From a change until the tenants are asked for (seconds): a wave of new nodes is one change.
PAUSE: Final = 0.2


def notice_changed_ranges(world: World, enqueue: Callable[[Iterable[str]], None], pause: float = PAUSE) -> None:
    """From now on, for every change that the world's addresses see. `enqueue` takes the tenants' names."""
    waiting: list[asyncio.TimerHandle] = []

    def look() -> None:
        waiting.clear()
        enqueue(world.concerned_by_ranges())

    def doubt() -> None:
        if not waiting:
            waiting.append(asyncio.get_running_loop().call_later(pause, look))

    world.addresses.owned.on_doubt = doubt
