"""What Cilium does (its operator v1.18.0; what is marked "read" stands in its documents): the model that judges the
operator."""

from typing import Final

import pytest

from tests.support.cni.addresses import (
    CILIUM,
    CILIUM_BY_FAMILY,
    CILIUM_REQUIRED,
    NoAddressError,
    is_overlapping,
    out_of,
)
from tests.support.cni.flows import passes
from tests.support.cni.reading import addresses, cilium_pool
from tests.support.cni.values import Call, Cluster, End, Policy

POOLS: Final = (
    cilium_pool("default", {"ipv4": {"cidrs": ["10.16.0.0/16"], "maskSize": 24}}),
    cilium_pool("a", {"ipv4": {"cidrs": ["10.1.0.0/24"]}, "ipv6": {"cidrs": ["2001:db8:1::/64"]}}),
    cilium_pool("b", {"ipv4": {"cidrs": ["10.2.0.0/24"]}}),
)


def given(namespace: dict[str, str], pod: dict[str, str] | None = None, version: int = 4) -> list[str]:
    return [str(block) for block in out_of("Cilium", version, pod or {}, namespace, POOLS)]


def test_a_namespace_s_annotation_names_its_pool() -> None:
    assert given({CILIUM: "a"}) == ["10.1.0.0/24"]
    assert given({CILIUM: "a"}, version=6) == ["2001:db8:1::/64"]


def test_a_family_s_own_annotation_counts_more() -> None:
    """Read."""
    assert given({CILIUM: "a", CILIUM_BY_FAMILY[4]: "b"}) == ["10.2.0.0/24"]
    assert given({CILIUM: "a", CILIUM_BY_FAMILY[4]: "b"}, version=6) == ["2001:db8:1::/64"]


def test_a_pod_s_annotation_counts_more_than_its_namespace_s() -> None:
    assert given({CILIUM_BY_FAMILY[4]: "a"}, {CILIUM: "b"}) == ["10.2.0.0/24"]


def test_without_a_pool_a_pod_falls_back_to_the_default_one_unless_a_match_is_required() -> None:
    """Read."""
    assert given({}) == ["10.16.0.0/16"]
    with pytest.raises(NoAddressError):
        given({CILIUM_REQUIRED: "true"})
    with pytest.raises(NoAddressError):
        given({CILIUM: "gone"})


def test_overlapping_pools_hand_out_the_same_addresses_without_an_error() -> None:
    wide = cilium_pool("wide", {"ipv4": {"cidrs": ["10.0.0.0/8"]}})
    assert not is_overlapping(POOLS)
    assert is_overlapping([*POOLS, wide])


def test_a_block_does_not_match_pods() -> None:
    rule = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    policy = Policy("b", {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]})
    cluster = Cluster("Cilium", policies=(policy,), blocks_match_pods=False)
    target = End(addresses("10.2.0.5"), "b")
    assert not passes(cluster, End(addresses("10.1.0.5"), "a"), target, Call("TCP", 1))
    assert passes(cluster, End(addresses("10.9.0.5")), target, Call("TCP", 1))  # outside the cluster
