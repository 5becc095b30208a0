"""Which block of addresses a namespace has. It is given once and never moved.

What was given stands in the tenant's status, and in the network plug-in's object: either is enough to know it again,
and until one of them is seen, this process knows it. Only where nothing says anything is a block chosen, the lowest
free one of the pool. Free is what no object of the cluster uses and no tenant was given (`World.addresses`), so that
two tenants never get the same.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, NamedTuple

import msgspec
from pydantic import ValidationError

from securetenant.api.subnets import Subnet, SubnetPoolSpec
from securetenant.api.tenant import NamespaceSpec, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.controls.world import Use, World
from securetenant.model.kinds import CALICO_IP_POOL, NAMESPACE, SUBNET_POOL, Kind
from securetenant.model.names import ANNOTATION_LEFT
from securetenant.model.objects import Observed, Ref
from securetenant.sets.blocks import Block, parts
from securetenant.sets.space import Network

# The index key that each SubnetPool has.
EVERY_POOL: Final = "pool"


class Given(NamedTuple):
    """The blocks of a namespace, IPv4 first; or why it has none: a reason for a condition, and what to do. With both,
    it keeps what it has. `is_new`: chosen just now."""

    blocks: tuple[Network, ...] = ()
    reason: str = ""
    message: str = ""
    is_new: bool = False


def given(
    tenant: SecureTenant, entry: NamespaceSpec, kind: Kind | None, world: World, taken: Sequence[tuple[str, Network]]
) -> Given:
    """What the namespace has, or gets. `kind`: of the provider's objects; None for provider None. `taken`: what the
    same plan gave to other namespaces."""
    wanted = entry.subnet
    assert wanted is not None
    before, is_half = _before(tenant, entry.name, kind, world)
    if before and not is_half:
        return _kept(tenant, entry, wanted, before, world)
    if wanted.pool is None:
        blocks = tuple(_networks(wanted.cidrs))
        if not set(before) <= set(blocks):
            return _kept(tenant, entry, wanted, before, world)
        problem = _taken(tenant, entry.name, blocks, world) or in_pool(blocks, world) or _twice(blocks, taken)
        if problem:
            return Given((), "Overlap", problem)
        return Given(blocks, is_new=True)
    if kind is None:
        lacks = (
            "subnets.provider is None: declare the cidr that its pods have, or write the network plug-in there"
            if tenant.spec.subnets.provider == "None"
            else "no network plug-in that gives out subnets is installed: install it, or declare the cidr that its "
            "pods have"
        )
        message = f"{entry.name}: nothing comes out of a pool, since {lacks}"
        return Given((), "NoProvider", message)
    return _chosen(entry.name, wanted, wanted.pool, world, [block for _, block in taken], before)


def objects(tenant: SecureTenant, namespace: str, kind: Kind, world: World) -> list[Observed]:
    """The tenant's own objects of a namespace's subnet. They are known by the tenant's record, or, where the status was
    lost, by mark and record on the object. With a namespace that is adopted comes the subnet that an earlier tenant
    left with it: its pods have their addresses from it."""
    applied = set(tenant.status.applied.get("", ()))
    adopts = _adopts(tenant, namespace, world)
    return [
        have
        for have in (world.get(Ref(kind, "", name)) for name in names(namespace, kind))
        if have is not None and (is_own(tenant, have, applied) or (adopts and is_left(have)))
    ]


def _adopts(tenant: SecureTenant, namespace: str, world: World) -> bool:
    is_there = world.get(Ref(NAMESPACE, "", namespace)) is not None
    return is_there and any(entry.adopt for entry in tenant.spec.namespaces if entry.name == namespace)


def is_left(have: Observed) -> bool:
    """Whether it is as the release of a tenant leaves it."""
    return ANNOTATION_LEFT in have.annotations and not have.tenant and have.record is None


def is_own(tenant: SecureTenant, have: Observed, applied: Iterable[str]) -> bool:
    """Of what the tenant's record names, one that lost mark or record is its own still, and is put right. Without
    either it is somebody else's of the same name."""
    is_marked = have.tenant == tenant.name
    if f"{have.ref.kind.key}/{have.ref.name}" in applied:
        return is_marked or have.record is not None
    return is_marked and ownership.as_written(tenant, have)


def names(namespace: str, kind: Kind) -> tuple[str, str]:
    """The names of its objects; the second is for the IPv6 part, where one object holds one family."""
    return f"{kind.prefix}{namespace}", f"{kind.prefix}{namespace}.v6"


def _before(tenant: SecureTenant, namespace: str, kind: Kind | None, world: World) -> tuple[tuple[Network, ...], bool]:
    """What it has, and whether another family may be missing: a process can die between the writes of two objects."""
    for one in tenant.status.subnets:
        # What nobody gave is a statement, and can be corrected.
        if one.namespace == namespace and one.cidrs and one.provider != "None":
            return tuple(_networks(one.cidrs)), False
    if kind is None:
        return (), False
    # A write without an answer may have succeeded: until something shows it, it counts as if it had.
    if promised := tuple(world.addresses.given(tenant.name, namespace)):
        return promised, False
    found = [block for have in objects(tenant, namespace, kind, world) for block in OF_SUBNET[kind](have)]
    return tuple(sorted(found, key=lambda block: block.version)), kind is CALICO_IP_POOL and len(found) == 1


def _kept(
    tenant: SecureTenant, entry: NamespaceSpec, wanted: Subnet, before: tuple[Network, ...], world: World
) -> Given:
    if wanted.pool is None and tuple(_networks(wanted.cidrs)) != before:
        message = (
            f"{entry.name} has {described(before)}, and its pods keep their addresses: restore it in the spec, or "
            "declare a new namespace and move there"
        )
        return Given(before, "NotMoved", message)
    if problem := _taken(tenant, entry.name, before, world, "its pods keep their addresses, so remove the other"):
        return Given(before, "Overlap", problem)
    return Given(before)


