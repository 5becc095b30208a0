"""Pods in classes that no policy tells apart, so that flows are computed between classes and not between pods.

A class has the same labels as far as policies select by them, the same addresses as far as their blocks do, and the
same policies of its own. It may span namespaces: those that no policy names are one. Several states of a cluster are
cut into the same classes, so that their flows compare.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from securetenant.model.objects import Ref
from securetenant.reach import addresses, kube_ovn, tiers
from securetenant.reach.addresses import Cut, Span
from securetenant.reach.tiers import Layer, Sides
from securetenant.reach.values import Cluster, Group, Pod
from securetenant.sets import labels, matching, selectors
from securetenant.sets.blocks import Block, Network
from securetenant.sets.labels import Labels
from securetenant.sets.policy import TYPE, Direction, NamedPort, Peer, Policy, Rule, Unclear
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector

EVERYONE: Final = -1  # the peer of a rule without peers
_MOST: Final = 512  # classes of one namespace: further selectors no longer divide them
_TERMS: Final = 64  # keys of a selector: one with more counts as if it told too many kinds of pods apart
_DIRECTIONS: Final[tuple[Direction, ...]] = tuple(TYPE)
_FAMILIES: Final = frozenset((4, 6))


class Opening(NamedTuple):
    """One peer that a policy allows, by its number, on these ports."""

    peer: int
    ports: Ports
    named: tuple[NamedPort, ...]
    ref: Ref


# What the policies of a class allow, in the order of _DIRECTIONS; None: none is enforced.
Rules: TypeAlias = tuple[frozenset[Opening] | None, frozenset[Opening] | None]
OPEN: Final[Rules] = (None, None)


@dataclass
class Class:
    """`rules`, `peers`: by state of the cluster, what its policies allow (None: it is not there), and the numbers of
    the peers that it is one of. `families`: of its addresses, as far as known: two classes without a family in common
    do not meet. `tiers`: by state, the rules above and below its policies, if there are any at all. `places`: where its
    addresses are, as far as that decides. `is_certain`: whether all of it is one of its peers."""

    rules: tuple[Rules | None, ...]
    peers: tuple[frozenset[int], ...]
    families: frozenset[int]
    named: Mapping[str, tuple[str, int]] | None
    is_host: bool
    spans: tuple[Span, ...]
    namespaces: set[str] = field(default_factory=set)
    pods: dict[Labels, None] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    tiers: tuple[Sides, ...] = ()
    places: tuple[Span, ...] = ()
    is_certain: bool = True

    @cached_property
    def group(self) -> Group:
        """Once all of it is there."""
        blocks = addresses.networks(self.spans)
        return Group(tuple(sorted(self.namespaces)), tuple(self.pods), tuple(sorted(self.names)), blocks, self.is_host)


class _Subject(NamedTuple):
    """The pods of one policy, and what it allows them."""

    pods: Labels
    rules: Rules


class _Where(NamedTuple):
    """The pods of some namespaces: those selected, or the one named."""

    namespaces: Selector | str
    pods: Selector


class _Cell(NamedTuple):
    """A part of a namespace's pods: which of the selectors in use match them (by their terms)."""

    pods: Labels
    matched: frozenset[Labels]
    pod: Pod | None = None
    is_certain: bool = True


class _Part(NamedTuple):
    """A part of the addresses of a namespace's pods, and the blocks that contain it, by their numbers. `places`: where
    it is, as far as more than these blocks decides."""

    spans: tuple[Span, ...]
    within: frozenset[int]
    families: frozenset[int]
    places: tuple[Span, ...] = ()


_ANYWHERE: Final = (_Part((), frozenset(), _FAMILIES),)


