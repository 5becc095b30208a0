"""Port sets against sets of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.api.tenant import Port
from securetenant.sets import ports
from securetenant.sets.ports import Ports, Range

ranges = st.builds(
    lambda protocol, low, more: Range(protocol, low, low + more),
    st.sampled_from(("TCP", "UDP")),
    st.integers(0, 12),
    st.integers(0, 4),
)
sets = st.one_of(st.none(), st.lists(ranges, max_size=4).map(ports.merged))
EVERY = {
    *((protocol, number) for protocol in ("TCP", "UDP", "SCTP") for number in (*range(20), ports.HIGHEST)),
    (ports.OTHER, 0),
}
# Of all traffic without some of it, and of all but some protocols.
large = st.one_of(
    sets,
    sets.map(lambda found: ports.difference(None, found)),
    st.sets(st.sampled_from(ports.EVERYTHING)).map(ports.merged).map(lambda found: ports.union(ports.NONE, found)),
)


def numbers(value: Ports) -> set[tuple[str, int]]:
    return (
        EVERY
        if value is None
        else {(p, n) for p, n in EVERY if any(r.protocol == p and r.low <= n <= r.high for r in value)}
    )


@given(large, large)
def test_algebra_is_that_of_sets(one: Ports, other: Ports) -> None:
    assert numbers(ports.intersection(one, other)) == numbers(one) & numbers(other)
    assert numbers(ports.union(one, other)) == numbers(one) | numbers(other)
    assert numbers(ports.difference(one, other)) == numbers(one) - numbers(other)


@given(large, large)
def test_a_set_and_the_rest_are_the_whole_again(one: Ports, other: Ports) -> None:
    whole = ports.union(one, other)
    assert ports.union(ports.difference(one, other), other) == whole
    assert (ports.difference(one, other) == ports.NONE) == (whole == other)


def test_all_protocols_together_are_all_traffic() -> None:
    named = ports.merged(ports.EVERYTHING[:3])
    assert ports.difference(None, named) == (Range(ports.OTHER, 0, 0),)
    assert ports.union(named, (Range(ports.OTHER, 0, 0),)) is None
    assert ports.difference(None, ports.NONE) is None
    assert ports.difference(None, None) == ports.NONE
    assert ports.described(ports.difference(None, named)) == "ICMP and all other protocols"


@given(large, large)
def test_equal_sets_are_equal_values(one: Ports, other: Ports) -> None:
    assert (numbers(one) == numbers(other)) == (one == other)


@pytest.mark.parametrize(
    ("declared", "rendered"),
    [
        pytest.param([Port(port=80)], [{"protocol": "TCP", "port": 80}], id="one"),
        pytest.param([Port(port=80, end_port=80)], [{"protocol": "TCP", "port": 80}], id="range of one"),
        pytest.param(
            [Port(port=8000, end_port=8010)], [{"protocol": "TCP", "port": 8000, "endPort": 8010}], id="range"
        ),
        pytest.param([Port(port=81), Port(port=80)], [{"protocol": "TCP", "port": 80, "endPort": 81}], id="adjacent"),
        pytest.param([Port(protocol="UDP"), Port(protocol="UDP", port=53)], [{"protocol": "UDP"}], id="all of UDP"),
        pytest.param(
            [Port(port=1, end_port=65535)], [{"protocol": "TCP", "port": 1, "endPort": 65535}], id="all but port 0"
        ),
        pytest.param(
            [Port(protocol="UDP", port=53), Port(port=53)],
            [{"protocol": "TCP", "port": 53}, {"protocol": "UDP", "port": 53}],
            id="by protocol",
        ),
    ],
)
def test_rendered(declared: list[Port], rendered: list[dict[str, object]]) -> None:
    value = ports.declared(declared)
    assert value is not None
    assert ports.rendered(value) == rendered


def test_no_ports_are_everything_and_not_the_sum_of_the_protocols() -> None:
    every_protocol = ports.declared([Port(protocol="TCP"), Port(protocol="UDP"), Port(protocol="SCTP")])
    assert ports.declared([]) is None
    assert every_protocol is not None
    assert ports.intersection(None, every_protocol) == every_protocol


def test_described() -> None:
    assert ports.described(ports.declared([Port(port=8443), Port(port=9000, end_port=9010), Port(protocol="UDP")])) == (
        "TCP 8443, TCP 9000-9010, all UDP ports"
    )
    assert ports.described(None) == "all ports"
