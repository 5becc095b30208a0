"""A spec that the models refuse and the API server let through: what closes is kept, and what was accepted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import dead, free_lease
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Operator, Plane, run_operator, wait_for
from tests.support.schema import without_validation
from tests.support.tenants import BINDINGS, POLICIES

pytestmark = pytest.mark.cluster
REFUSED = {"network": {"isolation": "Nobody"}}


@pytest_asyncio.fixture(scope="module", autouse=True)
async def stripped(admin: Admin, manifests: None) -> AsyncIterator[None]:
    async with without_validation(admin):
        yield


async def refused(admin: Admin, name: str, operator: Operator, *, says: str) -> Json:
    """Wait until the tenant's newest spec is told to be refused, with these words, and all else is done."""

    async def is_told() -> Json:
        tenant = await life.get(admin, name)
        for kind, value in (("Ready", "False"), ("Stalled", "True")):
            found = life.condition(tenant, kind)
            assert (found.get("status"), found.get("reason")) == (value, "InvalidSpec"), found
            assert "spec.network.isolation" in found["message"], found
            assert says in found["message"], found
        assert tenant["status"]["observedGeneration"] == tenant["metadata"]["generation"]
        assert await operator.metric("securetenant_workqueue_depth") == 0
        return tenant

    return await wait_for(is_told, 20, f"{name} to be refused: {says}")


def policy(name: str, which: str = "default-deny") -> str:
    return f"{POLICIES.format(f'{name}-a')}/securetenant-{which}"


async def back(admin: Admin, path: str) -> None:
    """Delete an object, and wait until it is there again."""
    uid = (await admin.get(path))["metadata"]["uid"]
    await admin.delete(path)

    async def is_back() -> bool:
        return bool((await admin.get(path))["metadata"]["uid"] != uid)

    await wait_for(is_back, 10, f"{path} to be back")


async def test_what_was_accepted_stays_in_force(plane: Plane, admin: Admin, tmp_path: Path) -> None:
    """Its own objects and its half of a peer's flow; then a mended spec goes on, and nobody drifted."""
    name, peer = "refused-kept", "refused-peer"
    flow = [{"name": "to-kept", "to": [{"tenant": name}], "ports": [{"protocol": "TCP", "port": 8443}]}]
    other = [{"name": "from-peer", "from": [{"tenant": peer}], "ports": [{"protocol": "TCP", "port": 8443}]}]
    office = life.cidr_rule("office", "10.8.0.0/16")
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, peer, life.spec(f"{peer}-a", network={"egress": flow}))
            await life.create(admin, name, life.spec(f"{name}-a", network={"ingress": [office, *other]}))
            accepted = (await life.ready(admin, name))["metadata"]["generation"]
            opened = await wait_for(lambda: admin.find(policy(peer, "egress-to-kept")), 10, "the flow to open")
            await life.edit(admin, name, {**REFUSED, "namespaces": [{"name": f"{name}-b"}]})
            says = f"generation {accepted} asked for is kept in force"
            await refused(admin, name, operator, says=says)
            await back(admin, policy(name))
            await back(admin, policy(name, "ingress-office"))
            tenant = await refused(admin, name, operator, says=says)
            assert await admin.get(policy(peer, "egress-to-kept")) == opened
            assert await admin.find(f"{NAMESPACES}/{name}-b") is None
            assert [entry["name"] for entry in tenant["status"]["namespaces"]] == [f"{name}-a"]
            assert life.condition(tenant, "Drifted")["status"] == "False"
            healed = {("network", "Missing"): 2}
            assert await life.drift(operator, name) == await life.drift(operator, name, "corrected_total") == healed
            mended = {"isolation": "Tenant", "ingress": [*other, life.cidr_rule("vpn", "10.9.0.0/16")]}
            await life.edit(admin, name, {"network": mended, "namespaces": [{"name": f"{name}-a"}]})
            await life.ready(admin, name)
            assert await admin.find(policy(name, "ingress-vpn"))
            assert await admin.find(policy(name, "ingress-office")) is None
            assert await life.drift(operator, name) == healed
            assert await life.drift(operator, peer) == {}
    finally:
        await life.remove(admin, name, peer)


