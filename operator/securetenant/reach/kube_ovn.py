"""What Kube-OVN does beside all policies: private subnets, their lists of addresses, their acls. By addresses, and in
the order in which packets meet them.

A subnet is told by a pod's address, not by its namespace. Where an address is not known, nothing closes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from securetenant.reach import addresses
from securetenant.reach.addresses import Covered, Cut, Span
from securetenant.reach.tiers import Verdict
from securetenant.reach.values import Cluster
from securetenant.sets import kube_ovn, labels, ports
from securetenant.sets.blocks import Block, Network
from securetenant.sets.kube_ovn import Acl, Subnet
from securetenant.sets.matching import Truth, every, negated
from securetenant.sets.ports import Ports

_BOTH = frozenset((4, 6))


def is_used(state: Cluster) -> bool:
    return state.plugin == "KubeOVN" and bool(state.switches)


def located(state: Cluster) -> Cluster:
    """With the addresses of each namespace's pods, where they are not given: those of the Subnets that are for it, or
    else of the default one."""
    if not is_used(state):
        return state
    default = (network for subnet in state.switches if subnet.name == kube_ovn.DEFAULT for network in subnet.blocks)
    found = {
        name: tuple(network for subnet in listed for network in subnet.blocks)
        for name, listed in _bound(state).items()
        if name not in state.subnets
    }
    return replace(state, subnets={**found, **state.subnets}, ranges=state.ranges or tuple(default))


def _bound(state: Cluster) -> dict[str, list[Subnet]]:
    """By namespace, the Subnets that are for it; without those that are in the default one."""
    found: dict[str, list[Subnet]] = {}
    for subnet in state.switches:
        names = dict.fromkeys(name for name in subnet.namespaces if name in state.namespaces)
        for terms in map(labels.terms, subnet.selectors):
            if terms is not None:
                names |= {name: None for name, has in state.namespaces.items() if labels.matched(terms, has)}
        for name in names:
            found.setdefault(name, []).append(subnet)
    return found


def subnets_of(state: Cluster, names: Iterable[str]) -> list[Subnet]:
    """Those that pods of these namespaces have addresses of."""
    bound = _bound(state)
    default = [subnet for subnet in state.switches if subnet.name == kube_ovn.DEFAULT]
    return list(dict.fromkeys(subnet for name in names for subnet in bound.get(name, default)))


def unclear(state: Cluster) -> Iterator[tuple[str, str]]:
    """By namespace, what is not understood of the Subnets that are for it, or may be."""
    strange = [subnet for subnet in state.switches if subnet.unclear] if is_used(state) else []
    if not strange:
        return
    found = _bound(state)
    for subnet in strange:
        is_default = subnet.name == kube_ovn.DEFAULT
        for name in state.namespaces:
            if not subnet.blocks or subnet in found.get(name, ()) or (is_default and name not in found):
                yield from ((name, f"Subnet/{subnet.name}: {what}") for what in subnet.unclear)


def others(state: Cluster) -> Iterator[Network]:
    """Addresses that are neither pods' of namespaces that are there nor outside: of the nodes, of those to come."""
    for subnet in state.switches if is_used(state) else ():
        if not subnet.namespaces or any(name not in state.namespaces for name in subnet.namespaces):
            yield from subnet.blocks


def cutting(state: Cluster, scope: Iterable[str]) -> Iterator[Block]:
    """The blocks within which all addresses of pods of these namespaces, and of others to them, are alike."""
    if not is_used(state):
        return
    near: Iterable[Subnet] = state.switches
    if state.pods is None:
        known = Covered(addresses.span(one) for name in scope for one in state.subnets.get(name) or state.ranges)
        near = (one for one in near if any(known.meets(addresses.span(network)) for network in one.blocks))
    found = dict.fromkeys(network for one in near for network in (*one.blocks, *one.allowed, *_compared(one)))
    found |= dict.fromkeys(network for one in state.switches if one.name == kube_ovn.JOIN for network in one.blocks)
    yield from (Block(str(network)) for network in found)


def _compared(subnet: Subnet) -> Iterator[Network]:
    for acl in subnet.acls:
        for term in acl.match.addresses if acl.match is not None else ():
            yield from term.blocks


