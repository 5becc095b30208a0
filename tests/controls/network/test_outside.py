"""Rules with a cidr: no address of the cluster itself is ever opened by one, and no other is closed."""

from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from securetenant.api.status import Condition
from securetenant.controls.control import Plan
from securetenant.controls.network import control as network
from securetenant.model.kinds import CALICO_IP_POOL, KUBE_OVN_SUBNET
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from tests.support.network import READY, block, payments, specs, to, whitelist, world
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

POOL = observed("SubnetPool", "prod", spec={"cidrs": ["10.60.0.0/16"]})
SERVICES = observed("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/16"]})
NODES = [
    observed("Node", f"n{number}", status={"addresses": [{"type": "InternalIP", "address": f"10.8.1.{number}"}]})
    for number in (1, 2)
]
TEN = {"cidr": "10.0.0.0/8"}


def plan(*objects: Observed, platform: Platform | None = None, **rules: Any) -> Plan:
    of = payments(**rules)
    return network.CONTROL.plan(of, world(of, objects=(READY, *objects), platform=platform), NOW)


def ingress(*ends: dict[str, Any], **rule: Any) -> dict[str, Any]:
    return {"name": "in", "from": list(ends), **rule}


def opened(found: Plan, name: str) -> list[Any]:
    spec = specs(found, "payments-prod").get(name, {})
    (rule,) = spec.get("egress") or spec.get("ingress") or [{}]
    listed: list[Any] = rule.get("to") or rule.get("from") or []
    return listed


def condition(found: Plan, name: str = "WhitelistNarrowed") -> Condition | None:
    return next((one for one in found.conditions if one.type == name), None)


def test_what_is_the_clusters_own_is_taken_out_of_both_directions() -> None:
    found = plan(POOL, SERVICES, *NODES, egress=[to(TEN)], ingress=[ingress(TEN)])
    left = [block("10.0.0.0/8", "10.60.0.0/16", "10.8.1.1/32", "10.8.1.2/32", "10.96.0.0/16")]
    assert opened(found, "securetenant-egress-out") == left
    assert opened(found, "securetenant-ingress-in") == left
    assert whitelist(found).agreed == 2
    told = condition(found)
    assert told is not None
    assert (told.status, told.reason) == ("True", "ClusterInternal")
    assert told.message.startswith(
        "ingress in (cidr/10.0.0.0/8): 10.8.1.1/32, 10.8.1.2/32, 10.60.0.0/16 and 1 more of 10.0.0.0/8 are "
        "cluster-internal and stay closed: name a tenant or a platform namespace; egress out"
    )
    assert not found.blocking


def test_a_block_outside_is_as_it_is_declared() -> None:
    found = plan(POOL, *NODES, egress=[to({"cidr": "10.9.0.0/16", "except": ["10.9.1.0/24"]})])
    assert opened(found, "securetenant-egress-out") == [block("10.9.0.0/16", "10.9.1.0/24")]
    assert condition(found) is None
    found = plan(POOL, egress=[to({"cidr": "10.0.0.0/8", "except": ["10.60.0.0/15"]})])
    assert opened(found, "securetenant-egress-out") == [block("10.0.0.0/8", "10.60.0.0/15")]
    assert condition(found) is None, "the tenant excluded them itself"


@pytest.mark.parametrize("cidr", ["10.60.0.0/16", "10.60.7.0/24", "10.60.7.9/32"])
def test_a_block_of_nothing_else_stays_closed_and_says_so(cidr: str) -> None:
    found = plan(POOL, egress=[to({"cidr": cidr})], ingress=[ingress({"cidr": cidr})])
    assert "securetenant-egress-out" not in specs(found, "payments-prod")
    assert "securetenant-ingress-in" not in specs(found, "payments-prod")
    admitted, reached = whitelist(found).pending
    assert reached.reason == f"all of {cidr} is cluster-internal: name a tenant or a platform namespace"
    assert admitted.reason.startswith(reached.reason)
    assert "SECURETENANT_INGRESS_NODE_CIDRS" in admitted.reason


def test_declared_subnets_are_the_clusters_own_before_any_object_is() -> None:
    """A provider of None makes no objects at all."""
    other = tenant("other", namespaces=[{"name": "other-a", "subnet": {"cidr": "10.61.0.0/24"}}])
    of = payments(egress=[to(TEN)])
    stand = world(of, objects=(READY,))
    assert opened(network.CONTROL.plan(of, stand, NOW), "securetenant-egress-out") == [block("10.0.0.0/8")]
    stand.put(other)
    assert stand.concerned_by_ranges() == {"payments"}
    found = network.CONTROL.plan(of, stand, NOW)
    assert opened(found, "securetenant-egress-out") == [block("10.0.0.0/8", "10.61.0.0/24")]
    stand.drop("other")
    assert stand.concerned_by_ranges() == {"payments"}


