"""Whether the cached view of the cluster can be trusted: steps of the clock, and for how long watches have failed."""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from securetenant.cache.roster import BLIND, Blind
from securetenant.engine.resource import Resource
from securetenant.model.kinds import Kind

log = structlog.get_logger("securetenant.operator")

# Without a watch for this long (seconds), our custom resources may have been edited unseen.
UNSEEN = 10.0
# After this long (seconds) they count as out of date: well before the leader gives up (BLIND), so that the status can
# still report it.
STALE_OWN = 30.0
# How often the clock and the watches are checked (seconds), and after which step of the clock all is reconciled.
PULSE = 5.0
CLOCK_STEP = 2.0


def stale(found: Iterable[str], own: Iterable[Kind], blind_for: Callable[[Kind], float]) -> str:
    """Why the caches may be out of date; "" where they are not. `found`: reasons from the informers; `own`: our custom
    resources; `blind_for`: for how many seconds there has been no watch on one of them."""
    causes = [*found, *(f"{kind} cannot be watched" for kind in own if blind_for(kind) > STALE_OWN)]
    return f"the caches may be out of date: {'; '.join(causes)}" if causes else ""


def give_up_if_blind(resources: Iterable[Resource], blind_for: Callable[[Kind], float]) -> None:
    """Raises Blind where a new leader may see what this one cannot. Without any objects there is nothing to lead, and
    the CRD may be deleted: then this instance keeps trying, and is ready when the CRD is back."""
    for resource in resources:
        if (blind := blind_for(resource.kind)) > BLIND and resource.names:
            raise Blind(f"{resource.kind.plural_name} have not been watched for {blind:.0f} s")


async def pulse(
    clock: Callable[[], float], stale: Callable[[], str], give_up: Callable[[], None], resync: Callable[[], None]
) -> None:
    """Call `resync` when the clock was set (expiries are wall-clock times, timers are monotonic), and when a cache
    went out of date or recovered. `give_up` is called every time, and may raise."""
    offset, reason = time.time() - clock(), stale()
    while True:
        await asyncio.sleep(PULSE)
        before = offset, reason
        offset, reason = time.time() - clock(), stale()
        give_up()
        stepped = abs(offset - before[0]) > CLOCK_STEP
        if stepped:
            log.warning("clock was set, reconciling all tenants", step_seconds=round(offset - before[0], 1))
        if reason != before[1]:
            if reason:
                log.warning("a kind cannot be watched, tenants are not judged", cause=reason)
            else:
                log.info("all kinds are watched again")
        if stepped or reason != before[1]:
            resync()
