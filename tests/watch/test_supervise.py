"""When kopf is started, and that it is started anew where one of the kinds is not watched any more."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from securetenant.engine.controller import Controller
from securetenant.engine.informers import SILENT
from securetenant.kube.config import ClientConfig
from securetenant.model.kinds import SECURE_TENANT, Kind
from securetenant.telemetry.metrics import Metrics
from securetenant.watch import supervise
from securetenant.watch.kopf_thread import Kopf, Listener
from securetenant.watch.requests import IDLE, Request, Verb
from securetenant.watch.supervise import Watcher
from tests.support.clock import Clock
from tests.support.kube import until

CLASS = Kind("TenantClass", SECURE_TENANT.group, SECURE_TENANT.version, "tenantclasses", namespaced=False)


class Starting:
    """A controller whose caches take 12 s by the watcher's clock, and whose initial reconcile takes 10 s more: half of
    it goes by while `caught_up` is waited for first, and not long enough."""

    def __init__(self, clock: Clock) -> None:
        self.is_loading = True
        self.blind_for: Callable[[Kind], float] = lambda kind: 0.0
        self.seen: list[tuple[str, str | None, str]] = []
        self.listed_anew: list[str] = []
        self._clock, self._is_awaited = clock, False

    async def synced(self) -> None:
        self._clock.now += 12.0

    async def caught_up(self) -> None:
        self._clock.now += 5.0
        if not self._is_awaited:
            self._is_awaited = True
            await asyncio.Event().wait()

    def count(self, _kind: Kind) -> int:
        return 0

    def relisted(self, kind: Kind) -> None:
        self.listed_anew.append(kind.name)

    def observe(self, kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        self.seen.append((kind.name, event_type, body["metadata"]["name"]))

    def log_fields(self, kind: Kind, name: str) -> dict[str, str]:
        return {"kind": kind.name, "name": name}


class Still:
    """A kopf that asks for nothing, and has nothing to end."""

    def __init__(self, _config: ClientConfig, _kinds: Sequence[Kind], _listener: Listener) -> None:
        self.failed = asyncio.Event()
        self.failure = ""
        self.thread = threading.Thread(target=lambda: None)
        self.thread.start()

    def stop(self) -> None: ...


class Stage:
    """A watcher by a clock of the test's, and the kopfs that it started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kinds: Sequence[Kind]) -> None:
        self.clock, self.started = Clock(), list[Still]()
        self.controller = Starting(self.clock)
        monkeypatch.setattr(supervise, "time", self.clock)
        monkeypatch.setattr(supervise, "Kopf", self._start)
        for name, seconds in (("INITIAL_RECONCILE", 0.01), ("CHECK", 0.01), ("RESTARTS", (0.0,))):
            monkeypatch.setattr(supervise, name, seconds)
        self.metrics = Metrics((), ())
        given = cast(ClientConfig, SimpleNamespace(generation=0))
        self.watcher = Watcher(given, kinds, cast(Controller, self.controller), self.metrics)

    def _start(self, config: ClientConfig, kinds: Sequence[Kind], listener: Listener) -> Still:
        self.started.append(Still(config, kinds, listener))
        return self.started[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.watcher.run())
        try:
            await until(lambda: self.started or running.done(), "kopf to be started")
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    @property
    def kopf(self) -> Kopf:
        return cast(Kopf, self.started[-1])

    def ask(self, verb: Verb, kind: Kind | None, code: str = "200", *, by: Kopf | None = None) -> None:
        """A request is answered; one that is not a watch is read to its end."""
        by, request = by or self.kopf, Request(verb, kind, verb == "list")
        self.watcher.began(by, request)
        self.watcher.answered(by, request, code, 0.0)
        if code == "200" and verb != "watch":
            self.watcher.over(by, request)

    def watch(self, kind: Kind) -> None:
        self.ask("list", kind)
        self.ask("watch", kind)


