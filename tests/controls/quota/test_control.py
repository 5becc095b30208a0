"""The quota control's plan: what it writes, what it says, exactly."""

import time
from datetime import datetime, timedelta

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.quota import control as quota
from securetenant.model import names
from securetenant.model.kinds import RESOURCE_QUOTA
from securetenant.model.objects import Ref
from tests.support.quota import TEN, THREE, A, B, C, hard_pods, hards, look, pods, reason, written
from tests.support.world import CREATED, NOW, StaticWorld, mine, namespace, observed, tenant

# --- caps of the namespaces ------------------------------------------------------------------------------------


def test_nothing_to_say_writes_nothing() -> None:
    plan = look(tenant("pay", namespaces=THREE))
    assert plan == Plan(desired=[])


def test_caps_are_canonical_and_overridden_key_by_key() -> None:
    owner = tenant(
        "pay",
        namespaces=[A, {"name": B, "quota": {"services.nodeports": "2", "pods": "1e1"}}],
        quota={"namespace": {"services.nodeports": "0", "requests.cpu": "1000m", "requests.memory": "1024Mi"}},
    )
    common = {"requests.cpu": "1", "requests.memory": "1Gi"}
    plan = look(owner)
    assert hards(plan) == {
        A: {**common, "services.nodeports": "0"},
        B: {**common, "services.nodeports": "2", "pods": "10"},
    }
    assert [d.ref for d in plan.desired] == [Ref(RESOURCE_QUOTA, n, "securetenant") for n in (A, B)]
    assert not plan.conditions
    assert not plan.samples


def test_a_namespace_of_another_tenant_gets_nothing() -> None:
    older = tenant("older", created="2020-01-01T00:00:00Z", namespaces=[A])
    owner = tenant("pay", namespaces=[A, B], quota={"tenant": {"pods": "10"}})
    plan = quota.plan(owner, StaticWorld([older, owner], mine(owner, B)), NOW)
    assert list(hards(plan)) == [B]


# --- the tenant's total ----------------------------------------------------------------------------------------


def test_a_new_tenant_shares_the_total_at_once() -> None:
    """Namespaces that are about to be made use nothing: nobody needs to count first. Held it is once that is done."""
    plan = look(TEN, namespaces=False)
    assert hard_pods(plan) == [20, 20, 20]
    assert reason(plan) == ("Unknown", "Uncounted")
    assert (plan.blocking, plan.wake_at) == ((), NOW + timedelta(seconds=60)), "it is new"


def test_shares_are_in_sensible_grains_and_canonical() -> None:
    owner = tenant(
        "pay", namespaces=THREE, quota={"tenant": {"requests.cpu": "40", "requests.memory": "160Gi", "pods": "200"}}
    )
    assert hards(look(owner, namespaces=False)) == {
        A: {"pods": "67", "requests.cpu": "13340m", "requests.memory": "54614Mi"},
        B: {"pods": "67", "requests.cpu": "13330m", "requests.memory": "54613Mi"},
        C: {"pods": "66", "requests.cpu": "13330m", "requests.memory": "54613Mi"},
    }


def test_one_namespace_gets_the_whole_total_whatever_runs_in_it() -> None:
    owner = tenant("pay", namespaces=[A], quota={"tenant": {"requests.memory": "1000000001"}})
    assert hards(look(owner)) == {A: {"requests.memory": "1000000001"}}
    assert hards(look(owner, namespaces=False)) == {A: {"requests.memory": "1000000001"}}


def test_existing_namespaces_start_from_nothing_until_counted() -> None:
    plan = look(TEN)
    assert hard_pods(plan) == [0, 0, 0]
    assert reason(plan) == ("Unknown", "Uncounted")
    assert plan.blocking
    assert plan.passing


def test_a_quota_of_nothing_without_a_status_is_uncounted() -> None:
    plan = look(TEN, *(pods(TEN, name, 0, None) for name in THREE))
    assert hard_pods(plan) == [0, 0, 0]
    assert reason(plan) == ("Unknown", "Uncounted")


