"""Who reaches whom by a set of NetworkPolicies: a small evaluator of the upstream semantics, on plain JSON.

It shares no code with the operator on purpose: it is the judge of what the operator renders.
(https://kubernetes.io/docs/concepts/services-networking/network-policies/) `ipBlock` matches any address, pods'
included, as Calico and Kube-OVN do.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from securetenant.model.objects import Desired

Call: TypeAlias = tuple[str, int]  # protocol and port


@dataclass(frozen=True)
class Endpoint:
    """A pod, or (namespace "") a host outside the cluster."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = "172.31.0.1"


class Reachability:
    """The policies of a cluster by namespace. Namespaces carry only the label that the API server sets."""

    def __init__(self, desired: Iterable[Desired]) -> None:
        self.policies: dict[str, list[Any]] = {}
        for item in desired:
            self.policies.setdefault(item.ref.namespace, []).append(item.body["spec"])

    def released(self, source: Endpoint, target: Endpoint, calls: Iterable[Call]) -> set[Call]:
        """The calls that the policies at the source let out."""
        return _passing(self._entries("Egress", source, target), calls)

    def admitted(self, source: Endpoint, target: Endpoint, calls: Iterable[Call]) -> set[Call]:
        """The calls that the policies at the target let in. A connection needs both."""
        return _passing(self._entries("Ingress", target, source), calls)

    def excepted(self) -> Iterator[tuple[str, str]]:
        """Each block of addresses that a policy opens, with each part that is taken out of it."""
        for spec in (spec for specs in self.policies.values() for spec in specs):
            entries = [*spec.get("ingress", []), *spec.get("egress", [])]
            for peer in (peer for entry in entries for peer in [*entry.get("from", []), *entry.get("to", [])]):
                block = peer.get("ipBlock", {})
                yield from ((block["cidr"], part) for part in block.get("except", []))

    def _entries(self, direction: str, own: Endpoint, other: Endpoint) -> list[Any] | None:
        """The entries for this peer in the policies that select `own`; None if no policy selects it."""
        chosen = [
            spec
            for spec in self.policies.get(own.namespace, [])
            if direction in spec["policyTypes"] and selects(spec["podSelector"], own.labels)
        ]
        if not chosen:
            return None
        peers = "to" if direction == "Egress" else "from"
        return [
            entry
            for spec in chosen
            for entry in spec.get(direction.lower(), [])
            if not entry.get(peers) or any(_is_peer(peer, own, other) for peer in entry[peers])
        ]


def _passing(entries: list[Any] | None, calls: Iterable[Call]) -> set[Call]:
    return {
        call
        for call in calls
        if entries is None
        or any(not entry.get("ports") or any(_is_port(item, *call) for item in entry["ports"]) for entry in entries)
    }


def _is_peer(peer: Mapping[str, Any], own: Endpoint, other: Endpoint) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return _inside(other.ip, block["cidr"]) and not any(_inside(other.ip, c) for c in block.get("except", []))
    if not other.namespace:
        return False
    if "namespaceSelector" not in peer:
        in_namespace = other.namespace == own.namespace
    else:
        in_namespace = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    return in_namespace and selects(peer.get("podSelector", {}), other.labels)


def _inside(ip: str, cidr: str) -> bool:
    return ip_address(ip) in ip_network(cidr)


def _is_port(item: Mapping[str, Any], protocol: str, port: int) -> bool:
    if item["protocol"] != protocol:
        return False
    return "port" not in item or item["port"] <= port <= item.get("endPort", item["port"])


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A metav1.LabelSelector."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _holds(term["key"], term["operator"], term.get("values", []), labels)
        for term in selector.get("matchExpressions", [])
    )


def _holds(key: str, operator: str, values: Collection[str | None], labels: Mapping[str, str]) -> bool:
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(operator)
