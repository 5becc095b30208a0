"""Outcomes, rows, counts, the condition: nothing that was not judged counts as kept."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest
import yaml

from securetenant.api.status import NamespacePosture, PostureStatus, SecureTenantStatus
from securetenant.checks.evaluator import Failure
from securetenant.checks.variables import EXEMPTIONS
from securetenant.posture import report, rules
from securetenant.posture.judging import Verdict
from securetenant.posture.rules import INSPECTED, Rules, checks_of, kinds
from securetenant.posture.tally import LISTED, Tally, listed
from tests.support.markdown import ROOT

NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)
EVERY: Final = {name: found for target in INSPECTED for name, found in checks_of(target).items()}
HERE: Final = Rules("a", "uid-a", {"securetenant.dev/runtime": "v1"})


def failure(name: str, **more: Any) -> Failure:
    checks, check = EVERY[name]
    return Failure(checks.control, check, **{"places": ("container c",), **more})


def tally(*failures: Failure, unjudged: str = "", namespace: str = "a") -> Tally:
    made = Tally(namespace)
    made.add("Pod", Verdict("good", []))
    for number, one in enumerate(failures):
        made.add("Pod", Verdict(f"p{number}", [one]))
    if unjudged:
        made.unjudged[unjudged] = "no right to list pods"
    return made


def told(*rows: NamespacePosture, by: Rules = HERE, declared: str = "a") -> PostureStatus:
    return report.told([by], [declared], {row.name: row for row in rows}, [])


PRIVILEGED: Final = "runtime/privileged"
BREAKS, EXEMPTED = failure(PRIVILEGED), failure(PRIVILEGED, exempted=True)
ERROR = failure(PRIVILEGED, places=(), error="no such key")


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        pytest.param(tally(), "pass", id="kept"),
        pytest.param(tally(BREAKS), "fail", id="broken"),
        pytest.param(tally(EXEMPTED), "exempted", id="exempted"),
        pytest.param(tally(ERROR), "unknown", id="unknown"),
        pytest.param(tally(EXEMPTED, ERROR), "unknown", id="unknown-elsewhere"),
        pytest.param(tally(ERROR, EXEMPTED, BREAKS), "fail", id="broken-somewhere"),
        pytest.param(tally(unjudged="pods"), "unknown", id="not-listed"),
        pytest.param(tally(EXEMPTED, unjudged="pods"), "unknown", id="exempted-and-not-all-listed"),
        pytest.param(tally(BREAKS, unjudged="pods"), "fail", id="broken-and-not-all-listed"),
    ],
)
def test_every_check_has_one_outcome(found: Tally, outcome: str) -> None:
    row = found.row(HERE, NOW)
    outcomes = {name: what for _, name, what in report.outcomes(row)}
    assert outcomes.keys() == EVERY.keys()
    assert outcomes[PRIVILEGED] == outcome
    posture = told(row)
    assert posture.passed + posture.failed + posture.unknown + posture.exempted == len(EVERY)
    assert list(outcomes.values()).count("pass") == posture.passed == row.passed
    assert row.objects == found.objects
    status = {"fail": "False", "unknown": "Unknown"}.get(outcome, "True")
    assert report.condition(posture).status == status
    counts = report.samples(SecureTenantStatus(posture=posture))["securetenant_posture_checks"]
    assert counts["runtime", outcome] >= 1
    assert sum(counts.values()) == len(EVERY)


@pytest.mark.parametrize(
    ("by", "declared"),
    [
        pytest.param(Rules("a", "uid-b", HERE.annotations), "a", id="a-namespace-made-anew"),
        pytest.param(Rules("a", "uid-a", {}), "a", id="other-rules"),
        pytest.param(Rules("a", "", HERE.annotations), "a", id="no-namespace"),
        pytest.param(HERE, "b", id="a-namespace-of-others"),
    ],
)
def test_what_was_found_by_other_rules_does_not_count(by: Rules, declared: str) -> None:
    row = tally().row(HERE, NOW)
    posture = told(row.model_copy(update={"name": declared}), by=by, declared=declared)
    assert (posture.unknown, posture.passed, posture.judged) == (len(EVERY), 0, None)
    assert report.condition(posture).status == "Unknown"


def test_without_namespaces_nothing_is_kept() -> None:
    assert report.condition(report.told([], [], {}, [])).status == "Unknown"
    assert report.samples(SecureTenantStatus()) == {}


def test_the_oldest_time_counts_and_only_what_was_judged() -> None:
    """A list that failed is no judgement."""
    later = NOW.replace(hour=13)
    other = Rules("b", "uid-b", {})
    rows = {"a": tally().row(HERE, later), "b": tally(namespace="b").row(other, NOW)}
    assert report.told([HERE, other], ["a", "b"], rows, []).judged == "2026-11-27T12:00:00Z"
    rows["b"] = tally(namespace="b", unjudged="pods").row(other, NOW)
    assert report.told([HERE, other], ["a", "b"], rows, []).judged is None


def test_many_findings_of_one_check_hide_no_other() -> None:
    many = tally(*[failure("runtime/readOnlyRootFilesystem")] * 100, *[failure("images/registries")] * 2)
    items = listed([many, tally(BREAKS, namespace="b")])
    assert len(items) == LISTED
    assert [f"{item.control}/{item.check}" for item in items[:3]] == [
        PRIVILEGED,
        "images/registries",
        "runtime/readOnlyRootFilesystem",
    ]
    row = many.row(HERE, NOW)
    assert row.findings == 102


def test_what_fails_anew_is_told() -> None:
    before, now = told(tally(BREAKS).row(HERE, NOW)), told(tally(BREAKS, failure("images/digest")).row(HERE, NOW))
    assert report.newly_failing(None, before) == ["runtime/privileged in a"]
    assert report.newly_failing(before, now) == ["images/digest in a"]
    assert report.newly_failing(now, before) == []
    assert report.newly_failing(now, None) == []


def test_the_digest_is_of_all_that_the_outcome_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    base = HERE.digest
    assert Rules("other", "uid-a", dict(HERE.annotations)).digest == base
    for other in (Rules("a", "uid-b", HERE.annotations), Rules("a", "uid-a", {EXEMPTIONS: "v1"})):
        assert other.digest != base
    monkeypatch.setattr(rules, "_version", lambda: "of other checks")
    assert HERE.digest != base
    assert rules.read_by_checks({"kubernetes.io/x": "y", EXEMPTIONS: "v1"}) == {EXEMPTIONS: "v1"}


def test_what_is_listed_is_what_the_policies_match() -> None:
    """By the same names of resources, and with a right to each; templates are not."""
    assert [target.name for target in INSPECTED if target.name == "workloads"] == []
    role = next(yaml.safe_load_all((ROOT / "manifests" / "rbac" / "operator.yaml").read_text()))
    rights = {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if "list" in rule["verbs"]
    }
    for target, found in kinds().items():
        matched = {
            (group, version, resource)
            for rule in target.rules
            for group in rule["apiGroups"]
            for version in rule["apiVersions"]
            for resource in rule["resources"]
            if "/" not in resource
        }
        versions = {kind.version for kind in found}
        expected = {
            (group, one, resource)
            for group, version, resource in matched
            for one in (versions if version == "*" else [version])
        }
        assert {(kind.group, kind.version, kind.plural) for kind in found} <= expected
        assert {(kind.group, kind.plural) for kind in found} == {(group, resource) for group, _, resource in matched}
        assert {(kind.group, kind.plural) for kind in found} <= rights
