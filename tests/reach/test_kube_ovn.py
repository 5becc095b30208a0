"""Kube-OVN's own rules: against the independent model of what it was seen to do (tests/support/cni), and what is told
where something is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

import pytest
from hypothesis import given, settings

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.flows import compare, reach
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing
from securetenant.sets import kube_ovn, policy, ports
from securetenant.sets.ports import OTHER, Ports, Range
from tests.support.cni.values import LABEL_NAME
from tests.support.tiered import Drawn, calls, check, on_kube_ovn


@settings(max_examples=60)
@given(on_kube_ovn())
def test_flows_of_known_pods_are_those_that_the_model_passes(at: Drawn) -> None:
    check(at, reach(at.cluster()).flows)


@settings(max_examples=30)
@given(on_kube_ovn())
def test_flows_of_whatever_pods_there_may_be_are_too(at: Drawn) -> None:
    check(at, reach(at.cluster(symbolic=True)).flows, symbolic=True)


@settings(max_examples=30)
@given(on_kube_ovn())
def test_flows_of_some_namespaces_are_those_of_all_with_an_end_there(at: Drawn) -> None:
    check(at, reach(at.cluster(symbolic=True), ["a", "d"]).flows, of=["a", "d"], symbolic=True)


@settings(max_examples=20)
@given(on_kube_ovn(), on_kube_ovn())
def test_what_opens_passes_after_and_not_before(before: Drawn, after: Drawn) -> None:
    before = replace(before, pods=after.pods)
    found = compare(before.cluster(), after.cluster())
    for source, target in after.pairs():
        was, now = before.passing(source, target), after.passing(source, target)
        assert calls(found.opened, source, target) == now - was
        assert calls(found.closed, source, target) == was - now


# --- what the model does not know

DEFAULT: Final[dict[str, Any]] = {"cidrBlock": "10.16.0.0/16"}


def subnet(**spec: Any) -> dict[str, Any]:
    return {"cidrBlock": "10.1.0.0/24", "namespaces": ["a"], **spec}


def acl(match: str, action: str = "drop") -> dict[str, Any]:
    return {"direction": "to-lport", "priority": 2500, "match": match, "action": action}


def cluster(
    policies: Mapping[str, Any] | None = None,
    pods: Mapping[str, Sequence[Pod]] | None = None,
    **subnets: dict[str, Any],
) -> Cluster:
    standing = {
        name: [Standing(Ref(NETWORK_POLICY, name, "p"), policy.parsed(spec))] for name, spec in (policies or {}).items()
    }
    return Cluster(
        {name: {LABEL_NAME: name, "at": name} for name in ("a", "b")},
        standing,
        pods=pods,
        plugin="KubeOVN",
        switches=[kube_ovn.parsed(name.replace("_", "-"), spec) for name, spec in subnets.items()],
    )


def between(found: Sequence[Flow], source: str, target: str) -> Ports:
    """The ports that pass from one namespace ("": outside) to another."""
    passing: Ports = ports.NONE
    for flow in found:
        if _has(flow.source, source) and _has(flow.target, target):
            passing = ports.union(passing, flow.ports)
    return passing


def _has(end: Group | Outside, name: str) -> bool:
    return not name if isinstance(end, Outside) else name in end.namespaces


def test_a_private_subnet_without_policies_closes_both_ways() -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(private=True))).flows
    for source, target in (("b", "a"), ("a", "b"), ("", "a"), ("a", "")):
        assert between(found, source, target) == ports.NONE
    assert between(found, "a", "a") is None
    assert between(found, "b", "") is None


def test_namespaces_are_in_the_subnets_that_select_them_too() -> None:
    chosen = subnet(namespaces=[], namespaceSelectors=[{"matchLabels": {"at": "b"}}], private=True)
    found = reach(cluster(ovn_default=DEFAULT, b=chosen)).flows
    assert between(found, "a", "b") == ports.NONE
    assert between(found, "b", "b") is None


CLOSED: Final[dict[str, Any]] = {"podSelector": {}, "policyTypes": ["Ingress"]}
HOST: Final = Pod("b", "Pod/host", addresses=(ip_address("192.0.2.1"),), is_host=True)
INSIDE: Final = Pod("a", "Pod/a", addresses=(ip_address("10.1.0.5"),))
JOIN: Final = {"cidrBlock": "100.64.0.0/16"}


def test_an_acl_that_allows_opens_what_network_policies_close() -> None:
    opened = subnet(acls=[acl("ip4 && tcp.dst == 80", "allow-related")])
    found = reach(cluster({"a": CLOSED}, ovn_default=DEFAULT, a=opened)).flows
    assert between(found, "b", "a") == (Range("TCP", 80, 80),)


def test_an_acl_of_one_family_does_not_open_the_other() -> None:
    default = {"cidrBlock": "fd00:16::/64"}
    closed = subnet(cidrBlock="fd00:1::/64", private=True, acls=[acl("ip4", "allow-related")])
    assert between(reach(cluster(ovn_default=default, a=closed)).flows, "b", "a") == ports.NONE


def test_a_network_policy_that_allows_beats_the_private_subnet_of_the_target() -> None:
    opened = {**CLOSED, "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 80}]}]}
    found = reach(cluster({"a": opened}, ovn_default=DEFAULT, a=subnet(private=True))).flows
    assert between(found, "b", "a") == (Range("TCP", 80, 80),)
    assert between(found, "a", "b") == ports.NONE


@pytest.mark.parametrize(
    ("match", "passing"),
    [("ip4.src == 100.64.0.0/16", ports.NONE), ("ip4.src == 192.0.2.0/24", None), ("ip4.src == 100.64.128.0/17", None)],
)
def test_nodes_reach_pods_from_addresses_of_the_subnet_join(match: str, passing: Ports) -> None:
    closed = subnet(private=True, acls=[acl(match)])
    pods = {"a": [INSIDE], "b": [HOST]}
    found = reach(cluster({"a": CLOSED}, pods, ovn_default=DEFAULT, join=JOIN, a=closed)).flows
    assert between(found, "b", "a") == passing


def test_addresses_that_are_not_known_close_nothing() -> None:
    found = reach(cluster(a=subnet(private=True))).flows  # no Subnet says where the pods of b are
    assert between(found, "b", "a") is None
    assert between(found, "a", "b") is None
    assert between(found, "", "a") == ports.NONE


def test_the_addresses_of_nodes_are_no_addresses_outside() -> None:
    opened = subnet(private=True, allowSubnets=[JOIN["cidrBlock"]])
    found = reach(cluster(ovn_default=DEFAULT, join=JOIN, a=opened))
    for source, target in (("", "a"), ("a", "")):
        assert between(found.flows, source, target) == ports.NONE


@pytest.mark.parametrize("match", ["ip4.src == $as_a", "", "ip4.src == 10.0.0.0/8 || ip4", "inport == @p"])
def test_an_acl_that_is_not_understood_closes_nothing_and_is_told(match: str) -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(acls=[acl(match)])))
    assert between(found.flows, "b", "a") is None
    assert found.unknown == {"a": ("Subnet/a: acls[0] is not understood",)}


def test_an_acl_that_is_not_understood_may_open() -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(private=True, acls=[acl("inport == @p", "allow-related")])))
    assert between(found.flows, "b", "a") is None
    assert (
        between(reach(cluster(ovn_default=DEFAULT, a=subnet(acls=[acl("ip4", "pass"), acl("ip4")]))).flows, "b", "a")
        is None
    )


def test_an_acl_of_icmp_alone_is_told_since_flows_do_not_tell_it_from_other_protocols() -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(acls=[acl("icmp4")])))
    assert between(found.flows, "b", "a") is None
    assert list(found.unknown) == ["a"]
    opened = reach(cluster(ovn_default=DEFAULT, a=subnet(private=True, acls=[acl("icmp4", "allow-related")])))
    assert between(opened.flows, "b", "a") == (Range(OTHER, 0, 0),)


@pytest.mark.parametrize("listed", ["10.2.0.5", "2001:DB8::/64", "x/24"])
def test_a_list_that_kube_ovn_does_not_take_closes_nothing_and_is_told(listed: str) -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(private=True, allowSubnets=[listed])))
    assert between(found.flows, "b", "a") is None
    assert list(found.unknown) == ["a"]


def test_a_subnet_that_is_not_understood_may_be_for_any_namespace() -> None:
    found = reach(cluster(ovn_default=DEFAULT, a=subnet(acls="none")))
    assert found.unknown == dict.fromkeys(("a", "b"), ("Subnet/a: it is not understood",))


def test_what_is_not_understood_of_the_default_subnet_is_told_of_those_without_another() -> None:
    found = reach(cluster(ovn_default={**DEFAULT, "acls": [acl("nonsense")]}, a=subnet()))
    assert found.unknown == {"b": ("Subnet/ovn-default: acls[0] is not understood",)}
