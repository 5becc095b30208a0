"""A control that is one file and one row goes through a life on the control plane: created, tampered with, healed,
changed, stale, released."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox.operator import NAMESPACE, SERVICE_ACCOUNT
from securetenant.api import crd
from securetenant.api.definitions import TENANT
from tests.support import lab, life
from tests.support.fault import free_lease
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Plane, apply_crds, run_operator, wait_for
from tests.support.shortened import shortened
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
ROOT: Final = Path(__file__).parents[2]
INSTALL: Final = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tests.support.lab as lab; lab.install()"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
CRD: Final = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{TENANT.name}"
BUDGET: Final = "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/securetenant-lab"
CLASSES: Final = "/apis/scheduling.k8s.io/v1/priorityclasses"
VERBS: Final = ["list", "watch", "get", "create", "update", "delete"]
SPEC: Final = {"namespaces": [{"name": "lab-a", "labels": {"env": "test"}}], "lab": {"level": "lab-high"}}


@pytest_asyncio.fixture(scope="module")
async def stage(plane: Plane, admin: Admin, manifests: None, tmp_path_factory: Any) -> AsyncIterator[Stage]:
    """The operator with one control more, the CRD with one section more, and the rights for its kinds."""
    folder = tmp_path_factory.mktemp("lab")
    rules = [
        {
            "apiGroups": ["policy"],
            "resources": ["poddisruptionbudgets"],
            "verbs": ["list", "watch", "get", "create", "update", "delete"],
        },
        {"apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"], "verbs": ["list", "watch"]},
    ]
    who = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lab"}
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "lab"}, "rules": rules})
    await admin.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "lab"}, "roleRef": role, "subjects": [who]})
    await _define(admin)
    await free_lease(admin)
    made: Stage | None = None
    try:
        async with run_operator(plane, folder, env=shortened(folder, {}, INSTALL)) as operator:
            made = Stage(plane, admin, operator)
            yield made
            await life.remove(admin, *made.names)
    finally:
        await admin.delete(f"{RBAC}/clusterrolebindings/lab")
        await admin.delete(f"{RBAC}/clusterroles/lab")
        await admin.delete(f"{CLASSES}/lab-high")
        await apply_crds(admin)


async def _define(admin: Admin) -> None:
    """Serve the CRD with the section and the part of the status."""
    made = crd.definition(replace(TENANT, model=lab.LabResource))
    standing = await admin.get(CRD)
    await admin.request("PUT", CRD, {**made, "metadata": standing["metadata"]})

    async def is_served() -> bool:
        probe = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": "lab-probe"}}
        code, answer = await admin.request(
            "POST", life.TENANTS, {**probe, "spec": {"lab": {"level": "x"}}}, params={"dryRun": "All"}
        )
        return code == 201 and "lab" in answer["spec"]

    await wait_for(is_served, 20, "the CRD with the section")


async def standing(admin: Admin) -> tuple[Json, Json]:
    """The budget, and the labels of its namespace."""
    code, budget = await admin.request("GET", BUDGET.format("lab-a"))
    labels = (await admin.get(f"{NAMESPACES}/lab-a"))["metadata"]["labels"]
    return (budget if code == 200 else {}), labels


async def test_one_file_and_one_row_are_a_control(stage: Stage) -> None:
    admin = stage.admin
    tenant = await stage.tenant("lab", SPEC)
    budget, labels = await standing(admin)
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"lab": "lab-high"}}}
    assert budget["metadata"]["labels"]["securetenant.dev/control"] == "lab"
    assert (labels[lab.LEVEL], labels["env"]) == ("lab-high", "test"), "two controls, one object"
    status = (await tenant.get())["status"]
    assert status["lab"] == {"rooms": ["lab-a"]}
    assert (await tenant.condition("LabReady"))["reason"] == "Unheard"
    assert await stage.operator.metric("securetenant_lab_rooms", tenant="lab") == 1.0

    # Drift of its own kind, and of its part of an object that another control writes too: counted as its own.
    await admin.delete(BUDGET.format("lab-a"))
    await tenant.healed(("lab", "Missing"))
    await admin.patch(f"{NAMESPACES}/lab-a", {"metadata": {"labels": {lab.LEVEL: "none"}}})
    await tenant.healed(("lab", "Changed"))
    await admin.patch(f"{NAMESPACES}/lab-a", {"metadata": {"labels": {"env": "other"}}})
    await tenant.healed(("namespaces", "Changed"))
    budget, labels = await standing(admin)
    assert (labels[lab.LEVEL], labels["env"]) == ("lab-high", "test")

    # Its trigger: what it looks at came, and goes.
    await admin.create(CLASSES, {"metadata": {"name": "lab-high"}, "value": 7})
    await _budget_is(admin, 2)
    await wait_for(lambda: _says(tenant, "Known"), 20, "the condition to say so")
    await admin.delete(f"{CLASSES}/lab-high")
    await _budget_is(admin, 1)
    await tenant.agrees("what a trigger brought is no drift")

    # Stale: the section leaves the spec, and its objects and its label with it.
    await tenant.edit({"lab": None})

    async def is_gone() -> bool:
        left, labels = await standing(admin)
        return not left and lab.LEVEL not in labels and labels["env"] == "test"

    await wait_for(is_gone, 20, "what the section brought to be gone")
    assert await stage.operator.metric("securetenant_lab_rooms", tenant="lab") == 0.0

    # Deletion, with its objects there again: Retain takes the marks off and leaves the rest.
    await tenant.edit({"lab": {"level": "lab-high"}})
    await _budget_is(admin, 1)
    await tenant.delete()
    budget, labels = await standing(admin)
    assert "securetenant.dev/control" not in budget["metadata"].get("labels", {})
    assert labels[lab.LEVEL] == "lab-high"
    await admin.delete(f"{NAMESPACES}/lab-a")


async def _says(tenant: Tenant, reason: str) -> bool:
    return bool((await tenant.condition("LabReady"))["reason"] == reason)


async def _budget_is(admin: Admin, number: int) -> None:
    async def is_so() -> bool:
        budget, _ = await standing(admin)
        return bool(budget) and budget["spec"]["maxUnavailable"] == number

    await wait_for(is_so, 20, f"the budget to be {number}")
