"""The operator's own HTTP: metrics and probes. Nothing here can change anything."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Final

from aiohttp import web

from securetenant.telemetry.metrics import CONTENT_TYPE

Exposition = Callable[[], Iterable[bytes]]
Problems = Callable[[], Sequence[str]]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_GZIP: Final = 31  # zlib's way to say: largest window, gzip header


class ServeError(RuntimeError):
    """The address cannot be listened on; the message says which and what to do."""


@asynccontextmanager
async def serve(
    host: str, port: int, metrics_text: Exposition, healthy: Problems, ready: Problems
) -> AsyncIterator[int]:
    """Serve /metrics, /healthz and /readyz; yields the port (the one given, or a free one for 0).

    `metrics_text` gives the text in pieces (`Metrics.exposition`); other work goes on between them. `healthy` and
    `ready` give what is wrong: nothing is 200 "ok", else 503 with one problem per line. Raises ServeError.
    """
    app = web.Application(client_max_size=0)
    app.on_response_prepare.append(_anonymous)
    app.router.add_get("/metrics", _metrics(metrics_text))
    app.router.add_get("/healthz", _probe(healthy))
    app.router.add_get("/readyz", _probe(ready))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ServeError(
                f"cannot serve metrics and probes on {host}:{port}: {error.strerror or error}. "
                "Give another address with SECURETENANT_HTTP_HOST and SECURETENANT_HTTP_PORT."
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _metrics(metrics_text: Exposition) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        pack = zlib.compressobj(1, zlib.DEFLATED, _GZIP) if _accepts_gzip(request) else None
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"})
        if pack is not None:
            response.headers["Content-Encoding"] = "gzip"
        pieces = iter(metrics_text())
        first = next(pieces, b"")  # before the headers, so that a failure is a 500 and not half a text
        await response.prepare(request)
        for piece in chain((first,), pieces):
            if part := pack.compress(piece) if pack is not None else piece:
                await response.write(part)
            await asyncio.sleep(0)  # a write that fits the buffer does not give way by itself
        if pack is not None:
            await response.write(pack.flush())
        await response.write_eof()
        return response

    return handle


def _probe(problems: Problems) -> _Handler:
    async def handle(_: web.Request) -> web.Response:
        found = problems()
        if found:
            return web.Response(status=503, text="\n".join(found) + "\n")
        return web.Response(text="ok\n")

    return handle


def _accepts_gzip(request: web.Request) -> bool:
    """Whether Accept-Encoding names gzip and does not refuse it with a weight of 0 (RFC 9110, 12.5.3)."""
    for choice in request.headers.get("Accept-Encoding", "").split(","):
        coding, _, weight = choice.replace(" ", "").lower().partition(";")
        if coding == "gzip":
            return weight.removeprefix("q=").strip("0.") != "" or not weight
    return False


async def _anonymous(_: web.Request, response: web.StreamResponse) -> None:
    """Versions of Python and libraries are nobody's business."""
    response.headers["Server"] = "securetenant"
