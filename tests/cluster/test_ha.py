"""Two instances, one Lease: the standby takes over whatever befalls the leader, and never do both write."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import Front, dead, free_lease, front, leads, run_behind
from tests.support.sandbox import Admin, Operator, Plane, wait_for

pytestmark = pytest.mark.cluster

DURATION: Final = 3.0
ENV: Final = {"SECURETENANT_LEASE_DURATION": str(int(DURATION))}
POLICY: Final = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies/securetenant-default-deny"


@dataclass
class Pair:
    """Two instances, each behind a proxy of its own that keeps a record of its writes; `leader` leads at first."""

    admin: Admin
    name: str
    leader: Operator
    standby: Operator
    of_leader: Front
    of_standby: Front

    async def tamper(self) -> None:
        """Delete a policy of the tenant's."""
        await self.admin.delete(POLICY.format(self.name))

    async def heals(self, deadline: float = 10.0) -> None:
        await wait_for(lambda: self.admin.find(POLICY.format(self.name)), deadline, "the policy to be back")

    def last_write(self) -> float:
        return max((seen.at for seen in self.of_leader.seen if seen.is_write), default=0.0)

    def first_write(self) -> float:
        return min((seen.at for seen in self.of_standby.seen if seen.is_write), default=float("inf"))

    def assert_never_both(self) -> None:
        """All writes of the one came before all writes of the other."""
        assert self.last_write() < self.first_write()


@pytest_asyncio.fixture
async def pair(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> AsyncIterator[Pair]:
    name = f"ha-{tmp_path.name.replace('_', '-').lower()[-12:].strip('-')}"
    await free_lease(admin)
    try:
        async with contextlib.AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(front(plane)) for _ in range(2)]
            leader = await stack.enter_async_context(run_behind(proxies[0], tmp_path, env=ENV))
            await wait_for(lambda: leads(leader), 10, "the first to lead")
            standby = await stack.enter_async_context(run_behind(proxies[1], tmp_path, env=ENV))
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            pair = Pair(admin, name, leader, standby, *proxies)
            yield pair
            pair.assert_never_both()
    finally:
        await free_lease(admin)
        await life.remove(admin, name)


async def test_the_standby_is_ready_and_idle(pair: Pair) -> None:
    assert (await pair.standby.get("/readyz"))[0] == 200
    assert (await pair.standby.get("/healthz"))[0] == 200
    assert await pair.leader.metric("securetenant_leader") == 1
    assert await pair.standby.metric("securetenant_leader") == 0
    assert await pair.standby.metric("securetenant_informer_objects", kind="NetworkPolicy") >= 4
    await pair.tamper()
    await pair.heals()
    assert [seen for seen in pair.of_standby.seen if seen.is_write] == []


async def test_the_leader_is_killed(pair: Pair) -> None:
    pair.leader.child.kill()
    killed = time.monotonic()
    await pair.tamper()
    await wait_for(lambda: leads(pair.standby), DURATION + 5, "the standby to lead")
    await pair.heals()
    assert time.monotonic() - killed > DURATION / 2, "nobody may take over before the Lease has run out"
    await life.ready(pair.admin, pair.name)
    assert await life.drift(pair.standby, pair.name) == {("network", "Missing"): 1}


async def test_a_killed_leader_is_replaced_within_the_lease_and_a_second(pair: Pair) -> None:
    """From the kill, right after a renewal (the worst moment), to the first thing that the standby heals."""
    renewed = pair.of_leader.renewals()
    await wait_for(lambda: pair.of_leader.renewals() > renewed, 5, "a renewal", every=0.005)
    pair.leader.child.kill()
    killed = time.monotonic()
    await pair.tamper()
    await wait_for(lambda: pair.admin.find(POLICY.format(pair.name)), DURATION + 5, "the policy to be back", every=0.01)
    took = time.monotonic() - killed
    print(f"healed {took:.2f} s after the kill, of which {DURATION:.0f} s are the Lease")
    assert DURATION / 2 < took < DURATION + 1

    async def is_counted() -> bool:
        return await life.drift(pair.standby, pair.name) == {("network", "Missing"): 1}

    await wait_for(is_counted, 5, "the deviation to be counted")
    told = [line for line in pair.standby.tail().splitlines() if "standing by" in line]
    assert len(told) == 1, "who leads is said once"


