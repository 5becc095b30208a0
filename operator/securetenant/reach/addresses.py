"""Address space cut where blocks begin and end, so that each part lies wholly in a block or outside it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, collapse_addresses, summarize_address_range
from typing import Final, NamedTuple

from securetenant.sets import blocks
from securetenant.sets.blocks import Address, Block, Network

_LAST: Final = {4: (1 << 32) - 1, 6: (1 << 128) - 1}


class Span(NamedTuple):
    """The addresses from `first` to `last` of a family."""

    version: int
    first: int
    last: int


def span(network: Network) -> Span:
    version, first = network.version, int(network.network_address)
    return Span(version, first, first + (_LAST[version] >> network.prefixlen))


def family(block: Block) -> int:
    return 6 if ":" in block.cidr else 4


def single(address: Address) -> Span:
    return Span(address.version, int(address), int(address))


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
    """The addresses of some spans, as one set."""

    def __init__(self, known: Iterable[Span]) -> None:
        self._firsts: dict[int, list[int]] = {4: [], 6: []}
        self._lasts: dict[int, list[int]] = {4: [], 6: []}
        for version, first, last in sorted(known):
            firsts, lasts = self._firsts[version], self._lasts[version]
            if firsts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)

    def contains(self, part: Span) -> bool:
        at = bisect_right(self._firsts[part.version], part.first) - 1
        return at >= 0 and part.last <= self._lasts[part.version][at]

    def meets(self, part: Span) -> bool:
        """Whether they have an address in common."""
        at = bisect_right(self._firsts[part.version], part.last) - 1
        return at >= 0 and part.first <= self._lasts[part.version][at]


class Located:
    """Where the pods of namespaces are, as far as known: by namespace (`subnets`), and of all others (`ranges`)."""

    def __init__(self, subnets: Mapping[str, Sequence[Network]], ranges: Sequence[Network]) -> None:
        self._others = tuple(map(span, ranges))
        self._by_name = {name: tuple(map(span, listed)) for name, listed in subnets.items()}
        self.all = Covered((*self._others, *(one for listed in self._by_name.values() for one in listed)))

    def of(self, name: str) -> Sequence[Span]:
        return self._by_name.get(name) or self._others


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


def meets(outer: Sequence[Span], other: Span) -> bool:
    """Whether one of these overlaps a span."""
    return any(one.version == other.version and one.first <= other.last and other.first <= one.last for one in outer)
