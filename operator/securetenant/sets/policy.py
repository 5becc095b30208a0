"""NetworkPolicies as values: parsed from a `spec`, and rendered to one.

The API's implicit rules (https://kubernetes.io/docs/concepts/services-networking/network-policies/) are explicit here:
a direction that the policy does not affect is None, also if `policyTypes` is omitted; a peer with both selectors is one
peer (AND), two peers are OR; a rule without peers or without ports applies to all, which is None, never an empty list.

A rule or a policy that cannot be parsed (a field of a later Kubernetes, an invalid value) is an `Unclear`: callers must
treat it as if it opens everything.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from securetenant.model.objects import Json, JsonValue
from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.ports import Ports, Range
from securetenant.sets.selectors import Expression, Selector

Direction: TypeAlias = Literal["ingress", "egress"]
TYPE: Final[Mapping[Direction, Literal["Ingress", "Egress"]]] = {"ingress": "Ingress", "egress": "Egress"}
PEERS: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}


class NamedPort(NamedTuple):
    """A named port: its number depends on the pod."""

    protocol: str
    name: str


@dataclass(frozen=True, slots=True)
class PodPeer:
    """The selected pods of the selected namespaces; `namespaces` None: the policy's own namespace."""

    namespaces: Selector | None
    pods: Selector = selectors.ALL


Peer: TypeAlias = Block | PodPeer


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: each of the peers (None: everyone) on each of the ports, by number and by name.

    Raises ValueError for a rule without any peer or port: in JSON, an empty list would mean all of them.
    """

    peers: tuple[Peer, ...] | None = None
    ports: Ports = None
    named: tuple[NamedPort, ...] = ()

    def __post_init__(self) -> None:
        if self.peers == () or (self.ports == ports.NONE and not self.named) or (self.ports is None and self.named):
            raise ValueError("a rule needs peers and ports, or None for all: omit a rule that opens nothing")


@dataclass(frozen=True, slots=True)
class Unclear:
    """A rule, or a whole policy, that cannot be parsed: its JSON, with sorted keys."""

    text: str

    def json(self) -> JsonValue:
        value: JsonValue = json.loads(self.text)
        return value


Rules: TypeAlias = tuple[Rule | Unclear, ...] | None


@dataclass(frozen=True, slots=True)
class Policy:
    """The selected `pods` of the policy's namespace, and the rules for each direction.

    `None`: the policy does not affect this direction; `()`: it closes it and opens nothing. Raises ValueError if both
    are None: that cannot be expressed in JSON.
    """

    pods: Selector = selectors.ALL
    ingress: Rules = None
    egress: Rules = None

    def __post_init__(self) -> None:
        if self.ingress is None and self.egress is None:
            raise ValueError("a policy must affect ingress, egress or both")

    def rules(self, direction: Direction) -> Rules:
        return self.ingress if direction == "ingress" else self.egress


class _Given(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Strictly parsed JSON. A null field counts as omitted, as in the API server."""


class _Expression(_Given):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] | None = None

    def __post_init__(self) -> None:
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            raise ValueError("In and NotIn need values, other operators have none")


class _Selector(_Given):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


class _Block(_Given):
    cidr: str
    excepts: list[str] | None = msgspec.field(default=None, name="except")


class _Peer(_Given):
    ip_block: _Block | None = None
    namespace_selector: _Selector | None = None
    pod_selector: _Selector | None = None

    def __post_init__(self) -> None:
        selects = self.namespace_selector is not None or self.pod_selector is not None
        if selects == (self.ip_block is not None):
            raise ValueError("a peer has either ipBlock or selectors")


_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=ports.LOWEST, le=ports.HIGHEST)]


class _Port(_Given):
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    port: _Number | Annotated[str, msgspec.Meta(min_length=1)] | None = None
    end_port: _Number | None = None

    def __post_init__(self) -> None:
        if self.end_port is not None and not (isinstance(self.port, int) and self.port <= self.end_port):
            raise ValueError("endPort needs a numeric port that is not more than endPort")


class _Ingress(_Given):
    peers: list[_Peer] | None = msgspec.field(default=None, name="from")
    ports: list[_Port] | None = None


class _Egress(_Given):
    peers: list[_Peer] | None = msgspec.field(default=None, name="to")
    ports: list[_Port] | None = None


