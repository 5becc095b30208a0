"""The ResourceQuotas of a tenant, and the sum over its namespaces, kept by the running operator."""

import asyncio
import random
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from tests.support import life, pods, tampering, tenants
from tests.support.life import APPLIED
from tests.support.sandbox import Admin, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import QUOTAS, Stage, Tenant

pytestmark = pytest.mark.cluster
TOTAL: Final = 30
PODS: Final = "/api/v1/namespaces/{}/pods"
TAMPERINGS: Final = (
    *tampering.ANY,
    tampering.merge("raise", {"spec": {"hard": {"pods": "1000"}}}),
    tampering.merge("lower", {"spec": {"hard": {"pods": "0"}}}),
    tampering.merge("take-one", {"spec": {"hard": {"pods": None}}}, blamed=False),
    tampering.merge("add-one", {"spec": {"hard": {"secrets": "1"}}}),
    tampering.merge("empty", {"spec": {"hard": None}}, blamed=False),
)


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant to lay hands on, with a namespace for each tampering."""
    names = [{"name": f"quo-shop-{number}"} for number in range(len(TAMPERINGS) + 1)]
    quota = {"namespace": {"pods": "10", "requests.cpu": "2000m"}}
    return await stage.tenant("quo-shop", {"namespaces": names, "quota": quota})


def path(namespace: str) -> str:
    return f"{QUOTAS.format(namespace)}/securetenant"


async def test_created_as_declared(stage: Stage, shop: Tenant) -> None:
    found = await tenants.content(stage.admin, path("quo-shop-0"))
    assert found["metadata"]["labels"] == tenants.marks("quo-shop", "quota")
    assert found["metadata"]["annotations"].keys() == {APPLIED}
    assert found["spec"] == {"hard": {"pods": "10", "requests.cpu": "2"}}


@pytest.mark.parametrize("number", range(len(TAMPERINGS)), ids=[tampering.name for tampering in TAMPERINGS])
async def test_tampering_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    done, target = TAMPERINGS[number], path(f"quo-shop-{number}")
    before = await tenants.content(stage.admin, target)
    await done.do(stage.admin, target)
    await shop.healed(*(("quota", reason) for reason in done.reasons))
    assert await tenants.content(stage.admin, target) == before
    assert shop.told()[-1]["manager"] == (MANAGER if done.blamed else "")


async def test_a_forged_one_is_removed(stage: Stage, shop: Tenant) -> None:
    where = QUOTAS.format(f"quo-shop-{len(TAMPERINGS)}")
    body = {
        "metadata": {"name": "forged", "labels": tenants.marks("quo-shop", "quota")},
        "spec": {"hard": {"pods": "0"}},
    }
    await stage.admin.create(where, body)
    await shop.healed(("quota", "Stale"))
    assert (await tenants.bodies(stage.admin, where)).keys() == {"securetenant"}


async def test_edits_are_rolled_out_and_are_no_drift(stage: Stage) -> None:
    namespaces = [{"name": "quo-edit-a"}, {"name": "quo-edit-b"}]
    tenant = await stage.tenant("quo-edit", {"namespaces": namespaces, "quota": {"namespace": {"pods": "10"}}})
    special = [namespaces[0], {"name": "quo-edit-b", "quota": {"pods": "3", "services": "1"}}]
    await tenant.edit({"namespaces": special, "quota": {"namespace": {"pods": "20"}}})
    found = [(await stage.admin.get(path(f"quo-edit-{which}")))["spec"]["hard"] for which in "ab"]
    assert found == [{"pods": "20"}, {"pods": "3", "services": "1"}]
    await tenant.edit({"namespaces": namespaces, "quota": None})
    for which in "ab":
        assert await stage.admin.find(path(f"quo-edit-{which}")) is None


# --- the sum ---------------------------------------------------------------------------------------------------


async def quotas(admin: Admin, tenant: str) -> list[dict[str, Any]]:
    """The tenant's quotas, all at one revision."""
    found = await admin.get("/api/v1/resourcequotas", {"labelSelector": f"securetenant.dev/tenant={tenant}"})
    items: list[dict[str, Any]] = found["items"]
    return items


def in_force(item: dict[str, Any]) -> int:
    """The most that the namespace may come to use."""
    status = item.get("status", {})
    amounts = (item["spec"]["hard"], status.get("hard", {}), status.get("used", {}))
    return max(int(amount.get("pods", 0)) for amount in amounts)


def hard(item: dict[str, Any]) -> int:
    return int(item["spec"]["hard"]["pods"])


async def shares(admin: Admin, tenant: str) -> list[int]:
    return [hard(item) for item in sorted(await quotas(admin, tenant), key=lambda item: item["metadata"]["namespace"])]


