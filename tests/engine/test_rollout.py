"""Why something was rolled out, and what the controls have to tell of it."""

from dataclasses import replace
from typing import Any

import pytest

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control, Plan
from securetenant.controls.lookup import KINDS
from securetenant.controls.notice import Rollout, Written
from securetenant.drift.judge import Action, Finding
from securetenant.engine import rollout
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import NOW, namespace, observed, tenant

SEEN = {"observedGeneration": 1, "mode": "Enforce", "namespaces": [{"name": "pay", "uid": "uid-Namespace/pay"}]}


def pay(status: dict[str, Any]) -> SecureTenant:
    return tenant("pay", namespaces=["pay"], status=status)


def one(kind: str, name: str, control: str, action: Action, have: Observed | None = None) -> Finding:
    place = "" if kind in ("Namespace", "Node") else "pay"
    return Finding(Ref(KINDS[kind], place, name), control, "Changed", action, rollout=True, observed=have)


POLICY = one("NetworkPolicy", "securetenant-dns", "network", "Replace")


@pytest.mark.parametrize(
    ("status", "generation", "findings", "first", "said"),
    [
        ({}, 1, [POLICY], True, "created, generation 1"),
        (SEEN, 2, [POLICY], True, "generation 2"),
        (SEEN, 1, [one("Namespace", "pay", "namespaces", "Create"), POLICY], False, "namespace pay recreated"),
        (
            {**SEEN, "conditions": [{"type": "Reconciling", "status": "True", "reason": "Retrying"}]},
            1,
            [POLICY],
            False,
            "what could not be written before",
        ),
        (SEEN, 1, [POLICY], True, "start of this instance: another version of it, or a change while none ran"),
        (SEEN, 1, [one("ResourceQuota", "securetenant", "quota", "Replace")], False, "quota usage"),
        (SEEN, 1, [one("Node", "n1", "nodes", "Patch")], False, "nodes changed"),
        (SEEN, 1, [POLICY], False, "a peer's declaration, or the cluster, changed"),
    ],
)
def test_why(status: dict[str, Any], generation: int, findings: list[Finding], first: bool, said: str) -> None:
    of = pay(status)
    of = of.model_copy(update={"metadata": of.metadata.model_copy(update={"generation": generation})})
    assert rollout.why(of, findings, {}, first=first) == said


@pytest.mark.parametrize("first", [True, False])
def test_why_a_control_can_tell(first: bool) -> None:
    told = {"network": Rollout(cause="expiry of ingress office"), "access": Rollout()}
    retried = {**SEEN, "conditions": [{"type": "Reconciling", "status": "True", "reason": "Retrying"}]}
    assert rollout.why(pay(retried), [POLICY], told, first=first) == "expiry of ingress office"
    assert rollout.why(pay({}), [POLICY], told, first=first) == "created, generation 1"


def test_each_control_is_asked_of_its_own_objects() -> None:
    asked: dict[str, list[Written]] = {}

    def control(name: str) -> Control:
        def note(of: SecureTenant, written: Any, computed: SecureTenantStatus, now: Any) -> Rollout:
            asked[name] = written
            return Rollout(cause=name)

        return Control(name, lambda tenant, world, now: Plan(), (), rollout=note)

    have = observed("NetworkPolicy", "theirs", "pay")
    want = Desired(have.ref, "network")
    findings = [
        Finding(have.ref, "network", "Changed", "Replace", rollout=True, desired=want, observed=have),
        Finding(have.ref, "network", "Stale", "Delete", rollout=True, observed=have),
        Finding(have.ref, "network", "Stale", "Release", rollout=True, observed=have),
        one("Node", "n1", "nodes", "Patch"),
    ]
    controls = [control(name) for name in ("network", "nodes", "quota")]
    told = rollout.reports(controls, pay(SEEN), findings, SecureTenantStatus(), NOW)
    assert {name: each.cause for name, each in told.items()} == {"network": "network", "nodes": "nodes"}
    assert asked["network"] == [
        Written(have.ref, have, want),
        Written(have.ref, have, None),
        Written(have.ref, have, have),
    ], "what was given up stands as it stood"


def test_adopted_is_what_existed_was_told_and_was_not_known() -> None:
    given = [{"name": name, "adopt": name != "own"} for name in ("new", "known", "own")]
    of = tenant("pay", namespaces=given, status={"namespaces": [{"name": "known", "uid": "uid-Namespace/known"}]})
    found = [one("Namespace", name, "namespaces", "Patch", namespace(name)) for name in ("new", "known", "own")]
    assert [f.ref.name for f in rollout.adopted(of, found)] == ["new"]
    again = [replace(found[1], observed=namespace("known", uid="another"))]
    assert [f.ref.name for f in rollout.adopted(of, again)] == ["known"], "made anew by others, and taken over again"


def test_counts_and_names_of_what_was_done() -> None:
    found = [POLICY, one("RoleBinding", "b", "access", "Recreate"), one("Node", "n", "nodes", "Release")]
    assert rollout.counts(found) == {"replaced": 2, "released": 1}
    assert rollout.by_control(found) == {"network": 1, "access": 1, "nodes": 1}
    inside = one("RoleBinding", "b", "access", "Release")
    assert [f.ref.name for f in rollout.released([*found, inside])] == ["n"], "its contents go with a namespace"
