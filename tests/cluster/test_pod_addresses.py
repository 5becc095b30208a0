"""Pods whose addresses lie outside of their namespace's subnet are found, counted, and told what to do."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import life, pods
from tests.support.enforced import PODS, pod
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Operator, Plane, run_operator, wait_for

pytestmark = pytest.mark.cluster

ADDRESS: Final = "subnets/address"
LENIENT: Final = {"registries": ["registry.example"], "digestRequired": False, "alwaysPull": False}


@pytest_asyncio.fixture(scope="module")
async def operator(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operator]:
    async with run_operator(plane, tmp_path_factory.mktemp("addresses")) as running:
        yield running


async def running(admin: Admin, namespace: str, name: str, *ips: str, **spec: Any) -> None:
    """A pod with these addresses, told as a kubelet does."""
    path = PODS.format(namespace)
    await admin.create(path, pod(name, pods.spec(**spec)))
    if ips:
        status = {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
        await admin.patch(f"{path}/{name}/status", {"status": status})


async def made(admin: Admin, name: str, mode: str, subnet: Json) -> str:
    """A tenant that adopts a namespace with pods."""
    space = f"{name}-a"
    await admin.create(NAMESPACES, {"metadata": {"name": space}})
    account = f"{NAMESPACES}/{space}/serviceaccounts/default"
    await wait_for(lambda: admin.find(account), 10, f"the ServiceAccount default of {space}")
    await running(admin, space, "inside", "10.60.0.9", "2001:db8::9")
    await running(admin, space, "born-before", "10.16.0.5")
    await running(admin, space, "beyond", "10.60.1.0")
    await running(admin, space, "host", "192.168.0.2", hostNetwork=True)
    await running(admin, space, "pending")
    spec = {
        "mode": mode,
        "namespaces": [{"name": space, "adopt": True, "subnet": subnet}],
        "subnets": {"provider": "None"},
        "images": LENIENT,
        "runtime": {"podSecurity": "Privileged"},
    }
    await life.create(admin, name, spec)
    return space


async def judged(admin: Admin, name: str, outside: int, blocks: list[str]) -> Json:
    """Wait until so many pods are found outside of these blocks; the row of the namespace."""

    async def is_found() -> Json:
        tenant = await life.get(admin, name)
        rows = tenant.get("status", {}).get("posture", {}).get("namespaces")
        assert rows, tenant.get("status")
        (row,) = rows
        assert (row.get("outside", 0), row.get("subnets"), bool(row.get("judged"))) == (outside, blocks, True), row
        return {**row, "message": row.get("message", ""), "told": life.condition(tenant, "Compliant")["message"]}

    return dict(await wait_for(is_found, 20, f"{outside} pods of {name} to be found outside {blocks}"))


async def counted(operator: Operator, name: str) -> dict[str, int]:
    """securetenant_posture_checks of the control subnets, by outcome."""
    return {
        dict(labels)["outcome"]: int(value)
        for (metric, labels), value in (await operator.metrics()).items()
        if metric == "securetenant_posture_checks"
        and (dict(labels)["tenant"], dict(labels)["control"]) == (name, "subnets")
    }


@pytest.mark.parametrize("mode", ["Enforce", "Audit"])
async def test_a_declared_cidr_is_compared_with_the_pods(admin: Admin, operator: Operator, mode: str) -> None:
    name = f"addresses-{mode.lower()}"
    try:
        space = await made(admin, name, mode, {"cidr": "10.60.0.0/24"})
        row = await judged(admin, name, 2, ["10.60.0.0/24"])
        assert ADDRESS in row["failed"]
        assert row["message"].startswith("2 pods have addresses outside 10.60.0.0/24: ")
        assert f"{space}: {row['message']}" in row["told"]
        items = (await life.get(admin, name))["status"]["posture"]["items"]
        found = {(one["name"], one["place"]) for one in items if one["check"] == "address"}
        assert found == {("born-before", "10.16.0.5"), ("beyond", "10.60.1.0")}
        assert await counted(operator, name) == {"pass": 0, "fail": 1, "unknown": 0, "exempted": 0}
        # One is made anew inside, and the statement is corrected for the other: nothing is outside any more.
        await admin.delete(f"{PODS.format(space)}/born-before?gracePeriodSeconds=0")
        await life.edit(
            admin, name, {"namespaces": [{"name": space, "adopt": True, "subnet": {"cidr": "10.60.0.0/23"}}]}
        )
        row = await judged(admin, name, 0, ["10.60.0.0/23"])
        assert ADDRESS not in row.get("failed", [])
        assert "outside" not in row["told"]
        assert await counted(operator, name) == {"pass": 1, "fail": 0, "unknown": 0, "exempted": 0}
    finally:
        await life.remove(admin, name)
