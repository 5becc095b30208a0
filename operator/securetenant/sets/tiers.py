"""The policies above and below NetworkPolicies, as values: ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2),
and AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), which it replaces: https://network-policy-api.sigs.k8s.io

The rules of the tier Admin are asked first, by priority, the lower number first; then the NetworkPolicies, if any
select the pod; then, for other pods, the tier Baseline. In a tier the first rule that matches decides, for each port by
itself: Accept and Deny are final, Pass goes on to what comes after the tier, as where no rule matches; in the end all
passes.

What cannot be parsed (a field of a later version, an invalid value) is an `Unclear`: a rule alone, or the whole policy,
which then may select any pod.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from securetenant.model.objects import JsonValue, at
from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.matching import EVERYTHING, LabelSelector
from securetenant.sets.policy import Direction, PodPeer, Unclear, unclear
from securetenant.sets.ports import Ports, Range

Tier: TypeAlias = Literal["Admin", "Baseline"]
Action: TypeAlias = Literal["Accept", "Deny", "Pass"]
# By what is written: AdminNetworkPolicy has another word.
_ACTIONS: Final[dict[str, Action]] = {"Accept": "Accept", "Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}


class Nodes(NamedTuple):
    """The addresses of the selected nodes."""

    selected: selectors.Selector


class Domain(NamedTuple):
    """Whatever addresses a name has; "*.example" are all names below it."""

    name: str


# Pods, always of selected namespaces; all others are peers of egress alone.
Peer: TypeAlias = PodPeer | Block | Nodes | Domain


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with connections with one of the peers on one of the ports, by number and (of whatever protocol) by
    name."""

    action: Action
    peers: tuple[Peer, ...]
    ports: Ports = None
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """`subject`: its pods. `priority`: None for a BaselineAdminNetworkPolicy, of which there is one."""

    tier: Tier
    priority: int | None
    subject: PodPeer
    ingress: tuple[Rule | Unclear, ...] = ()
    egress: tuple[Rule | Unclear, ...] = ()

    def rules(self, direction: Direction) -> tuple[Rule | Unclear, ...]:
        return self.ingress if direction == "ingress" else self.egress


