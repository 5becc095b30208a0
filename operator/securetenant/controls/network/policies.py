"""The whitelist as NetworkPolicies: their names and bodies.

A peer in the cluster is one peer with both selectors (AND; two peers would be OR), with namespaces selected by the
label that the API server sets. The bodies equal what the API server returns (sets/policy.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from securetenant.controls.network.whitelist import Declaration
from securetenant.model.objects import Json
from securetenant.model.platform import Platform
from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Address, Block
from securetenant.sets.policy import Direction, Peer, PodPeer, Policy, Rule, rendered
from securetenant.sets.ports import Ports, Range
from securetenant.sets.selectors import Selector

_PREFIX: Final[Mapping[Direction, str]] = {"ingress": "securetenant-ingress-", "egress": "securetenant-egress-"}


class Within(NamedTuple):
    """Some pods of one namespace."""

    namespace: str
    selector: Selector


End: TypeAlias = Block | Within

# What identifies a policy: its namespace, direction, rule, and the pods it selects.
_Place: TypeAlias = tuple[str, Direction, str, Selector]


def of_whitelist(declared: Iterable[Declaration]) -> dict[str, list[tuple[str, Json]]]:
    """The policies of the whitelist by namespace, each with its name: one per rule and pod selector."""
    places: dict[_Place, dict[End, Ports]] = {}
    plain: dict[tuple[Direction, str], Selector | None] = {}
    for d in declared:
        plain[d.direction, d.rule.name] = d.own
        for flow in d.opened.flows:
            reached: Sequence[End] = (
                (flow.peer,)
                if isinstance(flow.peer, Block)
                else [Within(namespace, flow.peer.selector) for namespace in flow.peer.namespaces]
            )
            for namespace in flow.namespaces:
                ends = places.setdefault((namespace, d.direction, d.rule.name, flow.own), {})
                for end in reached:
                    ends[end] = ports.union(ends[end], flow.ports) if end in ends else flow.ports
    found: dict[str, list[tuple[str, Json]]] = {}
    for (namespace, direction, rule, own), ends in places.items():
        called = name(direction, rule, None if own == plain[direction, rule] else own)
        found.setdefault(namespace, []).append((called, opening(direction, own, ends)))
    return found


def name(direction: Direction, rule: str, narrowed: Selector | None = None) -> str:
    """The name of a rule's policy. `narrowed`: its pod selector, if it selects fewer pods than the rule.

    The suffix begins with a dot, which no rule name can contain, so names cannot collide.
    """
    suffix = "" if narrowed is None else f".{selectors.fingerprint(narrowed)}"
    return f"{_PREFIX[direction]}{rule}{suffix}"


def rule_of(name: str) -> tuple[Direction, str] | None:
    """The direction and the name of the rule that a policy of ours implements; None if it is not for a rule."""
    for direction, prefix in _PREFIX.items():
        if name.startswith(prefix):
            return direction, name.removeprefix(prefix).partition(".")[0]
    return None


def default_deny() -> Json:
    """No ingress and no egress, for every pod of the namespace."""
    return _body(Policy(ingress=(), egress=()))


def among(namespaces: Sequence[str], subnets: Iterable[Block] = ()) -> Json:
    """Traffic among all pods of these namespaces, which include the policy's own; within its own if none are given. And
    with those in these subnets."""
    own = PodPeer(selectors.of_namespaces(namespaces) if namespaces else None)
    together = (Rule((own, *sorted(subnets))),)
    return _body(Policy(ingress=together, egress=together))


@lru_cache(maxsize=8)
def dns(platform: Platform) -> Json:
    """Egress to the platform's DNS. Empty if it has none."""
    ends = of_dns(platform)
    return opening("egress", selectors.ALL, ends) if ends else {}


def of_dns(platform: Platform) -> dict[End, Ports]:
    """The platform's DNS: its pods, and addresses that no pod selector matches."""
    allowed = (Range("TCP", platform.dns_port, platform.dns_port), Range("UDP", platform.dns_port, platform.dns_port))
    ends: dict[End, Ports] = {blocks.declared(cidr): allowed for cidr in platform.dns_cidrs}
    if platform.dns_namespace:
        ends[Within(platform.dns_namespace, Selector(tuple(sorted(platform.dns_pod_labels))))] = allowed
    return ends


def to_addresses(reached: Mapping[Address, Ports]) -> Json:
    """Egress from all pods to these addresses, each on its ports."""
    return opening("egress", selectors.ALL, {blocks.host(address): allowed for address, allowed in reached.items()})


def opening(direction: Direction, own: Selector, ends: Mapping[End, Ports]) -> Json:
    """For the `own` pods, in one direction: each peer on its ports. Equal openings give equal bodies."""
    by_ports: dict[Ports, dict[Selector, list[str]]] = {}
    reached: dict[Ports, list[Block]] = {}
    for end, allowed in ends.items():
        if isinstance(end, Block):
            reached.setdefault(allowed, []).append(end)
        else:
            by_ports.setdefault(allowed, {}).setdefault(end.selector, []).append(end.namespace)
    rules: list[Rule] = []
    for allowed in sorted({*by_ports, *reached}, key=lambda item: (item is not None, item or ())):
        pods = sorted((sorted(found), selector) for selector, found in by_ports.get(allowed, {}).items())
        peers: list[Peer] = [PodPeer(selectors.of_namespaces(namespaces), selector) for namespaces, selector in pods]
        rules.append(Rule((*peers, *sorted(reached.get(allowed, ()))), allowed))
    opened = tuple(rules)
    return _body(Policy(own, ingress=opened) if direction == "ingress" else Policy(own, egress=opened))


def _body(policy: Policy) -> Json:
    return {"spec": rendered(policy)}
