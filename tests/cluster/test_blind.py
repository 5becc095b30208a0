"""Who does not see the SecureTenants says so, takes nothing for gone, does not lead for long, and sees them again."""

import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support import life
from tests.support.fault import LEASE, dead, free_lease, front, leads, run_behind
from tests.support.faults import ANSWERS, QUICK_WATCHES, WATCH_ANSWERS, Fault
from tests.support.sandbox import Admin, Operator, Plane, apply_crds, run_operator, wait_for
from tests.support.shortened import shortened
from tests.support.tenants import POLICIES

pytestmark = pytest.mark.cluster

CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/securetenants.securetenant.dev"
LAG: Final = "securetenant_tenant_generation_lag"
# Blind after a second, and too long after some more.
HASTY: Final = {
    "engine.health.UNSEEN": 1.0,
    "engine.controller.UNSEEN": 1.0,
    "watch.supervise.UNSEEN": 1.0,
    "engine.health.PULSE": 0.2,
}


async def unready(operator: Operator) -> bool:
    code, text = await operator.get("/readyz")
    return code == 503 and "SecureTenant" in text


async def ready(operator: Operator) -> bool:
    return (await operator.get("/readyz"))[0] == 200


async def test_the_crd_is_deleted_and_applied_again(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """Kubernetes deletes each SecureTenant with it, and each carries out its policy. Then nothing is watched until
    there is something to watch."""
    name = "blind-crd"
    spec = life.spec(f"{name}-a")
    try:
        async with run_operator(
            plane, tmp_path, env=shortened(tmp_path, HASTY | {"engine.health.BLIND": 3.0})
        ) as operator:
            await life.create(admin, name, spec)
            await life.ready(admin, name)
            policies = {(path, item["metadata"]["name"]): item["metadata"]["uid"] for path, item in await held(admin)}
            await admin.kubectl("delete", "crd", CRD.rpartition("/")[2], "--wait=true")
            assert await admin.find(CRD) is None
            await wait_for(lambda: unready(operator), 15, "/readyz to say that nothing is watched")
            began = time.monotonic()
            # Longer than one with tenants would go on leading.
            await wait_for(lambda: time.monotonic() - began > 6, 10)
            assert (await operator.get("/healthz"))[0] == 200, "it asks again and again"
            assert await leads(operator)
            assert {(p, i["metadata"]["name"]): i["metadata"]["uid"] for p, i in await held(admin)} == policies
            await apply_crds(admin)
            served = time.monotonic()
            adopting = {**spec, "namespaces": [{"name": f"{name}-a", "adopt": True}]}
            await life.create(admin, name, adopting)
            await life.ready(admin, name, 15)
            await wait_for(lambda: ready(operator), 15 - (time.monotonic() - served), "/readyz")
            assert await life.drift(operator, name) == {}
            assert {(p, i["metadata"]["name"]): i["metadata"]["uid"] for p, i in await held(admin)} == policies
            await life.edit(admin, name, {"network": {"ingress": [life.cidr_rule("vpn", "10.7.0.0/16")]}})
            await life.ready(admin, name, 5)
    finally:
        await apply_crds(admin)
        await life.remove(admin, name)


def _is_over(fault: Fault) -> bool:
    return fault.over_at > 0


async def held(admin: Admin) -> list[tuple[str, Any]]:
    return await life.children(admin, "blind-crd-a")


async def test_who_is_blind_does_not_go_on_leading(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    name = "blind-leader"
    try:
        async with (
            front(plane) as proxy,
            run_behind(proxy, tmp_path, env=shortened(tmp_path, HASTY | {"engine.health.BLIND": 8.0})) as operator,
        ):
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            assert (LAG, frozenset({("tenant", name)})) in await operator.metrics()
            asked = ("kopf watch", "kopf list", "kopf discovery", "securetenants list")
            proxy.faults[:] = [Fault(each, ANSWERS["500"], 60, first_at=time.monotonic()) for each in asked]
            proxy.hang_up("kopf watch")
            await life.edit(admin, name, {"displayName": "unseen"})
            await wait_for(lambda: unready(operator), 15, "/readyz to say that nothing is watched")
            assert (LAG, frozenset({("tenant", name)})) not in await operator.metrics(), "nobody knows"
            # What it sees is still healed.
            path = f"{POLICIES.format(f'{name}-a')}/securetenant-default-deny"
            await admin.delete(path)
            await wait_for(lambda: admin.find(path), 5, "the policy to be back")
            assert await dead(operator, 20) == 1
            assert "SecureTenants cannot be watched: exiting" in operator.tail()
        async with run_operator(plane, tmp_path, name="next"):
            await life.ready(admin, name)
    finally:
        await free_lease(admin)
        await life.remove(admin, name)


async def test_a_standby_whose_watch_of_the_lease_fails(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """Whatever it is answered, it asks again, and takes over when it may."""
    held_by = {"holderIdentity": "somebody", "leaseDurationSeconds": 300, "leaseTransitions": 1}
    collection, _, lease = LEASE.rpartition("/")
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": lease}, "spec": held_by}
    await free_lease(admin)
    await admin.create(collection, body)
    try:
        env = {"SECURETENANT_LEASE_DURATION": "3"}
        async with front(plane) as proxy, run_behind(proxy, tmp_path, env=env) as operator:
            await wait_for(lambda: any("leases" in path for path in proxy.watches), 10, "the Lease to be watched")
            for answer in QUICK_WATCHES:
                faults = [Fault("leases watch", WATCH_ANSWERS[answer])]
                if answer in ANSWERS:
                    faults.append(Fault("leases get", ANSWERS[answer]))
                proxy.faults[:] = faults
                proxy.hang_up("leases watch")
                await wait_for(partial(_is_over, faults[0]), 15, f"a watch after {answer}")
                assert operator.running
                assert not await leads(operator)
            await admin.patch(LEASE, {"spec": {"holderIdentity": ""}})
            await wait_for(lambda: leads(operator), 5, "it to take over")
    except aiohttp.ClientError as error:
        raise AssertionError(f"it ended: {operator.tail()}") from error
    finally:
        await free_lease(admin)
