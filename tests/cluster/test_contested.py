"""Another manager rewrites what we correct, as fast as it can: no fight at full speed, and everybody can see why."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import life
from tests.support.fault import front, run_behind, shortened
from tests.support.sandbox import JSON_PATCH, Admin, Plane, wait_for

pytestmark = pytest.mark.cluster

# It is calm after a minute; here after seconds.
IMPATIENT: Final = "import securetenant.engine.contest as c; c.WINDOW = 5.0; c.LONGEST_WAIT = 2.0"
RIVAL: Final = "rival-controller"
POLICY: Final = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies/securetenant-default-deny"


@contextlib.asynccontextmanager
async def rewriting(admin: Admin, path: str, pause: float) -> AsyncIterator[list[int]]:
    """Open the policy, whenever it is found closed, `pause` seconds after the last look. Yields its successes."""
    done: list[int] = []
    operations = [{"op": "add", "path": "/spec/ingress", "value": [{}]}]

    async def rewrite() -> None:
        while True:
            if "ingress" not in (await admin.get(path))["spec"]:
                await admin.patch(path, operations, JSON_PATCH, params={"fieldManager": RIVAL})
                done.append(1)
            await asyncio.sleep(pause)

    task = asyncio.create_task(rewrite())
    try:
        yield done
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def touching(admin: Admin, path: str) -> AsyncIterator[None]:
    """Open the policy and change it again and again, looking at nothing: the object never stands still."""

    async def rewrite() -> None:
        for number in range(1_000_000):
            operations = [
                {
                    "op": "add",
                    "path": "/spec/ingress",
                    "value": [{"from": [{"ipBlock": {"cidr": f"10.0.{number % 256}.0/24"}}]}],
                }
            ]
            await admin.patch(path, operations, JSON_PATCH, params={"fieldManager": RIVAL})

    tasks = [asyncio.create_task(rewrite()) for _ in range(3)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_rival_is_named_and_the_fight_is_spaced(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    name = "contested"
    path = POLICY.format(name)

    async def is_contested() -> str:
        found = life.condition(await life.get(admin, name), "Contested")
        assert found.get("status") == "True"
        return str(found["message"])

    async def is_calm() -> bool:
        return life.condition(await life.get(admin, name), "Contested") == {}

    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            assert await operator.metric("securetenant_drift_contested", tenant=name) == 0
            async with rewriting(admin, path, 0.01) as rewritten:
                message = await wait_for(is_contested, 15, "the condition Contested")
                assert RIVAL in message
                assert f"NetworkPolicy/{name}-a/securetenant-default-deny" in message
                assert await operator.metric("securetenant_drift_contested", tenant=name, control="network") == 1
                # Between two corrections the policy stands open: that is not Ready.
                assert life.condition(await life.get(admin, name), "Ready")["reason"] == "Contested"
                mark, before = proxy.mark(), len(rewritten)
                await wait_for(lambda: len(rewritten) >= before + 3, 15, "three more rounds")
            puts = [seen.at for seen in proxy.since(mark) if seen.is_write and seen.path == path]
            gaps = [later - earlier for earlier, later in itertools.pairwise(puts)]
            assert gaps
            assert min(gaps) >= 1.9, gaps
            # The others of the tenant's objects are kept meanwhile and after at full speed.
            await admin.delete(f"{path.rpartition('/')[0]}/securetenant-dns")
            await wait_for(lambda: admin.find(f"{path.rpartition('/')[0]}/securetenant-dns"), 2, "the other policy")
            await wait_for(is_calm, 20, "calm")
            assert "ingress" not in (await admin.get(path))["spec"]
            assert await operator.metric("securetenant_drift_contested", tenant=name) == 0
            assert (await life.drift(operator, name))["network", "Changed"] >= 6
            await life.ready(admin, name)
    finally:
        await life.remove(admin, name)


async def test_an_object_that_never_stands_still(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """Rewritten so fast that each correction meets a conflict: contested all the same, and closed when it stops."""
    name = "contested-fast"
    path = POLICY.format(name)

    async def is_contested() -> bool:
        return life.condition(await life.get(admin, name), "Contested").get("status") == "True"

    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            async with touching(admin, path):
                await wait_for(is_contested, 20, "the condition Contested")
                assert await operator.metric("securetenant_drift_contested", tenant=name) == 1
            await life.ready(admin, name, 15)
            assert "ingress" not in (await admin.get(path))["spec"]
    finally:
        await life.remove(admin, name)
