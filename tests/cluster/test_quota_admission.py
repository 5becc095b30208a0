"""The tenant's total on a real control plane: kube-apiserver's own admission, kube-controller-manager's own delays.

No operator runs: the test drives the plan itself, as fast as it can, while pods are made and deleted all the time.
"""

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from securetenant.api.tenant import SecureTenant
from securetenant.controls.quota import control as quota
from securetenant.model import names
from securetenant.model.objects import Desired, Observed, marks
from securetenant.model.record import annotation
from tests.support import pods
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.world import NOW, StaticWorld, observed, tenant

pytestmark = pytest.mark.cluster

TOTAL = 30


def pod(owner: SecureTenant) -> dict[str, Any]:
    """A pod that no node takes: it counts, and is gone at once when deleted."""
    return {
        "metadata": {"generateName": "p-", "labels": {"quota-of": owner.name}},
        "spec": pods.spec(nodeSelector={"no-such": "node"}),
    }


@pytest_asyncio.fixture
async def owner(admin: Admin) -> AsyncIterator[SecureTenant]:
    """A tenant of three namespaces with a total of pods, its namespaces made."""
    stem = f"quota-{uuid.uuid4().hex[:6]}"
    spaces = [f"{stem}-{i}" for i in range(3)]
    uids = []
    for name in spaces:
        made = await admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        uids.append({"name": name, "uid": made["metadata"]["uid"]})

    async def usable() -> bool:
        return all([await admin.get(f"/api/v1/namespaces/{name}/serviceaccounts/default") for name in spaces])

    await wait_for(usable, what="the namespaces' ServiceAccounts")
    yield tenant(stem, namespaces=spaces, quota={"tenant": {"pods": str(TOTAL)}}, status={"namespaces": uids})
    for name in spaces:
        await admin.delete(f"/api/v1/namespaces/{name}")


def spaces_of(owner: SecureTenant) -> list[str]:
    return [entry.name for entry in owner.spec.namespaces]


def seen(kind: str, body: dict[str, Any]) -> Observed:
    meta = body["metadata"]
    return observed(
        kind,
        meta["name"],
        meta.get("namespace", ""),
        uid=meta["uid"],
        labels=meta.get("labels"),
        annotations=meta.get("annotations"),
        spec=body.get("spec", {}),
        status=body.get("status", {}),
    )


async def quotas(admin: Admin, owner: SecureTenant) -> list[dict[str, Any]]:
    """The tenant's quotas, all at one revision."""
    found = await admin.get("/api/v1/resourcequotas", {"labelSelector": f"{names.LABEL_TENANT}={owner.name}"})
    items: list[dict[str, Any]] = found["items"]
    return items


async def one_pass(admin: Admin, owner: SecureTenant) -> int:
    """What the engine does with the plan: POST what is missing, PUT what differs. Returns the number of writes."""
    found = await quotas(admin, owner)
    world = StaticWorld([owner])
    for name in spaces_of(owner):
        world.put(seen("Namespace", await admin.get(f"/api/v1/namespaces/{name}")))
    world.put(*(seen("ResourceQuota", item) for item in found))
    by_namespace = {item["metadata"]["namespace"]: item for item in found}
    writes = 0
    for desired in quota.plan(owner, world, NOW).desired:
        current = by_namespace.get(desired.ref.namespace)
        if current is None or current["spec"] != desired.body["spec"]:
            writes += 1
            await write(admin, owner, desired, current)
    return writes


async def write(admin: Admin, owner: SecureTenant, desired: Desired, current: dict[str, Any] | None) -> None:
    path = f"/api/v1/namespaces/{desired.ref.namespace}/resourcequotas"
    metadata: dict[str, Any] = {
        "name": desired.ref.name,
        "labels": marks(owner.name, desired.control),
        "annotations": {names.ANNOTATION_APPLIED: annotation(desired, owner.name, owner.metadata.uid)},
    }
    if current is None:
        await admin.create(path, {"metadata": metadata, **desired.body})
        return
    # By UID, not by resourceVersion: each pod changes the quota's status, and a busy one would never be written.
    metadata["uid"] = current["metadata"]["uid"]
    await admin.replace(f"{path}/{desired.ref.name}", {"metadata": metadata, **desired.body})


def used(item: dict[str, Any]) -> int:
    return int(item.get("status", {}).get("used", {}).get("pods", 0))


def in_force(item: dict[str, Any]) -> int:
    limit = int(item.get("status", {}).get("hard", {}).get("pods", 0))
    return max(int(item["spec"]["hard"]["pods"]), limit, used(item))


async def at_rest(admin: Admin, owner: SecureTenant) -> bool:
    return await one_pass(admin, owner) == 0 and all(
        item.get("status", {}).get("hard") == item["spec"]["hard"] for item in await quotas(admin, owner)
    )


