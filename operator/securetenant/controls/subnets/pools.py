"""What is given out of each SubnetPool and what is left; and the subnets whose namespace is gone.

The object of such a subnet stays for a while, so that its addresses are given to nobody else: caches of DNS, firewalls
and connections outlive a pod. After that it is deleted. It is never deleted while its namespace exists: the network
plug-ins let its pods run on, and give new ones addresses that anybody has.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Final

from securetenant.api.status import Condition, stamp
from securetenant.api.subnets import FamilyStatus, SubnetPoolSpec, SubnetPoolStatus
from securetenant.controls.control import Chore, Chores
from securetenant.controls.subnets import allocation
from securetenant.controls.subnets.provider import KINDS
from securetenant.controls.world import Use, World
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, SUBNET_POOL
from securetenant.model.objects import Json, Observed, Ref, has_other_spec
from securetenant.sets.space import Gap, Network, Space, largest

# The index key of the objects that carry a tenant's mark.
OURS: Final = "ours"

_BITS: Final = {4: 32, 6: 128}


def due(world: World, now: datetime) -> tuple[list[Chore], datetime | None]:
    """The statuses that changed, and what became of subnets without a namespace."""
    chores = list(_statuses(world, now))
    wakes: list[datetime] = []
    for kind in KINDS.values():
        for have in sorted(world.indexed(kind, (OURS,)), key=lambda one: one.ref):
            if have.deleting:
                continue
            if not is_unused(have, world):
                if names.ANNOTATION_UNUSED in have.annotations:  # else it would be deleted at once the next time
                    chores.append(Chore("Annotate", have, {names.ANNOTATION_UNUSED: None}))
                continue
            since = _since(have, now)
            delay = timedelta(seconds=world.platform.subnet_release_delay)
            until = since + delay if since is not None else None
            if until is None and delay:
                wakes.append(now + delay)  # no event tells of our own write
                since_now: Json = {names.ANNOTATION_UNUSED: stamp(now)}
                cause = f"namespace {have.ref.place} is gone: its addresses are kept for a while, then free"
                chores.append(Chore("Annotate", have, since_now, cause))
            elif until is None or until <= now:
                cause = f"namespace {have.ref.place} is gone, so its addresses are free now"
                chores.append(Chore("Delete", have, {}, cause))
            else:
                wakes.append(until)
    return chores, min(wakes, default=None)


def is_unused(have: Observed, world: World) -> bool:
    """Whether its namespace does not exist, and nobody whose it is will make it again."""
    if world.get(Ref(NAMESPACE, "", have.ref.place)) is not None:
        return False
    # Of a tenant of the same name that was there before, a new one gets nothing: it is in the way of its own.
    return not any(
        allocation.is_own(one, have, one.status.applied.get("", ()))
        for one in world.declaring(have.ref.place)
        if one.metadata.deletion_timestamp is None
    )


def _since(have: Observed, now: datetime) -> datetime | None:
    """None as well for a time to come, which nobody of us wrote: it could be any, the last one of the calendar too."""
    try:
        found = datetime.fromisoformat(have.annotations.get(names.ANNOTATION_UNUSED, ""))
    except ValueError:
        return None
    return found if found.tzinfo is not None and found <= now else None


def concerns(new: Observed, old: Observed | None) -> bool:
    """Pools but for their status, subnets, and namespaces that come or go."""
    kind = new.ref.kind
    if kind is SUBNET_POOL:
        return has_other_spec(new, old)
    return kind in KINDS.values() or (kind is NAMESPACE and old is None)


def _statuses(world: World, now: datetime) -> Iterator[Chore]:
    pools = dict(allocation.pools(world))
    wholes: Space[str] = Space()
    for name, pool in pools.items():
        for cidr in pool.cidrs:
            wholes.add(name, ip_network(cidr))
    for have in sorted(world.indexed(SUBNET_POOL, (allocation.EVERY_POOL,)), key=lambda one: one.ref):
        if have.ref.name not in pools:
            continue
        before = SubnetPoolStatus.model_validate(have.field("status") or {})
        after = status(have.ref.name, pools[have.ref.name], wholes, before, world, now)
        if after != before:
            body: Json = after.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
            body["subnets"] = after.subnets  # a printer column: a pool without any has 0
            yield Chore("Status", have, body)


def status(
    name: str, pool: SubnetPoolSpec, wholes: Space[str], before: SubnetPoolStatus, world: World, now: datetime
) -> SubnetPoolStatus:
    """What stands in the pool's status. `wholes`: the addresses of all pools."""
    used = [(use, block) for cidr in pool.cidrs for use, block in world.addresses.overlapping(ip_network(cidr))]
    return SubnetPoolStatus(
        conditions=[_ready(name, pool, wholes, before, now)],
        subnets=len({(use.tenant, use.namespace) for use, _ in used if use.tenant}),
        ipv4=_family(4, pool, used, world),
        ipv6=_family(6, pool, used, world),
    )


def _family(
    version: int, pool: SubnetPoolSpec, used: Sequence[tuple[Use, Network]], world: World
) -> FamilyStatus | None:
    wholes = [one for one in map(ip_network, pool.cidrs) if one.version == version]
    if not wholes:
        return None
    barred = [*map(ip_network, pool.reserved), *map(ip_network, world.platform.cluster_cidrs)]
    total = sum(whole.num_addresses for whole in wholes)
    gaps = _gaps(wholes, (*barred, *(block for _, block in used)))
    free = _size(gaps)
    allocated = total - _size(_gaps(wholes, (block for use, block in used if use.tenant)))
    lengths = [largest(gap, version) for gap in gaps]
    best = 2 ** (_BITS[version] - min(lengths)) if lengths else 0
    return FamilyStatus(
        total=str(total),
        reserved=str(total - free - allocated),
        allocated=str(allocated),
        free=str(free),
        largest_free=f"/{min(lengths)}" if lengths else "",
        fragmentation=round(100 * (1 - best / free)) if free else 0,
    )


def _gaps(wholes: Iterable[Network], used: Iterable[Network]) -> list[Gap]:
    space: Space[None] = Space()
    for block in used:
        space.add(None, block)
    return [gap for whole in wholes for gap in space.gaps(whole)]


def _size(gaps: Iterable[Gap]) -> int:
    return sum(gap.last - gap.first + 1 for gap in gaps)


def _ready(name: str, pool: SubnetPoolSpec, wholes: Space[str], before: SubnetPoolStatus, now: datetime) -> Condition:
    shared = sorted(
        (other, f"{one} is in SubnetPool {other} as well ({two})")
        for one in pool.cidrs
        for other, two in wholes.overlapping(ip_network(one))
        if other != name
    )
    if shared:
        message = f"{shared[0][1]}: each address is still given out once, but neither pool tells what it has left"
        found = Condition.of("Ready", "False", "Overlap", message)
    else:
        found = Condition.of("Ready", "True", "Valid", "blocks are given out")
    known = next((one for one in before.conditions if one.type == "Ready"), None)
    since = known.last_transition_time if known is not None and known.status == found.status else None
    return found.model_copy(update={"last_transition_time": since or stamp(now)})


CHORES: Final = Chores(due, concerns)
