"""What Kube-OVN does, fact by fact, as it was seen with real packets (v1.17.0): the model that judges the operator."""

import dataclasses
from ipaddress import ip_network
from typing import Any, Final

import pytest

from tests.support.cni import policies
from tests.support.cni.flows import goes_on, passes, stopped, to_service
from tests.support.cni.reading import addresses, is_canonical, subnet
from tests.support.cni.values import Acl, Call, Cluster, ClusterPolicy, End, Policy, Subnet

CALL: Final = Call("TCP", 8443)
DEFAULT: Final = subnet("ovn-default", {"cidrBlock": "10.16.0.0/16"})
JOIN: Final = subnet("join", {"cidrBlock": "100.64.0.0/16"})
NODE: Final = End(addresses("192.0.2.10"), node="n1", is_host=True, join=addresses("100.64.0.2"))
OUTSIDE: Final = End(addresses("198.51.100.7"))
PLATFORM: Final = End(addresses("10.16.0.5"), "kube-system", {"k8s-app": "kube-dns"})
A: Final = End(addresses("10.1.0.5"), "a", {"app": "a"})
B: Final = End(addresses("10.2.0.5"), "b", {"app": "b"})
DENY: Final = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
OPEN: Final = {**DENY, "ingress": [{}], "egress": [{}]}


def private(name: str, cidr: str, *allowed: str, acls: tuple[Acl, ...] = ()) -> Subnet:
    return Subnet(name, (ip_network(cidr),), True, tuple(map(ip_network, allowed)), acls, (name,))


def cluster(*subnets: Subnet, **more: Any) -> Cluster:
    return Cluster("KubeOVN", subnets=(DEFAULT, JOIN, *subnets), **more)


def a(*allowed: str, acls: tuple[Acl, ...] = ()) -> Subnet:
    return private("a", "10.1.0.0/24", *allowed, acls=acls)


def b(*allowed: str, acls: tuple[Acl, ...] = ()) -> Subnet:
    return private("b", "10.2.0.0/24", *allowed, acls=acls)


def test_1_private_drops_what_leaves_the_subnet_too_unless_its_own_list_has_the_destination() -> None:
    for target in (PLATFORM, OUTSIDE, NODE):
        assert stopped(cluster(a()), A, target, CALL) == "its private subnet"
        listed = str(ip_network(str(target.addresses[0])))
        assert passes(cluster(a(listed)), A, target, CALL)
    assert passes(cluster(a()), A, dataclasses.replace(A, addresses=addresses("10.1.0.9")), CALL)  # within the subnet


def test_1_allow_subnets_has_no_direction_and_no_port() -> None:
    opened = cluster(a("10.16.0.0/16"))
    for call in (CALL, Call("UDP", 53), Call("SCTP", 9), Call("ICMP")):
        assert passes(opened, A, PLATFORM, call)
        assert passes(opened, PLATFORM, A, call)


def test_2_two_private_subnets_have_to_list_each_other() -> None:
    assert not passes(cluster(a("10.2.0.0/24"), b()), A, B, CALL)
    assert not passes(cluster(a(), b("10.1.0.0/24")), A, B, CALL)
    assert passes(cluster(a("10.2.0.0/24"), b("10.1.0.0/24")), A, B, CALL)


def test_2_towards_a_subnet_that_is_not_private_the_source_s_list_alone_counts() -> None:
    assert passes(cluster(a("10.16.0.0/16")), A, PLATFORM, CALL)
    assert not passes(cluster(a()), A, PLATFORM, CALL)


def test_3_of_a_service_the_endpoint_s_address_counts_and_not_its_own() -> None:
    assert not to_service(cluster(a("10.96.0.0/12")), A, [PLATFORM], Call("UDP", 53))  # the Services' range
    assert to_service(cluster(a("10.16.0.0/16")), A, [PLATFORM], Call("UDP", 53))
    assert not to_service(cluster(a("10.96.0.0/12")), A, [NODE], Call("TCP", 6443))  # the API server
    assert to_service(cluster(a("192.0.2.10/32")), A, [NODE], Call("TCP", 6443))


def test_3_the_list_of_everything_opens_all_both_ways() -> None:
    opened = cluster(a("0.0.0.0/0"))
    for other in (PLATFORM, OUTSIDE, B):
        assert passes(opened, A, other, CALL)
        assert passes(opened, other, A, CALL)