def test_a_quota_without_a_status_uses_what_it_grants() -> None:
    plan = look(TEN, *(pods(TEN, name, 20, None) for name in THREE))
    assert hard_pods(plan) == [20, 20, 20]
    assert reason(plan) == ("Unknown", "Uncounted"), "it is not limited yet"
    assert plan.blocking, "since long"
    world = StaticWorld([TEN], [*mine(TEN), *(pods(TEN, name, 20, None) for name in THREE)])
    made = datetime.fromisoformat(CREATED)
    new = quota.plan(TEN, world, made + timedelta(seconds=59))
    assert (reason(new), new.blocking, new.wake_at) == (reason(plan), (), made + timedelta(seconds=60))


def test_counted_ones_share() -> None:
    plan = look(TEN, pods(TEN, A, 0, 6), pods(TEN, B, 0, 0), pods(TEN, C, 0, 0))
    assert hard_pods(plan) == [24, 18, 18]


def test_a_pod_more_or_less_writes_nothing() -> None:
    for used in range(1, 15):
        assert hard_pods(look(TEN, *(pods(TEN, n, 20, used) for n in THREE))) == [20, 20, 20]


def test_headroom_moves_in_two_steps() -> None:
    full = [pods(TEN, A, 20, 20), pods(TEN, B, 20, 2), pods(TEN, C, 20, 2)]
    assert hard_pods(look(TEN, *full)) == [20, 14, 14]
    shrunk = [full[0], pods(TEN, B, 14, 2, in_force=20), pods(TEN, C, 14, 2, in_force=20)]
    assert hard_pods(look(TEN, *shrunk)) == [20, 14, 14], "the shrinks are not in force"
    one = [full[0], pods(TEN, B, 14, 2), pods(TEN, C, 14, 2, in_force=20)]
    assert hard_pods(look(TEN, *one)) == [26, 14, 14], "only what is free"
    both = [full[0], pods(TEN, B, 14, 2), pods(TEN, C, 14, 2)]
    assert hard_pods(look(TEN, *both)) == [32, 14, 14]


def test_use_that_grew_before_the_shrink_took_effect_is_not_given_away() -> None:
    late = [pods(TEN, A, 20, 20), pods(TEN, B, 14, 19, in_force=14), pods(TEN, C, 20, 2)]
    assert sum(max(hard, used) for hard, used in zip(hard_pods(look(TEN, *late)), (20, 19, 2), strict=True)) <= 60
    assert hard_pods(look(TEN, *late))[0] == 21


def test_a_cap_bounds_the_share() -> None:
    owner = tenant("pay", namespaces=[{"name": A, "quota": {"pods": "4"}}, B, C], quota={"tenant": {"pods": "60"}})
    assert hard_pods(look(owner, namespaces=False)) == [4, 28, 28]


def test_total_below_use() -> None:
    owner = tenant("pay", namespaces=THREE, quota={"tenant": {"pods": "30"}})
    plan = look(owner, pods(owner, A, 20, 18), pods(owner, B, 20, 18), pods(owner, C, 20, 3))
    assert hard_pods(plan) == [14, 13, 3]
    assert reason(plan) == ("False", "OverCommitted")
    assert "pods 39 of 30" in plan.blocking[0]
    assert not plan.passing


def test_total_lowered_above_use_shrinks_and_says_so() -> None:
    owner = tenant("pay", namespaces=THREE, quota={"tenant": {"pods": "30"}})
    plan = look(owner, *(pods(owner, name, 20, 1) for name in THREE))
    assert hard_pods(plan) == [10, 10, 10]
    assert reason(plan) == ("False", "Shrinking")
    assert plan.passing
    settled = look(owner, *(pods(owner, name, 10, 1) for name in THREE))
    assert reason(settled) == ("True", "Held")


def test_status_sums_use() -> None:
    owner = tenant("pay", namespaces=[A, B], quota={"tenant": {"requests.cpu": "40000m", "requests.memory": "1024Mi"}})
    plan = look(
        owner,
        written(owner, A, {"requests.cpu": "20"}, used={"requests.cpu": "1500m", "requests.memory": "256Mi"}),
        written(owner, B, {"requests.cpu": "20"}, used={"requests.cpu": "500m", "requests.memory": "256Mi"}),
    )
    assert plan.samples == {
        "securetenant_quota_hard": {("requests.cpu",): 40.0, ("requests.memory",): 2.0**30},
        "securetenant_quota_used": {("requests.cpu",): 2.0, ("requests.memory",): 2.0**29},
    }


