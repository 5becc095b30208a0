"""The informer of an optional kind, while the kind comes and goes and while nobody knows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from securetenant.engine import informers as module
from securetenant.engine.informers import Informers
from securetenant.kube import discovery
from securetenant.kube.informer import Event
from tests.support.discovery import CRD, WIDGET, Server, served, unknown_path
from tests.support.fakeapi import metadata_of, serving, status
from tests.support.kube import transport_to, until


@dataclass
class Run:
    """What the informers told: events, and at each turn what is served and how many objects there are."""

    informers: Informers = field(init=False)
    told: list[str] = field(default_factory=list)
    log: list[Any] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.told.append(f"{event.type} {event.object.ref.name}")

    def on_turn(self) -> None:
        self.told.append(f"served {self.serves}, {len(self.informers.caches[WIDGET])} objects")

    @property
    def serves(self) -> bool:
        return self.informers.serves(WIDGET)

    def is_well(self) -> bool:
        return not [*self.informers.unready(), *self.informers.unhealthy(), *self.informers.stale()]


@contextlib.asynccontextmanager
async def informing(folder: Path, server: Server) -> AsyncIterator[Run]:
    run = Run()
    async with serving(server, folder) as path, transport_to(path) as transport:
        run.informers = Informers(transport, run.on_event, {}, run.on_turn)
        with capture_logs() as run.log:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(_keep(run.informers))
                yield run
                keeping.cancel()


async def _keep(informers: Informers) -> None:
    async with asyncio.TaskGroup() as group:
        informers.start(group)
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", (WIDGET,))
    monkeypatch.setattr(module, "OPTIONAL", (WIDGET,))
    monkeypatch.setattr(discovery, "FIRST", 0.01)


async def test_what_is_not_served_is_said_once_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE", 0.0)
    server = Server([], unknown_path)
    async with informing(tmp_path, server) as run:
        await until(lambda: run.told, "the first answer")
        assert run.is_well()
        server.tell("ADDED", 11)
        await until(lambda: server.asked > 3, "it to be asked again")
        assert run.is_well()
        assert run.told == ["served False, 0 objects"]
        assert [line["event"] for line in run.log] == ["an optional kind is not served, working without it"]


async def test_a_kind_comes_goes_and_comes_again(tmp_path: Path) -> None:
    server = Server([], unknown_path)
    server.widgets = [metadata_of("one", 5, "a"), metadata_of("two", 6, "b")]
    async with informing(tmp_path, server) as run:
        await until(lambda: run.told, "the first answer")
        for version in (20, 30):
            run.told.clear()
            server.answers[:] = [served]
            server.tell("ADDED", version)
            await until(lambda: run.serves, "the kind to come")
            assert run.told == ["ADDED one", "ADDED two", "served True, 2 objects"]
            assert run.is_well()
            run.told.clear()
            server.answers[:] = [unknown_path]
            server.tell("DELETED", version + 1)
            await until(lambda: len(run.told) == 3, "the kind to go")
            assert run.told == ["served False, 2 objects", "DELETED one", "DELETED two"]
            assert run.is_well()
            assert (len(run.informers.caches[WIDGET]), run.informers.caches[WIDGET].last_contact) == (0, 0.0)
            await until(lambda: "informer Widget" not in map(asyncio.Task.get_name, asyncio.all_tasks()), "its end")


async def test_who_does_not_know_is_not_ready_and_then_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([], lambda: status(503, "Unavailable", "not now"))
    async with informing(tmp_path, server) as run:
        await until(lambda: "not now" in str(run.informers.unready()), "the cause to be told")
        assert run.informers.unhealthy() == [], "a restart is no cure"
        assert run.informers.stale() == []
        assert not run.informers.caches[WIDGET].synced.is_set()
        monkeypatch.setattr(module, "STALE", 0.0)
        assert "not now" in str(run.informers.stale())
        assert (run.serves, run.told) == (False, [])
        server.crds = [metadata_of(CRD, 5)]
        server.answers[:] = [served]
        await until(lambda: run.serves, "an answer")
        assert run.is_well()


async def test_a_kind_is_served_once_it_is_listed(tmp_path: Path) -> None:
    """Till then it is not ready; and where the kind goes meanwhile, nobody waits for it any more."""
    server = Server([metadata_of(CRD, 5)], served)
    server.answers_lists.clear()
    async with informing(tmp_path, server) as run:
        await until(lambda: server.listed, "the list to be asked for")
        waiting = asyncio.create_task(run.informers.synced())
        assert run.informers.unready() == ["Widget.example.com: not listed yet"]
        assert not run.serves
        server.answers[:] = [unknown_path]
        server.tell("DELETED", 11)
        await until(waiting.done, "nobody to wait any more")
        assert run.is_well()
        assert run.told == ["served False, 0 objects"]


async def test_a_relist_turns_nothing(tmp_path: Path) -> None:
    server = Server([metadata_of(CRD, 5)], served)
    server.widgets = [metadata_of("one", 5, "a")]
    async with informing(tmp_path, server) as run:
        await until(lambda: run.serves and server.watched, "the kind to be served, and its CRD watched")
        server.answers_lists.clear()
        relisting = asyncio.create_task(run.informers.relist())
        before = server.asked
        await until(lambda: server.watched == 2, "the CRDs to be listed and watched anew")
        assert run.informers.unready() == ["Widget.example.com: not listed yet"]
        server.tell("MODIFIED", 11)
        await until(lambda: server.asked > before, "its CRD to be looked at")
        assert run.serves
        server.answers_lists.set()
        await relisting
        assert run.serves
        assert run.told == ["ADDED one", "served True, 1 objects"]
