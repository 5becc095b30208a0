"""Whether the caches are kept well: what is not synced yet, what hears nothing, and what proves nothing any more."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from securetenant.cache.roster import BLIND, Blind
from securetenant.engine.resource import Resource
from securetenant.kube.informer import Informer
from securetenant.model.kinds import Kind

log = structlog.get_logger("securetenant.operator")

# An informer that has neither failed nor heard anything for this long (seconds) has a silent connection.
SILENT = 240.0
# One that failed and has not tried again for this long (seconds) will not: its pauses are shorter by far.
UNTRIED = 60.0
# Objects of ours that nobody has watched for this long (seconds) may have been edited: what is known of them is old.
UNSEEN = 10.0
# A kind that could not be watched for this long (seconds): its cache proves nothing any more.
STALE = 60.0
# The same of our own kinds: well before the leader gives up (BLIND), so that it is said while it can be.
STALE_OWN = 30.0
# How often (seconds) the clock and the watches are looked at, and what step of the clock is worth a look at everything.
PULSE = 5.0
CLOCK_STEP = 2.0


def stale(informers: Mapping[Kind, Informer], own: Iterable[Kind], blind_for: Callable[[Kind], float]) -> str:
    """Which caches prove nothing any more, and why; "" where all are well. `own`: our custom resources; `blind_for`:
    for how many seconds nobody has watched one of them."""
    found = [
        f"{kind} cannot be watched: {informer.failure}"
        for kind, informer in informers.items()
        if informer.failing_since and time.monotonic() - informer.failing_since > STALE
    ]
    found += [f"{kind} cannot be watched" for kind in own if blind_for(kind) > STALE_OWN]
    return f"what is known may be old: {'; '.join(found)}" if found else ""


def unready(informers: Mapping[Kind, Informer]) -> list[str]:
    """What is not synced yet."""
    return [
        f"{kind}: {informer.failure or 'not listed yet'}"
        for kind, informer in informers.items()
        if not informer.synced.is_set()
    ]


def unhealthy(informers: Mapping[Kind, Informer], tasks: Mapping[Kind, "asyncio.Task[None]"]) -> list[str]:
    """Watchers that are dead; that fail, and have not tried again; or that hear nothing although they do not fail."""
    found = []
    for kind, informer in informers.items():
        task = tasks.get(kind)
        untried, silent = time.monotonic() - informer.tried, time.time() - informer.last_contact
        if task is None or task.done():
            found.append(f"{kind}: its watcher is not running")
        elif informer.failure:
            if untried > UNTRIED:
                found.append(f"{kind}: not tried again for {untried:.0f} s after: {informer.failure}")
        elif informer.synced.is_set() and silent > SILENT:
            found.append(f"{kind}: silent for {silent:.0f} s")
    return found


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