# --- what Kubernetes does not count, or not yet ------------------------------------------------------------------

WIDGETS = "count/widgets.example.com"


def test_a_total_that_is_never_counted_is_not_held() -> None:
    owner = tenant("pay", namespaces=[A], quota={"tenant": {"pods": "9", WIDGETS: "3"}})
    hard = {"pods": "9", WIDGETS: "3"}
    plan = look(owner, written(owner, A, hard, used={"pods": "1"}))
    assert hards(plan) == {A: hard}
    assert reason(plan) == ("False", "NotCounted")
    assert f"{WIDGETS} in {A}. Correct the name" in plan.blocking[0]
    assert reason(look(owner, written(owner, A, hard, used={"pods": "1", WIDGETS: "0"}))) == ("True", "Held")


def test_caps_that_are_never_counted_are_told() -> None:
    owner = tenant("pay", namespaces=[A, B], quota={"namespace": {"pods": "9", WIDGETS: "0"}})
    hard = {"pods": "9", WIDGETS: "0"}
    plan = look(owner, written(owner, A, hard, used={"pods": "1"}), written(owner, B, hard, used={**hard, "pods": "9"}))
    assert reason(plan) == ("False", "NotCounted")
    assert f"{WIDGETS} in {A}. " in plan.blocking[0]
    assert not look(owner, *(written(owner, name, hard, used=hard) for name in (A, B))).conditions


def test_over_and_never_counted_says_both() -> None:
    owner = tenant("pay", namespaces=[A], quota={"tenant": {"pods": "1", WIDGETS: "3"}})
    plan = look(owner, written(owner, A, {"pods": "1", WIDGETS: "3"}, used={"pods": "2"}))
    assert reason(plan) == ("False", "OverCommitted")
    assert "pods 2 of 1" in plan.blocking[0]
    assert WIDGETS in plan.blocking[0]


def test_caps_are_given_a_minute_to_be_counted() -> None:
    owner = tenant("pay", namespaces=[A], quota={"namespace": {"pods": "9"}})
    new = written(owner, A, {"pods": "9"})
    made = datetime.fromisoformat(new.created)
    world = StaticWorld([owner], [*mine(owner), new])
    plan = quota.plan(owner, world, made + timedelta(seconds=59))
    assert (plan.conditions, plan.wake_at) == ((), made + timedelta(seconds=60))
    late = quota.plan(owner, world, made + timedelta(seconds=60))
    assert (reason(late), late.wake_at) == (("Unknown", "Uncounted"), None)
    assert A in late.blocking[0]


def test_caps_that_are_not_in_force_are_told() -> None:
    owner = tenant("pay", namespaces=[A], quota={"namespace": {"pods": "9", "secrets": "9"}})
    hard, used = {"pods": "9", "secrets": "9"}, {"pods": "1", "secrets": "1"}
    for in_force in ({"pods": "100", "secrets": "9"}, {"secrets": "9"}):
        plan = look(owner, written(owner, A, hard, used=used, hard=in_force))
        assert reason(plan) == ("False", "Shrinking")
        assert f"pods in {A}" in plan.blocking[0]
    edited = tenant("pay", namespaces=[A], quota={"namespace": {"pods": "5"}})
    assert not look(edited, written(edited, A, hard, used=used)).conditions, "our own next write is no reason"


def test_over_the_total_with_room_says_so() -> None:
    """What is in force, and not what is written, says whether more is admitted."""
    owner = tenant("pay", namespaces=[A], quota={"tenant": {"pods": "2"}})
    full = look(owner, pods(owner, A, 2, 6))
    assert "pods 6 of 2. Nothing is evicted; nothing more is admitted." in full.blocking[0]
    forged = look(owner, pods(owner, A, 2, 6, in_force=100))
    assert "nothing more" not in forged.blocking[0]
    assert "as much more may be admitted: pods 94" in forged.blocking[0]


def test_caps_are_looked_at_again_when_they_do_not_limit_any_more() -> None:
    new, fine, more = pods(TEN, A, 20, None), pods(TEN, A, 20, 3), pods(TEN, A, 20, 4)
    raised, partly = (
        pods(TEN, A, 20, 3, in_force=21),
        written(TEN, A, {"pods": "1", "secrets": "1"}, used={"pods": "1"}),
    )
    assert not quota.concerns_caps(new, fine)
    assert not quota.concerns_caps(fine, more)
    for odd in (raised, partly):
        assert quota.concerns_caps(fine, odd)
        assert quota.concerns_caps(odd, fine)
    assert quota.concerns_caps(fine, new), "a status that was taken away"


