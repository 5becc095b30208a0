"""What the API server's audit log says of admission: the evidence that no client can forge. No operator runs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import audit
from sandbox.plane import Plane
from tests.support import enforced, pods
from tests.support.enforced import DEPLOYMENTS, Enforced, deployment, pod
from tests.support.sandbox import Admin

pytestmark = pytest.mark.cluster

POLICY: Final = "pods.securetenant.dev"
FAILURES: Final = "validation.policy.admission.k8s.io/validation_failure"
SECURITY: Final = "pod-security.kubernetes.io"
CONTAINER: Final = {
    **pods.CONTAINER,
    "securityContext": {**pods.CONTAINER["securityContext"], "readOnlyRootFilesystem": False},
}
# Breaks two rules of ours, and none of Pod Security.
WRITABLE: Final = pods.spec(containers=[CONTAINER], priorityClassName="system-cluster-critical")
BROKEN: Final = {"runtime/priorityClasses", "runtime/readOnlyRootFilesystem"}
EXEMPTED: Final = {
    "control": "runtime",
    "check": "readOnlyRootFilesystem",
    "pods": {"app": "legacy"},
    "reason": "It writes its PID file.",
    "expires": "2999-01-01T00:00:00Z",
}


@pytest.fixture(scope="module")
def log(plane: Plane) -> Path:
    if plane.audit_log is None:
        pytest.skip("an existing cluster's audit log is not here")
    return plane.audit_log


async def asked(log: Path, place: Enforced, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Create something: the status, and its line in the audit log, which is written before the answer."""
    offset = audit.end(log)
    status, _ = await place.admin.request("POST", path, body)
    lines, _ = audit.read(log, offset)
    (line,) = [
        one
        for one in lines
        if one["requestURI"] == path and one["verb"] == "create" and one["stage"] == "ResponseComplete"
    ]
    return status, line


def broken(line: dict[str, Any]) -> set[str]:
    """The checks in the line, by their messages."""
    failures = json.loads(line.get("annotations", {}).get(FAILURES, "[]"))
    assert {one["policy"] for one in failures} <= {POLICY}
    return {told.partition(" at ")[0] for one in failures for told in one["message"].split("; ")}


def said(line: dict[str, Any], key: str) -> str | None:
    told: str | None = line.get("annotations", {}).get(f"{POLICY}/{key}")
    return told


@pytest_asyncio.fixture(scope="module")
async def denying(plane: Plane, admin: Admin, policies: None) -> AsyncIterator[Enforced]:
    name = "audit-denying"
    async with enforced.namespace(plane, admin, name, exemptions=[{**EXEMPTED, "namespace": name}]) as made:
        yield made


async def test_each_refusal_has_its_tenant_user_and_checks(denying: Enforced, log: Path) -> None:
    status, line = await asked(log, denying, denying.pods, pod("refused", WRITABLE))
    assert (status, line["responseStatus"]["code"], line["user"]["username"]) == (403, 403, "admin")
    assert (said(line, "tenant"), broken(line)) == (denying.name, BROKEN)
    assert said(line, "exempted") is None


async def test_the_use_of_an_exemption_is_told(denying: Enforced, log: Path) -> None:
    legacy = pods.spec(containers=[CONTAINER])
    status, line = await asked(log, denying, denying.pods, pod("legacy", legacy, labels={"app": "legacy"}))
    assert (status, broken(line)) == (201, set())
    assert (said(line, "tenant"), said(line, "exempted")) == (denying.name, "runtime/readOnlyRootFilesystem")
    # It does not cover the rest, and both are told.
    status, line = await asked(log, denying, denying.pods, pod("more", WRITABLE, labels={"app": "legacy"}))
    assert (status, broken(line)) == (403, {"runtime/priorityClasses"})
    assert said(line, "exempted") == "runtime/readOnlyRootFilesystem"


async def test_what_pod_security_refuses_first_has_its_own_line(denying: Enforced, log: Path) -> None:
    """The policies are not asked any more."""
    worst = {"containers": [{"name": "c", "image": pods.IMAGE, "securityContext": {"privileged": True}}]}
    status, line = await asked(log, denying, denying.pods, pod("worst", worst))
    assert (status, broken(line), said(line, "tenant")) == (403, set(), None)
    assert line["annotations"][f"{SECURITY}/enforce-policy"] == "restricted:v1.37"
    assert "violates PodSecurity" in line["responseStatus"]["message"]


async def test_what_is_only_warned_of_is_told_as_well(plane: Plane, admin: Admin, policies: None, log: Path) -> None:
    async with enforced.namespace(plane, admin, "audit-warning", admission="Warn") as place:
        status, line = await asked(log, place, place.pods, pod("warned", WRITABLE))
        assert (status, said(line, "tenant"), broken(line)) == (201, place.name, BROKEN)
        # Templates are a hint to their author; the pods that come of them are told.
        status, line = await asked(log, place, DEPLOYMENTS.format(place.name), deployment("web", WRITABLE))
        assert (status, broken(line)) == (201, set())


async def test_elsewhere_nothing_is_written(plane: Plane, admin: Admin, policies: None, log: Path) -> None:
    async with enforced.namespace(plane, admin, "audit-elsewhere") as place:
        status, line = await asked(log, place, place.pods, pod("any", WRITABLE))
        assert (status, broken(line), said(line, "tenant")) == (201, set(), None)
