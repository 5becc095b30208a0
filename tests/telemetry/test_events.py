"""Kubernetes Events: what they say, how repeats are merged, what becomes of failures."""

import asyncio
import re
from typing import Any

import pytest

from securetenant.telemetry import events
from securetenant.telemetry.events import Events, Subject, tenant_subject
from tests.support.events import LEDGER, PATH, PAYMENTS, Clock, Sink, drift
from tests.support.kube import until


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
        await asyncio.wait_for(begun.wait(), 60)
        drift(mine, LEDGER)  # returns although the first is still being sent
        assert sent == []
        go.set()
        await asyncio.wait_for(done.wait(), 60)
        assert sent == ["payments", "ledger"]
        done.clear()
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits for something to tell
        drift(mine, tenant_subject("risk", "uid-3"))
        await asyncio.wait_for(done.wait(), 60)
        assert sent[2:] == ["risk"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_run_writes_a_repeat_when_its_time_has_come(clock: Clock) -> None:
    begun, done = asyncio.Event(), asyncio.Event()
    sent: list[tuple[str, float]] = []

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        sent.append((method, clock.now))
        if len(sent) == 1:
            drift(mine)
            begun.set()
        else:
            done.set()

    mine = Events(send, identity="pod_1", clock=clock, interval=0.05)
    task = asyncio.create_task(mine.run())
    try:
        drift(mine)
        await asyncio.wait_for(begun.wait(), 60)
        start, looked = clock.now, clock.looked
        await until(lambda: clock.looked > looked + 2, "it to look whether the repeat is due")
        clock.now += 0.1
        await asyncio.wait_for(done.wait(), 60)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sent == [("POST", start), ("PATCH", start + 0.1)]


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
