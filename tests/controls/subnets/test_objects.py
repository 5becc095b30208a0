"""What each network plug-in is told, exactly; and when it is ready."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.controls.subnets import objects
from securetenant.controls.subnets.objects import Reach
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, Kind
from securetenant.model.objects import Observed
from securetenant.sets.space import Network
from tests.support.world import observe, observed, tenant

V4, V6 = ip_network("10.60.0.0/24"), ip_network("2001:db8:60::/64")
KINDS = (KUBE_OVN_SUBNET, CALICO_IP_POOL, CILIUM_POD_IP_POOL)


_ALONE = Reach()


def made(kind: Kind, *blocks: Network, reach: Reach = _ALONE) -> dict[str, Any]:
    """The specs of the objects for namespace a, by name."""
    found = objects.desired(kind, "a", blocks, reach)
    assert {(want.ref.kind, want.ref.namespace, want.control) for want in found} == {(kind, "", "subnets")}
    assert all(list(want.body) == ["spec"] for want in found)
    return {want.ref.name: want.body["spec"] for want in found}


def test_kube_ovn() -> None:
    """Without an acl for IPv6, since by which addresses of it the nodes reach pods is unknown."""
    reach = Reach((ip_network("10.61.0.0/24"), ip_network("2001:db8:61::/64")), (ip_network("100.64.0.0/16"),))
    assert made(KUBE_OVN_SUBNET, V4, V6, reach=reach) == {
        "securetenant-a": {
            "cidrBlock": "10.60.0.0/24,2001:db8:60::/64",
            "private": True,
            "allowSubnets": ["10.61.0.0/24", "2001:db8:61::/64"],
            "namespaces": ["a"],
            "namespaceSelectors": None,
            "acls": [
                {
                    "direction": "to-lport",
                    "priority": 2500,
                    "match": "ip4 && ip4.src != {10.60.0.0/24, 10.61.0.0/24, 100.64.0.0/16} && ip4.dst == 10.60.0.0/24",
                    "action": "drop",
                },
            ],
        }
    }


def test_calico_has_an_object_for_each_family() -> None:
    assert made(CALICO_IP_POOL, V4, V6) == {
        "securetenant-a": {"cidr": "10.60.0.0/24", "blockSize": 26, "nodeSelector": "!all()"},
        "securetenant-a.v6": {"cidr": "2001:db8:60::/64", "blockSize": 122, "nodeSelector": "!all()"},
    }
    assert list(made(CALICO_IP_POOL, V6)) == ["securetenant-a"]


def test_cilium() -> None:
    assert made(CILIUM_POD_IP_POOL, V4, V6) == {
        "securetenant-a": {
            "ipv4": {"cidrs": ["10.60.0.0/24"], "maskSize": 28},
            "ipv6": {"cidrs": ["2001:db8:60::/64"], "maskSize": 68},
            "podSelector": None,
            "namespaceSelector": None,
        }
    }


@given(st.integers(8, 30), st.integers(32, 122))
def test_no_block_of_a_node_is_larger_than_the_subnet(length_v4: int, length_v6: int) -> None:
    v4, v6 = ip_network(f"10.0.0.0/{length_v4}"), ip_network(f"2001:db8::/{length_v6}")
    calico = made(CALICO_IP_POOL, v4, v6)
    assert max(26, length_v4) == calico["securetenant-a"]["blockSize"]
    assert calico["securetenant-a.v6"]["blockSize"] == 122
    cilium = made(CILIUM_POD_IP_POOL, v4, v6)["securetenant-a"]
    assert length_v4 <= cilium["ipv4"]["maskSize"] <= max(28, length_v4)
    assert length_v6 <= cilium["ipv6"]["maskSize"] <= max(120, length_v6)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("blocks", [(V4,), (V6,), (V4, V6)], ids=str)
def test_what_is_written_is_read_back_as_the_same_blocks(kind: Kind, blocks: tuple[Network, ...]) -> None:
    of = tenant("pay", namespaces=["a"])
    written = [observe(want, of) for want in objects.desired(kind, "a", blocks, Reach())]
    assert [block for have in written for block in OF_SUBNET[kind](have)] == list(blocks)
    assert {have.ref.place for have in written} == {"a"}
    assert objects.moved(kind, blocks, written) == ""


def bound(kind: Kind, *blocks: Network, judged: bool = True) -> tuple[dict[str, str], dict[str, str]]:
    want = objects.binding(kind, "a", blocks, judged=judged)
    assert (str(want.ref), dict(want.labels), dict(want.body), want.waits) == ("Namespace/a", {}, {}, "")
    return dict(want.annotations), dict(want.absent)


def test_the_binding_of_calico() -> None:
    v4, v6 = "cni.projectcalico.org/ipv4pools", "cni.projectcalico.org/ipv6pools"
    assert bound(CALICO_IP_POOL, V4, V6) == ({v4: '["securetenant-a"]', v6: '["securetenant-a.v6"]'}, {})
    assert bound(CALICO_IP_POOL, V4) == ({v4: '["securetenant-a"]'}, {v6: ""})
    assert bound(CALICO_IP_POOL, V6) == ({v6: '["securetenant-a"]'}, {v4: ""})


def test_the_binding_of_cilium() -> None:
    wanted = {"ipam.cilium.io/ip-pool": "securetenant-a", "ipam.cilium.io/require-pool-match": "true"}
    stronger = {"ipam.cilium.io/ipv4-pool": "", "ipam.cilium.io/ipv6-pool": ""}
    assert bound(CILIUM_POD_IP_POOL, V4) == bound(CILIUM_POD_IP_POOL, V4, V6) == (wanted, stronger)


def test_kube_ovn_binds_by_itself_and_only_another_value_is_taken_off() -> None:
    assert bound(KUBE_OVN_SUBNET, V4) == ({}, {"ovn.kubernetes.io/logical_switch": "securetenant-a"})
    assert bound(KUBE_OVN_SUBNET, V4, judged=False) == ({}, {})


def subnet(*conditions: tuple[str, str, str], cidr: str = "10.60.0.0/24") -> Observed:
    listed = [{"type": kind, "status": status, "message": said} for kind, status, said in conditions]
    return observed(
        KUBE_OVN_SUBNET, "securetenant-a", spec={"cidrBlock": cidr}, status={"conditions": listed} if listed else {}
    )


VALID = ("Validated", "True", "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (subnet(VALID, ("Ready", "True", "")), ""),
        (subnet(VALID, ("Ready", "True", ""), ("Error", "True", "it is sticky")), ""),
        (subnet(), "Kube-OVN does not say Validated of Subnet securetenant-a yet"),
        (subnet(VALID), "Kube-OVN does not say Ready of Subnet securetenant-a yet"),
        (subnet(VALID, ("Ready", "False", "")), "Kube-OVN does not say Ready of Subnet securetenant-a yet"),
        (
            subnet(("Validated", "False", "overlaps x"), ("Ready", "True", "")),
            "Kube-OVN does not say Validated of Subnet securetenant-a: overlaps x",
        ),
    ],
)
def test_when_kube_ovn_is_ready(found: Observed, said: str) -> None:
    assert objects.readiness(KUBE_OVN_SUBNET, "a", [V4], [found]) == said


def test_ready_are_all_objects_or_none() -> None:
    of = tenant("pay", namespaces=["a"])
    for kind in (CALICO_IP_POOL, CILIUM_POD_IP_POOL):
        written = [observe(want, of) for want in objects.desired(kind, "a", (V4, V6), Reach())]
        assert objects.readiness(kind, "a", (V4, V6), written) == ""
        assert objects.readiness(kind, "a", (V4, V6), written[1:]) == f"{kind} securetenant-a is being written"


def test_other_addresses_are_told() -> None:
    for cidr in ("10.61.0.0/24", "10.60.0.0/24,10.61.0.0/24"):
        found = objects.moved(KUBE_OVN_SUBNET, [V4], [subnet(cidr=cidr)])
        assert found.startswith("Subnet/securetenant-a was given 10.60.0.0/24 and has 10.61.0.0/24 now")
    assert "has no addresses now" in objects.moved(KUBE_OVN_SUBNET, [V4], [subnet(cidr="x")])


def test_a_lost_family_is_told_and_not_waited_for() -> None:
    """Nobody is writing it."""
    found = objects.moved(KUBE_OVN_SUBNET, [V4, V6], [subnet(cidr=str(V6))])
    assert found.endswith("and has 2001:db8:60::/64 alone now: restore it")
    cilium = observed(CILIUM_POD_IP_POOL, "securetenant-a", spec={"ipv4": {"cidrs": [str(V4)]}})
    assert objects.moved(CILIUM_POD_IP_POOL, [V4, V6], [cilium]).endswith("has 10.60.0.0/24 alone now: restore it")
