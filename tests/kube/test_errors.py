"""A connection's failures in plain words, each met on a real socket."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube.config import load
from securetenant.kube.errors import ApiError, NotFound, Unreachable, is_away
from securetenant.kube.transport import Transport
from tests.support.fakeapi import serving, status
from tests.support.kube import transport_to

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw(answer: Answer) -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def failure(folder: Path, server: str, seconds: float = 5.0) -> ApiError:
    """Of a request to `server`."""

    async def never(_: web.Request) -> web.Response:
        raise AssertionError

    async with serving(never, folder) as config, transport_to(config, server=server, timeout=seconds) as transport:
        with pytest.raises(ApiError) as caught:
            await transport.request("GET", "/version")
        return caught.value


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    writer.close()


async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()  # from Python 3.12.1 on a server's end waits for each connection's


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        pytest.param(hangs_up, "Unreachable", "the connection was closed without an answer", id="hung-up"),
        pytest.param(breaks_off, "Unreachable", "the answer was cut off", id="cut-off"),
        pytest.param(waits, "Timeout", "no answer in time", id="silent"),
    ],
)
async def test_what_an_answer_lacks(tmp_path: Path, answer: Answer, reason: str, said: str) -> None:
    async with raw(answer) as server:
        error = await failure(tmp_path, server, 0.5)
    assert str(error) == f"GET /version: {reason}: {said}"
    assert is_away(error)


async def test_nobody_is_there(tmp_path: Path) -> None:
    async with raw(hangs_up) as server:
        pass
    error = await failure(tmp_path, server)
    assert str(error) == f"GET /version: Unreachable: no connection to {server[7:]}: Connection refused"


async def test_no_such_name(tmp_path: Path) -> None:
    error = await failure(tmp_path, "http://nowhere.invalid:6443")
    assert error.message.startswith("the name nowhere.invalid is not resolved: ")
    assert "ConnectionKey" not in str(error)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
async def test_a_certificate_of_nobody_we_know(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
    quiet = subprocess.DEVNULL
    made = await asyncio.create_subprocess_exec(*command, "-keyout", key, "-out", certificate, stderr=quiet)
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def never(_: web.Request) -> web.Response:
        raise AssertionError

    async with serving(never, tmp_path, tls=context) as path, Transport(await load(str(path))) as transport:
        with pytest.raises(Unreachable, match=r"the certificate of 127\.0\.0\.1:\d+ is not accepted: self.signed"):
            await transport.request("GET", "/version")


@pytest.mark.parametrize(("code", "away"), [(502, True), (503, True), (504, True), (500, False), (404, False)])
async def test_a_gateway_that_finds_nobody_is_no_answer(tmp_path: Path, code: int, away: bool) -> None:
    async def answer(_: web.Request) -> web.Response:
        return status(code)

    async with serving(answer, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(ApiError) as caught:
            await transport.request("GET", "/version")
    assert is_away(caught.value) is away


def test_no_error_is_no_absence() -> None:
    assert not is_away(None)
    assert not is_away(ValueError())


def test_where_it_happened_is_said_if_it_is_known() -> None:
    assert str(NotFound(404, "NotFound", "no", "GET", "/x")) == "GET /x: 404 NotFound: no"
    assert str(ApiError(0, "WatchError", "gone")) == "WatchError: gone"
