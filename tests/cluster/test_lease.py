"""Election on a real API server: one active instance, whatever hangs, stops or jumps."""

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from securetenant.kube.lease import Elector, LeaseLost, boottime
from securetenant.kube.transport import NotFound, Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json, Ref
from tests.support.kube import transport_to, until
from tests.support.proxy import Proxy
from tests.support.sandbox import Plane

pytestmark = pytest.mark.cluster

SPACE = "default"
_number = itertools.count()


@dataclass
class Stage:
    plane: Plane
    transport: Transport
    name: str = field(default_factory=lambda: f"lease-{next(_number)}")

    @property
    def ref(self) -> Ref:
        return Ref(LEASE, SPACE, self.name)

    def elector(self, identity: str, transport: Transport | None = None, **options: Any) -> Elector:
        settings = {"duration": 3.0, "renew": 0.5, "retry": 0.2, **options}
        return Elector(transport or self.transport, SPACE, self.name, identity, **settings)

    async def spec(self) -> Json:
        spec = json.loads(await self.transport.get(LEASE, self.ref))["spec"]
        assert isinstance(spec, dict)
        return spec


@pytest_asyncio.fixture
async def stage(plane: Plane) -> AsyncIterator[Stage]:
    async with transport_to(plane.kubeconfig) as transport:
        stage = Stage(plane, transport)
        yield stage
        with contextlib.suppress(NotFound):
            await transport.delete(LEASE, stage.ref)


@contextlib.asynccontextmanager
async def never_both(*electors: Elector) -> AsyncIterator[None]:
    """At no moment of the block are two of them valid. (Each sample is taken at one moment, without an await.)"""
    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            valid = [each.identity for each in electors if each.valid]
            if len(valid) > 1:
                seen.append(valid)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
    assert seen == []


@contextlib.asynccontextmanager
async def spawned(*coroutines: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(each) for each in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_release_hands_over_at_once(stage: Stage) -> None:
    changes: list[tuple[str, bool]] = []
    one, two = (
        stage.elector(name, on_change=lambda leading, name=name: changes.append((name, leading)), duration=15.0)
        for name in ("one", "two")
    )
    async with never_both(one, two):
        await one.acquire()
        async with spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            await asyncio.sleep(1.2)  # some renewals go by
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
    spec = await stage.spec()
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("two", 15, 1)


async def test_released_lease_is_free(stage: Stage) -> None:
    one = stage.elector("one")
    await one.acquire()
    await one.release()
    spec = await stage.spec()
    assert not spec.get("holderIdentity")
    assert spec["leaseDurationSeconds"] == 1
    two = stage.elector("two")
    await asyncio.wait_for(two.acquire(), 1)


async def test_many_candidates_one_wins(stage: Stage) -> None:
    electors = [stage.elector(str(index), duration=15.0) for index in range(8)]
    async with never_both(*electors), spawned(*[each.acquire() for each in electors]) as tasks:
        await until(lambda: any(task.done() for task in tasks), "one acquires")
        await asyncio.sleep(0.5)
        assert sum(each.valid for each in electors) == 1
        assert sum(task.done() for task in tasks) == 1


def hang(proxy: Proxy) -> None:
    proxy.hang()


def refuse(proxy: Proxy) -> None:
    proxy.cut(refuse=True)


@pytest.mark.parametrize("fail", [pytest.param(hang, id="hang"), pytest.param(refuse, id="refuse")])
async def test_leader_without_a_server_gives_up_before_another_takes_over(
    stage: Stage, fail: Callable[[Proxy], None]
) -> None:
    lost_at: list[float] = []
    async with (
        Proxy(stage.plane.url) as proxy,
        transport_to(stage.plane.kubeconfig, server=proxy.url) as proxied,
    ):
        one = stage.elector("one", proxied, on_change=lambda leading: lost_at.append(time.monotonic()))
        two = stage.elector("two")
        await one.acquire()
        async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            await asyncio.sleep(0.7)
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
    async with (
        Proxy(stage.plane.url) as proxy,
        transport_to(stage.plane.kubeconfig, server=proxy.url) as proxied,
    ):
        one, two = stage.elector("one", proxied, duration=4.0), stage.elector("two", duration=4.0)
        await one.acquire()
        async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
            for _ in range(2):
                proxy.hang()
                await asyncio.sleep(1.2)
                proxy.cut()  # what hung is lost, maybe after the server did it
                proxy.resume()
                await asyncio.sleep(1.5)
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
        await asyncio.sleep(1.5)
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
    async with transport_to(
        stage.plane.kubeconfig, on_request=lambda verb, _kind, _code, _s: puts.append(verb)
    ) as counted:
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


async def test_wall_clocks_do_not_count(stage: Stage) -> None:
    """A holder whose clock is decades off is waited for like any other, from when we first saw its Lease."""
    spec: Json = {
        "holderIdentity": "stranger",
        "leaseDurationSeconds": 2,
        "renewTime": "1999-01-01T00:00:00.000000Z",
        "acquireTime": "2099-01-01T00:00:00.000000Z",
        "leaseTransitions": 7,
    }
    await stage.transport.create(LEASE, SPACE, {"metadata": {"name": stage.name}, "spec": spec})
    one = stage.elector("one")
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
    stage: Stage, given: int | None, longest: float, waited: float
) -> None:
    """Never for our own duration, which is 1 s here: replicas with different settings must not overlap."""
    spec: Json = {"holderIdentity": "stranger", "leaseDurationSeconds": given, "leaseTransitions": 0}
    await stage.transport.create(LEASE, SPACE, {"metadata": {"name": stage.name}, "spec": spec})
    one = stage.elector("one", duration=1.0, renew=0.2, longest=longest)
    started = time.monotonic()
    await asyncio.wait_for(one.acquire(), 6)
    assert waited <= time.monotonic() - started < waited + 1.0


