"""The condition AdmissionReady, and what of it keeps a tenant from being Ready."""

from dataclasses import replace
from typing import Any, Final

import pytest
from msgspec import structs

from securetenant.checks import accounts
from securetenant.controls.admission import probes
from securetenant.controls.control import Plan
from securetenant.controls.lookup import NAMED
from securetenant.drift.assess import assess
from securetenant.model import names
from securetenant.model.kinds import MUTATING_BINDING, MUTATING_POLICY, NAMESPACE, VALIDATING_BINDING, VALIDATING_POLICY
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.model.probe import Answer, Probed
from tests.support.in_force import BASE, COMPARISON, INJECTION, NAME, SHIPS, USER, answers, probed
from tests.support.world import NOW, StaticWorld, observe, observed, tenant, value

PAY: Final = tenant("pay", namespaces=["pay"])
_NAMED: Final = {one.ref.name: one for one in BASE}
DENY: Final = _NAMED["pods-deny.securetenant.dev"]
LOCK: Final = _NAMED["namespaces.securetenant.dev"]


def written(of: Any = PAY) -> list[Observed]:
    """The tenant's namespaces as the operator writes them."""
    wanted = assess(of, StaticWorld([of]), NOW).desired
    created = {want.ref: {names.ANNOTATION_CREATION: value(want.ref.name)} for want in wanted}
    return [observe(want, of, annotations=created[want.ref]) for want in wanted if want.ref.kind is NAMESPACE]


def plan(given: Probed | None, *objects: Observed, of: Any = PAY, drop: Any = (), **world: Any) -> Plan:
    here = StaticWorld([of], [*written(of), *objects], **world)
    for one in drop:
        here.drop(one.ref)
    if given is not None:
        here.probes[NAME] = given
    return NAMED["admission"].plan(of, here, NOW)


def says(made: Plan, status: str, reason: str, *, passing: bool = False) -> str:
    (condition,) = made.conditions
    assert (condition.type, condition.status, condition.reason) == ("AdmissionReady", status, reason)
    assert made.blocking == ([condition.message] if status != "True" else [])
    assert made.passing is passing
    return condition.message


def test_all_stands_and_acts() -> None:
    assert says(plan(probed(answers(SHIPS))), "True", "Enforced") == ""


def test_with_warn_it_says_that_nothing_is_refused() -> None:
    warned = tenant("pay", namespaces=["pay"], admission="Warn")
    assert "refuses nothing" in says(plan(probed(answers(SHIPS)), of=warned), "True", "Warned")


def test_in_audit_and_without_a_cluster_nothing_is_said() -> None:
    audit = tenant("pay", namespaces=["pay"], mode="Audit")
    for made in (
        plan(probed(()), of=audit),
        plan(None, platform=Platform(offline=True), drop=BASE),
        plan(None),  # `securetenant plan` tries nothing, and so claims nothing
    ):
        assert (made.conditions, made.blocking) == ((), ())


def test_a_plan_without_a_probe_still_looks() -> None:
    assert "pods-deny" in says(plan(None, drop=[DENY]), "False", "PolicyMissing")


@pytest.mark.parametrize("one", [one for one in SHIPS if not one.is_policy], ids=lambda one: one.ref.name)
def test_a_binding_that_does_not_act_is_not_in_force(one: Any) -> None:
    others = [each for each in SHIPS if each is not one]
    message = says(plan(probed(answers(others))), "False", "NotInForce", passing=True)
    assert one.ref.name in message
    assert "operator's probe" in message
    assert "kubectl apply -k manifests" in message


@pytest.mark.parametrize("one", [one for one in SHIPS if not one.is_policy], ids=lambda one: one.ref.name)
def test_an_older_version_is_not_in_force(one: Any) -> None:
    made = plan(probed(answers(SHIPS, lambda each: "0" * 12 if each is one else each.version)))
    message = says(made, "False", "NotInForce", passing=True)
    assert one.ref.name in message
    assert f"not {one.version}" in message


def test_one_that_only_warns_does_not_deny() -> None:
    given = [replace_message(answer) for answer in answers(SHIPS)]
    assert "did not refuse" in says(plan(probed(given)), "False", "NotInForce", passing=True)


