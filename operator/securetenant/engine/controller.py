"""The running operator: caches that stay warm, and workers that work while this is the active instance."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from securetenant.cache.roster import BLIND, Blind, Roster
from securetenant.cache.tenants import Tenants
from securetenant.cache.world import World, indexes
from securetenant.controls.lookup import CACHED
from securetenant.engine.cluster import Cluster
from securetenant.engine.following import Following
from securetenant.engine.inflight import Echoes
from securetenant.engine.informers import Informers
from securetenant.engine.reconciler import Again, Reconciler
from securetenant.engine.reporter import Reporter
from securetenant.engine.triage import queue_all
from securetenant.engine.workqueue import Item, WorkQueue
from securetenant.engine.writer import Writer
from securetenant.kube.errors import is_away
from securetenant.kube.informer import Event, Informer, OnChange
from securetenant.kube.lease import LeaseLost
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.model.kinds import SECURE_TENANT, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics

log = structlog.get_logger("securetenant.operator")

# How long a clean stop waits for the passes under way (seconds).
DRAIN = 15.0
# SecureTenants that nobody has watched for this long (seconds) may have been edited: what is known of them is old.
UNSEEN = 10.0
# What is known of them is said to be old after this long: well before the leader gives up (BLIND), so that it is said
# while it can be.
STALE_TENANTS = 30.0
# How often (seconds) the clock and the watches are looked at, and what step of the clock is worth a look at all.
PULSE = 5.0
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
        self.has_led = False  # whether it ever began to write
        self.is_loading = False  # whether it leads, and lists the tenants yet
        self._all_queued = False
        self._preparing: asyncio.Task[None] | None = None
        self._early: asyncio.Task[bool] | None = None
        self._caught_up = asyncio.Event()
        # For how many seconds nobody has watched the SecureTenants.
        self.blind_for: Callable[[], float] = lambda: 0.0
        self._echoes = Echoes()
        self.tenants = Tenants()
        self.queue = WorkQueue(clock)
        indexed, following = indexes(), Following()
        hooks: dict[Kind, list[OnChange]] = {kind: [index.change] for kind, index in indexed.items()}
        for kind in CACHED:
            if kind.is_shared:
                hooks.setdefault(kind, []).append(self._on_change)
            if kind.mirror is not None:
                hooks.setdefault(kind, []).append(following.change)
        self._informers = Informers(transport, self._on_event, hooks, self._look_at_all_again)
        caches = self._informers.caches
        self.world = World(caches, indexed, self.tenants, platform, self._informers.serves)
        self.tenants.lookup = self.world.indexed
        self._roster = Roster(transport, self.tenants, self.observe, lambda names: self._enqueue(names, clock()))
        self._reconciler = Reconciler(
            transport,
            Writer(transport, caches, self._echoes),
            self.tenants,
            self.world,
            Reporter(metrics, events),
            lambda names: self._enqueue(names, clock()),
            self._echoes,
            following,
            stale=self._stale,
        )
        self._cluster = Cluster(transport, self.world, metrics, events, stale=self._stale)
        events.give_way(lambda: self.queue.depth + self.queue.active > 1)
        metrics.watch_generation_lag(self._generation_lag)
        metrics.watch_queue(lambda: self.queue.depth, self.queue.oldest)
        metrics.watch_leader(lambda: self._leading)
        for kind, informer in self._informers.all().items():
            metrics.watch_informer(kind.key, informer.__len__, partial(_last_contact, informer))

    def observe(self, event_type: str | None, body: Mapping[str, Any]) -> None:
        """A SecureTenant came, changed or went."""
        metadata, since = body["metadata"], self._clock()

        def tell() -> None:
            self._enqueue(self.tenants.observe(event_type, body), since)

        ref = Ref(SECURE_TENANT, "", metadata["name"])
        if not self._echoes.hold(ref, event_type, int(metadata["resourceVersion"]), tell):
            tell()

    def _generation_lag(self, name: str) -> int | None:
        """None where it is not known: nobody watches for edits."""
        return self.tenants.generation_lag(name) if self.blind_for() <= UNSEEN else None

    def relisted(self) -> None:
        """The watcher had to list the SecureTenants anew: of those that went meanwhile it will never tell."""
        self._roster.ask()

    def _on_event(self, event: Event) -> None:
        # A DELETED event carries the object's last state: beside the old one it would look as if nothing changed.
        old = None if event.type == "DELETED" else event.old
        self._cluster.observe(event.object, event.old)

        def tell() -> None:
            if self._leading:  # else a start asks it of each of 45,000 objects, for nothing
                self._enqueue(self.world.concerned(event.object, old), event.received)

        if not self._echoes.hold(event.object.ref, event.type, int(event.object.resource_version), tell):
            tell()

    def _on_change(self, old: Observed | None, new: Observed | None) -> None:
        """Our own writes are no events; but for a namespace or node that one tenant gives up, another may wait."""
        if old is not None and new is not None and old.tenant != new.tenant:
            self._enqueue(self.world.concerned(new, old), self._clock())

    def _enqueue(self, tenants: set[str], since: float) -> None:
        if self._leading:
            for name in tenants:
                self.queue.add(name, since)

    async def run_caches(self) -> None:
        """Keep the caches for ever. Raises if one of them cannot go on."""
        try:
            async with asyncio.TaskGroup() as group:
                self._early = group.create_task(self._roster.early(), name="early list")
                self._informers.start(group)
        finally:
            if self._preparing is not None:
                self._preparing.cancel()

    def prepare(self) -> None:
        """The leader has fallen silent, and writes no more: list every kind anew while its Lease runs out."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(self._informers.relist(), name="relist")

    async def caught_up(self) -> None:
        """Return when every tenant that was there at the start has been looked at."""
        await self._caught_up.wait()

    async def synced(self) -> None:
        """Return when every cache holds its kind."""
        await self._informers.synced()

    async def lead(self, stop: asyncio.Event, *, fresh: bool, prepared: bool = False) -> None:
        """Work as the active instance until `stop` is set, then finish the passes under way.

        `fresh`: nobody else has led since the caches were filled. `prepared`: nor since `prepare` was called last.
        Raises LeaseLost as soon as a write finds the Lease gone.
        """
        if self._preparing is not None:
            await self._preparing
        await self.synced()
        if not (fresh or (prepared and self._preparing is not None)):
            # What a standby's caches hold may lag behind the last leader's own writes, and shares of a quota, say, must
            # not be given away twice.
            await self._informers.relist()
        self.is_loading = True
        # What was edited since the early list comes with kopf's, and what went with the list after that.
        if not (fresh and self._early is not None and await self._early):
            await self._roster.first()
        self._leading = self.has_led = True
        log.info("leading", tenants=len(self.tenants), objects=sum(map(len, self._informers.caches.values())))
        stopping = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self.queue.run_timers(), name="timers"),
                    group.create_task(self._events.run(), name="events"),
                    group.create_task(self._roster.keep(), name="roster"),
                    group.create_task(self._pulse(), name="pulse"),
                    group.create_task(self._cluster.run(), name="cluster"),
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
        await queue_all(self.tenants, self.world, self.queue)
        self._all_queued, self.is_loading = True, False
        self._note_progress()

    async def _pulse(self) -> None:
        """Look at all tenants when the clock was set (expiries are times of day, timers are not), and when a cache
        went stale or came back."""
        offset, stale = time.time() - self._clock(), self._stale()
        while True:
            await asyncio.sleep(PULSE)
            before = offset, stale
            offset, stale = time.time() - self._clock(), self._stale()
            self._give_up_if_blind()
            stepped = abs(offset - before[0]) > CLOCK_STEP
            if stepped:
                log.warning("the clock was set, looking at all tenants", step_seconds=round(offset - before[0], 1))
            if stale != before[1]:
                if stale:
                    log.warning("a kind cannot be watched, tenants are not judged", cause=stale)
                else:
                    log.info("all kinds are watched again")
            if stepped or stale != before[1]:
                self._look_at_all_again()

    def _look_at_all_again(self) -> None:
        self._enqueue(set(self.tenants.names()), self._clock())
        self._cluster.look_again()

    def _give_up_if_blind(self) -> None:
        """Raises Blind where a new leader may see what this one does not. Without tenants there is nothing to lead,
        and the CRD may be gone: then it goes on looking, and is there when it comes back."""
        if self.blind_for() > BLIND and len(self.tenants):
            raise Blind(f"SecureTenants have not been watched for {self.blind_for():.0f} s")

    def _stale(self) -> str:
        """Which caches prove nothing any more, and why; "" where all are well."""
        found = self._informers.stale()
        if self.blind_for() > STALE_TENANTS:
            found.append("SecureTenant cannot be watched")
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
                if again.missing:
                    self._roster.ask()
                self._schedule(item.key, again)
            except LeaseLost:
                raise
            except NotFound as error:
                self._gone(item, error)
            except ApiError as error:
                delay = self.queue.failed(item.key)
                tell = log.debug if is_away(error) else log.warning
                tell("pass failed", tenant=item.key, cause=str(error), retry_seconds=round(delay, 2))
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
            log.exception("the status cannot tell of the pass that failed by a defect", tenant=name, cause=str(error))

    def _note_progress(self) -> None:
        if self._caught_up.is_set() or not self._all_queued or self.queue.depth or self.queue.active:
            return
        self._caught_up.set()
        log.info("looked at all tenants", tenants=len(self.tenants))

    def _schedule(self, name: str, again: Again) -> None:
        if again.retry:
            self.queue.failed(name)
        elif not again.waiting:
            self.queue.succeeded(name)
        if name not in self.tenants:
            self.queue.forget(name)
            return
        # The safety net, spread over time.
        resync = self._resync_seconds * random.uniform(0.75, 1.25)  # noqa: S311
        self.queue.add_after(name, resync if again.after is None else min(resync, again.after))

    def _gone(self, item: Item, error: ApiError) -> None:
        """The SecureTenant that a pass wrote to may be no more: its event tells, or a list, and not one refused
        write. (While the CRD is gone, or a proxy fails, every write is answered so.)"""
        delay = self.queue.failed(item.key)
        log.info(
            "tenant is not there, looking for it", tenant=item.key, cause=str(error), retry_seconds=round(delay, 2)
        )
        self._roster.ask()

    def unready(self) -> list[str]:
        """What is not synced yet."""
        return self._informers.unready()

    def unhealthy(self) -> list[str]:
        """Watchers that a restart would cure."""
        return self._informers.unhealthy()


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
