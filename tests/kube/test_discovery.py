"""Whether an optional kind is served: each answer that discovery may give, and when it is asked again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube import discovery
from securetenant.kube.discovery import Discovery, is_served
from securetenant.kube.errors import ApiError, Forbidden, Malformed, NotFound
from securetenant.model.kinds import Kind
from tests.support.discovery import (
    CRD,
    RESOURCES,
    WIDGET,
    Make,
    Server,
    groups,
    resources,
    served,
    sign_in,
    unknown_path,
)
from tests.support.fakeapi import metadata_of, serving, status
from tests.support.kube import running, transport_to, until


async def asked(folder: Path, answers: dict[str, Make]) -> bool:
    async def handler(request: web.Request) -> web.StreamResponse:
        return answers[request.path]()

    async with serving(handler, folder) as path, transport_to(path) as transport:
        return await is_served(transport, WIDGET)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param({RESOURCES: lambda: resources("others", "widgets")}, True, id="served"),
        pytest.param({RESOURCES: lambda: resources("others", "widgets/status")}, False, id="the-group-only"),
        pytest.param({RESOURCES: lambda: resources("widgets", verbs=["get", "create"])}, False, id="cannot-be-watched"),
        pytest.param({RESOURCES: unknown_path, "/apis": lambda: groups("apps/v1")}, False, id="no-such-group"),
        pytest.param(
            {RESOURCES: unknown_path, "/apis": lambda: groups("example.com/v1beta1")}, False, id="another-version"
        ),
        pytest.param({RESOURCES: lambda: status(404, "NotFound"), "/apis": groups}, False, id="404-with-a-status"),
    ],
)
async def test_what_is_known(tmp_path: Path, answers: dict[str, Make], expected: bool) -> None:
    assert await asked(tmp_path, answers) is expected


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        pytest.param({RESOURCES: lambda: status(403, "Forbidden")}, Forbidden, id="403"),
        pytest.param({RESOURCES: lambda: status(503, "ServiceUnavailable")}, ApiError, id="503"),
        pytest.param({RESOURCES: sign_in}, Malformed, id="a-page"),
        pytest.param({RESOURCES: web.Response}, Malformed, id="nothing"),
        pytest.param({RESOURCES: lambda: resources("widgets", version="apps/v1")}, Malformed, id="of-another-group"),
        pytest.param({RESOURCES: groups}, Malformed, id="another-list"),
        pytest.param({RESOURCES: lambda: resources("widgets", kind="Other")}, Malformed, id="another-kind-of-list"),
        pytest.param({RESOURCES: unknown_path, "/apis": sign_in}, Malformed, id="404-and-a-page"),
        pytest.param({RESOURCES: unknown_path, "/apis": resources}, Malformed, id="404-and-another-list"),
        pytest.param({RESOURCES: unknown_path, "/apis": lambda: status(403)}, Forbidden, id="404-and-403"),
        pytest.param({RESOURCES: unknown_path, "/apis": unknown_path}, NotFound, id="404-of-all"),
        pytest.param(
            {RESOURCES: unknown_path, "/apis": lambda: groups("example.com/v1")}, NotFound, id="contradiction"
        ),
    ],
)
async def test_what_is_unknown_is_not_taken_for_not_served(
    tmp_path: Path, answers: dict[str, Make], error: type[ApiError]
) -> None:
    with pytest.raises(error):
        await asked(tmp_path, answers)


class Heard(list[bool | str]):
    """What discovery told: whether it is served, or the error's reason."""

    def __call__(self, kind: Kind, answer: bool | ApiError) -> None:
        assert kind is WIDGET
        self.append(answer.reason if isinstance(answer, ApiError) else answer)


@contextlib.asynccontextmanager
async def discovering(folder: Path, server: Server) -> AsyncIterator[tuple[Discovery, Heard]]:
    heard = Heard()
    async with serving(server, folder) as path, transport_to(path) as transport:
        found = Discovery(transport, [WIDGET], heard, lambda kind: heard.append("going"))
        assert found.crds is not None
        async with running(found.crds):
            task = asyncio.create_task(found.run())
            try:
                yield found, heard
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "FIRST", 0.01)


