"""Whether a new connection passes, and what stops it. It has to leave its source, and to enter its target."""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from tests.support.cni import cluster_policies, matches, policies
from tests.support.cni.matches import Packet
from tests.support.cni.values import Address, Call, Cluster, End, Subnet, within

Ruling: TypeAlias = Literal["Allow", "Drop", "Silent"]


def passes(cluster: Cluster, source: End, target: End, call: Call) -> bool:
    return not stopped(cluster, source, target, call)


def stopped(cluster: Cluster, source: End, target: End, call: Call) -> str:
    """What stops it, over every address family that both have; "" if it passes over one of them."""
    if source == target:
        return ""
    reasons = [
        leaving(cluster, source, target, packet) or entering(cluster, source, target, packet)
        for packet in _packets(cluster, source, target, call)
    ]
    return "" if "" in reasons else "; ".join(dict.fromkeys(reasons)) or "no address family in common"


def to_service(cluster: Cluster, source: End, endpoints: Iterable[End], call: Call) -> bool:
    """To a Service with these endpoints, `call` with their port. Its own addresses count nowhere: they are translated
    before anything is enforced."""
    return any(passes(cluster, source, end, call) for end in endpoints)


def goes_on(cluster: Cluster, source: End, target: End, call: Call) -> bool:
    """Whether a connection that was established before goes on by these rules: what the target's side revoked stops
    only new ones (seen with `allowSubnets`)."""
    return any(not leaving(cluster, source, target, packet) for packet in _packets(cluster, source, target, call))


def _packets(cluster: Cluster, source: End, target: End, call: Call) -> Iterator[Packet]:
    origins = source.join if cluster.plugin == "KubeOVN" and source.is_host and target.is_pod else source.addresses
    for origin in origins:
        yield from (Packet(origin, to, call) for to in target.addresses if to.version == origin.version)


def leaving(cluster: Cluster, source: End, target: End, packet: Packet) -> str:
    """What stops a packet at its source; "" if nothing does. A NetworkPolicy that allows it does not beat the source's
    `private`."""
    if source.is_host or not source.namespace:
        return ""
    subnet = _subnet(cluster, packet.source)
    if subnet is not None and (ruling := _ruling(subnet, "from-lport", packet)) != "Silent":
        return "an acl of its subnet" if ruling == "Drop" else ""
    match cluster_policies.decide(cluster, "Admin", "egress", source, target, packet.target, packet.call):
        case "Accept":
            return ""
        case "Deny":
            return "a ClusterNetworkPolicy of its source"
    decision = policies.decide(cluster, "egress", source, target, packet.target, packet.call)
    if decision == "Deny":
        return "the NetworkPolicies of its source"
    if decision == "Silent" and _is_denied_by_default(cluster, "egress", source, target, packet):
        return "a ClusterNetworkPolicy of its source"
    if subnet is None or within(packet.target, subnet.blocks):
        return ""
    if _ruling(subnet, "to-lport", packet) == "Drop":  # on its way to the router
        return "an acl of its subnet"
    if subnet.is_private and not within(packet.target, subnet.allowed):
        return "its private subnet"
    return ""


def entering(cluster: Cluster, source: End, target: End, packet: Packet) -> str:
    """What stops a packet at its target; "" if nothing does.

    An acl is judged before the addresses of nodes are let in: nobody saw one that closes those.
    """
    if target.is_host or not target.namespace:
        return ""
    subnet = _subnet(cluster, packet.target)
    if subnet is not None and (ruling := _ruling(subnet, "to-lport", packet)) != "Silent":
        return "an acl of the target's subnet" if ruling == "Drop" else ""
    if _is_of_node(cluster, source, target, packet.source):
        return ""
    match cluster_policies.decide(cluster, "Admin", "ingress", target, source, packet.source, packet.call):
        case "Accept":
            return ""
        case "Deny":
            return "a ClusterNetworkPolicy of its target"
    decision = policies.decide(cluster, "ingress", target, source, packet.source, packet.call)
    if decision == "Deny":
        return "the NetworkPolicies of its target"
    if decision == "Silent" and _is_denied_by_default(cluster, "ingress", target, source, packet):
        return "a ClusterNetworkPolicy of its target"
    if decision == "Allow" or subnet is None or not subnet.is_private:
        return ""
    return "" if within(packet.source, (*subnet.blocks, *subnet.allowed)) else "the target's private subnet"


def _subnet(cluster: Cluster, address: Address) -> Subnet | None:
    return cluster.subnet_of(address) if cluster.plugin == "KubeOVN" else None


def _ruling(subnet: Subnet, direction: str, packet: Packet) -> Ruling:
    """The acl of the highest priority that matches."""
    for acl in sorted(subnet.acls, key=lambda one: -one.priority):
        if acl.direction == direction and matches.matches(acl.match, packet):
            return "Drop" if acl.action in ("drop", "reject") else "Allow"
    return "Silent"


def _is_of_node(cluster: Cluster, source: End, target: End, address: Address) -> bool:
    """A node reaches its own pods whatever is declared; in Kube-OVN whatever has an address of `join` does."""
    if cluster.plugin == "KubeOVN":
        joined = cluster.subnet_of(address)
        return joined is not None and joined.name == "join"
    return source.is_host and bool(source.node) and source.node == target.node


def _is_denied_by_default(
    cluster: Cluster, direction: Literal["ingress", "egress"], own: End, other: End, packet: Packet
) -> bool:
    address = packet.source if direction == "ingress" else packet.target
    return cluster_policies.decide(cluster, "Baseline", direction, own, other, address, packet.call) == "Deny"
