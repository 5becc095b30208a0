"""Which events concern a tenant's whitelist: changes of peers, platform namespaces, templates and the API server's
addresses."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct, field

from securetenant.controls.control import Triggers
from securetenant.controls.network.foreign import found
from securetenant.controls.world import Lookup
from securetenant.model.kinds import ENDPOINT_SLICE, NAMESPACE, NETWORK_TEMPLATE
from securetenant.model.objects import Observed
from securetenant.sets import blocks

_API_SERVER: Final = "apiserver"
_BY_SUBNET: Final = "bysubnet"
# Whoever uses a template has the token `template:<its name>`.
TEMPLATE: Final = "template"


class _Peer(Struct):
    tenant: str | None = None
    namespace: str | None = None
    cidr: str | None = None


class _Ingress(Struct):
    peers: list[_Peer] = field(name="from")


class _Egress(Struct):
    peers: list[_Peer] = field(name="to")


class _Use(Struct):
    template: str
    parameters: list[_Peer] = []


class _Rules(Struct):
    ingress: list[_Ingress] = []
    egress: list[_Egress] = []


class _Parameter(Struct):
    default: _Peer | None = None


class _Template(_Rules):
    parameters: list[_Parameter] = []


class _Section(_Rules, rename="camel"):
    templates: list[_Use] = []
    api_server: bool = False
    peers_by: str = "Selector"


def _listens(namespaces: Sequence[str], section: _Section) -> Iterator[str]:
    """The tenants and platform namespaces that its rules name; and the API server's addresses, if it may reach them, or
    has egress to a cidr, which excludes them. The cidrs themselves: the cluster's own addresses are taken out of them.
    And, where peers are written by their subnets, every subnet that is no tenant's. A value for a template's parameter
    counts as a peer of either direction."""
    values = [value for use in section.templates for value in use.parameters]
    yield from (f"{TEMPLATE}:{use.template}" for use in section.templates)
    yield from _named(section, values)
    if section.peers_by != "Selector":
        yield _BY_SUBNET
        yield "subnets"
    if section.api_server:
        yield _API_SERVER


def _named(rules: _Rules, values: Iterable[_Peer] = ()) -> Iterator[str]:
    ingress = [peer for rule in rules.ingress for peer in rule.peers]
    egress = [*values, *(peer for rule in rules.egress for peer in rule.peers)]
    for peer in (*ingress, *egress):
        if peer.tenant is not None:
            yield f"peer:{peer.tenant}"
        if peer.namespace is not None:
            yield f"platform:{peer.namespace}"
        if peer.cidr is not None:
            with suppress(ValueError):  # of a spec that the models refuse
                yield f"cidr:{blocks.canonical_cidr(peer.cidr)}"
    if any(peer.cidr is not None for peer in egress):
        yield _API_SERVER


def _implied(template: Observed) -> tuple[str, frozenset[str]]:
    """What the peers that a template names itself, and the defaults of its parameters, make tokens of whoever uses it:
    also of a tenant that gives values of its own."""
    try:
        spec = _decode(template.fields.get("spec", b"{}"))
        defaults = (one.default for one in spec.parameters if one.default is not None)
        named = frozenset(_named(spec, defaults))
    except msgspec.MsgspecError:  # which no tenant can use
        named = frozenset()
    return f"{TEMPLATE}:{template.ref.name}", named


_decode: Final = msgspec.json.Decoder(_Template).decode


def _namespace(new: Observed, old: Observed | None) -> list[str]:
    return [f"platform:{new.ref.name}"]


def _endpoints(new: Observed, old: Observed | None) -> list[str]:
    return [_API_SERVER]


def _peers(tenant: str, tokens: Collection[str], lookup: Lookup) -> Iterator[str]:
    """Tenants that name this tenant or one of its namespaces, and tenants that it names; both before and after. Itself
    where its namespaces write each other's subnets."""
    yield f"peer:{tenant}"
    for kind, _, value in (token.partition(":") for token in tokens):
        if kind == "ns":
            yield f"platform:{value}"
        if kind == "peer":
            yield f"tenant:{value}"
    if _BY_SUBNET in tokens:
        yield f"tenant:{tenant}"


TRIGGERS: Final = Triggers(
    "network",
    _Section,
    _listens,
    {NAMESPACE: _namespace, ENDPOINT_SLICE: _endpoints},
    selects=found.SELECTS,
    implies={NETWORK_TEMPLATE: _implied},
    spreads=_peers,
)
