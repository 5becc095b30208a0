"""Which addresses are the cluster's own: from objects, settings and specs, and when an answer changes."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.cache.own import MOST, OwnRanges
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET
from securetenant.model.objects import Observed
from securetenant.sets.space import Summary
from tests.support.world import observed

TEN = ip_network("10.0.0.0/8")


def node(name: str, *addresses: str, pods: str = "", **more: Any) -> Observed:
    listed = [{"type": "InternalIP", "address": one} for one in addresses]
    return observed("Node", name, spec={"podCIDRs": [pods]} if pods else {}, status={"addresses": listed}, **more)


def pool(*cidrs: str, **spec: Any) -> Observed:
    return observed("SubnetPool", "prod", spec={"cidrs": list(cidrs), **spec})


def subnet(number: int) -> Observed:
    cidr = f"10.{60 + number // 256}.{number % 256}.0/24"
    return observed(KUBE_OVN_SUBNET, f"securetenant-n{number}", spec={"cidrBlock": cidr})


def parts(found: Summary) -> list[str]:
    return [str(part) for part in found.parts]


def ranges(*objects: Observed, fixed: tuple[str, ...] = ()) -> tuple[OwnRanges, list[int]]:
    """With a list that grows whenever an answer is in doubt."""
    made, doubts = OwnRanges(fixed), list[int]()
    made.on_doubt = lambda: doubts.append(1)
    for one in objects:
        made.change(None, one)
    return made, doubts


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(node("a", "10.1.2.3", pods="10.244.0.0/24"), ["10.1.2.3/32", "10.244.0.0/24"], id="node"),
        pytest.param(observed("ServiceCIDR", "x", spec={"cidrs": ["10.96.0.0/12"]}), ["10.96.0.0/12"], id="services"),
        pytest.param(pool("10.60.0.0/16", reserved=["10.60.1.0/24"]), ["10.60.0.0/16"], id="pool, given out or not"),
        pytest.param(
            observed(KUBE_OVN_SUBNET, "join", spec={"cidrBlock": "10.64.0.0/16,fd00::/64"}), ["10.64.0.0/16"], id="ovn"
        ),
        pytest.param(observed(CALICO_IP_POOL, "x", spec={"cidr": "10.2.0.0/16"}), ["10.2.0.0/16"], id="calico"),
        pytest.param(
            observed(CILIUM_POD_IP_POOL, "x", spec={"ipv4": {"cidrs": ["10.3.0.0/16"]}}), ["10.3.0.0/16"], id="cilium"
        ),
    ],
)
def test_what_objects_declare(found: Observed, expected: list[str]) -> None:
    own, _ = ranges(found)
    assert parts(own.within(TEN)) == expected
    own.change(found, None)
    assert parts(own.within(TEN)) == []


def test_what_settings_and_specs_declare() -> None:
    own, _ = ranges(fixed=("10.5.0.0/16",))
    for token in ("own:10.60.0.0/24", "own:fd00:60::/64", "own:nonsense", "ns:a", "cidr:10.9.0.0/16"):
        own.declared(token, True)
    assert parts(own.within(TEN)) == ["10.5.0.0/16", "10.60.0.0/24"]
    assert parts(own.within(ip_network("::/0"))) == ["fd00:60::/64"]
    own.declared("own:10.60.0.0/24", False)
    assert parts(own.within(TEN)) == ["10.5.0.0/16"]


def test_the_whole_block_where_all_of_it_is_the_clusters() -> None:
    own, _ = ranges(pool("10.60.0.0/16"))
    assert parts(own.within(ip_network("10.60.7.0/24"))) == ["10.60.7.0/24"]


def test_five_thousand_subnets_of_a_pool_are_one_part_and_no_news() -> None:
    own, doubts = ranges(pool("10.60.0.0/14", "10.64.0.0/12"))
    before = own.within(TEN)
    for number in range(5000):
        own.change(None, subnet(number))
    for number in range(0, 5000, 7):
        own.change(subnet(number), None)
    assert doubts == []
    assert own.changed() == set()
    assert own.within(TEN) is before


def test_without_a_pool_they_are_few_parts_and_mostly_no_news() -> None:
    own, _ = ranges(node("a", "10.1.2.3"), *(subnet(number) for number in range(0, 2000, 2)))  # no neighbours
    own.within(TEN)
    news = 0
    for number in range(2000, 2400, 2):
        own.change(None, subnet(number))
        news += len(own.changed())
    found = own.within(TEN)
    assert len(found.parts) <= MOST
    assert not found.is_exact
    assert news < 60
    assert ip_network("10.1.2.3/32") in found.parts, "what is far from all others stays as it is"


def test_an_answer_that_changed_is_told_once() -> None:
    own, doubts = ranges(node("a", "10.1.2.3"))
    near, far = ip_network("10.1.0.0/16"), ip_network("10.9.0.0/16")
    own.within(near), own.within(far)
    own.change(None, node("b", "10.1.2.9"))
    assert doubts
    assert own.changed() == {near}
    assert own.changed() == set()
    assert parts(own.within(near)) == ["10.1.2.3/32", "10.1.2.9/32"]
    # Asked before it is told, it is told all the same: other tenants have not asked.
    own.change(node("b", "10.1.2.9"), None)
    own.within(near)
    assert own.changed() == {near}
    own.forget(near)
    own.change(None, node("b", "10.1.2.9"))
    assert own.changed() == set()


def test_what_changes_nothing_is_no_news() -> None:
    own, doubts = ranges(node("a", "10.1.2.3"), pool("10.60.0.0/16"))
    own.within(TEN)
    own.change(node("a", "10.1.2.3"), node("a", "10.1.2.3", labels={"x": "y"}))
    own.change(None, observed(CALICO_IP_POOL, "x", spec={"cidr": "10.60.1.0/24"}))
    assert doubts == []
    # The pool goes, and what lies in it stays.
    own.change(pool("10.60.0.0/16"), None)
    assert own.changed() == {TEN}
    assert parts(own.within(TEN)) == ["10.1.2.3/32", "10.60.1.0/24"]


blocks = st.builds(
    lambda start, length: ip_network((start, length), strict=False), st.integers(10 << 24, 11 << 24), st.integers(9, 32)
)


@given(st.lists(st.tuples(st.booleans(), blocks), max_size=40), blocks)
def test_after_any_changes_no_own_address_is_missing(changes: list[tuple[bool, Any]], within: Any) -> None:
    own, _ = ranges()
    own.within(within)
    there = dict[str, Observed]()
    for is_added, block in changes:
        name = str(block)
        if is_added and name not in there:
            there[name] = observed(CALICO_IP_POOL, name, spec={"cidr": name})
            own.change(None, there[name])
        elif not is_added and there:
            own.change(there.pop(next(iter(there))), None)
    found = own.within(within)
    for name in there:
        for address in (ip_network(name)[0], ip_network(name)[-1]):
            if address in within:
                assert any(address in part for part in found.parts)
    for part in found.parts:
        assert found.is_exact
        assert any(ip_address(part[0]) in ip_network(name) for name in there)
