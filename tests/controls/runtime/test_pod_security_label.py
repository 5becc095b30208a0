"""The Pod Security label of a namespace: the strictest level that admits what the spec allows there, while it does."""

from datetime import timedelta
from typing import Any

import pytest

from securetenant.controls.registry import CONTROLS
from securetenant.controls.runtime import control
from securetenant.drift import writes
from securetenant.drift.assess import assess
from securetenant.engine import deletion, rollout
from securetenant.model import names
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, tenant

ENFORCE = "pod-security.kubernetes.io/enforce"
END = (NOW + timedelta(hours=1)).isoformat()


def exempted(*checks: str, of: str = "runtime") -> list[dict[str, Any]]:
    return [{"control": of, "check": check, "namespace": "a", "reason": "r", "expires": END} for check in checks]


@pytest.mark.parametrize(
    ("spec", "level"),
    [
        ({}, "restricted"),
        ({"admission": "Warn"}, "privileged"),
        ({"runtime": {"podSecurity": "Baseline"}}, "baseline"),
        ({"runtime": {"podSecurity": "Privileged"}}, "privileged"),
        ({"runtime": {"hostPaths": [{"path": "/var/log"}]}}, "privileged"),
        ({"runtime": {"hostPorts": [80]}}, "privileged"),
        ({"runtime": {"addCapabilities": ["NET_BIND_SERVICE"]}}, "restricted"),
        ({"runtime": {"addCapabilities": ["CHOWN"]}}, "baseline"),
        ({"runtime": {"addCapabilities": ["NET_ADMIN"]}}, "privileged"),
        ({"exemptions": exempted("readOnlyRootFilesystem", "runtimeClasses", "serviceAccountTokens")}, "restricted"),
        ({"exemptions": exempted("digest", of="images")}, "restricted"),
        # What breaks only the level Restricted, Baseline admits.
        ({"exemptions": exempted("runAsNonRoot", "runAsUser", "privilegeEscalation")}, "baseline"),
        ({"exemptions": exempted("runAsNonRoot"), "runtime": {"podSecurity": "Baseline"}}, "baseline"),
        ({"exemptions": exempted("seccomp")}, "privileged"),
        ({"exemptions": exempted("hostPorts")}, "privileged"),
        ({"exemptions": exempted("addCapabilities")}, "privileged"),
        ({"exemptions": exempted("runAsNonRoot", "privileged")}, "privileged"),
    ],
    ids=str,
)
def test_the_level_is_the_strictest_that_admits_what_is_allowed(spec: dict[str, Any], level: str) -> None:
    of = tenant("pay", namespaces=["a", "b"], **spec)
    assert control.labels(of, "a", NOW)[ENFORCE] == level
    elsewhere = tenant("pay", namespaces=["a", "b"], **{**spec, "exemptions": []})
    assert control.labels(of, "b", NOW) == control.labels(elsewhere, "b", NOW)
    assert control.labels(of, "a", NOW + timedelta(hours=1)) == control.labels(elsewhere, "a", NOW)


def test_validate_says_which_exemption_lowers_it() -> None:
    of = tenant("pay", namespaces=["a"], exemptions=exempted("runtimeClasses", "runAsUser", "privileged"))
    found = list(control.review(of, StaticWorld([of]), NOW))
    assert [problem.path for problem in found] == ["spec.exemptions[1].check", "spec.exemptions[2].check"]
    assert "enforces baseline instead of restricted in a" in found[0].message
    assert "enforces privileged instead of restricted in a" in found[1].message
    assert list(control.review(of, StaticWorld([of]), NOW + timedelta(hours=1))) == []
    warned = tenant("pay", namespaces=["a"], admission="Warn", exemptions=exempted("privileged"))
    assert list(control.review(warned, StaticWorld([warned]), NOW)) == []


def test_a_release_leaves_the_level_of_the_spec_and_takes_what_the_policies_read() -> None:
    of = tenant("pay", namespaces=[{"name": "a", "labels": {"env": "prod"}}], exemptions=exempted("privileged"))
    world = StaticWorld([of], mine(of))
    (want,) = assess(of, world, NOW).desired[:1]
    value = {names.ANNOTATION_CREATION: "value-of-a"}
    world = StaticWorld([of], [observe(want, of, annotations=value)])
    (finding,) = (one for one in deletion.releases(of, world) if one.ref.name == "a")
    (request,) = writes.of(finding, of.name, of.metadata.uid)
    body: Any = request.body
    metadata = body["metadata"]
    assert metadata["labels"] == {
        names.LABEL_MANAGED_BY: None,
        names.LABEL_TENANT: None,
        names.LABEL_CONTROL: None,
        "securetenant.dev/admission": None,
        ENFORCE: "restricted",
    }
    assert set(metadata["annotations"].values()) == {None}
    assert {"securetenant.dev/exemptions", "securetenant.dev/runtime"} <= metadata["annotations"].keys()
    reasons = [n.reason for told in rollout.reports(CONTROLS, of, [finding], of.status, NOW).values() for n in told[0]]
    assert reasons == ["ExemptionEnded"]


@pytest.mark.parametrize(
    ("spec", "labels", "left"),
    [
        ({"admission": "Warn"}, {ENFORCE: "privileged"}, {}),
        ({}, {}, {}),
        ({"runtime": {"podSecurity": "Baseline"}}, {ENFORCE: "privileged"}, {ENFORCE: "baseline"}),
    ],
)
def test_a_label_that_was_not_lowered_is_left_alone(
    spec: dict[str, Any], labels: dict[str, str], left: dict[str, str]
) -> None:
    assert control.leaves(tenant("pay", namespaces=["a"], **spec), namespace("a", labels=labels)) == left
