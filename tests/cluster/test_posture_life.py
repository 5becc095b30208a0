"""The posture lock while the operator does its work, a tenant without it, break-glass, and everybody else's tools."""

from pathlib import Path
from typing import Final

import pytest
import yaml

from sandbox import audit
from sandbox import plane as sandbox_plane
from tests.support import life
from tests.support.life import MARKS, NAMESPACES, Json
from tests.support.locked import BREAK_GLASS, MASTERS
from tests.support.markdown import blocks
from tests.support.posture import COLLECTIONS, OBJECTS, OPENED, PLAIN, POLICY, WAYS, is_refused, merge
from tests.support.sandbox import ROOT, Admin, Plane, apply_manifests, wait_for
from tests.support.tenants import BINDINGS, POLICIES, QUOTAS, Stage

pytestmark = pytest.mark.cluster

CONTROLS: Final = {"policy": "network", "binding": "access", "quota": "quota", "range": "limits"}


async def test_the_operators_work_goes_on(stage: Stage, mallory: Admin) -> None:
    """Create, adopt, drift, heal, a change of the spec, and release; then the objects are everybody's again."""
    await stage.namespace("posture-old")
    adopted = {"name": "posture-old", "adopt": True}
    spec = life.spec(namespaces=[{"name": "posture-life-a"}, adopted])
    tenant = await stage.tenant("posture-life", spec)
    for space in ("posture-life-a", "posture-old"):
        for kind, control in CONTROLS.items():
            path = OBJECTS[kind].format(space)
            assert is_refused(await merge(mallory, path, OPENED[kind]))
            await stage.admin.patch(path, OPENED[kind])
            await tenant.healed((control, "Changed"))
            await stage.admin.delete(path)
            await tenant.healed((control, "Missing"))
    await tenant.edit({"network": {"ingress": []}, "quota": {"namespace": {"pods": "11"}}})
    await tenant.delete()
    for kind, path in OBJECTS.items():
        where = path.format("posture-old")
        assert (await merge(mallory, where, OPENED[kind]))[0] == 200
        await mallory.delete(where)
        await life.gone(mallory, where)


async def test_a_tenants_namespaces_go_with_it(stage: Stage, mallory: Admin) -> None:
    """Kubernetes' controllers delete what is locked."""
    tenant = await stage.tenant("posture-end", life.spec("posture-end-a", deletionPolicy="Delete"))
    await tenant.delete()
    assert await mallory.find(f"{NAMESPACES}/posture-end-a") is None


async def test_a_namespace_that_leaves_the_spec_is_released(stage: Stage, mallory: Admin) -> None:
    tenant = await stage.tenant("posture-two", life.spec("posture-two-a", "posture-two-b"))
    await tenant.edit({"namespaces": [{"name": "posture-two-a"}]})
    for kind, path in OBJECTS.items():
        assert (await merge(mallory, path.format("posture-two-b"), OPENED[kind]))[0] == 200
        assert is_refused(await merge(mallory, path.format("posture-two-a"), OPENED[kind]))


async def test_a_tenant_without_the_lock(stage: Stage, mallory: Admin) -> None:
    """What is changed then is found and put back."""
    spec = life.spec("posture-off-a", locks={"posture": False}, access={"foreign": "Remove"})
    tenant = await stage.tenant("posture-off", spec | {"network": {"foreign": "Remove"}})
    path = OBJECTS["policy"].format("posture-off-a")
    assert (await merge(mallory, path, OPENED["policy"]))[0] == 200
    await tenant.healed(("network", "Changed"))
    where = COLLECTIONS["policy"].format("posture-off-a")
    status, _ = await mallory.request("POST", where, {"metadata": {"name": "mine"}, "spec": {"podSelector": {}}})
    assert status == 201
    await tenant.healed(("network", "Foreign"))
    assert not is_refused(await mallory.request("PATCH", f"{NAMESPACES}/posture-off-a", {}))
    await tenant.edit({"locks": {"posture": True}})
    assert is_refused(await merge(mallory, path, OPENED["policy"]))
    body = {"metadata": {"name": "mine"}, "spec": {"podSelector": {}}}
    assert is_refused(await mallory.request("POST", where, body), "foreign: ")


