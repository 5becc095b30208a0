"""Enforce, Audit, Paused: who writes what, and that a quiet operator asks the API server for nothing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import Front, front, run_behind
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for

pytestmark = pytest.mark.cluster

POLICY = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies/securetenant-default-deny"


@dataclass
class Stage:
    admin: Admin
    proxy: Front
    operator: Operator
    names: list[str]

    async def create(self, name: str, **spec: Any) -> None:
        self.names.append(name)
        await life.create(self.admin, name, life.spec(f"{name}-a", **spec))

    async def condition(self, name: str, kind: str, reason: str) -> Json:
        """Wait for a condition with that reason, of the spec as it is now."""

        async def is_told() -> Json:
            tenant = await life.get(self.admin, name)
            found = life.condition(tenant, kind)
            assert found.get("reason") == reason, tenant.get("status")
            assert found["observedGeneration"] == tenant["metadata"]["generation"]
            return tenant

        return await wait_for(is_told, 10, f"{kind} of {name}: {reason}")

    def written(self, mark: int, name: str) -> list[str]:
        """What was written for a tenant, its status aside."""
        own = f"{TENANTS}/{name}/status"
        found = [seen for seen in self.proxy.since(mark) if seen.is_write and seen.concerns(name)]
        return [f"{seen.method} {seen.path}" for seen in found if seen.path != own]


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """One operator for all tests here; it looks at every tenant once more each second."""
    folder = tmp_path_factory.mktemp("modes")
    names: list[str] = []
    try:
        async with front(plane) as proxy, run_behind(proxy, folder, env={"SECURETENANT_RESYNC_SECONDS": "1"}) as op:
            yield Stage(admin, proxy, op, names)
    finally:
        await life.remove(admin, *names)


@pytest.mark.parametrize(
    ("mode", "kind", "reason"),
    [
        pytest.param("Audit", "Ready", "Audited", id="audit"),
        pytest.param("Paused", "Ready", "Paused", id="paused"),
    ],
)
async def test_a_new_tenant_writes_nothing(stage: Stage, mode: str, kind: str, reason: str) -> None:
    name = f"modes-new-{mode.lower()}"
    mark = stage.proxy.mark()
    await stage.create(name, mode=mode)
    tenant = await stage.condition(name, kind, reason)
    await life.settled(stage.operator, name)
    assert stage.written(mark, name) == []
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None
    assert "finalizers" not in tenant["metadata"]
    assert tenant["status"].get("applied", {}) == {}


async def test_audit_names_what_is_missing(stage: Stage) -> None:
    await stage.create("modes-audit", mode="Audit")
    tenant = await stage.condition("modes-audit", "Drifted", "DriftDetected")
    drift = tenant["status"]["drift"]
    assert drift["byControl"] == {"namespaces": 1, "access": 1, "network": 4, "quota": 1, "limits": 1}
    assert drift["total"] == 8
    assert {item["reason"] for item in drift["items"]} == {"Missing"}
    await life.edit(stage.admin, "modes-audit", {"mode": "Enforce"})
    await life.ready(stage.admin, "modes-audit")
    # What was missing in Audit is a rollout now, and corrects nothing.
    assert await life.drift(stage.operator, "modes-audit", "corrected_total") == {}


async def test_audit_of_a_tenant_in_force_reports_and_leaves(stage: Stage) -> None:
    name, key = "modes-there-and-back", ("network", "Missing")
    await stage.create(name)
    await life.ready(stage.admin, name)
    await life.edit(stage.admin, name, {"mode": "Audit"})
    await stage.condition(name, "Ready", "Audited")
    mark = stage.proxy.mark()
    await stage.admin.delete(POLICY.format(name))
    tenant = await stage.condition(name, "Drifted", "DriftDetected")
    assert [item["name"] for item in tenant["status"]["drift"]["items"]] == ["securetenant-default-deny"]
    await life.settled(stage.operator, name)
    assert stage.written(mark, name) == []
    assert await stage.admin.find(POLICY.format(name)) is None
    assert await life.drift(stage.operator, name, "objects") == {key: 1}
    await life.edit(stage.admin, name, {"mode": "Enforce"})
    await life.ready(stage.admin, name)
    assert await stage.admin.find(POLICY.format(name))
    assert await life.drift(stage.operator, name, "objects") == {}
    assert await life.drift(stage.operator, name) == {key: 1}
    assert await life.drift(stage.operator, name, "corrected_total") == {key: 1}


async def test_paused_does_neither_and_resumes(stage: Stage) -> None:
    name, key = "modes-paused", ("network", "Missing")
    await stage.create(name)
    await life.ready(stage.admin, name)
    await life.edit(stage.admin, name, {"mode": "Paused"})
    await stage.condition(name, "Ready", "Paused")
    mark, passes = stage.proxy.mark(), await stage.operator.metric("securetenant_reconcile_total")
    await stage.admin.delete(POLICY.format(name))
    await wait_for(lambda: more_passes(stage.operator, passes + 5), 10, "some passes more")
    assert stage.proxy.since(mark) == []
    assert await stage.admin.find(POLICY.format(name)) is None
    assert await life.drift(stage.operator, name) == {}
    tenant = await life.get(stage.admin, name)
    assert life.condition(tenant, "Drifted")["status"] == "Unknown"
    assert not [k for k in await stage.operator.metrics() if k[0] == "securetenant_drift_objects" and name in str(k)]
    await life.edit(stage.admin, name, {"mode": "Enforce"})
    await life.ready(stage.admin, name)
    assert await stage.admin.find(POLICY.format(name))
    assert await life.drift(stage.operator, name) == {key: 1}
    assert await life.drift(stage.operator, name, "corrected_total") == {key: 1}


async def test_no_number_stands_for_what_is_not_judged(stage: Stage) -> None:
    """Neither a zero nor the last number, in the status and in what kubectl shows."""
    name = "modes-number"
    await stage.create(name, mode="Audit")
    tenant = await stage.condition(name, "Drifted", "DriftDetected")
    assert (tenant["status"]["drift"]["total"], tenant["status"]["namespaces"][0]["drift"]) == (8, 8)
    assert await column(stage.admin, name) == "8"
    await life.edit(stage.admin, name, {"mode": "Paused"})
    tenant = await stage.condition(name, "Ready", "Paused")
    assert tenant["status"].get("drift", {}).keys() & {"total", "byControl", "items"} == set()
    assert "drift" not in tenant["status"]["namespaces"][0]
    assert await column(stage.admin, name) == ""
    # What was counted before is not counted anew when the tenant goes on.
    counted = await life.drift(stage.operator, name)
    await life.edit(stage.admin, name, {"mode": "Audit"})
    await stage.condition(name, "Drifted", "DriftDetected")
    assert await column(stage.admin, name) == "8"
    assert await life.drift(stage.operator, name) == counted
    await life.edit(stage.admin, name, {"mode": "Enforce"})
    tenant = await life.ready(stage.admin, name)
    assert (tenant["status"]["drift"]["total"], tenant["status"]["namespaces"][0]["drift"]) == (0, 0)
    assert await column(stage.admin, name) == "0"


async def column(admin: Admin, name: str) -> str:
    """What `kubectl get stn` has in the column DRIFT."""
    header, row = (await admin.kubectl("get", "stn", name)).splitlines()
    return row[header.index("DRIFT") : header.index("AGE")].strip()


async def test_an_edit_while_paused_is_no_drift(stage: Stage) -> None:
    """A rule removed, one changed, a namespace let go: all of it is a rollout when the tenant goes on."""
    name = "modes-edited"
    stage.names.append(name)
    await life.create(stage.admin, name, life.spec(f"{name}-a", f"{name}-b"))
    await life.ready(stage.admin, name)
    await life.edit(stage.admin, name, {"mode": "Paused"})
    await stage.condition(name, "Ready", "Paused")
    changes = {
        "namespaces": [{"name": f"{name}-a"}],
        "network": {"ingress": [life.cidr_rule("vpn", "10.7.0.0/16")]},
        "access": {"bindings": []},
    }
    await life.edit(stage.admin, name, changes)
    await stage.condition(name, "Ready", "Paused")
    await life.edit(stage.admin, name, {"mode": "Enforce"})
    await life.ready(stage.admin, name)
    assert await life.drift(stage.operator, name) == {}
    assert life.marked(await life.picture(stage.admin, [f"{name}-b"])) == []
    labels = (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["labels"]
    assert "env" not in labels


async def test_quiet_costs_no_request(stage: Stage) -> None:
    """Resyncs of every tenant in every mode, and nothing goes to the API server but the Lease's renewals."""
    for mode in ("Enforce", "Audit", "Paused"):
        await stage.create(f"modes-quiet-{mode.lower()}", mode=mode)
    await life.ready(stage.admin, "modes-quiet-enforce")
    await stage.condition("modes-quiet-audit", "Ready", "Audited")
    await stage.condition("modes-quiet-paused", "Ready", "Paused")
    await stage.operator.metrics()
    passes = await stage.operator.metric("securetenant_reconcile_total")
    await wait_for(lambda: more_passes(stage.operator, passes + len(stage.names)), 10, "a pass over each")
    passes, mark = await stage.operator.metric("securetenant_reconcile_total"), stage.proxy.mark()
    errors = await stage.operator.metric("securetenant_reconcile_total", result="error")
    await wait_for(lambda: more_passes(stage.operator, passes + 3 * len(stage.names)), 15, "three passes over each")
    assert [(seen.method, seen.path) for seen in stage.proxy.seen[mark:] if "/leases/" not in seen.path] == []
    assert await stage.operator.metric("securetenant_reconcile_total", result="error") == errors


async def more_passes(operator: Operator, count: float) -> bool:
    return await operator.metric("securetenant_reconcile_total") >= count