async def test_a_slow_start_is_not_taken_for_blindness(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for before kopf is started counts from its end on: the operator has listed the tenants itself."""
    stage = Stage(monkeypatch, (SECURE_TENANT,))
    async with stage.running():
        assert stage.clock.now == 1000.0 + 12.0 + 2 * 5.0
        assert stage.controller.blind_for(SECURE_TENANT) == 0.0
        stage.clock.now += 3.0
        assert stage.controller.blind_for(SECURE_TENANT) == 3.0, "and it does count"


async def test_a_kind_that_is_stuck_beside_one_that_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf is started anew, and it is said for which."""
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        stage.ask("get", None)
        stage.watch(SECURE_TENANT)
        stage.watch(CLASS)
        assert stage.watcher.unready() == []
        stage.watcher.over(stage.kopf, Request("watch", CLASS, False))
        stage.clock.now += IDLE
        await asyncio.sleep(0.05)  # sleep: some looks, which find nothing yet
        assert len(stage.started) == 1
        with capture_logs() as logs:
            stage.clock.now += 5.0
            await until(lambda: len(stage.started) == 2, "kopf to be started anew")
        lines = [line for line in logs if line["event"] == "the watch of TenantClasses is restarted"]
        assert [line["cause"] for line in lines] == [f"it asked for nothing for {IDLE + 5.0:.0f} s"]
        assert not [line for line in logs if "SecureTenants" in line["event"]]
        assert stage.watcher.blind_for(SECURE_TENANT) == 0.0, "the old one watched it until now"
        assert stage.watcher.blind_for(CLASS) == IDLE + 5.0
        assert [line.split(":")[0] for line in stage.watcher.unready()] == ["TenantClass"]
        # The new one watches both, and has listed what went meanwhile.
        stage.controller.listed_anew.clear()
        for kind in (SECURE_TENANT, CLASS):
            stage.watch(kind)
        stage.clock.now += 2.0
        assert stage.controller.listed_anew == ["SecureTenant", "TenantClass"]
        assert (stage.watcher.unready(), stage.watcher.unhealthy()) == ([], [])


async def test_the_first_watch_has_the_kind_listed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted between the operator's own list and kopf's first one comes with no event. Later watches of the
    same kopf go on where the one before them ended."""
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        stage.ask("list", SECURE_TENANT)
        stage.ask("watch", SECURE_TENANT, "403")
        assert stage.controller.listed_anew == [], "it was not accepted"
        stage.ask("watch", SECURE_TENANT)
        assert stage.controller.listed_anew == ["SecureTenant"]
        stage.ask("watch", SECURE_TENANT)
        assert stage.controller.listed_anew == ["SecureTenant"]
        stage.ask("list", SECURE_TENANT)
        assert stage.controller.listed_anew == ["SecureTenant", "SecureTenant"], "its watch was interrupted"
        stage.watch(CLASS)
        assert stage.controller.listed_anew[2:] == ["TenantClass"]


async def test_when_kopf_ends_all_kinds_are_concerned(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        with capture_logs() as logs:
            stage.started[0].failure = "it broke"
            stage.started[0].failed.set()
            await until(lambda: len(stage.started) == 2, "kopf to be started anew")
        (line,) = logs
        assert (line["event"], line["cause"]) == (
            "the watch of SecureTenants and TenantClasses is restarted",
            "it broke",
        )


async def test_a_kind_that_was_never_listed_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        assert stage.watcher.unready() == ["SecureTenant: not listed yet", "TenantClass: not listed yet"]
        stage.watch(SECURE_TENANT)
        stage.ask("list", CLASS, "403")
        assert stage.watcher.unready() == ["TenantClass: list: 403"]


async def test_discovery_counts_for_all_kinds_and_a_list_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        stage.ask("get", None, "500")
        assert stage.watcher.unready() == ["SecureTenant: get: 500", "TenantClass: get: 500"]
        stage.ask("list", CLASS, "404")
        assert stage.watcher.unready() == ["SecureTenant: get: 500", "TenantClass: list: 404"]


async def test_a_silent_watch_says_of_which_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    monkeypatch.setattr(supervise, "WATCH_SILENT", 1e6)
    async with stage.running():
        stage.watch(SECURE_TENANT)
        stage.watch(CLASS)
        stage.clock.now += SILENT + 1.0
        stage.watcher.observe(stage.kopf, SECURE_TENANT, "MODIFIED", {"metadata": {"name": "pay"}})
        assert stage.watcher.unhealthy() == [f"TenantClass: silent for {SILENT + 1.0:.0f} s"]
        assert stage.controller.seen == [("SecureTenant", "MODIFIED", "pay")]


async def test_who_was_given_up_is_heard_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        old = stage.kopf
        stage.started[0].failed.set()
        await until(lambda: len(stage.started) == 2, "kopf to be started anew")
        stage.ask("watch", CLASS, by=old)
        stage.watcher.observe(old, CLASS, "ADDED", {"metadata": {"name": "gold"}})
        assert stage.controller.seen == []
        assert "TenantClass" in "".join(stage.watcher.unready())


async def test_an_event_that_cannot_be_read_has_its_kind_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, (SECURE_TENANT, CLASS))
    async with stage.running():
        with capture_logs() as logs:
            stage.watcher.observe(stage.kopf, CLASS, "MODIFIED", {"metadata": {}})
        assert stage.controller.listed_anew == ["TenantClass"]
        assert logs[0]["event"] == "an event of a TenantClass cannot be read, listing them all"