async def test_after_a_restart_what_closes_is_kept_and_the_rest_is_told(
    plane: Plane, admin: Admin, tmp_path: Path
) -> None:
    name = "refused-bare"
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            before = await life.ready(admin, name)
            operator.child.kill()
            await dead(operator)
        await free_lease(admin)
        await life.edit(admin, name, {**REFUSED, "namespaces": []})
        picture = await life.picture(admin, [f"{name}-a"])
        bindings = f"{BINDINGS.format(f'{name}-a')}/securetenant-developer"
        async with run_operator(plane, tmp_path, name="second") as operator:
            says = "only the default-deny policies are kept; what else stands is left as it is"
            tenant = await refused(admin, name, operator, says=says)
            assert life.condition(tenant, "Drifted")["status"] == "Unknown"
            assert await life.picture(admin, [f"{name}-a"]) == picture
            assert tenant["status"]["applied"] == before["status"]["applied"]
            assert [entry["uid"] for entry in tenant["status"]["namespaces"]] == [
                entry["uid"] for entry in before["status"]["namespaces"]
            ]
            await back(admin, policy(name))
            widened = [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]
            await admin.patch(bindings, {"subjects": widened})
            await admin.delete(policy(name, "ingress-office"))
            stands = {("access", "Changed"): 1, ("network", "Missing"): 1}

            async def is_counted() -> bool:
                assert await life.drift(operator, name, "objects") == stands
                return await life.drift(operator, name) == {("access", "Changed"): 1, ("network", "Missing"): 2}

            await wait_for(is_counted, 10, "what was done to be told")
            tenant = await refused(admin, name, operator, says=says)
            assert life.condition(tenant, "Drifted")["status"] == "True"
            assert tenant["status"]["drift"]["total"] == 2
            assert (await admin.get(bindings))["subjects"] == widened
            assert await admin.find(policy(name, "ingress-office")) is None
            # Mended: what was told is put right, and nothing else was drift.
            await admin.patch(f"{TENANTS}/{name}", {"spec": life.spec(f"{name}-a", network={"isolation": "Tenant"})})
            await life.edit(admin, name, {"network": {"isolation": "Tenant", **life.spec()["network"]}})
            await life.ready(admin, name)
            assert await life.drift(operator, name) == {("access", "Changed"): 1, ("network", "Missing"): 2}
            assert await admin.find(policy(name, "ingress-office"))
    finally:
        await life.remove(admin, name)


@pytest.mark.parametrize("mode", ["Paused", "Audit"])
async def test_a_mode_that_writes_nothing_is_respected(plane: Plane, admin: Admin, tmp_path: Path, mode: str) -> None:
    name = f"refused-{mode.lower()}"
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            await life.edit(admin, name, {**REFUSED, "mode": mode})
            await refused(admin, name, operator, says=f"mode is {mode}: nothing is")
            await admin.delete(policy(name))
            expected = {("network", "Missing"): 1} if mode == "Audit" else {}

            async def is_judged() -> bool:
                return await life.drift(operator, name) == expected

            await wait_for(is_judged, 10, "the deletion to be judged as the mode says")
            await life.settled(operator, name)
            assert await admin.find(policy(name)) is None
    finally:
        await life.remove(admin, name)


async def test_a_refused_tenant_is_deleted_as_any_other(plane: Plane, admin: Admin, tmp_path: Path) -> None:
    """With Delete, what its newest spec names goes, and what that no longer names stays, without our marks."""
    name, new = "refused-gone", "refused-never"
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, name, life.spec(f"{name}-a", f"{name}-b", deletionPolicy="Delete"))
            await life.ready(admin, name)
            await life.edit(admin, name, {**REFUSED, "namespaces": [{"name": f"{name}-a"}]})
            await refused(admin, name, operator, says="is kept in force")
            await admin.delete(f"{TENANTS}/{name}")
            await life.gone(admin, f"{TENANTS}/{name}")
            assert await admin.find(f"{NAMESPACES}/{name}-a") is None
            assert life.marked(await life.picture(admin, [f"{name}-b"])) == []
            assert await admin.find(f"{POLICIES.format(f'{name}-b')}/securetenant-default-deny")
            # One that never was in force has nothing to be held for.
            await life.create(admin, new, life.spec(f"{new}-a", **REFUSED))
            tenant = await refused(admin, new, operator, says="only the default-deny policies are kept")
            assert "finalizers" not in tenant["metadata"]
            assert await admin.find(f"{NAMESPACES}/{new}-a") is None
            await admin.delete(f"{TENANTS}/{new}")
            assert await admin.find(f"{TENANTS}/{new}") is None
    finally:
        await life.remove(admin, name, new)