def test_only_tenants_with_a_block_that_changed_are_concerned() -> None:
    near, far = (tenant(n, namespaces=[n], network={"ingress": [ingress({"cidr": c})]}) for n, c in CIDRS)
    stand = world(near, far, objects=(READY, POOL))
    for one in (near, far):
        network.CONTROL.plan(one, stand, NOW)
    stand.put(observed(KUBE_OVN_SUBNET, "securetenant-x", spec={"cidrBlock": "10.60.1.0/24"}))
    assert stand.concerned_by_ranges() == set(), "it lies in the pool"
    stand.put(*NODES)
    assert stand.concerned_by_ranges() == {"near"}
    assert stand.concerned_by_ranges() == set()


CIDRS = (("near", "10.8.0.0/16"), ("far", "192.0.2.0/24"))


def test_the_platform_may_let_clients_come_from_nodes() -> None:
    platform = Platform(ingress_node_cidrs=("10.8.1.0/31", "172.16.0.0/12"))
    rules = {"ingress": [ingress({"cidr": "10.0.0.0/8", "except": ["10.8.1.0/32"]})], "egress": [to(TEN)]}
    found = plan(*NODES, platform=platform, **rules)
    assert opened(found, "securetenant-ingress-in") == [
        block("10.0.0.0/8", "10.8.1.0/32", "10.8.1.1/32", "10.8.1.2/32"),
        block("10.8.1.0/31", "10.8.1.0/32"),
    ]
    assert opened(found, "securetenant-egress-out") == [block("10.0.0.0/8", "10.8.1.1/32", "10.8.1.2/32")]
    found = plan(*NODES, platform=platform, ingress=[ingress({"cidr": "10.8.1.1/32"})])
    assert opened(found, "securetenant-ingress-in") == [block("10.8.1.1/32")]


def test_too_many_ranges_for_one_policy_close_what_lies_between() -> None:
    nets = [observed(CALICO_IP_POOL, f"p{n}", spec={"cidr": f"10.60.{2 * n}.0/24"}) for n in range(100)]
    found = plan(*nets, egress=[to(TEN)])
    (left,) = opened(found, "securetenant-egress-out")
    assert 1 < len(left["ipBlock"]["except"]) <= 64
    told = condition(found)
    assert told is not None
    assert "SECURETENANT_CLUSTER_CIDRS" in told.message


def test_without_a_cluster_nothing_is_taken_out() -> None:
    other = tenant("other", namespaces=[{"name": "other-a", "subnet": {"cidr": "10.61.0.0/24"}}])
    of = payments(egress=[to(TEN)])
    stand = StaticWorld([of, other], mine(of), Platform(offline=True))
    found = network.CONTROL.plan(of, stand, NOW)
    assert opened(found, "securetenant-egress-out") == [block("10.0.0.0/8")]
    told = condition(found)
    assert told is not None
    assert (told.status, told.reason) == ("Unknown", "NoCluster")


def _blocks(least: int) -> st.SearchStrategy[IPv4Network]:
    """In 10.0.0.0/26, so that they meet."""
    return st.integers(least, 32).flatmap(
        lambda length: st.integers(0, 63).map(lambda n: IPv4Network(((10 << 24) + n, length), strict=False))
    )


@settings(max_examples=200)
@given(st.lists(_blocks(28), max_size=8), _blocks(26), st.lists(_blocks(29), max_size=3), st.booleans())
def test_exactly_the_clusters_own_addresses_are_taken_out(
    own: list[IPv4Network], declared: IPv4Network, excepts: list[IPv4Network], both: bool
) -> None:
    left_out = [one for one in excepts if one.subnet_of(declared) and one != declared]
    peer = {"cidr": str(declared), "except": sorted({str(one) for one in left_out})}
    objects = [observed(CALICO_IP_POOL, f"p{n}", spec={"cidr": str(one)}) for n, one in enumerate(own)]
    found = plan(*objects, egress=[to(peer)], ingress=[ingress(peer)] if both else [])
    for name in ("securetenant-egress-out", *(["securetenant-ingress-in"] if both else [])):
        written = [end["ipBlock"] for end in opened(found, name)]
        for address in declared:
            is_open = any(
                address in ip_network(one["cidr"])
                and not any(ip_address(address) in ip_network(part) for part in one.get("except", []))
                for one in written
            )
            assert is_open == (not any(address in one for one in (*own, *left_out))), address
        for one in written:
            assert all(ip_network(part).prefixlen > ip_network(one["cidr"]).prefixlen for part in one.get("except", []))
    event("closed" if whitelist(found).pending else "narrowed" if condition(found) else "whole")
