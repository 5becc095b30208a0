"""A closing policy that somebody deletes 50 ms after each return: how long it is absent, and how the others fare."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.client import Client, Event, watching
from bench.heal import Policy, heals, quantiles
from bench.tenants import POLICIES

DENY: Final = "securetenant-default-deny"
_PAUSE_SECONDS: Final = 0.05
_RETURN_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Presence:
    """How long one policy was there and was not, as a watch shows it."""

    policy: Policy
    present: list[float] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)
    returned: asyncio.Event = field(default_factory=asyncio.Event)
    _since: float = 0.0

    def see(self, event: Event) -> None:
        meta = event.object.metadata
        if (meta.namespace, meta.name) != (self.policy.namespace, self.policy.name):
            return
        now = time.perf_counter()
        if event.type == "DELETED":
            self.present.append(now - self._since)
            self._since = now
        elif event.type == "ADDED":
            self.absent.append(now - self._since)
            self._since = now
            self.returned.set()


async def fight(admin: Client, found: Sequence[Policy], count: int) -> dict[str, Any]:
    """Delete one tenant's closing policy again and again, while ``count`` policies of others are deleted once each.

    The percentage of the time that the first was absent, its rounds, and the others' healing in ms."""
    target = next(policy for policy in found if policy.name == DENY)
    others = [policy for policy in found if policy.namespace != target.namespace][:count]
    presence = _Presence(target)
    async with watching(admin, POLICIES, presence.see) as watch:

        async def attack() -> None:
            while True:
                presence.returned.clear()
                await admin.send("DELETE", target.path)
                await watch.until(presence.returned.wait(), _RETURN_SECONDS, f"{target.path} to return")
                await asyncio.sleep(_PAUSE_SECONDS)

        attacking = asyncio.create_task(attack())
        try:
            taken = await heals(admin, others, "deleted", count, None)
            if attacking.done():
                attacking.result()
        finally:
            attacking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attacking
    # The first deletion ends what was there before the fight.
    absent, present = sum(presence.absent), sum(presence.present[1:])
    return {
        "rounds": len(presence.absent),
        "absent_percent": round(100 * absent / (absent + present), 1),
        "heal_others_ms": quantiles(taken),
    }
