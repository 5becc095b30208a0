"""Where the API server is, as packets see it after the Service's address was translated: default/kubernetes.

The API servers write one EndpointSlice, of just that name, with the addresses of all of them, and write it again
within 10 s where others changed or deleted it (Kubernetes' pkg/controlplane/reconcilers). Only that one is believed
when it opens something: a second one with the service's label is anybody's who may write in `default`.
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
    """What egress by addresses must not open: the API server's addresses.

    `known`: whether they are so now, were so when the tenant's status was last written, or never.
    """

    addresses: frozenset[Address]
    known: Literal["Now", "Before", "Never"]


def closed(tenant: SecureTenant, world: World) -> Closed:
    """The addresses to close, ready or not and whatever their ports: what is closed must not depend on either.

    Of every EndpointSlice with the service's label: whoever forges one closes more, and opens nothing. But one that
    is forged does not stand for the one that is missing: then what the tenant's status recorded stays closed, too.
    """
    addresses = frozenset(end.address for observed in _slices(world) for end in _endpoints(observed.field("endpoints")))
    if believed(world):
        return Closed(addresses, "Now")
    before = _recorded(tenant)
    return Closed(addresses | before, "Before" if before else "Never")


def believed(world: World) -> frozenset[Address]:
    """The addresses of the slice that the API servers themselves write, ready or not."""
    return frozenset(
        end.address
        for observed in _slices(world)
        if observed.ref.name == SLICE
        for end in _endpoints(observed.field("endpoints"))
    )


def ready(world: World) -> dict[Address, Ports]:
    """The ready ones of that slice and their ports: what there is to open."""
    found: dict[Address, Ports] = {}
    for observed in _slices(world):
        allowed = ports.merged(_ports(observed.field("ports"))) if observed.ref.name == SLICE else ports.NONE
        for end in _endpoints(observed.field("endpoints")) if allowed else ():
            if end.ready:
                found[end.address] = ports.union(found.get(end.address, ports.NONE), allowed)
    return found


def others(world: World) -> list[str]:
    """The names of further slices that carry the service's label."""
    return sorted(observed.ref.name for observed in _slices(world) if observed.ref.name != SLICE)


def record(tenant: SecureTenant, world: World) -> list[str]:
    """The addresses to keep in the tenant's status: those known now, else those kept so far."""
    return [str(address) for address in sorted(believed(world) or _recorded(tenant), key=lambda a: (a.version, a))]


def _recorded(tenant: SecureTenant) -> frozenset[Address]:
    """What the status says, which is written by us alone. What is no address there tells nothing."""
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
        # Unknown readiness counts as ready, so the API's own words (EndpointConditions.ready).
        is_ready = not (isinstance(conditions, dict) and conditions.get("ready") is False)
        for text in given if isinstance(given, list) else []:
            with suppress(ValueError):  # as older API servers take it (010.0.0.1): nobody's address
                yield _Endpoint(ip_address(str(text)), is_ready)
