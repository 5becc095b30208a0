"""A TCP proxy that can fail: pass, delay, hang in silence, or cut. TLS goes through it untouched."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Stands on `address` before `target` (a URL). While it hangs, connections are taken and nothing is passed on.

    `listening`: a socket that listens already, in another network namespace.
    """

    def __init__(self, target: str, address: str = "127.0.0.1", *, listening: socket.socket | None = None) -> None:
        self._address = address
        self._listening = listening
        parts = urlsplit(target)
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port or 443
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.delay = 0.0  # seconds that each chunk is held back, both ways
        self.connections = 0

    async def __aenter__(self) -> Self:
        if self._listening is None:
            self._server = await asyncio.start_server(self._serve, self._address, 0)
        else:
            self._server = await asyncio.start_server(self._serve, sock=self._listening)
        self.url = f"{self._scheme}://{self._address}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self._passing.set()
        await self._server.wait_closed()

    def hang(self) -> None:
        """From now on nothing passes, on old connections and new ones, and nobody is told."""
        self._passing.clear()

    def resume(self) -> None:
        """Pass again, also what was held back meanwhile."""
        self._refusing = False
        self._passing.set()

    def cut(self, *, refuse: bool = False) -> None:
        """Reset all connections; with `refuse` new ones too, until `resume`."""
        self._refusing = refuse
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            async with self._connected(writer) as (upstream, to_server), asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, to_server))
                both.create_task(self._pump(upstream, writer))

    @contextlib.asynccontextmanager
    async def _connected(
        self, writer: asyncio.StreamWriter
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        self._writers.add(writer)
        to_server: asyncio.StreamWriter | None = None
        try:
            upstream, to_server = await asyncio.open_connection(self._host, self._port)
            self._writers.add(to_server)
            yield upstream, to_server
        finally:
            for each in (writer, to_server):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                await asyncio.sleep(self.delay)  # sleep: the delay that was asked for
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