class _Rules:
    """Those of one Subnet."""

    def __init__(self, subnet: Subnet) -> None:
        self.subnet = subnet
        self.own = Covered(map(addresses.span, subnet.blocks))
        self._listed = Covered(map(addresses.span, (*subnet.blocks, *subnet.allowed)))
        acls = sorted(subnet.acls, key=lambda acl: -acl.priority)
        self._acls = [(acl, _compiled(acl)) for acl in acls]
        self.blocks = tuple(Block(str(one)) for one in (*subnet.blocks, *subnet.allowed, *_compared(subnet)))

    def is_closed_for(self, place: Span | None) -> bool:
        return self.subnet.is_private and place is not None and not self._listed.contains(place)

    def opens(self, direction: Literal["to-lport", "from-lport"]) -> bool:
        return any(acl.allows and acl.direction == direction for acl, _ in self._acls)

    def ruled(
        self, direction: Literal["to-lport", "from-lport"], source: Span | None, target: Span | None
    ) -> tuple[Ports, Ports]:
        """What the acls let pass, and what they leave to all else."""
        accepted: Ports = ports.NONE
        left: Ports = None
        for acl, terms in self._acls:
            if acl.direction != direction or (truth := _is_matched(acl, terms, source, target)) is False:
                continue
            told = None if acl.match is None else acl.match.ports
            if acl.allows:
                accepted = ports.union(accepted, ports.intersection(left, told))
            if truth and acl.match is not None and acl.match.is_exact:
                left = ports.difference(left, told)
        return accepted, left


class _Term(NamedTuple):
    is_source: bool
    is_within: bool
    blocks: Covered


def _compiled(acl: Acl) -> tuple[_Term, ...]:
    given = acl.match.addresses if acl.match is not None else ()
    return tuple(_Term(one.is_source, one.is_within, Covered(map(addresses.span, one.blocks))) for one in given)


def _is_matched(acl: Acl, terms: Iterable[_Term], source: Span | None, target: Span | None) -> Truth:
    if acl.match is None:
        return None
    families = _BOTH if (one := source or target) is None else {one.version}
    if families.isdisjoint(acl.match.families):
        return False
    return every([None if families - acl.match.families else True, *(_holds(term, source, target) for term in terms)])


def _holds(term: _Term, source: Span | None, target: Span | None) -> Truth:
    place = source if term.is_source else target
    found = None if place is None else term.blocks.contains(place)
    return found if term.is_within else negated(found)


class Overlay:
    """The Subnets of a state of the cluster. `cut`: the address space, by `cutting`."""

    def __init__(self, state: Cluster, cut: Cut) -> None:
        self._starts = sorted(
            ((addresses.span(network), number) for number, one in enumerate(state.switches) for network in one.blocks),
        )
        self._subnets = state.switches
        self._rules: dict[int, _Rules] = {}
        joined = [network for one in state.switches if one.name == kube_ovn.JOIN for network in one.blocks]
        self._join = Covered(map(addresses.span, joined))
        self.joins = tuple(part for network in joined for part in cut.parts(addresses.span(network)))

    def of(self, place: Span | None) -> "_Rules | None":
        """The subnet of an address."""
        if place is None:
            return None
        at = bisect_right(self._starts, place[:2], key=lambda item: item[0][:2]) - 1
        if at < 0:
            return None
        found, number = self._starts[at]
        if found.version != place.version or place.last > found.last:
            return None
        if number not in self._rules:
            self._rules[number] = _Rules(self._subnets[number])
        return self._rules[number]

    def cutting(self, place: Span) -> Iterable[Block]:
        """The blocks that the subnet of an address tells apart."""
        one = self.of(place)
        return () if one is None else one.blocks

    def is_node(self, place: Span | None) -> bool:
        """Whether nodes reach pods from there."""
        return place is not None and self._join.contains(place)

    def leaving(self, source: Span | None, target: Span | None, said: Verdict) -> Ports:
        """What leaves a pod: by what its policies say, and its subnet. No policy but of the tier Admin beats a private
        subnet that the packet leaves."""
        one = self.of(source)
        if one is None:
            return _all(said)
        accepted, left = one.ruled("from-lport", source, target)
        others = ports.union(said.allowed, said.silent)
        if target is not None and not one.own.contains(target):
            passing, silent = one.ruled("to-lport", source, target)  # on its way to the router
            others = ports.intersection(others, ports.union(passing, silent))
            if one.is_closed_for(target):
                others = ports.NONE
        return ports.union(accepted, ports.intersection(left, ports.union(said.accepted, others)))

    def entering(self, source: Span | None, target: Span | None, said: Verdict, *, is_node: bool) -> Ports:
        """What enters a pod. A NetworkPolicy that allows it beats the private subnet."""
        one = self.of(target)
        if one is None:
            return None if is_node else _all(said)
        accepted, left = one.ruled("to-lport", source, target)
        if is_node:
            return ports.union(accepted, left)
        silent = ports.NONE if one.is_closed_for(source) else said.silent
        others = ports.union(said.allowed, silent)
        return ports.union(accepted, ports.intersection(left, ports.union(said.accepted, others)))


def _all(said: Verdict) -> Ports:
    return ports.union(said.accepted, ports.union(said.allowed, said.silent))


def opens(overlay: Overlay, places: Sequence[Span], *, egress: bool) -> bool:
    """Whether acls of a pod's subnet may let pass what no policy does."""
    direction: Literal["to-lport", "from-lport"] = "from-lport" if egress else "to-lport"
    return any(one.opens(direction) for place in places if (one := overlay.of(place)) is not None)
