"""What Kubernetes admits by is a ResourceQuota's status: who may write that opens it, and what is not counted there
limits nothing."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import life, pods, tampering, tenants
from tests.support.fault import free_lease
from tests.support.sandbox import Admin, run_operator, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import QUOTAS, Stage, Tenant

pytestmark = pytest.mark.cluster

HARD: Final = {"pods": "2", "secrets": "9"}
CORE: Final = (
    *("configmaps", "endpoints", "limitranges", "persistentvolumeclaims", "pods", "podtemplates", "services"),
    *("replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts"),
)
FORGED: Final = (
    tampering.merge("raise", {"status": {"hard": {"pods": "100"}}}),
    tampering.merge("lower", {"status": {"hard": {"pods": "0"}}}),
    tampering.merge("take-one", {"status": {"hard": {"pods": None}}}, blamed=False),
    tampering.merge("empty", {"status": {"hard": None, "used": None}}, blamed=False),
    tampering.merge("raise-and-uncount", {"status": {"hard": {"pods": "100"}, "used": {"pods": "0"}}}),
)


def path(namespace: str, subresource: str = "") -> str:
    return f"{QUOTAS.format(namespace)}/securetenant{subresource}"


async def status_of(admin: Admin, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = (await admin.get(path(namespace)))["status"]
    return found


async def in_force(admin: Admin, namespace: str, hard: dict[str, str]) -> None:
    """Wait until these are the limits that Kubernetes admits by, and all of them counted."""

    async def is_so() -> bool:
        item = await admin.get(path(namespace))
        assert (item["spec"]["hard"], item["status"].get("hard")) == (hard, hard)
        assert item["status"].get("used", {}).keys() == hard.keys()
        return True

    await wait_for(is_so, 20, f"{hard} to be in force in {namespace}")


async def held(tenant: Tenant, reason: str, *words: str) -> dict[str, Any]:
    """Wait until QuotaHeld has this reason ("": is not there), and says these words; the condition."""

    async def is_so() -> dict[str, Any]:
        condition = await tenant.condition("QuotaHeld")
        assert condition.get("reason", "") == reason, condition
        assert all(word in condition["message"] for word in words), condition
        return condition or {"status": ""}

    return await wait_for(is_so, 20, f"QuotaHeld {reason}")


async def pod(admin: Admin, namespace: str) -> int:
    """Try to make a pod that runs nowhere; the answer's status."""
    spec = pods.spec(nodeSelector={"none": "such"})
    status, _ = await admin.request(
        "POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"generateName": "p-"}, "spec": spec}
    )
    return status


async def usable(admin: Admin, namespace: str) -> None:
    async def has_account() -> bool:
        return await admin.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is not None

    await wait_for(has_account, 20, "the namespace's ServiceAccount")


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant with caps alone, and a namespace for each forgery."""
    names = [{"name": f"qst-shop-{number}"} for number in range(len(FORGED))]
    tenant = await stage.tenant("qst-shop", {"namespaces": names, "quota": {"namespace": HARD}})
    for entry in names:
        await in_force(stage.admin, entry["name"], HARD)
    return tenant


@pytest.mark.parametrize("number", range(len(FORGED)), ids=[one.name for one in FORGED])
async def test_a_forged_status_is_found_counted_and_undone(stage: Stage, shop: Tenant, number: int) -> None:
    forgery, namespace = FORGED[number], f"qst-shop-{number}"
    before = await tenants.content(stage.admin, path(namespace))
    begin = time.monotonic()
    await forgery.do(stage.admin, path(namespace, "/status"))
    await in_force(stage.admin, namespace, HARD)
    print(f"in force again after {(time.monotonic() - begin) * 1000:.0f} ms")
    await shop.healed(("quota", "Changed"))
    assert await tenants.content(stage.admin, path(namespace)) == before
    line = shop.told()[-1]
    assert line["path"].startswith("status.hard")
    assert line["manager"] == (MANAGER if forgery.blamed else "")
    assert (await held(shop, ""))["status"] == ""


async def test_what_is_admitted_over_the_total_is_told_truly(stage: Stage) -> None:
    """While it is forged nobody says that nothing more is admitted; afterwards it is so."""
    if not stage.plane.owned:
        pytest.skip("stops kube-controller-manager for a moment: only in a sandbox of our own")
    admin, namespace = stage.admin, "qst-total-a"
    spec = {"namespaces": [{"name": namespace}], "quota": {"tenant": {"pods": "2"}}}
    tenant = await stage.tenant("qst-total", spec)
    await usable(admin, namespace)
    assert [await pod(admin, namespace) for _ in range(3)] == [201, 201, 403]
    manager = stage.plane.pid("kube-controller-manager")
    os.kill(manager, signal.SIGSTOP)
    try:
        forged = {"status": {"hard": {"pods": "100"}}}
        await admin.patch(path(namespace, "/status"), forged, params={"fieldManager": MANAGER})
        condition = await held(tenant, "StatusChanged", f"pods in {namespace} (100 instead of 2)", "may have been")
        assert condition["status"] == "False"
        assert (await tenant.condition("Ready"))["status"] == "False"
        assert [await pod(admin, namespace) for _ in range(4)] == [201] * 4
        await held(tenant, "OverCommitted", "pods 6 of 2", "as much more may be admitted: pods 94")
    finally:
        os.kill(manager, signal.SIGCONT)
    await in_force(admin, namespace, {"pods": "2"})
    await held(tenant, "OverCommitted", "pods 6 of 2", "nothing more is admitted")
    await tenant.healed(("quota", "Changed"))
    assert await pod(admin, namespace) == 403


async def test_a_fight_over_the_status_is_undone_each_time(stage: Stage) -> None:
    admin, namespace = stage.admin, "qst-fight-a"
    spec = {"namespaces": [{"name": namespace}], "quota": {"namespace": {"pods": "2"}}}
    tenant = await stage.tenant("qst-fight", spec)
    forged = {"status": {"hard": {"pods": "100"}}}

    async def is_contested() -> bool:
        await in_force(admin, namespace, {"pods": "2"})
        await admin.patch(path(namespace, "/status"), forged, params={"fieldManager": MANAGER})
        return MANAGER in (await tenant.condition("Contested")).get("message", "")

    await wait_for(is_contested, 60, "the fight to be told")
    await in_force(admin, namespace, {"pods": "2"})


async def test_what_has_yet_to_follow_is_no_drift(stage: Stage) -> None:
    """kube-controller-manager stands still: our own edit is not in force, said so, and nobody's doing."""
    if not stage.plane.owned:
        pytest.skip("stops kube-controller-manager for a moment: only in a sandbox of our own")
    namespace = "qst-slow-a"
    spec = {"namespaces": [{"name": namespace}], "quota": {"namespace": {"pods": "5"}}}
    tenant = await stage.tenant("qst-slow", spec)
    await in_force(stage.admin, namespace, {"pods": "5"})
    manager = stage.plane.pid("kube-controller-manager")
    os.kill(manager, signal.SIGSTOP)
    try:
        await tenant.edit({"quota": {"namespace": {"pods": "3"}}})
        await tenant.edit({"displayName": "looked at again"})
        await held(tenant, "Shrinking", f"pods in {namespace}")
        assert (await status_of(stage.admin, namespace))["hard"] == {"pods": "5"}
    finally:
        os.kill(manager, signal.SIGCONT)
    await in_force(stage.admin, namespace, {"pods": "3"})
    await held(tenant, "")
    await tenant.agrees("nothing of it to be drift")


