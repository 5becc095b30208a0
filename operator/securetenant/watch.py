"""kopf's watch of SecureTenants, in a thread and an event loop of its own. Only this file and kopf_settings know it.

On exit kopf cancels every task that was made after it started, and ours have to finish their passes first. It is
imported there as well, for that takes as long as the first look at hundreds of tenants.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import aiohttp
from yarl import URL

from securetenant.cache.roster import PAGE
from securetenant.kube.config import ClientConfig
from securetenant.model import names
from securetenant.model.kinds import SECURE_TENANT

if TYPE_CHECKING:
    import kopf

# A watch of which nothing came for this long (seconds) is dead; the server sends a bookmark about every 60 s.
WATCH_SILENT = 90.0
# The pauses of kopf's between two tries (seconds): the last for a day, for it not to give up by itself.
BACKOFFS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, *([3.0] * 28_800))
# How long (seconds) an answer may take.
ANSWER = 10.0
# A watch that stood this long (seconds) is one. None is opened sooner after another.
STANDS = 1.0

Verb = Literal["list", "watch", "get"]


class Listener(Protocol):
    """Hears of what kopf does and sees, in the loop that started it. `by` is that kopf: it may be an old one."""

    def began(self, by: "Kopf") -> None:
        """A request."""

    def answered(self, by: "Kopf", verb: Verb, is_first_page: bool, code: str, retry_after: float) -> None:
        """Its headers are there. `code` is the HTTP status, or "error"; `retry_after` the seconds asked for, or 0."""

    def over(self, by: "Kopf", verb: Verb) -> None:
        """The answer of 200 was read to its end, or given up."""

    def observe(self, by: "Kopf", event_type: str | None, body: dict[str, Any]) -> None:
        """A SecureTenant was listed (no type), or came, changed or went."""

    async def credentials(self, *, are_refused: bool) -> str:
        """The Authorization header; renewed after a 401."""


class Kopf:
    """One kopf, in a thread of its own, from its start to its end."""

    def __init__(self, config: ClientConfig, listener: Listener) -> None:
        self.failed = asyncio.Event()  # set in the watcher's loop
        self.failure = ""
        self._config = config
        self._listener = listener
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None  # of its own loop
        self._is_stopped = threading.Event()
        self._has_logged_in = False
        self._logins = 0  # since the last request that was granted
        self._watched = 0.0  # time.monotonic of its last watch's beginning
        self.thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Let it end, without waiting for that."""
        self._is_stopped.set()
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._home.call_soon_threadsafe(function, *arguments)

    def _fail(self, failure: str) -> None:
        if not self.failed.is_set():
            self.failure = failure
            self.failed.set()

    def _run(self) -> None:
        failure = "it ended"
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  told, and mended by starting anew
            failure = _told(error)
        finally:
            self._tell(self._fail, failure)

    async def _serve(self) -> None:
        """Run until told to stop, or until a task of kopf's ends, which is then told before the others are stopped:
        that takes kopf some seconds."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._is_stopped.is_set():
            return
        import kopf

        from securetenant.kopf_settings import settings

        async with contextlib.AsyncExitStack() as sessions:
            registry = kopf.OperatorRegistry()
            kopf.on.login(registry=registry)(self._login(sessions))
            kopf.on.event(names.GROUP, names.VERSION, SECURE_TENANT.plural, registry=registry)(self._on_event)
            stopping, own = asyncio.create_task(self._stop.wait()), asyncio.all_tasks()
            given = settings(answer=ANSWER, silent=WATCH_SILENT, backoffs=BACKOFFS, page=PAGE)
            tasks = await kopf.spawn_tasks(registry=registry, settings=given, clusterwide=True, standalone=True)
            running = asyncio.create_task(kopf.run_tasks(tasks, ignored=[*own, stopping]))
            try:
                done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
                self._tell(self._fail, next((_told(error) for error in map(_error, done) if error), "it ended"))
            finally:
                running.cancel()
                stopping.cancel()
                await asyncio.wait([running, stopping], timeout=5.0)

    def _login(self, sessions: contextlib.AsyncExitStack) -> Any:
        import kopf

        async def login(**_: Any) -> "kopf.AiohttpSession":
            """Our own credentials; after a 401 kopf asks again, at once, and by then they are renewed."""
            if self._logins:
                await asyncio.sleep(BACKOFFS[self._logins - 1])
            asked = self._listener.credentials(are_refused=self._has_logged_in)
            self._logins += 1
            self._has_logged_in = True
            coming = asyncio.run_coroutine_threadsafe(asked, self._home)
            authorization = await asyncio.wrap_future(coming)
            config = self._config
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=config.tls if config.tls is not None else True),
                headers={"Authorization": authorization} if authorization else {},
                proxy=config.proxy or None,
                middlewares=(self._through,),
                trace_configs=[self._tracing()],
                response_class=_response_class(self._over),
            )
            sessions.push_async_callback(session.close)
            return kopf.AiohttpSession(server=config.server, aiohttp_session=session)

        return login

    async def _through(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The kubeconfig's tls-server-name, which a session has no setting for; and no watch right after another:
        kopf asks anew at once, however soon the last one ended."""
        request.server_hostname = self._config.tls_server_name or None
        if _verb(request.url) == "watch":
            await asyncio.sleep(max(0.0, self._watched + STANDS - time.monotonic()))
            self._watched = time.monotonic()
        return await handler(request)

    def _tracing(self) -> aiohttp.TraceConfig:
        """Follows kopf's requests, of which it tells nobody."""

        async def on_start(_session: Any, _context: Any, request: aiohttp.TraceRequestStartParams) -> None:
            self._tell(self._listener.began, self)

        async def on_end(_session: Any, _context: Any, request: aiohttp.TraceRequestEndParams) -> None:
            answer = request.response
            if answer.status == 200:
                self._logins = 0
            asked = (answer.headers.get("Retry-After") or "").strip()
            wait = float(asked) if asked.isdecimal() else 0.0
            self._tell(self._listener.answered, self, *_asked(request.url), str(answer.status), wait)

        async def on_exception(_session: Any, _context: Any, request: aiohttp.TraceRequestExceptionParams) -> None:
            self._tell(self._listener.answered, self, *_asked(request.url), "error", 0.0)

        config = aiohttp.TraceConfig()
        config.on_request_start.append(on_start)
        config.on_request_end.append(on_end)
        config.on_request_exception.append(on_exception)
        return config

    def _over(self, verb: Verb) -> None:
        self._tell(self._listener.over, self, verb)

    async def _on_event(self, event: Any, **_: Any) -> None:
        """Only hand it over: kopf never calls again for an event whose handler failed."""
        self._tell(self._listener.observe, self, event["type"], dict(event["object"]))


def _verb(url: URL) -> Verb:
    if "watch" in url.query:
        return "watch"
    return "list" if url.path.endswith(f"/{SECURE_TENANT.plural}") else "get"


def _asked(url: URL) -> tuple[Verb, bool]:
    """What a request asks for, and whether it is a list's first page."""
    verb = _verb(url)
    return verb, verb == "list" and "continue" not in url.query


def _error(task: "asyncio.Task[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _response_class(over: Callable[[Verb], None]) -> type[aiohttp.ClientResponse]:
    """A response that tells when it has been read to its end, or given up: of that no trace tells."""

    class Followed(aiohttp.ClientResponse):
        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc_val: BaseException | None,
            exc_tb: TracebackType | None,
        ) -> None:
            over(_verb(self.url))
            await super().__aexit__(exc_type, exc_val, exc_tb)

    return Followed
