"""Where the API server is, as packets see it after the Service's address was translated: default/kubernetes."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

from securetenant.api.kinds import ENDPOINT_SLICE
from securetenant.api.objects import JsonValue, Observed
from securetenant.controls import ports
from securetenant.controls.plan import World
from securetenant.controls.ports import Ports, Range

Address: TypeAlias = IPv4Address | IPv6Address


class _Endpoint(NamedTuple):
    address: Address
    ready: bool


def addresses(world: World) -> frozenset[Address]:
    """All that are known, ready or not and whatever their ports: what is closed must not depend on either."""
    return frozenset(end.address for observed in _slices(world) for end in _endpoints(observed.field("endpoints")))


def ready(world: World) -> dict[Address, Ports]:
    """The ready ones and their ports: what there is to open."""
    found: dict[Address, Ports] = {}
    for observed in _slices(world):
        allowed = ports.merged(_ports(observed.field("ports")))
        for end in _endpoints(observed.field("endpoints")) if allowed else ():
            if end.ready:
                found[end.address] = ports.union(found.get(end.address, ports.NONE), allowed)
    return found


def _slices(world: World) -> Iterator[Observed]:
    for observed in world.in_namespace(ENDPOINT_SLICE.name, "default"):
        ours = observed.labels.get("kubernetes.io/service-name") == "kubernetes"
        if ours and observed.field("addressType") in ("IPv4", "IPv6"):
            yield observed


def _ports(listed: JsonValue) -> Iterator[Range]:
    for port in listed if isinstance(listed, list) else []:
        number = port.get("port") if isinstance(port, dict) else None
        if isinstance(port, dict) and isinstance(number, int):
            yield Range(str(port.get("protocol") or "TCP"), number, number)


def _endpoints(listed: JsonValue) -> Iterator[_Endpoint]:
    for endpoint in listed if isinstance(listed, list) else []:
        if not isinstance(endpoint, dict):
            continue
        conditions, given = endpoint.get("conditions"), endpoint.get("addresses")
        # Unknown readiness counts as ready, so the API's own words (EndpointConditions.ready).
        is_ready = not (isinstance(conditions, dict) and conditions.get("ready") is False)
        yield from (_Endpoint(ip_address(str(text)), is_ready) for text in (given if isinstance(given, list) else []))
