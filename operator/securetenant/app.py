"""The process from start to end: start-up, the Lease, probes, shutdown."""

import asyncio
import logging
import signal
import time
from collections.abc import Iterator
from typing import Any, Final

import structlog

from securetenant import __version__, memory
from securetenant.cache.roster import Blind
from securetenant.controls.lookup import FAMILIES, NAMES
from securetenant.engine.controller import Controller
from securetenant.engine.inspection import served
from securetenant.kube.config import ConfigError
from securetenant.kube.config import load as load_config
from securetenant.kube.errors import ApiError
from securetenant.kube.lease import Elector, LeaseLost
from securetenant.kube.preflight import StartError, check, unlisted
from securetenant.kube.reach import Reach
from securetenant.kube.transport import MERGE_PATCH, NotFound, Transport
from securetenant.model import names
from securetenant.posture import report as posture
from securetenant.reach import report as reachability
from securetenant.settings import LEASE_DURATION_MAX, Settings
from securetenant.telemetry import logs
from securetenant.telemetry.events import Events, Undeliverable
from securetenant.telemetry.metrics import Metrics
from securetenant.telemetry.server import ServeError, serve
from securetenant.watch.supervise import Watcher

log = structlog.get_logger("securetenant.app")

# Loggers of kopf's that log with each retry, and with a traceback, what watch/supervise.py logs once.
_LOGGED_BY_US: Final = (
    "kopf._cogs.clients.api",
    "kopf._core.reactor.observation",
    "kopf._core.reactor.orchestration",
    "kopf._core.reactor.queueing",
    "kopf._core.reactor.running",
)


def main(settings: Settings) -> int:
    """Run until a signal; returns the exit code. 0: stopped cleanly. 1: could not start, lost the Lease, or could not
    watch the SecureTenants."""
    logs.configure(settings.log_format, settings.log_level)
    memory.prepare()
    for name in _LOGGED_BY_US:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    problem = ""
    try:
        asyncio.run(run(settings))
    except* (StartError, ConfigError, ServeError) as group:
        problem = "; ".join(str(error) for error in _leaves(group))
        log.error("cannot start", cause=problem)
    except* LeaseLost as group:
        problem = "; ".join(str(error) for error in _leaves(group))
        log.error("the Lease is lost: exiting; the instance that acquires it takes over", cause=problem)
    except* Blind as group:
        problem = "; ".join(str(error) for error in _leaves(group))
        log.error("SecureTenants cannot be watched: exiting", cause=problem)
    return 1 if problem else 0


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def run(settings: Settings) -> None:
    """Run one instance from start to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = await load_config(settings.kubeconfig, settings.context)
    metrics = Metrics(NAMES, (*FAMILIES, *posture.FAMILIES, *reachability.FAMILIES))
    metrics.build_info(__version__, settings.revision)
    async with Transport(
        config,
        in_flight=settings.requests_in_flight,
        on_request=metrics.request,
        reach=Reach(config.server),
    ) as transport:
        elector = Elector(
            transport,
            settings.operator_namespace,
            names.LEASE,
            settings.identity,
            duration=settings.lease_duration,
            renew=settings.lease_duration / 3,
            retry=min(2.0, settings.lease_duration / 5),
            longest=LEASE_DURATION_MAX,
            on_silent=lambda: controller.prepare(),
        )
        transport.before_write = elector.check
        controller = Controller(
            transport,
            metrics,
            _events(transport, settings.identity),
            platform=settings.platform(),
            workers=settings.workers,
            resync_seconds=settings.resync_seconds,
            inspection_seconds=settings.inspection_seconds if settings.inspection == "Continuous" else None,
        )
        watcher: Watcher | None = None
        async with serve(
            settings.http_host,
            settings.http_port,
            metrics.exposition,
            # During the start nothing is watched yet, and a restart would not help.
            healthy=lambda: [*controller.unhealthy(), *watcher.unhealthy()] if watcher is not None else [],
            ready=lambda: [*controller.unready(), *(watcher.unready() if watcher is not None else ["not started yet"])],
        ) as port:
            log.info("started", version=__version__, server=config.server, identity=settings.identity, port=port)
            await _unless(stop, elector.peek())
            await _unless(stop, check(transport, settings.operator_namespace, controller.watched))
            await _unless(stop, _tell_unlisted(transport))
            if not stop.is_set():
                watcher = Watcher(config, controller.kinds, controller, metrics)
                await _live(controller, elector, watcher, stop)
        log.info("stopped")


async def _tell_unlisted(transport: Transport) -> None:
    """Without these rights the operator works, but does not know what runs, and says so of each tenant."""
    try:
        listed = await served(transport)
    except ApiError:
        return  # the first inspection tells
    if lacking := await unlisted(transport, [kind for found in listed.values() for kind in found]):
        log.warning("what runs cannot be inspected", cause=lacking)


async def _live(controller: Controller, elector: Elector, watcher: Watcher, stop: asyncio.Event) -> None:
    """Run caches and watcher always, workers and Lease renewals while leading. The first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        always = [
            group.create_task(controller.run_caches(), name="caches"),
            group.create_task(watcher.run(), name="tenants"),
            group.create_task(_settle(controller), name="memory"),
            group.create_task(_lead(controller, elector, stop), name="leader"),
        ]
        await always[-1]
        for task in always[:-1]:
            task.cancel()


async def _settle(controller: Controller) -> None:
    await controller.caught_up()
    memory.freeze()


async def _lead(controller: Controller, elector: Elector, stop: asyncio.Event) -> None:
    """Wait for the Lease with warm caches, work, and release it.

    It is not released, and expires, where writes may still be in flight: when the work itself failed. When something
    else failed, the passes in progress are finished first.
    """
    await _unless(stop, controller.synced())
    await _unless(stop, elector.acquire())
    if stop.is_set():
        # The Lease may have been acquired at the same moment.
        await elector.release()
        return
    keeping = asyncio.create_task(elector.keep(), name="lease")
    leading = asyncio.create_task(_work(controller, stop, elector), name="work")
    try:
        await asyncio.wait([keeping, leading], return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()  # raises LeaseLost
        await leading
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([keeping, leading], return_when=asyncio.FIRST_COMPLETED)
        raise
    finally:
        is_over = leading.done() and (leading.exception() is None or not controller.has_led)
        for task in (leading, keeping):
            task.cancel()
        await asyncio.gather(leading, keeping, return_exceptions=True)
        if is_over:
            await elector.release()


async def _work(controller: Controller, stop: asyncio.Event, elector: Elector) -> None:
    try:
        await controller.lead(stop, fresh=elector.fresh, prepared=elector.silent)
    except* NotFound as group:
        raise StartError(
            "the API server does not know securetenants.securetenant.dev (any more): apply the CRD (kubectl apply -k "
            "manifests/, or your overlay of it)"
        ) from group


async def _unless(stop: asyncio.Event, awaitable: Any) -> None:
    """Wait for something, but only until `stop` is set."""
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
            # After a PATCH it means that the Event was deleted: then it is created again.
            if method == "POST":
                raise Undeliverable(str(error)) from error
            raise

    return Events(send, identity=identity, clock=time.time)
