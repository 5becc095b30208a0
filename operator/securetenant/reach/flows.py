"""The flows of a cluster, and those that differ between two states of it.

A connection passes if it may leave its source and may enter its target. Costs grow with what is open between classes:
where neither end is closed, with the classes at both ends; all else is looked up from what the policies name.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from securetenant.model.objects import Ref
from securetenant.reach import addresses
from securetenant.reach.addresses import Covered, Cut, Span
from securetenant.reach.classes import EVERYONE, Class, Classes, Opening, selected
from securetenant.reach.values import Cluster, Difference, End, Flow, Outside, Reachability
from securetenant.sets import ports, selectors
from securetenant.sets.blocks import Block, Network
from securetenant.sets.policy import Unclear
from securetenant.sets.ports import HIGHEST, LOWEST, Ports, Range

_INGRESS: Final = 0
_EGRESS: Final = 1


class Passing(NamedTuple):
    """What one end allows, or both do: ports, by which policies; `named`: ports by name that are counted as all."""

    ports: Ports
    leaves: tuple[Ref, ...] = ()
    enters: tuple[Ref, ...] = ()
    named: tuple[str, ...] = ()


class Pair(NamedTuple):
    """Two ends, and what passes from the first to the second in each state."""

    source: End
    target: End
    passing: tuple[Passing, ...]

    def flow(self, at: int, within: Ports = None) -> Flow:
        """What passes in one state, of these ports; its ports are NONE where nothing does."""
        passing = self.passing[at]
        return Flow(self.source, self.target, *passing._replace(ports=ports.intersection(passing.ports, within)))


class SideBySide(NamedTuple):
    """`unknown`: as of Reachability, for all states."""

    pairs: Sequence[Pair]
    unknown: Mapping[str, Sequence[str]]


_NOTHING: Final = Passing(ports.NONE)
_Openings: TypeAlias = list[Opening]


def reach(cluster: Cluster, of: Collection[str] | None = None) -> Reachability:
    """All flows; or, with names of namespaces, those that have an end in one of them."""
    classes = Classes([cluster], _scope([cluster], of), of or ())
    flows = [
        _flow(one, other, passing) for one, other, (passing,) in _pairs(classes, of) if passing.ports != ports.NONE
    ]
    for one, is_source, listed in _outside(classes, of):
        flows += [
            _beyond(one, found, passing, is_source) for found, (passing,) in listed if passing.ports != ports.NONE
        ]
    return Reachability(flows, _unknown(classes, of))


def compare(before: Cluster, after: Cluster, of: Collection[str] | None = None) -> Difference:
    """What opens and what closes from one state to the other. Pods and addresses are those of the later state, and of
    the earlier one for namespaces that are gone."""
    classes = Classes([before, after], _scope([before, after], of), of or ())
    opened: list[Flow] = []
    closed: list[Flow] = []
    for one, other, (was, now) in _pairs(classes, of):
        for listed, have, less in ((opened, now, was), (closed, was, now)):
            left = ports.difference(have.ports, less.ports)
            if left != ports.NONE:
                listed.append(_flow(one, other, have._replace(ports=left)))
    for one, is_source, parts in _outside(classes, of):
        for found, (was, now) in parts:
            for listed, have, less in ((opened, now, was), (closed, was, now)):
                left = ports.difference(have.ports, less.ports)
                if left != ports.NONE:
                    listed.append(_beyond(one, found, have._replace(ports=left), is_source))
    return Difference(opened, closed, _unknown(classes, of))


def side_by_side(states: Sequence[Cluster], of: Collection[str] | None = None) -> SideBySide:
    """What passes in several states of one cluster, cut alike, so that they compare. Pods and addresses are those of
    the last state that has the namespace."""
    classes = Classes(states, _scope(states, of), of or ())
    groups = {id(one): one.group for one in classes.classes}
    pairs = [
        Pair(groups[id(one)], groups[id(other)], passing)
        for one, other, passing in _pairs(classes, of)
        if any(each.ports != ports.NONE for each in passing)
    ]
    for one, is_source, parts in _outside(classes, of):
        group = groups[id(one)]
        pairs += [
            Pair(group, Outside(found), passing) if is_source else Pair(Outside(found), group, passing)
            for found, passing in parts
        ]
    return SideBySide(pairs, _unknown(classes, of))


def _flow(one: Class, other: Class, passing: Passing) -> Flow:
    return Flow(one.group, other.group, *passing)


def _beyond(one: Class, found: tuple[Network, ...], passing: Passing, is_source: bool) -> Flow:
    group, outside = one.group, Outside(found)
    return Flow(group, outside, *passing) if is_source else Flow(outside, group, *passing)


def _unknown(classes: Classes, of: Collection[str] | None) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for state in classes.states:
        for name in state.unclear if of is None else of:
            if told := state.unclear.get(name):
                found[name] = told
    for name, listed in classes.unknown.items():
        if of is None or name in of:
            found[name] = (*found.get(name, ()), *listed)
    return found


# --- which namespaces are looked at


def _scope(states: Sequence[Cluster], of: Collection[str] | None) -> Collection[str]:
    """The namespaces that can be an end of a flow with these: all, unless their policies close them and name others."""
    everything = dict.fromkeys(name for state in states for name in state.namespaces)
    if of is None:
        return everything
    found = {name: None for name in of if name in everything}
    for state in states:
        for name in of:
            if name not in state.namespaces:
                continue
            listed = state.policies.get(name, ())
            if not all(any(_closes(one.policy, side) for one in listed) for side in (_INGRESS, _EGRESS)):
                return everything
            for one in listed:
                if isinstance(one.policy, Unclear):
                    return everything
                for rule in (*(one.policy.ingress or ()), *(one.policy.egress or ())):
                    if isinstance(rule, Unclear) or rule.peers is None:
                        return everything
                    for peer in rule.peers:
                        if isinstance(peer, Block):
                            if _may_match_pods(peer, state):
                                return everything
                        elif peer.namespaces is not None:
                            if peer.namespaces == selectors.ALL:
                                return everything
                            found |= dict.fromkeys(selected(peer.namespaces, state.namespaces, everything))
    return found


def _closes(policy: object, side: int) -> bool:
    """Whether it selects all pods of its namespace in that direction."""
    if isinstance(policy, Unclear) or getattr(policy, "pods", None) != selectors.ALL:
        return False
    return getattr(policy, "ingress" if side == _INGRESS else "egress") is not None


def _may_match_pods(block: Block, state: Cluster) -> bool:
    if not state.blocks_match_pods:
        return False
    spans = addresses.spans(block)
    known = (*state.ranges, *(network for listed in state.subnets.values() for network in listed))
    return any(
        one.version == network.version
        and one.first <= int(network.broadcast_address)
        and int(network.network_address) <= one.last
        for network in known
        for one in spans
    )


# --- between classes


class _End:
    """What the policies of a class allow in one direction. `wide`: to everyone; None: no policy is enforced. `narrow`:
    to other classes, by their index."""

    __slots__ = ("narrow", "wide")

    def __init__(self, openings: frozenset[Opening] | None, members: Mapping[int, Sequence[int]]) -> None:
        self.wide: _Openings | None = None
        self.narrow: dict[int, _Openings] = {}
        if openings is None:
            return
        self.wide = []
        for opening in sorted(openings):
            if opening.peer == EVERYONE:
                self.wide.append(opening)
            for index in members.get(opening.peer, ()):
                self.narrow.setdefault(index, []).append(opening)

    @property
    def is_wide(self) -> bool:
        return self.wide is None or bool(self.wide)

    def to(self, index: int) -> _Openings | None:
        if self.wide is None:
            return None
        return [*self.wide, *self.narrow.get(index, ())]


class _State:
    """One state of the cluster: both ends of each class that is there."""

    def __init__(self, classes: Classes, at: int) -> None:
        members: dict[int, list[int]] = {}
        for index, one in enumerate(classes.classes):
            for number in one.peers[at]:
                members.setdefault(number, []).append(index)
        self.ends: list[tuple[_End, _End] | None] = []
        self.admitted: dict[int, list[int]] = {}  # by source, the targets that name it
        self.reached: dict[int, list[int]] = {}  # by target, the sources that name it
        self.wide_targets: list[int] = []
        self.wide_sources: list[int] = []
        for index, one in enumerate(classes.classes):
            rules = one.rules[at]
            if rules is None:
                self.ends.append(None)
                continue
            ingress, egress = (_End(side, members) for side in rules)
            self.ends.append((ingress, egress))
            for source in ingress.narrow:
                self.admitted.setdefault(source, []).append(index)
            for target in egress.narrow:
                self.reached.setdefault(target, []).append(index)
            if ingress.is_wide:
                self.wide_targets.append(index)
            if egress.is_wide:
                self.wide_sources.append(index)

    def targets(self, source: int) -> Iterator[int]:
        """The classes that a source may reach by what both ends name."""
        ends = self.ends[source]
        if ends is None:
            return
        egress = ends[_EGRESS]
        yield from egress.narrow
        if egress.is_wide:
            yield from self.admitted.get(source, ())
            yield from self.wide_targets

    def sources(self, target: int) -> Iterator[int]:
        ends = self.ends[target]
        if ends is None:
            return
        ingress = ends[_INGRESS]
        yield from ingress.narrow
        if ingress.is_wide:
            yield from self.reached.get(target, ())
            yield from self.wide_sources

    def passing(self, source: int, target: int, pods: Class) -> Passing:
        ours, theirs = self.ends[source], self.ends[target]
        if ours is None or theirs is None:
            return _NOTHING
        out = _allowed(ours[_EGRESS].to(target), pods)
        if out.ports == ports.NONE:
            return _NOTHING
        in_ = _allowed(theirs[_INGRESS].to(source), pods)
        both = ports.intersection(out.ports, in_.ports)
        named = tuple(dict.fromkeys((*out.named, *in_.named)))
        return _NOTHING if both == ports.NONE else Passing(both, out.leaves, in_.leaves, named)


def _allowed(openings: _Openings | None, target: Class | None) -> Passing:
    """The ports that openings allow at a target (None: outside the cluster, where no port has a name)."""
    if openings is None:
        return Passing(None)
    found: Ports = ports.NONE
    by: list[Ref] = []
    names: list[str] = []
    for opening in openings:
        allowed = opening.ports
        if opening.named and target is not None:
            ranges, told = _numbers(opening, target)
            allowed = ports.union(allowed, ports.merged(ranges))
            names += told
        if allowed != ports.NONE:
            found = ports.union(found, allowed) if found != ports.NONE else allowed
            by.append(opening.ref)
    return Passing(found, tuple(dict.fromkeys(by)), (), tuple(dict.fromkeys(names)))


def _numbers(opening: Opening, target: Class) -> tuple[list[Range], list[str]]:
    """The numbers that named ports have at a target; where its pods are not known, all of the protocol."""
    if target.named is None:
        told = [f"{port.protocol} {port.name}" for port in opening.named]
        return [Range(port.protocol, LOWEST, HIGHEST) for port in opening.named], told
    found = []
    for port in opening.named:
        protocol, number = target.named.get(port.name, ("", 0))
        if protocol == port.protocol:
            found.append(Range(protocol, number, number))
    return found, []


def _pairs(classes: Classes, of: Collection[str] | None) -> Iterator[tuple[Class, Class, tuple[Passing, ...]]]:
    """Two classes of which the first may reach the second in one of the states, and what passes in each."""
    states = [_State(classes, at) for at in range(len(classes.states))]
    listed = classes.classes
    chosen = (
        range(len(listed)) if of is None else [i for i, one in enumerate(listed) if not one.namespaces.isdisjoint(of)]
    )
    inside = set(chosen)
    for source in chosen:
        for target in dict.fromkeys(index for state in states for index in state.targets(source)):
            yield listed[source], listed[target], tuple(s.passing(source, target, listed[target]) for s in states)
    if of is None:
        return
    for target in chosen:
        for source in dict.fromkeys(index for state in states for index in state.sources(target)):
            if source not in inside:
                yield listed[source], listed[target], tuple(s.passing(source, target, listed[target]) for s in states)


# --- addresses outside the cluster

_Parts: TypeAlias = list[tuple[tuple[Network, ...], tuple[Passing, ...]]]


def _outside(classes: Classes, of: Collection[str] | None) -> Iterator[tuple[Class, bool, _Parts]]:
    """Of each class, as source and as target, the addresses outside the cluster that it reaches or is reached from:
    with what passes in each state."""
    last = classes.states[-1]
    known = (*last.ranges, *(network for listed in last.subnets.values() for network in listed))
    cluster = Covered(known if last.blocks_match_pods else ())
    seen: dict[object, _Parts] = {}
    for one in classes.classes:
        if of is not None and one.namespaces.isdisjoint(of):
            continue
        for side in (_EGRESS, _INGRESS):
            rules = tuple(None if found is None else (found[side],) for found in one.rules)
            target = one if side == _INGRESS else None
            key = (side, rules, None if target is None or target.named is None else tuple(target.named.items()))
            if key not in seen:
                seen[key] = list(_beyond_cluster(rules, side, target, classes.blocks, cluster))
            yield one, side == _EGRESS, seen[key]


def _beyond_cluster(
    rules: Sequence[tuple[frozenset[Opening] | None] | None],
    side: int,
    target: Class | None,
    known: Mapping[int, Block],
    cluster: Covered,
) -> Iterator[tuple[tuple[Network, ...], tuple[Passing, ...]]]:
    openings = [sorted(found[0]) if found is not None and found[0] is not None else [] for found in rules]
    used = dict.fromkeys(known[opening.peer] for listed in openings for opening in listed if opening.peer in known)
    spans = {block: addresses.spans(block) for block in used}
    parts: dict[tuple[Passing, ...], list[Span]] = {}
    for part in Cut(used).everything():
        if cluster.contains(part):
            continue
        passing = tuple(
            _NOTHING if found is None else _turned(_allowed(_at(found[0], listed, part, known, spans), target), side)
            for found, listed in zip(rules, openings, strict=True)
        )
        if any(one.ports != ports.NONE for one in passing):
            parts.setdefault(passing, []).append(part)
    for passing, found in parts.items():
        yield addresses.networks(found), passing


def _at(
    rules: frozenset[Opening] | None,
    listed: Iterable[Opening],
    part: Span,
    known: Mapping[int, Block],
    spans: Mapping[Block, Sequence[Span]],
) -> _Openings | None:
    """The openings that allow a part of the address space."""
    if rules is None:
        return None
    return [
        opening
        for opening in listed
        if opening.peer == EVERYONE or (opening.peer in known and addresses.contains(spans[known[opening.peer]], part))
    ]


def _turned(passing: Passing, side: int) -> Passing:
    return passing if side == _EGRESS else passing._replace(leaves=(), enters=passing.leaves)
