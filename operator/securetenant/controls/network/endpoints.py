"""The API server's addresses (after Service translation), from EndpointSlice default/kubernetes.

The API servers write one EndpointSlice of exactly this name, with the addresses of all of them, and restore it within
10 s if others change or delete it (Kubernetes' pkg/controlplane/reconcilers). Only this one may open anything: others
with the service's label can be created by anybody who may write in `default`.
"""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import World
from securetenant.model.kinds import ENDPOINT_SLICE
from securetenant.model.objects import JsonValue, Observed
from securetenant.sets import ports
from securetenant.sets.blocks import Address
from securetenant.sets.ports import Ports, Range

SLICE: Final = "kubernetes"
_LABEL, _SERVICE = ENDPOINT_SLICE.selector.split("=")


class _Endpoint(NamedTuple):
    address: Address
    ready: bool


class Closed(NamedTuple):
    """The API server's addresses, which egress to a cidr must not open.

    `known`: whether they are known now, or only from the tenant's status, or not at all.
    """

    addresses: frozenset[Address]
    known: Literal["Now", "Before", "Never"]


def closed(tenant: SecureTenant, world: World) -> Closed:
    """The addresses to close, regardless of readiness and ports.

    All EndpointSlices with the service's label count: a forged one closes more and opens nothing. But it does not
    replace the genuine one: while that is missing, the addresses recorded in the tenant's status stay closed too.
    """
    addresses = frozenset(end.address for observed in _slices(world) for end in _endpoints(observed.field("endpoints")))
    if believed(world):
        return Closed(addresses, "Now")
    before = _recorded(tenant)
    return Closed(addresses | before, "Before" if before else "Never")


def believed(world: World) -> frozenset[Address]:
    """The addresses in the slice that the API servers write, ready or not."""
    return frozenset(
        end.address
        for observed in _slices(world)
        if observed.ref.name == SLICE
        for end in _endpoints(observed.field("endpoints"))
    )


def ready(world: World) -> dict[Address, Ports]:
    """The ready addresses in that slice, with their ports: what may be opened."""
    found: dict[Address, Ports] = {}
    for observed in _slices(world):
        allowed = ports.merged(_ports(observed.field("ports"))) if observed.ref.name == SLICE else ports.NONE
        for end in _endpoints(observed.field("endpoints")) if allowed else ():
            if end.ready:
                found[end.address] = ports.union(found.get(end.address, ports.NONE), allowed)
    return found


def others(world: World) -> list[str]:
    """The names of other slices with the service's label."""
    return sorted(observed.ref.name for observed in _slices(world) if observed.ref.name != SLICE)


def record(tenant: SecureTenant, world: World) -> list[str]:
    """The addresses to record in the tenant's status: those known now, otherwise those recorded before."""
    return [str(address) for address in sorted(believed(world) or _recorded(tenant), key=lambda a: (a.version, a))]


def _recorded(tenant: SecureTenant) -> frozenset[Address]:
    """The addresses in the status; invalid ones are ignored."""
    found: set[Address] = set()
    for text in tenant.status.whitelist.api_server if tenant.status.whitelist is not None else ():
        with suppress(ValueError):
            found.add(ip_address(text))
    return frozenset(found)


def _slices(world: World) -> Iterator[Observed]:
    for observed in world.in_namespace(ENDPOINT_SLICE, ENDPOINT_SLICE.within):
        ours = observed.labels.get(_LABEL) == _SERVICE
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
        # Unknown readiness counts as ready (EndpointConditions.ready).
        is_ready = not (isinstance(conditions, dict) and conditions.get("ready") is False)
        for text in given if isinstance(given, list) else []:
            with suppress(ValueError):  # older API servers accept 010.0.0.1, which is not an address
                yield _Endpoint(ip_address(str(text)), is_ready)