def _taken(
    tenant: SecureTenant,
    namespace: str,
    blocks: Sequence[Network],
    world: World,
    remedy: str = "choose other addresses",
) -> str:
    """Who uses these addresses already, apart from the namespace itself; "" if nobody does."""
    for block in blocks:
        for use, other in world.addresses.overlapping(block):
            if not _is_its_own(use, tenant, namespace, world):
                return f"{block} of {namespace} overlaps {other}, {use}: {remedy}"
        for text in world.platform.cluster_cidrs:
            if overlap(other := ip_network(text), block):
                return f"{block} of {namespace} overlaps {other}, which the cluster uses itself: {remedy}"
    return ""


def _is_its_own(use: Use, tenant: SecureTenant, namespace: str, world: World) -> bool:
    """Not by the mark alone: anybody who may write the kind can copy it."""
    if use.ref is not None and use.ref.name not in names(namespace, use.ref.kind):
        return False
    if (use.tenant, use.namespace) == (tenant.name, namespace):
        return True
    have = world.get(use.ref) if use.ref is not None else None
    return have is not None and is_left(have) and _adopts(tenant, namespace, world)


def _twice(blocks: Sequence[Network], taken: Iterable[tuple[str, Network]]) -> str:
    for other, block in taken:
        for own in blocks:
            if overlap(own, block):
                return f"{own} overlaps {block} of {other}: choose other addresses"
    return ""


def in_pool(blocks: Sequence[Network], world: World) -> str:
    """Which of these blocks a pool will give to somebody else, since it is not reserved there; "" if none."""
    for name, pool in pools(world):
        for block in blocks:
            is_inside = any(overlap(one, block) for one in _networks(pool.cidrs))
            if is_inside and not any(
                one.prefixlen <= block.prefixlen and overlap(one, block) for one in _networks(pool.reserved)
            ):
                return (
                    f"{block} is in SubnetPool {name}, which gives it to somebody else sooner or later: write "
                    f"pool: {name}, or have it reserved there"
                )
    return ""


def sizes(wanted: Subnet, pool: SubnetPoolSpec) -> list[tuple[int, int]]:
    """The blocks that a namespace gets out of a pool: IP version and prefix length, IPv4 first."""
    lengths = {4: wanted.prefix_length or pool.prefix_length, 6: wanted.prefix_length_v6 or pool.prefix_length_v6}
    return [(version, lengths[version]) for version in sorted({one.version for one in _networks(pool.cidrs)})]


def _chosen(
    namespace: str, wanted: Subnet, name: str, world: World, taken: Sequence[Network], before: Sequence[Network]
) -> Given:
    """The lowest free blocks, except of the families that it has already."""
    observed = world.get(Ref(SUBNET_POOL, "", name))
    if observed is None:
        message = f"{namespace}: there is no SubnetPool {name}: create it, or correct the name"
        return Given(tuple(before), "NoPool", message)
    pool = parsed(observed)
    if pool is None:
        message = f"{namespace}: SubnetPool {name} is not valid: apply the CRD and the pool again"
        return Given(tuple(before), "NoPool", message)
    blocks = [*before]
    for version, length in sizes(wanted, pool):
        if any(one.version == version for one in before):
            continue
        block = _lowest(pool, version, length, world, taken)
        if block is None:
            message = (
                f"{namespace}: SubnetPool {name} has no free block of /{length}: add a cidr to the pool, or ask for a "
                "smaller block"
            )
            return Given(tuple(before), "PoolExhausted", message)
        blocks.append(block)
    return Given(tuple(sorted(blocks, key=lambda one: one.version)), is_new=True)


def _lowest(pool: SubnetPoolSpec, version: int, length: int, world: World, taken: Sequence[Network]) -> Network | None:
    """The lowest block of a pool that is free and not reserved. `taken`: given by the same plan."""
    for part in _open(tuple(pool.cidrs), (*pool.reserved, *world.platform.cluster_cidrs), version):
        if part.prefixlen <= length and (block := world.addresses.free(part, length, taken)) is not None:
            return block
    return None


@lru_cache(maxsize=256)
def _open(cidrs: Sequence[str], barred: Sequence[str], version: int) -> list[Network]:
    """What may be given out of a pool, as blocks in order. Remembered: it costs more than all the rest of a plan."""
    wholes = sorted(one for one in _networks(cidrs) if one.version == version)
    return [part for whole in wholes for part in parts(Block(str(whole), tuple(barred)))]


def overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def pools(world: World) -> list[tuple[str, SubnetPoolSpec]]:
    """All valid pools, by name."""
    found = ((one.ref.name, parsed(one)) for one in world.indexed(SUBNET_POOL, (EVERY_POOL,)))
    return sorted(((name, pool) for name, pool in found if pool is not None), key=lambda pair: pair[0])


def parsed(observed: Observed) -> SubnetPoolSpec | None:
    return _parsed(bytes(observed.fields.get("spec", b"null")))


@lru_cache(maxsize=256)
def _parsed(spec: bytes) -> SubnetPoolSpec | None:
    try:
        return SubnetPoolSpec.model_validate(msgspec.json.decode(spec), by_alias=True, by_name=False)
    except ValidationError:
        return None


def described(blocks: Iterable[Network]) -> str:
    return ", ".join(map(str, blocks))


def _networks(cidrs: Iterable[str]) -> list[Network]:
    return [ip_network(cidr) for cidr in cidrs]
