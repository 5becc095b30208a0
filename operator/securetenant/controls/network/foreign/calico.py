"""Calico's NetworkPolicy and GlobalNetworkPolicy, as stored in crd.projectcalico.org/v1.

What selectors see was read in libcalico-go: a pod has its own labels, `projectcalico.org/namespace`, and the labels of
its namespace with the prefix `pcns.`; a selector of namespaces sees their labels and `projectcalico.org/name`.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Final

import msgspec

from securetenant.controls.network.foreign import reading
from securetenant.controls.network.foreign.reading import Direction, Effect, Part, Reading
from securetenant.model import names
from securetenant.model.objects import JsonValue
from securetenant.sets import calico, matching
from securetenant.sets.calico import NAME, NAMESPACE
from securetenant.sets.matching import Known, Names, Truth

_ACTIONS: Final = {"Allow": "allows", "Deny": "denies", "Pass": "leaves to the next tier", "Log": "logs"}
_OF_NAMESPACE: Final = "pcns."
_IN_PODS: Final = frozenset({NAMESPACE, _OF_NAMESPACE + NAME, _OF_NAMESPACE + names.LABEL_NAMESPACE_NAME})
_IN_NAMESPACES: Final = frozenset({NAME, names.LABEL_NAMESPACE_NAME})


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A field that is not known here could change the meaning."""


class _Accounts(_Strict):
    names: list[str] = []
    selector: str = ""


class _Service(_Strict):
    name: str = ""
    namespace: str = ""


class _Entity(_Strict):
    nets: list[str] = []
    not_nets: list[str] = []
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    service_accounts: _Accounts | None = None
    services: _Service | None = None
    ports: list[int | str] = []
    not_ports: list[int | str] = []
    domains: list[str] = []


class _Icmp(_Strict):
    type: int | None = None
    code: int | None = None


class _Rule(_Strict):
    action: str
    ip_version: int | None = None
    protocol: int | str | None = None
    not_protocol: int | str | None = None
    icmp: _Icmp | None = None
    not_icmp: _Icmp | None = msgspec.field(name="notICMP", default=None)
    source: _Entity = msgspec.field(default_factory=_Entity)
    destination: _Entity = msgspec.field(default_factory=_Entity)
    http: Any = None
    metadata: Any = None


class _Spec(_Strict):
    tier: str = ""
    order: float | None = None
    selector: str = ""
    namespace_selector: str = ""
    service_account_selector: str = ""
    types: list[str] = []
    ingress: list[Any] = []
    egress: list[Any] = []
    apply_on_forward: bool = False
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(name="preDNAT", default=False)
    performance_hints: list[str] = []


def read(spec: JsonValue, *, everywhere: bool) -> Reading:
    """`everywhere`: it is a GlobalNetworkPolicy, not one of a namespace."""
    try:
        given = msgspec.convert({} if spec is None else spec, _Spec)
        pods = calico.parsed(given.selector)
        spaces = calico.parsed(given.namespace_selector)
        calico.parsed(given.service_account_selector)
        if not {"Ingress", "Egress"}.issuperset(given.types):
            raise ValueError(f"types {', '.join(given.types)}")
    except (msgspec.ValidationError, ValueError) as error:
        return reading.unclear(error)
    about = [f"tier {given.tier}"] if given.tier else []
    about += [f"order {given.order:g}"] if given.order is not None else []
    both: tuple[tuple[Direction, list[Any]], ...] = (("ingress", given.ingress), ("egress", given.egress))
    effects = [
        _effect(raw, direction, everywhere=everywhere)
        for direction, rules in both
        if not given.types or direction.capitalize() in given.types
        for raw in rules
    ]

    def selects(name: str, labels: Mapping[str, str]) -> Truth:
        asked = [pods.matches(_of_pods(name, labels)), spaces.matches(_of_namespace(name, labels))]
        return matching.every([*asked, *([None] if given.service_account_selector else [])])

    named: Names = matching.common(pods.named(_IN_PODS), spaces.named(_IN_NAMESPACES)) if everywhere else None
    return Reading([Part(selects, _chosen(given), effects, named)], ", ".join(about))


def _chosen(given: _Spec) -> str:
    """Which pods are selected, as text."""
    texts = [given.selector, given.namespace_selector and f"namespace {given.namespace_selector}"]
    texts.append(given.service_account_selector and f"ServiceAccount {given.service_account_selector}")
    told = [reading.short(text) for text in texts if text and text != "all()"]
    return f"pods with {' and '.join(told)}" if told else "all pods"