class _Spec(_Given):
    pod_selector: _Selector | None = None
    policy_types: list[Literal["Ingress", "Egress"]] | None = None
    ingress: list[Any] | None = None  # each rule is parsed by itself
    egress: list[Any] | None = None

    def is_for(self, direction: Direction) -> bool:
        """If `policyTypes` is omitted: always Ingress, and Egress if there are egress rules."""
        if self.policy_types:
            return TYPE[direction] in self.policy_types
        return direction == "ingress" or bool(self.egress)


def parsed(spec: JsonValue) -> Policy | Unclear:
    """The policy of a `spec`; an omitted one selects all pods and opens no ingress, as in the API server."""
    try:
        given = msgspec.convert({} if spec is None else spec, _Spec)
    except msgspec.ValidationError:
        return unclear(spec)
    return Policy(
        _selector(given.pod_selector),
        _rules(given.ingress, _Ingress) if given.is_for("ingress") else None,
        _rules(given.egress, _Egress) if given.is_for("egress") else None,
    )


def _rules(listed: Iterable[JsonValue] | None, form: type[_Ingress | _Egress]) -> Rules:
    return tuple(_rule(item, form) for item in listed or ())


def _rule(item: JsonValue, form: type[_Ingress | _Egress]) -> Rule | Unclear:
    try:
        given = msgspec.convert(item, form)
        peers = tuple(map(_peer, given.peers or ())) or None
    except (msgspec.ValidationError, ValueError):
        return unclear(item)
    if not given.ports:
        return Rule(peers)
    found = [_port(port) for port in given.ports]
    named = {port for port in found if isinstance(port, NamedPort)}
    return Rule(peers, ports.merged(port for port in found if isinstance(port, Range)), tuple(sorted(named)))


def _port(given: _Port) -> Range | NamedPort:
    protocol = given.protocol or "TCP"
    if given.port is None:
        return Range(protocol, ports.LOWEST, ports.HIGHEST)
    if isinstance(given.port, str):
        return NamedPort(protocol, given.port)
    return Range(protocol, given.port, given.port if given.end_port is None else given.end_port)


def _peer(given: _Peer) -> Peer:
    if given.ip_block is not None:
        return blocks.parsed(given.ip_block.cidr, given.ip_block.excepts or ())
    namespaces = None if given.namespace_selector is None else _selector(given.namespace_selector)
    return PodPeer(namespaces, _selector(given.pod_selector))


def _selector(given: _Selector | None) -> Selector:
    if given is None:
        return selectors.ALL
    terms = (Expression(e.key, e.operator, tuple(e.values or ())) for e in given.match_expressions or ())
    return Selector(tuple(sorted((given.match_labels or {}).items())), tuple(terms))


def unclear(value: JsonValue) -> Unclear:
    """Of JSON that cannot be parsed."""
    return Unclear(json.dumps(value, sort_keys=True, ensure_ascii=False))


def rendered(policy: Policy | Unclear) -> JsonValue:
    """The `spec` as the API server returns it: without empty fields, but always with `policyTypes`."""
    if isinstance(policy, Unclear):
        return policy.json()
    types: list[JsonValue] = [kind for direction, kind in TYPE.items() if policy.rules(direction) is not None]
    spec: Json = {"podSelector": selectors.rendered(policy.pods), "policyTypes": types}
    for direction, peers in PEERS.items():
        if rules := policy.rules(direction):
            spec[direction] = [_rendered_rule(rule, peers) for rule in rules]
    return spec


def _rendered_rule(rule: Rule | Unclear, peers: str) -> JsonValue:
    if isinstance(rule, Unclear):
        return rule.json()
    found: Json = {}
    if rule.peers is not None:
        found[peers] = [_rendered_peer(peer) for peer in rule.peers]
    if rule.ports is not None:
        named: list[JsonValue] = [{"protocol": port.protocol, "port": port.name} for port in rule.named]
        found["ports"] = [*ports.rendered(rule.ports), *named]
    return found


def _rendered_peer(peer: Peer) -> JsonValue:
    if isinstance(peer, Block):
        return {"ipBlock": blocks.rendered(peer)}
    found: Json = {}
    if peer.namespaces is not None:
        found["namespaceSelector"] = selectors.rendered(peer.namespaces)
    if peer.namespaces is None or peer.pods != selectors.ALL:
        found["podSelector"] = selectors.rendered(peer.pods)
    return found
