"""Kubernetes Events: merged, bounded, and never in the way."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from securetenant.telemetry import events
from securetenant.telemetry.events import Events, Subject, tenant_subject

PATH = "/api/v1/namespaces/default/events"
PAYMENTS = tenant_subject("payments", "uid-1")
LEDGER = tenant_subject("ledger", "uid-2")
POLICY = "NetworkPolicy payments-prod/securetenant-default-deny"


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Sink:
    """Where events are sent to; fails as long as `failures` last."""

    sent: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    failures: int = 0

    async def __call__(self, method: str, path: str, body: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("connection refused")
        self.sent.append((method, path, body))

    def take(self) -> list[tuple[str, str, dict[str, Any]]]:
        taken, self.sent = self.sent, []
        return taken


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def told(clock: Clock, sink: Sink) -> Events:
    return Events(sink, identity="pod_1", clock=clock)


def drift(told: Events, subject: Subject = PAYMENTS, object_: str = POLICY, message: str = "deleted") -> None:
    told.emit(subject, "Warning", "DriftDetected", message, control="network", object_=object_)


async def test_an_event_is_about_the_tenant_and_stands_in_default(told: Events, sink: Sink) -> None:
    drift(told)
    await told.flush()
    [(method, path, body)] = sink.take()
    name = body["metadata"].pop("name")
    assert (method, path) == ("POST", "/api/v1/namespaces/default/events")
    assert name.startswith("payments.")
    assert body == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": "default",
            "labels": {
                "app.kubernetes.io/managed-by": "securetenant",
                "securetenant.dev/tenant": "payments",
                "securetenant.dev/control": "network",
            },
        },
        "involvedObject": {
            "apiVersion": "securetenant.dev/v1alpha1",
            "kind": "SecureTenant",
            "name": "payments",
            "uid": "uid-1",
        },
        "type": "Warning",
        "reason": "DriftDetected",
        "message": "deleted",
        "count": 1,
        "firstTimestamp": "2027-01-15T08:00:00Z",
        "lastTimestamp": "2027-01-15T08:00:00Z",
        "source": {"component": "securetenant"},
        "reportingComponent": "securetenant",
        "reportingInstance": "pod_1",
    }


async def test_repeats_are_merged_into_one_patch_a_minute(told: Events, sink: Sink, clock: Clock) -> None:
    drift(told)
    await told.flush()
    [(_, _, created)] = sink.take()
    for second in range(1, 31):
        clock.now += 1
        drift(told, message=f"deleted again {second}")
        await told.flush()
    assert sink.take() == [], "nothing within the minute"
    clock.now += 30
    await told.flush()
    assert sink.take() == [
        (
            "PATCH",
            f"{PATH}/{created['metadata']['name']}",
            {"type": "Warning", "message": "deleted again 30", "count": 31, "lastTimestamp": "2027-01-15T08:00:30Z"},
        )
    ]
    clock.now += 600
    await told.flush()
    assert sink.take() == [], "nothing new to tell"
    drift(told)
    await told.flush()
    assert [(method, body["count"]) for method, _, body in sink.take()] == [("PATCH", 32)], "at once after a quiet time"


async def test_what_comes_before_the_first_write_is_in_it(told: Events, sink: Sink) -> None:
    for _ in range(3):
        drift(told)
    await told.flush()
    assert [(method, body["count"]) for method, _, body in sink.take()] == [("POST", 3)]


async def test_each_tenant_reason_control_and_object_has_its_own(told: Events, sink: Sink) -> None:
    told.emit(PAYMENTS, "Warning", "DriftDetected", "m", control="network", object_="a")
    told.emit(PAYMENTS, "Warning", "DriftDetected", "m", control="network", object_="b")
    told.emit(PAYMENTS, "Warning", "DriftDetected", "m", control="access", object_="a")
    told.emit(PAYMENTS, "Normal", "DriftCorrected", "m", control="network", object_="a")
    told.emit(LEDGER, "Warning", "DriftDetected", "m", control="network", object_="a")
    told.emit(PAYMENTS, "Warning", "DeletionBlocked", "m")
    await told.flush()
    sent = sink.take()
    assert [method for method, _, _ in sent] == ["POST"] * 6
    assert len({body["metadata"]["name"] for _, _, body in sent}) == 6
    assert "securetenant.dev/control" not in sent[-1][2]["metadata"]["labels"]


async def test_a_tenant_of_the_same_name_is_another(told: Events, sink: Sink) -> None:
    drift(told)
    drift(told, tenant_subject("payments", "uid-9"))
    await told.flush()
    assert [body["involvedObject"]["uid"] for _, _, body in sink.take()] == ["uid-1", "uid-9"]


async def test_a_long_message_is_cut(told: Events, sink: Sink) -> None:
    drift(told, message="x" * 5000)
    await told.flush()
    assert len(sink.take()[0][2]["message"]) == 1024


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


async def test_a_forgotten_event_does_not_hasten_the_next(
    told: Events, sink: Sink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BURST", 1000.0)
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


async def test_an_event_that_the_server_has_dropped_by_now_is_made_anew(told: Events, sink: Sink, clock: Clock) -> None:
    drift(told)
    await told.flush()
    clock.now += events.LIFETIME + 1
    drift(told)
    await told.flush()
    first, second = sink.take()
    assert (second[0], second[2]["count"]) == ("POST", 2)
    assert first[2]["metadata"]["name"] != second[2]["metadata"]["name"]


async def test_a_failed_patch_is_a_new_event_at_once(told: Events, sink: Sink, clock: Clock) -> None:
    drift(told)
    await told.flush()
    sink.take()
    clock.now += 61
    sink.failures = 1
    drift(told)
    await told.flush()
    assert [(method, body["count"]) for method, _, body in sink.take()] == [("POST", 2)]


async def test_a_failed_write_is_tried_again_later_and_then_given_up(told: Events, sink: Sink, clock: Clock) -> None:
    sink.failures = 1
    drift(told)
    await told.flush()
    assert sink.take() == []
    clock.now += events.INTERVAL
    await told.flush()
    assert [method for method, _, _ in sink.take()] == ["POST"]
    sink.failures = events.ATTEMPTS
    drift(told, LEDGER)
    for _ in range(events.ATTEMPTS + 2):
        await told.flush()
        clock.now += events.INTERVAL
    assert (sink.take(), sink.failures, told.dropped) == ([], 0, 1)
    drift(told, LEDGER)
    await told.flush()
    assert [(method, body["count"]) for method, _, body in sink.take()] == [("POST", 2)]


async def test_what_comes_during_a_write_is_told_by_the_next(clock: Clock) -> None:
    sent: list[tuple[str, int]] = []

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        sent.append((method, body["count"]))
        if len(sent) == 1:
            drift(mine)

    mine = Events(send, identity="pod_1", clock=clock)
    drift(mine)
    await mine.flush()
    assert sent == [("POST", 1)]
    clock.now += events.INTERVAL
    await mine.flush()
    assert sent == [("POST", 1), ("PATCH", 2)]


async def test_one_task_sends_and_emit_does_not_wait(clock: Clock) -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    sent: list[str] = []

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        begun.set()
        await go.wait()
        sent.append(body["involvedObject"]["name"])
        if len(sent) >= 2:
            done.set()

    mine = Events(send, identity="pod_1", clock=clock)
    task = asyncio.create_task(mine.run())
    try:
        drift(mine)
        await asyncio.wait_for(begun.wait(), 5)
        drift(mine, LEDGER)  # returns although the first is still being sent
        assert sent == []
        go.set()
        await asyncio.wait_for(done.wait(), 5)
        assert sent == ["payments", "ledger"]
        done.clear()
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits for something to tell
        drift(mine, tenant_subject("risk", "uid-3"))
        await asyncio.wait_for(done.wait(), 5)
        assert sent[2:] == ["risk"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_run_writes_a_repeat_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.05)
    done = asyncio.Event()
    sent: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        sent.append((method, loop.time()))
        if len(sent) == 1:
            drift(mine)
        else:
            done.set()

    mine = Events(send, identity="pod_1", clock=loop.time)
    task = asyncio.create_task(mine.run())
    try:
        drift(mine)
        await asyncio.wait_for(done.wait(), 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [method for method, _ in sent] == ["POST", "PATCH"]
    assert sent[1][1] - sent[0][1] >= 0.05


def rolled(told: Events, subject: Subject = PAYMENTS, object_: str = "") -> None:
    told.emit(subject, "Normal", "RolledOut", "3 objects", object_=object_, trails=True)


async def test_about_an_object_of_a_namespace_stands_there_and_counts_against_the_tenant(
    told: Events, sink: Sink
) -> None:
    binding = Subject("rbac.authorization.k8s.io/v1", "RoleBinding", "payments-prod", "their:Binding", "uid-7")
    told.emit(PAYMENTS, "Normal", "DriftCorrected", "removed", control="access", object_="theirs", about=binding)
    told.emit(PAYMENTS, "Normal", "DriftCorrected", "removed", control="access", object_="theirs")
    await told.flush()
    (method, path, body), (_, other, _) = sink.take()
    assert (method, path) == ("POST", "/api/v1/namespaces/payments-prod/events")
    assert body["metadata"]["namespace"] == "payments-prod"
    assert body["metadata"]["name"].startswith("their-binding."), "a name that an Event may have"
    assert body["metadata"]["labels"]["securetenant.dev/tenant"] == "payments"
    assert body["involvedObject"] == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "namespace": "payments-prod",
        "name": "their:Binding",
        "uid": "uid-7",
    }
    assert other == PATH
    for number in range(events.KEYS_PER_ACCOUNT):
        told.emit(PAYMENTS, "Normal", "DriftCorrected", "removed", object_=str(number), about=binding)
    await told.flush()
    assert len(sink.take()) == events.BURST - 2


async def test_what_is_not_a_tenants_carries_no_tenants_label(told: Events, sink: Sink) -> None:
    role = Subject("rbac.authorization.k8s.io/v1", "ClusterRole", "", "securetenant-viewer", "uid-8")
    told.emit(role, "Warning", "DriftDetected", "widened")
    await told.flush()
    ((_, path, body),) = sink.take()
    assert path == PATH
    assert body["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "securetenant"}
    assert body["involvedObject"]["kind"] == "ClusterRole"


@pytest.mark.parametrize("name", ["system:node", "a..b", "-.-", "Größe", "x" * 253, "a.-b"])
async def test_every_object_can_have_events(told: Events, sink: Sink, name: str) -> None:
    told.emit(Subject("rbac.authorization.k8s.io/v1", "ClusterRole", "", name, "uid"), "Warning", "DriftDetected", "m")
    await told.flush()
    made = sink.take()[0][2]["metadata"]["name"]
    assert len(made) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", made), made


async def test_an_object_made_anew_has_events_of_its_own(told: Events, sink: Sink, clock: Clock) -> None:
    for uid in ("uid-1", "uid-2"):
        policy = Subject("networking.k8s.io/v1", "NetworkPolicy", "payments-prod", "theirs", uid)
        told.emit(PAYMENTS, "Normal", "DriftCorrected", "removed", object_="theirs", about=policy)
        await told.flush()
        clock.now += events.INTERVAL
    assert [(method, body["involvedObject"]["uid"]) for method, _, body in sink.take()] == [
        ("POST", "uid-1"),
        ("POST", "uid-2"),
    ]


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


async def test_an_event_for_a_namespace_that_is_gone_is_given_up_at_once(clock: Clock) -> None:
    tried: list[str] = []

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        tried.append(method)
        raise events.Undeliverable

    mine = Events(send, identity="pod_1", clock=clock)
    drift(mine)
    for _ in range(3):
        await mine.flush()
        clock.now += events.INTERVAL
    assert (tried, mine.dropped) == (["POST"], 0)


async def test_run_writes_what_trails_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PACE", 50.0)
    done = asyncio.Event()
    sent: list[float] = []
    loop = asyncio.get_running_loop()

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        sent.append(loop.time())
        if len(sent) == 60:
            done.set()

    mine = Events(send, identity="pod_1", clock=loop.time)
    for number in range(60):
        rolled(mine, tenant_subject(f"tenant-{number}", f"uid-of-{number}"))
    task = asyncio.create_task(mine.run())
    try:
        await asyncio.wait_for(done.wait(), 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sent[-1] - sent[0] >= 0.19, "50 at once, and 10 in a fifth of a second"
