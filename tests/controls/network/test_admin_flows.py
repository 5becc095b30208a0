"""What the Admin tier passes and closes, judged by the model of tests/support/cni against what the specs say."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from securetenant.controls.network import admin_rules
from securetenant.controls.network.policies import End as End_
from securetenant.controls.network.policies import Within
from securetenant.model.kinds import KUBE_OVN_SUBNET
from securetenant.model.platform import Platform
from securetenant.sets import selectors
from securetenant.sets.blocks import Block
from securetenant.sets.ports import Ports, Range
from tests.support.admin_tier import ON, condition, policies, within_limits
from tests.support.cni.flows import passes
from tests.support.cni.reading import addresses
from tests.support.cni.values import Call, Cluster, ClusterPolicy, End, Plugin, Policy
from tests.support.enacted import Enacted
from tests.support.whitelists import (
    CALLS,
    OWNERS,
    PEERS_BY,
    SERVER,
    Document,
    declared,
    enacted,
    ends,
    expected,
    networks_of_all,
    subnets_of_all,
    tenants_of,
)
from tests.support.world import StaticWorld, mine, namespace, tenant

EVERYTHING: Final = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
# What a tenant's people could add in each of its namespaces.
WIDENING: Final = tuple(Policy(space, EVERYTHING) for space in OWNERS)
NO_SUBNETS: Final[dict[str, Document]] = {space: {} for space in OWNERS}
# Whatever a rule of the random whitelists can tell apart.
LABELS: Final = [
    {key: value for key, value in (("app", app), ("tier", tier)) if value}
    for app, tier in product(("", "a", "b"), ("", "x", "y"))
]
METADATA: Final = End(addresses("169.254.169.254"))
few = settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate], deadline=None)


# --- what passes


@pytest.mark.parametrize("plugin", ["Calico", "None", "KubeOVN"])
@pytest.mark.parametrize("way", PEERS_BY)
@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_with_it_exactly_the_declared_flows_pass(plugin: Plugin, way: str, data: st.DataObject, seed: int) -> None:
    """It closes nothing that is agreed, and opens nothing."""
    world = enacted(plugin, tenants_of(data.draw(networks_of_all(way)), data.draw(subnets_of_all(plugin))), ON, seed)
    world.settle()
    said, cluster = declared(world), world.enforced()
    assert len(cluster.cluster_policies) >= len(OWNERS)
    for source, target, call in calls(world, seed):
        assert passes(cluster, source, target, call) == expected(said, cluster, source, target, call), (
            source,
            target,
            call,
        )


@pytest.mark.parametrize("plugin", ["Calico", "None"])
@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_policies_that_open_everything_widen_nothing_in_the_cluster(
    plugin: Plugin, data: st.DataObject, seed: int
) -> None:
    """From pods, to wherever: exactly what is declared. What comes from nodes and outside, NetworkPolicies decide."""
    world = enacted(plugin, tenants_of(data.draw(networks_of_all()), data.draw(subnets_of_all(plugin))), ON, seed)
    world.settle()
    said, cluster = declared(world), world.enforced(*WIDENING)
    for name in set(OWNERS.values()):
        owner = world.tenant(name)
        assert owner is not None
        told = condition(owner, world)
        assert told is not None
        assert (told.status, told.reason) == ("True", "Written"), told
    for spec in policies(world).values():
        within_limits(spec)
    for source, target, call in calls(world, seed):
        if source.is_pod and (target.is_pod or source.namespace in OWNERS):
            assert passes(cluster, source, target, call) == expected(said, cluster, source, target, call), (
                source,
                target,
                call,
            )


@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_on_kube_ovn_policies_of_others_open_no_more_than_the_rules_say_of_any_pod(
    data: st.DataObject, seed: int
) -> None:
    world = enacted("KubeOVN", tenants_of(data.draw(networks_of_all()), NO_SUBNETS), ON, seed)
    world.settle()
    said, cluster = declared(world), world.enforced(*WIDENING)
    used = [spec["priority"] for spec in policies(world).values()]
    assert len(set(used)) == len(used) == len(OWNERS)
    assert set(used) == {399, 398, 397, 396, 395}
    for source, target, call in calls(world, seed):
        if source.is_pod and (target.is_pod or source.namespace in OWNERS) and passes(cluster, source, target, call):
            like = [[replace(end, labels=labels) for labels in (*LABELS, end.labels)] for end in (source, target)]
            assert any(said.opens(a, b, call) for a, b in product(*like)), (source, target, call)


def calls(world: Enacted, seed: int) -> Iterator[tuple[End, End, Call]]:
    """Of which one end is a tenant's pod."""
    found = [*ends(world), METADATA]
    pairs = [(a, b) for a, b in product(found, found) if a is not b and {a.namespace, b.namespace} & set(OWNERS)]
    for source, target in Random(seed).sample(pairs, 120):
        yield from ((source, target, call) for call in CALLS)


