"""What runs is judged: in Audit too, whatever stood there before, and nothing counts as kept that nobody looked at."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.posture.rules import inspected
from tests.support import life, pods
from tests.support.enforced import PODS, pod
from tests.support.fault import Front, free_lease, front, leads, run_behind
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for
from tests.support.shortened import shortened

pytestmark = pytest.mark.cluster

WRITABLE: Final = "runtime/readOnlyRootFilesystem"
ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/securetenant-controller"
# So that a few pods are several pages, and a list that failed is tried again while the test waits.
SHORT: Final = {"engine.inspection.PAGE": 2, "engine.inspection.FIRST": 0.5}


def writable(**fields: Any) -> Json:
    """A pod's spec that breaks one rule: its root filesystem can be written to."""
    container = {**pods.CONTAINER, "securityContext": {**pods.CONTAINER["securityContext"]}}
    container["securityContext"]["readOnlyRootFilesystem"] = False
    return pods.spec(containers=[container], **fields)


@dataclass
class Stage:
    plane: Plane
    admin: Admin
    proxy: Front
    folder: Path
    env: Mapping[str, str]
    operator: Operator
    names: list[str] = field(default_factory=list)

    async def namespace(self, name: str) -> str:
        """One that stood before its tenant."""
        self.names.append(name)
        await self.admin.create(NAMESPACES, {"metadata": {"name": f"{name}-a"}})
        account = f"{NAMESPACES}/{name}-a/serviceaccounts/default"
        await wait_for(lambda: self.admin.find(account), 10, f"the ServiceAccount default of {name}-a")
        return f"{name}-a"

    async def pod(self, namespace: str, name: str, spec: Json, **metadata: Any) -> None:
        await self.admin.create(PODS.format(namespace), pod(name, spec, **metadata))

    async def tenant(self, name: str, **spec: Any) -> None:
        if name not in self.names:
            self.names.append(name)
        given = {"namespaces": [{"name": f"{name}-a", "adopt": True}], "images": {"digestRequired": False}, **spec}
        given["images"] = {"registries": ["registry.example"], "alwaysPull": False, **given["images"]}
        await life.create(self.admin, name, given)

    async def judged(self, name: str, status: str, what: str = "") -> Json:
        """Wait until Compliant has this status, of the spec as it is now; the tenant's status."""

        async def is_judged() -> Json:
            tenant = await life.get(self.admin, name)
            found = life.condition(tenant, "Compliant")
            assert found.get("status") == status, tenant.get("status")
            assert found["observedGeneration"] == tenant["metadata"]["generation"]
            assert what in found["message"], found
            return tenant

        tenant = await wait_for(is_judged, 20, f"Compliant of {name} to be {status}: {what}")
        return dict(tenant["status"])

    async def checks(self, name: str) -> dict[str, int]:
        """securetenant_posture_checks by outcome."""
        found: Counter[str] = Counter()
        for (metric, labels), value in (await self.operator.metrics()).items():
            if metric == "securetenant_posture_checks" and dict(labels)["tenant"] == name:
                found[dict(labels)["outcome"]] += int(value)
        return dict(found)

    def lists(self, mark: int, namespace: str) -> list[str]:
        return [seen.path for seen in self.proxy.since(mark) if seen.path == PODS.format(namespace)]


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("inspection")
    env = {"SECURETENANT_RESYNC_SECONDS": "1", **shortened(folder, SHORT)}
    names: list[str] = []
    try:
        async with front(plane) as proxy, run_behind(proxy, folder, env=env) as operator:
            yield Stage(plane, admin, proxy, folder, env, operator, names)
    finally:
        await life.remove(admin, *names)


async def test_in_audit_what_stood_before_is_judged_and_left(stage: Stage) -> None:
    name = "inspect-audit"
    space = await stage.namespace(name)
    for number in range(3):
        await stage.pod(space, f"good-{number}", pods.spec())
    await stage.pod(space, "bad", writable())
    before = await stage.admin.get(f"{NAMESPACES}/{space}")
    mark = stage.proxy.mark()
    await stage.tenant(name, mode="Audit")
    posture = (await stage.judged(name, "False"))["posture"]
    (row,) = posture["namespaces"]
    assert (row["failed"], row["objects"], row["findings"]) == ([WRITABLE], 4, 1)
    assert "unknown" not in posture
    assert posture["judged"] == row["judged"]
    (item,) = posture["items"]
    assert item == {
        "control": "runtime",
        "check": "readOnlyRootFilesystem",
        "kind": "Pod",
        "namespace": space,
        "name": "bad",
        "place": "container c",
    }
    found = await stage.checks(name)
    assert (found["fail"], found["unknown"], found["exempted"]) == (1, 0, 0)
    assert (found["pass"], found["pass"] + 1) == (posture["passed"], len(list(_every())))
    assert len(stage.lists(mark, space)) == 2  # 4 pods in pages of 2
    own = f"/apis/securetenant.dev/v1alpha1/securetenants/{name}/status"
    assert {seen.path for seen in stage.proxy.since(mark) if seen.is_write and name in seen.path} == {own}
    assert (await stage.admin.get(f"{NAMESPACES}/{space}"))["metadata"] == before["metadata"]
    names = {item["metadata"]["name"] for item in (await stage.admin.get(PODS.format(space)))["items"]}
    assert names == {"good-0", "good-1", "good-2", "bad"}


def _every() -> list[str]:
    return list(inspected())


