"""What decides at the ends of a connection where that is more than NetworkPolicies: tiers, and Kube-OVN's subnets."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from securetenant.reach import kube_ovn, tiers
from securetenant.reach.addresses import Span
from securetenant.reach.classes import EVERYONE, Class, Classes, Opening, selected
from securetenant.reach.kube_ovn import Overlay
from securetenant.reach.tiers import Allowing, Near, Other, Verdict
from securetenant.reach.values import Cluster
from securetenant.sets import ports, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import PodPeer, Unclear
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector
from securetenant.sets.tiers import Rule

_T = TypeVar("_T")
# Of a connection; None: not known, all of them alike.
Family: TypeAlias = int | None
_INGRESS: Final = 0
_EGRESS: Final = 1


class Allowed(Protocol):
    """What the NetworkPolicies of one end allow, and by which policies."""

    @property
    def ports(self) -> Ports: ...
    @property
    def leaves(self) -> tuple[Allowing, ...]: ...


# By the openings at one end (None: no policy is enforced), and the pods that are the target.
_Allowed: TypeAlias = Callable[[list[Opening] | None, Class | None], Allowed]


class Met(NamedTuple):
    """What passes: ports, by which policies at each end."""

    ports: Ports
    leaves: tuple[Allowing, ...] = ()
    enters: tuple[Allowing, ...] = ()


_NOTHING: Final = Met(ports.NONE)


class Layers:
    """Of one state of the cluster."""

    def __init__(self, classes: Classes, at: int) -> None:
        self._at = at
        state = classes.states[at]
        self._overlay = Overlay(state, classes.places) if kube_ovn.is_used(state) else None
        by_family = {
            family: frozenset(n for n, block in classes.blocks.items() if (":" in block.cidr) is (family == 6))
            for family in (4, 6)
        }
        self._others: Mapping[Family, frozenset[int]] = {None: frozenset(), 4: by_family[6], 6: by_family[4]}
        self._everyone = frozenset(classes.everyone)
        self._members: dict[int, list[int]] = {}
        self._loose: list[int] = []
        self._nodes: list[int] = []  # classes that enter pods as nodes do
        for index, one in enumerate(classes.classes):
            for number in one.peers[at]:
                self._members.setdefault(number, []).append(index)
            if one.is_host or not one.is_certain:
                self._loose.append(index)
            if self._overlay is not None and (one.is_host or any(map(self._overlay.is_node, one.places))):
                self._nodes.append(index)

    def near(self, side: int, own: Class, policies: Near, *, is_isolated: bool) -> Near:
        """The classes that one may meet."""
        if own.is_host:
            return policies
        found = tiers.near(
            own.tiers[self._at][side],
            policies,
            is_isolated=is_isolated,
            members=self._members,
            everyone=self._everyone,
            loose=self._loose,
        )
        if self._overlay is None:
            return found
        if kube_ovn.opens(self._overlay, own.places, egress=side != _INGRESS):
            return Near(found.classes, is_wide=True)
        return Near(found.classes | set(self._nodes), found.is_wide) if side == _INGRESS else found

    def _families(self, source: Class, target: Class) -> tuple[Family, ...]:
        """Over which two may meet."""
        # A node of Kube-OVN has other addresses towards pods than its own.
        is_node = self._overlay is not None and source.is_host and not target.is_host
        origins = self._overlay.joins if self._overlay is not None and is_node else source.places
        one = {place.version for place in origins}
        other = {place.version for place in target.places}
        if one and other:
            return tuple(sorted(one & other))
        return tuple(sorted(one | other)) or (None,)

    def passing(
        self, source: Class, target: Class, out: list[Opening] | None, in_: list[Opening] | None, allowing: _Allowed
    ) -> Met:
        """What passes between two classes, over one of the address families that both have. `out`, `in_`: what the
        NetworkPolicies at each end open to the other."""
        found = _NOTHING
        for family in self._families(source, target):
            here, there = (self._other(one, family) for one in (source, target))
            leaves = self._end(_EGRESS, source, there, target.places, family, out, allowing, target)
            enters = self._end(_INGRESS, target, here, source.places, family, in_, allowing, target)
            both = ports.intersection(leaves.ports, enters.ports)
            if both != ports.NONE:
                found = Met(
                    ports.union(found.ports, both),
                    _once(found.leaves, leaves.leaves),
                    _once(found.enters, enters.leaves),
                )
        return found

    def beyond(
        self, is_source: bool, own: Class, other: Other, part: Span, openings: list[Opening] | None, allowing: _Allowed
    ) -> Met:
        """What passes between a class and a part of the address space outside the cluster."""
        if own.places and all(place.version != part.version for place in own.places):
            return _NOTHING
        if is_source:
            return self._end(_EGRESS, own, other, (part,), part.version, openings, allowing, None)
        found = self._end(_INGRESS, own, other, (part,), part.version, openings, allowing, own)
        return found._replace(leaves=(), enters=found.leaves)

    def _other(self, one: Class, family: Family) -> Other:
        known = one.peers[self._at] - self._others[family]
        return Other(known, one.is_host, one.is_host, one.is_certain)

    def _end(
        self,
        side: int,
        own: Class,
        other: Other,
        places: Iterable[Span],
        family: Family,
        openings: list[Opening] | None,
        allowing: _Allowed,
        target: Class | None,
    ) -> Met:
        """What one end lets pass. `places`: where the other's addresses are, if known."""
        if openings is not None:
            openings = [opening for opening in openings if opening.peer == EVERYONE or opening.peer in other.peers]
        allowed = allowing(openings, target)
        named = {} if target is None else target.named
        said = tiers.judged(
            own.tiers[self._at][side], other, named, policies=allowed.ports, is_isolated=openings is not None
        )
        found = self._ports(side, own, other, [p for p in places if family in (None, p.version)], family, said)
        if ports.intersection(found, said.allowed) == ports.NONE:
            return Met(found, said.by)
        return Met(found, _once(said.by, allowed.leaves))

    def _ports(
        self, side: int, own: Class, other: Other, places: list[Span], family: Family, verdict: Verdict
    ) -> Ports:
        if own.is_host:
            return None
        overlay = self._overlay
        if overlay is None:
            return ports.union(verdict.accepted, ports.union(verdict.allowed, verdict.silent))
        mine = next((place for place in own.places if family in (None, place.version)), None)
        found: Ports = ports.NONE
        if side != _INGRESS:
            for place in places or (None,):
                found = ports.union(found, overlay.leaving(mine, place, verdict))
            return found
        # A node reaches pods from an address that is not the node's own.
        origins = [join for join in overlay.joins if family in (None, join.version)] if other.is_node else places
        for place in origins or (None,):
            is_node = other.is_node or overlay.is_node(place)
            found = ports.union(found, overlay.entering(place, mine, verdict, is_node=is_node))
        return found

    def cutting(self, own: Class) -> Iterator[Block]:
        """The blocks outside the cluster that its subnets tell apart."""
        if self._overlay is not None:
            for place in own.places:
                yield from self._overlay.cutting(place)

    def peers(self, side: int, own: Class) -> Iterator[int]:
        found = own.tiers[self._at][side]
        return (number for entry in (*found.admin, *found.baseline) for number in entry.peers)


