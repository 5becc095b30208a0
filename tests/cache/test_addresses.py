"""Which addresses are in use: by objects, by what plans gave, and by what statuses say."""

from ipaddress import ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from securetenant.cache.addresses import Addresses, ranges
from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    KUBE_OVN_SUBNET,
    NODE,
    SERVICE_CIDR,
    SUBNET_POOL,
)
from securetenant.model.objects import Observed
from securetenant.sets.space import Network
from tests.support.world import StaticWorld, observed, tenant

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
BLOCK, OTHER = ip_network("10.60.0.0/24"), ip_network("10.61.0.0/24")
MARK = {"app.kubernetes.io/managed-by": "securetenant", "securetenant.dev/tenant": "pay"}


def used(addresses: Addresses) -> set[tuple[str, str]]:
    return {(str(use), str(block)) for every in EVERYTHING for use, block in addresses.overlapping(every)}


def after(*objects: Observed) -> set[tuple[str, str]]:
    addresses = Addresses()
    for one in objects:
        addresses.change(None, one)
    return used(addresses)


def test_each_kind_says_what_it_uses() -> None:
    node = {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "2001:db8:1::/64"]}
    addresses = [
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "ExternalIP", "address": "2001:db8::1"},
        {"type": "Hostname", "address": "n1"},
    ]
    assert after(
        observed(NODE, "n", spec=node, status={"addresses": addresses}),
        observed(SERVICE_CIDR, "k", spec={"cidrs": ["10.96.0.0/12", "fd00::/108"]}),
        observed(KUBE_OVN_SUBNET, "join", spec={"cidrBlock": "100.64.0.1/16,fd00:100::/112"}),
        observed(CALICO_IP_POOL, "p", spec={"cidr": "10.2.0.0/16"}),
        observed(CILIUM_POD_IP_POOL, "c", spec={"ipv4": {"cidrs": ["10.3.0.0/16", {"cidr": "10.4.0.0/16"}]}}),
    ) == {
        ("Node/n", "10.1.0.0/24"),
        ("Node/n", "2001:db8:1::/64"),
        ("Node/n", "192.0.2.1/32"),
        ("Node/n", "2001:db8::1/128"),
        ("ServiceCIDR/k", "10.96.0.0/12"),
        ("ServiceCIDR/k", "fd00::/108"),
        ("Subnet/join", "100.64.0.0/16"),
        ("Subnet/join", "fd00:100::/112"),
        ("IPPool/p", "10.2.0.0/16"),
        ("CiliumPodIPPool/c", "10.3.0.0/16"),
        ("CiliumPodIPPool/c", "10.4.0.0/16"),
    }
    assert SUBNET_POOL not in ranges(), "a pool uses nothing itself"


def test_what_is_no_cidr_is_left_out() -> None:
    for spec in ({}, {"cidr": "x"}, {"cidr": None}, {"cidr": ["10.0.0.0/8"]}):
        assert after(observed(CALICO_IP_POOL, "p", spec=spec)) == set()
    assert after(observed(KUBE_OVN_SUBNET, "s", spec={"cidrBlock": ",10.0.0.0/8,"})) == {("Subnet/s", "10.0.0.0/8")}
    odd: list[Any] = [{"spec": None}, {"spec": "x"}, {"spec": {"podCIDRs": "x"}, "status": {"addresses": [None, "x"]}}]
    assert [after(observed(NODE, "n", **fields)) for fields in odd] == [set(), set(), set()]


def test_a_mark_alone_makes_no_subnet_of_a_tenant() -> None:
    own = observed(CALICO_IP_POOL, "securetenant-a.v6", labels=MARK, spec={"cidr": "10.2.0.0/16"})
    other = observed(CALICO_IP_POOL, "default", labels=MARK, spec={"cidr": "10.3.0.0/16"})
    bare = observed(CALICO_IP_POOL, "securetenant-b", spec={"cidr": "10.4.0.0/16"})
    assert after(own, other, bare) == {
        ("the subnet of a, tenant pay", "10.2.0.0/16"),
        ("IPPool/default", "10.3.0.0/16"),
        ("IPPool/securetenant-b", "10.4.0.0/16"),
    }