async def test_what_agrees_is_asked_once_and_others_crds_are_no_reason(tmp_path: Path) -> None:
    server = Server([], unknown_path)
    async with discovering(tmp_path, server) as (found, heard):
        await until(lambda: heard, "the first answer")
        server.tell("ADDED", 11, "gadgets.example.com")
        server.tell("ADDED", 12)  # the widgets' own: it is asked again, and goes on asking
        await until(lambda: server.asked >= 3, "the next questions")
        assert set(heard) == {False}
        server.answers[:] = [served]
        await until(lambda: heard[-1] is True, "the kind to be served")
        before = server.asked
        server.tell("MODIFIED", 13, "gadgets.example.com")
        server.tell("MODIFIED", 14)
        await until(lambda: server.asked > before, "the change of its CRD to be looked at")
        assert server.asked == before + 1
        assert heard[-2:] == [True, True]
        assert found.crds is not None
        assert len(found.crds) == 1


async def test_a_crd_comes_before_it_is_served(tmp_path: Path) -> None:
    server = Server([metadata_of(CRD, 5)], unknown_path, lambda: resources("others"), served)
    async with discovering(tmp_path, server) as (_, heard):
        await until(lambda: True in heard, "the kind to be served")
        assert heard == [False, False, True]


async def test_a_crd_goes_before_it_is_no_longer_served(tmp_path: Path) -> None:
    server = Server([metadata_of(CRD, 5)], served, served, served, unknown_path)
    async with discovering(tmp_path, server) as (found, heard):
        await until(lambda: heard, "the first answer")
        assert not found.going
        server.tell("MODIFIED", 11, deletionTimestamp="2026-01-01T00:00:00Z")
        await until(lambda: len(heard) == 3, "its end to be looked at")
        assert found.going == {WIDGET}
        server.tell("DELETED", 12)
        await until(lambda: False in heard, "the kind to be gone")
        assert heard == [True, "going", True, True, False]
        assert found.going == {WIDGET}
        server.answers[:] = [served]
        server.tell("ADDED", 13)
        await until(lambda: heard[-1] is True, "the kind to be back")
        assert not found.going


async def test_who_gets_no_answer_says_so_and_asks_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server([], *[lambda: status(403, "Forbidden")] * 3, lambda: status(503, "Unavailable"), sign_in, served)
    async with discovering(tmp_path, server) as (_, heard):
        await until(lambda: True in heard, "an answer")
    assert heard[:6] == ["Forbidden", "Forbidden", "Forbidden", "Unavailable", "Malformed", True]
    said = [text for text in caplog.messages if "unknown whether Widget.example.com is served" in text]
    assert len(said) == 1


async def test_the_pauses_grow_while_a_crd_without_the_version_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is twice the one before, up to the longest; without an answer they stay short."""
    waits: list[float | None] = []
    real = discovery.is_set

    async def is_set(news: asyncio.Event, within: float | None) -> bool:
        waits.append(within)
        return await real(news, within and 0.0)

    monkeypatch.setattr(discovery, "FIRST", 1.0)
    monkeypatch.setattr(discovery, "is_set", is_set)
    server = Server([metadata_of(CRD, 5)], *[unknown_path] * 11, *[lambda: status(403)] * 2, served)
    async with discovering(tmp_path, server):
        await until(lambda: None in waits, "the kind to be served")
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 5, 5, None]


async def test_a_kind_of_kubernetes_itself_has_no_crd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is not served it is asked for from time to time, since the API server may be upgraded."""
    monkeypatch.setattr(discovery, "LONGEST", 0.01)
    kind = replace(WIDGET, since="1.30")
    server, heard = Server([], unknown_path), list[bool | ApiError]()
    async with serving(server, tmp_path) as path, transport_to(path) as transport:
        found = Discovery(transport, [kind], lambda of, answer: heard.append(answer), lambda of: None)
        assert found.crds is None
        task = asyncio.create_task(found.run())
        await until(lambda: len(heard) >= 3, "it to be asked again")
        assert set(heard) == {False}
        server.answers[:] = [served]
        await until(lambda: heard[-1] is True, "the kind to be served")
        # Served it is for good: nothing wakes it again.
        assert found._pause("", kind, True, 1.0) is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