def _of_pods(name: str, labels: Mapping[str, str]) -> Known:
    """What is known of the labels of every pod of a namespace."""

    def known(key: str) -> tuple[str | None, ...] | None:
        if key == NAMESPACE:
            return (name,)
        return _of_namespace(name, labels)(key.removeprefix(_OF_NAMESPACE)) if key.startswith(_OF_NAMESPACE) else None

    return known


def _of_namespace(name: str, labels: Mapping[str, str]) -> Known:
    return lambda key: (name,) if key == NAME else (labels.get(key),)


def _effect(raw: Any, direction: Direction, *, everywhere: bool) -> Effect:
    try:
        rule = msgspec.convert(raw, _Rule)
        if rule.action not in _ACTIONS:
            raise ValueError(f"action {rule.action}")
        peer, own = (rule.source, rule.destination) if direction == "ingress" else (rule.destination, rule.source)
        end = _end(peer, everywhere=everywhere)
        ports = ", ".join(_traffic(rule))
        only = _end(own, everywhere=everywhere)
    except (msgspec.ValidationError, ValueError):
        action = raw.get("action") if isinstance(raw, dict) else None
        return reading.rule_not_understood(_ACTIONS.get(str(action), reading.DOES_SOMETHING), direction)
    (told,) = reading.on([end], ports)
    if only != reading.EVERYWHERE:
        told = f"{told} ({'to' if direction == 'ingress' else 'from'} {only})"
    return Effect(_ACTIONS[rule.action], direction, (told,))


def _end(entity: _Entity, *, everywhere: bool) -> str:
    """One end of the traffic, as text: all that is named must hold. Raises ValueError."""
    accounts = entity.service_accounts or _Accounts()
    for text in (entity.selector, entity.not_selector, entity.namespace_selector, accounts.selector):
        calico.parsed(text)
    told = []
    if entity.nets:
        told.append(reading.listed([network(net) for net in entity.nets]))
    if entity.not_nets:
        told.append(f"not {reading.listed([network(net) for net in entity.not_nets])}")
    pods = [entity.selector] if entity.selector not in ("", "all()") else []
    pods += [f"!({entity.not_selector})"] if entity.not_selector else []
    if accounts.names:
        told.append(f"ServiceAccounts {reading.listed(accounts.names)}")
    if accounts.selector:
        told.append(f"ServiceAccounts with {reading.short(accounts.selector)}")
    if entity.services is not None:
        told.append(f"Service {entity.services.namespace or '(this namespace)'}/{entity.services.name}")
    if entity.domains:
        told.append(f"the names {reading.listed(entity.domains)}")
    if entity.namespace_selector or pods or entity.selector:
        which = f"pods with {reading.short(' && '.join(pods))}" if pods else "pods"
        told.append(f"{which} in {_where(entity.namespace_selector, everywhere=everywhere)}")
    return " and ".join(told) or reading.EVERYWHERE


def _where(selector: str, *, everywhere: bool) -> str:
    if not selector:
        return "all namespaces" if everywhere else "this namespace"
    return "all namespaces" if selector == "all()" else f"namespaces with {reading.short(selector)}"


def network(text: str) -> str:
    """A CIDR or an address as text. Raises ValueError."""
    block = ip_network(text, strict=False)
    return reading.EVERYWHERE if block.prefixlen == 0 else str(block)


def _traffic(rule: _Rule) -> Iterator[str]:
    """Protocol and ports, as text."""
    ports = [*map(str, rule.destination.ports), *(f"not {port}" for port in rule.destination.not_ports)]
    if rule.protocol is not None:
        yield " ".join([str(rule.protocol), ", ".join(ports)]).strip()
    elif ports:
        yield f"ports {', '.join(ports)}"
    if rule.not_protocol is not None:
        yield f"not {rule.not_protocol}"
    for icmp, word in ((rule.icmp, "ICMP"), (rule.not_icmp, "not ICMP")):
        if icmp is not None:
            yield " ".join(str(part) for part in (word, icmp.type, icmp.code) if part is not None)
    if sources := [*map(str, rule.source.ports), *(f"not {port}" for port in rule.source.not_ports)]:
        yield f"source ports {', '.join(sources)}"
    if rule.ip_version is not None:
        yield f"IPv{rule.ip_version}"
    if rule.http is not None:
        yield "some HTTP requests"
