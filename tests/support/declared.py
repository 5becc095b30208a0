"""What is declared, read from the specs by the words of the API alone: the judge of what passes.

Nothing here knows how the operator writes a flow, or which network plug-in enforces it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from securetenant.api.tenant import EgressRule, IngressRule, Peer, PodSelector, Port, SecureTenant, Side
from securetenant.model.platform import Platform
from tests.support.cni.values import Call, End, Network


@dataclass(frozen=True)
class Declared:
    """Who has which namespace, what they declare, and what the platform is. `servers`: the API server's addresses,
    which listen on `server_call`. `owners`: the tenants by namespace; a namespace of nobody is the platform's.
    `by_subnet`: peers in the cluster are named by the subnets of their namespaces alone (`peersBy: Subnet`). Then only
    whole namespaces can be, of those that have one (`with_subnet`), and the rest stays closed.
    """

    tenants: Mapping[str, SecureTenant]
    owners: Mapping[str, str]
    platform: Platform
    now: datetime
    servers: frozenset[str] = frozenset()
    server_call: Call = field(default=Call("TCP", 6443))
    by_subnet: bool = False
    with_subnet: frozenset[str] = frozenset()

    def opens(self, source: End, target: End, call: Call) -> bool:
        """Whether this connection is declared. It is asked only where one of the ends is a tenant's pod."""
        ours, theirs = self._owner(source), self._owner(target)
        if ours is not None and theirs is not None:
            if source.namespace == target.namespace:
                return True  # pods of one namespace talk freely
            is_together = ours is theirs and ours.spec.network.isolation == "Tenant"
            if is_together and self._is_written(source) and self._is_written(target):
                return True
            if ours.metadata.deletion_timestamp is not None or theirs.metadata.deletion_timestamp is not None:
                return False
            return self._agree(ours, theirs, source, target, call)
        if ours is not None:
            return self._beyond(ours, source, target, call) or any(
                self._is_written(target, peer.pods) for _, peer in self._reaches(ours, source, target, call)
            )
        return theirs is not None and any(
            self._is_written(source, peer.pods) for _, peer in self._admits(theirs, target, source, call)
        )

    def _agree(self, ours: SecureTenant, theirs: SecureTenant, source: End, target: End, call: Call) -> bool:
        """Both sides declare exactly this; and each can write the other's end."""
        out, in_ = list(self._reaches(ours, source, target, call)), list(self._admits(theirs, target, source, call))
        pairs = [(one, other) for one in out for other in in_]
        return any(self._is_written(target, peer.pods, side.pods) for (_, peer), (side, _) in pairs) and any(
            self._is_written(source, side.pods, peer.pods) for (side, _), (_, peer) in pairs
        )

    def _is_written(self, end: End, *selected: PodSelector | None) -> bool:
        """Whether a policy names this end; `selected`: the pods there that the two sides name."""
        if not self.by_subnet or not end.is_pod:
            return True
        return end.namespace in self.with_subnet and not any(
            one is not None and (one.match_labels or one.match_expressions) for one in selected
        )

    def _owner(self, end: End) -> SecureTenant | None:
        """Of the pod. One on its node's network is that node."""
        return self.tenants.get(self.owners.get(end.namespace, "")) if end.is_pod else None

    def _beyond(self, ours: SecureTenant, source: End, target: End, call: Call) -> bool:
        """What `dns` and `apiServer` open."""
        network, platform = ours.spec.network, self.platform
        if network.dns and call in (Call("UDP", platform.dns_port), Call("TCP", platform.dns_port)):
            labels = dict(platform.dns_pod_labels)
            if target.is_pod and target.namespace == platform.dns_namespace:
                return all(target.labels.get(key) == value for key, value in labels.items())
            return not target.is_pod and _in(target, platform.dns_cidrs)
        return network.api_server and not target.is_pod and _in(target, self.servers) and call == self.server_call

    def _reaches(self, ours: SecureTenant, own: End, other: End, call: Call) -> Iterator[tuple[Side, Peer]]:
        if other.is_pod or not _in(other, self.servers):  # whatever the rules say, only `apiServer` opens those
            for rule in ours.spec.network.egress:
                yield from self._meaning(rule, rule.from_, rule.to, own, other, call)

    def _admits(self, ours: SecureTenant, own: End, other: End, call: Call) -> Iterator[tuple[Side, Peer]]:
        for rule in ours.spec.network.ingress:
            yield from self._meaning(rule, rule.to, rule.from_, own, other, call)

    def _meaning(
        self, rule: IngressRule | EgressRule, side: Side, peers: list[Peer], own: End, other: End, call: Call
    ) -> Iterator[tuple[Side, Peer]]:
        """The sides of a rule in force that mean these two ends."""
        is_over = rule.expires is not None and rule.expires <= self.now
        is_own = (side.namespaces is None or own.namespace in side.namespaces) and _chosen(side.pods, own.labels)
        if is_own and not is_over and _on_port(rule.ports, call):
            yield from ((side, peer) for peer in peers if self._is_meant(peer, other))

    def _is_meant(self, peer: Peer, other: End) -> bool:
        if peer.cidr is not None:
            # Addresses never mean what is in the cluster: pods and nodes are declared by name.
            return not (other.namespace or other.is_host) and _in(other, [peer.cidr]) and not _in(other, peer.except_)
        if not other.is_pod or not _chosen(peer.pods, other.labels):
            return False
        if peer.namespace is not None:
            return peer.namespace == other.namespace
        is_named = peer.namespaces is None or other.namespace in peer.namespaces
        return is_named and peer.tenant == self.owners.get(other.namespace)


def _in(end: End, cidrs: Any) -> bool:
    return any(address in _block(cidr) for address in end.addresses for cidr in cidrs)


@lru_cache(maxsize=4096)
def _block(cidr: str) -> Network:
    return ip_network(cidr)


def _chosen(selector: PodSelector | None, labels: Mapping[str, str]) -> bool:
    return selector is None or all(_terms(selector, labels))


def _terms(selector: PodSelector, labels: Mapping[str, str]) -> Iterator[bool]:
    yield from (labels.get(key) == value for key, value in selector.match_labels.items())
    for term in selector.match_expressions:
        have = labels.get(term.key)
        match term.operator:
            case "In":
                yield have in term.values
            case "NotIn":
                yield have not in term.values
            case "Exists":
                yield have is not None
            case "DoesNotExist":
                yield have is None


def _on_port(listed: list[Port], call: Call) -> bool:
    """None listed: all ports of all protocols."""
    return not listed or any(
        port.protocol == call.protocol and (port.port is None or port.port <= call.port <= (port.end_port or port.port))
        for port in listed
    )


def share_a_family(source: End, target: End) -> bool:
    return bool({one.version for one in source.addresses} & {one.version for one in target.addresses})
