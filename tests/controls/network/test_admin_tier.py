"""The whitelist in the Admin tier: what it passes and closes, and whose policies are whose.

What passes is judged by the model of tests/support/cni, against what the specs say.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from random import Random
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import admin_rules, admin_tier
from securetenant.controls.network import control as network
from securetenant.controls.network.policies import Within
from securetenant.controls.notice import Written
from securetenant.drift.applied import grouped
from securetenant.drift.assess import assess
from securetenant.engine import deletion
from securetenant.model import names
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NETWORK_POLICY, Kind
from securetenant.model.objects import Desired, Observed, Ref, marks
from securetenant.model.platform import Platform
from securetenant.sets import selectors
from securetenant.sets.blocks import Block
from securetenant.sets.ports import Range
from tests.support.cni.flows import passes
from tests.support.cni.reading import addresses
from tests.support.cni.values import Call, Cluster, ClusterPolicy, End, Plugin, Policy
from tests.support.enacted import Enacted
from tests.support.network import admits, banking, payments, reaches
from tests.support.whitelists import (
    CALLS,
    OWNERS,
    PEERS_BY,
    SERVER,
    declared,
    enacted,
    ends,
    expected,
    networks_of_all,
    subnets_of_all,
    tenants_of,
)
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant

ON: Final = Platform(expires_soon=(), admin_tier=True, dns_cidrs=("169.254.20.10/32",))
EVERYTHING: Final = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
# What a tenant's people could add in each of its namespaces.
WIDENING: Final = tuple(Policy(space, EVERYTHING) for space in OWNERS)
METADATA: Final = End(addresses("169.254.169.254"))
few = settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate], deadline=None)


def condition(tenant: SecureTenant, world: StaticWorld) -> Condition | None:
    told = network.CONTROL.plan(tenant, world, NOW).conditions
    return next((one for one in told if one.type == admin_tier.CONDITION), None)


def policies(world: StaticWorld, name: str = "") -> dict[str, Any]:
    """The specs of the ClusterNetworkPolicies that are wanted of one tenant, or that are there."""
    if name:
        owner = world.tenant(name)
        assert owner is not None
        wanted = network.CONTROL.plan(owner, world, NOW).desired
        return {one.ref.name: one.body["spec"] for one in wanted if one.ref.kind is CLUSTER_NETWORK_POLICY}
    return {one.ref.name: one.field("spec") for one in world.objects() if one.ref.kind is CLUSTER_NETWORK_POLICY}


def within_limits(spec: Any) -> None:
    """What the CustomResourceDefinition takes."""
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = spec.get(direction, [])
        assert len(rules) <= 25
        for rule in rules:
            assert rule["action"] in ("Pass", "Deny")
            assert 1 <= len(rule[peers]) <= 25
            assert all(1 <= len(peer["networks"]) <= 25 for peer in rule[peers] if "networks" in peer)
            assert 1 <= len(rule.get("protocols", [None])) <= 25
            assert not (direction == "ingress" and any("networks" in peer for peer in rule[peers]))


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
    world = enacted("KubeOVN", tenants_of(data.draw(networks_of_all()), dict.fromkeys(OWNERS, {})), ON, seed)
    world.settle()
    said, cluster = declared(world), world.enforced(*WIDENING)
    used = [spec["priority"] for spec in policies(world).values()]
    assert len(set(used)) == len(used) == len(OWNERS)
    assert set(used) == {399, 398, 397, 396, 395}
    found = list(ends(world))
    labelled = [one for one in found if one.is_pod]
    for source, target, call in calls(world, seed):
        if source.is_pod and (target.is_pod or source.namespace in OWNERS) and passes(cluster, source, target, call):
            like = [
                (replace(source, labels=one.labels), replace(target, labels=other.labels))
                for one, other in product(labelled, labelled)
            ]
            assert any(said.opens(a, b, call) for a, b in like), (source, target, call)


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
    subnets = dict.fromkeys(OWNERS, {})
    world = enacted("Calico", tenants_of(data.draw(networks_of_all()), subnets), ON, seed)
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
    for after in tenants_of(data.draw(networks_of_all()), subnets):
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


OWN: Final = selectors.Selector((("app", "a"),))


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
        assert whole.wider == "on all ports"
        many = {Block(f"10.{high}.{low}.0/24"): None for high in range(60) for low in range(250)}
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


# --- whose they are


def settled(
    *tenants: SecureTenant, absent: Iterable[Kind] = (KUBE_OVN_SUBNET,), platform: Platform = ON
) -> StaticWorld:
    """A world in which the policies of all tenants are as wanted, and recorded."""
    world = StaticWorld(tenants, [o for t in tenants for o in mine(t)], platform, absent=tuple(absent))
    for one in tenants:
        wanted = network.CONTROL.plan(one, world, NOW).desired
        world.put(*(observe(want, one) for want in wanted))
        status = one.status.model_copy(
            update={
                "applied": grouped(want.ref for want in wanted),
                "namespaces": [],
            }
        )
        world.put(one.model_copy(update={"status": status}))
    return world


def found(world: StaticWorld, name: str) -> dict[tuple[str, str], Any]:
    """The findings about ClusterNetworkPolicies, by name and reason."""
    owner = world.tenant(name)
    assert owner is not None
    return {
        (one.ref.name, one.reason): one
        for one in assess(owner, world, NOW, controls=(network.CONTROL,)).findings
        if one.ref.kind is CLUSTER_NETWORK_POLICY
    }


SELECTED: Final = admits(to={"pods": {"matchLabels": {"app": "a"}}})
PAIR: Final = (payments(ingress=[SELECTED]), banking(egress=[reaches()]))
CLOSING: Final = "securetenant-payments-prod"
NARROW: Final = admin_tier.name("payments-prod", OWN)


def stranger(name: str, space: str = "payments-prod", **more: Any) -> Observed:
    """One that accepts everything."""
    spec = {
        "tier": "Admin",
        "priority": more.pop("priority", 1),
        "subject": {"namespaces": {"matchLabels": {names.LABEL_NAMESPACE_NAME: space}}},
        "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}],
    }
    return observed(CLUSTER_NETWORK_POLICY, name, spec=spec, **more)


class TestOwnership:
    def test_what_was_written_is_neither_foreign_nor_drift(self) -> None:
        world = settled(*PAIR)
        assert set(policies(world)) == {CLOSING, NARROW, "securetenant-ledger-prod"}
        assert not found(world, "payments")
        assert not found(world, "core-banking")

    def test_what_others_changed_is_put_right(self) -> None:
        world = settled(*PAIR)
        world.put(stranger(CLOSING, labels=marks("payments", "network")))
        (change,) = found(world, "payments").values()
        assert (change.reason, change.action, change.rollout) == ("Changed", "Replace", False)

    def test_one_without_its_marks_is_put_right_too(self) -> None:
        world = settled(*PAIR)
        world.put(stranger(CLOSING))
        assert [one.action for one in found(world, "payments").values()] == ["Replace"]

    def test_what_was_deleted_is_written_again(self) -> None:
        world = settled(*PAIR)
        world.drop(Ref(CLUSTER_NETWORK_POLICY, "", CLOSING))
        (missing,) = found(world, "payments").values()
        assert (missing.reason, missing.action, missing.rollout) == ("Missing", "Create", False)

    @pytest.mark.parametrize("labels", [{}, marks("payments", "network"), marks("core-banking", "network")])
    def test_one_of_others_is_told_whatever_mark_it_has_and_left(self, labels: dict[str, str]) -> None:
        world = settled(*PAIR)
        world.put(stranger("theirs", labels=labels))
        (told,) = found(world, "payments").values()
        assert (told.ref.name, told.reason, told.action) == ("theirs", "Foreign", "Keep")
        assert not found(world, "core-banking")

    def test_one_of_another_tenant_that_others_turned_on_this_one_is_told(self) -> None:
        world = settled(*PAIR)
        world.put(stranger("securetenant-ledger-prod", labels=marks("core-banking", "network")))
        assert [one.reason for one in found(world, "payments").values()] == ["Foreign"]
        assert [one.reason for one in found(world, "core-banking").values()] == ["Changed"]

    def test_a_name_that_others_have_is_told_and_nothing_written(self) -> None:
        owner = payments()
        world = StaticWorld([owner], [*mine(owner), stranger(CLOSING)], ON, absent=[KUBE_OVN_SUBNET])
        told = condition(owner, world)
        assert told is not None
        assert told.reason == "NameTaken"
        assert told.message == (
            f"ClusterNetworkPolicy/{CLOSING}: somebody else's, with the name of ours: rename or delete it"
        )
        assert not policies(world, "payments")
        assert [one.reason for one in found(world, "payments").values()] == ["Foreign"]

    def test_of_a_namespace_that_changed_hands_the_new_tenant_takes_it_over(self) -> None:
        first = payments()
        world = settled(first)
        world.drop("payments")
        second = tenant("other", namespaces=["payments-prod"])
        world.put(second, *mine(second))
        (change,) = found(world, "other").values()
        assert (change.reason, change.action, change.ref.name) == ("Changed", "Replace", CLOSING)

    def test_one_that_no_rule_needs_any_more_goes_after_the_others_are_written(self) -> None:
        world = settled(*PAIR)
        before = world.tenant("payments")
        assert before is not None
        world.put(before.model_copy(update={"spec": payments(ingress=[admits()]).spec}))
        left = found(world, "payments")
        assert {key: one.action for key, one in left.items()} == {
            (CLOSING, "Changed"): "Replace",
            (NARROW, "Stale"): "Delete",
        }
        assert left[NARROW, "Stale"].superseded == "Partly"
        assert all(one.rollout for one in left.values())

    def test_that_of_a_terminating_namespace_stays_as_it_is(self) -> None:
        world = settled(*PAIR)
        owner = world.tenant("payments")
        assert owner is not None
        (there,) = mine(owner)
        world.put(namespace("payments-prod", uid=there.uid, deleting=True, labels=dict(there.labels)))
        assert not found(world, "payments")
        assert policies(world, "payments").keys() == {CLOSING, NARROW}


class TestEnd:
    @pytest.mark.parametrize("policy", ["Retain", "Delete"])
    def test_with_the_tenant_it_is_deleted(self, policy: str) -> None:
        """With Retain the NetworkPolicies stay; with Delete it goes when the namespaces are gone."""
        world = settled(*PAIR)
        owner = world.tenant("payments")
        assert owner is not None
        spec = owner.spec.model_copy(update={"deletion_policy": policy})
        owner = owner.model_copy(update={"spec": spec})
        going = {f.ref.name: f.action for f in deletion.releases(owner, world) if f.ref.kind is CLUSTER_NETWORK_POLICY}
        assert going == {CLOSING: "Delete", NARROW: "Delete"}
        kept = {f.action for f in deletion.releases(owner, world) if f.ref.kind is NETWORK_POLICY}
        assert kept <= {"Release"}

    def test_one_with_nothing_but_the_mark_is_left(self) -> None:
        world = settled(*PAIR)
        world.put(stranger("theirs", labels=marks("payments", "network")))
        owner = world.tenant("payments")
        assert owner is not None
        assert "theirs" not in {f.ref.name for f in deletion.releases(owner, world)}

    def test_where_it_is_switched_off_they_go(self) -> None:
        before = settled(*PAIR)
        world = StaticWorld(
            [one for name in ("payments", "core-banking") if (one := before.tenant(name)) is not None],
            before.objects(),
            Platform(expires_soon=()),
            absent=[KUBE_OVN_SUBNET],
        )
        assert {key: one.action for key, one in found(world, "payments").items()} == {
            (CLOSING, "Stale"): "Delete",
            (NARROW, "Stale"): "Delete",
        }
        owner = world.tenant("payments")
        assert owner is not None
        told = condition(owner, world)
        assert told is not None
        assert (told.status, told.reason) == ("False", "Retired")
        assert told.message.endswith("2 ClusterNetworkPolicies of this tenant are being removed")

    def test_where_it_never_was_on_nothing_is_told(self) -> None:
        owner = payments()
        assert condition(owner, StaticWorld([owner], mine(owner), Platform())) is None

    def test_where_it_is_not_served_nothing_is_written_and_that_is_told(self) -> None:
        owner = payments()
        world = StaticWorld([owner], mine(owner), ON, absent=[CLUSTER_NETWORK_POLICY])
        told = condition(owner, world)
        assert told is not None
        assert (told.status, told.reason) == ("False", "NotServed")
        assert not policies(world, "payments")

    def test_without_a_cluster_it_is_unknown(self) -> None:
        owner = payments()
        told = condition(owner, StaticWorld([owner], (), replace(ON, offline=True)))
        assert told is not None
        assert (told.status, told.reason) == ("Unknown", "NoCluster")


# --- priorities


def many(count: int, first: int = 0) -> list[SecureTenant]:
    return [tenant(f"t{number}", namespaces=[f"n{number}"]) for number in range(first, first + count)]


class TestPriorities:
    def test_disjoint_tenants_share_the_setting_and_what_comes_before_has_the_one_before(self) -> None:
        world = settled(*PAIR, platform=replace(ON, admin_tier_priority=700))
        assert {name: spec["priority"] for name, spec in policies(world).items()} == {
            CLOSING: 700,
            NARROW: 699,
            "securetenant-ledger-prod": 700,
        }

    def test_on_kube_ovn_each_has_its_own_and_keeps_it(self) -> None:
        tenants = many(3)
        world = settled(*tenants, absent=())
        assert [policies(world)[f"securetenant-n{n}"]["priority"] for n in range(3)] == [399, 398, 397]
        world.drop(Ref(CLUSTER_NETWORK_POLICY, "", "securetenant-n0"))
        assert policies(world, "t2")["securetenant-n2"]["priority"] == 397
        assert policies(world, "t0")["securetenant-n0"]["priority"] == 399

    def test_beyond_four_hundred_it_is_told(self) -> None:
        tenants = many(401)
        world = settled(*tenants, absent=())
        used = [spec["priority"] for spec in policies(world).values()]
        assert sorted(used) == list(range(400))
        last = world.tenant("t400")
        assert last is not None
        told = network.CONTROL.plan(last, world, NOW)
        (one,) = [one for one in told.conditions if one.type == admin_tier.CONDITION]
        assert (one.status, one.reason) == ("False", "NoPriority")
        assert one.message.startswith("n400: no priority is left")
        assert told.wake_at == NOW + timedelta(seconds=30)
        assert not told.blocking

    def test_of_two_with_the_same_the_younger_moves(self) -> None:
        tenants = many(2)
        world = settled(*tenants, absent=())
        spec = {**policies(world)["securetenant-n0"], "subject": policies(world)["securetenant-n1"]["subject"]}
        ref = Ref(CLUSTER_NETWORK_POLICY, "", "securetenant-n1")
        desired = Desired(ref, "network", {"spec": spec})
        world.put(observe(desired, tenants[1], created="2026-02-01T00:00:00Z"))
        assert policies(world, "t0")["securetenant-n0"]["priority"] == 399
        assert policies(world, "t1")["securetenant-n1"]["priority"] == 398

    def test_none_before_one_of_others_whose_rules_it_would_void(self) -> None:
        """A Pass passes by all that come later in the tier."""
        owner = payments(namespaces=("payments-prod", "payments-test"))
        world = StaticWorld([owner], [*mine(owner), stranger("theirs", "elsewhere", priority=398)], ON)
        assert {name: spec["priority"] for name, spec in policies(world, "payments").items()} == {CLOSING: 399}
        told = condition(owner, world)
        assert told is not None
        assert told.reason == "NoPriority"

    def test_what_was_shared_before_kube_ovn_came_is_given_anew(self) -> None:
        before = settled(*many(1))
        (owner,) = [one for one in [before.tenant("t0")] if one is not None]
        world = StaticWorld([owner], before.objects(), ON)
        assert policies(world, "t0")["securetenant-n0"]["priority"] == 399


def test_the_policies_of_two_namespaces_or_selections_never_have_the_same_name() -> None:
    assert admin_tier.name("a") != admin_tier.name("a", OWN)
    assert admin_tier.name("a-b", OWN).partition(".")[0] == admin_tier.name("a-b")


def test_a_namespace_named_like_a_rule_is_not_told_as_its_flow() -> None:
    """securetenant-ingress-x is a rule's NetworkPolicy, and the ClusterNetworkPolicy of the namespace ingress-x."""
    owner = tenant("alpha", namespaces=["ingress-x"])
    world = settled(owner)
    known = world.tenant("alpha")
    assert known is not None
    have = world.get(Ref(CLUSTER_NETWORK_POLICY, "", "securetenant-ingress-x"))
    assert have is not None
    said = network.CONTROL.rollout(known, [Written(have.ref, None, have)], known.status, NOW)
    assert not said.notices
