"""kopf wiring: SecureTenant events onto the queue; start-up, probes, shutdown. The only file that knows kopf.

kopf has a thread and an event loop of its own: on exit it cancels every task that was made after it started, and
ours have to finish their passes first.
"""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import kopf
import structlog

from securetenant import __version__, memory
from securetenant.api import names
from securetenant.api.kinds import SECURE_TENANT
from securetenant.controls.registry import NAMES
from securetenant.engine.operator import PAGE, SILENT, Operator
from securetenant.kube.config import ClientConfig, ConfigError
from securetenant.kube.config import load as load_config
from securetenant.kube.lease import Elector, LeaseLost
from securetenant.kube.transport import MERGE_PATCH, NotFound, Transport
from securetenant.settings import Settings
from securetenant.telemetry import logs
from securetenant.telemetry.events import Events, Undeliverable
from securetenant.telemetry.metrics import Metrics
from securetenant.telemetry.server import ServeError, serve

log = structlog.get_logger("securetenant.app")

# A watch of which nothing came for this long (seconds) is dead; the server sends a bookmark about every 60 s.
WATCH_SILENT = 90.0


# How long kopf waits for the first look at all tenants (seconds).
FIRST_LOOK = 3.0


class StartError(RuntimeError):
    """The operator cannot start; the message says why and what to do."""


