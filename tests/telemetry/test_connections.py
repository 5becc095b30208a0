"""What clients may cost the HTTP endpoint: with real sockets that are slow, silent, many or malformed."""

import asyncio
import contextlib
import json
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from securetenant.telemetry.connections import Limits
from securetenant.telemetry.server import serve
from tests.support.kube import until
from tests.support.sandbox import wait_for

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = b"# " + b"x" * 65_533 + b"\n"
PATIENCE = 60.0  # seconds after which a test gives up: enough to start Python on a busy machine


def nothing() -> list[str]:
    return []


def endless() -> Iterator[bytes]:
    """More than all buffers between two sockets hold."""
    return iter([BIG] * 2_000)


@contextlib.asynccontextmanager
async def served(limits: Limits) -> AsyncIterator[int]:
    async with serve("127.0.0.1", 0, endless, nothing, nothing, limits) as port:
        yield port


@contextlib.asynccontextmanager
async def opened(port: int, count: int, first: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that have sent `first`, and do nothing more."""
    pairs = [await asyncio.open_connection("127.0.0.1", port, limit=1024) for _ in range(count)]
    try:
        for _, writer in pairs:
            writer.write(first)
        yield [reader for reader, _ in pairs]
    finally:
        for _, writer in pairs:
            writer.transport.abort()


def jump(seconds: float) -> None:
    """Let the time of the event loop jump. For tests with a loop of their own."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server closed."""

    async def rest() -> bytes:
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65_536):
                parts.append(part)
        return b"".join(parts)

    return await asyncio.wait_for(rest(), PATIENCE)


async def probe(port: int, path: str = "/healthz", seconds: float = PATIENCE) -> int:
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        await answer.content.readany()
        return answer.status


async def scraped(port: int, status: int) -> None:
    """Wait until a scrape is answered so."""

    async def is_so() -> bool:
        return await probe(port, "/metrics") == status

    await wait_for(is_so, PATIENCE, f"a scrape to be answered {status}", every=0.01)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", id="half-a-head"),
    ],
)
async def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    async with served(Limits(head=0.3, life=60)) as port, opened(port, 1, sent) as (reader,):
        assert await ended(reader) == b""


async def test_a_head_that_trickles_is_not_waited_for() -> None:
    """Each byte is news, and none of them puts the end off."""
    async with served(Limits(head=0.3, life=60)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def trickle() -> None:
            for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 1_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)  # sleep: how fast it trickles

        task = asyncio.create_task(trickle())
        try:
            assert await ended(reader) == b""
        finally:
            task.cancel()
            writer.transport.abort()


async def test_one_request_per_connection() -> None:
    async with served(Limits()) as port, opened(port, 1, (GET % b"/healthz") * 3) as (reader,):
        answer = await ended(reader)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


@pytest.mark.asyncio(loop_scope="function")
async def test_a_reader_that_reads_no_further_is_not_waited_for() -> None:
    """Of the answer only what the buffers hold has gone when the server closes; and its place is free again."""
    limits = Limits(head=600, life=60, scrapes=1)
    async with served(limits) as port, opened(port, 1, GET % b"/metrics") as (reader,):
        await asyncio.wait_for(reader.readexactly(12), PATIENCE)
        assert await probe(port, "/metrics") == 503
        jump(60)
        await scraped(port, 200)
        assert len(await ended(reader)) < len(BIG) * 1_000


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_left_of_an_answer_is_not_waited_for() -> None:
    """The handler has written all, and the socket takes no more: to close it in order would wait for the reader."""
    text = "x" * 32_000_000
    limits = Limits(head=600, life=60)
    async with (
        serve("127.0.0.1", 0, lambda: iter(()), nothing, lambda: [text], limits) as port,
        opened(port, 1, GET % b"/readyz") as (reader,),
    ):
        await asyncio.wait_for(reader.readexactly(12), PATIENCE)
        assert accepted(port) == 1
        jump(60)
        await until(lambda: accepted(port) == 0, "the server to close its socket", PATIENCE)
        assert len(await ended(reader)) < len(text)