class Classes:
    """All classes of these states of one cluster, as far as these namespaces go (`scope`). Those of `of` are never in
    one class with others."""

    def __init__(self, states: Sequence[Cluster], scope: Collection[str], of: Collection[str] = ()) -> None:
        self.states = states
        self._of = of
        self.unknown: dict[str, list[str]] = {}
        self.together: set[str] = set()
        self.peers: dict[_Where | Block, int] = {}
        self._scope = scope
        self._subjects = [self._read(state) for state in states]
        self._layers = [self._read_tiers(state) for state in states]
        self.blocks = {number: block for block, number in self.peers.items() if isinstance(block, Block)}
        has_subnets = any(map(kube_ovn.is_used, states))
        self.is_layered = has_subnets or any(self._layers)
        # Between these, places decide alike.
        edges = [block for state in states for block in kube_ovn.cutting(state, scope)]
        self.places = Cut(edges)
        self._is_placed = has_subnets or (self.is_layered and bool(self.blocks))
        self._cut = Cut((*self.blocks.values(), *edges))
        self._spans = {number: addresses.spans(block) for number, block in self.blocks.items()}
        self._parts: dict[tuple[Network, ...], tuple[_Part, ...]] = {}
        self._here = [self._peers_by_namespace(state) for state in states]
        self._names = {port.name for found in self._subjects for port in _named(found)}
        self._names.update(tiers.names(self._layers))
        self.classes = self._classes()

    # --- the policies

    def _read(self, state: Cluster) -> dict[str, list[_Subject]]:
        return {
            name: [self._subject(name, one.ref, one.policy) for one in listed]
            for name in self._scope
            if (listed := state.policies.get(name)) and name in state.namespaces
        }

    def _read_tiers(self, state: Cluster) -> dict[str, list[Layer]]:
        for name, what in kube_ovn.unclear(state):
            if name in self._scope:
                self._tell(name, what)
        return tiers.layers(
            state,
            lambda where: selected(where, state.namespaces, self._scope),
            lambda peer: self._number("", peer),
            self._tell,
        )

    def _subject(self, namespace: str, ref: Ref, policy: Policy | Unclear) -> _Subject:
        if isinstance(policy, Unclear):
            self._tell(namespace, f"{ref} is not understood")
            everything = frozenset((Opening(EVERYONE, None, (), ref),))
            return _Subject(labels.EVERY, (everything, everything))
        ingress, egress = (self._openings(namespace, ref, policy, direction) for direction in _DIRECTIONS)
        found = labels.terms(policy.pods)
        # One that contradicts itself selects nothing, and so does nothing.
        return _Subject(labels.EVERY, OPEN) if found is None else _Subject(found, (ingress, egress))

    def _openings(self, namespace: str, ref: Ref, policy: Policy, direction: Direction) -> frozenset[Opening] | None:
        rules = policy.rules(direction)
        if rules is None:
            return None
        return frozenset(opening for rule in rules for opening in self._opened(namespace, ref, rule))

    def _opened(self, namespace: str, ref: Ref, rule: Rule | Unclear) -> Iterable[Opening]:
        if isinstance(rule, Unclear):
            self._tell(namespace, f"a rule of {ref} is not understood")
            return (Opening(EVERYONE, None, (), ref),)
        if rule.peers is None:
            return (Opening(EVERYONE, rule.ports, rule.named, ref),)
        return [Opening(self._number(namespace, peer), rule.ports, rule.named, ref) for peer in rule.peers]

    def _number(self, namespace: str, peer: Peer) -> int:
        if isinstance(peer, Block):
            return self.peers.setdefault(peer, len(self.peers))
        where = _Where(namespace if peer.namespaces is None else peer.namespaces, peer.pods)
        return self.peers.setdefault(where, len(self.peers))

    def _tell(self, namespace: str, what: str) -> None:
        listed = self.unknown.setdefault(namespace, [])
        if what not in listed:
            listed.append(what)

    @property
    def everyone(self) -> tuple[int, ...]:
        """The number of the peer that all pods are, if it is in use."""
        found = self.peers.get(_Where(selectors.ALL, selectors.ALL))
        return () if found is None else (found,)

    # --- the classes

    def _peers_by_namespace(self, state: Cluster) -> dict[str, list[tuple[Labels, int]]]:
        """By namespace, the peers that pods of it can be: which pods, and the peer's number."""
        found: dict[str, list[tuple[Labels, int]]] = {}
        spaces: dict[Selector, tuple[str, ...]] = {}
        for peer, number in self.peers.items():
            if isinstance(peer, Block) or (pods := labels.terms(peer.pods)) is None:
                continue
            where = peer.namespaces
            if isinstance(where, str):
                names: Iterable[str] = (where,)
            else:
                if where not in spaces:
                    spaces[where] = selected(where, state.namespaces, self._scope)
                names = spaces[where]
            for name in names:
                found.setdefault(name, []).append((pods, number))
        return found

    def _classes(self) -> list[Class]:
        found: dict[object, Class] = {}
        for name in sorted(self._scope):
            peers = [here.get(name, ()) for here in self._here]
            subjects = [read.get(name, ()) for read in self._subjects]
            parts = self._addresses(name)
            above = [read.get(name, ()) for read in self._layers]
            here: dict[object, Class] = {}
            for cell in self._cells(name, peers, [*subjects, *above]):
                self._sort(name, cell, peers, subjects, parts, here)
            for key, one in here.items():
                # Namespaces are one class only with the same pods: a group has all of its pods in each of them.
                whole = found.setdefault((key, frozenset(one.pods)), one)
                if whole is not one:
                    whole.namespaces |= one.namespaces
                    whole.names += one.names
        return list(found.values())

    def _sort(
        self,
        name: str,
        cell: _Cell,
        peers: Sequence[Iterable[tuple[Labels, int]]],
        subjects: Sequence[Iterable[_Subject]],
        parts: Sequence[_Part],
        found: dict[object, Class],
    ) -> None:
        """Put a part of a namespace's pods into its classes, one for each part of their addresses."""
        pod = cell.pod
        is_host = pod is not None and pod.is_host
        matched = cell.matched
        ours = tuple(
            frozenset() if is_host else frozenset(number for pods, number in here if not pods or pods in matched)
            for here in peers
        )
        rules: tuple[Rules | None, ...] = tuple(
            None if name not in state.namespaces else OPEN if is_host else _rules(here, cell)
            for state, here in zip(self.states, subjects, strict=True)
        )
        named = None
        if pod is not None:
            named = tuple(sorted((port, to) for port, to in pod.named.items() if port in self._names))
            parts = self._of_addresses(pod) or (_ANYWHERE if is_host else parts)
        above = self._tiers(name, cell, is_host=is_host) if self.is_layered else ()
        for part in parts:
            mine = tuple(one | part.within for one in ours) if part.within else ours
            spans = part.spans if len(parts) > 1 else ()
            more = (above, part.places, cell.is_certain)
            key = (name in self._of, rules, mine, part.families, named, is_host, spans, more)
            one = found.get(key)
            if one is None:
                told = None if named is None else dict(named)
                one = found[key] = Class(rules, mine, part.families, told, is_host, spans)
                one.tiers, one.places, one.is_certain = more
            one.namespaces.add(name)
            if pod is not None:
                one.names.append(f"{name}/{pod.name}")
            else:
                one.pods[cell.pods] = None

    def _tiers(self, name: str, cell: _Cell, *, is_host: bool) -> tuple[Sides, ...]:
        return tuple(
            tiers.NONE if is_host else tiers.of(read.get(name, ()), cell.matched, is_certain=cell.is_certain)
            for read in self._layers
        )

    def _cells(
        self,
        name: str,
        peers: Sequence[Iterable[tuple[Labels, int]]],
        subjects: Sequence[Iterable[_Subject | Layer]],
    ) -> list[_Cell]:
        used = dict.fromkeys(
            [*(one.pods for here in subjects for one in here), *(pods for here in peers for pods, _ in here)]
        )
        used.pop(labels.EVERY, None)
        known = self._pods(name)
        if known is not None:
            return [
                _Cell(labels.EVERY, frozenset(one for one in used if labels.matched(one, pod.labels)), pod)
                for pod in known
            ]
        cells = [_Cell(labels.EVERY, frozenset())]
        for one in used:
            parts = (part for cell in cells for part in _split(cell, one))
            cells = list(islice(parts, _MOST + 1)) if len(one) <= _TERMS else []
            if not 0 < len(cells) <= _MOST:
                self._tell(name, f"its policies tell more than {_MOST} kinds of pods apart: they are taken together")
                self.together.add(name)
                return [_Cell(labels.EVERY, frozenset(used), is_certain=False)]
        return cells

    def _pods(self, name: str) -> Sequence[Pod] | None:
        """Those of the last state that has the namespace."""
        for state in reversed(self.states):
            if name in state.namespaces:
                return None if state.pods is None else state.pods.get(name, ())
        return None

    # --- addresses

    def _addresses(self, name: str) -> tuple[_Part, ...]:
        """The addresses of a namespace's pods, cut by the blocks in use."""
        state = next((one for one in reversed(self.states) if name in one.namespaces), None)
        known = () if state is None else tuple(state.subnets.get(name, ())) or tuple(state.ranges)
        if not known:
            return _ANYWHERE
        if state is None or not state.blocks_match_pods:
            return (_Part((), frozenset(), frozenset(one.version for one in known)),)
        if known not in self._parts:
            self._parts[known] = self._cut_up(map(addresses.span, known))
        return self._parts[known]

    def _of_addresses(self, pod: Pod) -> tuple[_Part, ...]:
        """Of a pod whose addresses are known: one part, in all blocks that have one of them."""
        if not pod.addresses:
            return ()
        within: frozenset[int] = frozenset()
        found = [addresses.single(address) for address in pod.addresses]
        state = next((one for one in reversed(self.states) if pod.namespace in one.namespaces), None)
        if pod.is_host or (state is not None and state.blocks_match_pods):
            within = within.union(*(part.within for part in self._cut_up(found)))
        places = tuple(sorted({self.places.around(one) for one in found})) if self._is_placed else ()
        return (_Part((), within, frozenset(address.version for address in pod.addresses), places),)

    def _cut_up(self, known: Iterable[Span]) -> tuple[_Part, ...]:
        found: dict[tuple[frozenset[int], tuple[Span, ...]], list[Span]] = {}
        for whole in known:
            near = [n for n, spans in self._spans.items() if addresses.meets(spans, whole)]
            for part in self._cut.parts(whole):
                within = frozenset(n for n in near if addresses.contains(self._spans[n], part))
                places = (self.places.around(part),) if self._is_placed else ()
                found.setdefault((within, places), []).append(part)
        return tuple(
            _Part(tuple(spans), within, frozenset(one.version for one in spans), places)
            for (within, places), spans in found.items()
        )


