"""The two ends of a question to `reach`, and the port: read from text, and found in what is there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, NamedTuple, TypeAlias

from securetenant.cli.reach_states import ReachError, State
from securetenant.model.objects import Json, JsonValue, at
from securetenant.reach import kube_ovn
from securetenant.reach.reading import PODS
from securetenant.reach.values import Pod
from securetenant.sets import labels, ports
from securetenant.sets.blocks import Network
from securetenant.sets.labels import Labels, Values
from securetenant.sets.ports import Ports, Range

_NAME: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SELECTED: Final = re.compile(rf"(?P<namespace>{_NAME})\{{(?P<labels>[^{{}}]*)\}}")
_LABEL: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_./]*)=([-A-Za-z0-9_.]*)")
_NAMED: Final = re.compile(rf"(?P<namespace>{_NAME})(?:/(?P<kind>[A-Za-z]+)/(?P<name>[a-z0-9][-a-z0-9.]*))?")
_BEHIND: Final = re.compile(rf"(?P<kind>service|ingress)/(?P<namespace>{_NAME})/(?P<name>[a-z0-9][-a-z0-9.]*)")
_WORKLOADS: Final = frozenset(kind.lower() for _, kind in PODS)
_PORT: Final = re.compile(r"(?:(?P<protocol>TCP|UDP|SCTP)/)?(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?")
_FORMS: Final = (
    "a namespace (payments-prod), pods by labels ('payments-prod{app=web}'), a workload "
    "(payments-prod/deployment/web), a service (service/payments-prod/web), an ingress (ingress/payments-prod/web), "
    "or addresses (203.0.113.7, 10.8.0.0/16)"
)


class Selected(NamedTuple):
    """Any pod of a namespace with these labels."""

    namespace: str
    pods: Labels = labels.EVERY


@dataclass(frozen=True, slots=True)
class Known:
    """These pods, or those of these workloads."""

    pods: Sequence[Pod]

    @property
    def namespace(self) -> str:
        return self.pods[0].namespace


class Addresses(NamedTuple):
    """Outside the cluster."""

    network: Network


End: TypeAlias = Selected | Known | Addresses


class Target(NamedTuple):
    """One end that is asked for, and the ports there. `about`: what led to it, where that was a Service."""

    end: End
    ports: Ports = None
    about: str = ""


def port(text: str) -> Ports:
    """ "TCP/8443", "UDP/5000-5010", "8443". Raises ReachError."""
    found = _PORT.fullmatch(text.upper())
    low = int(found["low"]) if found else 0
    high = int(found["high"] or low) if found else 0
    if found is None or not 1 <= low <= high <= ports.HIGHEST:
        raise ReachError(f"--port {text} is none: write TCP/8443, UDP/53 or TCP/5000-5010")
    return (Range(found["protocol"] or "TCP", low, high),)


def needs_pods(*texts: str | None) -> bool:
    """Whether pods, or workloads, must be known to answer."""
    return any(text is not None and "/" in text and not _is_address(text) for text in texts)


def needs_services(*texts: str | None) -> bool:
    return any(text is not None and _behind(text) for text in texts)


def _behind(text: str) -> re.Match[str] | None:
    """A Service or an Ingress; not a workload in a namespace of such a name."""
    found = _BEHIND.fullmatch(text)
    return None if found is None or found["namespace"] in _WORKLOADS else found


def _is_address(text: str) -> bool:
    return (":" in text or bool(re.fullmatch(r"[0-9.]+(/\d+)?", text))) and "{" not in text


def source(text: str, state: State) -> End:
    """Raises ReachError."""
    if _behind(text):
        raise ReachError(f"--from {text}: connections begin at pods, not at a Service: name its pods")
    return _end(text, state, "--from")


def targets(text: str, wanted: Ports, state: State) -> list[Target]:
    """Raises ReachError."""
    found = _behind(text)
    if found is None:
        return [Target(_end(text, state, "--to"), wanted)]
    namespace, name = found["namespace"], found["name"]
    if found["kind"] == "service":
        return list(_of_service(namespace, name, wanted, None, state))
    if wanted is not None:
        raise ReachError(f"--port with --to {text}: an Ingress leads to the ports of its backends: leave --port out")
    body = _object("Ingress", "networking.k8s.io/v1", namespace, name, state)
    backends = dict.fromkeys(_backends(body))
    if not backends:
        raise ReachError(f"Ingress {namespace}/{name} leads to no Service")
    return [one for service, to in backends for one in _of_service(namespace, service, None, to, state)]


def _end(text: str, state: State, option: str) -> End:
    if _is_address(text):
        return _address(text, state, option)
    if found := _SELECTED.fullmatch(text):
        return Selected(_namespace(found["namespace"], state, option), _labels(found["labels"], text, option))
    found = _NAMED.fullmatch(text)
    if found is None:
        raise ReachError(f"{option} {text} is not understood: write {_FORMS}")
    namespace = _namespace(found["namespace"], state, option)
    if found["kind"] is None:
        return Selected(namespace)
    called = f"{found['kind']}/{found['name']}"
    pods = [one for one in state.read.pods.get(namespace, ()) if one.name.lower() == called.lower()]
    if not pods:
        there = ", ".join(sorted(one.name for one in state.read.pods.get(namespace, ()))[:10]) or "none"
        raise ReachError(f"{option} {text}: no {called} is known in {namespace}; known there: {there}")
    return Known(pods)


def _namespace(name: str, state: State, option: str) -> str:
    if name not in state.cluster.namespaces:
        there = ", ".join(sorted(state.cluster.namespaces)[:20])
        raise ReachError(f"{option}: no namespace {name} is known; there are: {there}")
    return name


def _labels(text: str, whole: str, option: str) -> Labels:
    found: dict[str, Values] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        label = _LABEL.fullmatch(part)
        if label is None:
            raise ReachError(f"{option} {whole}: {part} is no label: write app=web,tier=front")
        found[label[1]] = Values(frozenset((label[2],)), but=False, absent=False)
    return tuple(sorted(found.items()))


def _address(text: str, state: State, option: str) -> End:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise ReachError(f"{option} {text} is no address: {error}") from error
    if network.num_addresses == 1:
        pods = [one for listed in state.read.pods.values() for one in listed if network[0] in one.addresses]
        if pods:
            return Known(pods)
    cluster = kube_ovn.located(state.cluster)
    for name, blocks in cluster.subnets.items():
        if any(network.version == one.version and network.overlaps(one) for one in blocks):
            raise ReachError(f"{option} {text} is of the pods of {name}: name the namespace, or a pod of it")
    if any(network.version == one.version and network.overlaps(one) for one in cluster.ranges):
        raise ReachError(f"{option} {text} is an address of the cluster: name a pod or a namespace")
    return Addresses(network)


# --- what stands before pods


def _object(kind: str, version: str, namespace: str, name: str, state: State) -> Json:
    for body in reversed(state.objects):
        if body.get("kind") == kind and body.get("apiVersion") == version:
            where = at(body, ("metadata", "namespace")) or "default"
            if (where, at(body, ("metadata", "name"))) == (namespace, name):
                return body
    raise ReachError(f"there is no {kind} {namespace}/{name}")


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _backends(ingress: Json) -> Iterator[tuple[str, int | str]]:
    """Services, each with the port by number or name."""
    found = [at(ingress, ("spec", "defaultBackend"))]
    for rule in _listed(at(ingress, ("spec", "rules"))):
        found += [at(path, ("backend",)) for path in _listed(at(rule, ("http", "paths")))]
    for backend in found:
        name, to = at(backend, ("service", "name")), at(backend, ("service", "port"))
        port = (at(to, ("number",)) or at(to, ("name",))) if to is not None else None
        if isinstance(name, str) and isinstance(port, int | str):
            yield name, port


def _of_service(namespace: str, name: str, wanted: Ports, only: int | str | None, state: State) -> Iterator[Target]:
    """The pods behind it, with the ports there. `wanted`, `only`: ports of the Service."""
    body = _object("Service", "v1", namespace, name, state)
    selector = at(body, ("spec", "selector"))
    if not isinstance(selector, dict) or not selector:
        raise ReachError(f"Service {namespace}/{name} selects no pods: ask for the addresses behind it")
    chosen = labels.both(
        (), tuple(sorted((k, Values(frozenset((str(v),)), False, False)) for k, v in selector.items()))
    )
    assert chosen is not None
    pods = [one for one in state.read.pods.get(namespace, ()) if labels.matched(chosen, one.labels)]
    end: End = Known(pods) if pods else Selected(namespace, chosen)
    found = False
    for given in _listed(at(body, ("spec", "ports"))):
        number, protocol = at(given, ("port",)), str(at(given, ("protocol",)) or "TCP")
        if not isinstance(number, int) or (only is not None and only not in (number, at(given, ("name",)))):
            continue
        if wanted is not None and ports.intersection(wanted, (Range(protocol, number, number),)) == ports.NONE:
            continue
        found = True
        about = f"Service {namespace}/{name}, port {number}"
        to = at(given, ("targetPort",)) or number
        if isinstance(to, int):
            yield Target(end, (Range(protocol, to, to),), about)
            continue
        if not pods:
            raise ReachError(f"{about} leads to the port {to} by name: no pod or workload that it selects is known")
        by_number = _by_number(pods, str(to), protocol)
        if not by_number:
            raise ReachError(f"{about} leads to the port {to}, and none of its pods has it")
        for port, listed in by_number.items():
            yield Target(Known(listed), (Range(protocol, port, port),), about)
    if not found:
        raise ReachError(f"Service {namespace}/{name} has no such port")


def _by_number(pods: Sequence[Pod], name: str, protocol: str) -> Mapping[int, Sequence[Pod]]:
    found: dict[int, list[Pod]] = {}
    for pod in pods:
        have = pod.named.get(name)
        if have is not None and have[0] == protocol:
            found.setdefault(have[1], []).append(pod)
    return found