def accepted(port: int) -> int:
    """This process's connections of a port that it listens on."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), borrowed(int(fd)) as each:
            found += each.getsockname()[1:2] == (port,) and bool(each.getpeername())
    return found


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """The socket of a descriptor, which stays open. Raises OSError if it is none."""
    each = socket.socket(fileno=fd)
    try:
        yield each
    finally:
        each.detach()


async def test_probes_are_answered_while_all_others_hold_their_connections() -> None:
    limits = Limits(head=600, life=600, connections=8, scrapes=4)
    async with (
        served(limits) as port,
        opened(port, 6, GET % b"/metrics") as scrapes,
        opened(port, 50, b"GET /healthz HTTP/1.1\r\n") as silent,
    ):
        for _ in range(20):
            assert await probe(port) == 200
            assert await probe(port, "/readyz") == 200
        # The oldest of those that only wait had to go; scrapes under way go on.
        for reader in silent[:40]:
            assert await ended(reader) == b""
        assert [await scrape.readexactly(12) for scrape in scrapes[:4]] == [b"HTTP/1.1 200"] * 4
        for scrape in scrapes[4:]:
            assert (await ended(scrape)).startswith(b"HTTP/1.1 503")


async def test_a_scrape_that_is_broken_off_gives_its_place_back_and_leaves_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with served(Limits(scrapes=1)) as port:
        for _ in range(5):
            await scraped(port, 200)
    assert caplog.records == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls"),
        pytest.param(b"GET / HTTP/9.9 x y\r\n\r\n", id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", id="header"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", id="long"),
        pytest.param(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="length"),
        pytest.param(b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunk"),
    ],
)
async def test_what_is_malformed_leaves_no_line(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with served(Limits()) as port:
        async with opened(port, 1, sent) as (reader,):
            answer = await ended(reader)
        assert await probe(port) == 200
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 405"))
    assert b"ython" not in answer
    assert b"aiohttp" not in answer
    assert caplog.records == []


OUT_OF_DESCRIPTORS = """
import asyncio, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
from securetenant.telemetry import connections, logs
from securetenant.telemetry.server import serve
from tests.support.kube import until
from tests.support.sandbox import wait_for

logs.configure("json", "info")
connections.ACCEPT_RETRY = 0.01
connections.SAY_AGAIN = 3600.0

async def main():
    async with serve("127.0.0.1", 0, lambda: iter(()), list, list) as port:
        print(port, flush=True)
        held = []
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).strip():
            if line == b"hold":
                try:
                    while True:
                        held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    print("held", flush=True)
            else:
                for each in held:
                    os.close(each)
                print("freed", flush=True)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def poor() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A process with 48 descriptors that serves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OUT_OF_DESCRIPTORS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, int(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def tell(process: asyncio.subprocess.Process, line: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + b"\n")
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).strip()


async def lines(process: asyncio.subprocess.Process) -> list[str]:
    """Its log, after its end."""
    _, log = await asyncio.wait_for(process.communicate(b""), PATIENCE)
    return [json.loads(line)["event"] for line in log.decode().splitlines()]


async def test_probes_are_answered_when_connections_hold_all_descriptors() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256
    async with poor() as (process, port):
        async with opened(port, 120):
            for _ in range(50):
                assert await probe(port) == 200
        assert len(await lines(process)) <= 2


async def test_descriptors_that_others_hold_are_told_of_once_and_not_in_a_flood() -> None:
    async with poor() as (process, port):
        assert await tell(process, b"hold") == b"held"
        async with opened(port, 30):
            with pytest.raises(TimeoutError):
                await probe(port, seconds=2)
            assert await tell(process, b"free") == b"freed"
            assert await probe(port) == 200
        assert await lines(process) == ["connections for metrics and probes cannot be taken"]