def replace_message(answer: Answer) -> Answer:
    """As with the binding's action changed to Warn in the API server alone."""
    if f"'{DENY.ref.name}'" not in answer.message:
        return answer
    warning = f"Validation failed for {answer.message.partition(': ')[2].replace(' denied request', '')}"
    return answer._replace(message="exceeded quota: nothing", warnings=(warning, *answer.warnings))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(403, 'pods is forbidden: User "x" cannot create resource "pods"', id="no-right"),
        pytest.param(404, 'namespaces "securetenant-probe-deny" not found', id="no-namespace"),
        pytest.param(0, "no answer in time", id="no-answer"),
        pytest.param(403, 'violates PodSecurity "restricted:latest": x', id="refused-before"),
        pytest.param(500, "failed calling webhook", id="webhook"),
    ],
)
def test_a_probe_that_fails_is_unknown(status: int, message: str) -> None:
    given = [
        answer._replace(status=status, message=message, warnings=()) if answer.trial.startswith("Pod/") else answer
        for answer in answers(SHIPS)
    ]
    assert message in says(plan(probed(given)), "Unknown", "NotProbed")


def test_before_the_first_answer_and_after_a_change() -> None:
    says(plan(Probed()), "Unknown", "NotProbed", passing=True)
    says(plan(probed(answers(SHIPS), changed=True)), "False", "NotInForce", passing=True)
    says(plan(probed(answers(SHIPS), user="")), "Unknown", "NotProbed")


def test_missing_comes_before_what_the_probe_says() -> None:
    assert DENY.ref.name in says(plan(probed(()), drop=[DENY]), "False", "PolicyMissing")
    changed = replace(DENY, spec={**DENY.spec, "validationActions": ["Warn"]}).observed()
    message = says(plan(probed(answers(SHIPS)), changed), "False", "PolicyChanged")
    assert "spec.validationActions" in message


def test_another_account_is_named() -> None:
    other = "system:serviceaccount:ops:other"
    message = says(plan(probed(answers(SHIPS), user=other)), "False", "WrongAccount")
    assert other in message
    assert USER in message
    assert LOCK.ref.name in message
    assert accounts.DEFAULT.operators == (USER,)


def test_type_warnings_are_told() -> None:
    warning = {"fieldRef": "spec.validations[0]", "warning": "undefined field 'x'"}
    status = {"typeChecking": {"expressionWarnings": [warning]}}
    stands = observed(
        LOCK.ref.kind, LOCK.ref.name, annotations=LOCK.metadata["annotations"], spec=LOCK.spec, status=status
    )
    assert "undefined field 'x'" in says(plan(probed(answers(SHIPS)), stands), "False", "NotInForce")


def test_parameters_that_are_not_read_back() -> None:
    (space,) = written()
    for key in ("securetenant.dev/runtime", "securetenant.dev/images", "securetenant.dev/exemptions"):
        others = {name: value for name, value in space.annotations.items() if name != key}
        assert len(others) == len(space.annotations) - 1
        made = plan(probed(answers(SHIPS)), structs.replace(space, annotations=others))
        assert "pay" in says(made, "False", "ParametersPending", passing=True)


def test_a_host_that_an_older_tenant_holds_is_not_waited_for() -> None:
    exposure = {"ingress": {"hosts": ["a.example"]}}
    old = tenant("old", namespaces=["old"], exposure=exposure, created="2020-01-01T00:00:00Z")
    new = tenant("new", namespaces=["new"], exposure=exposure, created="2021-01-01T00:00:00Z")
    wanted = assess(new, StaticWorld([new, old]), NOW).desired
    made = {names.ANNOTATION_CREATION: value("new")}
    here = StaticWorld(
        [new, old], [observe(want, new, annotations=made) for want in wanted if want.ref.kind is NAMESPACE]
    )
    here.probes[NAME] = probed(answers(SHIPS))
    assert says(NAMED["admission"].plan(new, here, NOW), "True", "Enforced") == ""


