"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2).

After pkg/k8s/apis/cilium.io/utils and pkg/policy: a policy of a namespace selects there alone; a rule without peers is
for everyone where it has ports, and for nobody where it has none; a list that is there and empty is nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from securetenant.controls.network.foreign import reading
from securetenant.controls.network.foreign.calico import network
from securetenant.controls.network.foreign.reading import Direction, Effect, Part, Reading
from securetenant.model import names
from securetenant.model.objects import JsonValue
from securetenant.sets import matching, selectors
from securetenant.sets.matching import Known, LabelSelector, Names, Truth
from securetenant.sets.selectors import Selector

_NAMESPACE: Final = "io.kubernetes.pod.namespace"
_OF_NAMESPACE: Final = "io.cilium.k8s.namespace.labels."
_SOURCES: Final = ("k8s", "any")
_NAMES: Final = tuple(
    f"{source}{key}"
    for source in ("", *(f"{one}:" for one in _SOURCES))
    for key in (_NAMESPACE, _OF_NAMESPACE + names.LABEL_NAMESPACE_NAME)
)
_ENTITIES: Final = {"all": reading.EVERYWHERE, "world": "outside of the cluster", "cluster": "all of the cluster"}


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A field that is not known here could change the meaning."""


class _Default(_Strict):
    ingress: bool | None = None
    egress: bool | None = None


class _Rules(_Strict, rename="camel"):
    """A spec: which pods, and four lists of rules. `labels`, `description` and `log` are for people."""

    endpoint_selector: LabelSelector | None = None
    node_selector: LabelSelector | None = None
    ingress: list[Any] | None = None
    ingress_deny: list[Any] | None = None
    egress: list[Any] | None = None
    egress_deny: list[Any] | None = None
    enable_default_deny: _Default | None = None
    labels: Any = None
    description: Any = None
    log: Any = None


class _Set(_Strict):
    cidr: str | None = None
    group: str | None = msgspec.field(name="cidrGroupRef", default=None)
    groups: LabelSelector | None = msgspec.field(name="cidrGroupSelector", default=None)
    excepts: list[str] = msgspec.field(name="except", default_factory=list)


class _Service(_Strict):
    name: Any = msgspec.field(name="k8sService", default=None)
    selector: Any = msgspec.field(name="k8sServiceSelector", default=None)


class _Port(_Strict):
    port: str | int = ""
    end: int | None = msgspec.field(name="endPort", default=None)
    protocol: str = "ANY"


class _Ports(_Strict, rename="camel"):
    ports: list[_Port] | None = None
    rules: Any = None
    server_names: Any = None
    listener: Any = None
    originating_tls: Any = msgspec.field(name="originatingTLS", default=None)
    terminating_tls: Any = msgspec.field(name="terminatingTLS", default=None)


class _Fqdn(_Strict, rename="camel"):
    match_name: str = ""
    match_pattern: str = ""


class _Peers(_Strict):
    """Both directions' fields by one name; those of the other direction are not known."""

    endpoints: list[LabelSelector] | None = None
    cidrs: list[str] | None = None
    sets: list[_Set] | None = None
    entities: list[str] | None = None
    groups: list[Any] | None = None
    nodes: list[LabelSelector] | None = None
    services: list[_Service] | None = None
    fqdns: list[_Fqdn] | None = None
    ports: list[_Ports] | None = None
    icmps: list[Any] | None = None
    authentication: Any = None


_COMMON: Final = {"toPorts": "ports", "icmps": "icmps", "authentication": "authentication"}
_FIELDS: Final[Mapping[Direction, Mapping[str, str]]] = {
    "ingress": _COMMON
    | {
        "fromEndpoints": "endpoints",
        "fromCIDR": "cidrs",
        "fromCIDRSet": "sets",
        "fromEntities": "entities",
        "fromGroups": "groups",
        "fromNodes": "nodes",
    },
    "egress": _COMMON
    | {
        "toEndpoints": "endpoints",
        "toCIDR": "cidrs",
        "toCIDRSet": "sets",
        "toEntities": "entities",
        "toGroups": "groups",
        "toNodes": "nodes",
        "toServices": "services",
        "toFQDNs": "fqdns",
    },
}


def read(spec: JsonValue, specs: JsonValue, *, everywhere: bool) -> Reading:
    """An object has a `spec`, or several `specs`, or both. `everywhere`: it is a CiliumClusterwideNetworkPolicy."""
    listed = [spec] if spec is not None else []
    if specs is not None and not isinstance(specs, list):
        return reading.unclear("specs is no list")
    found = [part for one in (*listed, *(specs or ())) for part in _parts(one, everywhere=everywhere)]
    return Reading(found)


