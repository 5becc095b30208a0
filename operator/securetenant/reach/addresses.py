"""Address space cut where blocks begin and end, so that each part lies wholly in a block or outside it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, collapse_addresses, summarize_address_range
from typing import Final, NamedTuple

from securetenant.sets import blocks
from securetenant.sets.blocks import Block, Network

_LAST: Final = {4: (1 << 32) - 1, 6: (1 << 128) - 1}


class Span(NamedTuple):
    """The addresses from `first` to `last` of a family."""

    version: int
    first: int
    last: int


def span(network: Network) -> Span:
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def spans(block: Block) -> tuple[Span, ...]:
    return tuple(map(span, blocks.parts(block)))


class Cut:
    """The address space of both families, cut by blocks."""

    def __init__(self, cutting: Iterable[Block]) -> None:
        edges: dict[int, set[int]] = {4: {0}, 6: {0}}
        for block in cutting:
            for version, first, last in spans(block):
                edges[version] |= {first, last + 1}
        self._starts = {version: sorted(e for e in found if e <= _LAST[version]) for version, found in edges.items()}

    def parts(self, within: Span) -> Iterator[Span]:
        """The parts of a span, in order."""
        starts = self._starts[within.version]
        for at in range(bisect_right(starts, within.first) - 1, bisect_right(starts, within.last)):
            end = starts[at + 1] - 1 if at + 1 < len(starts) else _LAST[within.version]
            yield Span(within.version, max(within.first, starts[at]), min(within.last, end))

    def around(self, within: Span) -> Span:
        """The whole part that a span, which lies in one, lies in."""
        starts = self._starts[within.version]
        at = bisect_right(starts, within.first)
        return Span(within.version, starts[at - 1], starts[at] - 1 if at < len(starts) else _LAST[within.version])

    def everything(self) -> Iterator[Span]:
        for version, last in _LAST.items():
            yield from self.parts(Span(version, 0, last))


class Covered:
    """The addresses of some networks, as one set."""

    def __init__(self, known: Iterable[Network]) -> None:
        self._spans: dict[int, list[Span]] = {4: [], 6: []}
        for one in sorted(map(span, known)):
            listed = self._spans[one.version]
            if listed and one.first <= listed[-1].last + 1:
                listed[-1] = listed[-1]._replace(last=max(listed[-1].last, one.last))
            else:
                listed.append(one)

    def contains(self, part: Span) -> bool:
        listed = self._spans[part.version]
        at = bisect_right(listed, part.first, key=lambda one: one.first) - 1
        return at >= 0 and part.last <= listed[at].last

    def meets(self, part: Span) -> bool:
        """Whether one address at least is among them."""
        listed = self._spans[part.version]
        at = bisect_right(listed, part.last, key=lambda one: one.first) - 1
        return at >= 0 and part.first <= listed[at].last


def networks(found: Iterable[Span]) -> tuple[Network, ...]:
    """As few blocks as possible, in order, IPv4 first."""
    result: list[Network] = []
    for version, kind in ((4, IPv4Address), (6, IPv6Address)):
        listed = [
            n for v, first, last in found if v == version for n in summarize_address_range(kind(first), kind(last))
        ]
        result += sorted(collapse_addresses(listed))  # type: ignore[type-var]
    return tuple(result)


def contains(outer: Sequence[Span], inner: Span) -> bool:
    """Whether one of these contains a span."""
    return any(o.version == inner.version and o.first <= inner.first and inner.last <= o.last for o in outer)