@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_step_of_a_change_opens_what_is_declared_neither_before_nor_after(data: st.DataObject, seed: int) -> None:
    """Even where everything else stands open."""
    world = enacted("Calico", tenants_of(data.draw(networks_of_all()), NO_SUBNETS), ON, seed)
    world.settle()
    said, random = [declared(world)], Random(seed)
    found = [one for one in ends(world) if one.is_pod]
    pairs = [(a, b) for a, b in product(found, found) if {a.namespace, b.namespace} <= set(OWNERS) and a is not b]

    def guard(world: Enacted, step: str) -> None:
        cluster = world.enforced(*WIDENING)
        for (source, target), call in product(random.sample(pairs, 20), CALLS[2:]):
            if passes(cluster, source, target, call):
                assert any(expected(one, cluster, source, target, call) for one in said), (step, source, target, call)

    world.watch = guard
    for after in tenants_of(data.draw(networks_of_all()), NO_SUBNETS):
        before = world.tenant(after.name)
        assert before is not None
        world.put(before.model_copy(update={"spec": after.spec}))
        said.append(declared(world))
        world.reconcile(world.order.choice(sorted(set(OWNERS.values()))))
    world.settle(guard)


class TestManagement:
    """The API server, nodes, the control plane's namespaces and the metadata of the machines."""

    BROAD = (Policy("a1", EVERYTHING),)
    WORKER = End(addresses("192.0.2.11"), node="n1", is_host=True)
    ETCD = End(addresses("10.16.0.9"), "kube-system", {"component": "etcd"}, node="n1")

    def world(self, **sections: Any) -> tuple[Cluster, End]:
        rule = {"name": "all", "to": [{"cidr": "0.0.0.0/0"}]}
        given = {"egress": [rule], **sections}
        world = enacted("Calico", [tenant("alpha", namespaces=["a1"], network=given)], ON)
        world.settle()
        return world.enforced(*self.BROAD), End(addresses("10.16.0.20"), "a1", {}, node="n2")

    @pytest.mark.parametrize("port", [80, 443, 2379, 6443, 10250])
    def test_no_rule_with_a_cidr_and_no_policy_of_others_opens_it(self, port: int) -> None:
        cluster, own = self.world()
        assert passes(cluster, own, End(addresses("198.51.100.7")), Call("TCP", port))
        server = End(addresses(SERVER), node="n1", is_host=True)
        for target in (METADATA, server, self.WORKER, self.ETCD):
            assert not passes(cluster, own, target, Call("TCP", port)), target

    def test_what_the_spec_says_in_so_many_words_stands(self) -> None:
        cluster, own = self.world(
            apiServer=True, egress=[{"name": "etcd", "to": [{"namespace": "kube-system"}], "ports": [{"port": 2379}]}]
        )
        assert passes(cluster, own, End(addresses(SERVER), node="n1", is_host=True), Call("TCP", 6443))
        assert passes(cluster, own, self.ETCD, Call("TCP", 2379))
        assert not passes(cluster, own, self.ETCD, Call("TCP", 2380))
        assert not passes(cluster, own, METADATA, Call("TCP", 80))

    def test_without_this_tier_the_metadata_is_closed_by_network_policies(self) -> None:
        world = enacted("Calico", [tenant("alpha", namespaces=["a1"], network={"egress": []})], Platform())
        world.settle()
        own = End(addresses("10.16.0.20"), "a1", {}, node="n2")
        assert not passes(world.enforced(), own, METADATA, Call("TCP", 80))
        assert passes(world.enforced(*self.BROAD), own, METADATA, Call("TCP", 80))  # which others widen


# --- what does not fit


def agreed(count: int, ports: int = 1) -> admin_rules.Ends:
    """So many pods, each on its own ports."""
    return admin_rules.ends(
        {
            Within(f"n{number:04}", selectors.Selector((("app", f"a{number}"),))): tuple(
                Range("TCP", 1000 + number * 100 + 2 * port, 1000 + number * 100 + 2 * port) for port in range(ports)
            )
            for number in range(count)
        }
    )