class _Given(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Strictly parsed JSON: a field that is not known here could change the meaning."""


class _OneOf(_Given):
    """Exactly one of the fields is given."""

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError(f"exactly one of {', '.join(self.__struct_encode_fields__)} is needed")


class _Pods(_Given):
    pod_selector: LabelSelector
    namespace_selector: LabelSelector | None = None


class _Subject(_OneOf):
    namespaces: LabelSelector | None = None
    pods: _Pods | None = None


class _Destination(_OneOf):
    namespaces: LabelSelector | None = None
    pods: _Pods | None = None
    nodes: LabelSelector | None = None
    networks: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    domain_names: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None


_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=ports.LOWEST, le=ports.HIGHEST)]
_Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Ends(_Given):
    start: _Number
    end: _Number

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ValueError("a range starts before it ends")


class _PortNumber(_Given):
    port: _Number
    protocol: _Protocol = "TCP"


class _PortRange(_Ends):
    protocol: _Protocol = "TCP"


class _Port(_OneOf):
    """Of v1alpha1."""

    port_number: _PortNumber | None = None
    port_range: _PortRange | None = None
    named_port: _Name | None = None


class _DestinationPort(_OneOf):
    number: _Number | None = None
    range: _Ends | None = None


class _Transport(_Given):
    destination_port: _DestinationPort | None = None


class _Matched(_OneOf):
    """Of v1alpha2."""

    tcp: _Transport | None = None
    udp: _Transport | None = None
    sctp: _Transport | None = None
    destination_named_port: _Name | None = None


class _Rule(_Given):
    action: Literal["Accept", "Allow", "Deny", "Pass"]
    name: str = ""
    ports: list[_Port] | None = None
    protocols: list[_Matched] | None = None


class _Ingress(_Rule, kw_only=True):
    peers: Annotated[list[_Subject], msgspec.Meta(min_length=1)] = msgspec.field(name="from")


class _Egress(_Rule, kw_only=True):
    peers: Annotated[list[_Destination], msgspec.Meta(min_length=1)] = msgspec.field(name="to")


class _Spec(_Given):
    subject: _Subject
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    tier: Tier | None = None
    ingress: list[Any] | None = None  # each rule is parsed by itself
    egress: list[Any] | None = None


def parsed(spec: JsonValue, *, baseline: bool = False) -> TierPolicy | Unclear:
    """The policy of a `spec`. `baseline`: it is a BaselineAdminNetworkPolicy."""
    try:
        return understood(spec, baseline=baseline)
    except ValueError:
        return unclear(spec)


def understood(spec: JsonValue, *, baseline: bool = False) -> TierPolicy:
    """The same; raises ValueError, with the reason, for what is not understood as a whole."""
    try:
        given = msgspec.convert(spec, _Spec)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if given.priority is None and not baseline:
        raise ValueError("a priority is needed")
    return TierPolicy(
        given.tier or ("Baseline" if baseline else "Admin"),
        given.priority,
        _pods(given.subject),
        _rules(given.ingress, _Ingress),
        _rules(given.egress, _Egress),
    )


def _rules(listed: Iterable[JsonValue] | None, form: type[_Ingress | _Egress]) -> tuple[Rule | Unclear, ...]:
    return tuple(_rule(item, form) for item in listed or ())


def _rule(item: JsonValue, form: type[_Ingress | _Egress]) -> Rule | Unclear:
    try:
        given = msgspec.convert(item, form)
        peers = tuple(peer for one in given.peers for peer in _peers(one))
    except (msgspec.ValidationError, ValueError):
        return unclear(item)
    if not given.ports and not given.protocols:
        return Rule(_ACTIONS[given.action], peers)
    found = [*map(_port, given.ports or ()), *map(_matched, given.protocols or ())]
    named = tuple(sorted({one for one in found if isinstance(one, str)}))
    return Rule(_ACTIONS[given.action], peers, ports.merged(one for one in found if isinstance(one, Range)), named)


def action_of(rule: Unclear) -> Action | None:
    """What a rule that is not understood does all the same, if that is understood."""
    return _ACTIONS.get(str(at(rule.json(), ["action"])))


def _peers(given: _Subject | _Destination) -> Iterable[Peer]:
    if isinstance(given, _Destination):
        if given.networks is not None:
            return [blocks.parsed(cidr) for cidr in given.networks]
        if given.domain_names is not None:
            return map(Domain, given.domain_names)
        if given.nodes is not None:
            return [Nodes(given.nodes.value)]
    return [_pods(given)]


def _pods(given: _Subject | _Destination) -> PodPeer:
    if given.pods is not None:
        return PodPeer((given.pods.namespace_selector or EVERYTHING).value, given.pods.pod_selector.value)
    return PodPeer((given.namespaces or EVERYTHING).value)


def _port(given: _Port) -> Range | str:
    if given.port_number is not None:
        return Range(given.port_number.protocol, given.port_number.port, given.port_number.port)
    if given.port_range is not None:
        return Range(given.port_range.protocol, given.port_range.start, given.port_range.end)
    return given.named_port or ""


def _matched(given: _Matched) -> Range | str:
    for protocol, transport in (("TCP", given.tcp), ("UDP", given.udp), ("SCTP", given.sctp)):
        if transport is not None:
            return _transport(protocol, transport.destination_port)
    return given.destination_named_port or ""


def _transport(protocol: str, port: _DestinationPort | None) -> Range:
    if port is None:
        return Range(protocol, ports.LOWEST, ports.HIGHEST)
    if port.range is not None:
        return Range(protocol, port.range.start, port.range.end)
    number = port.number or ports.LOWEST
    return Range(protocol, number, number)
