"""Whether what is really open to and from a tenant's namespaces is what is declared.

Declared: its namespaces have exactly the NetworkPolicies of its plan, no policy of a tier opens or closes anything
there, and everything else stands as it is. Effective: what stands. So the two differ only by policies in its
namespaces, and by those of tiers that are about them; where there is neither there is nothing to compute. What differs
is looked at up to the other end, where a flow may be closed; what would cost too much to look at counts as open.

Whether the network plug-in enforces tiers no object tells. So a flow is open if it is with the tiers or without, and
the operator's own policies in the Admin tier close nothing that a NetworkPolicy opens.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from securetenant.controls.network import openings
from securetenant.controls.network.control import DENY
from securetenant.controls.network.foreign import found as foreign
from securetenant.controls.network.foreign.found import Concerning
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.reach import costs, opened, standing, tiers
from securetenant.reach.flows import side_by_side
from securetenant.reach.opened import Opening
from securetenant.reach.standing import BOTH, Others
from securetenant.reach.values import Cluster, End, Flow, Group, Outside, Standing, Tiered
from securetenant.sets import labels, policy, ports
from securetenant.sets.blocks import Block
from securetenant.sets.policy import Direction, Policy, Unclear
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector
from securetenant.sets.tiers import Action

# What a pass compares; beyond that, what differs counts as open.
PEERS: Final = 64
MEETINGS: Final = 3000  # of what a tier denies with what is declared: 3 us each
_DECIDING: Final[tuple[Action, Action]] = ("Accept", "Deny")


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

    found: dict[tuple[Direction, str, str], tuple[dict[Ports, None], set[str], set[Ref]]] = field(default_factory=dict)

    def add(self, opening: Opening, allowed: Ports) -> None:
        key = *opening.side, openings.shown(opening.peer)
        known, named, refs = self.found.setdefault(key, ({}, set(), set()))
        known[allowed] = None
        named.update(f"{port.protocol} {port.name}" for port in opening.rule.named)
        refs.add(opening.ref)

    def listed(self) -> Iterator[Difference]:
        for (direction, namespace, peer), (each, named, refs) in sorted(self.found.items(), key=lambda one: one[0]):
            allowed = ports.union_of(each)
            numbers = [ports.described(allowed)] if allowed != ports.NONE else []
            yield Difference(direction, namespace, peer, ", ".join([*numbers, *sorted(named)]), tuple(sorted(refs)))


@dataclass(slots=True)
class _Namespace:
    """A namespace whose NetworkPolicies differ from the planned. `common`: those that do not; `added`: that stand and
    are not planned so; `lost`: that are planned and do not stand so; `unread`: as `added`, too large to look at."""

    name: str
    common: list[Standing]
    added: list[Standing]
    lost: list[Standing]
    unread: list[Ref]

    @property
    def open(self) -> list[Direction]:
        """The directions that no policy closes for all pods."""
        stand = [*self.common, *self.added]
        return [direction for direction in BOTH if not standing.closes(stand, direction)]


def look(desired: Collection[Desired], held: Sequence[str], world: World) -> Holds:
    """Compare what stands in the namespaces that a tenant holds with what is desired there."""
    own = {name: labels for name in held if (labels := standing.labels_of(name, world)) is not None}
    wanted: dict[str, dict[Ref, Desired]] = {name: {} for name in own}
    for want in desired:
        if want.ref.kind is NETWORK_POLICY and want.ref.namespace in wanted:
            wanted[want.ref.namespace][want.ref] = want
    above = _above(desired, own, world)
    concerned = {one.namespace for one in (*above.accepted, *above.denied)}
    reading = costs.Reading()
    found = (_compared(name, wanted[name], world, reading, is_concerned=name in concerned) for name in own)
    spaces = [one for one in found if one is not None]
    above = above.meeting(spaces)
    unknown = [*above.unknown, *_switched(own, world)]
    concerned = {one.namespace for one in (*above.accepted, *above.denied)}
    spaces = [one for one in spaces if one.added or one.lost or one.unread or one.name in concerned]
    if not spaces:
        return Holds(unknown=tuple(unknown))
    unexpected: list[Difference] = []
    for space in spaces:
        unknown += _not_understood(space.added)
        unknown += [f"{ref} is too large to look at: it may open anything" for ref in space.unread]
        space.added = [left for one in space.added if (left := _understood(one)) is not None]
        unexpected += [Difference(side, space.name, openings.shown(None), "all ports", ()) for side in space.open]
    comparison = _Comparison(spaces, above, world)
    unexpected += comparison.opened.listed()
    unknown += comparison.unknown
    is_open = {(side, space.name) for space in spaces for side in space.open} | comparison.unseen
    blocked = [one for one in comparison.closed.listed() if (one.direction, one.namespace) not in is_open]
    looked = comparison.others if comparison.is_compared else Others(world)
    return Holds(
        unexpected=tuple(sorted(unexpected)),
        blocked=tuple(blocked),
        unknown=tuple(dict.fromkeys(unknown)),
        others=frozenset(looked.spaces.keys() - own.keys()),
        selectors=frozenset(where for where, names in looked.looked.items() if names is not None),
    )


def unclear(namespaces: Sequence[str], world: World, ours: Container[Ref]) -> list[str]:
    """What may open or close something in these namespaces beside the NetworkPolicies as they are written: policies of
    other kinds that select their pods, or may, and annotations that switch one off. `ours`: what is planned."""
    found = map(_selecting, foreign.concerning(namespaces, DENY, world, ours))
    return [*found, *_switched(namespaces, world)]


def _selecting(one: Concerning) -> str:
    return f"{one.policy.ref.kind.key} {one.policy.ref.name} selects pods of {one.places or one.policy.ref.namespace}"


def _switched(namespaces: Iterable[str], world: World) -> Iterator[str]:
    for have in (have for name in namespaces for have in standing.in_namespace(name, world)):
        if keys := standing.switched(have):
            yield f"{have.ref} may be switched off by its annotation {', '.join(keys)}"


class _Above(NamedTuple):
    """The policies of the tier Admin about a tenant's namespaces that are not as planned; what they accept and deny.
    `ours`: those that are as planned."""

    tiers: Sequence[Tiered]
    ours: Sequence[Tiered]
    accepted: Sequence[Opening]
    denied: Sequence[Opening]
    unknown: Sequence[str]
    met: Sequence[tuple[Opening, Opening]] = ()

    def meeting(self, spaces: Iterable[_Namespace]) -> "_Above":
        """With that alone of what is denied which may close something declared (`met`)."""
        declared: dict[tuple[Direction, str], list[Opening]] = {}
        for one in (one for space in spaces for one in opened.every([*space.common, *space.lost])):
            declared.setdefault(one.side, []).append(one)
        pairs = [(one, other) for one in self.denied for other in declared.get(one.side, ())]
        if len(pairs) > MEETINGS:
            return self._replace(denied=(), unknown=[*self.unknown, *_too_much(self.denied)])
        met = [(one, other) for one, other in pairs if opened.may_meet(one, other)]
        return self._replace(denied=list(dict.fromkeys(one for one, _ in met)), met=met)


def _too_much(denied: Iterable[Opening]) -> list[str]:
    return [f"{ref} may close what is agreed: too much to compare" for ref in sorted({one.ref for one in denied})]


def _above(desired: Iterable[Desired], own: standing.Spaces, world: World) -> _Above:
    planned = {
        want.ref: have
        for want in desired
        if want.ref.kind is CLUSTER_NETWORK_POLICY and (have := world.get(want.ref)) is not None
        if have.field("spec") == want.body["spec"]
    }
    found: list[Tiered] = []
    unknown: list[str] = []
    for one in foreign.concerning(list(own), DENY, world, planned):
        tiered = standing.tiered(one.policy) if one.policy.ref.kind in tiers.KINDS else None
        if tiered is None or isinstance(tiered.policy, Unclear):
            unknown.append(_selecting(one))
        else:
            unknown += tiers.unclear(tiered.ref, tiered.policy)
            found.append(tiered)
    accepted, denied = (
        [opening for policy in found for opening in opened.of_tier(policy, action, own)] for action in _DECIDING
    )
    # Of kinds before ClusterNetworkPolicy nobody knows whether they come before ours.
    is_ordered = found and all(one.ref.kind is CLUSTER_NETWORK_POLICY for one in found)
    ours = [standing.tiered(have) for have in planned.values()] if is_ordered else []
    return _Above(found, ours, accepted, denied, unknown)


def _compared(
    name: str, wanted: Mapping[Ref, Desired], world: World, reading: costs.Reading, *, is_concerned: bool
) -> _Namespace | None:
    """None where all is as planned. `is_concerned`: whether policies of tiers are about it."""
    stand = {have.ref: have for have in standing.in_namespace(name, world)}
    equal = {ref for ref, have in stand.items() if ref in wanted and have.field("spec") == wanted[ref].body["spec"]}
    if len(equal) == len(stand) == len(wanted) and not is_concerned:
        return None

    def planned(refs: Iterable[Ref]) -> list[Standing]:
        return [Standing(ref, policy.parsed(wanted[ref].body["spec"])) for ref in sorted(refs)]

    # The small ones first, so that a large one hides no other.
    theirs = sorted(stand.keys() - equal, key=lambda ref: (standing.size(stand[ref]), ref))
    read = {ref: reading.read(stand[ref]) for ref in theirs}
    added = sorted((one for one in read.values() if one is not None), key=lambda one: one.ref)
    unread = sorted(ref for ref, one in read.items() if one is None)
    return _Namespace(name, planned(equal), added, planned(wanted.keys() - equal), unread)


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


class _Comparison:
    """The flows that the policies of these namespaces, and those above them, open and close. `is_compared`: whether the
    other end was looked at at all; `unseen`: the directions, by namespace, in which something counts as open that was
    not looked at; `unknown`: why there may be more."""

    def __init__(self, spaces: Sequence[_Namespace], above: _Above, world: World) -> None:
        self.others = Others(world)
        self.opened, self.closed = _Sums(), _Sums()
        self.unknown: list[str] = []
        self._above, self._world = above, world
        self._own = {space.name: standing.labels_of(space.name, world) or {} for space in spaces}
        common = {opening.key for space in spaces for opening in opened.every(space.common)}
        added, lost = ([one for space in spaces for one in opened.every(listed(space))] for listed in (_added, _lost))
        self._added = opened.apart([*added, *above.accepted], common | {opening.key for opening in lost})
        self._lost = opened.apart(lost, common | {opening.key for opening in added})
        differing = [*self._lost, *self._added]
        unseen = {one for number, one in enumerate(differing) if number >= PEERS or not self._is_seen(one)}
        met = self._met()
        by_address = any(isinstance(one.peer, Block) for one in (*differing, *met) if one not in unseen)
        self._spaces: standing.Spaces = {**self.others.spaces, **self._own}
        states = self._states(spaces, unseen, "Keep" if by_address else "Drop")
        is_small = costs.is_small(states, self._own, len(set(differing) - unseen))
        self.is_compared = is_small and not (unseen.issuperset(differing) and not met)
        if self.is_compared:
            self._compare(states, unseen)
        else:
            unseen = set(differing)
            if met:
                self.unknown += _too_much(above.denied)
        for listed, sums in ((self._added, self.opened), (self._lost, self.closed)):
            for opening in listed:
                if opening in unseen:
                    sums.add(opening, opening.rule.ports)
        self.unseen = {opening.side for opening in self._added if opening in unseen}

    def _is_seen(self, opening: Opening) -> bool:
        """Whether the namespaces at the other end may be looked at; then they are."""
        peer = opening.peer
        if peer is None:
            return False
        if isinstance(peer, Block) or peer.namespaces is None:
            return True
        return self.others.selected(peer.namespaces) is not None

    def _met(self) -> list[Opening]:
        """What is declared and may be denied; the other end of it is looked at."""
        for deny, one in self._above.met:
            if not self._is_seen(one):
                self.unknown.append(f"{deny.ref} may close {openings.shown(one.peer)}: too many namespaces to look at")
        return [one for _, one in self._above.met]

    def _states(self, spaces: Sequence[_Namespace], unseen: set[Opening], blocks: standing.Blocks) -> list[Cluster]:
        """What is declared, and what stands, of these namespaces and of those that were looked at; then both once more
        with the tiers, if there are any. All these are closed otherwise: where that is not so is told by itself."""
        there = self._spaces
        apart = {name: self.others.policies(name, self._own) for name in there if name not in self._own}

        def kept(listed: Iterable[Standing]) -> Iterator[Standing]:
            return (opened.kept(one, unseen) for one in listed if not unseen.issuperset(opened.each(one)))

        def state(differing: Callable[[_Namespace], Sequence[Standing]]) -> Cluster:
            found = dict(apart)
            for space in spaces:
                deny = Standing(Ref(NETWORK_POLICY, space.name, DENY), Policy(ingress=(), egress=()))
                found[space.name] = standing.cut(
                    space.name, [deny, *space.common, *kept(differing(space))], there, blocks
                )
            return Cluster(there, found)

        states = [state(_lost), state(_added)]
        listed = {one.ref: one for one in (*self._above.tiers, *self._above.ours, *self.others.tiers.values())}
        if not self._above.tiers and not self.others.tiers:
            return states
        standing_ = [one if blocks == "Keep" else opened.without_blocks(one) for one in listed.values()]
        declared = [left for one in standing_ if (left := tiers.elsewhere(one, self._own)) is not None]
        return [*states, *(replace(one, tiers=each) for one, each in zip(states, (declared, standing_), strict=True))]

    def _compare(self, states: Sequence[Cluster], unseen: Container[Opening]) -> None:
        found = side_by_side(states, self._own)
        self.unknown += [f"{name}: {why}" for name, listed in found.unknown.items() for why in listed]
        added, lost = ([one for one in listed if one not in unseen] for listed in (self._added, self._lost))
        denied = _Sums() if self._world.serves(KUBE_OVN_SUBNET) else self.closed
        for before in range(0, len(states), 2):
            closed = [flow for pair in found.pairs if (flow := pair.without(before, before + 1)).ports != ports.NONE]
            self._count(
                (flow for pair in found.pairs if (flow := pair.without(before + 1, before)).ports != ports.NONE),
                added,
                self.opened,
            )
            self._count(closed, lost, self.closed)
            if before > 0:
                self._count(closed, self._above.denied, denied, by_policy=False)
        if denied is not self.closed:
            self.unknown += [
                f"{one.policies[0]} closes {one.direction} of {one.namespace} with {one.peer} on {one.ports}, if "
                "Kube-OVN enforces it (ENABLE_ANP)"
                for one in denied.listed()
            ]

    def _count(
        self, flows: Iterable[Flow], causes: Iterable[Opening], sums: "_Sums", *, by_policy: bool = True
    ) -> None:
        """`by_policy`: only what the policies of a flow are the causes of."""
        by_side: dict[tuple[Direction, str], list[Opening]] = {}
        for opening in causes:
            by_side.setdefault(opening.side, []).append(opening)
        for flow in flows:
            ends: tuple[tuple[Direction, tuple[Ref, ...], End, End], ...] = (
                ("ingress", flow.enters, flow.target, flow.source),
                ("egress", flow.leaves, flow.source, flow.target),
            )
            for direction, refs, own, other in ends:
                names = own.namespaces if isinstance(own, Group) else ()
                for opening in (one for name in names for one in by_side.get((direction, name), ())):
                    if by_policy and opening.ref not in refs:
                        continue
                    allowed = ports.intersection(flow.ports, opened.numbers(opening.rule))
                    if allowed != ports.NONE and self._is_with(opening, other) and _is_of(opening, own):
                        sums.add(opening, ports.intersection(allowed, opening.rule.ports))

    def _is_with(self, opening: Opening, other: End) -> bool:
        """Whether the other end of a flow is this peer."""
        peer = opening.peer
        if peer is None:
            return True
        if isinstance(peer, Block) or isinstance(other, Outside):
            return isinstance(peer, Block) and isinstance(other, Outside) and opened.is_within(peer, other)
        pods = labels.terms(peer.pods)
        there = {name: self._spaces[name] for name in other.namespaces}
        if pods is None or not standing.among(opening.namespace, peer, there):
            return False
        return not other.pods or any(labels.both(pods, one) is not None for one in other.pods)


def _is_of(opening: Opening, own: End) -> bool:
    """Whether it is for pods of this end."""
    pods = labels.terms(opening.pods)
    return pods is not None and isinstance(own, Group) and any(labels.both(pods, one) is not None for one in own.pods)


def _added(space: _Namespace) -> list[Standing]:
    return space.added


def _lost(space: _Namespace) -> list[Standing]:
    return space.lost
