"""Metrics and probes over HTTP, on a real socket."""

import asyncio
import gzip
from collections.abc import Iterator

import aiohttp
import pytest

from securetenant.controls.lookup import FAMILIES
from securetenant.telemetry.metrics import Metrics, TenantReport
from securetenant.telemetry.server import ServeError, serve


def nothing() -> list[str]:
    return []


def empty() -> Iterator[bytes]:
    return iter(())


async def fetch(port: int, path: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        body = await response.read()
        text = gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body
        return response.status, text.decode(), response


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_says_ok_or_each_problem_on_its_line(path: str) -> None:
    problems: list[str] = []
    others = {"/healthz": nothing, "/readyz": nothing} | {path: lambda: problems}
    async with serve("127.0.0.1", 0, empty, others["/healthz"], others["/readyz"]) as port:
        assert (await fetch(port, path))[:2] == (200, "ok\n")
        problems += ["the watch on Node is silent for 61 s", "the Lease is not renewed"]
        assert (await fetch(port, path))[:2] == (
            503,
            "the watch on Node is silent for 61 s\nthe Lease is not renewed\n",
        )
        for other in {"/healthz", "/readyz"} - {path}:
            assert (await fetch(port, other))[0] == 200, "each asks its own"


@pytest.mark.parametrize(
    ("accept", "packed"),
    [
        pytest.param("gzip", True, id="gzip"),
        pytest.param("deflate, gzip;q=0.5", True, id="among-others"),
        pytest.param("gzip;q=0", False, id="refused"),
        pytest.param("gzip;q=0.0", False, id="refused-in-full"),
        pytest.param("identity", False, id="identity"),
        pytest.param("", False, id="none"),
    ],
)
async def test_the_metrics_are_whole_packed_or_not(accept: str, packed: bool) -> None:
    metrics = Metrics(["network", "access"], FAMILIES)
    for number in range(120):  # more than one piece; and families without a line in between
        metrics.tenant(TenantReport(f"tenant-{number}", "Enforce", "Retain"))
    async with serve("127.0.0.1", 0, metrics.exposition, nothing, nothing) as port:
        status, text, response = await fetch(port, "/metrics", **({"Accept-Encoding": accept} if accept else {}))
    assert status == 200
    assert (response.headers.get("Content-Encoding") == "gzip") is packed
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Server"] == "securetenant"
    ours = [line for line in text.splitlines() if line.startswith("securetenant_")]
    assert ours == [line for line in metrics.text().splitlines() if line.startswith("securetenant_")]


async def test_other_work_goes_on_between_the_pieces() -> None:
    ran = 0
    seen: list[int] = []

    async def work() -> None:
        nonlocal ran
        while True:
            ran += 1
            await asyncio.sleep(0)

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            seen.append(ran)
            yield b"# x\n"

    async with serve("127.0.0.1", 0, pieces, nothing, nothing) as port:
        task = asyncio.create_task(work())
        try:
            await fetch(port, "/metrics")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert len(set(seen)) == 50, "each piece was made in a turn of its own"


async def test_metrics_that_cannot_be_told_are_an_error_and_not_an_empty_text() -> None:
    def broken() -> Iterator[bytes]:
        raise RuntimeError("a callback failed")
        yield b""

    async with serve("127.0.0.1", 0, broken, nothing, nothing) as port:
        assert (await fetch(port, "/metrics"))[0] == 500


async def test_a_port_in_use_is_said_with_what_to_do() -> None:
    async with serve("127.0.0.1", 0, empty, nothing, nothing) as port:
        with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{port}: .*in use.*SECURETENANT_HTTP_PORT"):
            async with serve("127.0.0.1", port, empty, nothing, nothing):
                pass
        assert (await fetch(port, "/healthz"))[0] == 200, "the first one goes on"


async def test_the_port_is_free_again_afterwards() -> None:
    async with serve("127.0.0.1", 0, empty, nothing, nothing) as port:
        await fetch(port, "/healthz")
    async with serve("127.0.0.1", port, empty, nothing, nothing) as again:
        assert again == port


async def test_there_is_nothing_else() -> None:
    async with serve("127.0.0.1", 0, empty, nothing, nothing) as port:
        assert (await fetch(port, "/"))[0] == 404
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 405
