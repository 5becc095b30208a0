"""Which namespaces are looked at. That none is missing is tested in test_properties.py; here: that few are."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from securetenant.reach.addresses import Located
from securetenant.reach.scope import scope
from securetenant.reach.values import Cluster, Pod
from tests.support.estate import CLOSED, cluster, egress, ingress, named

OTHERS = {
    "closed": [CLOSED],
    "faces-a": [CLOSED, ingress({"from": [named("a")]})],
    "calls-a": [CLOSED, egress({"to": [named("a")]})],
    "faces-b": [CLOSED, ingress({"from": [named("b")]})],
    "by-address": [CLOSED, ingress({"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]})],
    "beyond": [CLOSED, ingress({"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]})],
    "half": [ingress(app="db"), egress()],
    "open": [],
}
SUBNETS = {"a": [ip_network("10.1.0.0/24")], "closed": [ip_network("10.2.0.0/24")]}


def of_a(*states: Cluster) -> set[str]:
    located = [Located(state.subnets, state.ranges) for state in states]
    return set(scope(states, located, {"a"})) - {"a"}


def state(*specs: Any, **more: Any) -> Cluster:
    return cluster({"a": specs, **OTHERS}, **{"subnets": SUBNETS, **more})


def test_all_namespaces_if_none_is_given() -> None:
    assert set(scope([state()], [Located({}, ())], None)) == {"a", *OTHERS}


@pytest.mark.parametrize(
    ("specs", "met"),
    [
        pytest.param([CLOSED], set(), id="closed"),
        pytest.param([CLOSED, egress({"to": [named("closed")]})], set(), id="names what does not answer"),
        pytest.param([CLOSED, egress({"to": [named("faces-a"), named("faces-b")]})], {"faces-a"}, id="names"),
        pytest.param([CLOSED, egress({})], {"faces-a", "by-address", "half", "open"}, id="out to everyone"),
        pytest.param([CLOSED, ingress({})], {"calls-a", "open"}, id="in from everyone"),
        pytest.param(
            [CLOSED, egress({"to": [{"namespaceSelector": {}}]})],
            {"faces-a", "by-address", "half", "open"},
            id="out to all namespaces",
        ),
        pytest.param([CLOSED, egress({"to": [{"podSelector": {}}]})], set(), id="itself"),
        pytest.param([CLOSED, egress({"to": [{"ipBlock": {"cidr": "10.2.0.0/16"}}]})], set(), id="block of another"),
        pytest.param([egress(app="web")], {"calls-a", "faces-a", "by-address", "half", "open"}, id="open but for some"),
        pytest.param([{"priority": 1}], {"calls-a", "faces-a", "by-address", "half", "open"}, id="not understood"),
    ],
)
def test_only_namespaces_that_both_ends_let_meet(specs: list[Any], met: set[str]) -> None:
    assert of_a(state(*specs)) == met


def test_of_several_states_each_counts() -> None:
    assert of_a(state(CLOSED), state(CLOSED, egress({"to": [named("faces-a")]}))) == {"faces-a"}
    assert of_a(state(CLOSED, egress({"to": [named("faces-a")]})), state(CLOSED)) == {"faces-a"}


def test_blocks_count_for_pods_only_where_the_plug_in_says_so() -> None:
    reaching = state(CLOSED, egress({}), blocks_match_pods=False)
    assert of_a(reaching) == {"faces-a", "half", "open"}


def test_pods_on_their_nodes_network_meet_whom_nothing_closes() -> None:
    host = Pod("a", "Pod/agent", is_host=True, addresses=(ip_address("172.16.0.1"),))
    assert of_a(state(CLOSED, pods={"a": [host]})) >= {"open", "faces-a"}
    address = {"ipBlock": {"cidr": "172.16.0.0/16"}}
    there = {"closed": [replace(host, namespace="closed")]}
    assert of_a(state(CLOSED, ingress({"from": [address]}), pods=there, blocks_match_pods=False)) == {"closed"}
