"""Where Kube-OVN gives pods addresses, and the hole that it shares with Calico and Cilium."""

from typing import Final

import pytest

from tests.support.cni.addresses import OVN_DEFAULT, SWITCH, NoAddressError, Pool, bound, out_of
from tests.support.cni.flows import passes
from tests.support.cni.reading import addresses, networks, subnet
from tests.support.cni.values import Call, Cluster, End, Policy

CIDRS: Final = {
    "ovn-default": ["10.16.0.0/16"],
    "join": ["100.64.0.0/16"],
    "a": ["10.1.0.0/24", "2001:db8:1::/64"],
    "b": ["10.2.0.0/24"],
}
POOLS: Final = tuple(Pool(name, networks(cidrs)) for name, cidrs in CIDRS.items())


def given(namespace: dict[str, str], pod: dict[str, str] | None = None, version: int = 4) -> list[str]:
    return [str(block) for block in out_of("KubeOVN", version, pod or {}, namespace, POOLS)]


def test_a_namespace_is_bound_by_the_subnet_that_names_it() -> None:
    subnets = [
        subnet("a", {"cidrBlock": "10.1.0.0/24", "namespaces": ["a"]}),
        subnet("x", {"cidrBlock": "10.9.0.0/24"}),
    ]
    assert bound("a", subnets) == "a"
    assert bound("c", subnets) == OVN_DEFAULT
    assert bound("a", []) == OVN_DEFAULT  # after the Subnet's deletion
    twice = [*subnets, subnet("z", {"cidrBlock": "10.8.0.0/24", "namespaces": ["a"]})]
    assert bound("a", twice) == "a,z"


def test_pods_follow_what_stands_on_the_namespace_tampered_or_not() -> None:
    assert given({SWITCH: "a"}) == ["10.1.0.0/24"]
    assert given({SWITCH: "a"}, version=6) == ["2001:db8:1::/64"]
    assert given({SWITCH: "b"}) == ["10.2.0.0/24"]
    assert given({}) == ["10.16.0.0/16"]
    with pytest.raises(NoAddressError):
        given({SWITCH: "gone"})


def test_a_pod_s_annotation_overrides_the_namespace_s() -> None:
    assert given({SWITCH: "a"}, {SWITCH: "b"}) == ["10.2.0.0/24"]
    assert given({SWITCH: "a"}, {SWITCH: "join"}) == ["100.64.0.0/16"]


def test_a_pod_in_another_tenant_s_subnet_walks_through_a_whitelist_of_addresses_but_not_of_selectors() -> None:
    """Why admission refuses the pods' annotations, and why selectors are the default."""
    rules = {
        "Subnet": {"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]},
        "Selector": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}]},
    }
    intruder, target = End(addresses("10.1.0.66"), "evil"), End(addresses("10.2.0.5"), "b")
    for written, rule in rules.items():
        spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]}
        cluster = Cluster("Calico", policies=(Policy("b", spec),))
        assert passes(cluster, intruder, target, Call("TCP", 1)) is (written == "Subnet")
