"""What a deleted SecureTenant leaves, what it takes with it, and that the deletion always ends, or says why not yet."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox import nodes
from securetenant.model import names
from tests.support import life
from tests.support.fault import Front, dead, free_lease, front, run_behind
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for

pytestmark = pytest.mark.cluster

DENY = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/securetenant-default-deny"
HOLD = "example.com/hold"


@dataclass
class Stage:
    admin: Admin
    proxy: Front
    operator: Operator
    names: list[str] = field(default_factory=list)

    async def create(self, name: str, *spaces: str, **spec: Any) -> Json:
        self.names.append(name)
        await life.create(self.admin, name, life.spec(*(spaces or (f"{name}-a", f"{name}-b")), **spec))
        return await life.ready(self.admin, name)

    async def delete(self, name: str) -> None:
        await self.admin.delete(f"{TENANTS}/{name}")

    async def gone(self, name: str) -> None:
        await life.gone(self.admin, f"{TENANTS}/{name}")

    async def series(self, name: str) -> list[str]:
        """The names of the metrics that still tell of a tenant."""
        return [metric for metric, labels in await self.operator.metrics() if ("tenant", name) in labels]


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, node_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    made: list[str] = []
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path_factory.mktemp("deletion")) as operator:
            stage = Stage(admin, proxy, operator, made)
            yield stage
    finally:
        await life.remove(admin, *made)


async def test_retain_leaves_the_posture_and_takes_the_marks(stage: Stage) -> None:
    name = "del-retain"
    await stage.create(name)
    before = await life.picture(stage.admin, [f"{name}-a", f"{name}-b"])
    assert len(life.marked(before)) == len(before) == 16
    await stage.delete(name)
    await stage.gone(name)
    after = await life.picture(stage.admin, [f"{name}-a", f"{name}-b"])
    assert life.marked(after) == []
    for path, item in before.items():
        for key in set(item) - {"labels", "annotations"}:
            assert after[path][key] == item[key], path
    assert after[f"{name}-a"]["labels"]["env"] == "test"
    assert "annotations" not in (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]
    assert (await stage.admin.get(DENY.format(f"{name}-a")))["spec"]["policyTypes"] == ["Ingress", "Egress"]
    await wait_for(lambda: no_series(stage, name), 5, "its series to go")


async def test_delete_takes_the_namespaces(stage: Stage) -> None:
    name = "del-delete"
    await stage.create(name, deletionPolicy="Delete")
    await stage.delete(name)
    await stage.gone(name)
    assert await life.picture(stage.admin, [f"{name}-a", f"{name}-b"]) == {}
    await wait_for(lambda: no_series(stage, name), 5, "its series to go")


async def no_series(stage: Stage, name: str) -> bool:
    return await stage.series(name) == []


async def test_a_stuck_namespace_is_named_and_the_deletion_ends_when_it_is_freed(stage: Stage) -> None:
    name, path = "del-stuck", "/api/v1/namespaces/del-stuck-a/configmaps"
    await stage.create(name, f"{name}-a", deletionPolicy="Delete")
    await stage.admin.create(path, {"metadata": {"name": "held", "finalizers": [HOLD]}})
    await stage.delete(name)

    async def is_explained() -> bool:
        told = life.condition(await life.get(stage.admin, name), "Ready")
        assert (told["status"], told["reason"]) == ("False", "Deleting")
        assert f"{name}-a" in told["message"]
        return HOLD in told["message"]

    try:
        await wait_for(is_explained, 20, "the condition that says what the deletion waits for")
        assert life.condition(await life.get(stage.admin, name), "Reconciling")["status"] == "True"
        # The metrics say so as well, and of drift nothing: it is not judged any more.
        not_ready = {"condition": "Ready", "status": "False"}
        assert await stage.operator.metric("securetenant_tenant_condition", tenant=name, **not_ready) == 1
        assert "securetenant_drift_objects" not in await stage.series(name)
        mark = stage.proxy.mark()
    finally:
        await stage.admin.patch(f"{path}/held", {"metadata": {"finalizers": None}})
    await stage.gone(name)
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None
    assert not [seen for seen in stage.proxy.since(mark) if seen.method == "DELETE"]


async def test_a_terminating_namespace_is_left_alone_and_comes_back(stage: Stage) -> None:
    """Somebody deletes a namespace that something holds back: nothing is written there until it is gone."""
    name, path = "del-held", "/api/v1/namespaces/del-held-a/configmaps"
    await stage.create(name)
    before = await life.picture(stage.admin, [f"{name}-a"])
    await stage.admin.create(path, {"metadata": {"name": "held", "finalizers": [HOLD]}})
    mark = stage.proxy.mark()
    await stage.admin.delete(f"{NAMESPACES}/{name}-a")

    async def is_told() -> bool:
        tenant = await life.get(stage.admin, name)
        assert life.condition(tenant, "Reconciling").get("status") == "True"
        assert life.condition(tenant, "NamespacesReady")["reason"] == "Terminating"
        # Its contents are being deleted, one after the other.
        return await stage.admin.find(DENY.format(f"{name}-a")) is None

    try:
        await wait_for(is_told, 20, "the namespace to be emptied")
        await life.settled(stage.operator, name)
        inside = [s for s in stage.proxy.since(mark) if s.is_write and f"/namespaces/{name}-a/" in s.path]
        assert [f"{s.method} {s.path}" for s in inside] == []
        assert await stage.admin.find(DENY.format(f"{name}-b"))
    finally:
        await stage.admin.patch(f"{path}/held", {"metadata": {"finalizers": None}})
    await life.ready(stage.admin, name)
    assert await life.picture(stage.admin, [f"{name}-a"]) == before
    assert await life.drift(stage.operator, name) == {("namespaces", "Missing"): 1}


async def test_flows_of_a_deleted_peer_close(stage: Stage) -> None:
    one, two = "del-peer-one", "del-peer-two"
    egress = [{"name": "to-two", "to": [{"tenant": two}], "ports": [{"protocol": "TCP", "port": 80}]}]
    ingress = [{"name": "from-one", "from": [{"tenant": one}], "ports": [{"protocol": "TCP", "port": 80}]}]
    policy = f"/apis/networking.k8s.io/v1/namespaces/{one}-a/networkpolicies/securetenant-egress-to-two"
    await stage.create(one, f"{one}-a", network={"egress": egress})
    await stage.create(two, f"{two}-a", network={"ingress": ingress})
    await wait_for(lambda: stage.admin.find(policy), 10, "the agreed flow to be open")
    await stage.delete(two)
    await stage.gone(two)
    await life.gone(stage.admin, policy, 5)

    async def is_pending() -> bool:
        tenant = await life.get(stage.admin, one)
        return life.condition(tenant, "WhitelistAgreed").get("reason") == "Pending"

    await wait_for(is_pending, 5, "the flow to be pending")
    tenant = await life.ready(stage.admin, one)
    assert tenant["status"]["whitelist"]["pending"][0]["peer"] == f"tenant/{two}"
    assert await life.drift(stage.operator, one) == {}


async def test_a_tenant_made_anew_at_once(stage: Stage) -> None:
    """Delete, and the same name again in the moment it is free: the new one is made whole, and nothing is drift."""
    name = "del-anew"
    first = await stage.create(name, deletionPolicy="Delete")
    await stage.delete(name)
    await stage.gone(name)
    second = await stage.create(name, deletionPolicy="Delete")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert len(await life.picture(stage.admin, [f"{name}-a", f"{name}-b"])) == 16
    assert await life.drift(stage.operator, name) == {}
    await stage.admin.delete(DENY.format(f"{name}-a"))
    await wait_for(lambda: stage.admin.find(DENY.format(f"{name}-a")), 5, "the policy to be back")
    await life.ready(stage.admin, name)
    assert await life.drift(stage.operator, name) == {("network", "Missing"): 1}


async def test_retained_namespaces_are_not_taken_unasked(stage: Stage) -> None:
    name = "del-again"
    await stage.create(name, f"{name}-a")
    await stage.delete(name)
    await stage.gone(name)
    await life.create(stage.admin, name, life.spec(f"{name}-a"))

    async def is_refused() -> bool:
        return life.condition(await life.get(stage.admin, name), "NamespacesReady").get("reason") == "NotOwned"

    await wait_for(is_refused, 5, "the namespace to be refused")
    assert life.marked(await life.picture(stage.admin, [f"{name}-a"])) == []
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a", "adopt": True}]})
    await life.ready(stage.admin, name)
    found = await life.picture(stage.admin, [f"{name}-a"])
    assert len(life.marked(found)) == len(found) == 8
    assert await life.drift(stage.operator, name) == {}


async def test_an_adopted_namespace_is_given_back_with_nothing_but_pod_security(stage: Stage) -> None:
    name, own = "del-adopted", {"labels": {"team": "x"}, "annotations": {"example.com/note": "ours"}}
    stage.names.append(name)
    await stage.admin.create(NAMESPACES, {"metadata": {"name": f"{name}-a", **own}})
    spec = life.spec(f"{name}-a")
    spec["namespaces"][0] |= {"adopt": True, "labels": {}}
    await life.create(stage.admin, name, spec)
    await life.ready(stage.admin, name)
    await stage.delete(name)
    await stage.gone(name)
    metadata = (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]
    kept = {
        key: value for key, value in metadata["labels"].items() if not key.startswith("pod-security.kubernetes.io/")
    }
    assert kept == {"team": "x", "kubernetes.io/metadata.name": f"{name}-a"}
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert metadata["annotations"] == own["annotations"]


@pytest.mark.parametrize("policy", [pytest.param("Retain", id="retain"), pytest.param("Delete", id="delete")])
async def test_nodes_are_given_back(stage: Stage, plane: Plane, policy: str) -> None:
    name = f"del-nodes-{policy.lower()}"
    (node,) = await asyncio.to_thread(nodes.create, plane, 1, {"pool": name}, prefix=name)
    path, other = f"/api/v1/nodes/{node}", {"key": "example.com/other", "effect": "PreferNoSchedule"}
    try:
        await stage.admin.patch(path, {"spec": {"taints": [other]}})
        await stage.create(name, nodes={"selector": {"matchLabels": {"pool": name}}}, deletionPolicy=policy)
        held = await stage.admin.get(path)
        assert held["metadata"]["labels"][names.NODE_LABEL_TENANT] == name
        assert {taint["key"] for taint in held["spec"]["taints"]} == {names.NODE_TAINT, other["key"]}
        await stage.delete(name)
        await stage.gone(name)
        free = await stage.admin.get(path)
        assert names.NODE_LABEL_TENANT not in free["metadata"]["labels"]
        assert names.ANNOTATION_APPLIED not in free["metadata"].get("annotations", {})
        assert free["spec"]["taints"] == [other]
    finally:
        await stage.admin.delete(path)


@pytest.mark.parametrize("mode", [pytest.param("Audit", id="audit"), pytest.param("Paused", id="paused")])
async def test_a_tenant_that_never_was_in_force_just_goes(stage: Stage, mode: str) -> None:
    name = f"del-{mode.lower()}"
    stage.names.append(name)
    await life.create(stage.admin, name, life.spec(f"{name}-a", mode=mode))
    await life.settled(stage.operator, name)
    mark = stage.proxy.mark()
    await stage.delete(name)
    assert await stage.admin.find(f"{TENANTS}/{name}") is None
    await wait_for(lambda: no_series(stage, name), 5, "its series to go")
    assert [s for s in stage.proxy.since(mark) if s.is_write and s.concerns(name)] == []


async def test_a_tenant_in_audit_is_released(stage: Stage) -> None:
    """It was in force before, so there are marks to take off and a finalizer to go."""
    name = "del-was-in-force"
    await stage.create(name)
    await life.edit(stage.admin, name, {"mode": "Audit"})
    await life.ready(stage.admin, name)
    await stage.delete(name)
    await stage.gone(name)
    found = await life.picture(stage.admin, [f"{name}-a", f"{name}-b"])
    assert life.marked(found) == []
    assert len(found) == 16


async def test_a_release_that_meets_a_conflict_is_finished(stage: Stage) -> None:
    """A namespace is let go, and one of its objects has just changed: it loses its marks with the next try."""
    name = "del-conflict"
    await stage.create(name)
    stage.proxy.conflicts.add(f"/namespaces/{name}-b/networkpolicies/securetenant-dns")
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}]})

    async def is_free() -> bool:
        return life.marked(await life.picture(stage.admin, [f"{name}-b"])) == []

    await wait_for(is_free, 10, "every mark to be gone")
    assert stage.proxy.conflicts == set()
    assert await life.drift(stage.operator, name) == {}


@pytest.mark.parametrize("policy", [pytest.param("Retain", id="retain"), pytest.param("Delete", id="delete")])
async def test_a_released_tenant_that_others_hold_claims_nothing(stage: Stage, policy: str) -> None:
    """Said before our finalizer goes, in that case alone: the usual deletion costs no request more."""
    name, plain = f"del-others-{policy.lower()}", f"del-plain-{policy.lower()}"
    for one in (name, plain):
        await stage.create(one, f"{one}-a", deletionPolicy=policy)
    await stage.admin.patch(f"{TENANTS}/{name}", {"metadata": {"finalizers": [names.FINALIZER, HOLD]}})
    mark = stage.proxy.mark()
    try:
        for one in (name, plain):
            await stage.delete(one)
        await wait_for(lambda: is_released(stage.admin, name), 10, "the release to be told")
        await stage.gone(plain)
        await wait_for(lambda: is_shown_not_ready(stage.operator, name), 5, "the metric to say so")
        written = [s for s in stage.proxy.since(mark) if s.is_write and "Deleting" not in s.body]
        held, gone = ([s.path for s in written if s.path.startswith(f"{TENANTS}/{one}")] for one in (name, plain))
        assert held == [f"{TENANTS}/{name}/status", f"{TENANTS}/{name}"]
        assert set(gone) == {f"{TENANTS}/{plain}"}, "the usual deletion wrote a status"
    finally:
        await stage.admin.patch(f"{TENANTS}/{name}", {"metadata": {"finalizers": None}})
    await stage.gone(name)
    await wait_for(lambda: no_series(stage, name), 5, "its series to go")


async def is_released(admin: Admin, name: str) -> bool:
    tenant = await life.get(admin, name)
    conditions = tenant["status"]["conditions"]
    assert [(c["type"], c["status"], c["reason"]) for c in conditions] == [("Ready", "False", "Released")], conditions
    assert HOLD in conditions[0]["message"], conditions
    assert "total" not in tenant["status"].get("drift", {})
    assert "applied" not in tenant["status"]
    return bool(tenant["metadata"]["finalizers"] == [HOLD])


async def is_shown_not_ready(operator: Operator, name: str) -> bool:
    ready = {"tenant": name, "condition": "Ready"}
    shown = [await operator.metric("securetenant_tenant_condition", **ready, status=s) for s in ("True", "False")]
    return shown == [0, 1]


async def test_what_was_taken_out_of_the_spec_stays(plane: Plane, stage: Stage, tmp_path: Path) -> None:
    """A namespace is let go, then the tenant deleted with Delete, all while nobody looks: that namespace is not
    among what is deleted."""
    name = "del-let-go"
    await stage.create(name, deletionPolicy="Delete")
    stage.operator.child.kill()
    await dead(stage.operator)
    await free_lease(stage.admin)
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}]})
    await stage.delete(name)
    async with run_behind(stage.proxy, tmp_path):
        await stage.gone(name)
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None
    left = await life.picture(stage.admin, [f"{name}-b"])
    assert life.marked(left) == []
    assert len(left) == 8


async def test_what_a_released_tenant_still_claims_is_corrected_once(
    plane: Plane, stage: Stage, tmp_path: Path
) -> None:
    """It was released while its status could not be written, or somebody wrote there since."""
    name = "del-claims"
    stage.names.append(name)
    stage.operator.child.kill()
    await dead(stage.operator)
    await free_lease(stage.admin)
    path = f"{TENANTS}/{name}"
    await life.create(stage.admin, name, life.spec(f"{name}-a"))
    await stage.admin.patch(path, {"metadata": {"finalizers": [HOLD]}})
    since = {"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    claims = [
        {"type": kind, "status": status, "reason": "Claimed", "message": "", **since}
        for kind, status in (("Ready", "True"), ("Drifted", "False"), ("NamespacesReady", "True"))
    ]
    claimed = {"conditions": claims, "drift": {"total": 0}, "applied": {"": [f"Namespace/{name}-a"]}}
    await stage.admin.patch(f"{path}/status", {"status": claimed})
    await stage.delete(name)
    mark = stage.proxy.mark()
    try:
        async with run_behind(stage.proxy, tmp_path, env={"SECURETENANT_RESYNC_SECONDS": "1"}) as operator:
            await wait_for(lambda: is_released(stage.admin, name), 20, "the claim to be corrected")
            await wait_for(lambda: is_shown_not_ready(operator, name), 5, "the metric to say so")
            passes = await operator.metric("securetenant_reconcile_total")

            async def is_looked_at_again() -> bool:
                return await operator.metric("securetenant_reconcile_total") >= passes + 2

            await wait_for(is_looked_at_again, 10, "two passes more")
            assert [s.path for s in stage.proxy.since(mark) if s.is_write and s.concerns(name)] == [f"{path}/status"]
    finally:
        await stage.admin.patch(path, {"metadata": {"finalizers": None}})
