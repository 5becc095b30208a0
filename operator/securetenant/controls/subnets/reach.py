"""What a subnet of Kube-OVN may exchange packets with: the addresses behind the whitelist.

A private subnet drops what comes from other subnets, and new connections that leave it, unless the other end is in
`allowSubnets`, which has no direction and no port. So it has the addresses of both directions, and NetworkPolicies
narrow them. Endpoints count, not Services: of DNS the subnet of its pods, of the API server its own addresses.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from ipaddress import collapse_addresses, ip_network
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.network import endpoints
from securetenant.controls.network.whitelist import Flow, declarations
from securetenant.controls.subnets.objects import SWITCH, Reach
from securetenant.controls.subnets.ranges import kube_ovn
from securetenant.controls.world import World
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE
from securetenant.model.objects import Ref
from securetenant.sets import blocks
from securetenant.sets.blocks import Block
from securetenant.sets.space import Network

# The subnet of the nodes' own addresses.
_JOIN: Final = "join"


def reaches(tenant: SecureTenant, held: Sequence[str], world: World, now: datetime) -> dict[str, Reach]:
    """By namespace that the tenant holds."""
    flows = [flow for one in declarations(tenant, held, world, now) for flow in one.opened.flows]
    common = list(_common(tenant, world))
    join = tuple(_subnet(_JOIN, world))
    return {
        namespace: Reach(_collapsed((*common, *_of(flows, namespace, tenant, held, world))), join) for namespace in held
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


def of_namespace(namespace: str, world: World) -> list[Network]:
    """The addresses of a namespace's pods: of a tenant's those that it was given, of others those of the subnet that
    Kube-OVN's annotation names. On a tenant's namespace that annotation proves nothing: it is being put right, unless
    the tenant is only looked at (Audit, Paused)."""
    owner = ownership.holder(namespace, world)
    if owner is not None:
        given = [cidr for one in owner.status.subnets if one.namespace == namespace for cidr in one.cidrs]
        if given:
            return [ip_network(cidr) for cidr in given]
        wants = any(entry.name == namespace and entry.subnet is not None for entry in owner.spec.namespaces)
        if wants and owner.spec.mode == "Enforce":
            return []  # not given yet
    have = world.get(Ref(NAMESPACE, "", namespace))
    switches = have.annotations.get(SWITCH, "").split(",") if have is not None else []
    return [block for switch in switches if switch for block in _subnet(switch, world)]


def _subnet(name: str, world: World) -> list[Network]:
    have = world.get(Ref(KUBE_OVN_SUBNET, "", name))
    return kube_ovn(have) if have is not None else []


def _collapsed(found: Iterable[Network]) -> tuple[Network, ...]:
    """The same addresses in as few blocks as possible, in order."""
    all_ = set(found)
    return tuple(
        block
        for version in (4, 6)
        for block in collapse_addresses([one for one in all_ if one.version == version])  # type: ignore[type-var]
    )
