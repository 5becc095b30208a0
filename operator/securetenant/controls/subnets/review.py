"""What can be told of subnets from files alone, for `securetenant validate`: overlaps, and requests that no pool can
meet. The world has the declared blocks of all tenants as used, and the SubnetPools."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_network

from securetenant.api.load import Problem
from securetenant.api.subnets import Subnet
from securetenant.api.tenant import SecureTenant
from securetenant.controls.subnets import allocation
from securetenant.controls.world import World
from securetenant.sets.space import Network


def review(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    for index, entry in enumerate(tenant.spec.namespaces):
        if entry.subnet is None:
            continue
        path = f"spec.namespaces[{index}].subnet"
        for field, cidr in (("cidr", entry.subnet.cidr), ("cidrV6", entry.subnet.cidr_v6)):
            if cidr is not None:
                for message in _overlaps(tenant.name, entry.name, ip_network(cidr), world):
                    yield Problem(f"{path}.{field}", message)
        if entry.subnet.pool is not None and tenant.spec.subnets.provider == "None":
            message = "nobody gives out subnets with subnets.provider None: declare the cidr that its pods have"
            yield Problem(f"{path}.pool", message)
        elif entry.subnet.pool is not None:
            yield from _unmet(path, entry.subnet, entry.subnet.pool, world)


def _overlaps(tenant: str, namespace: str, block: Network, world: World) -> Iterator[str]:
    for use, other in world.addresses.overlapping(block):
        is_told = other == block and use.tenant != tenant  # by the control's `claims`
        # Of the two, one is told.
        if (use.tenant, use.namespace) < (tenant, namespace) and not is_told:
            yield f"{block} overlaps {other}, {use}: choose other addresses for one of them"
    for text in world.platform.cluster_cidrs:
        if allocation.overlap(block, ip_network(text)):
            yield f"{block} overlaps {text}, which the cluster uses itself: choose other addresses"
    if problem := allocation.in_pool([block], world):
        yield problem


def _unmet(path: str, wanted: Subnet, name: str, world: World) -> Iterator[Problem]:
    pools = dict(allocation.pools(world))
    if not pools:
        return  # they are somewhere else
    pool = pools.get(name)
    if pool is None:
        message = f"none of the files has a SubnetPool {name}: give its file as well, or correct the name"
        yield Problem(f"{path}.pool", message, "warning")
        return
    for version, length in ((4, wanted.prefix_length), (6, wanted.prefix_length_v6)):
        if length is not None and all(ip_network(one).version != version for one in pool.cidrs):
            field = "prefixLength" if version == 4 else "prefixLengthV6"
            message = f"SubnetPool {name} has no cidr of IPv{version}: remove {field}, or add one there"
            yield Problem(f"{path}.{field}", message, "warning")
    for version, length in allocation.sizes(wanted, pool):
        largest = min(one.prefixlen for one in map(ip_network, pool.cidrs) if one.version == version)
        if length < largest:
            field = "prefixLength" if version == 4 else "prefixLengthV6"
            message = f"no cidr of SubnetPool {name} is larger than a /{largest}: ask for that or a smaller block"
            yield Problem(f"{path}.{field}", message)
