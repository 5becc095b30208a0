"""Election on a real API server: one active instance, and a standby that takes over in time."""

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager

import pytest

from securetenant.kube.transport import Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json
from tests.support.kube import until
from tests.support.lease import SPACE, Asked, Election, never_both, spawned

pytestmark = pytest.mark.cluster


async def test_release_hands_over_at_once(election: Election) -> None:
    changes: list[tuple[str, bool]] = []
    one, two = (
        election.elector(name, on_change=lambda leading, name=name: changes.append((name, leading)), duration=15.0)
        for name in ("one", "two")
    )
    async with never_both(one, two):
        await one.acquire()
        async with spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            await election.asked.renewed(2)
            assert one.valid
            assert not acquiring.done()
            keeping.cancel()
            released = time.monotonic()
            await one.release()
            assert not one.valid
            await asyncio.wait_for(acquiring, 2)
            assert time.monotonic() - released < 1.0
    assert two.valid
    assert changes == [("one", True), ("one", False), ("two", True)]
    assert (one.transitions, two.transitions) == (0, 1)
    spec = await election.spec()
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("two", 15, 1)


async def test_released_lease_is_free(election: Election) -> None:
    one = election.elector("one")
    await one.acquire()
    await one.release()
    spec = await election.spec()
    assert not spec.get("holderIdentity")
    assert spec["leaseDurationSeconds"] == 1
    two = election.elector("two")
    await asyncio.wait_for(two.acquire(), 1)


async def test_many_candidates_one_wins(election: Election) -> None:
    electors = [election.elector(str(index), duration=15.0) for index in range(8)]
    async with never_both(*electors), spawned(*[each.acquire() for each in electors]) as tasks:
        await until(lambda: any(task.done() for task in tasks), "one acquires")
        await until(lambda: election.asked.verbs.count("watch") >= 7, "the others to stand by")
        assert sum(each.valid for each in electors) == 1
        assert sum(task.done() for task in tasks) == 1


async def test_wall_clocks_do_not_count(election: Election) -> None:
    """A holder whose clock is decades off is waited for like any other, from when we first saw its Lease."""
    spec: Json = {
        "holderIdentity": "stranger",
        "leaseDurationSeconds": 2,
        "renewTime": "1999-01-01T00:00:00.000000Z",
        "acquireTime": "2099-01-01T00:00:00.000000Z",
        "leaseTransitions": 7,
    }
    await election.transport.create(LEASE, SPACE, {"metadata": {"name": election.name}, "spec": spec})
    one = election.elector("one")
    started = time.monotonic()
    await asyncio.wait_for(one.acquire(), 5)
    assert time.monotonic() - started >= 2.0
    assert one.transitions == 8


@pytest.mark.parametrize(
    ("given", "longest", "waited"),
    [
        pytest.param(3600, 1.2, 1.2, id="longer-than-anybody-may-have"),
        pytest.param(None, 1.5, 1.5, id="none"),
        pytest.param(2, 300.0, 2.0, id="longer-than-ours"),
    ],
)
async def test_a_holder_is_waited_for_as_long_as_it_says_within_bounds(
    election: Election, given: int | None, longest: float, waited: float
) -> None:
    """Never for our own duration, which is 1 s here: replicas with different settings must not overlap."""
    spec: Json = {"holderIdentity": "stranger", "leaseDurationSeconds": given, "leaseTransitions": 0}
    await election.transport.create(LEASE, SPACE, {"metadata": {"name": election.name}, "spec": spec})
    one = election.elector("one", duration=1.0, renew=0.2, longest=longest)
    started = time.monotonic()
    await asyncio.wait_for(one.acquire(), 6)
    assert waited <= time.monotonic() - started < waited + 1.0


async def test_a_standby_says_who_leads_and_when_it_is_another(
    election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "securetenant.kube.lease")
    one, two, three = (election.elector(name, duration=15.0) for name in ("one", "two", "three"))
    await one.acquire()

    def told() -> list[str]:
        return [message for message in caplog.messages if "standing by" in message]

    async with spawned(three.acquire(), one.keep()) as (_, keeping):
        await until(lambda: told() == [f"{election.ref} is held by one: standing by"], "the first to be told of")
        await until(lambda: caplog.messages and one._sent is not None, "a renewal")
        keeping.cancel()
        # Not released and taken, which would be a race with the third: handed over in one write.
        await election.transport.patch(LEASE, election.ref, {"spec": {"holderIdentity": two.identity}})
        await until(lambda: len(told()) == 2, "the second to be told of")
        await election.transport.patch(LEASE, election.ref, {"metadata": {"labels": {"a": "b"}}})
        await election.transport.patch(LEASE, election.ref, {"spec": {"holderIdentity": ""}})
        await until(lambda: three.valid, "the third to take over")
    assert told()[1:] == [f"{election.ref} is held by two: standing by"]


async def test_silence_is_told_before_the_lease_runs_out(election: Election) -> None:
    """When the holder writes no more: there is a fifth of its duration left to prepare."""
    heard: list[bool] = []
    one = election.elector("one", duration=2.0)
    two = election.elector("two", on_silent=lambda: heard.append(one.valid))
    await one.acquire()
    async with spawned(one.keep(), two.acquire()) as (keeping, acquiring):
        await election.asked.renewed(5)  # for longer than it lasts
        assert heard == []
        keeping.cancel()
        stopped = time.monotonic()
        await until(lambda: heard, "the silence to be told")
        assert not acquiring.done()
        await asyncio.wait_for(acquiring, 2)
        assert time.monotonic() - stopped < 2.0 + 0.5
    assert heard == [False], "once, and not while the other may still write"
    assert two.silent


async def test_a_holder_that_comes_back_was_not_silent(election: Election) -> None:
    heard: list[float] = []
    one = election.elector("one", margin=0.1)
    two = election.elector("two", on_silent=lambda: heard.append(time.monotonic()))
    await one.acquire()
    async with spawned(two.acquire()) as (acquiring,):
        await until(lambda: heard, "the silence to be told")
        await one._renew_once()
        await until(lambda: two._silent != two._seen, "the renewal to be seen")
        await one.release()
        await asyncio.wait_for(acquiring, 2)
    assert not two.silent


async def test_steady_state_costs_one_put_per_renewal_and_nothing_for_standbys(election: Election) -> None:
    first: list[str] = []
    second: list[str] = []

    def counting(verbs: list[str]) -> AbstractAsyncContextManager[Transport]:
        return election.reach(on_request=lambda verb, _kind, _code, _s: verbs.append(verb))

    async with counting(first) as leading, counting(second) as standing:
        one, two = election.elector("one", leading), election.elector("two", standing)
        await one.acquire()
        del first[:]
        async with spawned(one.keep(), two.acquire()):
            await until(lambda: len(first) >= 8, "eight renewals: longer than the lease lasts")
    assert set(first) == {"update"}
    assert second == ["get", "watch"]


async def test_standby_without_the_right_to_watch_polls(election: Election, poller: tuple[Transport, Asked]) -> None:
    transport, asked = poller
    one, two = election.elector("one", duration=15.0), election.elector("two", transport, duration=15.0)
    await one.acquire()
    async with spawned(two.acquire()) as (acquiring,):
        await asked.more("get", 2, "looks at the Lease")
        await one.release()
        await asyncio.wait_for(acquiring, 2)
