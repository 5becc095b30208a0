"""What kopf is doing, read off its requests; and when it is started."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from securetenant import supervise
from securetenant.cache.tenants import Tenants
from securetenant.engine.controller import Operator
from securetenant.kube.config import ClientConfig
from securetenant.supervise import IDLE, LATE, PATIENCE, Asking, TenantWatcher
from securetenant.telemetry.metrics import Metrics
from securetenant.watch import ANSWER, BACKOFFS, STANDS, Listener
from tests.support.clock import Clock
from tests.support.kube import until


@pytest.fixture
def asking() -> Asking:
    return Asking(since=100.0)


def watching(asking: Asking, now: float) -> None:
    """It begins a watch, which is accepted."""
    asking.began(now)
    asking.answered("watch", "200", now)


def test_who_watches_is_not_stuck_however_quiet(asking: Asking) -> None:
    watching(asking, 101.0)
    assert asking.stuck(101.0 + 3600) == ""
    assert asking.sees(101.0 + 3600) == 101.0 + 3600


def test_after_a_watch_another_request_must_begin_in_time(asking: Asking) -> None:
    watching(asking, 101.0)
    asking.over("watch", 110.0)
    assert asking.stuck(110.0 + IDLE) == ""
    assert "asked for nothing" in asking.stuck(110.1 + IDLE)
    asking.began(111.0)
    assert asking.stuck(111.0 + IDLE + 0.1) == "", "it waits for an answer"
    assert asking.sees(112.0) == 110.0


def test_its_own_pauses_are_no_reason() -> None:
    assert max(BACKOFFS) < IDLE


@pytest.mark.parametrize("code", ["404", "500", "error"])
def test_a_refusal_is_no_watch(asking: Asking, code: str) -> None:
    asking.began(101.0)
    asking.answered("watch", code, 101.0)
    assert asking.stuck(101.1 + IDLE)
    assert asking.sees(102.0) == 0.0


def test_an_answer_that_does_not_come(asking: Asking) -> None:
    asking.began(101.0)
    assert asking.stuck(101.0 + ANSWER + LATE) == ""
    assert "no answer" in asking.stuck(101.1 + ANSWER + LATE)


def test_an_answer_that_is_being_read(asking: Asking) -> None:
    """A page of a list takes its time, and is no pause."""
    asking.began(101.0)
    asking.answered("list", "200", 101.0)
    assert asking.stuck(101.1 + IDLE) == ""
    asking.over("list", 101.1 + IDLE)
    assert asking.under_way == 0


def test_a_retry_after_is_heeded_within_reason(asking: Asking) -> None:
    asking.began(101.0)
    asking.answered("watch", "429", 101.0, retry_after=3600)
    assert asking.stuck(101.0 + PATIENCE) == ""
    assert asking.stuck(101.1 + PATIENCE + 1.0)


def test_a_watch_that_ends_at_once_has_seen_nothing(asking: Asking) -> None:
    watching(asking, 101.0)
    asking.over("watch", 101.0 + STANDS / 2)
    assert asking.sees(105.0) == 0.0
    watching(asking, 106.0)
    asking.event(106.1)
    asking.over("watch", 106.2)
    assert asking.sees(110.0) == 106.1, "but for an event"


class Starting:
    """An operator whose caches take 12 s by the watcher's clock, and whose first look 10 s more: half of it goes by
    while `caught_up` is waited for first, and not long enough."""

    def __init__(self, clock: Clock) -> None:
        self.tenants, self.is_loading = Tenants(), True
        self.blind_for: Callable[[], float] = lambda: 0.0
        self._clock, self._is_awaited = clock, False

    async def synced(self) -> None:
        self._clock.now += 12.0

    async def caught_up(self) -> None:
        self._clock.now += 5.0
        if not self._is_awaited:
            self._is_awaited = True
            await asyncio.Event().wait()


class Still:
    """A kopf that asks for nothing, and has nothing to end."""

    def __init__(self, _config: ClientConfig, _listener: Listener) -> None:
        self.failed = asyncio.Event()
        self.thread = threading.Thread(target=lambda: None)
        self.thread.start()

    def stop(self) -> None: ...


async def test_a_slow_start_is_not_taken_for_blindness(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for before kopf is started counts from its end on: the operator has listed the tenants itself."""
    clock, started = Clock(), list[Still]()

    def start(given: ClientConfig, listener: Listener) -> Still:
        started.append(Still(given, listener))
        return started[-1]

    monkeypatch.setattr(supervise, "time", clock)
    monkeypatch.setattr(supervise, "Kopf", start)
    monkeypatch.setattr(supervise, "FIRST_LOOK", 0.01)
    operator = Starting(clock)
    given = cast(ClientConfig, SimpleNamespace(generation=0))
    watcher = TenantWatcher(given, cast(Operator, operator), Metrics((), ()))
    running = asyncio.create_task(watcher.run())
    try:
        await until(lambda: started or running.done(), "kopf to be started")
        assert clock.now == 1000.0 + 12.0 + 2 * 5.0
        assert operator.blind_for() == 0.0
        clock.now += 3.0
        assert operator.blind_for() == 3.0, "and it does count"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
