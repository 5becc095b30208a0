"""Whether what is really open to and from a tenant's namespaces is what is declared.

Declared: its namespaces have exactly the NetworkPolicies of its plan, and everything else stands as it is. Effective:
what stands. So the two differ only by policies in its namespaces, and where those are as planned there is nothing to
compute. What differs is looked at up to the other end, where a flow may be closed; what would cost too much to look at
counts as open.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from securetenant.controls.network import openings
from securetenant.controls.network.control import DENY
from securetenant.controls.network.foreign import found as foreign
from securetenant.controls.world import World
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.reach import addresses, standing
from securetenant.reach.flows import compare
from securetenant.reach.standing import BOTH, Others
from securetenant.reach.values import Cluster, End, Flow, Outside, Standing
from securetenant.sets import labels, policy, ports
from securetenant.sets.blocks import Block
from securetenant.sets.labels import Labels
from securetenant.sets.policy import Direction, Peer, PodPeer, Policy, Rule, Unclear
from securetenant.sets.ports import HIGHEST, LOWEST, Ports, Range
from securetenant.sets.selectors import ALL, Selector

# What a pass compares; beyond that, what differs counts as open.
PEERS: Final = 64
PAIRS: Final = 800  # of kinds of pods, in namespaces of which one names the other: 13 us each
OWN_AS_PAIRS: Final = 25  # a namespace whose policies differ takes as long as so many pairs
OTHER_AS_PAIRS: Final = 5  # and so does one that is looked at
PARTS: Final = 40_000  # comparisons of a block with a part of the address space: 0.2 us each


class Difference(NamedTuple):
    """What is open (or closed) otherwise than declared: for pods of `namespace`, with a peer as its policies name it.
    `policies`: which cause it; none: no policy closes the namespace."""

    direction: Direction
    namespace: str
    peer: str
    ports: str
    policies: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """`unexpected`: open and not declared; `blocked`: declared, agreed, and closed. `unknown`: why there may be more of
    both. `others`, `selectors`: the other namespaces that were looked at, and by which selectors: when something
    changes there, it is to be looked at again."""

    unexpected: Sequence[Difference] = ()
    blocked: Sequence[Difference] = ()
    unknown: Sequence[str] = ()
    others: Collection[str] = ()
    selectors: Collection[Selector] = ()


@dataclass(slots=True)
class _Sums:
    """Differences by direction, namespace and peer."""

    found: dict[tuple[Direction, str, str], tuple[Ports, set[str], set[Ref]]] = field(default_factory=dict)

    def add(self, opening: "_Opening", allowed: Ports) -> None:
        key = *opening.side, openings.shown(opening.peer)
        known, named, refs = self.found.get(key, (ports.NONE, set(), set()))
        named |= {f"{port.protocol} {port.name}" for port in opening.rule.named}
        self.found[key] = ports.union(known, allowed), named, refs | {opening.ref}

    def listed(self) -> Iterator[Difference]:
        for (direction, namespace, peer), (allowed, named, refs) in sorted(self.found.items(), key=lambda one: one[0]):
            numbers = [ports.described(allowed)] if allowed != ports.NONE else []
            yield Difference(direction, namespace, peer, ", ".join([*numbers, *sorted(named)]), tuple(sorted(refs)))


@dataclass(slots=True)
class _Namespace:
    """A namespace whose NetworkPolicies differ from the planned. `common`: those that do not; `added`: that stand and
    are not planned so; `lost`: that are planned and do not stand so."""

    name: str
    common: list[Standing]
    added: list[Standing]
    lost: list[Standing]

    @property
    def open(self) -> list[Direction]:
        """The directions that no policy closes for all pods."""
        stand = [*self.common, *self.added]
        return [direction for direction in BOTH if not standing.closes(stand, direction)]


def look(desired: Collection[Desired], held: Sequence[str], world: World) -> Holds:
    """Compare what stands in the namespaces that a tenant holds with what is desired there."""
    there = [name for name in held if standing.labels_of(name, world) is not None]
    wanted: dict[str, dict[Ref, Desired]] = {name: {} for name in there}
    for want in desired:
        if want.ref.kind is NETWORK_POLICY and want.ref.namespace in wanted:
            wanted[want.ref.namespace][want.ref] = want
    unknown = unclear(there, world, {want.ref for want in desired})
    spaces = [one for name in there if (one := _differing(name, wanted[name], world)) is not None]
    if not spaces:
        return Holds(unknown=tuple(unknown))
    unexpected: list[Difference] = []
    for space in spaces:
        unknown += _not_understood(space.added)
        space.added = [left for one in space.added if (left := _understood(one)) is not None]
        unexpected += [Difference(side, space.name, openings.shown(None), "all ports", ()) for side in space.open]
    found = _Comparison(spaces, world)
    unexpected += found.opened.listed()
    is_open = {(side, space.name) for space in spaces for side in space.open}
    blocked = [one for one in found.closed.listed() if (one.direction, one.namespace) not in is_open | found.unseen]
    if not found.is_compared:
        return Holds(tuple(sorted(unexpected)), tuple(blocked), tuple(unknown))
    return Holds(
        unexpected=tuple(sorted(unexpected)),
        blocked=tuple(blocked),
        unknown=tuple(unknown),
        others=frozenset(found.others.spaces.keys() - set(there)),
        selectors=frozenset(where for where, names in found.others.looked.items() if names is not None),
    )


def unclear(namespaces: Sequence[str], world: World, ours: Container[Ref]) -> list[str]:
    """What may open or close something in these namespaces beside the NetworkPolicies as they are written: policies of
    other kinds that select their pods, or may, and annotations that switch one off. `ours`: what is planned.

    This is the place where a kind that `Cluster` knows becomes a part of what is compared instead.
    """
    found = [
        f"{one.policy.ref.kind.key} {one.policy.ref.name} selects pods of {one.places or one.policy.ref.namespace}"
        for one in foreign.concerning(namespaces, DENY, world, ours)
    ]
    for have in (have for name in namespaces for have in standing.in_namespace(name, world)):
        if keys := standing.switched(have):
            found.append(f"{have.ref} may be switched off by its annotation {', '.join(keys)}")
    return found


def _differing(name: str, wanted: Mapping[Ref, Desired], world: World) -> _Namespace | None:
    stand = {have.ref: have for have in standing.in_namespace(name, world)}
    equal = {ref for ref, have in stand.items() if ref in wanted and have.field("spec") == wanted[ref].body["spec"]}
    if len(equal) == len(stand) == len(wanted):
        return None

    def planned(refs: Iterable[Ref]) -> list[Standing]:
        return [Standing(ref, policy.parsed(wanted[ref].body["spec"])) for ref in sorted(refs)]

    added = [Standing(ref, standing.parsed(stand[ref])) for ref in sorted(stand.keys() - equal)]
    return _Namespace(name, planned(equal), added, planned(wanted.keys() - equal))


def _not_understood(listed: Iterable[Standing]) -> list[str]:
    found = []
    for one in listed:
        if isinstance(one.policy, Unclear):
            found.append(f"{one.ref} is not understood")
        elif any(isinstance(rule, Unclear) for side in BOTH for rule in one.policy.rules(side) or ()):
            found.append(f"a rule of {one.ref} is not understood")
    return found


def _understood(one: Standing) -> Standing | None:
    """The part of a policy that is understood; None if nothing is, or if it selects no pods."""
    if isinstance(one.policy, Unclear) or labels.terms(one.policy.pods) is None:
        return None
    sides = (one.policy.rules(side) for side in BOTH)
    ingress, egress = (
        None if rules is None else tuple(rule for rule in rules if not isinstance(rule, Unclear)) for rules in sides
    )
    return one._replace(policy=Policy(one.policy.pods, ingress, egress))


class _Opening(NamedTuple):
    """One peer of one rule of a policy; None: everyone."""

    direction: Direction
    ref: Ref
    pods: Selector
    rule: Rule
    peer: Peer | None

    @property
    def key(self) -> tuple[object, ...]:
        """What it opens, whichever policy does."""
        return self.direction, self.ref.namespace, self.pods, self.peer, self.rule.ports, self.rule.named

    @property
    def side(self) -> tuple[Direction, str]:
        return self.direction, self.ref.namespace


def _each(one: Standing) -> Iterator[_Opening]:
    if isinstance(one.policy, Policy):
        for direction in BOTH:
            for rule in one.policy.rules(direction) or ():
                if isinstance(rule, Rule):
                    for peer in (None,) if rule.peers is None else rule.peers:
                        yield _Opening(direction, one.ref, one.policy.pods, rule, peer)


def _all(listed: Iterable[Standing]) -> list[_Opening]:
    return [opening for one in listed for opening in _each(one)]


def _kept(one: Standing, but: Collection[_Opening]) -> Standing:
    """A policy without these openings."""
    rules: dict[Direction, list[Rule]] = {direction: [] for direction in BOTH}
    for opening in _each(one):
        if opening not in but:
            peers = None if opening.peer is None else (opening.peer,)
            rules[opening.direction].append(Rule(peers, opening.rule.ports, opening.rule.named))
    pods = one.policy.pods if isinstance(one.policy, Policy) else ALL
    return one._replace(policy=Policy(pods, tuple(rules["ingress"]), tuple(rules["egress"])))


class _Comparison:
    """The flows that the policies of these namespaces open and close. `is_compared`: whether the other end was looked
    at at all; `unseen`: the directions, by namespace, in which something counts as open that was not looked at."""

    def __init__(self, spaces: Sequence[_Namespace], world: World) -> None:
        self.others = Others(world)
        self.opened, self.closed = _Sums(), _Sums()
        self._own = {space.name: standing.labels_of(space.name, world) or {} for space in spaces}
        common = {opening.key for space in spaces for opening in _all(space.common)}
        added, lost = (_all(one for space in spaces for one in listed(space)) for listed in (_added, _lost))
        self._added = _apart(added, common | {opening.key for opening in lost})
        self._lost = _apart(lost, common | {opening.key for opening in added})
        differing = [*self._lost, *self._added]
        unseen = {one for number, one in enumerate(differing) if number >= PEERS or not self._is_seen(one)}
        self._spaces: standing.Spaces = {**self.others.spaces, **self._own}
        by_address = any(isinstance(one.peer, Block) for one in differing if one not in unseen)
        before, after = self._states(spaces, unseen, "Keep" if by_address else "Drop")
        self.is_compared = not unseen.issuperset(differing) and _is_small(before, after, self._own)
        if not self.is_compared:
            unseen = set(differing)
        else:
            difference = compare(before, after, of=self._own)
            self._count(difference.opened, [one for one in self._added if one not in unseen], self.opened)
            self._count(difference.closed, [one for one in self._lost if one not in unseen], self.closed)
        for listed, sums in ((self._added, self.opened), (self._lost, self.closed)):
            for opening in listed:
                if opening in unseen:
                    sums.add(opening, opening.rule.ports)
        self.unseen = {opening.side for opening in self._added if opening in unseen}

    def _is_seen(self, opening: _Opening) -> bool:
        """Whether the namespaces at the other end may be looked at; then they are."""
        peer = opening.peer
        if peer is None:
            return False
        if isinstance(peer, Block) or peer.namespaces is None:
            return True
        return self.others.selected(peer.namespaces) is not None

    def _states(
        self, spaces: Sequence[_Namespace], unseen: set[_Opening], blocks: standing.Blocks
    ) -> tuple[Cluster, Cluster]:
        """What is declared, and what stands, of these namespaces and of those that were looked at. All these are
        closed otherwise: where that is not so is told by itself."""
        there = self._spaces
        apart = {name: self.others.policies(name, self._own) for name in there if name not in self._own}

        def kept(listed: Iterable[Standing]) -> Iterator[Standing]:
            return (_kept(one, unseen) for one in listed if not unseen.issuperset(_each(one)))

        def state(differing: Callable[[_Namespace], Sequence[Standing]]) -> Cluster:
            found = dict(apart)
            for space in spaces:
                deny = Standing(Ref(NETWORK_POLICY, space.name, DENY), Policy(ingress=(), egress=()))
                found[space.name] = standing.cut(
                    space.name, [deny, *space.common, *kept(differing(space))], there, blocks
                )
            return Cluster(there, found)

        return state(_lost), state(_added)

    def _count(self, flows: Iterable[Flow], causes: Iterable[_Opening], sums: "_Sums") -> None:
        by_ref: dict[Ref, list[_Opening]] = {}
        for opening in causes:
            by_ref.setdefault(opening.ref, []).append(opening)
        for flow in flows:
            ends: tuple[tuple[Direction, tuple[Ref, ...], End], ...] = (
                ("ingress", flow.enters, flow.source),
                ("egress", flow.leaves, flow.target),
            )
            for direction, refs, other in ends:
                for opening in (one for ref in refs for one in by_ref.get(ref, ()) if one.direction == direction):
                    allowed = ports.intersection(flow.ports, _numbers(opening.rule))
                    if allowed != ports.NONE and self._is_with(opening, other):
                        sums.add(opening, ports.intersection(allowed, opening.rule.ports))

    def _is_with(self, opening: _Opening, other: End) -> bool:
        """Whether the other end of a flow is this peer."""
        peer = opening.peer
        if peer is None:
            return True
        if isinstance(peer, Block) or isinstance(other, Outside):
            return isinstance(peer, Block) and isinstance(other, Outside) and _overlap(peer, other)
        pods = labels.terms(peer.pods)
        there = {name: self._spaces[name] for name in other.namespaces}
        if pods is None or not standing.among(opening.ref.namespace, peer, there):
            return False
        return not other.pods or any(labels.both(pods, one) is not None for one in other.pods)


def _added(space: _Namespace) -> list[Standing]:
    return space.added


def _lost(space: _Namespace) -> list[Standing]:
    return space.lost


def _apart(listed: Iterable[_Opening], known: Container[object]) -> list[_Opening]:
    """Without what is open by something else as well, word for word, and what selects no pods."""
    return [one for one in listed if one.key not in known and not _is_nobody(one.peer)]


def _is_nobody(peer: Peer | None) -> bool:
    if not isinstance(peer, PodPeer):
        return False
    return labels.terms(peer.pods) is None or (peer.namespaces is not None and labels.terms(peer.namespaces) is None)


def _numbers(rule: Rule) -> Ports:
    """The ports of a rule; a named one may have any number."""
    named = ports.merged(Range(port.protocol, LOWEST, HIGHEST) for port in rule.named)
    return ports.union(rule.ports, named)


def _overlap(block: Block, outside: Outside) -> bool:
    return any(
        one.version == part.version and one.first <= part.last and part.first <= one.last
        for one in addresses.spans(block)
        for part in map(addresses.span, outside.blocks)
    )


def _is_small(before: Cluster, after: Cluster, own: standing.Spaces) -> bool:
    """Whether to compare two states takes 10 ms at most."""
    kinds: dict[str, set[Labels]] = {name: set() for name in before.namespaces}
    meeting: set[tuple[str, str]] = set()
    spans = 0
    for cluster in (before, after):
        for name, listed in cluster.policies.items():
            kinds[name] |= {
                labels.terms(one.policy.pods) or labels.EVERY for one in listed if isinstance(one.policy, Policy)
            }
            for opening in _all(listed):
                if isinstance(opening.peer, Block):
                    spans += len(addresses.spans(opening.peer))
                elif opening.peer is not None:
                    pods = labels.terms(opening.peer.pods) or labels.EVERY
                    for there in standing.among(name, opening.peer, cluster.namespaces):
                        kinds[there].add(pods)
                        meeting.add((min(name, there), max(name, there)))
    counts = {name: standing.kinds_of_pods(found) for name, found in kinds.items()}
    pairs = sum(counts[one] * counts[other] for one, other in meeting)
    mine = sum(counts[name] for name in own)
    pairs += OWN_AS_PAIRS * len(own) + OTHER_AS_PAIRS * (len(counts) - len(own))
    return pairs <= PAIRS and mine * spans**2 <= PARTS
