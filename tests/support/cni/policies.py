"""NetworkPolicies: whether those that select a pod admit a call, by Kubernetes' rules and by a plug-in's own.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final, Literal, TypeAlias

from tests.support.cni.values import Address, Call, Cluster, Direction, End, Network, Policy

Decision: TypeAlias = Literal["Allow", "Deny", "Silent"]

# Kube-OVN's own, on a NetworkPolicy.
FOR: Final = "ovn.kubernetes.io/network_policy_for"
ENFORCEMENT: Final = "ovn.kubernetes.io/network_policy_enforcement"

_PEERS: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}


def decide(cluster: Cluster, direction: Direction, own: End, other: End, address: Address, call: Call) -> Decision:
    """What the policies of `own` say to a call with `other`, which has this address. Silent: none selects it."""
    chosen = list(_selecting(cluster, direction, own))
    if not chosen:
        return "Silent"
    opened = any(
        _is_lax(cluster, policy, call)
        or any(
            _opens(cluster, policy, direction, rule, own, other, address, call)
            for rule in policy.spec.get(direction) or ()
        )
        for policy in chosen
    )
    return "Allow" if opened else "Deny"


def _selecting(cluster: Cluster, direction: Direction, own: End) -> Iterator[Policy]:
    for policy in cluster.policies_of.get(own.namespace, ()) if own.is_pod else ():
        is_chosen = _is_for(policy.spec, direction) and selects(policy.spec.get("podSelector", {}), own.labels)
        if is_chosen and not _is_off(cluster, policy):
            yield policy


def _is_for(spec: Mapping[str, Any], direction: Direction) -> bool:
    """Without `policyTypes`: always Ingress, and Egress only if it has egress rules."""
    if types := spec.get("policyTypes"):
        return direction.capitalize() in types
    return direction == "ingress" or bool(spec.get("egress"))


def _is_off(cluster: Cluster, policy: Policy) -> bool:
    """Kube-OVN: it is for another of the pods' networks."""
    networks = policy.annotations.get(FOR, "")
    return cluster.plugin == "KubeOVN" and bool(networks) and "ovn" not in networks.split(",")


def _is_lax(cluster: Cluster, policy: Policy, call: Call) -> bool:
    return cluster.plugin == "KubeOVN" and call.protocol == "ICMP" and policy.annotations.get(ENFORCEMENT) == "lax"


def _opens(
    cluster: Cluster,
    policy: Policy,
    direction: Direction,
    rule: Mapping[str, Any],
    own: End,
    other: End,
    address: Address,
    call: Call,
) -> bool:
    peers, ports = rule.get(_PEERS[direction]), rule.get("ports")
    called = own if direction == "ingress" else other
    return (not peers or any(_is_peer(cluster, policy, peer, other, address) for peer in peers)) and (
        not ports or any(_is_port(port, called, call) for port in ports)
    )


def _is_peer(cluster: Cluster, policy: Policy, peer: Mapping[str, Any], other: End, address: Address) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if other.is_pod and not cluster.blocks_match_pods:
            return False
        return in_block(address, block["cidr"]) and not any(in_block(address, hole) for hole in block.get("except", ()))
    if not other.is_pod:
        return False
    if "namespaceSelector" in peer:
        is_there = selects(peer["namespaceSelector"], cluster.labels_of(other.namespace))
    else:
        is_there = other.namespace == policy.namespace
    return is_there and selects(peer.get("podSelector", {}), other.labels)


def _is_port(port: Mapping[str, Any], called: End, call: Call) -> bool:
    protocol, number = port.get("protocol", "TCP"), port.get("port")
    if isinstance(number, str):
        return called.named.get(number) == call and call.protocol == protocol
    if protocol != call.protocol:
        return False
    return number is None or number <= call.port <= port.get("endPort", number)


def in_block(address: Address, cidr: str) -> bool:
    """Host bits of the block are ignored."""
    return address in _block(cidr)


@lru_cache(maxsize=4096)
def _block(cidr: str) -> Network:
    return ip_network(cidr, strict=False)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A LabelSelector: all of its terms; the empty one selects everything."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _holds(term["key"], term["operator"], term.get("values") or (), labels)
        for term in selector.get("matchExpressions") or ()
    )


def _holds(key: str, operator: str, values: Collection[str], labels: Mapping[str, str]) -> bool:
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"{operator} is no operator of a selector")
