"""Every HTTP session to the API server is made here: ours, and the one that kopf is given. Both take TLS, proxy,
tls-server-name and credentials from one ClientConfig.
"""

import contextlib
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Mapping
from types import SimpleNamespace, TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

import aiohttp
from yarl import URL

import securetenant
from securetenant.kube.config import ClientConfig

# How long a connection may take to be opened (seconds).
CONNECT_TIMEOUT: Final = 10.0

# Each TLS connection of asyncio holds a read buffer of this size, by default 256 KiB: for our 44 connections 12 MB
# instead of 2 (measured on Python 3.11 to 3.13). A TLS record has 16 KiB at most.
SSLProtocol.max_size = 32 * 1024


def _client(config: ClientConfig, headers: Mapping[str, str], **more: Any) -> aiohttp.ClientSession:
    """An aiohttp session with everything that ours and kopf's have in common."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the senders bound the number of connections
            ssl=config.tls if config.tls is not None else True,
            keepalive_timeout=60,
        ),
        trust_env=False,  # only the kubeconfig's proxy-url counts
        proxy=config.proxy or None,
        read_bufsize=2**18,
        # No compression: unpacking costs more than it saves on a cluster's own network.
        headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
        **more,
    )


class Session:
    """Our own connections, for one event loop; use it as an async context manager. It never retries by itself: that is
    the caller's decision."""

    def __init__(self, config: ClientConfig, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.config = config
        self._connect_timeout = connect_timeout
        self._open: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._certificates = ""

    async def __aenter__(self) -> Self:
        self._open = self._new()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        sessions, self._open, self._retired = [*self._retired, self._open], None, []
        for session in sessions:
            if session is not None:
                await session.close()

    def _new(self) -> aiohttp.ClientSession:
        self._certificates = self.config.certificates
        # What comes packed all the same is no answer of an API server; and a small one could become very large.
        headers = {"User-Agent": f"securetenant/{securetenant.__version__}"}
        return _client(self.config, headers, auto_decompress=False)

    def _current(self) -> aiohttp.ClientSession:
        if self._open is None:
            raise RuntimeError("the session is not open: use `async with`")
        if self._certificates != self.config.certificates:
            # Open connections use the old certificate. Requests on them may finish; no new ones are sent on them.
            self._retired.append(self._open)
            self._open = self._new()
        return self._open

    async def headers(self, content_type: str = "", accept: str = "") -> dict[str, str]:
        """The headers of a request: our credentials, renewed if they are old, the body's content type, and (`accept`)
        the answer's, if it is not plain JSON."""
        authorization = await self.config.authorization()
        given = {"Authorization": authorization, "Content-Type": content_type, "Accept": accept}
        return {name: value for name, value in given.items() if value}

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        total: float | None = None,
        read: float | None = None,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """One request; a write is sent once. `total` bounds the whole request, `read` each wait for more of its answer
        (seconds)."""
        return self._current().request(
            method,
            self.config.server + path,
            params=params,
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self._connect_timeout, sock_read=read),
            allow_redirects=False,
            server_hostname=self.config.tls_server_name or None,
            middlewares=() if method == "GET" else (_sent_once,),
        )


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from resending a PUT or DELETE by itself when its connection breaks: if the first one was carried
    out, the second one gets a conflict, which looks as if somebody else had changed the object."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error) or "the connection was cut") from error


class Sent(NamedTuple):
    """A GET by a client that we follow. `is_continued`: it asks for a later page of a list."""

    path: str
    is_watch: bool
    is_continued: bool


class Follower(Protocol):
    """Is notified of the requests of a session, in that session's event loop."""

    async def admit(self, sent: Sent) -> None:
        """Called before a request is sent; the request waits until this returns."""

    def began(self, sent: Sent) -> None:
        """The request is about to be sent."""

    def answered(self, sent: Sent, code: str, retry_after: float) -> None:
        """The answer's headers have arrived. `code`: the HTTP status, or "error"; `retry_after`: the seconds asked for,
        or 0."""

    def over(self, sent: Sent) -> None:
        """An answer with 200 was read to its end or abandoned."""


def followed(config: ClientConfig, authorization: str, follower: Follower) -> aiohttp.ClientSession:
    """A session for a client that sends its own requests and does not report them (kopf). `authorization` is the
    header's value, "" if none. The caller closes it, in the event loop that it was made in."""

    async def through(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.server_hostname = config.tls_server_name or None  # a session has no setting for it
        await follower.admit(_sent(request.url))
        return await handler(request)

    headers = {"Authorization": authorization} if authorization else {}
    return _client(
        config,
        headers,
        middlewares=(through,),
        trace_configs=[_tracing(follower)],
        response_class=_response_class(follower.over),
    )


def _tracing(follower: Follower) -> aiohttp.TraceConfig:
    async def on_start(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, request: aiohttp.TraceRequestStartParams
    ) -> None:
        follower.began(_sent(request.url))

    async def on_end(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, request: aiohttp.TraceRequestEndParams
    ) -> None:
        asked = (request.response.headers.get("Retry-After") or "").strip()
        wait = float(asked) if asked.isdecimal() else 0.0
        follower.answered(_sent(request.url), str(request.response.status), wait)

    async def on_exception(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, request: aiohttp.TraceRequestExceptionParams
    ) -> None:
        follower.answered(_sent(request.url), "error", 0.0)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_start)
    config.on_request_end.append(on_end)
    config.on_request_exception.append(on_exception)
    return config


def _sent(url: URL) -> Sent:
    return Sent(url.path, "watch" in url.query, "continue" in url.query)


def _response_class(over: Callable[[Sent], None]) -> type[aiohttp.ClientResponse]:
    """A response class that reports when a response was read to its end or abandoned: aiohttp's tracing does not."""

    class Followed(aiohttp.ClientResponse):
        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc_val: BaseException | None,
            exc_tb: TracebackType | None,
        ) -> None:
            over(_sent(self.url))
            await super().__aexit__(exc_type, exc_val, exc_tb)

    return Followed