async def test_the_glass_is_broken_on_the_record(plane: Plane, stage: Stage, mallory: Admin) -> None:
    """Who is in the group passes, and the audit log has what was refused to others; what it opened is healed."""
    space = "posture-glass-a"
    tenant = await stage.tenant("posture-glass", life.spec(space, access={"foreign": "Remove"}))
    assert plane.audit_log is not None
    offset = plane.audit_log.stat().st_size
    path = OBJECTS["policy"].format(space)
    async with Admin(plane, user="alice", groups=[MASTERS, BREAK_GLASS]) as alice:
        await alice.patch(path, OPENED["policy"])
    await tenant.healed(("network", "Changed"))
    await merge(mallory, path, OPENED["policy"])
    events, _ = audit.read(plane.audit_log, offset)
    told = [
        event.get("annotations", {})
        for event in events
        if event.get("impersonatedUser", {}).get("username") in ("alice", "mallory")
        and event["requestURI"].startswith(path)
        and event["verb"] == "patch"
    ]
    assert told[0][f"{POLICY}/break-glass"] == "spec of NetworkPolicy securetenant-default-deny"
    assert f"{POLICY}/break-glass" not in told[1]
    assert [each[f"{POLICY}/tenant"] for each in told] == ["posture-glass"] * 2
    assert "locked: spec of NetworkPolicy" in told[1]["validation.policy.admission.k8s.io/validation_failure"]


async def test_the_way_in_that_the_docs_tell(plane: Plane, stage: Stage) -> None:
    """Those who break the glass have the rights that the four objects give, and no more."""
    (block,) = (b for b in blocks(ROOT / "docs" / "operations.md") if "name: break-glass-on-call" in b.text)
    space = "posture-docs-a"
    await stage.tenant("posture-docs", life.spec(space))
    await stage.admin.apply(block.text)
    try:
        await life.edit(stage.admin, "posture-docs", {"mode": "Paused"})
        async with Admin(plane, user="break-glass", groups=[BREAK_GLASS]) as who:
            for kind in ("policy", "quota", "range"):
                await who.patch(OBJECTS[kind].format(space), OPENED[kind])
            for path in OBJECTS.values():
                await who.delete(path.format(space))
    finally:
        await stage.admin.kubectl("delete", "-f", "-", text=block.text)


# --- others' tools


