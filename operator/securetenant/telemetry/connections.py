"""Limits what a client of the HTTP endpoint may cost: one request per connection, limited time, limited connections.

aiohttp's own server has a time-out for idle connections (used here for a request head that does not arrive), but it
does not bound the number of connections or how long an answer waits for its reader, and it logs a traceback for each
malformed request. When file descriptors run out, asyncio's own accept tries and logs 128 times in each loop cycle.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = structlog.get_logger("securetenant.http")

SERVER: Final = "securetenant"  # does not reveal the versions of Python and libraries
BACKLOG: Final = 128
# When descriptors or memory run out: seconds between two tries to accept, and between two log lines about it.
ACCEPT_RETRY: Final = 0.5
SAY_AGAIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`head`: seconds until the request's head must be complete. `life`: seconds until the connection is closed,
    however much of the answer was read. `connections`: how many may be open at once. `scrapes`: how many of them may be
    answered with metrics."""

    head: float = 10.0
    life: float = 30.0
    connections: int = 64
    scrapes: int = 8


class Connections:
    """The open connections. A new one is always accepted; if there are too many, the one that has waited longest for
    its request is closed: a client that sends its request at once (as a probe does) is answered, however many others
    hold a connection open."""

    def __init__(self, limits: Limits, server: web.Server) -> None:
        self.limits = limits
        self._server = server
        self._asked: dict[Connection, bool] = {}  # whether its request has arrived; the oldest first

    def make(self) -> "Connection":
        """The protocol factory for asyncio: handles one new connection."""
        return Connection(self, self._server)

    def opened(self, connection: "Connection") -> None:
        while len(self._asked) >= self.limits.connections:
            if not self.drop_waiting():
                self._drop(next(iter(self._asked)))
        self._asked[connection] = False

    def asked(self, connection: "Connection") -> None:
        self._asked[connection] = True

    def closed(self, connection: "Connection") -> None:
        self._asked.pop(connection, None)

    def drop_waiting(self) -> bool:
        """Close the connection that has waited longest for its request; False if none waits."""
        oldest = next((connection for connection, asked in self._asked.items() if not asked), None)
        if oldest is None:
            return False
        self._drop(oldest)
        return True

    def _drop(self, connection: "Connection") -> None:
        del self._asked[connection]
        connection.abort()


class Connection(web.RequestHandler):
    """One connection, handled by aiohttp; closed after its first answer or at its time limit."""

    __slots__ = ("_all", "_deadline", "_socket")

    def __init__(self, connections: Connections, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=connections.limits.head,  # from the start of the connection until a head is complete
            lingering_time=0.0,  # request bodies are not read, so there is nothing to wait for
            access_log=None,  # type: ignore[arg-type]  # as AppRunner takes it
        )
        self._all = connections
        self._socket: asyncio.BaseTransport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = transport
        self._deadline = self._loop.call_later(self._all.limits.life, self.abort)
        self._all.opened(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._all.closed(self)
        super().connection_lost(exc)

    def asked(self) -> None:
        """Its request has arrived: there will be no other one (no keep-alive)."""
        self._all.asked(self)
        self.close()  # after the answer

    def abort(self) -> None:
        """Close at once, without waiting for the reader. (aiohttp's `transport` may be gone while it closes.)"""
        if isinstance(self._socket, asyncio.Transport):
            self._socket.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A malformed request, or a client that hangs up, is not our error: no traceback, and none of its text in the
        answer."""
        if isinstance(exc, ConnectionError):
            raise exc  # aiohttp handles it and closes
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        log.debug("malformed request", peer=request.remote, cause=type(exc).__name__)
        response = web.Response(status=400, text="malformed request\n", headers={"Server": SERVER})
        response.force_close()
        return response


async def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on each address of the host. Raises OSError, with nothing left open."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
            sockets[-1].setblocking(False)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


async def accept(listener: socket.socket, connections: Connections) -> None:
    """Accept connections until cancelled. If descriptors run out, waiting connections are closed to make room."""
    loop = asyncio.get_running_loop()
    said = float("-inf")
    while True:
        try:
            taken, _ = await loop.sock_accept(listener)
        except OSError as error:
            if loop.time() - said >= SAY_AGAIN:
                said = loop.time()
                log.warning("connections for metrics and probes cannot be taken", cause=os.strerror(error.errno or 0))
            # The socket of a dropped connection is closed in the next cycle of the loop.
            await asyncio.sleep(0 if connections.drop_waiting() else ACCEPT_RETRY)
            continue
        try:
            await loop.connect_accepted_socket(connections.make, taken)
        except OSError:  # hung up already
            taken.close()