def _split(cell: _Cell, by: Labels) -> Iterable[_Cell]:
    inside = labels.both(cell.pods, by)
    if inside is None:
        yield cell
        return
    yield _Cell(inside, cell.matched | {by})
    for part in labels.without(cell.pods, by):
        yield _Cell(part, cell.matched)


def _rules(subjects: Iterable[_Subject], cell: _Cell) -> Rules:
    """What the policies that select these pods allow together."""
    chosen = [one for one in subjects if not one.pods or one.pods in cell.matched]
    ingress, egress = (_joined([one for one in chosen if one.rules[side] is not None], side, cell) for side in (0, 1))
    return ingress, egress


def _joined(found: Sequence[_Subject], side: int, cell: _Cell) -> frozenset[Opening] | None:
    # What closes some pods does not close all that are taken together.
    if not any(cell.is_certain or not one.pods for one in found):
        return None
    return frozenset(opening for one in found for opening in one.rules[side] or ())


def _named(found: Mapping[str, Iterable[_Subject]]) -> Iterable[NamedPort]:
    for subjects in found.values():
        for subject in subjects:
            for openings in subject.rules:
                for opening in openings or ():
                    yield from opening.named


def selected(where: Selector, spaces: Mapping[str, Mapping[str, str]], scope: Collection[str]) -> tuple[str, ...]:
    """The namespaces that a selector selects, of those in the scope."""
    if where == selectors.ALL:
        return tuple(name for name in scope if name in spaces)
    terms = labels.terms(where)
    if terms is None:
        return ()
    names = matching.named(where)
    near: Iterable[str] = scope if names is None else (name for name in names if name in scope)
    return tuple(name for name in near if name in spaces and labels.matched(terms, spaces[name]))