async def test_a_standby_that_heard_nothing_of_late(pair: Pair) -> None:
    """Its watches stand and say nothing. What the leader wrote meanwhile is no drift to it: it lists anew first."""
    name = f"{pair.name}-2"
    pair.of_standby.mute()
    try:
        await life.create(pair.admin, name, life.spec(f"{name}-a", f"{name}-b"))
        await life.ready(pair.admin, name)
        pair.leader.child.kill()
        await wait_for(lambda: leads(pair.standby), DURATION + 5, "the standby to lead")
        await life.settled(pair.standby, name)
        assert await life.drift(pair.standby, name) == {}
        writes = [
            f"{seen.method} {seen.path}" for seen in pair.of_standby.seen if seen.is_write and seen.concerns(name)
        ]
        assert writes == []
    finally:
        await life.remove(pair.admin, name)


async def test_the_leader_hangs(pair: Pair) -> None:
    """SIGSTOP. When it goes on, it finds out before it writes, says so and exits."""
    os.kill(pair.leader.pid, signal.SIGSTOP)
    await pair.tamper()
    await wait_for(lambda: leads(pair.standby), DURATION + 5, "the standby to lead")
    await pair.heals()
    mark = pair.of_leader.mark()
    await pair.tamper()  # something to do for the one that wakes up, too
    os.kill(pair.leader.pid, signal.SIGCONT)
    assert await dead(pair.leader) == 1
    await pair.heals()
    assert pair.of_leader.since(mark) == []
    assert "Lease is lost" in pair.leader.tail()


async def test_the_leader_hangs_in_the_middle_of_a_rollout(pair: Pair) -> None:
    """With writes to send: when it goes on, not one of them is sent."""
    name = f"{pair.name}-2"
    pair.of_leader.arm(name, 3, "after", pair.leader.pid, signal.SIGSTOP)
    try:
        await life.create(pair.admin, name, life.spec(f"{name}-a", f"{name}-b"))
        await wait_for(lambda: leads(pair.standby), DURATION + 5, "the standby to lead")
        await life.ready(pair.admin, name)
        mark = pair.of_leader.mark()
        os.kill(pair.leader.pid, signal.SIGCONT)
        assert await dead(pair.leader) == 1
        assert [f"{seen.method} {seen.path}" for seen in pair.of_leader.since(mark)] == []
        assert await life.drift(pair.standby, name) == {}
    finally:
        await life.remove(pair.admin, name)


async def test_the_leader_stops_cleanly(pair: Pair) -> None:
    """SIGTERM gives the Lease back: the standby works at once, not after the Lease's duration."""
    stopping = time.monotonic()
    ended = asyncio.create_task(pair.leader.stop())
    await wait_for(lambda: leads(pair.standby), DURATION, "the standby to lead", every=0.01)
    took = time.monotonic() - stopping
    await pair.tamper()
    await pair.heals()
    assert await ended == 0
    assert took < DURATION / 2, f"handed over in {took:.2f} s"
    print(f"handed over in {took * 1000:.0f} ms")


async def test_a_clean_stop_finishes_what_it_has_begun(pair: Pair) -> None:
    """SIGTERM in the middle of a rollout: the pass is finished or handed over, and nothing counts as drift."""
    name = f"{pair.name}-2"
    try:
        await life.create(pair.admin, name, life.spec(f"{name}-a", f"{name}-b"))
        await wait_for(lambda: any(s.concerns(name) for s in pair.of_leader.seen if s.is_write), 10, "the first write")
        assert await pair.leader.stop() == 0
        await life.ready(pair.admin, name)
        await life.settled(pair.standby, name)
        assert await life.drift(pair.standby, name) == {}
    finally:
        await life.remove(pair.admin, name)
