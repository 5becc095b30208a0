"""Another manager changes back what we correct, as fast as it can: what closes is corrected each time, all else ever
more seldom, and everybody can see why."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support import life
from tests.support.fault import front, run_behind
from tests.support.sandbox import JSON_PATCH, Admin, ApiError, Plane, wait_for
from tests.support.shortened import shortened

pytestmark = pytest.mark.cluster

# It is calm after a minute; here after seconds.
IMPATIENT: Final = {
    "engine.contention.WINDOW": 5.0,
    "engine.contention.LONGEST_WAIT": 2.0,
    "engine.contention.LASTING": 2.0,
}
RIVAL: Final = "rival-controller"
POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies"
POLICY: Final = POLICIES + "/securetenant-default-deny"
OPEN: Final = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
ROUNDS: Final = 40


@contextlib.asynccontextmanager
async def again_and_again(act: Callable[[], Awaitable[bool]], pause: float) -> AsyncIterator[list[float]]:
    """Act for as long as the context stands, `pause` seconds after each time; yields when it had an effect."""
    done: list[float] = []

    async def loop() -> None:
        while True:
            if await act():
                done.append(time.monotonic())
            await asyncio.sleep(pause)  # sleep: the rival's pace

    task = asyncio.create_task(loop())
    try:
        yield done
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def opening(admin: Admin, path: str) -> Callable[[], Awaitable[bool]]:
    """Open the policy wherever it is found closed."""

    async def act() -> bool:
        if "ingress" in (await admin.get(path))["spec"]:
            return False
        operations = [{"op": "add", "path": "/spec/ingress", "value": [{}]}]
        await admin.patch(path, operations, JSON_PATCH, params={"fieldManager": RIVAL})
        return True

    return act


def labelling(admin: Admin, path: str) -> Callable[[], Awaitable[bool]]:
    async def act() -> bool:
        if "example.com/mine" in (await admin.get(path))["metadata"]["labels"]:
            return False
        await admin.patch(path, {"metadata": {"labels": {"example.com/mine": "1"}}}, params={"fieldManager": RIVAL})
        return True

    return act


def deleting(admin: Admin, path: str) -> Callable[[], Awaitable[bool]]:
    """Delete the object, `pause` after it came back."""

    async def act() -> bool:
        try:
            await admin.delete(path)
        except ApiError:
            return False
        await wait_for(lambda: admin.find(path), 10, f"{path} to return")
        return True

    return act


def inviting(admin: Admin, path: str, name: str = "") -> Callable[[], Awaitable[bool]]:
    """Make an opening policy, under this name or a new one each time; an effect is that it was gone before."""

    async def act() -> bool:
        body = {"metadata": {"name": name} if name else {"generateName": "let-me-in-"}, "spec": OPEN}
        status, _ = await admin.request("POST", path, body, params={"fieldManager": RIVAL})
        return status == 201

    return act


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


async def contest(admin: Admin, name: str, reason: str = "") -> str:
    """The message of the condition Contested; AssertionError while there is none (with that reason)."""
    found = life.condition(await life.get(admin, name), "Contested")
    assert found.get("status") == "True"
    assert reason in ("", found["reason"])
    return str(found["message"])


async def is_calm(admin: Admin, name: str) -> bool:
    return life.condition(await life.get(admin, name), "Contested") == {}


async def test_an_opening_is_closed_each_time_and_the_rival_is_named(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    name, other = "contested", "contested-other"
    path = POLICY.format(name)
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            for each in (name, other):
                await life.create(admin, each, life.spec(f"{each}-a"))
                await life.ready(admin, each)
            assert await operator.metric("securetenant_drift_contested", tenant=name) == 0
            mark = proxy.mark()
            async with again_and_again(opening(admin, path), 0.01) as rewritten:
                message = await wait_for(lambda: contest(admin, name), 15, "the condition Contested")
                assert RIVAL in message
                assert f"NetworkPolicy/{name}-a/securetenant-default-deny" in message
                assert await operator.metric("securetenant_drift_contested", tenant=name, control="network") == 1
                # Between two corrections the policy stands open: that is not Ready.
                assert life.condition(await life.get(admin, name), "Ready")["reason"] == "Contested"
                # Spaced out, so many rounds would take half an hour.
                await wait_for(lambda: len(rewritten) >= ROUNDS, 30, f"{ROUNDS} rounds")
                # Another tenant's objects are kept meanwhile.
                await admin.delete(f"{POLICIES.format(other)}/securetenant-default-deny")
                await wait_for(lambda: admin.find(POLICY.format(other)), 2, "the other tenant's policy")
                advice = await wait_for(lambda: contest(admin, name, "ContestLasts"), 15, "advice")
                assert "ValidatingAdmissionPolicy" in advice
            puts = [seen.at for seen in proxy.since(mark) if seen.is_write and seen.path == path]
            a_second = [later - earlier for earlier, later in zip(puts, puts[21:], strict=False)]
            assert all(seconds > 0.9 for seconds in a_second), "at most 20 a second"
            await wait_for(lambda: is_calm(admin, name), 20, "calm")
            assert "ingress" not in (await admin.get(path))["spec"]
            assert await operator.metric("securetenant_drift_contested", tenant=name) == 0
            assert (await life.drift(operator, name))["network", "Changed"] >= ROUNDS
            await life.ready(admin, name)
    finally:
        await life.remove(admin, name, other)


async def test_what_does_not_open_is_corrected_ever_more_seldom(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    name = "contested-label"
    path = POLICY.format(name)
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)):
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            async with again_and_again(labelling(admin, path), 0.01) as rewritten:
                await wait_for(lambda: contest(admin, name), 15, "the condition Contested")
                mark, before = proxy.mark(), len(rewritten)
                await wait_for(lambda: len(rewritten) >= before + 3, 15, "three more rounds")
            puts = [seen.at for seen in proxy.since(mark) if seen.is_write and seen.path == path]
            gaps = [later - earlier for earlier, later in itertools.pairwise(puts)]
            assert gaps
            assert min(gaps) >= 1.9, gaps
            # The others of the tenant's objects are kept meanwhile and after at full speed.
            await admin.delete(f"{path.rpartition('/')[0]}/securetenant-dns")
            await wait_for(lambda: admin.find(f"{path.rpartition('/')[0]}/securetenant-dns"), 2, "the other policy")
            await wait_for(lambda: is_calm(admin, name), 20, "calm")
            await life.ready(admin, name)
    finally:
        await life.remove(admin, name)


async def test_a_closing_policy_that_is_deleted_whenever_it_returns(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """Deleted 50 ms after each return, it is there for most of the time."""
    name = "contested-gone"
    path = POLICY.format(name)
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path):
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            async with again_and_again(deleting(admin, path), 0.05) as returned:
                await wait_for(lambda: len(returned) >= 2 * ROUNDS, 40, f"{2 * ROUNDS} returns")
            gaps = sorted(later - earlier for earlier, later in itertools.pairwise(returned))
            # Of a spaced correction the pause alone is 2 s and more; here half of all are back in a few ms.
            print(f"absent {1 - 0.05 / gaps[len(gaps) // 2]:.0%} of the time")
            assert gaps[len(gaps) // 2] < 0.5, gaps
            await wait_for(lambda: contest(admin, name), 10, "the condition Contested")
    finally:
        await life.remove(admin, name)


@pytest.mark.parametrize("fixed", ["let-me-in", ""], ids=["one-name", "new-names"])
async def test_openings_that_come_back_are_removed_each_time(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path, fixed: str
) -> None:
    name = "contested-foreign"
    path = POLICIES.format(name)

    async def is_clean() -> bool:
        return all(item["metadata"]["name"].startswith("securetenant-") for item in (await admin.get(path))["items"])

    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path):
            await life.create(admin, name, life.spec(f"{name}-a", network={"foreign": "Remove"}))
            await life.ready(admin, name)
            async with again_and_again(inviting(admin, path, fixed), 0.2) as came:
                message = await wait_for(lambda: contest(admin, name), 40, "the condition Contested")
                assert RIVAL in message
                assert f"NetworkPolicy/{name}-a/" in message
                before = len(came)
                await wait_for(lambda: len(came) >= before + 10, 30, "ten more rounds")
            await wait_for(is_clean, 5, "the last of them to be removed")
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
