"""What Calico does (its CNI plugin and IPAM, about 3.28.5): the model that judges the operator."""

from ipaddress import ip_network
from typing import Any, Final

import pytest

from tests.support.cni.addresses import CALICO, NoAddressError, is_overlapping, out_of
from tests.support.cni.flows import passes
from tests.support.cni.reading import addresses, ip_pool
from tests.support.cni.values import Call, Cluster, End, Policy

KEY: Final = CALICO[4]
POOLS: Final = (
    ip_pool("open", {"cidr": "10.16.0.0/16"}),
    ip_pool("a", {"cidr": "10.1.0.0/24", "nodeSelector": "!all()"}),
    ip_pool("b", {"cidr": "10.2.0.0/24", "nodeSelector": "!all()"}),
    ip_pool("off", {"cidr": "10.3.0.0/24", "nodeSelector": "!all()", "disabled": True}),
    ip_pool("six", {"cidr": "2001:db8:1::/64", "nodeSelector": "!all()"}),
)
A: Final = End(addresses("10.1.0.5"), "a", node="n1")
B: Final = End(addresses("10.2.0.5"), "b", node="n2")
DENY: Final = {"podSelector": {}, "policyTypes": ["Ingress"]}


def given(namespace: dict[str, str], pod: dict[str, str] | None = None, version: int = 4) -> list[str]:
    return [str(block) for block in out_of("Calico", version, pod or {}, namespace, POOLS)]


def test_a_namespace_s_annotation_names_its_pools_by_family() -> None:
    assert given({KEY: '["a"]'}) == ["10.1.0.0/24"]
    assert given({KEY: '["a"]', CALICO[6]: '["six"]'}, version=6) == ["2001:db8:1::/64"]


def test_a_pod_s_annotation_counts_more_than_its_namespace_s() -> None:
    assert given({KEY: '["a"]'}, {KEY: '["b"]'}) == ["10.2.0.0/24"]


def test_pools_of_no_node_give_only_to_those_who_name_them() -> None:
    assert given({}) == ["10.16.0.0/16"]


@pytest.mark.parametrize("asked", ['["off"]', '["gone"]', "a"])
def test_a_disabled_an_unknown_pool_and_broken_json_give_no_address(asked: str) -> None:
    with pytest.raises(NoAddressError):
        given({KEY: asked})


def test_an_empty_list_escapes_to_any_open_pool() -> None:
    assert given({KEY: '["a"]'}, {KEY: "[]"}) == ["10.16.0.0/16"]
    assert given({KEY: "[]"}) == ["10.16.0.0/16"]


def test_overlapping_pools_are_not_refused() -> None:
    wide = ip_pool("wide", {"cidr": "10.0.0.0/8", "nodeSelector": "!all()"})
    assert not is_overlapping(POOLS)
    assert is_overlapping([*POOLS, wide])
    assert out_of("Calico", 4, {}, {KEY: '["wide"]'}, [*POOLS, wide]) == [ip_network("10.0.0.0/8")]


def cluster(*rules: dict[str, Any]) -> Cluster:
    return Cluster("Calico", policies=(Policy("b", {**DENY, "ingress": list(rules)}),))


def test_a_block_matches_pods_by_their_addresses() -> None:
    opened = cluster({"from": [{"ipBlock": {"cidr": "10.1.0.0/24", "except": ["10.1.0.128/25"]}}]})
    assert passes(opened, A, B, Call("TCP", 1))
    assert not passes(opened, End(addresses("10.1.0.200"), "a"), B, Call("TCP", 1))


def test_a_node_reaches_its_own_pods_and_no_others() -> None:
    for node, is_open in (("n2", True), ("n1", False)):
        host = End(addresses("192.0.2.10"), node=node, is_host=True)
        assert passes(cluster(), host, B, Call("TCP", 1)) is is_open