async def test_edit_by_a_person_keeps_the_lease_and_the_edit(stage: Stage) -> None:
    one = stage.elector("one")
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await stage.transport.merge_patch(LEASE, stage.ref, {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(1.5)
        assert not keeping.done()
        assert one.valid
    assert json.loads(await stage.transport.get(LEASE, stage.ref))["metadata"]["labels"] == {"a": "b"}


async def test_lost_to_somebody(stage: Stage) -> None:
    changes: list[bool] = []
    one = stage.elector("one", on_change=changes.append)
    await one.acquire()
    async with spawned(one.keep()) as (keeping,):
        await stage.transport.merge_patch(LEASE, stage.ref, {"spec": {"holderIdentity": "thief"}})
        with pytest.raises(LeaseLost, match="thief"):
            await asyncio.wait_for(keeping, 2)
    assert not one.valid
    assert changes == [True, False]


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_deleted_lease_is_made_anew_by_its_holder(
    stage: Stage, polls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that saw the holder waits for it; it does not jump in."""
    one, two = stage.elector("one"), stage.elector("two")
    if polls:
        monkeypatch.setattr(two, "_watch_free", _forbidden)
    await one.acquire()
    async with never_both(one, two), spawned(one.keep(), two.acquire()) as (keeping, acquiring):
        for _ in range(2):
            await asyncio.sleep(0.6)
            await stage.transport.delete(LEASE, stage.ref)
        await asyncio.sleep(3.2)  # longer than what was last seen before the deletion lasts
        assert one.valid
        assert not keeping.done()
        assert not acquiring.done()
    assert (await stage.spec())["holderIdentity"] == "one"


async def test_deleted_lease_of_a_dead_holder_is_taken(stage: Stage) -> None:
    one, two = stage.elector("one"), stage.elector("two")
    await one.acquire()
    async with never_both(one, two), spawned(two.acquire()) as (acquiring,):
        await asyncio.sleep(0.3)
        await stage.transport.delete(LEASE, stage.ref)
        await asyncio.wait_for(acquiring, 5)
    assert two.valid


@pytest.mark.parametrize("polls", [pytest.param(False, id="watching"), pytest.param(True, id="polling")])
async def test_a_deletion_does_not_prolong_the_life_of_a_dead_holder(
    stage: Stage, polls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was given is waited out, from its last renewal on, and an hour of somebody's is not an hour."""
    spec: Json = {"holderIdentity": "stranger", "leaseDurationSeconds": 3600}
    await stage.transport.create(LEASE, SPACE, {"metadata": {"name": stage.name}, "spec": spec})
    one = stage.elector("one", longest=2.0)
    if polls:
        monkeypatch.setattr(one, "_watch_free", _forbidden)
    started = time.monotonic()
    async with spawned(one.acquire()) as (acquiring,):
        await asyncio.sleep(1.3)
        await stage.transport.delete(LEASE, stage.ref)
        await asyncio.wait_for(acquiring, 5)
    assert 2.0 <= time.monotonic() - started < 3.0


async def test_a_standby_says_who_leads_and_when_it_is_another(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securetenant.kube.lease")
    one, two, three = (stage.elector(name, duration=15.0) for name in ("one", "two", "three"))
    await one.acquire()

    def told() -> list[str]:
        return [message for message in caplog.messages if "standing by" in message]

    async with spawned(three.acquire(), one.keep()) as (_, keeping):
        await until(lambda: told() == [f"{stage.ref} is held by one: standing by"], "the first to be told of")
        await until(lambda: caplog.messages and one._sent is not None, "a renewal")
        keeping.cancel()
        # Not released and taken, which would be a race with the third: handed over in one write.
        await stage.transport.merge_patch(LEASE, stage.ref, {"spec": {"holderIdentity": two.identity}})
        await until(lambda: len(told()) == 2, "the second to be told of")
        await stage.transport.merge_patch(LEASE, stage.ref, {"metadata": {"labels": {"a": "b"}}})
        await stage.transport.merge_patch(LEASE, stage.ref, {"spec": {"holderIdentity": ""}})
        await until(lambda: three.valid, "the third to take over")
    assert told()[1:] == [f"{stage.ref} is held by two: standing by"]


async def test_silence_is_told_before_the_lease_runs_out(stage: Stage) -> None:
    """When the holder writes no more: there is a fifth of its duration left to prepare."""
    heard: list[bool] = []
    one = stage.elector("one", duration=2.0)
    two = stage.elector("two", on_silent=lambda: heard.append(one.valid))
    await one.acquire()
    async with spawned(one.keep(), two.acquire()) as (keeping, acquiring):
        await asyncio.sleep(2.2)  # longer than it lasts, and it is renewed
        assert heard == []
        keeping.cancel()
        stopped = time.monotonic()
        await until(lambda: heard, "the silence to be told")
        assert not acquiring.done()
        await asyncio.wait_for(acquiring, 2)
        assert time.monotonic() - stopped < 2.0 + 0.5
    assert heard == [False], "once, and not while the other may still write"
    assert two.silent


async def test_a_holder_that_comes_back_was_not_silent(stage: Stage) -> None:
    heard: list[float] = []
    one = stage.elector("one", margin=0.1)
    two = stage.elector("two", on_silent=lambda: heard.append(time.monotonic()))
    await one.acquire()
    async with spawned(two.acquire()) as (acquiring,):
        await until(lambda: heard, "the silence to be told")
        await one._renew_once()
        await asyncio.sleep(0.3)
        await one.release()
        await asyncio.wait_for(acquiring, 2)
    assert not two.silent


async def test_steady_state_costs_one_put_per_renewal_and_nothing_for_standbys(stage: Stage) -> None:
    requests: dict[str, list[str]] = {"one": [], "two": []}

    def counting(name: str) -> Any:
        return transport_to(
            stage.plane.kubeconfig, on_request=lambda verb, _kind, _code, _s: requests[name].append(verb)
        )

    async with counting("one") as first, counting("two") as second:
        one, two = stage.elector("one", first), stage.elector("two", second)
        await one.acquire()
        del requests["one"][:]
        async with spawned(one.keep(), two.acquire()):
            await until(lambda: len(requests["one"]) >= 8, "eight renewals: longer than the lease lasts")
    assert set(requests["one"]) == {"update"}
    assert requests["two"] == ["get", "watch"]


async def test_standby_without_the_right_to_watch_polls(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = stage.elector("one", duration=15.0), stage.elector("two", duration=15.0)
    monkeypatch.setattr(two, "_watch_free", _forbidden)
    await one.acquire()
    async with spawned(two.acquire()) as (acquiring,):
        await asyncio.sleep(0.5)
        await one.release()
        await asyncio.wait_for(acquiring, 2)


async def _forbidden(_limit: asyncio.Timeout) -> bool:
    from securetenant.kube.errors import Forbidden

    raise Forbidden(403, "Forbidden", "no")