@pytest.mark.parametrize("where", ["tenant", "namespace"])
async def test_what_kubernetes_never_counts_is_not_held(stage: Stage, where: str) -> None:
    """The name alone does not tell; that status.used lacks it does."""
    name, widgets = f"qst-never-{where}", "count/widgets.example.com"
    quota = {where: {widgets: "3", "requests.nvidia.com/mig-1g.5gb": "4", "pods": "5"}}
    tenant = await stage.create(name, {"namespaces": [{"name": f"{name}-a"}], "quota": quota})
    condition = await held(tenant, "NotCounted", f"limit: {widgets} in {name}-a. Correct the name")
    assert condition["status"] == "False"
    assert (await tenant.condition("Ready"))["status"] == "False"
    await tenant.edit({"quota": {where: {widgets: None}}})
    await held(tenant, "Held" if where == "tenant" else "")
    assert (await life.ready(stage.admin, name))["status"]["conditions"]


async def test_names_of_their_own_are_counted(stage: Stage) -> None:
    """What the models let through as countable by its name is counted by this Kubernetes."""
    total = {
        "requests.nvidia.com/mig-1g.5gb": "4",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Ti",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "9",
        "hugepages-2Mi": "1Gi",
        "requests.hugepages-1Gi": "1Gi",
        "limits.ephemeral-storage": "1Gi",
        # What the status repeats is the spec to the letter, whatever the quantity.
        "requests.cpu": "0.1234",
        "limits.cpu": "1e1",
        "requests.memory": "0.1Gi",
        "limits.memory": "3031.25Ki",
        "services.loadbalancers": "1",
        "count/deployments.apps": "9",
        **{f"count/{kind}": "9" for kind in CORE},
    }
    spec = {"namespaces": [{"name": "qst-names-a"}], "quota": {"tenant": total}}
    tenant = await stage.tenant("qst-names", spec)
    assert (await held(tenant, "Held"))["status"] == "True"
    await in_force(stage.admin, "qst-names-a", (await stage.admin.get(path("qst-names-a")))["spec"]["hard"])
    assert (await status_of(stage.admin, "qst-names-a"))["used"].keys() == total.keys()
    await tenant.agrees("nothing of it to be drift")


async def test_what_was_forged_while_nobody_ran_is_counted(stage: Stage, tmp_path: Path) -> None:
    """By another operator: a second that starts (once the first has given its Lease back) has seen nothing of it."""
    admin, namespace = stage.admin, "qst-away-a"
    spec = {"namespaces": [{"name": namespace}], "quota": {"namespace": {"pods": "2"}}}
    tenant = await stage.tenant("qst-away", spec)
    await in_force(admin, namespace, {"pods": "2"})
    os.kill(stage.operator.child.pid, signal.SIGSTOP)
    try:
        # The API server notes times in seconds, and the spec must be older.
        written = (await admin.get(path(namespace)))["metadata"]["creationTimestamp"]
        await wait_for(
            lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1)) > written, 5, "a second"
        )
        forged = {"status": {"hard": {"pods": "100"}}}
        await admin.patch(path(namespace, "/status"), forged, params={"fieldManager": MANAGER})
    finally:
        stage.operator.child.kill()
    await asyncio.to_thread(stage.operator.child.wait)
    # At once: kube-controller-manager looks at all quotas every five minutes, and puts them right by itself.
    await free_lease(admin)
    async with run_operator(stage.plane, tmp_path, name="second") as second:
        await in_force(admin, namespace, {"pods": "2"})
        await life.settled(second, tenant.name)
        assert await life.drift(second, tenant.name) == {("quota", "Changed"): 1}
        assert await life.drift(second, tenant.name, "corrected_total") == {("quota", "Changed"): 1}
