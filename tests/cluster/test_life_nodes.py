"""Dedicated nodes, on a real control plane with its real scheduler, from the first taint to the giving back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.plane import Plane
from tests.support import life, tenants
from tests.support import pods as compliant
from tests.support.life import APPLIED, NAMESPACES
from tests.support.sandbox import JSON_PATCH, Admin, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
NODES: Final = "/api/v1/nodes"
LABEL: Final = "securetenant.node-restriction.kubernetes.io/tenant"
TAINT: Final = "securetenant.dev/tenant"
CHANGED: Final = ("nodes", "Changed")
RIGHTS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/securetenant-controller-nodes"


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, node_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """With the right over nodes."""
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator"), nodes="nod-") as stage:
        yield stage


async def make(stage: Stage, pool: str, count: int, **labels: str) -> list[str]:
    return await asyncio.to_thread(nodes.create, stage.plane, count, {"pool": pool, **labels}, prefix=pool)


def spec(pool: str, effect: str = "NoSchedule", **other: Any) -> dict[str, Any]:
    return {"nodes": {"selector": {"matchLabels": {"pool": pool}}, "effect": effect}, **other}


def taint(tenant: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": TAINT, "value": tenant, "effect": effect}


async def state(admin: Admin, name: str) -> tuple[str, list[dict[str, str]]]:
    """A node's label of ours and its taints, as (key, value, effect)."""
    node = await admin.get(f"{NODES}/{name}")
    listed = [{k: t[k] for k in ("key", "value", "effect") if k in t} for t in node["spec"].get("taints", [])]
    return node["metadata"]["labels"].get(LABEL, ""), listed


async def becomes(admin: Admin, name: str, tenant: str, *taints: dict[str, str]) -> None:
    async def is_so() -> bool:
        assert await state(admin, name) == (tenant, list(taints))
        return True

    await wait_for(is_so, 20, f"{name} to be {tenant or 'nobody'}'s")


async def ready(tenant: Tenant, status: str, reason: str) -> dict[str, Any]:
    """Wait for that condition of the nodes."""

    async def is_so() -> dict[str, Any]:
        condition = await tenant.condition("NodesReady")
        assert (condition.get("status"), condition.get("reason")) == (status, reason), condition
        return condition

    return await wait_for(is_so, 20, f"NodesReady {reason}")


async def relabel(admin: Admin, name: str, labels: Mapping[str, str | None]) -> None:
    body = {"metadata": {"labels": dict(labels)}}
    await admin.patch(f"{NODES}/{name}", body, params={"fieldManager": MANAGER})


async def test_created_edited_and_given_back(stage: Stage) -> None:
    admin = stage.admin
    first, second = await make(stage, "nod-life", 2)
    tenant = await stage.tenant("nod-life", spec("nod-life"))
    for name in (first, second):
        assert await state(admin, name) == ("nod-life", [taint("nod-life")])
        assert APPLIED in (await admin.get(f"{NODES}/{name}"))["metadata"]["annotations"]
    await ready(tenant, "True", "Dedicated")
    assert (await tenant.get())["status"]["nodes"] == [first, second]
    assert await stage.operator.metric("securetenant_node_dedicated", tenant="nod-life") == 2

    await tenant.edit(spec("nod-life", "NoExecute"))
    for name in (first, second):
        await becomes(admin, name, "nod-life", taint("nod-life", "NoExecute"))
    await tenant.agrees()

    await relabel(admin, second, {"pool": "other"})
    await becomes(admin, second, "")
    assert APPLIED not in (await admin.get(f"{NODES}/{second}"))["metadata"].get("annotations", {})
    await relabel(admin, second, {"pool": "nod-life"})
    await becomes(admin, second, "nod-life", taint("nod-life", "NoExecute"))
    await tenant.agrees("relabelling to be no drift")

    await tenant.edit({"nodes": None})
    for name in (first, second):
        await becomes(admin, name, "")
    await tenant.agrees()


async def test_a_deleted_tenants_nodes_are_given_back(stage: Stage) -> None:
    (name,) = await make(stage, "nod-gone", 1)
    tenant = await stage.tenant("nod-gone", spec("nod-gone"))
    await tenant.delete()
    assert await state(stage.admin, name) == ("", [])


