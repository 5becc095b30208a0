"""Flows of small clusters written by hand. That all are right is tested in test_properties.py."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from securetenant.reach.flows import compare, reach
from securetenant.reach.values import Flow, Group, Outside, Pod
from securetenant.sets.labels import EVERY, Values
from securetenant.sets.ports import EVERYTHING, Range
from tests.support.estate import CLOSED, cluster, egress, ingress, named, ref

WEB = (("app", Values(frozenset({"web"}), but=False, absent=False)),)
DB = (("app", Values(frozenset({"db"}), but=False, absent=False)),)
HTTPS = {"port": 8443}


def test_a_closed_cluster_has_no_flows() -> None:
    assert reach(cluster({"a": [CLOSED], "b": [CLOSED]})).flows == []


def test_a_flow_needs_both_ends_and_has_the_ports_that_both_allow_and_the_policies_that_allow_these() -> None:
    found = reach(
        cluster(
            {
                "a": [
                    CLOSED,
                    egress({"to": [named("b")], "ports": [{"port": 8000, "endPort": 9000}, {"port": 53}]}, app="web"),
                    egress({"to": [named("b")], "ports": [{"protocol": "UDP"}]}),
                ],
                "b": [CLOSED, ingress({"from": [named("a")], "ports": [HTTPS, {"port": 22}]}, app="db")],
                "c": [CLOSED, ingress({"from": [named("a")]})],
            }
        )
    )
    (flow,) = found.flows
    assert flow == Flow(
        Group(("a",), (WEB,)), Group(("b",), (DB,)), (Range("TCP", 8443, 8443),), (ref("a", 1),), (ref("b", 1),)
    )
    assert not found.unknown


def test_namespaces_without_policies_are_one_group_and_reach_each_other_and_all_addresses() -> None:
    flows = reach(cluster({"a": [], "b": [], "c": [CLOSED]})).flows
    both = Group(("a", "b"), (EVERY,))
    everywhere = Outside((ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert flows == [Flow(both, both, None), Flow(both, everywhere, None), Flow(everywhere, both, None)]


def test_a_group_has_all_of_its_pods_in_each_of_its_namespaces() -> None:
    """Neither `app=web` in b nor the others in a are selected: but those are not the pods without policies there."""
    only_web, but_web = (
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": operator, "values": ["web"]}]}}
        for operator in ("In", "NotIn")
    )
    flows = reach(cluster({"a": [only_web], "b": [but_web]})).flows
    sources = {flow.source for flow in flows if isinstance(flow.source, Group) and not flow.enters}
    assert all(len(group.namespaces) == 1 for group in sources)


def test_all_ports_beside_some_of_the_same_peer() -> None:
    flows = reach(cluster({"a": [CLOSED], "b": [egress({}), ingress({}, {"ports": [HTTPS]})]})).flows
    assert {flow.ports for flow in flows} == {None}


def test_addresses_outside_are_those_of_blocks_without_their_exceptions_and_without_the_clusters() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.128.0.0/9"]}}
    state = cluster(
        {"a": [CLOSED, egress({"to": [block], "ports": [HTTPS]})]}, subnets={"a": [ip_network("10.1.0.0/16")]}
    )
    (inside, outside) = reach(state).flows[:1], reach(state).flows[-1]
    assert not [flow for flow in inside if isinstance(flow.target, Group)]
    assert outside.target == Outside((ip_network("10.0.0.0/9"),))
    assert outside.ports == (Range("TCP", 8443, 8443),)


def test_blocks_divide_the_pods_of_a_namespace_by_where_its_subnet_is() -> None:
    blocks = ingress({"from": [{"ipBlock": {"cidr": "10.1.0.0/25"}}], "ports": [HTTPS]})
    state = cluster({"a": [egress({})], "b": [CLOSED, blocks]}, subnets={"a": [ip_network("10.1.0.0/24")]})
    (flow,) = (
        flow for flow in reach(state).flows if isinstance(flow.target, Group) and flow.target.namespaces == ("b",)
    )
    assert flow.source == Group(("a",), (EVERY,), blocks=(ip_network("10.1.0.0/25"),))
    assert flow.ports == (Range("TCP", 8443, 8443),)


def test_a_connection_is_of_one_address_family() -> None:
    """Each end allows the other one over the family that the other end does not."""
    pods = {
        "a": [Pod("a", "Pod/x", addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")))],
        "b": [Pod("b", "Pod/y", addresses=(ip_address("10.0.0.2"), ip_address("fd00::2")))],
    }

    def passes(*blocks: str) -> bool:
        entering = ingress({"from": [{"ipBlock": {"cidr": block}} for block in blocks]})
        leaving = egress({"to": [{"ipBlock": {"cidr": "fd00::2/128"}}]})
        return any(
            isinstance(flow.source, Group) and isinstance(flow.target, Group) and flow.target.names == ("b/Pod/y",)
            for flow in reach(cluster({"a": [leaving], "b": [entering]}, pods=pods)).flows
        )

    assert passes("fd00::1/128")
    assert not passes("10.0.0.1/32")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"podSelector": {}, "priority": 1}, "NetworkPolicy/a/p0 is not understood"),
        (ingress({"from": [{"serviceSelector": {}}]}), "a rule of NetworkPolicy/a/p0 is not understood"),
    ],
)
def test_what_is_not_understood_counts_as_open_and_is_told(spec: Any, told: str) -> None:
    state = cluster({"a": [spec], "b": []}, unclear={"b": ["CiliumNetworkPolicy/b/x"]})
    found = reach(state)
    assert found.unknown == {"a": (told,), "b": ["CiliumNetworkPolicy/b/x"]}
    assert any(flow.target == Group(("a",), (EVERY,)) and flow.ports is None for flow in found.flows)
    assert reach(state, {"a"}).unknown == {"a": (told,)}


def test_names_of_ports_are_told_where_they_count_as_all() -> None:
    flows = reach(cluster({"a": [ingress({"ports": [{"port": "web"}, HTTPS]})], "b": []})).flows
    into = [flow for flow in flows if flow.enters]
    assert {flow.named for flow in into} == {("TCP web",)}
    assert {flow.ports for flow in into} == {(Range("TCP", 0, 65535),)}


def test_a_ports_name_is_that_of_one_protocol() -> None:
    pods = {
        "a": [
            Pod("a", "Pod/x"),
            Pod("a", "Pod/y", named={"web": ("UDP", 80)}),
            Pod("a", "Pod/z", named={"web": ("TCP", 81)}),
        ],
        "b": [Pod("b", "Pod/b")],
    }
    flows = reach(
        cluster({"a": [CLOSED, ingress({"from": [named("b")], "ports": [{"port": "web"}]})], "b": []}, pods=pods)
    ).flows
    assert [(flow.target.names, flow.ports) for flow in flows if flow.enters and isinstance(flow.target, Group)] == [
        (("a/Pod/z",), (Range("TCP", 81, 81),))
    ]


@pytest.mark.parametrize("of", [None, ("a",), ("b",), ("a", "b")], ids=str)
def test_a_flow_from_what_names_an_open_end_and_to_what_is_named_by_one(of: set[str] | None) -> None:
    for specs in (
        {"a": [egress({"to": [named("b")]})], "b": [egress()]},
        {"a": [ingress()], "b": [ingress({"from": [named("a")]})]},
    ):
        ends = [(flow.source, flow.target) for flow in reach(cluster(specs), of).flows if flow.leaves or flow.enters]
        assert ends == [(Group(("a",), (EVERY,)), Group(("b",), (EVERY,)))]


def test_what_opens_is_told_with_the_policies_that_open_it_alone() -> None:
    before = [CLOSED, egress({"to": [named("b")], "ports": [HTTPS]})]
    after = [*before, egress({"to": [named("b")]})]
    found = compare(cluster({"a": before, "b": []}), cluster({"a": after, "b": []}), {"a"})
    (flow,) = found.opened
    assert flow.leaves == (ref("a", 2),)
    assert flow.ports == (
        *EVERYTHING[:1],
        Range("TCP", 0, 8442),
        Range("TCP", 8444, 65535),
        *EVERYTHING[2:],
    )
    assert not found.closed


def test_a_namespace_that_goes_closes_its_flows_and_a_new_one_opens_its_own() -> None:
    found = compare(cluster({"a": [], "b": []}), cluster({"a": [], "c": []}), {"b", "c"})
    assert {flow.source.namespaces for flow in found.closed if isinstance(flow.source, Group)} == {("a",), ("b",)}
    assert {flow.source.namespaces for flow in found.opened if isinstance(flow.source, Group)} == {("a",), ("c",)}
