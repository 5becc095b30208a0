"""What a NetworkPolicy opens, as text: our own policies flow by flow, others in brief.

Parts that cannot be parsed are named as such, and count as open.
"""

from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple

from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import PEERS, Direction, Peer, Policy, Rule, Unclear
from securetenant.sets.selectors import Selector

_SHOWN: Final = 3  # peers that a message names
_EVERYWHERE: Final = "everywhere"
_ALL_PODS: Final = "all pods"
_UNCLEAR: Final = "unknown peers"
_OWN: Final[dict[Direction, str]] = {"ingress": "to", "egress": "from"}
_ADMITS: Final[dict[Direction, str]] = {"ingress": "to", "egress": "of"}


class Opening(NamedTuple):
    """One peer (`end`) that the policy's pods may talk to in a direction, on some ports; all as text.

    A peer is one namespace or one CIDR block: a policy that lists several has several openings. Equal openings are
    equal values, regardless of the order in the policy.
    """

    direction: Direction
    own: str
    end: str
    ports: str

    def __str__(self) -> str:
        return f"{self.direction} {_OWN[self.direction]} {self.own} {PEERS[self.direction]} {self.end} on {self.ports}"


def openings(policy: Policy | Unclear) -> frozenset[Opening]:
    """Everything that a NetworkPolicy opens."""
    if isinstance(policy, Unclear):
        return frozenset(_unclear(direction, "unknown pods", policy) for direction in PEERS)
    own = _pods(policy.pods) or _ALL_PODS
    return frozenset(
        opening
        for direction in PEERS
        for rule in policy.rules(direction) or ()
        for opening in _each_opening(direction, own, rule)
    )


def _unclear(direction: Direction, own: str, what: Unclear) -> Opening:
    return Opening(direction, own, f"{_UNCLEAR} ({what.text})", "unknown ports")


def _each_opening(direction: Direction, own: str, rule: Rule | Unclear) -> Iterator[Opening]:
    if isinstance(rule, Unclear):
        yield _unclear(direction, own, rule)
        return
    on = allowed(rule)
    ends = [_EVERYWHERE] if rule.peers is None else [end for peer in rule.peers for end in _each_end(peer)]
    yield from (Opening(direction, own, end, on) for end in ends)


def covered(opening: Opening, wanted: Container[Opening]) -> bool:
    """Whether the wanted openings include this one, for the same pods or for all. Wider peers and ports are not
    considered: False is the safe answer."""
    return opening in wanted or opening._replace(own=_ALL_PODS) in wanted


def _each_end(peer: Peer) -> list[str]:
    if isinstance(peer, Block):
        return [blocks.described(peer)]
    named = () if peer.namespaces is None else selectors.namespaces_of(peer.namespaces)
    places = [f"namespace {namespace}" for namespace in named] or [_place(peer.namespaces)]
    pods = _pods(peer.pods)
    return [f"{pods} of {place}" if pods else place for place in places]


def _place(namespaces: Selector | None) -> str:
    if namespaces is None:
        return "this namespace"
    return f"namespaces with {selectors.described(namespaces)}" if namespaces != selectors.ALL else "all namespaces"


def _pods(selected: Selector) -> str:
    return f"pods {selectors.described(selected)}" if selected != selectors.ALL else ""


def allowed(rule: Rule) -> str:
    """The ports of a rule: "TCP 8443, UDP 53-60, TCP web"."""
    numbers = [ports.described(rule.ports)] if rule.ports != ports.NONE else []
    return ", ".join([*numbers, *(f"{port.protocol} {port.name}" for port in rule.named)])


def described(policy: Policy | Unclear) -> str:
    """What a policy that others created opens, in brief: "admits ingress from everywhere to all pods"."""
    if isinstance(policy, Unclear):
        return "may open anything: it has fields or values that this version of SecureTenant does not know"
    chosen = _ALL_PODS if policy.pods == selectors.ALL else f"pods with {selectors.described(policy.pods)}"
    opened = [
        f"admits {direction} {PEERS[direction]} {_ends(rules)} {_ADMITS[direction]} {chosen}"
        for direction in PEERS
        if (rules := policy.rules(direction))
    ]
    return "; ".join(opened) or f"opens nothing, selects {chosen}"


def _ends(rules: Iterable[Rule | Unclear]) -> str:
    distinct = list(dict.fromkeys(end for rule in rules for end in _short_ends(rule)))
    if _EVERYWHERE in distinct:
        return _EVERYWHERE
    distinct.sort(key=lambda end: end != _UNCLEAR)  # first, so that it is always named
    return ", ".join(distinct[:_SHOWN]) + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")


def _short_ends(rule: Rule | Unclear) -> list[str]:
    if isinstance(rule, Unclear):
        return [_UNCLEAR]
    return [shown(None)] if rule.peers is None else [shown(peer) for peer in rule.peers]


def shown(peer: Peer | None) -> str:
    """A peer in brief, as its policy names it; None: everyone."""
    if peer is None:
        return _EVERYWHERE
    if isinstance(peer, Block):
        return _EVERYWHERE if peer in blocks.EVERYWHERE else peer.cidr
    place = _place(peer.namespaces)
    return place if peer.pods == selectors.ALL else f"pods with {selectors.described(peer.pods)} in {place}"
