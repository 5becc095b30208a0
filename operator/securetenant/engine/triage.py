"""Which tenants to look at first after a start: those in which something was changed while nobody looked.

A whole look costs about a millisecond of CPU; whether what a tenant wrote still stands as it was written, a tenth of
that. So a policy that was opened while no operator ran is closed long before the last of 5,000 tenants was looked at.
It only orders: every tenant is looked at all the same, and what this cannot see (a peer's change) is found then.
"""

import asyncio
from collections.abc import Callable, Iterable

from securetenant.cache.tenants import Applied, Tenants
from securetenant.controls.lookup import KINDS
from securetenant.controls.world import World
from securetenant.engine.workqueue import WorkQueue
from securetenant.model.kinds import NETWORK_POLICY, ROLE_BINDING, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.record import is_recorded

# Others' objects of these kinds widen a posture.
_WIDENING = (NETWORK_POLICY, ROLE_BINDING)

# Tenants that are sifted between two breaths of the event loop.
_BREATH = 20


async def queue_all(tenants: Tenants, world: World, queue: WorkQueue) -> None:
    """Let every tenant be looked at once, the suspects first."""
    rest = []
    for number, name in enumerate(tuple(tenants.names())):
        if name not in tenants:
            continue
        if is_suspect(*tenants.applied(name), world.get, world.in_namespace):
            queue.add(name)
        else:
            rest.append(name)
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    for name in rest:
        queue.add(name)


def is_suspect(
    uid: str,
    applied: Applied,
    get: Callable[[Ref], Observed | None],
    in_namespace: Callable[[Kind, str], Iterable[Observed]],
) -> bool:
    """Whether something of what a tenant applied is missing or not as it was written, or stands beside it.

    `uid`: the tenant's. `get` and `in_namespace` (kind, namespace) look objects up.
    """
    for namespace, entries in applied.items():
        widening = 0
        for entry in entries:
            key, _, name = entry.partition("/")
            if (kind := KINDS.get(key)) is None:
                continue
            have = get(Ref(kind, namespace, name))
            if have is None or not is_recorded(have, uid):
                return True
            widening += kind in _WIDENING
        if namespace and sum(len(list(in_namespace(kind, namespace))) for kind in _WIDENING) > widening:
            return True
    return False