class TestFit:
    @pytest.mark.parametrize(
        ("count", "ports", "wider"),
        [
            (24, 1, ""),
            (25, 1, "on all ports"),
            (3, 26, "on all ports"),
            (601, 1, "to all pods of their namespaces and all of their cidr, on all ports"),
        ],
    )
    def test_it_is_passed_wider_by_as_little_as_possible(self, count: int, ports: int, wider: str) -> None:
        given = agreed(count, ports)
        found = admin_rules.closing_ingress(given)
        assert found.wider == wider
        spec = {"ingress": list(found.rules)}
        within_limits(spec)
        policy = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, **spec}
        cluster = Cluster("None", cluster_policies=(ClusterPolicy(policy),), has_cluster_policies=True)
        own = End(addresses("10.0.0.1"), "own")
        for end, allowed in given:
            assert isinstance(end, Within)
            assert allowed is not None
            peer = End(addresses("10.0.0.2"), end.namespace, dict(end.selector.labels))
            assert all(passes(cluster, peer, own, Call("TCP", one.low)) for one in allowed)
        assert not passes(cluster, End(addresses("10.0.0.3"), "stranger"), own, Call("TCP", 1000))

    def test_networks_without_exceptions_and_at_last_everything_outside(self) -> None:
        def scattered(first: int, count: int) -> dict[Any, Any]:
            return {
                Block(f"10.{port}.0.0/16", tuple(f"10.{port}.{one}.1/32" for one in range(0, 200, 2))): (
                    Range("TCP", port, port),
                )
                for port in range(first, first + count)
            }

        closed = [Block(f"{SERVER}/32")]
        exact = admin_rules.closing_egress(admin_rules.ends(scattered(1, 1)), (), closed)
        assert exact.wider == ""
        whole = admin_rules.closing_egress(admin_rules.ends(scattered(1, 23)), (), closed)
        assert whole.wider == "to all pods of their namespaces and all of their cidr, on all ports"
        many: dict[End_, Ports] = {Block(f"10.{high}.{low}.0/24"): None for high in range(60) for low in range(250)}
        widest = admin_rules.closing_egress(admin_rules.ends(many), (), closed)
        assert widest.wider.startswith("to all pods of their namespaces and to every address")
        for found in (exact, whole, widest):
            within_limits({"egress": list(found.rules)})
        order = [(rule["name"], rule["action"]) for rule in widest.rules]
        assert order == [
            ("management", "Deny"),
            ("other pods", "Deny"),
            ("agreed", "Pass"),
            ("everything else", "Deny"),
        ]

    def test_an_exception_that_no_other_block_opens_is_one_entry(self) -> None:
        """And one that another block opens stays open there."""
        given: dict[End_, Ports] = {
            Block("0.0.0.0/0", ("10.0.0.0/8", "198.51.100.0/24", "203.0.113.9/32")): None,
            Block("198.51.100.0/25"): (Range("TCP", 443, 443),),
        }
        found = admin_rules.closing_egress(admin_rules.ends(given), (), admin_rules.METADATA)
        (denied,) = [rule for rule in found.rules if rule["name"] == "exceptions"]
        assert denied["to"] == [{"networks": ["10.0.0.0/8", "203.0.113.9/32"]}]
        policy = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": list(found.rules)}
        cluster = Cluster("None", cluster_policies=(ClusterPolicy(policy),), has_cluster_policies=True)
        own = End(addresses("10.0.0.1"), "own")
        for target, port, is_open in (
            ("9.9.9.9", 80, True),
            ("10.1.1.1", 80, False),
            ("203.0.113.9", 80, False),
            ("203.0.113.8", 80, True),
            ("198.51.100.7", 443, True),
            ("198.51.100.7", 80, False),
            ("198.51.100.200", 443, False),
        ):
            assert passes(cluster, own, End(addresses(target)), Call("TCP", port)) == is_open, (target, port)

    def test_it_is_told(self) -> None:
        rules = [
            {"name": f"r{n}", "from": [{"namespace": "ingress-nginx"}], "ports": [{"port": 1000 + 2 * n}]}
            for n in range(60)
        ]
        # Sixty ports of one peer are one set: too many protocols for a rule.
        owner = tenant("alpha", namespaces=["a1"], network={"ingress": rules})
        world = StaticWorld([owner], [*mine(owner), namespace("ingress-nginx")], ON, absent=[KUBE_OVN_SUBNET])
        told = condition(owner, world)
        assert told is not None
        assert (told.status, told.reason) == ("False", "PassedWider")
        assert told.message == "a1: more is left to NetworkPolicies than is agreed, on all ports"
        for spec in policies(world, "alpha").values():
            within_limits(spec)