async def test_gitops_and_backup_tools(stage: Stage, mallory: Admin) -> None:
    """What they hold of their own they apply, prune and restore. An export of ours, they may apply only as it is."""
    space = "posture-git-a"
    tenant = await stage.tenant("posture-git", life.spec(space, network={"foreign": "Ignore"}))
    ask = (f"--as={mallory.user}", f"--as-group={MASTERS}", "-n", space)
    own: Json = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "app", "namespace": space, "labels": {"app.kubernetes.io/managed-by": "argocd"}},
        "spec": {"podSelector": {}},
    }
    await stage.admin.kubectl(*ask, "apply", "-f", "-", text=yaml.safe_dump(own))
    await stage.admin.kubectl(
        *ask, "apply", "-f", "-", "--prune", "-l", "app.kubernetes.io/managed-by=argocd",
        "--prune-allowlist=networking.k8s.io/v1/NetworkPolicy",
        text=yaml.safe_dump({**own, "metadata": {**own["metadata"], "name": "other"}}),
    )  # fmt: skip
    assert await mallory.find(f"{POLICIES.format(space)}/app") is None
    await tenant.agrees()

    exported = await mallory.get(OBJECTS["policy"].format(space))
    exported["metadata"] = {key: exported["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    text = yaml.safe_dump(exported)
    await stage.admin.kubectl(*ask, "apply", "--server-side", "--field-manager=velero", "-f", "-", text=text)
    await tenant.agrees()
    with pytest.raises(
        AssertionError, match=r"locked: metadata\.annotations of NetworkPolicy securetenant-default-deny"
    ):
        await stage.admin.kubectl(*ask, "apply", "-f", "-", text=text)
    # A restore into a namespace that stands makes what is missing; what is ours is the operator's to make.
    answer = await mallory.request("POST", POLICIES.format(space), exported)
    assert is_refused(answer, "locked: creation of NetworkPolicy securetenant-default-deny"), answer
    for path in OBJECTS.values():
        assert await mallory.find(path.format(space)) is not None


async def test_a_chart_with_a_role_binding_of_its_own(stage: Stage, mallory: Admin) -> None:
    """It is installed where the spec says nothing, and refused where others' are removed, by a message that says so."""
    binding = {
        "metadata": {"name": "leader-election", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "posture-helm-a"}],
    }
    tenant = await stage.tenant("posture-helm", life.spec("posture-helm-a"))
    where = BINDINGS.format("posture-helm-a")
    await mallory.create(where, binding)
    await tenant.reported(("access", "Foreign"))
    await mallory.delete(f"{where}/leader-election")
    await tenant.cleared(("access", "Foreign"))
    await tenant.edit({"access": {"foreign": "Remove"}})
    answer = await mallory.request("POST", where, binding)
    assert is_refused(answer, "foreign: creation of RoleBinding leader-election: "), answer


# --- Kubernetes' own


async def left_behind(admin: Admin, space: str) -> None:
    """A namespace with an object of each kind, as an operator that is gone left them."""
    marks = {"securetenant.dev/tenant": "x", "app.kubernetes.io/managed-by": "securetenant"}
    metadata = {"name": space, "labels": {**marks, "securetenant.dev/admission": "Deny"}}
    await admin.create(NAMESPACES, {"metadata": metadata})
    for kind in OBJECTS:
        body = {"metadata": {"name": "ours", "labels": marks}, **PLAIN[kind]}
        await admin.create(COLLECTIONS[kind].format(space), body)


async def test_quotas_are_counted_and_namespaces_end(cluster: Admin) -> None:
    """The API server counts what is made, its controller what is deleted, and another empties the namespace."""
    space = "posture-counted"
    await left_behind(cluster, space)
    quota = f"{QUOTAS.format(space)}/ours"

    async def used() -> str:
        return str((await cluster.get(quota)).get("status", {}).get("used", {}).get("configmaps"))

    async def counted(number: str) -> bool:
        return await used() == number

    await wait_for(lambda: counted("1"), 20, "kube-root-ca.crt to be counted")
    maps = f"{NAMESPACES}/{space}/configmaps"
    await cluster.create(maps, {"metadata": {"name": "one"}})
    assert await used() == "2"
    await cluster.delete(f"{maps}/one")
    await wait_for(lambda: counted("1"), 20, "the deletion to be counted")
    owner = await cluster.create(maps, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await WAYS["merge"](cluster, OBJECTS_OURS.format(space), {"metadata": {"ownerReferences": [reference]}})
    await cluster.delete(f"{maps}/owner")
    await life.gone(cluster, OBJECTS_OURS.format(space))
    await cluster.delete(f"{NAMESPACES}/{space}")
    await life.gone(cluster, f"{NAMESPACES}/{space}", 30)


OBJECTS_OURS: Final = f"{POLICIES}/ours"


async def test_uninstalled_as_the_docs_say_nothing_is_locked(tmp_path: Path) -> None:
    """The policies go first: without the operator nobody but break-glass could take the marks off."""
    (block,) = (
        b
        for b in blocks(ROOT / "docs" / "operations.md")
        if "kubectl delete validatingadmissionpolicybindings," in b.text
    )
    command = block.text.removeprefix("$ kubectl ").split()
    space = "posture-left"
    with sandbox_plane.start(tmp_path / "plane") as plane:
        async with Admin(plane) as admin, Admin(plane, user="mallory", groups=[MASTERS]) as mallory:
            await apply_manifests(admin)
            await left_behind(admin, space)
            for kind in OBJECTS:
                path = f"{COLLECTIONS[kind].format(space)}/ours"
                assert is_refused(await merge(mallory, path, {"metadata": {"labels": dict.fromkeys(MARKS)}}))
            await admin.kubectl(*command)

            async def is_free() -> bool:
                answer = await merge(mallory, OBJECTS_OURS.format(space), {"metadata": {"labels": {"a": "b"}}})
                return answer[0] == 200

            await wait_for(is_free, 10, "the policies to be gone")
            for kind in OBJECTS:
                await mallory.delete(f"{COLLECTIONS[kind].format(space)}/ours")
            await mallory.delete(f"{NAMESPACES}/{space}")
            await life.gone(mallory, f"{NAMESPACES}/{space}", 30)
