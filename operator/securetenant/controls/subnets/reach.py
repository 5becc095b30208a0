"""What a subnet of Kube-OVN may exchange packets with: the addresses behind the whitelist.

A private subnet drops what comes from other subnets, and new connections that leave it, unless the other end is in
`allowSubnets`, which has no direction and no port. So it has the addresses of both directions, and NetworkPolicies
narrow them. Endpoints count, not Services: of DNS the subnet of its pods, of the API server its own addresses.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import collapse_addresses, ip_network
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import endpoints
from securetenant.controls.network.whitelist import Flow, declarations
from securetenant.controls.subnets.objects import Reach
from securetenant.controls.subnets.places import of_namespace, of_subnet
from securetenant.controls.world import World
from securetenant.sets import blocks
from securetenant.sets.blocks import Block
from securetenant.sets.space import Network

# The subnet of the nodes' own addresses.
_JOIN: Final = "join"


def reaches(tenant: SecureTenant, held: Sequence[str], world: World, now: datetime) -> dict[str, Reach]:
    """By namespace that the tenant holds."""
    flows = [flow for one in declarations(tenant, held, world, now) for flow in one.opened.flows]
    common = list(_common(tenant, world))
    join = tuple(of_subnet(_JOIN, world))
    return {
        namespace: Reach(_collapsed(frozenset((*common, *_of(flows, namespace, tenant, held, world)))), join)
        for namespace in held
    }


def _of(
    flows: Iterable[Flow], namespace: str, tenant: SecureTenant, held: Sequence[str], world: World
) -> Iterator[Network]:
    for flow in flows:
        if namespace not in flow.namespaces:
            continue
        if isinstance(flow.peer, Block):
            yield from blocks.parts(flow.peer)
        else:
            for other in flow.peer.namespaces:
                yield from of_namespace(other, world)
    if tenant.spec.network.isolation == "Tenant":
        for other in held:
            if other != namespace:
                yield from of_namespace(other, world)


def _common(tenant: SecureTenant, world: World) -> Iterator[Network]:
    """What every namespace of the tenant may reach."""
    network, platform = tenant.spec.network, world.platform
    if network.dns:
        yield from map(ip_network, platform.dns_cidrs)
        if platform.dns_namespace:
            yield from of_namespace(platform.dns_namespace, world)
    if network.api_server:
        yield from (ip_network(str(address)) for address in endpoints.ready(world))


@lru_cache(maxsize=64)
def _collapsed(found: frozenset[Network]) -> tuple[Network, ...]:
    """The same addresses in as few blocks as possible, in order. Remembered: most namespaces of a tenant have the same,
    and ::/0 without the addresses of the cluster is thousands of blocks."""
    return tuple(
        block
        for version in (4, 6)
        for block in collapse_addresses([one for one in found if one.version == version])  # type: ignore[type-var]
    )
