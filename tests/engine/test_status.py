"""What the status claims, and what it leaves open."""

import dataclasses
from typing import Any

import pytest

from securetenant.api.refused import Refusal
from securetenant.api.status import Condition, SecureTenantStatus, WhitelistStatus
from securetenant.controls.control import Plan
from securetenant.drift.judge import Finding
from securetenant.engine import known, status
from securetenant.engine.status import Pass
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from tests.support.world import NOW, tenant

AGREED = Condition(type="WhitelistAgreed", status="True", reason="Agreed")
PLANS = {
    "network": Plan(conditions=[AGREED], status={"whitelist": WhitelistStatus(declared=1, agreed=1)}),
    "access": Plan(),
    "nodes": Plan(status={"nodes": ["n1"]}),
}


def drifted(number: int = 1) -> list[Finding]:
    refs = [Ref(NETWORK_POLICY, "pay-a", f"p{n}") for n in range(number)]
    return [Finding(ref, "network", "Foreign", "Keep", rollout=False) for ref in refs]


def judged(**more: Any) -> Pass:
    return dataclasses.replace(Pass(tenant("pay", namespaces=["pay-a"]), PLANS, {"pay-a": ""}), **more)


def computed(result: Pass) -> SecureTenantStatus:
    return status.compute(result, NOW)


def condition(result: Pass, kind: str) -> Condition:
    (found,) = (c for c in computed(result).conditions if c.type == kind)
    return found


def test_a_judged_zero_is_written() -> None:
    dumped = status.dump(computed(judged()))
    assert dumped["drift"] == {"total": 0}
    assert dumped["namespaces"] == [{"name": "pay-a", "drift": 0}]


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(judged(plans={}), id="paused"),
        pytest.param(judged(plans={}, unknown="a defect"), id="defect"),
        pytest.param(judged(unknown="caches are stale"), id="stale"),
        pytest.param(judged(refusal=Refusal("spec.x: no", 0)), id="refused"),
    ],
)
def test_no_number_stands_for_what_was_not_judged(result: Pass) -> None:
    dumped = status.dump(computed(result))
    assert "drift" not in dumped
    assert dumped["namespaces"] == [{"name": "pay-a"}]
    assert condition(result, "Drifted").status == "Unknown"


@pytest.mark.parametrize("more", [{"unknown": "caches are stale"}, {"refusal": Refusal("spec.x: no", 0)}])
def test_a_deviation_that_is_known_is_told_whatever_else_is_not(more: dict[str, Any]) -> None:
    result = judged(outstanding=drifted(), **more)
    assert (computed(result).drift.total, condition(result, "Drifted").status) == (1, "True")


def test_what_is_not_listed_is_kept_as_digests() -> None:
    found = computed(judged(outstanding=drifted(25))).drift
    assert (found.total, len(found.items)) == (25, 20)
    before = known.of_status(found)
    assert all(item.key in before for item in drifted(25))
    assert drifted(26)[-1].key not in before


def test_a_pass_that_judges_nothing_forgets_nothing() -> None:
    first = computed(judged(outstanding=drifted(25)))
    paused = judged(plans={}, tenant=tenant("pay", status=status.dump(first)))
    found = computed(paused).drift
    assert (found.total, found.items) == (None, [])
    assert all(item.key in known.of_status(found) for item in drifted(25))


def test_a_control_that_could_not_write_claims_nothing() -> None:
    failed = ["Create NetworkPolicy/pay-a/x: Invalid: held back"] * 5
    found = condition(judged(unwritten={"network": failed}), "WhitelistAgreed")
    assert (found.status, found.reason) == ("False", "WriteFailed")
    assert "held back" in found.message
    assert "and 2 more" in found.message
    assert condition(judged(unwritten={"access": failed}), "WhitelistAgreed").status == "True"


def test_what_a_control_says_against_itself_stands() -> None:
    pending = AGREED.model_copy(update={"status": "False", "reason": "Pending"})
    plans = {"network": Plan(conditions=[pending])}
    assert condition(judged(plans=plans, unwritten={"network": ["x"]}), "WhitelistAgreed").reason == "Pending"


@pytest.mark.parametrize(
    ("mode", "kept", "says"),
    [
        ("Enforce", 7, "what generation 7 asked for is kept in force"),
        ("Enforce", 0, "only the default-deny policies are kept; what else stands is left as it is"),
        ("Audit", 7, "what generation 7 asked for is what is judged by; mode is Audit: nothing is written"),
        ("Audit", 0, "mode is Audit: nothing is written; what else stands is left"),
        ("Paused", 7, "nothing is judged and nothing is corrected"),
        ("Paused", 0, "nothing is judged and nothing is corrected"),
    ],
)
def test_a_refusal_says_what_holds(mode: str, kept: int, says: str) -> None:
    result = judged(tenant=tenant("pay", mode=mode), refusal=Refusal("spec.x: no", kept), errors=["a write failed"])
    for kind in ("Ready", "Stalled"):
        found = condition(result, kind)
        assert found.reason == "InvalidSpec"
        for part in ("spec.x: no", says, "a write failed"):
            assert part in found.message
    assert computed(result).observed_generation == 1


def test_a_tenant_that_is_going_claims_nothing() -> None:
    first = computed(judged(outstanding=drifted(25)))
    going = tenant("pay", deleting=True, status=status.dump(first))
    told = Condition(type="Ready", status="False", reason="Deleting", message="waiting")
    found = status.unjudged(going, [told], NOW)
    assert [c.type for c in found.conditions] == ["Ready"]
    said = {"observedGeneration", "mode", "conditions", "namespaces", "namespaceCount"}
    assert status.dump(found).keys() == said | {"whitelist", "nodes"}
    assert status.dump(status.released(going, told, NOW)).keys() == said, "of what is given back it says nothing"


def test_the_controls_parts_are_those_of_the_plans() -> None:
    dumped = status.dump(computed(judged()))
    assert (dumped["whitelist"], dumped["nodes"]) == ({"declared": 1, "agreed": 1}, ["n1"])
    gone = judged(plans={"nodes": Plan()}, tenant=tenant("pay", status=dumped))
    assert status.dump(computed(gone)).keys() & {"whitelist", "nodes"} == set()


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"plans": {}}, id="paused"),
        pytest.param({"plans": {"network": Plan(status={})}, "refusal": Refusal("spec.x: no", 0)}, id="refused"),
    ],
)
def test_where_nothing_is_planned_by_the_spec_the_controls_parts_stay(more: dict[str, Any]) -> None:
    before = status.dump(computed(judged())) | {"lab": {"rooms": 3}}
    dumped = status.dump(computed(judged(tenant=tenant("pay", namespaces=["pay-a", "pay-b"], status=before), **more)))
    for part in ("whitelist", "nodes", "lab"):
        assert dumped[part] == before[part]
    assert (before["namespaceCount"], dumped["namespaceCount"]) == (1, 2), "counted, and not read"


@pytest.mark.parametrize(("passing", "type_"), [(True, "Reconciling"), (False, "Stalled")])
def test_what_blocks_and_ends_by_itself_is_no_failure(passing: bool, type_: str) -> None:
    result = judged(plans={**PLANS, "quota": Plan(blocking=["full"], passing=passing)})
    found = {c.type: (c.status, c.message) for c in computed(result).conditions}
    assert found.keys() & {"Reconciling", "Stalled"} == {type_}
    assert found[type_] == ("True", "full")
    quiet = judged(plans={**PLANS, "quota": Plan(passing=passing)})
    assert {c.type for c in computed(quiet).conditions} & {"Reconciling", "Stalled"} == set()
