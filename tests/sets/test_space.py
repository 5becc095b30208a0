"""Space against a model that asks every address: small nets of both families, changed at random and asked all along."""

import time
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securetenant.sets.space import Gap, Network, Space, largest

# A net of 64 addresses of each family, next to the other numbers of which nothing is ever used.
_WHOLES: Final = (ip_network("10.0.0.64/26"), ip_network("2001:db8::40/122"))
USERS: Final = ("ann", "ben", "cy")


def addresses(block: Network) -> range:
    start = int(block.network_address)
    return range(start, start + block.num_addresses)


@st.composite
def blocks(draw: st.DrawFn) -> Network:
    """A block within one of the nets."""
    whole = draw(st.sampled_from(_WHOLES))
    longer = draw(st.integers(0, 6))
    return nth(whole, whole.prefixlen + longer, draw(st.integers(0, 2**longer - 1)))


def nth(whole: Network, length: int, number: int) -> Network:
    start = int(whole.network_address) + (number << (whole.max_prefixlen - length))
    return IPv4Network((start, length)) if whole.version == 4 else IPv6Network((start, length))


class Model:
    """Who uses which block, and nothing else."""

    def __init__(self) -> None:
        self.used: set[tuple[str, Network]] = set()

    def taken(self, version: int) -> set[int]:
        return {one for _, block in self.used if block.version == version for one in addresses(block)}

    def overlapping(self, block: Network) -> set[tuple[str, Network]]:
        own = set(addresses(block))
        return {(user, b) for user, b in self.used if b.version == block.version and own & set(addresses(b))}

    def free(self, within: Network, length: int) -> Network | None:
        taken = self.taken(within.version)
        every = (nth(within, length, number) for number in range(2 ** max(0, length - within.prefixlen)))
        return next((b for b in every if not taken & set(addresses(b))), None) if length >= within.prefixlen else None

    def gaps(self, within: Network) -> list[Gap]:
        taken = self.taken(within.version)
        found: list[Gap] = []
        for one in addresses(within):
            if one in taken:
                continue
            if found and found[-1].last == one - 1:
                found[-1] = Gap(found[-1].first, one)
            else:
                found.append(Gap(one, one))
        return found


class Changed(RuleBasedStateMachine):
    """Blocks come and go; every answer is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.space: Space[str] = Space()
        self.model = Model()

    @rule(user=st.sampled_from(USERS), block=blocks())
    def add(self, user: str, block: Network) -> None:
        self.space.add(user, block)
        self.model.used.add((user, block))

    @rule(user=st.sampled_from(USERS), block=blocks())
    def remove_perhaps(self, user: str, block: Network) -> None:
        self.space.remove(user, block)
        self.model.used.discard((user, block))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model.used:
            user, block = data.draw(st.sampled_from(sorted(self.model.used, key=str)))
            self.remove_perhaps(user, block)

    @rule(block=blocks(), longer=st.integers(-1, 6))
    def free(self, block: Network, longer: int) -> None:
        """Twice, since the first answer is remembered."""
        length = min(block.prefixlen + longer, block.max_prefixlen)
        expected = self.model.free(block, length)
        assert [self.space.free(block, length) for _ in range(2)] == [expected, expected]

    @rule(block=blocks(), length=st.integers(0, 6))
    def take(self, block: Network, length: int) -> None:
        """What is free is given, as an allocation does."""
        found = self.space.free(block, min(block.prefixlen + length, block.max_prefixlen))
        if found is not None:
            self.add("ann", found)

    @invariant()
    def answers(self) -> None:
        for whole in _WHOLES:
            for block in (whole, nth(whole, whole.prefixlen + 3, 5), nth(whole, whole.max_prefixlen, 41)):
                found = list(self.space.overlapping(block))
                assert len(found) == len(set(found))
                assert set(found) == self.model.overlapping(block)
                assert [one.prefixlen for _, one in found if one.prefixlen < block.prefixlen] == sorted(
                    one.prefixlen for _, one in found if one.prefixlen < block.prefixlen
                ), "largest first"
                assert list(self.space.gaps(block)) == self.model.gaps(block)
            assert self.space.free(whole, whole.prefixlen + 2) == self.model.free(whole, whole.prefixlen + 2)


Changed.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestChanged: Any = Changed.TestCase


@given(st.integers(0, 255), st.integers(0, 255), st.sampled_from((4, 6)))
def test_the_largest_block_of_a_gap(one: int, other: int, version: int) -> None:
    first, last = sorted((one, other))
    bits = 32 if version == 4 else 128
    sizes = (size for size in range(9) for start in range(0, 256, 2**size) if first <= start <= last + 1 - 2**size)
    assert largest(Gap(first, last), version) == bits - max(sizes)


def test_the_largest_block_of_thousands_of_gaps() -> None:
    gaps = [Gap((0xFC << 120) + (n << 100) + 1, (0xFC << 120) + (n + 1 << 100) - 1) for n in range(5000)]
    start = time.process_time()
    assert {largest(gap, 6) for gap in gaps} == {29}
    assert time.process_time() - start < 0.5, "it was 2 s, in which no Lease was renewed"


def space(used: Iterable[str]) -> Space[str]:
    made: Space[str] = Space()
    for text in used:
        made.add("somebody", ip_network(text))
    return made


@pytest.mark.parametrize(
    ("used", "within", "length", "expected"),
    [
        ((), "0.0.0.0/0", 0, "0.0.0.0/0"),
        ((), "0.0.0.0/0", 32, "0.0.0.0/32"),
        (("0.0.0.0/0",), "0.0.0.0/0", 32, None),
        (("0.0.0.0/1",), "0.0.0.0/0", 1, "128.0.0.0/1"),
        (("0.0.0.0/1", "128.0.0.0/2"), "0.0.0.0/0", 32, "192.0.0.0/32"),
        (("255.255.255.255/32",), "255.255.255.254/31", 32, "255.255.255.254/32"),
        (("255.255.255.254/32",), "255.255.255.254/31", 32, "255.255.255.255/32"),
        (("255.255.255.254/32", "255.255.255.255/32"), "255.255.255.254/31", 32, None),
        ((), "::/0", 128, "::/128"),
        (("::/1",), "::/0", 64, "8000::/64"),
        (("8000::/1", "::/1"), "::/0", 64, None),
        (("::/0",), "0.0.0.0/0", 8, "0.0.0.0/8"),
        (("10.0.0.0/8",), "10.60.0.0/16", 24, None),
        (("10.60.0.0/24", "10.60.2.0/24"), "10.60.0.0/16", 23, "10.60.4.0/23"),
    ],
)
def test_free_at_the_ends_of_all_addresses(used: tuple[str, ...], within: str, length: int, expected: str) -> None:
    found = space(used).free(ip_network(within), length)
    assert (str(found) if found else None) == expected


def test_what_was_found_full_is_free_again_after_a_removal() -> None:
    full = space(f"10.60.{number}.0/24" for number in range(256))
    whole = ip_network("10.60.0.0/16")
    assert full.free(whole, 24) is None
    full.remove("somebody else", ip_network("10.60.7.0/24"))
    assert full.free(whole, 24) is None
    full.remove("somebody", ip_network("10.60.7.0/24"))
    assert str(full.free(whole, 24)) == "10.60.7.0/24"
    assert full.free(whole, 23) is None
    full.remove("somebody", ip_network("10.60.6.0/24"))
    assert str(full.free(whole, 23)) == "10.60.6.0/23"
