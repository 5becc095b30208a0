"""What a `cidr` of a rule opens: only addresses outside of the cluster.

Those of pods, nodes and Services are taken out of it, whoever they belong to: else a rule with 10.0.0.0/8 would open
what only the declarations of both sides open.
"""

from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple

from securetenant.controls.world import World
from securetenant.sets import blocks
from securetenant.sets.blocks import Address, Block, Network
from securetenant.sets.policy import Direction
from securetenant.sets.space import Summary

_NAMED: Final = 3  # parts that a message names
_REMEDY: Final = "name a tenant or a platform namespace"
_NODES: Final = ", or have the platform put nodes that clients come from into SECURETENANT_INGRESS_NODE_CIDRS"
_MANY: Final = (
    ", with what lies between them: they are too many for one policy, so have the platform give subnets out of a "
    "SubnetPool, and put ranges around its nodes into SECURETENANT_CLUSTER_CIDRS"
)


class Outside(NamedTuple):
    """What is opened of a block; if nothing is, `reason` says why. `narrowed`: which part stays closed."""

    blocks: tuple[Block, ...] = ()
    reason: str = ""
    narrowed: str = ""


def outside(declared: Block, direction: Direction, api_server: Collection[Address], world: World) -> Outside:
    """The part of a declared block that lies outside. `api_server`: the addresses to exclude as well."""
    whole, platform = ip_network(declared.cidr), world.platform
    closed = [ip_network(str(one)) for one in api_server]
    servers = tuple(sorted(one for one in (*closed, *map(_translated, closed)) if one.version == whole.version))
    left = blocks.without(declared, servers)
    if left is None:
        remedy = "set network.apiServer: true, or remove the peer"
        return Outside(reason=f"its cidr contains only the API server's addresses: {remedy}")
    own = world.addresses.own(whole) if not platform.offline else Summary(())
    taken = blocks.within(declared, own.parts)
    if not taken:
        return Outside((left,))
    left = blocks.without(left, own.parts)
    found = [left] if left is not None else []
    if direction == "ingress":
        found += _of_nodes(declared, taken, platform.ingress_node_cidrs)
    many = "" if own.is_exact else _MANY
    if not found:
        nodes = _NODES if direction == "ingress" else ""
        return Outside(reason=f"all of {declared.cidr} is cluster-internal{many}: {_REMEDY}{nodes}")
    named = ", ".join(map(str, taken[:_NAMED])) + (f" and {len(taken) - _NAMED} more" if len(taken) > _NAMED else "")
    stay = "is cluster-internal and stays closed" if len(taken) == 1 else "are cluster-internal and stay closed"
    return Outside(tuple(found), narrowed=f"{named} of {declared.cidr} {stay}{many}: {_REMEDY}")


# What a NAT64 gateway makes of IPv4 addresses (RFC 6052, the well-known prefix).
_NAT64: Final = int(IPv6Address("64:ff9b::"))


def _translated(network: Network) -> Network:
    """The IPv6 addresses by which NAT64 reaches these of IPv4; those of IPv6 as they are."""
    if isinstance(network, IPv6Network):
        return network
    return IPv6Network((_NAT64 + int(network.network_address), 96 + network.prefixlen))


def _of_nodes(declared: Block, taken: Collection[Network], nodes: Collection[str]) -> list[Block]:
    """The part of a declared block that was taken out of it, but that clients come from, as the platform says."""
    whole = ip_network(declared.cidr)
    found: list[Block] = []
    for network in (one for one in map(ip_network, nodes) if one.version == whole.version and one.overlaps(whole)):
        part: Network = max(network, whole, key=lambda one: one.prefixlen)
        if not any(one.overlaps(part) for one in taken):
            continue
        excepts = tuple(one for one in map(ip_network, declared.excepts) if one.overlaps(part))
        if (left := blocks.without(Block(str(part)), excepts)) is not None:
            found.append(left)
    return found
