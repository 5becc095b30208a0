"""Dedicated nodes with the real scheduler and controllers: whose pods land where, under the policies as they ship."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.plane import Plane
from securetenant.checks.policies import PROBE
from tests.support import attacks, tenants
from tests.support.life import Json
from tests.support.sandbox import JSON_PATCH, MUTATING, ROOT, Admin, wait_for
from tests.support.tenants import Stage

pytestmark = pytest.mark.cluster

NODES: Final = "/api/v1/nodes"
PODS: Final = "/api/v1/namespaces/{}/pods"
APPS: Final = "/apis/apps/v1/namespaces/{}/"
LABEL: Final = "securetenant.node-restriction.kubernetes.io/tenant"
TAINT: Final = "securetenant.dev/tenant"
INJECTION: Final = ("-f", str(ROOT / "manifests" / "components" / "injection" / "policy.yaml"))


@pytest.fixture(scope="module")
def injects(minor: int) -> bool:
    """Whether the API server writes selector and toleration into pods; to an older one their authors do."""
    return minor >= MUTATING


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, injects: bool, node_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """The operator with the right over nodes, all policies in force."""
    try:
        if injects:
            await admin.kubectl("apply", *INJECTION)
        async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator"), nodes="ded-") as stage:
            yield stage
    finally:
        if injects:
            await admin.kubectl("delete", "--ignore-not-found", *INJECTION)


def template(**spec: Any) -> Json:
    """A pod that breaks no rule, without a word on nodes."""
    body = attacks.pod()
    body["spec"] = {**body["spec"], "initContainers": [], **spec}
    return body


def written(owner: str) -> Json:
    """What the API server writes into the pods of a tenant with nodes."""
    return {"nodeSelector": {LABEL: owner}, "tolerations": [{"key": TAINT, "operator": "Equal", "value": owner}]}


async def deploy(admin: Admin, namespace: str, kind: str, replicas: int = 0, **spec: Any) -> None:
    body = attacks.workload(kind, template(**spec))
    body["metadata"]["name"] = kind.lower()
    body["spec"]["template"]["metadata"]["labels"] = {"app": kind.lower()}
    body["spec"]["selector"] = {"matchLabels": {"app": kind.lower()}}
    if replicas:
        body["spec"]["replicas"] = replicas
    await admin.create(APPS.format(namespace) + f"{kind.lower()}s", body)


async def scale(admin: Admin, namespace: str, replicas: int) -> None:
    await admin.patch(APPS.format(namespace) + "deployments/deployment", {"spec": {"replicas": replicas}})


async def spots(admin: Admin, namespace: str, kind: str) -> list[str]:
    """The node of each pod of the workload, "" for one that has none yet."""
    items = (await admin.get(PODS.format(namespace)))["items"]
    alive = [i for i in items if i["metadata"]["labels"]["app"] == kind and "deletionTimestamp" not in i["metadata"]]
    return sorted(item["spec"].get("nodeName", "") for item in alive)


async def placed(admin: Admin, namespace: str, count: int, allowed: Iterable[str]) -> None:
    """Wait until the Deployment has that many pods, all on these nodes."""

    async def is_so() -> bool:
        found = await spots(admin, namespace, "deployment")
        assert set(found) <= {*allowed, ""}, found
        return len(found) == count and "" not in found

    await wait_for(is_so, 40, f"{count} pods of {namespace} to be on {sorted(allowed)}")


async def everywhere(admin: Admin, namespace: str, wanted: Iterable[str]) -> None:
    """Wait until the DaemonSet has a pod on each of these nodes, and on no other."""

    async def is_so() -> bool:
        assert await spots(admin, namespace, "daemonset") == sorted(wanted)
        return True

    await wait_for(is_so, 40, f"the DaemonSet of {namespace} to be on {sorted(wanted)}")


async def in_force(admin: Admin, namespace: str, spec: Json) -> bool:
    """Both policies answer the probe: one by what it writes, unless the spec has it, the other by refusing it."""
    body = template(**spec)
    body["metadata"]["annotations"] = {PROBE: "1"}
    answer = str(await admin.request("POST", PODS.format(namespace), body, params={"dryRun": "All"}))
    assert "is in force" in answer, answer
    del body["metadata"]["annotations"]
    status, made = await admin.request("POST", PODS.format(namespace), body, params={"dryRun": "All"})
    return status == 201 and LABEL in made["spec"]["nodeSelector"]


@contextlib.asynccontextmanager
async def watched(admin: Admin, namespace: str, allowed: set[str]) -> AsyncIterator[None]:
    """While the context stands, no pod of the namespace is bound to another node than these, not for a moment."""
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            found = set(await spots(admin, namespace, "deployment")) - {""}
            assert found <= allowed, f"{namespace} on {found - allowed}"

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        done.set()
        await task


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
async def test_pods_land_on_their_tenants_nodes_and_others_never(stage: Stage, effect: str, injects: bool) -> None:
    admin, name = stage.admin, f"ded-{effect.lower()}"
    risk, web, free, platform = (f"{name}-{part}" for part in ("risk", "web", "free", "platform"))

    async def make(pool: str, count: int) -> list[str]:
        return await asyncio.to_thread(nodes.create, stage.plane, count, {"pool": pool}, prefix=pool)

    mine, others, shared = await make(risk, 2), await make(web, 1), await make(free, 2)
    for owner in (risk, web, free):
        section = {"nodes": {"selector": {"matchLabels": {"pool": owner}}, "effect": effect}} if owner != free else {}
        await stage.tenant(owner, {"namespaces": [{"name": f"{owner}-a"}], **section})
    by_hand = {owner: {} if injects or owner == free else written(owner) for owner in (risk, web, free)}
    await wait_for(lambda: in_force(admin, f"{risk}-a", by_hand[risk]), 20, "the policies to be in force")
    await stage.namespace(platform)
    await deploy(admin, platform, "DaemonSet", tolerations=[{"key": TAINT, "operator": "Exists"}])
    await deploy(admin, f"{risk}-a", "DaemonSet", **written(risk))
    for owner in (risk, web, free):
        await deploy(admin, f"{owner}-a", "Deployment", 4, **by_hand[owner])
    try:
        await placed(admin, f"{risk}-a", 4, mine)
        await placed(admin, f"{web}-a", 4, others)
        await placed(admin, f"{free}-a", 4, shared)
        await everywhere(admin, platform, [*mine, *others, *shared])
        await everywhere(admin, f"{risk}-a", mine)

        # The selector matches another node: one is given back, one that was shared is taken.
        back, taken = mine[1], shared[0]
        async with watched(admin, f"{web}-a", {*others}), watched(admin, f"{risk}-a", {*mine, taken}):
            await admin.patch(f"{NODES}/{taken}", {"metadata": {"labels": {"pool": risk}}})
            await admin.patch(f"{NODES}/{back}", {"metadata": {"labels": {"pool": "none"}}})
            await everywhere(admin, f"{risk}-a", [mine[0], taken])
            for owner in (risk, free):
                await scale(admin, f"{owner}-a", 12)
        was_there = (await spots(admin, f"{free}-a", "deployment")).count(taken)
        if effect == "NoExecute":
            await placed(admin, f"{free}-a", 12, {shared[1], back})
        else:
            await placed(admin, f"{free}-a", 12, {*shared, back})
            assert 0 < was_there <= 4  # what ran there stays, and nothing is added
        await placed(admin, f"{risk}-a", 12, {*mine, taken})
        # What ran on the node that was given back stays there, too.
        assert (await spots(admin, f"{risk}-a", "deployment")).count(back) <= 4
        await placed(admin, f"{web}-a", 4, others)
        await everywhere(admin, platform, [*mine, *others, *shared])
    finally:
        await admin.delete(APPS.format(platform) + "daemonsets/daemonset")
        for node in (*mine, *others, *shared):
            await admin.delete(f"{NODES}/{node}")


async def test_a_pod_that_is_there_gets_no_toleration_and_no_selector_more(stage: Stage) -> None:
    """While a pod is gated its selector may be added to, and tolerations always."""
    admin = stage.admin
    await stage.tenant("ded-late", {"namespaces": [{"name": "ded-late-a"}]})
    pods = PODS.format("ded-late-a")

    async def is_created() -> bool:
        status, _ = await admin.request("POST", pods, template(schedulingGates=[{"name": "example.com/wait"}]))
        return status == 201

    await wait_for(is_created, 20, "the pod to be created")

    async def answer(path: str, value: object) -> tuple[int, str]:
        patch = [{"op": "add", "path": path, "value": value}]
        status, body = await admin.request("PATCH", f"{pods}/pod", patch, content_type=JSON_PATCH)
        return status, str(body)

    term = {"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["other"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    for path, value, check in (
        ("/spec/tolerations/-", {"operator": "Exists"}, "nodes/tolerations"),
        ("/spec/tolerations/-", {"key": TAINT, "value": "other"}, "nodes/tolerations"),
        ("/spec/nodeSelector", {LABEL: "other"}, "nodes/foreignNodes"),
        ("/spec/affinity", affinity, "nodes/foreignNodes"),
    ):
        status, body = await answer(path, value)
        assert status == 403, body
        assert check in body, body
    assert (await answer("/spec/tolerations/-", {"key": "gpu", "operator": "Exists"}))[0] == 200
    assert (await answer("/spec/nodeSelector", {"disk": "ssd"}))[0] == 200
