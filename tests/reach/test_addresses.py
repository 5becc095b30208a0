"""Ranges of addresses, against single addresses."""

from ipaddress import ip_address, ip_network
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from securetenant.reach import addresses
from securetenant.reach.addresses import Covered, Cut, Located, Span
from securetenant.sets.blocks import Block, Network

PROBES: Final = (
    *(ip_address(f"10.0.{third}.{last}") for third in range(4) for last in (0, 1, 63, 64, 127, 128, 255)),
    *map(ip_address, ("0.0.0.0", "9.255.255.255", "255.255.255.255", "::", "fd00::1", "fd00::ffff:0:0", "fe00::")),
)
networks = st.sampled_from(
    tuple(
        map(
            ip_network,
            (
                *("10.0.0.0/24", "10.0.1.0/25", "10.0.1.128/25", "10.0.2.0/26", "10.0.0.0/22", "0.0.0.0/0"),
                *("255.255.255.255/32", "fd00::/64", "fd00::/8", "::/0"),
            ),
        )
    )
)
blocks = st.builds(lambda network: Block(str(network)), networks) | st.just(Block("10.0.0.0/22", ("10.0.1.0/25",)))


def inside(span: Span) -> set[object]:
    return {one for one in PROBES if one.version == span.version and span.first <= int(one) <= span.last}


@given(st.lists(networks, max_size=4), networks)
def test_covered_is_the_union(known: list[Network], other: Network) -> None:
    covered, span = Covered(map(addresses.span, known)), addresses.span(other)
    union = {one for network in known for one in inside(addresses.span(network))}
    assert covered.meets(span) == any(one.overlaps(other) for one in known)
    assert covered.contains(span) <= (inside(span) <= union)
    assert all(covered.contains(addresses.single(one)) == (one in union) for one in PROBES)


@given(st.lists(blocks, max_size=4))
def test_parts_are_apart_cover_everything_and_lie_in_a_block_or_outside_it(cutting: list[Block]) -> None:
    parts = list(Cut(cutting).everything())
    assert all(sum(one in inside(part) for part in parts) == 1 for one in PROBES)
    for part in parts:
        for block in cutting:
            spans = addresses.spans(block)
            assert addresses.contains(spans, part) == addresses.meets(spans, part)
    assert {*addresses.networks(parts)} == {ip_network("0.0.0.0/0"), ip_network("::/0")}


def test_where_pods_of_a_namespace_are_is_its_subnets_or_else_the_range_of_all_others() -> None:
    first, second = ip_network("10.0.0.0/24"), ip_network("10.1.0.0/16")
    located = Located({"a": [first], "b": []}, [second])
    assert list(located.of("a")) == [addresses.span(first)]
    assert list(located.of("b")) == list(located.of("c")) == [addresses.span(second)]
    assert located.all.contains(addresses.span(first))
