"""ClusterNetworkPolicies (policy.networking.k8s.io/v1alpha2): what those of one tier say to a call.

Kube-OVN enforces priorities up to 399, and of two policies of one tier with the same priority only the first.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from tests.support.cni.policies import in_block, selects
from tests.support.cni.values import Address, Call, Cluster, ClusterPolicy, Direction, End

Verdict: TypeAlias = Literal["Accept", "Deny", "Pass"]
Tier: TypeAlias = Literal["Admin", "Baseline"]

HIGHEST: Final = 399
_PEERS: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}


def decide(
    cluster: Cluster, tier: Tier, direction: Direction, own: End, other: End, address: Address, call: Call
) -> Verdict:
    """The first rule that matches, by priority; Pass where none does, and where the plug-in does not enforce them."""
    if not cluster.has_cluster_policies or not own.is_pod:
        return "Pass"
    for policy in _enforced(cluster, tier):
        if not _is_subject(cluster, policy.spec["subject"], own):
            continue
        for rule in policy.spec.get(direction) or ():
            peers, protocols = rule.get(_PEERS[direction]) or (), rule.get("protocols") or ()
            is_peer = any(_is_peer(cluster, peer, other, address) for peer in peers)
            if is_peer and (not protocols or any(_is_port(one, call) for one in protocols)):
                action: Verdict = rule["action"]
                return action
    return "Pass"


def _enforced(cluster: Cluster, tier: Tier) -> Iterator[ClusterPolicy]:
    seen: set[int] = set()
    found = [policy for policy in cluster.cluster_policies if policy.spec["tier"] == tier]
    for policy in sorted(found, key=lambda one: (one.spec["priority"], one.age)):
        priority = policy.spec["priority"]
        if cluster.plugin != "KubeOVN" or (priority <= HIGHEST and priority not in seen):
            yield policy
        seen.add(priority)


def _is_subject(cluster: Cluster, subject: Mapping[str, Any], end: End) -> bool:
    """`subject` and the peers in the cluster have the same form."""
    if not end.is_pod:
        return False
    if "namespaces" in subject:
        return selects(subject["namespaces"], cluster.labels_of(end.namespace))
    pods = subject["pods"]
    is_there = selects(pods["namespaceSelector"], cluster.labels_of(end.namespace))
    return is_there and selects(pods["podSelector"], end.labels)


def _is_peer(cluster: Cluster, peer: Mapping[str, Any], other: End, address: Address) -> bool:
    if "networks" in peer:
        return any(in_block(address, cidr) for cidr in peer["networks"])
    return _is_subject(cluster, peer, other)


def _is_port(listed: Mapping[str, Any], call: Call) -> bool:
    for protocol, ports in listed.items():
        port = ports.get("destinationPort", {})
        span = port.get("range", {"start": port.get("number", 0), "end": port.get("number", 65535)})
        if protocol.upper() == call.protocol and span["start"] <= call.port <= span["end"]:
            return True
    return False