async def test_no_node_is_told(stage: Stage) -> None:
    tenant = await stage.create("nod-none", spec("nod-none"))
    condition = await ready(tenant, "False", "NoNodes")
    assert "pool=nod-none" in condition["message"]
    (name,) = await make(stage, "nod-none", 1)
    await ready(tenant, "True", "Dedicated")
    await becomes(stage.admin, name, "nod-none", taint("nod-none"))
    await life.ready(stage.admin, "nod-none")


OTHERS: Final = {"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"}
#: What is done to a node, and whether the cluster still knows who did it.
TAMPERINGS: Final = [
    pytest.param([{"op": "remove", "path": "/spec/taints"}], id="take-taints"),
    pytest.param([{"op": "replace", "path": "/spec/taints/0/value", "value": "other"}], id="change-value"),
    pytest.param([{"op": "replace", "path": "/spec/taints/0/effect", "value": "PreferNoSchedule"}], id="soften"),
    pytest.param([{"op": "add", "path": "/spec/taints/-", "value": taint("other", "NoExecute")}], id="second-of-ours"),
    pytest.param([{"op": "remove", "path": f"/metadata/labels/{LABEL.replace('/', '~1')}"}], id="take-label"),
    pytest.param(
        [{"op": "replace", "path": f"/metadata/labels/{LABEL.replace('/', '~1')}", "value": "other"}], id="change-label"
    ),
    pytest.param([{"op": "remove", "path": f"/metadata/annotations/{APPLIED.replace('/', '~1')}"}], id="strip-record"),
]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant with a node for each tampering, each with another's taint beside its own."""
    for name in await make(stage, "nod-shop", len(TAMPERINGS)):
        patch = [{"op": "add", "path": "/spec/taints", "value": [OTHERS]}]
        await stage.admin.patch(f"{NODES}/{name}", patch, JSON_PATCH)
    return await stage.tenant("nod-shop", spec("nod-shop"))