def test_an_object_that_changes_and_goes() -> None:
    addresses = Addresses()
    before = observed(CALICO_IP_POOL, "p", spec={"cidr": "10.2.0.0/16"})
    later = observed(CALICO_IP_POOL, "p", spec={"cidr": "10.3.0.0/16"})
    addresses.change(None, before)
    addresses.change(before, later)
    assert used(addresses) == {("IPPool/p", "10.3.0.0/16")}
    addresses.change(later, None)
    assert used(addresses) == set()


def test_what_was_reserved_stays_until_a_status_shows_it() -> None:
    addresses = Addresses()
    addresses.reserve("pay", {"a": [BLOCK]})
    assert addresses.given("pay", "a") == (BLOCK,)
    addresses.reserve("pay", {})
    addresses.reserve("pay", {"a": [OTHER]})
    own = {("the subnet of a, tenant pay", str(one)) for one in (BLOCK, OTHER)}
    assert used(addresses) == own, "the first may have been written"
    assert addresses.given("pay", "a") == (OTHER,)
    addresses.recall("pay", {"a": [str(OTHER)]})
    assert used(addresses) == own
    assert addresses.given("pay", "a") == (BLOCK,)
    addresses.recall("pay", {"a": [str(BLOCK)]})
    addresses.reserve("pay", {"a": [BLOCK]})
    assert addresses.given("pay", "a") == ()
    addresses.recall("pay", {})
    assert used(addresses) == set(), "given back"


def test_of_a_tenant_that_is_gone_nothing_is_reserved() -> None:
    addresses = Addresses()
    addresses.recall("pay", {"b": ["10.1.0.0/24", "x"], "c": []})
    addresses.reserve("pay", {"a": [BLOCK]})
    addresses.reserve("risk", {"r": [OTHER]})
    addresses.forget("pay")
    addresses.recall("pay", {})
    assert used(addresses) == {("the subnet of r, tenant risk", str(OTHER))}
    addresses.forget("nobody")


def test_statuses_count_from_the_first_list_on() -> None:
    given_ = [{"namespace": "a", "cidrs": [str(BLOCK)], "provider": "None"}]
    world = StaticWorld([tenant("pay", namespaces=["a"], status={"subnets": given_})])
    assert used(world.addresses) == {("the subnet of a, tenant pay", str(BLOCK))}
    world.drop("pay")
    assert used(world.addresses) == set()


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("reserve", "recall", "forget", "add", "drop")),
        st.sampled_from(("pay", "risk")),
        st.dictionaries(st.sampled_from("ab"), st.sampled_from((BLOCK, OTHER)), max_size=2),
    ),
    max_size=12,
)


@given(_STEPS)
def test_nothing_is_left_when_all_is_gone(steps: list[tuple[str, str, dict[str, Network]]]) -> None:
    addresses, objects = Addresses(), dict[str, Observed]()
    for what, of, blocks in steps:
        if what == "reserve":
            addresses.reserve(of, {name: [block] for name, block in blocks.items()})
        elif what == "recall":
            addresses.recall(of, {name: [str(block)] for name, block in blocks.items()})
        elif what == "forget":
            addresses.forget(of)
        else:
            new = observed(CALICO_IP_POOL, of, spec={"cidr": str(BLOCK)}) if what == "add" else None
            addresses.change(objects.pop(of, None), new)
            if new is not None:
                objects[of] = new
        assert {use for use, _ in used(addresses) if use.startswith("IPPool")} == {f"IPPool/{name}" for name in objects}
    for of in ("pay", "risk"):
        addresses.forget(of)
        addresses.recall(of, {})
        addresses.change(objects.pop(of, None), None)
    assert used(addresses) == set()