def test_4_an_allowing_network_policy_beats_the_destination_s_private_and_never_the_source_s() -> None:
    into = cluster(b(), policies=(Policy("b", OPEN),))
    assert passes(into, PLATFORM, B, CALL)
    assert stopped(cluster(b()), PLATFORM, B, CALL) == "the target's private subnet"
    out_of = cluster(a(), policies=(Policy("a", OPEN), Policy("kube-system", OPEN)))
    assert stopped(out_of, A, PLATFORM, CALL) == "its private subnet"


def test_5_network_policies_narrow_what_the_lists_open() -> None:
    lists = (a("10.2.0.0/24"), b("10.1.0.0/24"))
    assert not passes(cluster(*lists, policies=(Policy("b", DENY),)), A, B, CALL)
    assert not passes(cluster(*lists, policies=(Policy("a", DENY),)), A, B, CALL)


def test_5_a_block_with_a_port_works_on_the_addresses_of_pods() -> None:
    rule = {"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 8443}]}
    narrowed = cluster(a("10.2.0.0/24"), b("10.1.0.0/24"), policies=(Policy("b", {**DENY, "ingress": [rule]}),))
    assert passes(narrowed, A, B, CALL)
    assert not passes(narrowed, A, B, Call("TCP", 22))
    assert not passes(narrowed, B, A, CALL)  # and gives it a direction: nothing opens its egress


def test_6_the_join_addresses_of_nodes_pass_private_and_default_deny() -> None:
    closed = cluster(b(), policies=(Policy("b", DENY),))
    assert passes(closed, NODE, B, CALL)
    intruder = dataclasses.replace(A, addresses=addresses("100.64.0.77"))  # a pod that its annotation put into `join`
    assert passes(closed, intruder, B, CALL)


def acl(match: str, priority: int = 2500) -> Acl:
    return Acl("to-lport", priority, match, "drop")


def test_7_acls_make_a_whitelist_that_no_network_policy_can_widen() -> None:
    match = "ip4 && ip4.src != {10.2.0.0/24, 10.1.0.0/24, 100.64.0.0/16} && ip4.dst == 10.2.0.0/24"
    kept = cluster(a("10.2.0.0/24"), b("10.1.0.0/24", acls=(acl(match),)), policies=(Policy("b", OPEN),))
    assert stopped(kept, PLATFORM, B, CALL) == "an acl of the target's subnet"
    assert not passes(kept, OUTSIDE, B, CALL)
    assert passes(kept, A, B, CALL)
    assert passes(kept, NODE, B, CALL)
    assert passes(kept, dataclasses.replace(B, addresses=addresses("10.2.0.9")), B, CALL)
    without_join = match.replace(", 100.64.0.0/16", "")  # nobody saw that probes of kubelets pass it
    assert not passes(cluster(b(acls=(acl(without_join),))), NODE, B, CALL)


@pytest.mark.parametrize(
    "nonsense",
    ["ip4.src = 10.1.0.0/24", "ip4.source != {10.1.0.0/24}", "ip4.src != {}", "", "ip4.src != 2001:db8::/64"],
)
def test_7_a_match_that_means_nothing_is_accepted_and_closes_nothing(nonsense: str) -> None:
    assert passes(cluster(b(acls=(acl(nonsense),)), policies=(Policy("b", OPEN),)), PLATFORM, B, CALL)


def test_7_an_acl_of_one_family_does_not_touch_the_other() -> None:
    both = Subnet("b", (ip_network("10.2.0.0/24"), ip_network("2001:db8:2::/64")), True, acls=(acl("ip4"),))
    six = dataclasses.replace(B, addresses=addresses("2001:db8:2::5"))
    source = dataclasses.replace(PLATFORM, addresses=addresses("10.16.0.5", "2001:db8:16::5"))
    opened = cluster(both, policies=(Policy("b", OPEN),))
    assert passes(opened, source, six, CALL)
    assert not passes(opened, source, B, CALL)


def test_8_revocation_stops_new_connections_and_established_ones_only_at_the_source() -> None:
    listed_by_both = (a("10.2.0.0/24"), b("10.1.0.0/24"))
    assert goes_on(cluster(*listed_by_both), A, B, CALL)
    at_source, at_target = cluster(a(), listed_by_both[1]), cluster(listed_by_both[0], b())
    assert not passes(at_source, A, B, CALL)
    assert not goes_on(at_source, A, B, CALL)
    assert not passes(at_target, A, B, CALL)
    assert goes_on(at_target, A, B, CALL)


def test_9_host_bits_in_the_list_whitelist_the_whole_net() -> None:
    spec = {"cidrBlock": "10.2.0.0/24", "private": True, "allowSubnets": ["10.1.0.5/24"]}
    other = dataclasses.replace(A, addresses=addresses("10.1.0.200"))
    assert passes(cluster(subnet("b", spec)), other, B, CALL)


@pytest.mark.parametrize("text", ["10.1.0.5", "2001:DB8::/64"])
def test_a_bare_address_and_upper_case_in_the_list_are_not_taken(text: str) -> None:
    with pytest.raises(ValueError, match="allowSubnets"):
        subnet("b", {"cidrBlock": "10.2.0.0/24", "allowSubnets": [text]})


def test_a_block_with_host_bits_is_rewritten() -> None:
    assert is_canonical({"cidrBlock": "10.2.0.0/24,2001:db8::/64"})
    assert not is_canonical({"cidrBlock": "10.2.0.1/24"})
    assert not is_canonical({"cidrBlock": "10.2.0.0/24,2001:DB8::/64"})


def test_10_an_annotation_switches_a_network_policy_off() -> None:
    off = Policy("b", DENY, {policies.FOR: "nosuch/net"})
    assert passes(cluster(policies=(off,)), A, B, CALL)
    assert not passes(cluster(policies=(dataclasses.replace(off, annotations={policies.FOR: "ovn"}),)), A, B, CALL)


def test_10_an_annotation_lets_icmp_past_a_network_policy() -> None:
    lax = cluster(policies=(Policy("b", DENY, {policies.ENFORCEMENT: "lax"}),))
    assert passes(lax, A, B, Call("ICMP"))
    assert not passes(lax, A, B, CALL)
    assert not passes(cluster(policies=(Policy("b", DENY),)), A, B, Call("ICMP"))


def rule_of(action: str, tier: str = "Admin", priority: int = 10, subject: str = "b", age: int = 0) -> ClusterPolicy:
    spec = {
        "tier": tier,
        "priority": priority,
        "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": subject}}},
        "ingress": [{"action": action, "from": [{"namespaces": {}}]}],
    }
    return ClusterPolicy(spec, age)