def main(settings: Settings) -> int:
    """Run until a signal; the exit code. 0: stopped cleanly. 1: could not start, lost the Lease, or a watcher died."""
    logs.configure(settings.log_format, settings.log_level)
    memory.prepare()
    # kopf warns at each start that signals are ignored outside of the main thread: they are ours to handle.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    problem = ""
    try:
        asyncio.run(run(settings))
    except* (StartError, ConfigError, ServeError) as group:
        problem = "; ".join(str(error) for error in _leaves(group))
        log.error("cannot start", cause=problem)
    except* LeaseLost as group:
        problem = "; ".join(str(error) for error in _leaves(group))
        log.error("the Lease is lost: exiting, a standby takes over", cause=problem)
    return 1 if problem else 0


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def run(settings: Settings) -> None:
    """The whole life of one instance."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = await load_config(settings.kubeconfig, settings.context)
    metrics = Metrics(NAMES)
    metrics.build_info(__version__, settings.revision)
    async with Transport(config, in_flight=settings.requests_in_flight, on_request=metrics.request) as transport:
        elector = Elector(
            transport,
            settings.operator_namespace,
            names.LEASE,
            settings.identity,
            duration=settings.lease_duration,
            renew=settings.lease_duration / 3,
            retry=min(2.0, settings.lease_duration / 5),
        )
        transport.before_write = elector.check
        operator = Operator(
            transport,
            metrics,
            _events(transport, settings.identity),
            platform=settings.platform(),
            workers=settings.workers,
            resync_seconds=settings.resync_seconds,
        )
        watcher = TenantWatcher(config, operator, metrics)
        async with serve(
            settings.http_host,
            settings.http_port,
            metrics.exposition,
            healthy=lambda: [*operator.unhealthy(), *watcher.unhealthy()],
            ready=lambda: [*operator.unready(), *watcher.unready()],
        ) as port:
            log.info("started", version=__version__, server=config.server, identity=settings.identity, port=port)
            await _live(operator, elector, watcher, stop)
        log.info("stopped")


async def _live(operator: Operator, elector: Elector, watcher: "TenantWatcher", stop: asyncio.Event) -> None:
    """Caches and watcher always; workers and renewals while leading. The first that fails ends the others."""
    await _unless(stop, elector.peek())
    async with asyncio.TaskGroup() as group:
        always = [
            group.create_task(operator.run_caches(), name="caches"),
            group.create_task(watcher.run(), name="tenants"),
            group.create_task(_settle(operator), name="memory"),
            group.create_task(_lead(operator, elector, stop), name="leader"),
        ]
        await always[-1]
        for task in always[:-1]:
            task.cancel()


async def _settle(operator: Operator) -> None:
    await operator.caught_up()
    memory.settle()


async def _lead(operator: Operator, elector: Elector, stop: asyncio.Event) -> None:
    """Wait for the Lease with warm caches, work, and give it back on a clean stop."""
    await _unless(stop, operator.synced())
    await _unless(stop, elector.acquire())
    if stop.is_set():
        # The Lease may have come in the same moment.
        await elector.release()
        return
    keeping = asyncio.create_task(elector.keep(), name="lease")
    leading = asyncio.create_task(_work(operator, stop, fresh=elector.fresh), name="work")
    try:
        await asyncio.wait([keeping, leading], return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()  # raises LeaseLost
        await leading
    finally:
        for task in (leading, keeping):
            task.cancel()
        await asyncio.gather(leading, keeping, return_exceptions=True)
    await elector.release()


async def _work(operator: Operator, stop: asyncio.Event, *, fresh: bool) -> None:
    try:
        await operator.lead(stop, fresh=fresh)
    except* NotFound as group:
        raise StartError(
            "the API server does not know securetenants.securetenant.dev: apply the CRD first (kubectl apply -k crds/)"
        ) from group


async def _unless(stop: asyncio.Event, awaitable: Any) -> None:
    """Wait for something, but no longer than until the stop."""
    waiting = asyncio.ensure_future(awaitable)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
    finally:
        for task in (waiting, stopping):
            task.cancel()
        await asyncio.gather(waiting, stopping, return_exceptions=True)


def _events(transport: Transport, identity: str) -> Events:
    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        content_type = MERGE_PATCH if method == "PATCH" else "application/json"
        try:
            await transport.request(method, path, body=body, content_type=content_type, kind="Event")
        except NotFound as error:
            # Of a PATCH: the Event is gone by now, and is made anew.
            if method == "POST":
                raise Undeliverable(str(error)) from error
            raise

    return Events(send, identity=identity, clock=time.time)


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class TenantWatcher:
    """kopf, in a thread of its own, watching SecureTenants. What it sees goes to the operator's loop."""

    def __init__(self, config: ClientConfig, operator: Operator, metrics: Metrics) -> None:
        self._config = config
        self._operator = operator
        self._metrics = metrics
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._given: int | None = None  # generation of the credentials that kopf has
        self._listed = False
        self._failure = ""  # of its last request
        self._contact = 0.0  # time.time of the last list, accepted watch or event
        metrics.watch_informer(names.KIND, operator.tenants.__len__, lambda: self._contact or None)

    async def run(self) -> None:
        """Run kopf until cancelled. Its own end is fatal: a process that sees nothing must not live on.

        It starts when the first look at all tenants is over, which lists them itself: what was tampered with while no
        operator ran is corrected half a second sooner without kopf's listing beside it. A standby does not wait long.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                await self._operator.caught_up()
        ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run_kopf, args=(ended,), name="kopf", daemon=True)
        self._thread.start()
        try:
            await ended
        finally:
            self._stop.set()
            await asyncio.to_thread(self._thread.join, 5.0)
        raise StartError("kopf's watcher of SecureTenants ended")

    def unready(self) -> list[str]:
        return [] if self._listed else [f"SecureTenant: {self._failure or 'not listed yet'}"]

    def unhealthy(self) -> list[str]:
        """A watcher that is dead, or silent: kopf asks anew after WATCH_SILENT, so that one is heard of in time."""
        if self._thread is not None and not self._thread.is_alive():
            return ["SecureTenant: its watcher is not running"]
        silent = time.time() - self._contact
        is_silent = self._listed and not self._failure and silent > SILENT
        return [f"SecureTenant: silent for {silent:.0f} s"] if is_silent else []

    def _run_kopf(self, ended: "asyncio.Future[None]") -> None:
        try:
            asyncio.run(self._serve_kopf())
        except Exception as error:
            log.exception("kopf failed", cause=str(error))
        finally:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                self._loop.call_soon_threadsafe(_finish, ended)

    async def _serve_kopf(self) -> None:
        async with contextlib.AsyncExitStack() as sessions:
            registry = kopf.OperatorRegistry()
            kopf.on.login(registry=registry)(self._login(sessions))
            kopf.on.startup(registry=registry)(_configure)
            kopf.on.event(names.GROUP, names.VERSION, SECURE_TENANT.plural, registry=registry)(self._on_event)
            await kopf.operator(
                registry=registry,
                clusterwide=True,
                standalone=True,
                stop_flag=self._stop,
            )

    def _login(self, sessions: contextlib.AsyncExitStack) -> Any:
        async def login(**_: Any) -> kopf.AiohttpSession:
            """Our own credentials; after a 401 kopf asks again, and by then they are renewed."""
            authorization = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._credentials(), self._loop))
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._config.tls if self._config.tls is not None else True),
                headers={"Authorization": authorization} if authorization else {},
                proxy=self._config.proxy or None,
                middlewares=(self._named,),
                trace_configs=[self._tracing()],
            )
            sessions.push_async_callback(session.close)
            return kopf.AiohttpSession(server=self._config.server, aiohttp_session=session)

        return login

    async def _named(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The kubeconfig's tls-server-name, which a session has no setting for."""
        request.server_hostname = self._config.tls_server_name or None
        return await handler(request)

    def _tracing(self) -> aiohttp.TraceConfig:
        """Follows kopf's requests, of which it tells nobody."""

        def told(request: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams, code: str) -> None:
            url = request.url
            verb = "watch" if "watch" in url.query else "list" if url.path.endswith(SECURE_TENANT.plural) else "get"
            is_first = verb == "list" and "continue" not in url.query
            self._loop.call_soon_threadsafe(self._asked, verb, code, is_first)

        async def on_end(_session: Any, _context: Any, request: aiohttp.TraceRequestEndParams) -> None:
            told(request, str(request.response.status))

        async def on_exception(_session: Any, _context: Any, request: aiohttp.TraceRequestExceptionParams) -> None:
            told(request, "error")

        config = aiohttp.TraceConfig()
        config.on_request_end.append(on_end)
        config.on_request_exception.append(on_exception)
        return config

    def _asked(self, verb: str, code: str, is_first_page: bool) -> None:
        self._metrics.request(verb, names.KIND if verb != "get" else "", code, 0.0)
        self._failure = "" if code == "200" else f"{verb}: {code}"
        if code != "200":
            return
        self._contact = time.time()
        if verb == "watch":
            self._listed = True  # it watches from where its list, the whole of it, ended
        elif is_first_page and self._listed:
            # After a 410 it lists, and has no event for what is gone.
            self._operator.relisted()

    async def _credentials(self) -> str:
        """The Authorization header, renewed if kopf was given this one before."""
        if self._given is not None:
            await self._config.renew(self._given)
        self._given = self._config.generation
        return await self._config.authorization()

    async def _on_event(self, event: Any, **_: Any) -> None:
        """Only hand it over: kopf never calls again for an event whose handler failed."""
        self._loop.call_soon_threadsafe(self._observe, event["type"], dict(event["object"]))

    def _observe(self, event_type: str | None, body: dict[str, Any]) -> None:
        self._contact = time.time()
        self._operator.observe(event_type, body)


async def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True  # the CRD is there or the start fails; no rights over CRDs are needed
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = WATCH_SILENT
    settings.watching.chunk_size = PAGE  # each item of a page is 25 KB of Python at kopf's
    settings.queueing.worker_limit = 100
    settings.queueing.idle_timeout = 0.01
    # Long enough for an API server's upgrade: 15 minutes in all.
    settings.networking.error_backoffs = [0.1, 0.2, 0.5, 1, 2, 5, 10, *([15] * 60)]
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    # Not ours: kopf takes its own finalizer off whatever no handler of its needs it on, and we need ours.
    settings.persistence.finalizer = f"{names.GROUP}/not-in-use"


class _NoProgress(kopf.ProgressStorage):
    """Nothing is stored on the objects: our one handler keeps no progress."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):
    """No deep copies to tell differences that nobody asks for: twice the event rate."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
