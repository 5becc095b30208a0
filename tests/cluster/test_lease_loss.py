"""What may cost the active instance its Lease, and what may not: a server that is away, clocks, edits, deletions."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest

from securetenant.kube.lease import LeaseLost, boottime
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json
from tests.support.lease import SPACE, Asked, Election, never_both, spawned
from tests.support.proxy import Proxy

pytestmark = pytest.mark.cluster


def hang(proxy: Proxy) -> None:
    proxy.hang()


def refuse(proxy: Proxy) -> None:
    proxy.cut(refuse=True)


@pytest.mark.parametrize("fail", [pytest.param(hang, id="hang"), pytest.param(refuse, id="refuse")])
async def test_leader_without_a_server_gives_up_before_another_takes_over(
    election: Election, fail: Callable[[Proxy], None]
) -> None:
    lost_at: list[float] = []
    asked = Asked()
    async with (
        Proxy(election.plane.url) as proxy,
        election.reach(server=proxy.url, on_request=asked.hear) as proxied,
    ):
        one = election.elector("one", proxied, on_change=lambda leading: lost_at.append(time.monotonic()))
        two = election.elector("two")
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


async def test_short_trouble_is_survived(election: Election) -> None:
    asked = Asked()
    async with (
        Proxy(election.plane.url) as proxy,
        election.reach(server=proxy.url, on_request=asked.hear) as proxied,
    ):
        one, two = election.elector("one", proxied, duration=4.0), election.elector("two", duration=4.0)
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


async def test_answer_that_is_lost_does_not_lose_the_lease(election: Election) -> None:
    """The server does the renewal and its answer never comes: the next one meets a Conflict with ourselves."""
    one = election.elector("one", duration=6.0)
    await one.acquire()
    body = json.loads(await election.transport.get(LEASE, election.ref))
    body["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
    await election.transport.replace(LEASE, election.ref, body)
    async with spawned(one.keep()) as (keeping,):
        await election.asked.renewed(2)
        assert one.valid
        assert not keeping.done()


class Clock:
    """Time that jumps when told, as over a suspend or a SIGSTOP."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __call__(self) -> float:
        return boottime() + self.jumped


async def test_process_that_was_stopped_finds_out_before_it_writes(election: Election) -> None:
    puts: list[str] = []
    clock = Clock()
    async with election.reach(on_request=lambda verb, _kind, _code, _s: puts.append(verb)) as counted:
        one = election.elector("one", counted, clock=clock)
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


async def test_edit_by_a_person_keeps_the_lease_and_the_edit(election: Election) -> None:
    one = election.elector("one")
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await election.transport.patch(LEASE, election.ref, {"metadata": {"labels": {"a": "b"}}})
        await election.asked.renewed(2)
        assert not keeping.done()
        assert one.valid
    assert json.loads(await election.transport.get(LEASE, election.ref))["metadata"]["labels"] == {"a": "b"}


async def test_lost_to_somebody(election: Election) -> None:
    changes: list[bool] = []
    one = election.elector("one", on_change=changes.append)
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await election.transport.patch(LEASE, election.ref, {"spec": {"holderIdentity": "thief"}})
        with pytest.raises(LeaseLost, match="thief"):
            await asyncio.wait_for(keeping, 2)
    assert not one.valid
    assert changes == [True, False]


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_deleted_lease_is_made_anew_by_its_holder(
    election: Election, poller: tuple[Transport, Asked], polls: bool
) -> None:
    """A standby that saw the holder waits for it; it does not jump in."""
    one, two = election.elector("one"), election.elector("two", poller[0] if polls else None)
    await one.acquire()
    async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
        for _ in range(2):
            await election.asked.renewed()
            await election.transport.delete(LEASE, election.ref)
        await election.asked.renewed(7)  # for longer than what was last seen before the deletion lasts
        assert one.valid
        assert not keeping.done()
        assert not acquiring.done()
    assert (await election.spec())["holderIdentity"] == "one"


async def test_deleted_lease_of_a_dead_holder_is_taken(election: Election) -> None:
    one, two = election.elector("one"), election.elector("two")
    await one.acquire()
    async with never_both(one, two), spawned(two.acquire()) as (acquiring,):
        await election.asked.more("watch", 1, "standbys")
        await election.transport.delete(LEASE, election.ref)
        await asyncio.wait_for(acquiring, 5)
    assert two.valid


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_a_deletion_does_not_prolong_the_life_of_a_dead_holder(
    election: Election, poller: tuple[Transport, Asked], polls: bool
) -> None:
    """What it was given is waited out, from its last renewal on, and an hour of somebody's is not an hour."""
    spec: Json = {"holderIdentity": "stranger", "leaseDurationSeconds": 3600}
    await election.transport.create(LEASE, SPACE, {"metadata": {"name": election.name}, "spec": spec})
    one = election.elector("one", poller[0] if polls else None, longest=2.0)
    started = time.monotonic()
    async with spawned(one.acquire()) as (acquiring,):
        await asyncio.sleep(1.3)  # sleep: most of the time that it is waited for
        await election.transport.delete(LEASE, election.ref)
        await asyncio.wait_for(acquiring, 5)
    assert 2.0 <= time.monotonic() - started < 3.0
