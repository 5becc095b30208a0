"""The lock on namespaces while the operator does its work, a tenant without it, and break-glass."""

import pytest

from sandbox import audit
from tests.support import life
from tests.support.life import NAMESPACES, TENANTS
from tests.support.locked import BREAK_GLASS, CHANGES, ENFORCE, MASTERS, POLICY, TENANT, is_refused, merge
from tests.support.markdown import blocks
from tests.support.sandbox import MERGE_PATCH, ROOT, Admin, Plane
from tests.support.tenants import Stage

pytestmark = pytest.mark.cluster


async def test_the_operators_work_goes_on(stage: Stage, mallory: Admin) -> None:
    """Create, adopt, drift, heal, a change of the spec, and release; then the namespace is everybody's again."""
    await stage.namespace("lock-old", labels={"team": "x"})
    adopted = {"name": "lock-old", "adopt": True}
    tenant = await stage.tenant("lock-life", life.spec(namespaces=[{"name": "lock-life-a"}, adopted]))
    for name in ("lock-life-a", "lock-old"):
        path = f"{NAMESPACES}/{name}"
        assert is_refused(await mallory.request("DELETE", path))
        await stage.admin.patch(path, {"metadata": {"labels": {TENANT: None}}})
        await tenant.healed(("namespaces", "Changed"))
        assert is_refused(await merge(mallory, path, CHANGES["strip-marks"]))
    await tenant.edit({"runtime": {"podSecurity": "Baseline"}})
    assert (await mallory.get(f"{NAMESPACES}/lock-old"))["metadata"]["labels"][ENFORCE] == "baseline"
    await tenant.delete()
    for name in ("lock-life-a", "lock-old"):
        path = f"{NAMESPACES}/{name}"
        left = (await mallory.get(path))["metadata"]
        ours = {
            field: dict.fromkeys(key for key in left.get(field, {}) if "securetenant.dev/" in key)
            for field in ("labels", "annotations")
        }
        status, answer = await merge(mallory, path, {**ours, "labels": {**ours["labels"], ENFORCE: "baseline"}})
        assert status == 200, answer
        assert is_refused(await merge(mallory, path, {"labels": {TENANT: "lock-life"}}))
        await mallory.delete(path)
        await life.gone(mallory, path)


async def test_a_tenants_namespaces_go_with_it(stage: Stage, mallory: Admin) -> None:
    """The operator deletes, and Kubernetes' controllers empty and finalize."""
    tenant = await stage.tenant("lock-end", life.spec("lock-end-a", deletionPolicy="Delete"))
    await mallory.create(f"{NAMESPACES}/lock-end-a/configmaps", {"metadata": {"name": "left"}})
    await tenant.delete()
    assert await mallory.find(f"{NAMESPACES}/lock-end-a") is None


async def test_a_tenant_without_the_lock(stage: Stage, mallory: Admin) -> None:
    path = f"{NAMESPACES}/lock-off-a"
    tenant = await stage.tenant("lock-off", life.spec("lock-off-a", locks={"namespaces": False}))
    assert (await merge(mallory, path, CHANGES["strip-managed-by"]))[0] == 200
    await tenant.healed(("namespaces", "Changed"))
    assert (await mallory.request("DELETE", path, params={"dryRun": "All"}))[0] == 200
    await tenant.edit({"locks": {"namespaces": True}})
    assert is_refused(await merge(mallory, path, CHANGES["unlock"]))
    assert is_refused(await mallory.request("DELETE", path))


async def test_the_glass_is_broken_on_the_record(plane: Plane, stage: Stage, mallory: Admin) -> None:
    """Who is in the group passes, and the audit log has what was locked, and who failed."""
    path = f"{NAMESPACES}/lock-glass-a"
    tenant = await stage.tenant("lock-glass", life.spec("lock-glass-a"))
    assert plane.audit_log is not None
    offset = plane.audit_log.stat().st_size
    async with Admin(plane, user="alice", groups=[MASTERS, BREAK_GLASS]) as alice:
        await alice.patch(path, {"metadata": {"labels": {"example.com/note": "x"}}})
        await alice.patch(path, {"metadata": {"labels": {TENANT: None}}})
    await tenant.healed(("namespaces", "Changed"))
    await merge(mallory, path, CHANGES["strip-tenant"])
    events, _ = audit.read(plane.audit_log, offset)
    told = [
        {key: value for key, value in event.get("annotations", {}).items() if POLICY in key or POLICY in value}
        for event in events
        if event.get("impersonatedUser", {}).get("username") in ("alice", "mallory")
        and event["requestURI"].startswith(path)
        and event["verb"] == "patch"
    ]
    on = {f"{POLICY}/tenant": "lock-glass"}
    assert told[0] == on
    assert told[1] == {**on, f"{POLICY}/break-glass": f"label {TENANT}"}
    failure = told[2].pop("validation.policy.admission.k8s.io/validation_failure")
    assert told[2] == on
    assert f"locked: label {TENANT}: " in failure


async def test_the_way_in_that_the_docs_tell(plane: Plane, stage: Stage) -> None:
    """Those on call have nothing but the right to step into the group, and the group may write namespaces."""
    (block,) = (b for b in blocks(ROOT / "docs" / "operations.md") if "name: break-glass-on-call" in b.text)
    path = f"{NAMESPACES}/lock-docs-a"
    await stage.tenant("lock-docs", life.spec("lock-docs-a"))
    await stage.admin.apply(block.text)
    try:
        ask = ("auth", "can-i", "--as=eve", "--as-group=platform-on-call")
        assert await stage.admin.kubectl(*ask, "impersonate", f"groups/{BREAK_GLASS}") == "yes\n"
        assert await stage.admin.kubectl(*ask, "impersonate", "users/break-glass") == "yes\n"
        await life.edit(stage.admin, "lock-docs", {"mode": "Paused"})
        async with Admin(plane, user="break-glass", groups=[BREAK_GLASS]) as who:
            await who.patch(path, {"metadata": {"labels": {TENANT: None}}})
            await who.delete(path)
        await life.gone(stage.admin, path, 30)
    finally:
        await stage.admin.kubectl("delete", "-f", "-", text=block.text)


async def test_the_probe_tells_the_version(admin: Admin, manifests: None) -> None:
    """To everybody, whoever they are, and only for what is created."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{POLICY}"
    version = (await admin.get(path))["metadata"]["annotations"]["securetenant.dev/policy-version"]
    body = {"metadata": {"name": "lock-probe", "annotations": {"securetenant.dev/probe": ""}}}
    status, answer = await admin.request("POST", NAMESPACES, body, params={"dryRun": "All"})
    assert (status, f"probe: {POLICY} {version} is in force" in answer["message"]) == (403, True), answer


async def test_the_tenants_resource_is_not_what_is_locked(stage: Stage, mallory: Admin) -> None:
    """The spec is the platform team's to write, and the way to change what is locked."""
    await stage.tenant("lock-spec", life.spec("lock-spec-a"))
    changed = {"spec": {"displayName": "Shop"}}
    status, answer = await mallory.request("PATCH", f"{TENANTS}/lock-spec", changed, content_type=MERGE_PATCH)
    assert status == 200, answer