def with_policies(*found: ClusterPolicy, is_on: bool = True, **more: Any) -> Cluster:
    subnets = (a("10.2.0.0/24"), more.pop("target", b("10.1.0.0/24")))
    return cluster(*subnets, cluster_policies=found, has_cluster_policies=is_on, **more)


def test_11_cluster_network_policies_are_off_unless_switched_on() -> None:
    assert passes(with_policies(rule_of("Deny"), is_on=False), A, B, CALL)
    assert not passes(with_policies(rule_of("Deny")), A, B, CALL)


def test_11_admin_deny_beats_network_policies_and_lists() -> None:
    assert not passes(with_policies(rule_of("Deny"), policies=(Policy("b", OPEN),)), A, B, CALL)


def test_11_admin_accept_beats_private_and_default_deny() -> None:
    closed: dict[str, Any] = {"target": b(), "policies": (Policy("b", DENY),)}
    assert passes(with_policies(rule_of("Accept"), **closed), A, B, CALL)
    assert not passes(with_policies(rule_of("Pass"), **closed), A, B, CALL)


def test_11_baseline_comes_after_network_policies() -> None:
    deny = rule_of("Deny", "Baseline")
    assert not passes(with_policies(deny), A, B, CALL)
    assert passes(with_policies(deny, policies=(Policy("b", OPEN),)), A, B, CALL)


def test_11_priorities_above_399_and_the_second_of_a_priority_are_not_enforced() -> None:
    assert not passes(with_policies(rule_of("Deny", priority=399)), A, B, CALL)
    assert passes(with_policies(rule_of("Deny", priority=400)), A, B, CALL)
    first = rule_of("Deny", subject="c")  # disjoint subjects do not help
    assert passes(with_policies(first, rule_of("Deny", age=1)), A, B, CALL)
    assert not passes(with_policies(rule_of("Deny", "Baseline", 10), first), A, B, CALL)  # another tier
