"""The running operator: caches that stay warm, and workers that work while this is the active instance."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from securetenant.api import kinds, names
from securetenant.api.kinds import SECURE_TENANT, Kind
from securetenant.api.objects import Observed, Ref
from securetenant.controls.plan import Platform
from securetenant.engine.echoes import Echoes
from securetenant.engine.index import Index
from securetenant.engine.reconciler import Again, Reconciler
from securetenant.engine.reporter import Reporter
from securetenant.engine.tenants import Tenants
from securetenant.engine.triage import is_suspect
from securetenant.engine.workqueue import Item, WorkQueue
from securetenant.engine.world import World, indexes
from securetenant.engine.writer import Writer
from securetenant.kube.informer import Event, Informer, OnChange
from securetenant.kube.lease import LeaseLost
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics

log = structlog.get_logger("securetenant.operator")

# An informer that has neither failed nor heard anything for this long (seconds) has a silent connection.
SILENT = 240.0
# How long a clean stop waits for the passes under way (seconds).
DRAIN = 15.0
# SecureTenants of one page of a list: they are the largest objects that there are.
PAGE = 50
# How long to wait after a failed list of the SecureTenants (seconds).
RELOAD = 5.0
# A kind that could not be watched for this long (seconds): its cache proves nothing any more.
STALE = 60.0
# How often (seconds) the clock and the watches are looked at, and what step of the clock is worth a look at all.
PULSE = 5.0
# Tenants that are sifted at the start between two breaths of the event loop.
_BREATH = 20
CLOCK_STEP = 2.0


class Operator:
    """Caches, queue and workers. `observe` takes SecureTenant events; everything else comes from the informers."""

    def __init__(
        self,
        transport: Transport,
        metrics: Metrics,
        events: Events,
        *,
        platform: Platform,
        workers: int = 16,
        resync_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._events = events
        self._workers = workers
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._leading = False
        self._all_queued = False
        self._relisted = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._caught_up = asyncio.Event()
        self._echoes = Echoes()
        self.tenants = Tenants()
        self.queue = WorkQueue(clock)
        indexed = indexes()
        self.informers = {
            kind.name: _informer(transport, kind, self._on_event, self._on_change, indexed.get(kind.name))
            for kind in kinds.CACHED
        }
        self.world = World(self.informers, indexed, self.tenants, platform)
        self.tenants.node_rivals = self.world.node_rivals
        self._reconciler = Reconciler(
            transport,
            Writer(transport, self.informers, self._echoes),
            self.tenants,
            self.world,
            Reporter(metrics, events),
            lambda names: self._enqueue(names, clock()),
            self._echoes,
            stale=self._stale,
        )
        metrics.watch_generation_lag(self.tenants.generation_lag)
        metrics.watch_queue(lambda: self.queue.depth, self.queue.oldest)
        metrics.watch_leader(lambda: self._leading)
        for name, informer in self.informers.items():
            metrics.watch_informer(name, informer.__len__, partial(_last_contact, informer))

    def observe(self, event_type: str | None, body: Mapping[str, Any]) -> None:
        """A SecureTenant came, changed or went."""
        metadata, since = body["metadata"], self._clock()

        def tell() -> None:
            self._enqueue(self.tenants.observe(event_type, body), since)

        ref = Ref(SECURE_TENANT.name, "", metadata["name"])
        if not self._echoes.hold(ref, event_type, int(metadata["resourceVersion"]), tell):
            tell()

    def relisted(self) -> None:
        """The watcher had to list the SecureTenants anew: of those that went meanwhile it will never tell."""
        self._relisted.set()

    def _on_event(self, event: Event) -> None:
        # A DELETED event carries the object's last state: beside the old one it would look as if nothing changed.
        old = None if event.type == "DELETED" else event.old

        def tell() -> None:
            self._enqueue(self.world.concerned(event.object, old), event.received)

        if not self._echoes.hold(event.object.ref, event.type, int(event.object.resource_version), tell):
            tell()

    def _on_change(self, old: Observed | None, new: Observed | None) -> None:
        """Our own writes are no events; but for a namespace or node that one tenant gives up, another may wait."""
        if old is not None and new is not None and _hand(old) != _hand(new):
            self._enqueue(self.world.concerned(new, old), self._clock())

    def _enqueue(self, tenants: set[str], since: float) -> None:
        if self._leading:
            for name in tenants:
                self.queue.add(name, since)

    async def run_caches(self) -> None:
        """Keep the caches for ever. Raises if one of them cannot go on."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for name in self.informers:
                self._watch(name)

    def _watch(self, name: str) -> None:
        assert self._group is not None
        self._tasks[name] = self._group.create_task(self.informers[name].run(), name=f"informer {name}")

    async def _relist(self) -> None:
        """List every kind anew. What a standby's caches hold may lag behind the last leader's own writes, and shares
        of a quota, say, must not be given away twice."""
        for name, informer in self.informers.items():
            self._tasks[name].cancel()
            await asyncio.wait([self._tasks[name]])
            informer.synced.clear()
            self._watch(name)
        await self.synced()

    async def caught_up(self) -> None:
        """Return when every tenant that was there at the start has been looked at."""
        await self._caught_up.wait()

    async def synced(self) -> None:
        """Return when every cache holds its kind."""
        for informer in self.informers.values():
            await informer.synced.wait()

    async def lead(self, stop: asyncio.Event, *, fresh: bool) -> None:
        """Work as the active instance until `stop` is set, then finish the passes under way.

        `fresh`: nobody else has led since the caches were filled. Raises LeaseLost as soon as a write finds the Lease
        gone.
        """
        await self.synced()
        if not fresh:
            await self._relist()
        self._relisted.set()
        await self._reload(once=True)
        self._leading = True
        log.info("leading", tenants=len(self.tenants), objects=sum(map(len, self.informers.values())))
        stopping = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self.queue.run_timers(), name="timers"),
                    group.create_task(self._events.run(), name="events"),
                    group.create_task(self._reload(), name="reload"),
                    group.create_task(self._pulse(), name="pulse"),
                    group.create_task(self._look_at_all(), name="first look"),
                ]
                workers = [group.create_task(self._work(stopping), name=f"worker {n}") for n in range(self._workers)]
                await _either(stop, workers)
                self._leading = False
                stopping.set()
                for task in background:
                    task.cancel()
                await self._drain(workers)
        finally:
            self._leading = False
        await self._events.flush()

    async def _look_at_all(self) -> None:
        """Every tenant, once; first those in which something was changed while nobody looked."""
        rest = []
        for number, name in enumerate(tuple(self.tenants.names())):
            if name in self.tenants and is_suspect(
                *self.tenants.applied(name), self.world.get, self.world.in_namespace
            ):
                self.queue.add(name)
            else:
                rest.append(name)
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        for name in rest:
            self.queue.add(name)
        self._all_queued = True
        self._note_progress()

    async def load_tenants(self) -> None:
        """List the SecureTenants, and forget those that are not there any more: a watch that was interrupted tells
        nothing of what went meanwhile, and acting for a deleted tenant would recreate its namespaces.

        Raises NotFound where the CRD is not installed.
        """
        known, listed = self.tenants.uids(), set()
        async for page in self._transport.pages(SECURE_TENANT, page_size=PAGE):
            for body in msgspec.json.decode(page)["items"]:
                listed.add(body["metadata"]["name"])
                self.observe("ADDED", body)
        # Not one that came while the list was under way.
        for ghost in {name for name, uid in self.tenants.uids().items() if known.get(name) == uid} - listed:
            self._enqueue(self.tenants.remove(ghost), self._clock())

    async def _reload(self, *, once: bool = False) -> None:
        """The same whenever the watcher has listed anew, or once; tried again until it succeeds."""
        while True:
            await self._relisted.wait()
            self._relisted.clear()
            try:
                await self.load_tenants()
            except NotFound:
                raise
            except ApiError as error:
                log.warning("SecureTenants not listed, tried again", cause=str(error), retry_seconds=RELOAD)
                await asyncio.sleep(RELOAD)
                self._relisted.set()
            else:
                if once:
                    return

    async def _pulse(self) -> None:
        """Look at all tenants when the clock was set (expiries are times of day, timers are not), and when a cache
        went stale or came back."""
        offset, stale = time.time() - self._clock(), self._stale()
        while True:
            await asyncio.sleep(PULSE)
            before = offset, stale
            offset, stale = time.time() - self._clock(), self._stale()
            stepped = abs(offset - before[0]) > CLOCK_STEP
            if stepped:
                log.warning("the clock was set, looking at all tenants", step_seconds=round(offset - before[0], 1))
            if stale != before[1]:
                log.warning("caches stale" if stale else "caches kept again", cause=stale)
            if stepped or stale != before[1]:
                self._enqueue(set(self.tenants.names()), self._clock())

    def _stale(self) -> str:
        """Which caches prove nothing any more, and why; "" where all are well."""
        found = [
            f"{name} cannot be watched: {informer.failure}"
            for name, informer in self.informers.items()
            if informer.failing_since and time.monotonic() - informer.failing_since > STALE
        ]
        return f"what is known may be old: {'; '.join(found)}" if found else ""

    async def _drain(self, workers: Sequence["asyncio.Task[None]"]) -> None:
        """Wait for the passes under way, not for the workers: those that are idle wait for a key for ever."""
        end = time.monotonic() + DRAIN
        while self.queue.active and time.monotonic() < end:
            await asyncio.wait(workers, timeout=0.02, return_when=asyncio.FIRST_EXCEPTION)
        for task in workers:
            task.cancel()

    async def _work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            item = await self.queue.get()
            started = self._clock()
            result = "error"
            try:
                again = await self._reconciler.reconcile(item.key, item.since, self.queue.failures(item.key))
                result = "requeued" if again.retry else "success"
                self._schedule(item.key, again)
            except LeaseLost:
                raise
            except NotFound as error:
                self._gone(item, error)
            except ApiError as error:
                delay = self.queue.failed(item.key)
                log.warning("pass failed", tenant=item.key, cause=str(error), retry_seconds=round(delay, 2))
            except Exception as error:
                # A defect that one tenant's data brings out must not stop the others.
                delay = self.queue.failed(item.key)
                log.exception("pass failed by a defect", tenant=item.key, retry_seconds=round(delay, 2))
                await self._unjudged(item.key, error)
            finally:
                self.queue.done(item.key)
                self._note_progress()
                self._metrics.reconciled(result, self._clock() - started)

    async def _unjudged(self, name: str, defect: Exception) -> None:
        cause = f"a defect in the operator broke its look at this tenant off ({type(defect).__name__}: see its log)"
        try:
            await self._reconciler.unjudged(name, cause)
        except LeaseLost:
            raise
        except Exception as error:
            log.exception("nor can it be said in the status", tenant=name, cause=str(error))

    def _note_progress(self) -> None:
        if self._caught_up.is_set() or not self._all_queued or self.queue.depth or self.queue.active:
            return
        self._caught_up.set()
        log.info("looked at all tenants", tenants=len(self.tenants))

    def _schedule(self, name: str, again: Again) -> None:
        if again.retry:
            self.queue.failed(name)
        else:
            self.queue.succeeded(name)
        if name not in self.tenants:
            self.queue.forget(name)
            return
        # The safety net, spread over time.
        resync = self._resync_seconds * random.uniform(0.75, 1.25)  # noqa: S311
        self.queue.add_after(name, resync if again.after is None else min(resync, again.after))

    def _gone(self, item: Item, error: ApiError) -> None:
        """The SecureTenant that a pass wrote to is no more."""
        log.info("tenant is gone", tenant=item.key, cause=str(error))
        self._enqueue(self.tenants.remove(item.key) - {item.key}, self._clock())
        self._reconciler.forget(item.key)
        self.queue.forget(item.key)

    def unready(self) -> list[str]:
        """What is not synced yet."""
        return [
            f"{name}: {informer.failure or 'not listed yet'}"
            for name, informer in self.informers.items()
            if not informer.synced.is_set()
        ]

    def unhealthy(self) -> list[str]:
        """Watchers that are dead, or silent: neither failing (and so retrying) nor heard of."""
        found = []
        for name, informer in self.informers.items():
            task = self._tasks.get(name)
            if task is None or task.done():
                found.append(f"{name}: its watcher is not running")
            elif informer.synced.is_set() and not informer.failure and time.time() - informer.last_contact > SILENT:
                found.append(f"{name}: silent for {time.time() - informer.last_contact:.0f} s")
        return found


def _informer(
    transport: Transport, kind: Kind, on_event: Callable[[Event], None], on_shared: OnChange, index: Index | None
) -> Informer:
    hooks: list[OnChange] = [index.change] if index is not None else []
    if kind in (kinds.NAMESPACE, kinds.NODE):
        hooks.append(on_shared)

    def on_change(old: Observed | None, new: Observed | None) -> None:
        for hook in hooks:
            hook(old, new)

    if kind is kinds.ENDPOINT_SLICE:
        # The only endpoints that matter here: those of the API server itself.
        return Informer(
            transport,
            kind,
            on_event=on_event,
            on_change=on_change,
            namespace="default",
            label_selector="kubernetes.io/service-name=kubernetes",
        )
    return Informer(transport, kind, on_event=on_event, on_change=on_change)


def _hand(shared: Observed) -> str:
    """Whose mark a namespace or a node carries."""
    return shared.tenant or shared.labels.get(names.NODE_LABEL_TENANT, "")


def _last_contact(informer: Informer) -> float | None:
    return informer.last_contact or None


async def _either(stop: asyncio.Event, workers: Sequence["asyncio.Task[None]"]) -> None:
    """Return when `stop` is set, or a worker ended."""
    waiter = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([waiter, *workers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter
