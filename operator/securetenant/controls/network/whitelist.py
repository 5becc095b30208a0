"""Which declared flows are open, by matching the declarations of both sides. Pure values, no Kubernetes objects.

A flow between two tenants is open only if both declare it, and only the intersection of the namespaces, pods and ports
that they name. The names of the rules do not matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from securetenant.api.tenant import EgressRule, IngressRule, Peer, SecureTenant, Side
from securetenant.controls import ownership
from securetenant.controls.network import endpoints, forms
from securetenant.controls.network.forms import Form, Pods
from securetenant.controls.network.outside import outside
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref
from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Address, Block
from securetenant.sets.policy import Direction
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector

OPPOSITE: Final[dict[Direction, Direction]] = {"ingress": "egress", "egress": "ingress"}

# What the peer has to declare: a tenant's ingress needs the peer's "egress to" it.
_COUNTERPART: Final[dict[Direction, str]] = {"ingress": "egress to", "egress": "ingress from"}
_NAMED = 3  # namespaces that a message names


class Flow(NamedTuple):
    """An open flow: `own` pods in `namespaces` with `peer` on `ports`. A peer in the cluster may be a block too: the
    subnet of a namespace."""

    namespaces: tuple[str, ...]
    own: Selector
    peer: Pods | Block
    ports: Ports


class Offer(NamedTuple):
    """What one tenant declares about a flow: a rule and one of its peers. Namespaces None: all of them."""

    rule: str
    own_namespaces: frozenset[str] | None
    own: Selector | None
    peer_namespaces: frozenset[str] | None
    peer: Selector | None
    ports: Ports
    expires: datetime | None


class Opened(NamedTuple):
    """The result of a declaration: open if there are `flows`, otherwise `reason` says why not and what to do.

    `until`: the first expiry among the peer's rules that the flows depend on. `narrowed`: which part of what is
    declared, and agreed, stays closed nevertheless, and what to do. `agreed`: the flows with their peers in the cluster
    as pods, whatever form they are written in.
    """

    flows: Sequence[Flow] = ()
    reason: str = ""
    until: datetime | None = None
    narrowed: str = ""
    agreed: Sequence[Flow] = ()


class Declaration(NamedTuple):
    """One rule and peer of the tenant, with the result."""

    direction: Direction
    rule: IngressRule | EgressRule
    own: Selector | None
    peer: Peer
    expired: bool
    opened: Opened


@dataclass(frozen=True, slots=True)
class Scope:
    """What the evaluation of a tenant's rules shares: the arguments, and cached results.

    `closed`: the addresses that no egress rule opens, the API server's unless the tenant may reach it. None: they are
    not known, so no egress to a cidr can be opened. `form`: how peers in the cluster are written.
    """

    tenant: SecureTenant
    held: Sequence[str]
    world: World
    now: datetime
    closed: frozenset[Address] | None
    form: Form
    _offers: dict[tuple[str, Direction], list[Offer]] = field(default_factory=dict)
    _writable: dict[tuple[str, str], bool] = field(default_factory=dict)

    def writable(self, tenant: SecureTenant, names: Iterable[str]) -> tuple[str, ...]:
        """The names of namespaces that are actually the tenant's now, sorted."""
        if tenant.name == self.tenant.name:
            return tuple(sorted(name for name in names if name in self.held))
        return tuple(sorted(name for name in names if self._may_write(tenant, name)))

    def _may_write(self, tenant: SecureTenant, name: str) -> bool:
        key = tenant.name, name
        if key not in self._writable:
            self._writable[key] = ownership.may_write(tenant, name, self.world)
        return self._writable[key]

    def offers(self, other: SecureTenant, direction: Direction) -> list[Offer]:
        """What another tenant declares in that direction about this one, including expired rules."""
        key = other.name, direction
        if key not in self._offers:
            self._offers[key] = list(_offers(other, direction, self.tenant, self.world))
        return self._offers[key]


def has_expired(expires: datetime | None, now: datetime) -> bool:
    """Whether the time has come: a rule expires at its time, not after it."""
    return expires is not None and expires <= now


def rules(tenant: SecureTenant, direction: Direction) -> Iterator[tuple[IngressRule | EgressRule, Side, list[Peer]]]:
    """A tenant's rules of one direction, each with its own side and its peers."""
    if direction == "ingress":
        for admitting in tenant.spec.network.ingress:
            yield admitting, admitting.to, admitting.from_
    else:
        for reaching in tenant.spec.network.egress:
            yield reaching, reaching.from_, reaching.to


