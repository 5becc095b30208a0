"""What is used of a block in few blocks, against the sets of addresses that they stand for."""

from collections.abc import Sequence
from ipaddress import IPv4Network, collapse_addresses, ip_network

from hypothesis import given
from hypothesis import strategies as st

from securetenant.sets.space import Network, Space

WHOLE = IPv4Network("10.0.0.0/25")
PARTS = [part for more in range(8) for part in WHOLE.subnets(prefixlen_diff=more)]
some = st.lists(st.sampled_from(PARTS), max_size=24)


def held(*blocks: Network) -> set[int]:
    return {int(address) for block in blocks for address in block}


def space(blocks: Sequence[Network]) -> Space[int]:
    made: Space[int] = Space()
    for number, block in enumerate(blocks):
        made.add(number, block)
    return made


@given(some, st.sampled_from(PARTS))
def test_a_summary_is_what_is_used_of_a_block(blocks: list[IPv4Network], within: IPv4Network) -> None:
    found = space(blocks).summary(within, len(PARTS))
    assert found.is_exact
    assert list(found.parts) == list(collapse_addresses(IPv4Network((n, 32)) for n in held(*blocks) & held(within)))
    assert space(blocks).covers(within) == any(within.subnet_of(block) for block in blocks)


@given(some, st.integers(1, 12))
def test_others_are_in_it_only_where_they_would_be_too_many(blocks: list[IPv4Network], most: int) -> None:
    found = space(blocks).summary(WHOLE, most)
    assert held(*found.parts) >= held(*blocks)
    assert len(found.parts) <= most
    assert list(found.parts) == list(collapse_addresses(map(IPv4Network, found.parts)))
    fits = len(space(blocks).summary(WHOLE, len(PARTS)).parts) <= most
    assert found.is_exact == fits
    if fits:
        assert held(*found.parts) == held(*blocks)
    assert space(blocks[::-1]).summary(WHOLE, most) == found, "in whatever order"


def test_the_nearest_are_joined_and_what_is_far_is_left_as_it_is() -> None:
    nodes = [ip_network(f"10.20.{net}.{host}/32") for net in (0, 7) for host in range(1, 200, 3)]
    far = [ip_network("10.96.0.0/16"), ip_network("203.0.113.9/32")]
    assert space([*nodes, *far]).summary(ip_network("0.0.0.0/0"), 8).parts == (
        ip_network("10.20.0.0/24"),
        ip_network("10.20.7.0/24"),
        ip_network("10.96.0.0/16"),
        ip_network("203.0.113.9/32"),
    )


def test_ipv6() -> None:
    nets = [ip_network(f"2001:db8:{n:x}::/64") for n in range(0, 64, 2)]
    far = ip_network("2001:dead::1/128")
    assert space([*nets, far]).summary(ip_network("::/0"), 2) == ((ip_network("2001:db8::/42"), far), False)
