"""What may cost the active instance its Lease, and what may not: a server that is away, clocks, edits, deletions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from securetenant.kube.lease import LeaseLost, boottime
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json
from tests.support.lease import SPACE, Asked, Stage, never_both, spawned, staged, unable_to_watch
from tests.support.proxy import Proxy
from tests.support.sandbox import Admin, Plane

pytestmark = pytest.mark.cluster


@pytest_asyncio.fixture
async def stage(plane: Plane) -> AsyncIterator[Stage]:
    async with staged(plane) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module")
async def poller(
    plane: Plane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Transport, Asked]]:
    """Who may not watch the Lease."""
    async with unable_to_watch(plane, admin, tmp_path_factory.mktemp("poller")) as poller:
        yield poller


def hang(proxy: Proxy) -> None:
    proxy.hang()


def refuse(proxy: Proxy) -> None:
    proxy.cut(refuse=True)


@pytest.mark.parametrize("fail", [pytest.param(hang, id="hang"), pytest.param(refuse, id="refuse")])
async def test_leader_without_a_server_gives_up_before_another_takes_over(
    stage: Stage, fail: Callable[[Proxy], None]
) -> None:
    lost_at: list[float] = []
    asked = Asked()
    async with (
        Proxy(stage.plane.url) as proxy,
        stage.reach(server=proxy.url, on_request=asked.hear) as proxied,
    ):
        one = stage.elector("one", proxied, on_change=lambda leading: lost_at.append(time.monotonic()))
        two = stage.elector("two")
        await one.acquire()
        async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            await asked.renewed()
            fail(proxy)
            failed = time.monotonic()
            await asyncio.wait_for(acquiring, 8)
            taken = time.monotonic()
            with pytest.raises(LeaseLost):
                await asyncio.wait_for(keeping, 0.1)
    assert lost_at[-1] - failed < 3.0
    assert lost_at[-1] < taken
    assert taken - failed < 5.0
    assert two.transitions == 1


async def test_short_trouble_is_survived(stage: Stage) -> None:
    asked = Asked()
    async with (
        Proxy(stage.plane.url) as proxy,
        stage.reach(server=proxy.url, on_request=asked.hear) as proxied,
    ):
        one, two = stage.elector("one", proxied, duration=4.0), stage.elector("two", duration=4.0)
        await one.acquire()
        async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            for _ in range(2):
                proxy.hang()
                await asyncio.sleep(1.2)  # sleep: as long as the trouble lasts
                proxy.cut()  # what hung is lost, maybe after the server did it
                proxy.resume()
                await asked.renewed()
                assert one.valid
            assert not keeping.done()
            assert not acquiring.done()


async def test_answer_that_is_lost_does_not_lose_the_lease(stage: Stage) -> None:
    """The server does the renewal and its answer never comes: the next one meets a Conflict with ourselves."""
    one = stage.elector("one", duration=6.0)
    await one.acquire()
    body = json.loads(await stage.transport.get(LEASE, stage.ref))
    body["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
    await stage.transport.replace(LEASE, stage.ref, body)
    async with spawned(one.keep()) as (keeping,):
        await stage.asked.renewed(2)
        assert one.valid
        assert not keeping.done()


class Clock:
    """Time that jumps when told, as over a suspend or a SIGSTOP."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __call__(self) -> float:
        return boottime() + self.jumped


async def test_process_that_was_stopped_finds_out_before_it_writes(stage: Stage) -> None:
    puts: list[str] = []
    clock = Clock()
    async with stage.reach(on_request=lambda verb, _kind, _code, _s: puts.append(verb)) as counted:
        one = stage.elector("one", counted, clock=clock)
        await one.acquire()
        one.check()
        clock.jumped = 2.5  # past the margin, before anybody may take over
        assert not one.valid
        with pytest.raises(LeaseLost):
            one.check()
        del puts[:]
        with pytest.raises(LeaseLost):
            await one.keep()
        assert puts == []
        await one.release()
        assert puts == []  # what is not surely ours is not released


async def test_edit_by_a_person_keeps_the_lease_and_the_edit(stage: Stage) -> None:
    one = stage.elector("one")
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await stage.transport.patch(LEASE, stage.ref, {"metadata": {"labels": {"a": "b"}}})
        await stage.asked.renewed(2)
        assert not keeping.done()
        assert one.valid
    assert json.loads(await stage.transport.get(LEASE, stage.ref))["metadata"]["labels"] == {"a": "b"}


async def test_lost_to_somebody(stage: Stage) -> None:
    changes: list[bool] = []
    one = stage.elector("one", on_change=changes.append)
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await stage.transport.patch(LEASE, stage.ref, {"spec": {"holderIdentity": "thief"}})
        with pytest.raises(LeaseLost, match="thief"):
            await asyncio.wait_for(keeping, 2)
    assert not one.valid
    assert changes == [True, False]


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_deleted_lease_is_made_anew_by_its_holder(
    stage: Stage, poller: tuple[Transport, Asked], polls: bool
) -> None:
    """A standby that saw the holder waits for it; it does not jump in."""
    one, two = stage.elector("one"), stage.elector("two", poller[0] if polls else None)
    await one.acquire()
    async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
        for _ in range(2):
            await stage.asked.renewed()
            await stage.transport.delete(LEASE, stage.ref)
        await stage.asked.renewed(7)  # for longer than what was last seen before the deletion lasts
        assert one.valid
        assert not keeping.done()
        assert not acquiring.done()
    assert (await stage.spec())["holderIdentity"] == "one"


async def test_deleted_lease_of_a_dead_holder_is_taken(stage: Stage) -> None:
    one, two = stage.elector("one"), stage.elector("two")
    await one.acquire()
    async with never_both(one, two), spawned(two.acquire()) as (acquiring,):
        await stage.asked.more("watch", 1, "standbys")
        await stage.transport.delete(LEASE, stage.ref)
        await asyncio.wait_for(acquiring, 5)
    assert two.valid


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_a_deletion_does_not_prolong_the_life_of_a_dead_holder(
    stage: Stage, poller: tuple[Transport, Asked], polls: bool
) -> None:
    """What it was given is waited out, from its last renewal on, and an hour of somebody's is not an hour."""
    spec: Json = {"holderIdentity": "stranger", "leaseDurationSeconds": 3600}
    await stage.transport.create(LEASE, SPACE, {"metadata": {"name": stage.name}, "spec": spec})
    one = stage.elector("one", poller[0] if polls else None, longest=2.0)
    started = time.monotonic()
    async with spawned(one.acquire()) as (acquiring,):
        await asyncio.sleep(1.3)  # sleep: most of the time that it is waited for
        await stage.transport.delete(LEASE, stage.ref)
        await asyncio.wait_for(acquiring, 5)
    assert 2.0 <= time.monotonic() - started < 3.0
