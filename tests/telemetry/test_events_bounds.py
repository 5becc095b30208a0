"""Kubernetes Events: bounded in rate and in memory, and never in the way."""

import asyncio
from typing import Any

from securetenant.telemetry import events
from securetenant.telemetry.events import Events, tenant_subject
from tests.support.events import LEDGER, PAYMENTS, Clock, Sink, drift, rolled
from tests.support.kube import until


async def test_a_tenants_rate_is_bounded_and_the_rest_waits(told: Events, sink: Sink, clock: Clock) -> None:
    for number in range(30):
        drift(told, object_=f"object-{number}")
    drift(told, LEDGER)
    await told.flush()
    assert [body["involvedObject"]["name"] for _, _, body in sink.take()] == ["payments"] * 25 + ["ledger"]
    clock.now += events.REFILL - 1
    await told.flush()
    assert sink.take() == []
    for _ in range(5):
        clock.now += events.REFILL
        await told.flush()
        assert len(sink.take()) == 1
    clock.now += 3600
    await told.flush()
    assert sink.take() == []
    assert told.dropped == 0


async def test_a_flood_pushes_out_only_its_own(told: Events, sink: Sink) -> None:
    drift(told, LEDGER)
    for number in range(20_000):
        drift(told, object_=f"object-{number}")
    assert len(told._due) <= 2 * events.KEYS
    await told.flush()
    sent = sink.take()
    assert [body["involvedObject"]["name"] for _, _, body in sent].count("ledger") == 1
    assert told.dropped == 20_000 - events.KEYS_PER_ACCOUNT


async def test_the_keys_of_all_tenants_are_bounded(told: Events) -> None:
    for number in range(events.KEYS + 100):
        drift(told, tenant_subject(f"tenant-{number}", f"uid-{number}"))
        await told.flush()
    assert told._keys == events.KEYS
    assert len(told._accounts) == events.KEYS
    assert told.dropped == 0, "what was written is forgotten, not lost"


async def test_what_is_forgotten_is_what_was_least_recently_told(told: Events, sink: Sink, clock: Clock) -> None:
    for subject in (PAYMENTS, LEDGER):
        drift(told, subject, object_="first")
    for number in range(events.KEYS_PER_ACCOUNT - 1):
        drift(told, object_=f"object-{number}")
        drift(told, object_="first")
    for number in range(events.KEYS - events.KEYS_PER_ACCOUNT):
        drift(told, tenant_subject(f"tenant-{number}", f"uid-of-{number}"))
        drift(told, object_="first")
    assert LEDGER.uid not in told._accounts
    drift(told, object_="one more")
    assert ("DriftDetected", "network", "first", "") in told._accounts[PAYMENTS.uid].entries
    assert ("DriftDetected", "network", "object-0", "") not in told._accounts[PAYMENTS.uid].entries


async def test_a_forgotten_event_does_not_hasten_the_next(sink: Sink, clock: Clock) -> None:
    told = Events(sink, identity="pod_1", clock=clock, burst=1000.0)
    start = clock.now
    drift(told)
    await told.flush()
    clock.now = start + 10
    drift(told)  # to be written at 60
    for number in range(events.KEYS_PER_ACCOUNT):
        drift(told, object_=f"object-{number}")
    drift(told)
    await told.flush()
    clock.now = start + 20
    drift(told)  # to be written at 70
    sink.take()
    clock.now = start + 60
    await told.flush()
    assert sink.take() == []
    clock.now = start + 70
    await told.flush()
    assert [(method, body["count"]) for method, _, body in sink.take()] == [("PATCH", 2)]


async def test_a_forgotten_event_starts_anew(told: Events, sink: Sink) -> None:
    drift(told)
    await told.flush()
    for number in range(events.KEYS_PER_ACCOUNT):
        drift(told, object_=f"object-{number}")
    sink.take()
    drift(told)
    await told.flush()
    assert {(method, body["count"]) for method, _, body in sink.take()} == {("POST", 1)}


async def test_what_trails_is_paced_for_all_and_comes_after_what_is_urgent(
    told: Events, sink: Sink, clock: Clock
) -> None:
    tenants = [tenant_subject(f"tenant-{number}", f"uid-of-{number}") for number in range(100)]
    for tenant in tenants:
        rolled(told, tenant)
    drift(told, LEDGER)
    await told.flush()
    first = [body["reason"] for _, _, body in sink.take()]
    assert first == ["DriftDetected"] + ["RolledOut"] * int(events.PACE)
    clock.now += 0.5
    drift(told, object_="another")
    await told.flush()
    assert [body["reason"] for _, _, body in sink.take()] == ["DriftDetected"] + ["RolledOut"] * int(events.PACE / 2)
    for _ in range(4):
        clock.now += 1
        await told.flush()
    assert len(sink.take()) == 100 - int(events.PACE * 1.5)
    assert told.dropped == 0


async def test_what_trails_gives_way_to_work(told: Events, sink: Sink, clock: Clock) -> None:
    busy = True
    told.give_way(lambda: busy)
    for number in range(100):
        rolled(told, tenant_subject(f"tenant-{number}", f"uid-of-{number}"))
    await told.flush()
    sink.take()
    clock.now += 1
    await told.flush()
    assert len(sink.take()) == events.PACE_BESIDE
    busy = False
    clock.now += 1
    await told.flush()
    assert len(sink.take()) == events.PACE


async def test_what_trails_leaves_the_last_of_a_tenants_tokens_to_what_is_urgent(
    told: Events, sink: Sink, clock: Clock
) -> None:
    for number in range(20):
        rolled(told, object_=str(number))
    await told.flush()
    assert len(sink.take()) == events.BURST - events.RESERVE
    for number in range(20):
        drift(told, object_=str(number))
    await told.flush()
    assert {body["reason"] for _, _, body in sink.sent} == {"DriftDetected"}
    assert len(sink.take()) == events.RESERVE
    for _ in range(40):
        clock.now += events.REFILL
        await told.flush()
    assert len(sink.take()) == 20 - events.RESERVE + 20 - (events.BURST - events.RESERVE)


async def test_what_trails_is_bounded(told: Events, sink: Sink) -> None:
    for number in range(3 * events.KEYS):
        rolled(told, tenant_subject(f"tenant-{number}", f"uid-of-{number}"))
        if not number % 100:
            await told.flush()
    assert told._keys == events.KEYS
    assert len(told._trailing) + len(told._due) <= 4 * events.KEYS


async def test_run_writes_what_trails_in_its_time(clock: Clock) -> None:
    sent: list[float] = []

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        sent.append(clock.now)

    mine = Events(send, identity="pod_1", clock=clock, pace=50.0)
    for number in range(60):
        rolled(mine, tenant_subject(f"tenant-{number}", f"uid-of-{number}"))
    task = asyncio.create_task(mine.run())
    start = clock.now
    try:
        await until(lambda: len(sent) >= 50, "as many as may go at once")
        looked = clock.looked
        await until(lambda: clock.looked > looked + 4, "it to look whether more may go")
        clock.now += 0.25
        await until(lambda: len(sent) == 60, "the rest")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sent == [start] * 50 + [start + 0.25] * 10
