"""One instance of kopf, in a thread and an event loop of its own.

On exit kopf cancels every task that was created after its start, but ours have to finish their passes first. It is also
imported in that thread, since the import takes as long as the first pass over hundreds of tenants.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from securetenant import memory
from securetenant.cache.roster import PAGE
from securetenant.kube import session
from securetenant.kube.config import ClientConfig
from securetenant.kube.session import Sent
from securetenant.model.kinds import Kind
from securetenant.watch.requests import ANSWER, BACKOFFS, STANDS, Request, Verb

# A watch that received nothing for this long (seconds) is dead; the server sends a bookmark about every 60 s.
WATCH_SILENT = 90.0


class Listener(Protocol):
    """Is notified of what kopf does and sees, in the loop that started it. `by`: which kopf; it may be an old one."""

    def began(self, by: "Kopf", request: Request) -> None:
        """The request is about to be sent."""

    def answered(self, by: "Kopf", request: Request, code: str, retry_after: float) -> None:
        """The answer's headers have arrived. `code`: the HTTP status, or "error"; `retry_after`: the seconds asked for,
        or 0."""

    def over(self, by: "Kopf", request: Request) -> None:
        """An answer with 200 was read to its end or abandoned."""

    def observe(self, by: "Kopf", kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        """An event of an object. `event_type`: None for an object out of a list."""


class Kopf:
    """One run of kopf, from start to end. It watches all kinds with one session."""

    def __init__(self, config: ClientConfig, kinds: Sequence[Kind], listener: Listener) -> None:
        self.failed = asyncio.Event()  # set in the loop that started it
        self.failure = ""
        self._config = config
        self._kinds = kinds
        self._listener = listener
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None  # belongs to kopf's own loop
        self._is_stopped = threading.Event()
        self._generation: int | None = None  # of the credentials that it has
        self._logins = 0  # since the last successful request
        self._watched: dict[Kind | None, float] = {}  # time.monotonic of the last watch's beginning
        self.thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ask it to end, without waiting for that."""
        self._is_stopped.set()
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _notify(self, function: Callable[..., None], *arguments: Any) -> None:
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
        except Exception as error:  # noqa: BLE001  reported, and another one is started
            failure = _text(error)
        finally:
            self._notify(self._fail, failure)

    async def _serve(self) -> None:
        """Run until `stop` is called or one of kopf's tasks ends. The latter is reported before the other tasks are
        stopped, since that takes kopf some seconds."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._is_stopped.is_set():
            return
        with memory.left_out("kubernetes"):
            import kopf

        from securetenant.watch.kopf_settings import settings

        async with contextlib.AsyncExitStack() as sessions:
            registry = kopf.OperatorRegistry()
            kopf.on.login(registry=registry)(self._login(sessions))
            for kind in self._kinds:
                kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(self._on_event(kind))
            stopping, own = asyncio.create_task(self._stop.wait()), asyncio.all_tasks()
            given = settings(answer=ANSWER, silent=WATCH_SILENT, backoffs=BACKOFFS, page=PAGE)
            tasks = await kopf.spawn_tasks(registry=registry, settings=given, clusterwide=True, standalone=True)
            running = asyncio.create_task(kopf.run_tasks(tasks, ignored=[*own, stopping]))
            try:
                done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
                self._notify(self._fail, next((_text(error) for error in map(_error, done) if error), "it ended"))
            finally:
                running.cancel()
                stopping.cancel()
                await asyncio.wait([running, stopping], timeout=5.0)

    def _login(self, sessions: contextlib.AsyncExitStack) -> Any:
        import kopf

        async def login(**_: Any) -> kopf.AiohttpSession:
            """Our own credentials. After a 401 kopf calls this again immediately, and then they are renewed."""
            if self._logins:
                await asyncio.sleep(BACKOFFS[self._logins - 1])
            self._logins += 1
            # They are renewed in the loop that the configuration belongs to.
            asked = self._config.credentials(self._generation)
            authorization, self._generation = await asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(asked, self._home)
            )
            client = session.followed(self._config, authorization, self)
            sessions.push_async_callback(client.close)
            return kopf.AiohttpSession(server=self._config.server, aiohttp_session=client)

        return login

    # Notifications from its session (kube.session.Follower), in kopf's loop.

    async def admit(self, sent: Sent) -> None:
        """Delay a watch right after another: kopf reopens one immediately, however soon the last one ended."""
        verb, kind, _ = self._request(sent)
        if verb == "watch":
            await asyncio.sleep(max(0.0, self._watched.get(kind, 0.0) + STANDS - time.monotonic()))
            self._watched[kind] = time.monotonic()

    def began(self, sent: Sent) -> None:
        self._notify(self._listener.began, self, self._request(sent))

    def answered(self, sent: Sent, code: str, retry_after: float) -> None:
        if code == "200":
            self._logins = 0
        self._notify(self._listener.answered, self, self._request(sent), code, retry_after)

    def over(self, sent: Sent) -> None:
        self._notify(self._listener.over, self, self._request(sent))

    def _request(self, sent: Sent) -> Request:
        """The request in our terms: the kind of a list or watch is the one whose collection its URL names."""
        kind = next((kind for kind in self._kinds if sent.path.endswith(kind.path())), None)
        verb: Verb = "watch" if sent.is_watch else "get" if kind is None else "list"
        return Request(verb, kind, verb == "list" and not sent.is_continued)

    def _on_event(self, kind: Kind) -> Callable[..., Awaitable[None]]:
        async def on_event(event: Any, **_: Any) -> None:
            """Only hand the event over: kopf does not retry an event whose handler failed."""
            self._notify(self._listener.observe, self, kind, event["type"], dict(event["object"]))

        return on_event


def _error(task: "asyncio.Task[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
