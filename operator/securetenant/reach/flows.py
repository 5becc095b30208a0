"""The flows of a cluster, and those that differ between states of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from securetenant.reach import kube_ovn
from securetenant.reach.addresses import Located
from securetenant.reach.classes import Classes
from securetenant.reach.passing import Passing, effective, outside, pairs
from securetenant.reach.scope import scope
from securetenant.reach.values import Cluster, Difference, End, Flow, Outside, Reachability
from securetenant.sets import ports
from securetenant.sets.ports import Ports


class Pair(NamedTuple):
    """Two ends, and what passes from the first to the second in each state."""

    source: End
    target: End
    passing: tuple[Passing, ...]

    def flow(self, at: int, within: Ports = None) -> Flow:
        """What passes in one state, of these ports; its ports are NONE where nothing does."""
        passing = self.passing[at]
        return self._of(passing._replace(ports=ports.intersection(passing.ports, within)))

    def without(self, at: int, other: int) -> Flow:
        """What passes in one state and not in the other."""
        passing = self.passing[at]
        return self._of(passing._replace(ports=ports.difference(passing.ports, self.passing[other].ports)))

    def _of(self, passing: Passing) -> Flow:
        sides = effective(passing)
        leaves, enters = (tuple(dict.fromkeys(one.ref for one in side)) for side in sides)
        named = sorted({one.named for side in sides for one in side if one.named})
        return Flow(self.source, self.target, passing.ports, leaves, enters, tuple(named))


class SideBySide(NamedTuple):
    """`unknown`: as of Reachability, for all states."""

    pairs: Sequence[Pair]
    unknown: Mapping[str, Sequence[str]]


def reach(cluster: Cluster, of: Collection[str] | None = None) -> Reachability:
    """All flows; or, with names of namespaces, those that have an end in one of them."""
    found = side_by_side([cluster], of)
    return Reachability([pair.flow(0) for pair in found.pairs], found.unknown)


def compare(before: Cluster, after: Cluster, of: Collection[str] | None = None) -> Difference:
    """What opens and what closes from one state to the other. Pods and addresses are those of the later state, and of
    the earlier one for namespaces that are gone."""
    found = side_by_side([before, after], of)
    opened, closed = (
        [flow for pair in found.pairs if (flow := pair.without(at, other)).ports != ports.NONE]
        for at, other in ((1, 0), (0, 1))
    )
    return Difference(opened, closed, found.unknown)


def side_by_side(states: Sequence[Cluster], of: Collection[str] | None = None) -> SideBySide:
    """What passes in several states of one cluster, cut alike, so that they compare. Pods and addresses are those of
    the last state that has the namespace."""
    states = list(map(kube_ovn.located, states))
    located = _located(states)
    classes = Classes(states, scope(states, located, of), of or ())
    found = [one for one in _pairs(classes, located[-1], of) if any(each.ports != ports.NONE for each in one.passing)]
    return SideBySide(found, _told(classes, of))


def _pairs(classes: Classes, located: Located, of: Collection[str] | None) -> Iterator[Pair]:
    for one, other, passing in pairs(classes, of):
        yield Pair(one.group, other.group, passing)
    for one, is_source, parts in outside(classes, located, of):
        for blocks, passing in parts:
            beyond = Outside(blocks)
            yield Pair(one.group, beyond, passing) if is_source else Pair(beyond, one.group, passing)


def _located(states: Sequence[Cluster]) -> list[Located]:
    found: list[Located] = []
    for number, state in enumerate(states):
        last = states[number - 1]
        is_same = number > 0 and state.subnets is last.subnets and state.ranges is last.ranges
        found.append(found[-1] if is_same else Located(state.subnets, state.ranges))
    return found


def _told(classes: Classes, of: Collection[str] | None) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for state in classes.states:
        for name in state.unclear if of is None else of:
            if told := state.unclear.get(name):
                found[name] = told
    for name, listed in classes.unknown.items():
        if of is None or name in of or name in classes.together:
            found[name] = (*found.get(name, ()), *listed)
    return found
