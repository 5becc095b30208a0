"""One running object: judged as the admission policies do, and never for long."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from securetenant.checks import server_form
from securetenant.checks.evaluator import Evaluator
from securetenant.checks.targets import PODS
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls.registry import CHECKS
from securetenant.posture.judging import LARGEST, Judge, Verdict
from securetenant.posture.rules import checks_of, kinds
from tests.support import attacks, pods

NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)
(POD,) = kinds()[PODS]
EVERY: Final = set(checks_of(PODS))
JUDGE: Final = Judge()


def verdict(body: Any, annotations: dict[str, str] | None = None, now: datetime = NOW) -> Verdict:
    """Of a pod as the API server lists it: without kind and apiVersion, with what is not judged."""
    listed = {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}
    listed["metadata"] = {
        "name": "p",
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "managedFields": [{"manager": "x" * LARGEST}],
        **listed.get("metadata", {}),
    }
    listed["status"] = {"message": "x" * LARGEST, "phase": "Running"}
    return JUDGE.verdict(PODS, POD, msgspec.Raw(json.dumps(listed).encode()), annotations or {}, now)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": pods.spec(**spec)}


def errors(found: Verdict) -> set[str]:
    return {failure.identifier for failure in found.failures if failure.error}


CASES: Final = [case for case in attacks.cases() if case.body["kind"] == "Pod" and not case.malformed]


def test_every_pod_of_the_corpus_gets_the_outcomes_of_admission() -> None:
    """Of an evaluator that judges what stands; exemptions count at any time."""
    standing = Evaluator(replace(PODS, variables={**PODS.variables, "creating": "false"}), CHECKS)
    seen = set()
    for case in CASES:
        body = server_form.judged(case.body, NOW)
        found = verdict(body, dict(case.annotations))
        assert not errors(found), case.name
        kept = {one.identifier for one in found.failures if not one.exempted}
        assert kept == {one.identifier for one in standing.failures(body, case.annotations)}, case.name
        seen |= kept
    assert seen == EVERY


def test_the_node_that_the_scheduler_wrote_is_no_fault() -> None:
    assert "runtime/nodeName" not in {one.identifier for one in verdict(pod(nodeName="n")).failures}


@pytest.mark.parametrize(
    ("labels", "later", "exempted"),
    [
        pytest.param({"app": "web"}, 0, True, id="now"),
        pytest.param({"app": "web"}, 3600, False, id="at-its-end"),
        pytest.param({"app": "other"}, 0, False, id="for-other-pods"),
    ],
)
def test_an_exemption_counts_while_it_has_not_ended(labels: dict[str, str], later: float, exempted: bool) -> None:
    annotations = {EXEMPTIONS: "v1;runtime/hostNamespaces|2026-11-27T13:00:00Z|app=web"}
    body = {**pod(hostPID=True), "metadata": {"labels": labels}}
    found = {
        one.identifier: one.exempted for one in verdict(body, annotations, NOW + timedelta(seconds=later)).failures
    }
    assert found["runtime/hostNamespaces"] is exempted


def test_what_is_too_large_is_unknown() -> None:
    body = pod()
    body["metadata"]["annotations"] = {"a": "x" * LARGEST}
    assert errors(verdict(body)) == EVERY


def test_a_text_with_nul_is_unknown() -> None:
    """cel-cpp would judge what stands before it: registry.example/none, and not what follows."""
    container = {**pods.CONTAINER, "image": "registry.example/none\0evil"}
    assert errors(verdict(pod(containers=[container]))) == EVERY
    body = pod()
    body["metadata"]["annotations"] = {"pattern": "\\u0000"}  # a backslash, and no NUL
    assert not errors(verdict(body))


@pytest.mark.parametrize("number", [60, 200, 400])
def test_an_object_made_to_be_slow_is_given_up(number: int) -> None:
    """Each of its containers mounts volumes: the checks of mounts take the product of both."""
    container = {"name": "c", "image": "a", "volumeMounts": [{"name": f"v{i}", "mountPath": "/t"} for i in range(8)]}
    body = pod(
        containers=[{**container, "name": f"c{i}"} for i in range(number)],
        volumes=[{"name": f"v{i}", "hostPath": {"path": "/a/b"}} for i in range(number)],
    )
    verdict(pod())
    begin = time.process_time()
    found = verdict(body)
    assert time.process_time() - begin < 1
    assert number < 100 or errors(found) == EVERY
