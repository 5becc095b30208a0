"""What passes between classes, and between a class and addresses outside the cluster, in each state.

A connection passes if it may leave its source and may enter its target. Costs grow with what is open between classes:
where neither end is closed, with the classes at both ends; all else is looked up from what the policies name.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from securetenant.reach import addresses, kube_ovn
from securetenant.reach.addresses import Covered, Cut, Located, Span
from securetenant.reach.classes import EVERYONE, Class, Classes, Opening
from securetenant.reach.layers import Layers
from securetenant.reach.tiers import Allowing, Near, Other
from securetenant.sets import ports
from securetenant.sets.blocks import Block, Network
from securetenant.sets.ports import HIGHEST, LOWEST, Ports, Range

_INGRESS: Final = 0
_EGRESS: Final = 1


class Passing(NamedTuple):
    """What one end allows, or both do: ports, by which policies (which may allow more)."""

    ports: Ports
    leaves: tuple[Allowing, ...] = ()
    enters: tuple[Allowing, ...] = ()


_NOTHING: Final = Passing(ports.NONE)
_Openings: TypeAlias = list[Opening]


def effective(passing: Passing) -> list[tuple[Allowing, ...]]:
    """The policies that allow one of the ports that pass, at each end."""
    return [
        side
        if len(side) == 1
        else tuple(one for one in side if ports.intersection(one.ports, passing.ports) != ports.NONE)
        for side in (passing.leaves, passing.enters)
    ]


# --- between classes


class _Side:
    """What the policies of a class allow in one direction. `wide`: to everyone; None: no policy is enforced. `narrow`:
    to other classes, by their index. `near`: the classes that it may meet by all that decides."""

    __slots__ = ("narrow", "near", "wide")

    def __init__(self, openings: frozenset[Opening] | None, members: Mapping[int, Sequence[int]]) -> None:
        self.wide: _Openings | None = None
        self.narrow: dict[int, _Openings] = {}
        if openings is not None:
            self.wide = []
            for opening in _ordered(openings):
                if opening.peer == EVERYONE:
                    self.wide.append(opening)
                for index in members.get(opening.peer, ()):
                    self.narrow.setdefault(index, []).append(opening)
        self.near = Near(self.narrow.keys(), self.wide is None or bool(self.wide))

    def to(self, index: int) -> _Openings | None:
        if self.wide is None:
            return None
        return [*self.wide, *self.narrow.get(index, ())]


def _ordered(openings: Iterable[Opening]) -> _Openings:
    """By policy, so that the answer does not depend on the order of sets."""
    return sorted(openings, key=lambda one: one.ref)


class _State:
    """One state of the cluster: both ends of each class that is there."""

    def __init__(self, classes: Classes, at: int) -> None:
        self._families = {number: addresses.family(block) for number, block in classes.blocks.items()}
        members: dict[int, list[int]] = {}
        for index, one in enumerate(classes.classes):
            for number in one.peers[at]:
                members.setdefault(number, []).append(index)
        self.layers = Layers(classes, at) if classes.is_layered else None
        self.ends: list[tuple[_Side, _Side] | None] = []
        self.admitted: dict[int, list[int]] = {}  # by source, the targets that name it
        self.reached: dict[int, list[int]] = {}  # by target, the sources that name it
        self.wide_targets: list[int] = []
        self.wide_sources: list[int] = []
        for index, one in enumerate(classes.classes):
            rules = one.rules[at]
            if rules is None:
                self.ends.append(None)
                continue
            ingress, egress = (_Side(side, members) for side in rules)
            self.ends.append((ingress, egress))
            if self.layers is not None:
                for side, end in enumerate((ingress, egress)):
                    end.near = self.layers.near(side, one, end.near, is_isolated=end.wide is not None)
            for source in ingress.near.classes:
                self.admitted.setdefault(source, []).append(index)
            for target in egress.near.classes:
                self.reached.setdefault(target, []).append(index)
            if ingress.near.is_wide:
                self.wide_targets.append(index)
            if egress.near.is_wide:
                self.wide_sources.append(index)

    def targets(self, source: int) -> Iterator[int]:
        """The classes that a source may reach by what both ends name."""
        ends = self.ends[source]
        if ends is None:
            return
        egress = ends[_EGRESS]
        yield from egress.near.classes
        if egress.near.is_wide:
            yield from self.admitted.get(source, ())
            yield from self.wide_targets

    def sources(self, target: int) -> Iterator[int]:
        ends = self.ends[target]
        if ends is None:
            return
        ingress = ends[_INGRESS]
        yield from ingress.near.classes
        if ingress.near.is_wide:
            yield from self.reached.get(target, ())
            yield from self.wide_sources

    def passing(self, source: int, target: int, one: Class, other: Class) -> Passing:
        """A connection is of one address family: blocks of the other one do not help it."""
        ours, theirs = self.ends[source], self.ends[target]
        families = one.families & other.families
        if ours is None or theirs is None or not families:
            return _NOTHING
        out, in_ = ours[_EGRESS].to(target), theirs[_INGRESS].to(source)
        if self.layers is not None:
            return Passing(*self.layers.passing(one, other, out, in_, _allowed))
        if self._families and not self._families.keys().isdisjoint(o.peer for o in (*(out or ()), *(in_ or ()))):
            return _either(
                _both(_allowed(self._of(family, out), other), _allowed(self._of(family, in_), other))
                for family in sorted(families)
            )
        return _both(_allowed(out, other), _allowed(in_, other))

    def _of(self, family: int, openings: _Openings | None) -> _Openings | None:
        if openings is None:
            return None
        return [opening for opening in openings if self._families.get(opening.peer, family) == family]


def _both(out: Passing, in_: Passing) -> Passing:
    found = ports.intersection(out.ports, in_.ports)
    return _NOTHING if found == ports.NONE else Passing(found, out.leaves, in_.leaves)


def _either(found: Iterable[Passing]) -> Passing:
    """What passes by one of these, by the policies that count there."""
    result: Ports = ports.NONE
    sides: list[list[Allowing]] = [[], []]
    for one in found:
        result = ports.union(result, one.ports)
        for side, listed in zip(sides, effective(one), strict=True):
            side += listed
    return Passing(result, *(tuple(dict.fromkeys(side)) for side in sides))


def _allowed(openings: _Openings | None, target: Class | None) -> Passing:
    """The ports that openings allow at a target (None: outside the cluster, where no port has a name)."""
    if openings is None:
        return Passing(None)
    found: Ports = ports.NONE
    by: list[Allowing] = []
    for opening in openings:
        allowing = [] if opening.ports == ports.NONE else [Allowing(opening.ref, opening.ports)]
        if opening.named and target is not None:
            allowing += _numbered(opening, target)
        for one in allowing:
            found = ports.union(found, one.ports) if found != ports.NONE else one.ports
        by += allowing
    return Passing(found, tuple(dict.fromkeys(by)))


def _numbered(opening: Opening, target: Class) -> Iterator[Allowing]:
    """The numbers that named ports have at a target; where its pods are not known, all of the protocol."""
    for port in opening.named:
        if target.named is None:
            whole = Range(port.protocol, LOWEST, HIGHEST)
            yield Allowing(opening.ref, (whole,), f"{port.protocol} {port.name}")
            continue
        protocol, number = target.named.get(port.name, ("", 0))
        if protocol == port.protocol:
            yield Allowing(opening.ref, (Range(protocol, number, number),))


def pairs(classes: Classes, of: Collection[str] | None) -> Iterator[tuple[Class, Class, tuple[Passing, ...]]]:
    """Two classes of which the first may reach the second in one of the states, and what passes in each."""
    states = [_State(classes, at) for at in range(len(classes.states))]
    listed = classes.classes
    chosen = (
        range(len(listed)) if of is None else [i for i, one in enumerate(listed) if not one.namespaces.isdisjoint(of)]
    )
    inside = set(chosen)
    for source in chosen:
        for target in dict.fromkeys(index for state in states for index in state.targets(source)):
            one, other = listed[source], listed[target]
            yield one, other, tuple(s.passing(source, target, one, other) for s in states)
    if of is None:
        return
    for target in chosen:
        for source in dict.fromkeys(index for state in states for index in state.sources(target)):
            if source not in inside:
                one, other = listed[source], listed[target]
                yield one, other, tuple(s.passing(source, target, one, other) for s in states)


# --- addresses outside the cluster

Parts: TypeAlias = list[tuple[tuple[Network, ...], tuple[Passing, ...]]]


def outside(classes: Classes, located: Located, of: Collection[str] | None) -> Iterator[tuple[Class, bool, Parts]]:
    """Of each class, as source and as target, the addresses outside the cluster that it reaches or is reached from:
    with what passes in each state."""
    cluster = located.all if classes.states[-1].blocks_match_pods else Covered(())
    others = Covered(map(addresses.span, kube_ovn.others(classes.states[-1])))
    above = [Layers(classes, at) for at in range(len(classes.states))] if classes.is_layered else []
    seen: dict[object, Parts] = {}
    for one in classes.classes:
        if of is not None and one.namespaces.isdisjoint(of):
            continue
        for side in (_EGRESS, _INGRESS):
            rules = tuple(None if found is None else (found[side],) for found in one.rules)
            named = None if side == _EGRESS or one.named is None else tuple(one.named.items())
            key = (side, rules, one.families, named, tuple(sides[side] for sides in one.tiers), one.places)
            if key not in seen:
                seen[key] = list(_beyond_cluster(rules, side, one, classes.blocks, (cluster, others), above))
            yield one, side == _EGRESS, seen[key]


def _beyond_cluster(
    rules: Sequence[tuple[frozenset[Opening] | None] | None],
    side: int,
    own: Class,
    known: Mapping[int, Block],
    cluster: Sequence[Covered],
    above: Sequence[Layers],
) -> Iterator[tuple[tuple[Network, ...], tuple[Passing, ...]]]:
    openings = [None if found is None or found[0] is None else _ordered(found[0]) for found in rules]
    named = {opening.peer for listed in openings for opening in listed or ()}
    named.update(number for layers in above for number in layers.peers(side, own))
    spans = {number: addresses.spans(known[number]) for number in named if number in known}
    edges = (*map(known.__getitem__, spans), *(block for layers in above for block in layers.cutting(own)))
    parts: dict[tuple[Passing, ...], list[Span]] = {}
    for part in Cut(edges).everything():
        if part.version not in own.families or any(one.contains(part) for one in cluster):
            continue
        other = Other(frozenset(n for n, listed in spans.items() if addresses.contains(listed, part)), is_beyond=True)
        passing = tuple(
            _NOTHING
            if found is None
            else _from_beyond(above[at] if above else None, side, own, other, part, openings[at])
            for at, found in enumerate(rules)
        )
        if any(allowed.ports != ports.NONE for allowed in passing):
            parts.setdefault(passing, []).append(part)
    for passing, found in parts.items():
        yield addresses.networks(found), passing


def _from_beyond(
    known: Layers | None, side: int, own: Class, other: Other, part: Span, openings: _Openings | None
) -> Passing:
    """What passes between a class and a part of the address space."""
    target = own if side == _INGRESS else None
    if known is not None:
        return Passing(*known.beyond(side == _EGRESS, own, other, part, openings, _allowed))
    if openings is None:
        found = Passing(None)
    else:
        found = _allowed([one for one in openings if one.peer == EVERYONE or one.peer in other.peers], target)
    return found if side == _EGRESS else found._replace(leaves=(), enters=found.leaves)
