"""Sets of ports, with intersection, union and difference.

`None` is all traffic of every protocol, as in NetworkPolicy: more than all ports of TCP, UDP and SCTP, since it
includes ICMP. Any other set is a sorted tuple of disjoint, non-adjacent ranges, so that equal sets are equal values.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from securetenant.api.tenant import Port
from securetenant.model.objects import Json, JsonValue

LOWEST: Final = 0
HIGHEST: Final = 65535


class Range(NamedTuple):
    """The ports `low` to `high`, both included, of one protocol."""

    protocol: str
    low: int
    high: int


Ports: TypeAlias = tuple[Range, ...] | None

NONE: Final[tuple[Range, ...]] = ()

# All protocols but TCP, UDP and SCTP, ICMP among them: no port names them, only "all traffic" includes them.
OTHER: Final = "other"
# What None is, written out.
EVERYTHING: Final = (
    Range("SCTP", LOWEST, HIGHEST),
    Range("TCP", LOWEST, HIGHEST),
    Range("UDP", LOWEST, HIGHEST),
    Range(OTHER, LOWEST, LOWEST),
)


def declared(ports: Iterable[Port]) -> Ports:
    """The set for a rule's `ports`; all traffic if none are listed."""
    return merged(_range(port) for port in ports) or None


def _range(port: Port) -> Range:
    if port.port is None:
        return Range(port.protocol, LOWEST, HIGHEST)
    return Range(port.protocol, port.port, port.end_port if port.end_port is not None else port.port)


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same ports with overlapping and adjacent ranges merged."""
    result: list[Range] = []
    for item in sorted(ranges):
        last = result[-1] if result else None
        if last is not None and last.protocol == item.protocol and item.low <= last.high + 1:
            result[-1] = Range(item.protocol, last.low, max(last.high, item.high))
        else:
            result.append(item)
    return tuple(result)


def intersection(one: Ports, other: Ports) -> Ports:
    """The ports in both sets; `NONE` if there are none."""
    if one is None or one == other:
        return other
    if other is None:
        return one
    return tuple(_common(one, other))


def _common(one: tuple[Range, ...], other: tuple[Range, ...]) -> Iterator[Range]:
    """Both are sorted, so each range is looked at once: a policy may have thousands."""
    at = beside = 0
    while at < len(one) and beside < len(other):
        a, b = one[at], other[beside]
        if a.protocol == b.protocol and a.low <= b.high and b.low <= a.high:
            yield Range(a.protocol, max(a.low, b.low), min(a.high, b.high))
        if (a.protocol, a.high) < (b.protocol, b.high):
            at += 1
        else:
            beside += 1


def union(one: Ports, other: Ports) -> Ports:
    """The ports in either set."""
    if one is None or other is None:
        return None
    if one == other:
        return one
    found = merged((*one, *other))
    return None if found == EVERYTHING else found


def union_of(listed: Iterable[Ports]) -> Ports:
    """The ports in any of these sets."""
    found: list[Range] = []
    for one in listed:
        if one is None:
            return None
        found += one
    together = merged(found)
    return None if together == EVERYTHING else together


def difference(one: Ports, other: Ports) -> Ports:
    """The ports of the first set that are not in the second."""
    if other is None or one == other:
        return NONE
    left = intersection(EVERYTHING if one is None else one, tuple(_others(other)))
    return None if left == EVERYTHING else left


def _others(than: tuple[Range, ...]) -> Iterator[Range]:
    """All ports but these."""
    for whole in EVERYTHING:
        low = whole.low
        for hole in (each for each in than if each.protocol == whole.protocol):
            if low < hole.low:
                yield Range(whole.protocol, low, hole.low - 1)
            low = hole.high + 1
        if low <= whole.high:
            yield Range(whole.protocol, low, whole.high)


def rendered(ports: tuple[Range, ...]) -> list[JsonValue]:
    """The `ports` of a NetworkPolicy rule; for all traffic (None), the field is omitted instead."""
    return [_rendered(item) for item in ports]


def _rendered(item: Range) -> Json:
    if (item.low, item.high) == (LOWEST, HIGHEST):
        return {"protocol": item.protocol}
    if item.low == item.high:
        return {"protocol": item.protocol, "port": item.low}
    return {"protocol": item.protocol, "port": item.low, "endPort": item.high}


def described(ports: Ports) -> str:
    """As text: "TCP 8443, UDP 53-60"."""
    return "all ports" if ports is None else ", ".join(_described(item) for item in ports)


def _described(item: Range) -> str:
    if item.protocol == OTHER:
        return "ICMP and all other protocols"
    if (item.low, item.high) == (LOWEST, HIGHEST):
        return f"all {item.protocol} ports"
    return f"{item.protocol} {item.low}" if item.low == item.high else f"{item.protocol} {item.low}-{item.high}"