def test_a_namespace_that_is_still_to_be_made_is_made_with_them() -> None:
    here = StaticWorld([PAY])
    here.probes[NAME] = probed(answers(SHIPS))
    says(NAMED["admission"].plan(PAY, here, NOW), "True", "Enforced")


def test_an_api_server_that_is_too_old() -> None:
    kinds = (VALIDATING_POLICY, VALIDATING_BINDING, MUTATING_POLICY, MUTATING_BINDING)
    made = plan(Probed((), USER), drop=SHIPS, absent=kinds)
    assert "from Kubernetes 1.30 on" in says(made, "False", "NotServed")
    made = plan(probed(), drop=INJECTION, absent=(MUTATING_POLICY, MUTATING_BINDING))
    assert "from Kubernetes 1.36 on" in says(made, "True", "Enforced")
    assert "is not applied" in says(plan(probed(), drop=INJECTION), "True", "Enforced")


def test_when_the_probe_is_over() -> None:
    def is_settled(given: Probed | None, *, drop: Any = (), **more: Any) -> bool:
        here = StaticWorld(**more)
        for one in drop:
            here.drop(one.ref)
        if given is not None:
            here.probes[NAME] = given
        return probes.settled(here, NAME, SHIPS, COMPARISON)

    assert is_settled(probed(answers(SHIPS)))
    assert not is_settled(probed(answers(SHIPS), user=""))
    assert not is_settled(Probed())
    others = [one for one in SHIPS if one is not DENY]
    assert not is_settled(probed(answers(others)))
    assert is_settled(probed(answers(others)), drop=[DENY])  # known to be missing: trying shows nothing more
    failed = [answers(SHIPS)[0]._replace(status=403, message="no"), *answers(SHIPS)[1:]]
    assert not is_settled(probed(failed))
    assert is_settled(Probed(), absent=(VALIDATING_POLICY, VALIDATING_BINDING))


def test_every_binding_shows_in_a_trial() -> None:
    """Each is bound to something that is tried, and no trial has two that refuse: only one would show."""
    trials = probes.trials(StaticWorld(), SHIPS)
    for one in SHIPS:
        assert any(probes.is_of(trial, one) for trial in trials), one.ref
    for answer in answers(SHIPS):
        acting = [
            one
            for one in SHIPS
            if "Deny" in one.actions
            if answer.trial in {trial.name for trial in trials if probes.is_of(trial, one)}
        ]
        assert len({one.policy for one in acting}) <= 1


def test_what_is_tried_is_refused_by_no_right_of_its_own() -> None:
    trials = {trial.name: trial for trial in probes.trials(StaticWorld(), SHIPS)}
    assert sorted(trials) == [
        "Binding/securetenant-probe-deny",
        "Binding/securetenant-probe-warn",
        "ConfigMap/securetenant-probe-deny/kube-root-ca.crt",
        "ConfigMap/securetenant-probe-deny/securetenant-probe-subnets",
        "ConfigMap/securetenant-probe-warn/kube-root-ca.crt",
        "ConfigMap/securetenant-probe-warn/securetenant-probe-subnets",
        "Deployment/securetenant-probe-deny",
        "Deployment/securetenant-probe-warn",
        "EndpointSlice/securetenant-probe-deny",
        "EndpointSlice/securetenant-probe-warn",
        "Event/default",
        "Ingress/securetenant-probe-deny",
        "Ingress/securetenant-probe-warn",
        "Namespace/securetenant-probe",
        "NetworkPolicy/securetenant-probe-deny",
        "NetworkPolicy/securetenant-probe-warn",
        "PersistentVolumeClaim/securetenant-probe-deny",
        "PersistentVolumeClaim/securetenant-probe-warn",
        "Pod/securetenant-probe-deny",
        "Pod/securetenant-probe-warn",
        "PodDisruptionBudget/securetenant-probe-deny",
        "PodDisruptionBudget/securetenant-probe-warn",
        "ResourceQuota/securetenant-probe-deny",
        "ResourceQuota/securetenant-probe-warn",
        "Service/securetenant-probe-deny",
        "Service/securetenant-probe-warn",
    ]
    assert Ref(VALIDATING_POLICY, "", "pods.securetenant.dev") in {one.ref for one in SHIPS}
