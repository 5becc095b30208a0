"""Blocks of addresses, against the sets of addresses that they stand for."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.sets import blocks
from securetenant.sets.blocks import Address, Block, Network

BITS = 3
WHOLES = ("10.0.0.0/29", "2001:db8::/125")  # of eight addresses each


@st.composite
def small(draw: st.DrawFn) -> Block:
    """A block within one of the wholes, with exceptions strictly inside it."""
    whole = ip_network(draw(st.sampled_from(WHOLES)))
    cidr = draw(st.sampled_from([str(part) for more in range(BITS + 1) for part in whole.subnets(prefixlen_diff=more)]))
    inner = [
        str(part)
        for more in range(1, whole.max_prefixlen - ip_network(cidr).prefixlen + 1)
        for part in ip_network(cidr).subnets(prefixlen_diff=more)
    ]
    excepts = draw(st.lists(st.sampled_from(inner), max_size=3, unique=True)) if inner else []
    return Block(cidr, tuple(sorted(excepts)))


def each(cidr: str) -> set[Address]:
    network = ip_network(cidr)
    return {network[index] for index in range(network.num_addresses)}


def held(block: Block) -> set[Address]:
    return each(block.cidr).difference(*map(each, block.excepts))


networks = st.frozensets(
    st.sampled_from(
        [part for whole in WHOLES for n in range(BITS + 1) for part in ip_network(whole).subnets(prefixlen_diff=n)]
    ),
    max_size=5,
)


@given(small(), networks)
def test_without_is_the_difference(block: Block, closed: frozenset[Network]) -> None:
    left = blocks.without(block, tuple(sorted(closed, key=str)))
    closed_ = set[Address]().union(*(each(str(one)) for one in closed))
    assert (held(left) if left is not None else set()) == held(block) - closed_
    if not each(block.cidr) & closed_:
        assert left == block
    elif left is not None:
        assert all(each(part) < each(left.cidr) for part in left.excepts), "the API server refuses others"
        assert list(left.excepts) == sorted(left.excepts)
        assert left == block or not any(each(one) < each(two) for one in left.excepts for two in left.excepts)
    else:
        assert held(block) <= closed_


@given(small(), networks)
def test_within_is_what_is_taken_out(block: Block, closed: frozenset[Network]) -> None:
    found = [each(str(one)) for one in blocks.within(block, closed)]
    closed_ = set[Address]().union(*(each(str(one)) for one in closed))
    assert set[Address]().union(*found) & held(block) == held(block) & closed_
    assert all(part <= each(block.cidr) for part in found)
    assert sum(map(len, found)) == len(set[Address]().union(*found)), "each address once"


@given(small())
def test_parts_are_what_is_left(block: Block) -> None:
    found = blocks.parts(block)
    assert sum(one.num_addresses for one in found) == len(held(block)), "each address once"
    assert set[Address]().union(*(each(str(one)) for one in found)) == held(block)
    assert list(found) == sorted(found)


def test_parts_to_the_ends_of_all_addresses() -> None:
    for whole, first, last in (("0.0.0.0/0", "0.0.0.0/1", "255.0.0.0/8"), ("::/0", "::/1", "ffff::/16")):
        assert [len(blocks.parts(Block(whole, one))) for one in ((first,), (last,), (first, last), ())] == [
            1,
            ip_network(last).prefixlen,
            ip_network(last).prefixlen - 1,
            1,
        ]


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        ("10.8.0.0/16", "10.8.0.0/16"),
        ("64:ff9b::10.8.0.0/112", "64:ff9b::a08:0/112"),
        ("64:FF9B:0:0:0:0:10.8.0.0/112", "64:ff9b::a08:0/112"),
        ("2001:0DB8:0000:0000:0000:0000:0000:0000/32", "2001:db8::/32"),
        ("::1.2.3.4/128", "::102:304/128"),
        ("::/0", "::/0"),
    ],
)
def test_one_way_to_write_a_block(given_: str, written: str) -> None:
    """That of RFC 5952, for which the API server has no warning."""
    assert blocks.canonical_cidr(given_) == written
    assert blocks.parsed(given_) == blocks.declared(given_) == Block(written)


def test_declared_exceptions_are_sorted_and_stand_once() -> None:
    found = blocks.declared("2001:DB8::/32", ["2001:db8:2::/48", "2001:DB8:1::/48", "2001:db8:2:0::/48"])
    assert found == Block("2001:db8::/32", ("2001:db8:1::/48", "2001:db8:2::/48"))


def test_parsed_exceptions_keep_their_order() -> None:
    found = blocks.parsed("10.0.0.1/8", ["10.2.0.0/16", "10.1.0.0/16"])
    assert found == Block("10.0.0.0/8", ("10.2.0.0/16", "10.1.0.0/16"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/+8", "10.0.0.0/٨"),
        *("10.0.0/8", "010.0.0.0/8", "fe80::1%eth0/64", "::ffff:10.0.0.0/104", "::FFFF:0A00:0000/104", "::/129"),
    ],
)
def test_what_is_no_block_for_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        blocks.parsed(text)
    with pytest.raises(ValueError, match=r"."):
        blocks.parsed("10.0.0.0/8", [text])


def test_one_address() -> None:
    assert blocks.host(IPv4Address("192.0.2.1")) == Block("192.0.2.1/32")
    assert blocks.host(IPv6Address("2001:DB8::1")) == Block("2001:db8::1/128")


def test_everywhere_is_without_exceptions() -> None:
    assert blocks.parsed("10.0.0.1/0") in blocks.EVERYWHERE
    assert blocks.parsed("::/0") in blocks.EVERYWHERE
    assert blocks.parsed("0.0.0.0/0", ["10.0.0.0/8"]) not in blocks.EVERYWHERE


def test_as_policies_and_readers_have_it() -> None:
    plain, less = Block("10.8.0.0/16"), Block("10.8.0.0/16", ("10.8.9.0/24", "10.8.10.0/24"))
    assert blocks.rendered(plain) == {"cidr": "10.8.0.0/16"}
    assert blocks.rendered(less) == {"cidr": "10.8.0.0/16", "except": ["10.8.9.0/24", "10.8.10.0/24"]}
    assert blocks.described(plain) == "10.8.0.0/16"
    assert blocks.described(less) == "10.8.0.0/16 except 10.8.9.0/24, 10.8.10.0/24"
