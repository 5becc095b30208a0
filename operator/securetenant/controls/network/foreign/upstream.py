"""The kinds of sigs.k8s.io/network-policy-api: AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), and
ClusterNetworkPolicy (v1alpha2), which replaces both."""

from typing import Any, Final, Literal

import msgspec

from securetenant.controls.network.foreign import reading
from securetenant.controls.network.foreign.reading import Direction, Effect, Part, Reading
from securetenant.model.objects import JsonValue
from securetenant.sets import blocks, matching, selectors
from securetenant.sets.matching import EVERYTHING, LabelSelector

_ACTIONS: Final = {"Allow": "allows", "Accept": "allows", "Deny": "denies", "Pass": "leaves to NetworkPolicies"}


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A field that is not known here could change the meaning."""


class _Pods(_Strict):
    pod_selector: LabelSelector
    namespace_selector: LabelSelector | None = None


class _Subject(_Strict):
    namespaces: LabelSelector | None = None
    pods: _Pods | None = None

    def __post_init__(self) -> None:
        if (self.namespaces is None) == (self.pods is None):
            raise ValueError("a subject is either namespaces or pods")


class _Peer(_Strict):
    namespaces: LabelSelector | None = None
    pods: _Pods | None = None
    nodes: LabelSelector | None = None
    networks: list[str] | None = None
    domain_names: list[str] | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError("a peer has one form")


class _Number(_Strict):
    port: int
    protocol: str = "TCP"


class _Range(_Strict):
    start: int
    end: int
    protocol: str = "TCP"


class _Port(_Strict):
    """Of AdminNetworkPolicy."""

    port_number: _Number | None = None
    port_range: _Range | None = None
    named_port: str | None = None


class _Ends(_Strict):
    start: int
    end: int


class _Destination(_Strict):
    number: int | None = None
    range: _Ends | None = None


class _Transport(_Strict):
    destination_port: _Destination | None = None


class _Protocol(_Strict):
    """Of ClusterNetworkPolicy."""

    tcp: _Transport | None = None
    udp: _Transport | None = None
    sctp: _Transport | None = None
    destination_named_port: str | None = None


class _Rule(_Strict):
    action: Literal["Allow", "Accept", "Deny", "Pass"]
    name: str = ""
    sources: list[_Peer] | None = msgspec.field(name="from", default=None)
    destinations: list[_Peer] | None = msgspec.field(name="to", default=None)
    ports: list[_Port] | None = None
    protocols: list[_Protocol] | None = None


class _Spec(_Strict):
    subject: _Subject
    priority: int | None = None
    tier: Literal["Admin", "Baseline"] | None = None
    ingress: list[Any] = []
    egress: list[Any] = []


def read(spec: JsonValue, *, baseline: bool = False) -> Reading:
    """`baseline`: it is a BaselineAdminNetworkPolicy."""
    try:
        given = msgspec.convert(spec, _Spec)
    except (msgspec.ValidationError, ValueError) as error:
        return reading.unclear(error)._replace(last=baseline)
    pods = given.subject.pods
    chosen = (given.subject.namespaces or (pods and pods.namespace_selector) or EVERYTHING).value
    effects = [
        *(_effect(rule, "ingress") for rule in given.ingress),
        *(_effect(rule, "egress") for rule in given.egress),
    ]
    of = reading.pods_of(pods.pod_selector.value if pods is not None else selectors.ALL)
    part = Part(reading.by_labels(chosen), of, effects, matching.named(chosen))
    about = [f"tier {given.tier}"] if given.tier else []
    about += [f"priority {given.priority}"] if given.priority is not None else []
    return Reading([part], ", ".join(about), last=baseline or given.tier == "Baseline")


def _effect(raw: Any, direction: Direction) -> Effect:
    try:
        rule = msgspec.convert(raw, _Rule)
        peers = rule.sources if direction == "ingress" else rule.destinations
        if not peers or (rule.sources is None) == (rule.destinations is None):
            raise ValueError("a rule has peers")
        ends = [end for peer in peers for end in _ends(peer)]
        ports = ", ".join([*map(_port, rule.ports or ()), *(p for one in rule.protocols or () for p in _protocol(one))])
    except (msgspec.ValidationError, ValueError):
        action = raw.get("action") if isinstance(raw, dict) else None
        return reading.rule_not_understood(_ACTIONS.get(str(action), reading.DOES_SOMETHING), direction)
    return Effect(_ACTIONS[rule.action], direction, reading.on(ends, ports))


def _ends(peer: _Peer) -> list[str]:
    if peer.namespaces is not None:
        return [reading.namespaces_of(peer.namespaces.value)]
    if peer.pods is not None:
        places = reading.namespaces_of((peer.pods.namespace_selector or EVERYTHING).value)
        pods = peer.pods.pod_selector.value
        return [places if pods == selectors.ALL else f"{reading.pods_of(pods)} in {places}"]
    if peer.nodes is not None:
        chosen = selectors.described(peer.nodes.value)
        return [f"nodes with {reading.short(chosen)}" if chosen else "all nodes"]
    if peer.networks is not None:
        return [network(cidr) for cidr in peer.networks]
    return [f"the name {reading.short(name)}" for name in peer.domain_names or ()]


def network(cidr: str) -> str:
    """A CIDR as text. Raises ValueError."""
    block = blocks.parsed(cidr, ())
    return reading.EVERYWHERE if block in blocks.EVERYWHERE else block.cidr


def _port(port: _Port) -> str:
    if port.port_number is not None:
        return f"{port.port_number.protocol} {port.port_number.port}"
    if port.port_range is not None:
        return f"{port.port_range.protocol} {port.port_range.start}-{port.port_range.end}"
    if port.named_port is not None:
        return f"port {port.named_port}"
    raise ValueError("a port has one form")


def _protocol(given: _Protocol) -> list[str]:
    found = [f"port {given.destination_named_port}"] if given.destination_named_port is not None else []
    for name in ("tcp", "udp", "sctp"):
        transport: _Transport | None = getattr(given, name)
        if transport is None:
            continue
        port = transport.destination_port
        if port is None:
            found.append(f"all {name.upper()} ports")
        elif port.number is not None:
            found.append(f"{name.upper()} {port.number}")
        elif port.range is not None:
            found.append(f"{name.upper()} {port.range.start}-{port.range.end}")
        else:
            raise ValueError("a port has one form")
    if not found:
        raise ValueError("a protocol has one form")
    return found