def _parts(spec: JsonValue, *, everywhere: bool) -> Sequence[Part]:
    try:
        given = msgspec.convert(spec, _Rules)
    except (msgspec.ValidationError, ValueError) as error:
        return reading.unclear(error).parts
    if given.node_selector is not None:
        return ()  # the nodes themselves, and what runs in their network
    if given.endpoint_selector is None:
        return reading.unclear("it selects neither pods nor nodes").parts
    both: tuple[tuple[str, Direction, list[Any] | None], ...] = (
        ("allows", "ingress", given.ingress),
        ("denies", "ingress", given.ingress_deny),
        ("allows", "egress", given.egress),
        ("denies", "egress", given.egress_deny),
    )
    if not any(rules for _, _, rules in both):
        return ()
    effects = [
        _effect(raw, action, direction, everywhere=everywhere)
        for action, direction, rules in both
        for raw in rules or ()
    ]
    chosen = given.endpoint_selector.value
    if not everywhere:
        return [Part(reading.anywhere, reading.pods_of(chosen), effects)]

    def selects(name: str, labels: Mapping[str, str]) -> Truth:
        return matching.matches(chosen, _of_pods(name, labels))

    named: Names = matching.named(chosen, _NAMES)
    return [Part(selects, reading.pods_of(chosen), effects, named)]


def _of_pods(name: str, labels: Mapping[str, str]) -> Known:
    """What is known of the labels of every pod of a namespace. Cilium may be set up to leave some out."""

    def known(key: str) -> tuple[str | None, ...] | None:
        source, colon, rest = key.partition(":")
        if colon and source not in _SOURCES:
            return None
        inner = rest if colon else key
        if inner == _NAMESPACE:
            return (name,)
        if not inner.startswith(_OF_NAMESPACE):
            return None
        have = labels.get(inner.removeprefix(_OF_NAMESPACE))
        return (None,) if have is None else (have, None)

    return known


def _effect(raw: Any, action: str, direction: Direction, *, everywhere: bool) -> Effect:
    fields = _FIELDS[direction]
    try:
        if not isinstance(raw, dict) or not raw.keys() <= fields.keys():
            raise ValueError("a field is not known")
        rule = msgspec.convert({fields[key]: value for key, value in raw.items()}, _Peers)
        ends, ports = _ends(rule, everywhere=everywhere), ", ".join(_ports(rule))
    except (msgspec.ValidationError, ValueError):
        return reading.rule_not_understood(action, direction)
    return Effect(action, direction, reading.on(ends, ports))


def _ends(rule: _Peers, *, everywhere: bool) -> list[str]:
    given = (rule.endpoints, rule.cidrs, rule.sets, rule.entities, rule.groups, rule.nodes, rule.services, rule.fqdns)
    if all(one is None for one in given):
        return [reading.EVERYWHERE] if rule.ports or rule.icmps else []
    if [] in (rule.endpoints, rule.nodes, rule.entities, rule.cidrs, rule.sets):
        return []
    found = [_endpoints(one.value, everywhere=everywhere) for one in rule.endpoints or ()]
    found += [network(cidr) for cidr in rule.cidrs or ()]
    found += [_set(one) for one in rule.sets or ()]
    found += [_ENTITIES.get(entity, f"the entity {entity}") for entity in rule.entities or () if entity != "none"]
    found += ["groups of a cloud provider"] if rule.groups else []
    found += [f"nodes with {reading.short(selectors.described(one.value)) or 'any labels'}" for one in rule.nodes or ()]
    found += [_service(one) for one in rule.services or ()]
    found += [f"the name {reading.short(one.match_name or one.match_pattern)}" for one in rule.fqdns or ()]
    return found


def _endpoints(selected: Selector, *, everywhere: bool) -> str:
    given = (*(key for key, _ in selected.labels), *(term.key for term in selected.expressions))
    keys = [key.partition(":")[2] if ":" in key else key for key in given]
    is_free = any(key == _NAMESPACE or key.startswith(_OF_NAMESPACE) for key in keys)
    where = "" if is_free else " in all namespaces" if everywhere else " in this namespace"
    return f"{reading.pods_of(selected)}{where}"


def _set(given: _Set) -> str:
    if given.cidr is not None:
        found = network(given.cidr)
    elif given.group is not None or given.groups is not None:
        found = f"the CiliumCIDRGroup {given.group}" if given.group is not None else "CiliumCIDRGroups by their labels"
    else:
        raise ValueError("a block has one form")
    return f"{found} without {reading.listed(list(map(network, given.excepts)))}" if given.excepts else found


def _service(given: _Service) -> str:
    if isinstance(given.name, dict):
        return f"Service {given.name.get('namespace', '')}/{given.name.get('serviceName', '')}"
    if given.selector is None:
        raise ValueError("a Service has one form")
    return "Services by their labels"


def _ports(rule: _Peers) -> Iterable[str]:
    for one in rule.ports or ():
        narrowed = any(part is not None for part in (one.rules, one.server_names, one.listener))
        for port in one.ports or [_Port()]:
            number = str(port.port) if str(port.port) not in ("", "0") else "all ports"
            number += f"-{port.end}" if port.end else ""
            told = number if port.protocol == "ANY" else f"{port.protocol} {number}"
            yield f"{told} (some requests)" if narrowed else told
    if rule.icmps:
        yield "ICMP"
