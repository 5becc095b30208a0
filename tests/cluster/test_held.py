"""Ways to stay in force unseen: held by a finalizer while Terminating, or put back from a copy of our own making."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support import life, tenants
from tests.support.sandbox import Admin, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import BINDINGS, POLICIES, Stage, Tenant

pytestmark = pytest.mark.cluster
HOLD: Final = {"finalizers": ["example.com/never"]}
OPEN: Final = {"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}}
_RBAC: Final = "rbac.authorization.k8s.io"
MASTER: Final = {
    "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "mallory"}],
}


EACH: Final = pytest.mark.parametrize(
    ("control", "collection", "body"),
    [
        pytest.param("network", POLICIES, OPEN, id="policy"),
        pytest.param("access", BINDINGS, MASTER, id="binding-to-cluster-admin"),
    ],
)


async def make_held(admin: Admin, tenant: Tenant, collection: str, body: dict[str, Any], **metadata: Any) -> str:
    """Create an object that a finalizer holds, and delete it; its path. Nobody looks meanwhile."""
    whole = {**body, "metadata": {"name": "held", **HOLD, **metadata}}
    await tenant.edit({"mode": "Paused"})
    status, answer = await admin.request("POST", collection, whole, params={"fieldManager": MANAGER})
    assert status == 201, answer
    await admin.delete(f"{collection}/held")
    await life.edit(admin, tenant.name, {"mode": "Enforce"})
    return f"{collection}/held"


@EACH
async def test_a_forged_one_does_not_hide_by_being_deleted(
    stage: Stage, control: str, collection: str, body: dict[str, Any]
) -> None:
    name = f"held-{control}"
    tenant = await stage.tenant(name, life.spec(f"{name}-a"))
    labels = tenants.marks(name, control)
    path = await make_held(stage.admin, tenant, collection.format(f"{name}-a"), body, labels=labels)
    await life.gone(stage.admin, path)
    await wait_for(lambda: bool(tenant.told()), 10, "it to be told of")
    assert {line["reason"] for line in tenant.told()} == {"Stale"}
    await life.ready(stage.admin, name)


@EACH
async def test_a_foreign_one_is_removed_whatever_holds_it(
    stage: Stage, control: str, collection: str, body: dict[str, Any]
) -> None:
    name = f"held-foreign-{control}"
    spec = life.spec(f"{name}-a")
    tenant = await stage.tenant(name, {**spec, control: {**spec[control], "foreign": "Remove"}})
    path = await make_held(stage.admin, tenant, collection.format(f"{name}-a"), body)
    await life.gone(stage.admin, path)
    await wait_for(lambda: bool(tenant.told()), 10, "it to be told of")
    assert {line["reason"] for line in tenant.told()} == {"Foreign"}
    await life.ready(stage.admin, name)


async def test_a_held_foreign_one_that_stays_is_shown(stage: Stage) -> None:
    tenant = await stage.tenant("held-shown", life.spec("held-shown-a"))
    path = await make_held(stage.admin, tenant, POLICIES.format("held-shown-a"), OPEN)
    await tenant.reported(("network", "Foreign"))
    await stage.admin.patch(path, {"metadata": {"finalizers": None}})
    await tenant.cleared(("network", "Foreign"))


async def test_a_tenant_with_a_replaced_binding_can_be_deleted(stage: Stage) -> None:
    """While Paused somebody puts another role under our name: the API server lets us not write that."""
    tenant = await stage.tenant("held-replaced", life.spec("held-replaced-a"))
    await life.edit(stage.admin, "held-replaced", {"mode": "Paused"})
    path = f"{BINDINGS.format('held-replaced-a')}/securetenant-developer"
    metadata = (await stage.admin.get(path))["metadata"]
    await stage.admin.delete(path)
    kept = {key: metadata[key] for key in ("name", "labels", "annotations")}
    await stage.admin.create(path.rpartition("/")[0], {**MASTER, "metadata": kept})
    await tenant.delete()
    assert await stage.admin.find(path) is None
    assert await stage.admin.find(f"{POLICIES.format('held-replaced-a')}/securetenant-default-deny")


@contextlib.asynccontextmanager
async def restoring(admin: Admin, path: str, spec: Any, annotations: Any) -> AsyncIterator[None]:
    """Put an object's older content back, with the record that it had, whenever it is found otherwise."""

    async def restore() -> None:
        while True:
            if (await admin.get(path))["spec"] != spec:
                body = {"metadata": {"annotations": annotations}, "spec": spec}
                await admin.patch(path, body, params={"fieldManager": "restore"})
            await asyncio.sleep(0.01)  # sleep: the rival's pace

    task = asyncio.create_task(restore())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_older_state_that_is_put_back_is_drift_and_contested(stage: Stage) -> None:
    name = "held-copy"
    tenant = await stage.tenant(name, life.spec(f"{name}-a"))
    path = f"{POLICIES.format(f'{name}-a')}/securetenant-ingress-office"
    older = await stage.admin.get(path)
    await tenant.edit({"network": {"ingress": [life.cidr_rule("office", "10.8.1.0/24")]}})
    body = {"metadata": {"annotations": older["metadata"]["annotations"]}, "spec": older["spec"]}
    await stage.admin.patch(path, body, params={"fieldManager": "restore"})
    await tenant.healed(("network", "Changed"))
    assert tenant.told()[-1]["manager"] == "restore"

    async def is_contested() -> bool:
        return (await tenant.condition("Contested")).get("status") == "True"

    async with restoring(stage.admin, path, older["spec"], older["metadata"]["annotations"]):
        await wait_for(is_contested, 15, "the condition Contested")


async def test_a_rule_that_is_gone_and_put_back_is_drift(stage: Stage) -> None:
    name = "held-gone"
    tenant = await stage.tenant(name, life.spec(f"{name}-a"))
    path = f"{POLICIES.format(f'{name}-a')}/securetenant-ingress-office"
    older = await stage.admin.get(path)
    await tenant.edit({"network": {"ingress": []}})
    metadata = {key: older["metadata"][key] for key in ("name", "labels", "annotations")}
    again = {"metadata": metadata, "spec": older["spec"]}
    await stage.admin.request("POST", path.rpartition("/")[0], again, params={"fieldManager": "restore"})
    await tenant.healed(("network", "Stale"))
    assert await stage.admin.find(path) is None
