"""The session of a client that is followed, and what both kinds of session have in common."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from securetenant.kube import config
from securetenant.kube.session import Sent, Session, followed
from tests.support.fakeapi import given, serving, status


class Follower:
    """Notes what it hears. `gate`: what each request waits for."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Sent, str, float]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def admit(self, sent: Sent) -> None:
        self.heard.append(("admit", sent, "", 0.0))
        await self.gate.wait()

    def began(self, sent: Sent) -> None:
        self.heard.append(("began", sent, "", 0.0))

    def answered(self, sent: Sent, code: str, retry_after: float) -> None:
        self.heard.append(("answered", sent, code, retry_after))

    def over(self, sent: Sent) -> None:
        self.heard.append(("over", sent, "", 0.0))

    @property
    def answers(self) -> list[tuple[str, float]]:
        return [(code, seconds) for what, _, code, seconds in self.heard if what == "answered"]


async def test_each_step_of_a_request_is_heard(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return given()

    follower = Follower()
    async with serving(handler, tmp_path) as path:
        to = await config.load(str(path))
        async with (
            followed(to, "Bearer x", follower) as client,
            client.get(f"{to.server}/apis/a/v1/things?watch=true") as answer,
        ):
            assert [what for what, *_ in follower.heard] == ["began", "admit", "answered"]
            await answer.read()
        assert {sent for _, sent, *_ in follower.heard} == {Sent("/apis/a/v1/things", True, False)}
        assert follower.heard[-1][0] == "over"
    assert seen == ["Bearer x"]


async def test_a_request_waits_until_it_is_admitted(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return given()

    follower = Follower()
    follower.gate.clear()
    async with serving(handler, tmp_path) as path:
        to = await config.load(str(path))
        async with followed(to, "", follower) as client:
            with pytest.raises(TimeoutError):
                await client.get(f"{to.server}/a", timeout=aiohttp.ClientTimeout(total=0.05))
            assert seen == []
            follower.gate.set()
            async with client.get(f"{to.server}/b"):
                assert seen == ["/b"]
    assert follower.answers == [("error", 0.0), ("200", 0.0)]


async def test_a_retry_after_is_told_if_it_is_a_number(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return status(429, retry_after=request.path.removeprefix("/"))

    follower = Follower()
    async with serving(handler, tmp_path) as path:
        to = await config.load(str(path))
        async with followed(to, "", follower) as client:
            for asked in ("7", "soon"):
                await client.get(f"{to.server}/{asked}")
    assert follower.answers == [("429", 7.0), ("429", 0.0)]


async def test_where_nobody_listens_that_is_heard(tmp_path: Path) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return given()

    async with serving(handler, tmp_path) as path:
        to = await config.load(str(path))
    follower = Follower()
    async with followed(to, "", follower) as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(f"{to.server}/a?continue=x")
    assert follower.answers == [("error", 0.0)]
    assert follower.heard[-1][1] == Sent("/a", False, True)


async def test_a_session_that_is_not_open_says_so(tmp_path: Path) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return given()

    async with serving(handler, tmp_path) as path:
        session = Session(await config.load(str(path)))
        with pytest.raises(RuntimeError, match="async with"):
            session.request("GET", "/", headers={})