async def test_a_change_of_the_rules_is_judged_at_once(stage: Stage) -> None:
    name = "inspect-rules"
    space = await stage.namespace(name)
    await stage.pod(space, "app", writable())
    await stage.tenant(name, runtime={"readOnlyRootFilesystem": False})
    posture = (await stage.judged(name, "True"))["posture"]
    assert posture["passed"] == len(_every())
    await life.edit(stage.admin, name, {"runtime": {"readOnlyRootFilesystem": True}})
    status = await stage.judged(name, "False", f"{WRITABLE} in {space}")
    # It runs on, and the tenant is Ready: what stands is no drift.
    assert next(c["status"] for c in status["conditions"] if c["type"] == "Ready") == "True"

    async def is_told() -> bool:
        """Events go out after the status."""
        events = (await stage.admin.get("/api/v1/namespaces/default/events"))["items"]
        assert [e["type"] for e in events if (e["reason"], e["involvedObject"]["name"]) == ("ChecksFail", name)] == [
            "Warning"
        ]
        return True

    await wait_for(is_told, 10, "the Event")
    assert await stage.admin.find(f"{PODS.format(space)}/app")


async def test_an_exemption_counts_until_it_ends(stage: Stage) -> None:
    """By the time that is now: not, as at admission, by when the pod was created."""
    name = "inspect-exempted"
    space = await stage.namespace(name)
    await stage.pod(space, "app", writable(), labels={"app": "legacy"})
    end = datetime.now(UTC) + timedelta(seconds=8)
    exemption = {
        "control": "runtime",
        "check": "readOnlyRootFilesystem",
        "namespace": space,
        "pods": {"app": "legacy"},
        "reason": "vendor image",
        "expires": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    await stage.tenant(name, exemptions=[exemption])
    posture = (await stage.judged(name, "True", "1 by an exemption"))["posture"]
    assert posture["namespaces"][0]["exempted"] == [WRITABLE]
    assert (posture["exempted"], (await stage.checks(name))["exempted"]) == (1, 1)
    assert "items" not in posture
    posture = (await stage.judged(name, "False"))["posture"]
    assert datetime.now(UTC) >= end.replace(microsecond=0)
    assert "exempted" not in posture
    # For other pods it is none.
    await life.edit(
        stage.admin, name, {"exemptions": [{**exemption, "pods": {"app": "x"}, "expires": "2999-01-01T00:00:00Z"}]}
    )
    await stage.judged(name, "False")


async def test_what_has_ended_does_not_run(stage: Stage) -> None:
    name = "inspect-ended"
    space = await stage.namespace(name)
    for phase in ("Succeeded", "Failed"):
        await stage.pod(space, phase.lower(), writable())
        path = f"{PODS.format(space)}/{phase.lower()}/status"
        await stage.admin.patch(path, {"status": {"phase": phase}})
    await stage.tenant(name)
    posture = (await stage.judged(name, "True"))["posture"]
    assert posture["namespaces"][0].get("objects", 0) == 0


async def test_a_namespace_that_is_not_there_is_unknown(stage: Stage) -> None:
    name = "inspect-absent"
    await stage.tenant(name, mode="Audit")
    posture = (await stage.judged(name, "Unknown", "does not exist"))["posture"]
    assert (posture["unknown"], posture.get("passed", 0), "judged" in posture) == (len(_every()), 0, False)
    found = await stage.checks(name)
    assert (found["unknown"], found["pass"]) == (len(_every()), 0)
    await stage.namespace(name)
    await stage.judged(name, "True")
    await life.edit(stage.admin, name, {"mode": "Paused"})
    status = await stage.judged(name, "Unknown", "Paused")
    assert "posture" not in status
    assert await stage.checks(name) == {}


async def test_a_new_tenant_is_judged_without_an_event_of_others(stage: Stage) -> None:
    name = "inspect-new"
    stage.names.append(name)
    await life.create(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}]})
    await stage.judged(name, "True")


async def test_what_may_not_be_listed_is_unknown(stage: Stage) -> None:
    name = "inspect-forbidden"
    await stage.namespace(name)
    role = await stage.admin.get(ROLE)
    reads = [rule for rule in role["rules"] if "pods" not in rule.get("resources", ())]
    assert len(reads) < len(role["rules"])
    await stage.admin.patch(ROLE, {"rules": reads})
    try:
        await stage.tenant(name)
        posture = (await stage.judged(name, "Unknown", "no right to list pods"))["posture"]
        assert posture["namespaces"][0]["unjudged"] == ["claims", "pods", "services"]  # one rule of the role
        others = [one for one, (_, targets) in inspected().items() if targets <= {"budgets", "routes"}]
        assert (await stage.checks(name))["pass"] == len(others) > 0
    finally:
        await stage.admin.patch(ROLE, {"rules": role["rules"]})
    await stage.judged(name, "True")


async def test_a_restart_asks_for_nothing(stage: Stage, tmp_path: Path) -> None:
    """The outcomes, and what they were judged by, are in the status."""
    name = "inspect-restart"
    space = await stage.namespace(name)
    await stage.pod(space, "app", writable())
    await stage.tenant(name)
    status = await stage.judged(name, "False")
    await stage.operator.stop()
    await free_lease(stage.admin)
    mark = stage.proxy.mark()
    async with run_behind(stage.proxy, tmp_path, env=stage.env) as operator:
        stage.operator = operator
        await wait_for(lambda: leads(operator), 15, "the operator to lead")
        await life.settled(operator, name)
        passes = await operator.metric("securetenant_reconcile_total")

        async def more() -> bool:
            return await operator.metric("securetenant_reconcile_total") > passes + 10

        await wait_for(more, 20, "some passes more")
        assert stage.lists(mark, space) == []
        assert (await stage.judged(name, "False"))["posture"] == status["posture"]
        assert (await stage.checks(name))["fail"] == 1
