"""What is kept in order beside the tenants: the requests, when they go out, and what goes on when one fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from securetenant.controls.control import Chore, Chores
from securetenant.controls.lookup import CACHED
from securetenant.controls.subnets.control import CONTROL
from securetenant.controls.world import World
from securetenant.engine import chores
from securetenant.engine.chores import ChoreRunner
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.writer import Writer
from securetenant.model.kinds import CALICO_IP_POOL, SUBNET_POOL
from securetenant.model.objects import Observed
from tests.support.fakeapi import metadata_of, serving, status
from tests.support.kube import transport_to, until
from tests.support.world import NOW, StaticWorld, observed

POOL = observed(SUBNET_POOL, "prod", uid="u1", spec={"cidrs": ["10.0.0.0/16"]})
NET = observed(CALICO_IP_POOL, "securetenant-a", uid="u2")
STATUS = Chore("Status", POOL, {"subnets": 3})
ANNOTATE = Chore("Annotate", NET, {"securetenant.dev/unused-since": "2026-11-01T12:00:00Z"}, "namespace a is gone")
DELETE = Chore("Delete", NET, {}, "namespace a is gone")


class Unheard:
    """A cache that nobody looks at."""

    def store(self, observed: Observed) -> None: ...

    def forget(self, ref: Any, uid: str) -> None: ...


@dataclass
class Stage:
    """A runner whose control says what the test says, and the requests that it made."""

    due: list[Chore] = field(default_factory=list)
    wake_at: datetime | None = None
    rounds: int = 0
    stale: str = ""
    broken: bool = False
    answer: Callable[[web.Request], web.Response | None] = lambda request: None
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    runner: ChoreRunner | None = None

    def found(self, world: World, now: datetime) -> tuple[Sequence[Chore], datetime | None]:
        self.rounds += 1
        if self.broken:
            raise ValueError("an odd object")
        due, self.due = self.due, []
        return due, self.wake_at


@contextlib.asynccontextmanager
async def running(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch, resync: float = 600.0
) -> AsyncIterator[None]:
    concerns = lambda new, old: new.ref.kind is SUBNET_POOL  # noqa: E731
    monkeypatch.setattr(chores, "CONTROLS", (replace(CONTROL, chores=Chores(stage.found, concerns)),))

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        stage.requests.append((request.method, request.path_qs, body))
        return stage.answer(request) or web.json_response(metadata_of("x", 2))

    async with serving(answer, folder) as kubeconfig, transport_to(kubeconfig) as transport:
        writer = Writer(transport, {kind: Unheard() for kind in CACHED}, WritesInFlight())
        stage.runner = ChoreRunner(
            writer, StaticWorld(), stale=lambda: stage.stale, now=lambda: NOW, pause=0.0, resync=resync
        )
        task = asyncio.create_task(stage.runner.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _has_had(stage: Stage, rounds: int) -> bool:
    return stage.rounds >= rounds


async def test_the_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is about exactly what was seen."""
    stage = Stage([STATUS, ANNOTATE, DELETE])
    async with running(stage, tmp_path, monkeypatch):
        await until(lambda: len(stage.requests) == 3, "the requests")
    (patch, status_path, operations), (merge, net_path, body), (delete, deleted_path, options) = stage.requests
    assert (patch, merge, delete) == ("PATCH", "PATCH", "DELETE")
    assert status_path.startswith("/apis/securetenant.dev/v1alpha1/subnetpools/prod/status?")
    assert operations == [
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "add", "path": "/status", "value": {"subnets": 3}},
    ]
    assert net_path.startswith("/apis/crd.projectcalico.org/v1/ippools/securetenant-a?")
    assert body == {"metadata": {"uid": "u2", "resourceVersion": "1", "annotations": ANNOTATE.value}}
    assert deleted_path.startswith("/apis/crd.projectcalico.org/v1/ippools/securetenant-a")
    assert options["preconditions"] == {"uid": "u2", "resourceVersion": "1"}


async def test_only_what_concerns_it_makes_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    async with running(stage, tmp_path, monkeypatch):
        await until(lambda: stage.rounds == 1, "a round")
        assert stage.runner is not None
        stage.runner.observe(NET, None)
        for _ in range(20):
            await asyncio.sleep(0)  # sleep: let it run
        assert stage.rounds == 1
        stage.due = [STATUS]
        stage.runner.observe(POOL, None)
        await until(lambda: len(stage.requests) == 1, "the requests")
    assert stage.rounds == 2


async def test_it_wakes_when_more_is_due_and_in_any_case_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage, resync in ((Stage(wake_at=NOW + timedelta(milliseconds=10)), 600.0), (Stage(), 0.01)):
        async with running(stage, tmp_path, monkeypatch, resync):
            await until(partial(_has_had, stage, 3), "more rounds")


async def test_a_failure_does_not_hold_up_the_rest_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "AGAIN", 0.01)
    stage = Stage(
        [STATUS, DELETE], answer=lambda request: status(409, "Conflict") if "pools/prod" in request.path else None
    )
    async with running(stage, tmp_path, monkeypatch):
        await until(lambda: stage.rounds > 1, "a round")
    assert [path.partition("?")[0].rpartition("/")[2] for _, path, _ in stage.requests] == ["status", "securetenant-a"]


async def test_a_defect_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "AGAIN", 0.01)
    stage = Stage(broken=True)
    async with running(stage, tmp_path, monkeypatch):
        await until(lambda: stage.rounds > 1, "a round")
        stage.due, stage.broken = [DELETE], False
        await until(lambda: len(stage.requests) == 1, "the requests")


async def test_nothing_is_done_while_the_caches_may_be_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "AGAIN", 0.01)
    stage = Stage([DELETE], stale="Namespaces cannot be watched")
    async with running(stage, tmp_path, monkeypatch):
        assert stage.runner is not None
        for _ in range(20):
            stage.runner.observe(POOL, None)
            await asyncio.sleep(0)  # sleep: let it run
        assert (stage.rounds, stage.requests) == (0, [])
        stage.stale = ""
        await until(lambda: len(stage.requests) == 1, "the requests")
