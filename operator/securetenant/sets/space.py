"""Address blocks in use, by what uses them: which of them overlap a block, and what is free. IPv4 and IPv6.

Ours, and no library: `ipaddress` and netaddr's `IPSet` do not keep who uses a block, and look for a free one by walking
all others. Here a question costs 10 us among 10,000 blocks: CIDR blocks contain each other or are apart, so those that
overlap one are above it (a look-up for each prefix length in use) or below it (neighbours among the sorted starts).
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import groupby
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

Network: TypeAlias = IPv4Network | IPv6Network
User = TypeVar("User", bound=Hashable)

_BITS: Final = {4: 32, 6: 128}


class _Key(NamedTuple):
    """A block: its first address and its prefix length. Sorted, what is inside a block comes after it."""

    start: int
    length: int


class Gap(NamedTuple):
    """Free addresses without a used one in between, both ends included."""

    first: int
    last: int


class Summary(NamedTuple):
    """What is used of a block: `parts`, in order. `is_exact`: they have no other address."""

    parts: tuple[Network, ...]
    is_exact: bool = True


class Space(Generic[User]):
    """The used blocks. The same block may have several users, and blocks of different users may overlap."""

    def __init__(self) -> None:
        self._users: dict[int, dict[_Key, dict[User, None]]] = {4: {}, 6: {}}
        self._sorted: dict[int, list[_Key]] = {4: [], 6: []}
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}
        # By block and prefix length: before this address nothing of that size is free in the block.
        self._full: dict[tuple[Network, int], int] = {}

    def add(self, user: User, block: Network) -> None:
        key, users = _key(block), self._users[block.version]
        if key not in users:
            users[key] = {}
            insort(self._sorted[block.version], key)
            self._lengths[block.version][key.length] += 1
        users[key][user] = None

    def remove(self, user: User, block: Network) -> None:
        """Nothing happens where the user does not use this very block."""
        key, users = _key(block), self._users[block.version]
        if user not in users.get(key, {}):
            return
        del users[key][user]
        if users[key]:
            return
        del users[key]
        listed, lengths = self._sorted[block.version], self._lengths[block.version]
        del listed[bisect_left(listed, key)]
        lengths[key.length] -= 1
        if not lengths[key.length]:
            del lengths[key.length]
        for (within, length), before in self._full.items():
            # What is free now may be a part of a larger block that is.
            if within.version == block.version and before > (start := _masked(key.start, length, within.version)):
                self._full[within, length] = start

    def overlapping(self, block: Network) -> Iterator[tuple[User, Network]]:
        """The used blocks that contain this one, are inside it or equal to it, each with its users; largest first."""
        version, users = block.version, self._users[block.version]
        key, end = _key(block), _end(block)
        for length in sorted(one for one in self._lengths[version] if one < key.length):
            above = _Key(_masked(key.start, length, version), length)
            for user in users.get(above, ()):
                yield user, _network(above, version)
        listed = self._sorted[version]
        for at in range(bisect_left(listed, key), len(listed)):
            below = listed[at]
            if below.start > end:
                return
            for user in users[below]:
                yield user, _network(below, version)

    def free(self, within: Network, length: int, but: Iterable[Network] = ()) -> Network | None:
        """The lowest free block of this prefix length in `within` that overlaps none of `but`; None if there is none.
        Where the search can begin next time is remembered by `within`: it is not to be another one each time."""
        if length < within.prefixlen:
            return None
        version, size = within.version, 1 << (_BITS[within.version] - length)
        last, barred = _end(within), [one for one in but if one.version == version]
        start = -(-max(int(within.network_address), self._full.get((within, length), 0)) // size) * size
        is_first = True
        while start + size - 1 <= last:
            beyond = self._beyond(_Key(start, length), version)
            if beyond is None:
                if is_first:
                    self._full[within, length], is_first = start, False
                found = _network(_Key(start, length), version)
                beyond = next((_end(one) + 1 for one in barred if one.overlaps(found)), None)
                if beyond is None:
                    return found
            start = -(-beyond // size) * size
        if is_first:
            self._full[within, length] = start
        return None

    def _beyond(self, key: _Key, version: int) -> int | None:
        """The first address after a used block that overlaps this one; None if none does."""
        users, bits = self._users[version], _BITS[version]
        for length in self._lengths[version]:
            if length <= key.length and (above := _Key(_masked(key.start, length, version), length)) in users:
                return above.start + (1 << (bits - length))
        listed = self._sorted[version]
        at = bisect_left(listed, key)
        if at < len(listed) and listed[at].start < key.start + (1 << (bits - key.length)):
            return listed[at].start + (1 << (bits - listed[at].length))
        return None

    def covers(self, block: Network) -> bool:
        """Whether one used block contains this one, or is equal to it."""
        key, users = _key(block), self._users[block.version]
        return any(
            _Key(_masked(key.start, length, block.version), length) in users
            for length in self._lengths[block.version]
            if length <= key.length
        )

    def summary(self, within: Network, most: int) -> Summary:
        """What is used of a block, in at most so many blocks.

        Where that is not possible, neighbours are joined to the smallest block around them, so that others are in it
        too: those that share a prefix, as long a one as makes few enough. What is far from all others stays as it is.
        The result depends on the used addresses alone.
        """
        if self.covers(within):
            return Summary((within,))
        version, bits = within.version, _BITS[within.version]
        exact = _merged(self._outermost(within), bits)
        if len(exact) <= most:
            return Summary(tuple(_network(key, version) for key in exact))
        low, high = 0, bits
        while high - low > 1:  # at `low` they are few enough, at `high` too many
            middle = (low + high) // 2
            low, high = (middle, high) if _count(exact, middle, bits) <= most else (low, middle)
        joined = []
        for _, cell in groupby(exact, key=lambda key: _cell(key, low, bits)):
            found = list(cell)
            start, last = found[0].start, found[-1].start + (1 << (bits - found[-1].length)) - 1
            length = bits - (start ^ last).bit_length()
            joined.append(_Key(_masked(start, length, version), length))
        return Summary(tuple(_network(key, version) for key in _merged(joined, bits)), is_exact=False)

    def _outermost(self, within: Network) -> Iterator[_Key]:
        """The used blocks inside a block, in order, without those that lie in another."""
        listed, end, bits = self._sorted[within.version], _end(within), _BITS[within.version]
        at = bisect_left(listed, _key(within))
        while at < len(listed) and listed[at].start <= end:
            yield listed[at]
            at = bisect_left(listed, _Key(listed[at].start + (1 << (bits - listed[at].length)), 0), at)

    def gaps(self, within: Network) -> Iterator[Gap]:
        """What is free in a block, in order."""
        version, at, last = within.version, int(within.network_address), _end(within)
        key, bits = _key(within), _BITS[version]
        if any(block.prefixlen <= key.length for _, block in self.overlapping(within)):
            return
        listed = self._sorted[version]
        for below in listed[bisect_left(listed, key) :]:
            if below.start > last:
                break
            if below.start > at:
                yield Gap(at, below.start - 1)
            at = max(at, below.start + (1 << (bits - below.length)))
        if at <= last:
            yield Gap(at, last)


def parsed(texts: Iterable[object]) -> Iterator[Network]:
    """The blocks in texts of the cluster, host bits ignored; what is none is left out: it gives nobody addresses."""
    for text in texts:
        try:
            yield ip_network(str(text), strict=False)
        except ValueError:
            continue


def largest(gap: Gap, version: int) -> int:
    """The prefix length of the largest block in a gap."""
    host = (gap.last - gap.first + 1).bit_length() - 1  # at least half of the gap; at most two steps to what is aligned
    while (-(-gap.first >> host) << host) + (1 << host) - 1 > gap.last:
        host -= 1
    return _BITS[version] - host


def _merged(keys: Iterable[_Key], bits: int) -> list[_Key]:
    """The same addresses in as few blocks as possible; in order, and apart from each other."""
    found: list[_Key] = []
    for key in keys:
        while found and found[-1].length == key.length and found[-1].start ^ key.start == 1 << (bits - key.length):
            key = _Key(found.pop().start, key.length - 1)
        found.append(key)
    return found


def _cell(key: _Key, length: int, bits: int) -> int:
    """The block of that prefix length around a block, as a number; for a larger one a number that no other has."""
    return key.start >> (bits - length) if key.length > length else ~key.start


def _count(keys: Iterable[_Key], length: int, bits: int) -> int:
    """How many different cells blocks have, which are in order and apart."""
    count, last = 0, None
    for key in keys:
        cell = _cell(key, length, bits)
        if cell != last:
            count, last = count + 1, cell
    return count


def _key(block: Network) -> _Key:
    return _Key(int(block.network_address), block.prefixlen)


def _end(block: Network) -> int:
    return int(block.network_address) + (1 << (_BITS[block.version] - block.prefixlen)) - 1


def _masked(address: int, length: int, version: int) -> int:
    host = _BITS[version] - length
    return address >> host << host


def _network(key: _Key, version: int) -> Network:
    return IPv4Network(tuple(key)) if version == 4 else IPv6Network(tuple(key))