def _once(*found: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(one for listed in found for one in listed))


def opened(state: Cluster, of: Collection[str], scope: Collection[str]) -> Iterable[str] | None:
    """The namespaces that meet these by what tiers and subnets open at either end, whatever NetworkPolicies say; None:
    any."""
    if kube_ovn.is_used(state) and (
        state.pods is not None or any(acl.allows for one in state.switches for acl in one.acls)
    ):
        return None
    found: dict[str, None] = {}
    for subject, rule in tiers.accepting(state):
        for one, other in _meeting(state, subject, rule):
            if selected(one, state.namespaces, of):
                if other == selectors.ALL:
                    return None
                found |= dict.fromkeys(selected(other, state.namespaces, scope))
    return found


def _meeting(state: Cluster, subject: Selector, rule: Rule | Unclear) -> Iterator[tuple[Selector, Selector]]:
    """The namespaces that a rule lets meet, those of its subject and those of its peers: each with the others."""
    for peer in (None,) if isinstance(rule, Unclear) else rule.peers:
        if isinstance(peer, PodPeer):
            where = peer.namespaces or selectors.ALL
        elif peer is None or state.pods is not None or state.ranges or state.subnets:
            where = selectors.ALL  # by addresses, or not understood
        else:
            continue
        yield from ((subject, where), (where, subject))
