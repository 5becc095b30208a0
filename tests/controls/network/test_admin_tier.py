"""The policies of the Admin tier: whose they are, when they go, and their priorities."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import admin_tier
from securetenant.controls.network import control as network
from securetenant.controls.notice import Written
from securetenant.drift.applied import grouped
from securetenant.drift.assess import assess
from securetenant.engine import deletion
from securetenant.model import names
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NETWORK_POLICY, Kind
from securetenant.model.objects import Desired, Observed, Ref, marks
from securetenant.model.platform import Platform
from securetenant.sets import selectors
from tests.support.admin_tier import ON, condition, policies
from tests.support.network import admits, banking, payments, reaches
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant

OWN: Final = selectors.Selector((("app", "a"),))


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
        assert network.CONTROL.ending(owner, NOW) == ["its whitelist in the Admin tier"]
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
        assert condition(owner, world) is None

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

    def test_in_audit_it_is_not_said_to_be_written(self) -> None:
        owner = payments()
        audited = owner.model_copy(update={"spec": owner.spec.model_copy(update={"mode": "Audit"})})
        told = condition(audited, StaticWorld([audited], mine(audited), ON, absent=[KUBE_OVN_SUBNET]))
        assert told is not None
        assert (told.status, told.reason) == ("False", "NotWritten")
        assert told.message == "mode is Audit, in which nothing is written: 1 ClusterNetworkPolicy would be"

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

    def test_what_was_chosen_just_now_is_looked_at_again(self) -> None:
        (owner,) = many(1)
        found = network.CONTROL.plan(owner, StaticWorld([owner], mine(owner), ON), NOW)
        (told,) = [one for one in found.conditions if one.type == admin_tier.CONDITION]
        assert (told.status, told.reason, found.wake_at) == ("False", "NotWritten", NOW + timedelta(seconds=2))
        world = settled(owner, absent=())
        known = world.tenant("t0")
        assert known is not None
        told_ = condition(known, world)
        assert told_ is not None
        assert told_.reason == "Written"
        assert network.CONTROL.plan(known, world, NOW).wake_at is None

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


def test_pods_with_rules_of_their_own_keep_the_dns_where_it_has_an_address_of_the_management() -> None:
    """Theirs is the first policy, and it denies the management before it passes networks."""
    rule = {
        "name": "out",
        "from": {"pods": {"matchLabels": {"app": "x"}}},
        "to": [{"cidr": "203.0.113.0/24"}],
        "ports": [{"port": 443}],
    }
    one = tenant("a", namespaces=["a1"], network={"egress": [rule]})
    api_server = observed(
        "EndpointSlice",
        "kubernetes",
        "default",
        labels={"kubernetes.io/service-name": "kubernetes"},
        addressType="IPv4",
        endpoints=[{"addresses": ["10.9.9.9"], "conditions": {"ready": True}}],
        ports=[{"port": 6443, "protocol": "TCP"}],
    )
    platform = replace(ON, dns_cidrs=("169.254.169.254/32",), dns_namespace="")
    world = StaticWorld([one], [*mine(one), api_server], platform, absent=(KUBE_OVN_SUBNET,))
    specs: list[Any] = [
        want.body["spec"] for want in network.plan(one, world, NOW).desired if want.ref.kind is CLUSTER_NETWORK_POLICY
    ]
    egress = min(specs, key=lambda spec: int(spec["priority"]))["egress"]
    places = [
        (entry["action"], "169.254.169.254/32" in str(entry) or "169.254.0.0/16" in str(entry)) for entry in egress
    ]
    assert places.index(("Pass", True)) < places.index(("Deny", True))