async def share_is(admin: Admin, tenant: str, expected: list[int]) -> None:
    async def is_so() -> bool:
        assert await shares(admin, tenant) == expected
        return True

    await wait_for(is_so, 20, f"shares {expected}")


def pod(node: str) -> dict[str, Any]:
    return {"metadata": {"generateName": "p-"}, "spec": pods.spec(nodeSelector={"quota-of": node})}


def spec(*namespaces: str, **tenant: str) -> dict[str, Any]:
    return {"namespaces": [{"name": name} for name in namespaces], "quota": {"tenant": tenant}}


async def usable(admin: Admin, *namespaces: str) -> None:
    """Wait until pods can be made."""

    async def has_accounts() -> bool:
        return all([await admin.get(f"/api/v1/namespaces/{name}/serviceaccounts/default") for name in namespaces])

    await wait_for(has_accounts, 20, "the namespaces' ServiceAccounts")


async def test_the_sum_is_shared_out_and_follows_the_spec(stage: Stage) -> None:
    tenant = await stage.tenant("quo-sum", spec("quo-sum-a", "quo-sum-b", "quo-sum-c", pods="30"))
    await share_is(stage.admin, "quo-sum", [10, 10, 10])

    async def is_told() -> bool:
        return await stage.operator.metric("securetenant_quota_hard", tenant="quo-sum", resource="pods") == 30

    await wait_for(is_told, 10, "the metric")
    await tenant.edit(spec("quo-sum-a", "quo-sum-b", pods="30"))
    await share_is(stage.admin, "quo-sum", [15, 15])
    await tenant.edit(spec("quo-sum-a", "quo-sum-b", pods="8"))
    await share_is(stage.admin, "quo-sum", [4, 4])
    await tenant.agrees("what followed to be no drift")


async def test_a_raised_share_comes_down_again(stage: Stage) -> None:
    tenant = await stage.tenant("quo-raise", spec("quo-raise-a", "quo-raise-b", "quo-raise-c", pods="30"))
    await share_is(stage.admin, "quo-raise", [10, 10, 10])
    raised = {"spec": {"hard": {"pods": "1000"}}}
    await stage.admin.patch(path("quo-raise-b"), raised, params={"fieldManager": MANAGER})
    await tenant.healed(("quota", "Changed"))
    assert tenant.told()[-1]["manager"] == MANAGER
    await share_is(stage.admin, "quo-raise", [10, 10, 10])
    await tenant.agrees("what followed to be no drift")


@pytest.mark.parametrize("most", [TOTAL // 2, pytest.param(TOTAL * 2 // 3, marks=pytest.mark.full)])
async def test_the_sum_holds_while_pods_are_made_and_headroom_moves(stage: Stage, most: int) -> None:
    """The namespaces are greedy in turn: headroom follows, and at no revision may more come to be used than the sum."""
    admin, spaces = stage.admin, [f"quo-race-{which}" for which in "abc"]
    await asyncio.to_thread(nodes.create, stage.plane, 1, {"quota-of": "quo-race"}, prefix="quo-race")
    tenant = await stage.tenant("quo-race", spec(*spaces, pods=str(TOTAL)))
    await share_is(admin, "quo-race", [10, 10, 10])
    await usable(admin, *spaces)
    dice, stop = random.Random(4), asyncio.Event()
    largest, made, looks = dict.fromkeys(spaces, 0), 0, 0

    async def churn(where: str) -> None:
        nonlocal made
        mine: list[str] = []
        while not stop.is_set():
            is_greedy = min(largest, key=lambda name: largest[name]) == where
            if dice.random() < (0.9 if is_greedy else 0.05):
                status, answer = await admin.request("POST", PODS.format(where), pod("quo-race"))
                assert status in (201, 403, 409), answer  # 409: admission lost a race for the quota's status
                if status == 201:
                    made += 1
                    mine.append(answer["metadata"]["name"])
                    largest[where] = max(largest[where], len(mine))
            elif mine:
                await admin.delete(f"{PODS.format(where)}/{mine.pop(0)}", {"gracePeriodSeconds": "0"})

    async def watch() -> None:
        nonlocal looks
        while not stop.is_set():
            items = await quotas(admin, "quo-race")
            looks += 1
            assert sum(map(in_force, items)) <= TOTAL, items

    async def enough() -> None:
        def reached() -> bool:
            assert min(largest.values()) > most, (made, largest)
            return True

        await wait_for(reached, 200, f"each namespace in turn to have more than {most} of all {TOTAL}")
        stop.set()

    tasks = [asyncio.ensure_future(work) for work in (watch(), enough(), *map(churn, spaces))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await admin.delete("/api/v1/nodes/quo-race-0")
    print(f"{made} pods, {looks} looks, {largest}")
    assert looks > 20
    await tenant.agrees("moving headroom to be no drift")
    assert (await life.ready(admin, "quo-race"))["status"]["conditions"]
