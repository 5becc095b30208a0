"""Whether what is known of the cluster may be trusted: the clock, and who has been blind for how long."""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from securetenant.cache.roster import BLIND, Blind
from securetenant.engine.resource import Resource
from securetenant.model.kinds import Kind

log = structlog.get_logger("securetenant.operator")

# Objects of ours that nobody has watched for this long (seconds) may have been edited: what is known of them is old.
UNSEEN = 10.0
# Known to be old after this long: well before the leader gives up (BLIND), so that it is said while it can be.
STALE_OWN = 30.0
# How often (seconds) the clock and the watches are looked at, and what step of the clock is worth a look at everything.
PULSE = 5.0
CLOCK_STEP = 2.0


def stale(found: Iterable[str], own: Iterable[Kind], blind_for: Callable[[Kind], float]) -> str:
    """Why what is known may be old; "" where all is well. `found`: what the informers say; `own`: our custom resources;
    `blind_for`: for how many seconds nobody has watched one of them."""
    causes = [*found, *(f"{kind} cannot be watched" for kind in own if blind_for(kind) > STALE_OWN)]
    return f"what is known may be old: {'; '.join(causes)}" if causes else ""


def give_up_if_blind(resources: Iterable[Resource], blind_for: Callable[[Kind], float]) -> None:
    """Raises Blind where a new leader may see what this one does not. Without objects there is nothing to lead, and the
    CRD may be gone: then it goes on looking, and is there when it comes back."""
    for resource in resources:
        if (blind := blind_for(resource.kind)) > BLIND and resource.names:
            raise Blind(f"{resource.kind.plural_name} have not been watched for {blind:.0f} s")


async def pulse(
    clock: Callable[[], float], stale: Callable[[], str], give_up: Callable[[], None], look_again: Callable[[], None]
) -> None:
    """Call `look_again` when the clock was set (expiries are times of day, timers are not), and when a cache went stale
    or came back. `give_up` is called each time, and may raise."""
    offset, reason = time.time() - clock(), stale()
    while True:
        await asyncio.sleep(PULSE)
        before = offset, reason
        offset, reason = time.time() - clock(), stale()
        give_up()
        stepped = abs(offset - before[0]) > CLOCK_STEP
        if stepped:
            log.warning("the clock was set, looking at all tenants", step_seconds=round(offset - before[0], 1))
        if reason != before[1]:
            if reason:
                log.warning("a kind cannot be watched, tenants are not judged", cause=reason)
            else:
                log.info("all kinds are watched again")
        if stepped or reason != before[1]:
            look_again()
