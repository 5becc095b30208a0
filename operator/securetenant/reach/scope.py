"""Which namespaces can be an end of a flow with some of them, from what their policies name, without the flows.

A flow needs both ends. Where the policies of an end open it to everyone, only those namespaces count whose own policies
may allow it: what these say is remembered, so that one change costs a look at each namespace, and not at each policy.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from securetenant.reach import addresses, layers
from securetenant.reach.addresses import Located, Span
from securetenant.reach.classes import selected
from securetenant.reach.values import Cluster, Standing
from securetenant.sets import labels, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import TYPE, Direction, Unclear
from securetenant.sets.selectors import Selector

_OPPOSITE: Final[Mapping[Direction, Direction]] = {"ingress": "egress", "egress": "ingress"}


class _Side(NamedTuple):
    """What the policies of a namespace open in one direction to others. `is_wide`: perhaps to everyone, for some of its
    pods; otherwise to pods of these namespaces, by name or by other labels, and to these addresses alone."""

    is_wide: bool
    names: frozenset[str]
    selectors: frozenset[Selector]
    blocks: frozenset[Block]


_WIDE: Final = _Side(True, frozenset(), frozenset(), frozenset())


class _Same:
    """Policies by identity, as the key of a memo."""

    __slots__ = ("listed",)

    def __init__(self, listed: tuple[Standing, ...]) -> None:
        self.listed = listed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.listed is other.listed

    def __hash__(self) -> int:
        return id(self.listed)


def scope(states: Sequence[Cluster], located: Sequence[Located], of: Collection[str] | None) -> Collection[str]:
    """The namespaces that can be an end of a flow with these, and these; None: all. `located`: of each state."""
    if of is None:
        return dict.fromkeys(name for state in states for name in state.namespaces)
    found = {name: None for state in states for name in of if name in state.namespaces}
    for state, where in zip(states, located, strict=True):
        if (opened := layers.opened(state, of, state.namespaces)) is None:
            return dict.fromkeys(name for state in states for name in state.namespaces)
        found |= dict.fromkeys(opened)
        here = [name for name in of if name in state.namespaces]
        for direction in TYPE:
            found |= dict.fromkeys(_others(state, where, here, direction))
    return found


def _others(state: Cluster, located: Located, here: Sequence[str], direction: Direction) -> Iterator[str]:
    """The namespaces that the policies of these name in a direction, and that allow it themselves."""
    sides = [_side(state, name, direction) for name in here]
    named: Iterable[str] = state.namespaces
    if not any(side.is_wide for side in sides):
        named = dict.fromkeys(_named(state, located, sides))
    known: dict[Selector | Block, bool] = {}
    for name in named:
        side = _side(state, name, _OPPOSITE[direction])
        if side.is_wide or not side.names.isdisjoint(here):
            yield name
            continue
        peers: tuple[Selector | Block, ...] = (*side.selectors, *side.blocks)
        for peer in peers:
            if peer not in known:
                known[peer] = any(_is_peer(state, located, one, peer) for one in here)
            if known[peer]:
                yield name
                break


def _named(state: Cluster, located: Located, sides: Iterable[_Side]) -> Iterator[str]:
    for side in sides:
        yield from (name for name in side.names if name in state.namespaces)
        for where in side.selectors:
            yield from selected(where, state.namespaces, state.namespaces)
        for block in side.blocks:
            spans = addresses.spans(block)
            if state.pods is not None or any(map(located.all.meets, spans)):
                yield from (name for name in state.namespaces if _has(state, located, name, spans))


def _is_peer(state: Cluster, located: Located, name: str, peer: Selector | Block) -> bool:
    if isinstance(peer, Block):
        return _has(state, located, name, addresses.spans(peer))
    terms = labels.terms(peer)
    return terms is not None and labels.matched(terms, state.namespaces[name])


def _side(state: Cluster, name: str, direction: Direction) -> _Side:
    if state.pods is not None and any(pod.is_host for pod in state.pods.get(name, ())):
        return _WIDE
    listed = state.policies.get(name, ())
    sides = _remembered(_Same(listed)) if isinstance(listed, tuple) else _sides(listed)
    return sides[direction]


@lru_cache(maxsize=1 << 13)
def _remembered(same: _Same) -> Mapping[Direction, _Side]:
    return _sides(same.listed)


def _sides(listed: Iterable[Standing]) -> Mapping[Direction, _Side]:
    return {direction: _opened(listed, direction) for direction in TYPE}


def _opened(listed: Iterable[Standing], direction: Direction) -> _Side:
    is_closed, names, spaces, blocks = False, set[str](), set[Selector](), set[Block]()
    for _, policy in listed:
        if isinstance(policy, Unclear):
            return _WIDE
        rules = policy.rules(direction)
        if rules is None:
            continue
        is_closed = is_closed or policy.pods == selectors.ALL
        for rule in rules:
            if isinstance(rule, Unclear) or rule.peers is None:
                return _WIDE
            for peer in rule.peers:
                if isinstance(peer, Block):
                    blocks.add(peer)
                elif peer.namespaces is not None:
                    known = selectors.namespaces_of(peer.namespaces)
                    names.update(known)
                    spaces.update(() if known else (peer.namespaces,))
    return _Side(False, frozenset(names), frozenset(spaces), frozenset(blocks)) if is_closed else _WIDE


def _has(state: Cluster, located: Located, name: str, spans: Sequence[Span]) -> bool:
    """Whether a pod of a namespace may have one of these addresses, and they count for it."""
    pods = () if state.pods is None else state.pods.get(name, ())
    if any(
        addresses.meets(spans, addresses.single(address))
        for pod in pods
        if pod.is_host or state.blocks_match_pods
        for address in pod.addresses
    ):
        return True
    return state.blocks_match_pods and any(addresses.meets(spans, one) for one in located.of(name))