def declarations(tenant: SecureTenant, held: Sequence[str], world: World, now: datetime) -> list[Declaration]:
    """All that the tenant declares, in the spec's order, each with the flows that it opens."""
    scope = Scope(tenant, held, world, now, _closed(tenant, world), forms.form(tenant, world))
    found: list[Declaration] = []
    for direction in OPPOSITE:
        for rule, side, peers in rules(tenant, direction):
            own, allowed = selectors.selector(side.pods), ports.declared(rule.ports)
            expired = has_expired(rule.expires, now)
            own_names = _names(side.namespaces)
            for peer in peers:
                offer = Offer(
                    rule=rule.name,
                    own_namespaces=own_names,
                    own=own,
                    peer_namespaces=_names(peer.namespaces),
                    peer=selectors.selector(peer.pods),
                    ports=allowed,
                    expires=rule.expires,
                )
                opened = Opened() if expired else _open(scope, direction, offer, peer)
                found.append(Declaration(direction, rule, own, peer, expired, opened))
    return found


def leaves_out_api_server(tenant: SecureTenant) -> bool:
    """Whether it has egress to a cidr that must exclude the API server's addresses."""
    network = tenant.spec.network
    return not network.api_server and reaches_addresses(tenant)


def reaches_addresses(tenant: SecureTenant) -> bool:
    """Whether it declares egress to a cidr."""
    return any(peer.cidr is not None for rule in tenant.spec.network.egress for peer in rule.to)


def _closed(tenant: SecureTenant, world: World) -> frozenset[Address] | None:
    if world.platform.offline or not leaves_out_api_server(tenant):
        return frozenset()
    found = endpoints.closed(tenant, world)
    return found.addresses if found.known != "Never" else None


def _names(namespaces: Iterable[str] | None) -> frozenset[str] | None:
    return None if namespaces is None else frozenset(namespaces)


def _declared_names(tenant: SecureTenant) -> Iterator[str]:
    return (entry.name for entry in tenant.spec.namespaces)


def _within(names: Iterable[str], *limits: frozenset[str] | None) -> list[str]:
    return [name for name in names if all(limit is None or name in limit for limit in limits)]


def _offers(other: SecureTenant, direction: Direction, tenant: SecureTenant, world: World) -> Iterator[Offer]:
    declared = set(_declared_names(tenant))
    for rule, side, peers in rules(other, direction):
        for peer in peers:
            if peer.tenant is not None and peer.tenant == tenant.name:
                namespaces = _names(peer.namespaces)
            elif peer.namespace is not None and peer.namespace in declared and _holds(tenant, peer.namespace, world):
                namespaces = frozenset((peer.namespace,))
            else:
                continue
            yield Offer(
                rule=rule.name,
                own_namespaces=_names(side.namespaces),
                own=selectors.selector(side.pods),
                peer_namespaces=namespaces,
                peer=selectors.selector(peer.pods),
                ports=ports.declared(rule.ports),
                expires=rule.expires,
            )


def _holds(tenant: SecureTenant, namespace: str, world: World) -> bool:
    owner = ownership.holder(namespace, world)
    return owner is not None and owner.name == tenant.name


def _open(scope: Scope, direction: Direction, mine: Offer, peer: Peer) -> Opened:
    """What the declaration opens, depending on the form of the peer."""
    here = scope.writable(scope.tenant, _within(scope.held, mine.own_namespaces))
    if not here:
        wanted = _listed(sorted(mine.own_namespaces)) if mine.own_namespaces else "any namespace"
        return Opened(reason=f"this tenant does not hold {wanted}: see its condition NamespacesReady")
    if mine.own is None or mine.peer is None:
        return Opened(reason="its pod selector contradicts itself and matches no pod: correct it")
    if peer.cidr is not None:
        closed = scope.closed if direction == "egress" else frozenset()
        if closed is None:
            return Opened(reason="the API server's addresses, which must stay closed, are unknown: see ApiServerKnown")
        left = outside(blocks.declared(peer.cidr, peer.except_), direction, closed, scope.world)
        flows = [Flow(here, mine.own, block, mine.ports) for block in left.blocks]
        return Opened(flows, left.reason, narrowed=left.narrowed, agreed=flows)
    if peer.namespace is None:
        return _between(scope, direction, mine, peer.tenant or "", here)
    owner = ownership.holder(peer.namespace, scope.world)
    if owner is None:  # a platform namespace: nobody could declare the other side
        if not scope.world.platform.offline and scope.world.get(Ref(NAMESPACE, "", peer.namespace)) is None:
            return Opened(reason=f"there is no namespace {peer.namespace}: create it, or correct the peer")
        return _written(scope, Opened((Flow(here, mine.own, Pods((peer.namespace,), mine.peer), mine.ports),)))
    mine = mine._replace(peer_namespaces=frozenset((peer.namespace,)))
    opened = _between(scope, direction, mine, owner.name, here)
    if opened.flows:
        return opened
    return opened._replace(reason=f"namespace {peer.namespace} belongs to tenant {owner.name}; {opened.reason}")