# --- namespaces on their way out -------------------------------------------------------------------------------

TWO = tenant("pay", namespaces=[A, B], quota={"tenant": {"pods": "60"}})


def test_a_terminating_namespace_still_counts() -> None:
    gone = namespace(C, annotations=mine(TEN, C)[0].annotations, deleting=True)
    world = StaticWorld([TEN], [*mine(TEN, A, B), gone, pods(TEN, A, 20, 20), pods(TEN, B, 20, 0), pods(TEN, C, 20, 9)])
    plan = quota.plan(TEN, world, NOW)
    assert [d.ref.namespace for d in plan.desired] == [A, B]
    assert hard_pods(plan) == [20, 10]
    assert plan.samples[quota.USED.name] == {("pods",): 29}
    world.drop(Ref(RESOURCE_QUOTA, C, "securetenant"))
    assert hard_pods(quota.plan(TEN, world, NOW)) == [40, 20]


def test_a_namespace_dropped_from_the_spec_still_counts() -> None:
    owner = TWO.model_copy(update={"status": TWO.status.model_validate({"namespaces": [{"name": C, "uid": "uid-c"}]})})
    quotas = [pods(owner, A, 20, 0), pods(owner, B, 20, 0), pods(owner, C, 20, 5)]
    plan = look(owner, namespace(C, uid="uid-c"), *quotas)
    assert hard_pods(plan) == [20, 20]
    assert plan.samples[quota.USED.name] == {("pods",): 5}


def test_a_recorded_namespace_counts_even_if_its_quota_lost_its_marks() -> None:
    owner = tenant(
        "pay", namespaces=[A, B], quota={"tenant": {"pods": "60"}}, status={"namespaces": [{"name": C, "uid": "uid-c"}]}
    )
    stripped = observed("ResourceQuota", "securetenant", C, spec={"hard": {"pods": "30"}})
    plan = look(owner, namespace(C, uid="uid-c"), pods(owner, A, 20, 0), pods(owner, B, 20, 0), stripped)
    assert sum(hard_pods(plan)) <= 30


def test_a_copied_quota_in_a_namespace_of_others_does_not_eat_the_total() -> None:
    """With its record, and in a namespace of a name that the tenant once held."""
    gone = {"namespaces": [{"name": C, "uid": "uid-c"}]}
    owner = TWO.model_copy(update={"status": TWO.status.model_validate(gone)})
    quotas = [pods(owner, A, 30, 0), pods(owner, B, 30, 0), pods(owner, C, 60, 60)]
    assert hard_pods(look(owner, namespace(C, uid="another"), *quotas)) == [30, 30]


def test_a_forged_mark_elsewhere_does_not_eat_the_total() -> None:
    marks = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TENANT: "pay"}
    forged = observed("ResourceQuota", "securetenant", "other", labels=marks, spec={"hard": {"pods": "60"}})
    assert hard_pods(look(TWO, namespace("other"), forged, pods(TWO, A, 30, 0), pods(TWO, B, 30, 0))) == [30, 30]


# --- cost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "microseconds"),
    [
        pytest.param(tenant("pay", namespaces=[A], quota={"namespace": {"pods": "10"}}), 50, id="one namespace"),
        pytest.param(TEN, 200, id="three with a total"),
    ],
)
def test_a_plan_is_cheap(owner: SecureTenant, microseconds: int) -> None:
    """Ten times what it takes on a quiet machine: this catches a change of order, not of taste."""
    uids = [{"name": entry.name, "uid": f"uid-Namespace/{entry.name}"} for entry in owner.spec.namespaces]
    owner = owner.model_copy(update={"status": owner.status.model_validate({"namespaces": uids})})
    world = StaticWorld([owner], [*mine(owner), *(pods(owner, entry.name, 20, 5) for entry in owner.spec.namespaces)])
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        quota.plan(owner, world, NOW)
        best = min(best, time.perf_counter() - start)
    print(f"{best * 1e6:.0f} µs")
    assert best * 1e6 < microseconds * 10