@pytest.mark.parametrize("patch", TAMPERINGS)
async def test_tampering_is_healed_and_others_taints_are_left(
    stage: Stage, shop: Tenant, patch: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    name = f"nod-shop-{[param.id for param in TAMPERINGS].index(request.node.callspec.id)}"
    assert await state(stage.admin, name) == ("nod-shop", [OTHERS, taint("nod-shop")])
    # Ours first, so that the patches can name it; where it stands makes no difference.
    swapped = {"op": "add", "path": "/spec/taints", "value": [taint("nod-shop"), OTHERS]}
    await stage.admin.patch(f"{NODES}/{name}", [swapped], JSON_PATCH)
    await shop.agrees("the order of taints to be no drift")
    is_all = patch[0]["path"] == "/spec/taints"
    await stage.admin.patch(f"{NODES}/{name}", patch, JSON_PATCH, params={"fieldManager": MANAGER})
    await shop.healed(CHANGED)
    tenant, taints = await state(stage.admin, name)
    assert tenant == "nod-shop"
    assert (
        taints == [taint("nod-shop")]
        if is_all
        else sorted(taints, key=lambda t: t["key"])
        == [
            OTHERS,
            taint("nod-shop"),
        ]
    )
    assert shop.told()[-1]["object"] == f"Node/{name}"
    assert APPLIED in (await stage.admin.get(f"{NODES}/{name}"))["metadata"]["annotations"]


async def test_a_node_that_is_marked_without_being_selected_is_given_back(stage: Stage, shop: Tenant) -> None:
    """Our label on another's node would let the tenant's pods there."""
    (name,) = await make(stage, "nod-stray", 1)
    await relabel(stage.admin, name, {LABEL: "nod-shop"})
    await shop.healed(("nodes", "Stale"))
    assert await state(stage.admin, name) == ("", [])


async def test_only_pods_that_tolerate_it_are_placed(stage: Stage) -> None:
    """Others in a namespace of no tenant, where admission does not refuse their pods."""
    (name,) = await make(stage, "nod-place", 1)
    await stage.tenant("nod-place", spec("nod-place", namespaces=[{"name": "nod-place-a"}]))
    await stage.namespace("nod-others")
    pods, others = (f"/api/v1/namespaces/{space}/pods" for space in ("nod-place-a", "nod-others"))

    async def have_accounts() -> bool:
        spaces = ("nod-place-a", "nod-others")
        return all([await stage.admin.find(f"{NAMESPACES}/{space}/serviceaccounts/default") for space in spaces])

    await wait_for(have_accounts, 20, "the namespaces' ServiceAccounts")

    def pod(pod_name: str, *tolerations: dict[str, str], **labels: str) -> dict[str, Any]:
        """It asks for the node by its own label; whether it may is the taint's to say."""
        selector = {"pool": "nod-place", **labels}
        return {
            "metadata": {"name": pod_name},
            "spec": compliant.spec(nodeSelector=selector, tolerations=list(tolerations)),
        }

    await stage.admin.create(others, pod("intruder"))
    tolerated = {"key": TAINT, "operator": "Equal", "value": "nod-place", "effect": "NoSchedule"}
    other = tolerated | {"value": "another"}
    await stage.admin.create(others, pod("other-tenants", other))
    await stage.admin.create(pods, pod("own", tolerated, **{LABEL: "nod-place"}))

    async def is_placed() -> bool:
        return bool((await stage.admin.get(f"{pods}/own"))["spec"].get("nodeName") == name)

    async def is_refused(pod_name: str) -> bool:
        found = await stage.admin.get(f"{others}/{pod_name}")
        assert "nodeName" not in found["spec"]
        conditions = {c["type"]: c for c in found["status"].get("conditions", [])}
        # The scheduler names no taints. That the node is otherwise fit for it shows `own`, which asks for the same.
        return "had untolerated taint(s)" in conditions.get("PodScheduled", {}).get("message", "")

    await wait_for(is_placed, 20, "the tenant's own pod to be placed")
    await wait_for(lambda: is_refused("intruder"), 20, "the scheduler to refuse a pod without the toleration")
    await wait_for(lambda: is_refused("other-tenants"), 20, "the scheduler to refuse another tenant's pod")


async def test_of_two_that_select_it_the_older_has_it(stage: Stage) -> None:
    (name,) = await make(stage, "nod-both", 1, zone="nod-both")
    older = await stage.tenant("nod-older", spec("nod-both"))
    both = {"nodes": {"selector": {"matchLabels": {"zone": "nod-both"}}}}
    younger = await stage.create("nod-younger", both)
    condition = await ready(younger, "False", "Conflict")
    assert "SecureTenant nod-older" in condition["message"]
    assert await state(stage.admin, name) == ("nod-older", [taint("nod-older")])
    await older.agrees("the younger one to change nothing")
    await older.edit({"nodes": None})
    await ready(younger, "True", "Dedicated")
    await becomes(stage.admin, name, "nod-younger", taint("nod-younger"))
    await older.agrees()
    await younger.agrees()


async def test_without_the_rights_a_condition_says_how_to_mend_it(stage: Stage) -> None:
    """The rights are opt-in: all else of the tenant is in force without them."""
    binding = await stage.admin.get(RIGHTS)
    await stage.admin.delete(RIGHTS)
    bare = {key: binding[key] for key in ("apiVersion", "kind", "roleRef", "subjects")}
    try:
        (name,) = await make(stage, "nod-bare", 1)
        tenant = await stage.create("nod-bare", spec("nod-bare", namespaces=[{"name": "nod-bare-a"}]))

        async def is_told() -> str:
            ready = await tenant.condition("Ready")
            assert ready.get("status") == "False", ready
            assert "Forbidden" in ready["message"], ready
            return str(ready["message"])

        message = await wait_for(is_told, 20, "the condition to say so")
        assert f"Node/{name}" in message
        assert "manifests/components/nodes" in message
        assert await life.children(stage.admin, "nod-bare-a")
        assert await state(stage.admin, name) == ("", [])
    finally:
        created = await stage.admin.create(
            RIGHTS.rpartition("/")[0], {**bare, "metadata": {"name": binding["metadata"]["name"]}}
        )
    assert created["metadata"]["uid"] != binding["metadata"]["uid"]
    # Retried with back-off: mended, it goes on by itself.
    await becomes(stage.admin, name, "nod-bare", taint("nod-bare"))
    await life.ready(stage.admin, "nod-bare", deadline=30)