def _between(scope: Scope, direction: Direction, mine: Offer, name: str, here: tuple[str, ...]) -> Opened:
    """The flows with another tenant (or the tenant itself) that both sides declare."""
    other = scope.world.tenant(name)
    if other is None:
        return Opened(reason=f"there is no tenant {name}: create it, or remove the peer")
    if other.metadata.deletion_timestamp is not None:
        return Opened(reason=f"tenant {name} is being deleted: remove the peer")
    if scope.tenant.metadata.deletion_timestamp is not None:
        return Opened(reason="this tenant is being deleted: its flows with other tenants are closed")
    there = scope.writable(other, _within(_declared_names(other), mine.peer_namespaces))
    if not there:
        wanted = _listed(sorted(mine.peer_namespaces)) if mine.peer_namespaces else "any namespace"
        return Opened(reason=f"tenant {name} does not hold {wanted}: correct the peer, or see that tenant's conditions")
    flows: list[Flow] = []
    until: datetime | None = None
    offers, lapsed = scope.offers(other, OPPOSITE[direction]), ""
    for theirs in offers:
        flow = _common(mine, theirs, here, there)
        if flow is not None and has_expired(theirs.expires, scope.now):
            lapsed = theirs.rule
        elif flow is not None:
            flows.append(flow)
            until = earliest((until, theirs.expires))
    if flows:
        return _written(scope, Opened(flows, "", until))
    what = f"{_COUNTERPART[direction]} {_listed(here)} on {ports.described(mine.ports)}"
    if lapsed:
        short, remedy = f"declares {what} in rule {lapsed}, which expired", "renew it"
    else:
        live = [offer for offer in offers if not has_expired(offer.expires, scope.now)]
        short, remedy = f"declares no {what}{_nearest(mine, live, here, there)}", "add one"
    if name == scope.tenant.name:
        return Opened(reason=f"this tenant itself {short}: {remedy}")
    return Opened(reason=f"{name} {short}: ask its owner to {remedy}")


def _written(scope: Scope, opened: Opened) -> Opened:
    """The same with peers in the cluster as they are written."""
    flows: list[Flow] = []
    agreed: list[Flow] = []
    missing = ""
    for flow in opened.flows:
        if isinstance(flow.peer, Pods):
            found = forms.ends(flow.peer, scope.form, scope.world)
            flows += [flow._replace(peer=peer) for peer in found.peers]
            agreed += [flow] if found.peers else []
            missing = missing or found.missing
    return opened._replace(flows=flows, narrowed=missing, agreed=agreed) if flows else Opened(reason=missing)


def _common(mine: Offer, theirs: Offer, here: Iterable[str], there: Iterable[str]) -> Flow | None:
    """What two opposite declarations both allow; None if nothing."""
    own_namespaces = _within(here, theirs.peer_namespaces)
    peer_namespaces = _within(there, theirs.own_namespaces)
    if not own_namespaces or not peer_namespaces:
        return None
    own, peer = selectors.both(mine.own, theirs.peer), selectors.both(mine.peer, theirs.own)
    if own is None or peer is None:
        return None
    allowed = ports.intersection(mine.ports, theirs.ports)
    if allowed == ports.NONE:
        return None
    return Flow(tuple(own_namespaces), own, Pods(tuple(peer_namespaces), peer), allowed)


def _nearest(mine: Offer, offers: Iterable[Offer], here: Iterable[str], there: Iterable[str]) -> str:
    """The other tenant's rule that almost matches, and how it differs; "" if there is none."""
    near = [o for o in offers if _within(here, o.peer_namespaces) and _within(there, o.own_namespaces)]
    if not near:
        return ""
    for offer in near:
        if selectors.both(mine.own, offer.peer) is not None and selectors.both(mine.peer, offer.own) is not None:
            return f" (its rule {offer.rule} names other ports)"
    return f" (its rule {near[0].rule} names other pods)"


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of the times that are not None."""
    return min((time for time in times if time is not None), default=None)


def _listed(namespaces: Sequence[str]) -> str:
    shown = ", ".join(namespaces[:_NAMED])
    return f"{shown} and {len(namespaces) - _NAMED} more" if len(namespaces) > _NAMED else shown