async def test_the_total_holds_while_pods_are_made_and_headroom_moves(admin: Admin, owner: SecureTenant) -> None:
    await wait_for(lambda: at_rest(admin, owner), what="quotas in force")
    dice = random.Random(4)
    stop = asyncio.Event()
    counts = {"made": 0, "refused": 0, "writes": 0, "looks": 0, "most pods": 0}
    largest: dict[str, int] = dict.fromkeys(spaces_of(owner), 0)

    async def churn(where: str) -> None:
        """Each is greedy in its turn and then gives back: headroom has to follow."""
        path = f"/api/v1/namespaces/{where}/pods"
        mine: list[str] = []
        while not stop.is_set():
            greedy = spaces_of(owner)[counts["made"] // 100 % 3] == where
            if dice.random() < (0.8 if greedy else 0.1):
                status, answer = await admin.request("POST", path, pod(owner))
                assert status in (201, 403, 409), answer  # 409: admission lost a race for the quota's status
                counts["made" if status == 201 else "refused"] += 1
                if status == 201:
                    mine.append(answer["metadata"]["name"])
                    largest[where] = max(largest[where], len(mine))
            elif mine:
                await admin.delete(f"{path}/{mine.pop(0)}", {"gracePeriodSeconds": "0"})

    async def operate() -> None:
        while not stop.is_set():
            counts["writes"] += await one_pass(admin, owner)

    async def watch() -> None:
        while not stop.is_set():
            items = await quotas(admin, owner)
            counts["looks"] += 1
            assert sum(used(item) for item in items) <= TOTAL, items
            assert sum(in_force(item) for item in items) <= TOTAL, items
            running = await admin.get("/api/v1/pods", {"labelSelector": f"quota-of={owner.name}"})
            counts["most pods"] = max(counts["most pods"], len(running["items"]))

    async def enough() -> None:
        def reached() -> bool:
            assert counts["made"] > 300, (counts, largest)
            assert min(largest.values()) > TOTAL // 2, (counts, largest)
            return True

        await wait_for(reached, deadline=90, what="a few hundred pods, and headroom with each namespace in turn")
        stop.set()

    tasks = [asyncio.ensure_future(work) for work in (operate(), watch(), enough(), *map(churn, spaces_of(owner)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print(counts, largest)
    await wait_for(lambda: at_rest(admin, owner), what="rest")


async def test_headroom_follows_the_one_that_needs_it(admin: Admin, owner: SecureTenant) -> None:
    """A third of the total each; then one fills up, and gets more until less than one each is left."""
    await wait_for(lambda: at_rest(admin, owner), what="quotas in force")
    assert [item["spec"]["hard"]["pods"] for item in await quotas(admin, owner)] == [str(TOTAL // 3)] * 3
    hungry = spaces_of(owner)[1]
    made = 0

    async def full() -> bool:
        nonlocal made
        status, _ = await admin.request("POST", f"/api/v1/namespaces/{hungry}/pods", pod(owner))
        made += status == 201
        await one_pass(admin, owner)
        items = await quotas(admin, owner)
        assert sum(in_force(item) for item in items) <= TOTAL, items
        return made == TOTAL - 2

    await wait_for(full, what="headroom for the hungry one")
    await wait_for(lambda: at_rest(admin, owner), what="rest")


async def test_a_shrink_is_not_in_force_before_the_status_follows(
    plane: Plane, admin: Admin, owner: SecureTenant
) -> None:
    """What the arithmetic rests on: admission goes by status.hard. Should that change, this fails first."""
    if not plane.owned:
        pytest.skip("stops kube-controller-manager for a moment: only in a sandbox of our own")
    where = spaces_of(owner)[0]
    path = f"/api/v1/namespaces/{where}/resourcequotas"
    await admin.create(path, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}})

    async def status_hard(pods: str) -> bool:
        item = await admin.get(f"{path}/q")
        return bool(item["status"].get("hard", {}).get("pods") == pods)

    await wait_for(lambda: status_hard("2"), what="the first count")
    manager = plane.pid("kube-controller-manager")
    os.kill(manager, signal.SIGSTOP)
    try:
        await admin.patch(f"{path}/q", {"spec": {"hard": {"pods": "0"}}})
        status, _ = await admin.request("POST", f"/api/v1/namespaces/{where}/pods", pod(owner))
        assert status == 201
    finally:
        os.kill(manager, signal.SIGCONT)
    await wait_for(lambda: status_hard("0"), what="the shrink in force")
    status, answer = await admin.request("POST", f"/api/v1/namespaces/{where}/pods", pod(owner))
    assert (status, "exceeded quota" in answer["message"]) == (403, True)
