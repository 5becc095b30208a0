"""The controller: it keeps the caches warm and, while this is the active instance, runs the workers that reconcile.

A pass is one reconcile of one object.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from securetenant.cache.addresses import SEEN, Addresses
from securetenant.cache.roster import Roster
from securetenant.cache.tenants import Tenants
from securetenant.cache.triggers import IMPLYING
from securetenant.cache.world import World, indexes
from securetenant.controls.lookup import CACHED
from securetenant.controls.registry import CONTROLS
from securetenant.engine import health
from securetenant.engine.chores import ChoreRunner
from securetenant.engine.cluster import Cluster
from securetenant.engine.following import Following
from securetenant.engine.health import UNSEEN
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.informers import Informers
from securetenant.engine.initial import InitialReconcile
from securetenant.engine.inspection import Inspector
from securetenant.engine.neighbours import Neighbours
from securetenant.engine.node_pods import NodePods
from securetenant.engine.probe import Prober
from securetenant.engine.ranges import notice_changed_ranges
from securetenant.engine.reconciler import Reconciler
from securetenant.engine.reporter import Reporter
from securetenant.engine.resource import Again, Resource, counts, keys
from securetenant.engine.triage import is_suspect
from securetenant.engine.workqueue import Key, WorkQueue
from securetenant.engine.writer import Writer
from securetenant.kube.errors import is_away
from securetenant.kube.informer import Event, Informer, OnChange
from securetenant.kube.lease import LeaseLost
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.model.kinds import NODE, SECURE_TENANT, Kind
from securetenant.model.names import GROUP
from securetenant.model.objects import Observed, Ref, has_other_spec
from securetenant.model.platform import Platform
from securetenant.reach.standing import LOOKED_AT
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics

log = structlog.get_logger("securetenant.operator")

# How long a clean stop waits for the passes in progress (seconds).
DRAIN = 15.0
# How long the first look at all tenants waits for what has to be tried in the cluster (seconds): usually milliseconds.
TRIED = 2.0


class Controller:
    """Caches, queue and workers. Events of our custom resources arrive through `observe`, all others through the
    informers. `inspection_seconds`: after which a tenant is inspected again without a change of its rules; None: never.
    """

    def __init__(
        self,
        transport: Transport,
        metrics: Metrics,
        events: Events,
        *,
        platform: Platform,
        workers: int = 16,
        resync_seconds: float = 600.0,
        inspection_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._events = events
        self._workers = workers
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._leading = False
        self.has_led = False  # whether this instance was ever the active one
        self.is_loading = False  # whether it leads, but is still listing the tenants
        self._preparing: asyncio.Task[None] | None = None
        self._early: asyncio.Task[bool] | None = None
        # For how many seconds there has been no watch on a custom resource.
        self.blind_for: Callable[[Kind], float] = lambda kind: 0.0
        self._in_flight = WritesInFlight()
        tenants = Tenants()
        self.queue = WorkQueue(clock)
        indexed, following = indexes(), Following()
        hooks: dict[Kind, list[OnChange]] = {kind: [index.change] for kind, index in indexed.items()}
        for kind in CACHED:
            hooks.setdefault(kind, []).append(self._on_any_change)
            if kind.is_shared or kind.group == GROUP:
                hooks.setdefault(kind, []).append(self._on_change)
            if kind.mirror is not None:
                hooks.setdefault(kind, []).append(following.change)
        addresses = Addresses(platform.cluster_cidrs)
        for kind in SEEN:
            hooks.setdefault(kind, []).append(addresses.change)
        for kind in IMPLYING:
            hooks.setdefault(kind, []).append(tenants.index.change)
        self._node_pods = NodePods(
            transport,
            lambda node, pod: enqueue(world.concerned_on(node, pod)),
            lambda node: enqueue(world.concerned_on(node)),
        )
        hooks.setdefault(NODE, []).append(self._node_pods.change)
        neighbours = Neighbours(lambda names: enqueue(names))
        for kind in LOOKED_AT:
            hooks.setdefault(kind, []).append(neighbours.change)
        self._informers = Informers(transport, self._on_event, hooks, self._resync)
        caches = self._informers.caches
        world = World(caches, indexed, tenants, platform, self._informers.serves, self._node_pods.on, addresses)
        tenants.lookup, tenants.recall = world.indexed, addresses.recall

        def enqueue(names: Iterable[str]) -> None:
            self._enqueue(keys(SECURE_TENANT, names), clock())

        notice_changed_ranges(world, enqueue)
        self._roster = Roster(transport, tenants, partial(self.observe, SECURE_TENANT), enqueue)
        self._inspector = Inspector(
            transport,
            enqueue,
            interval=inspection_seconds,
            is_busy=lambda: self.queue.depth + self.queue.active > 0,
            monotonic=clock,
        )
        writer = Writer(transport, caches, self._in_flight)
        self._chores = ChoreRunner(writer, world, stale=self._stale)
        reconciler = Reconciler(
            transport,
            writer,
            tenants,
            world,
            Reporter(metrics, events),
            enqueue,
            self._in_flight,
            following,
            self._inspector,
            neighbours,
            stale=self._stale,
        )
        tenant = Resource(
            SECURE_TENANT,
            tenants.names(),
            reconciler,
            observe=lambda event_type, body: keys(
                SECURE_TENANT, neighbours.beside(tenants.observe(event_type, body), tenants.index.tokens)
            ),
            relist=self._roster.relist,
            is_suspect=lambda name: is_suspect(*tenants.applied(name), world.get, world.in_namespace),
            noun="tenant",
        )
        self._resources: Mapping[Kind, Resource] = {tenant.kind: tenant}
        self._concerned: Callable[[Observed, Observed | None], Iterable[Key]] = lambda new, old: keys(
            SECURE_TENANT, world.concerned(new, old)
        )
        self._initial = InitialReconcile(self._resources.values(), self.queue)
        self._cluster = Cluster(transport, world, metrics, events, stale=self._stale)
        self._prober = Prober(transport, world, CONTROLS, self._on_probed, clock)
        self._awaits_probe = True
        events.give_way(lambda: self.queue.depth + self.queue.active > 1)
        # None where it is unknown, because without a watch edits are not seen.
        metrics.watch_generation_lag(
            lambda name: tenants.generation_lag(name) if self.blind_for(SECURE_TENANT) <= UNSEEN else None
        )
        metrics.watch_queue(lambda: self.queue.depth, self.queue.oldest)
        metrics.watch_leader(lambda: self._leading)
        for kind, informer in self._informers.all().items():
            metrics.watch_informer(kind.key, informer.__len__, partial(_last_contact, informer))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Our custom resources, whose events go to `observe`."""
        return tuple(self._resources)

    @property
    def watched(self) -> tuple[Kind, ...]:
        """Every kind that is listed and watched: our custom resources and what the informers cache."""
        return (*self._resources, *self._informers.all())

    def observe(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Handle an event of a custom resource. `event_type`: None for an object out of a list."""
        metadata, since = body["metadata"], self._clock()

        def deliver() -> None:
            self._enqueue(self._resources[kind].observe(event_type, body), since)

        ref = Ref(kind, "", metadata["name"])
        if not self._in_flight.hold(ref, event_type, int(metadata["resourceVersion"]), deliver):
            deliver()

    def relisted(self, kind: Kind) -> None:
        """The watcher had to relist the kind: it will send no event for objects that were deleted meanwhile."""
        self._resources[kind].relist()

    def count(self, kind: Kind) -> int:
        """The number of known objects of a custom resource."""
        return len(self._resources[kind].names)

    def log_fields(self, kind: Kind, name: str) -> dict[str, str]:
        """The fields that identify an object of a custom resource in a log line."""
        return self._resources[kind].log_fields(name)

    def _on_event(self, event: Event) -> None:
        # A DELETED event carries the object's last state: compared with the old one it would look like no change.
        old = None if event.type == "DELETED" else event.old
        self._cluster.observe(event.object, event.old)
        self._prober.observe(event.object, old)

        def deliver() -> None:
            if self._leading:  # else a start would compute it for each of 45,000 objects, for nothing
                self._enqueue(self._concerned(event.object, old), event.received)

        if not self._in_flight.hold(event.object.ref, event.type, int(event.object.resource_version), deliver):
            deliver()

    def _on_change(self, old: Observed | None, new: Observed | None) -> None:
        """Our own writes enqueue nothing, except where one tenant releases a namespace or node, or where a subnet whose
        namespace is gone is deleted: another may wait for it. And where the answer to a write of a status includes an
        edit by others, whose own event is no news then."""
        if old is None:
            return
        if new is None and old.ref.kind.prefix:
            self._enqueue(self._concerned(old, None), self._clock())
        elif new is not None and (
            old.tenant != new.tenant or (new.ref.kind.group == GROUP and has_other_spec(new, old))
        ):
            self._enqueue(self._concerned(new, old), self._clock())

    def _on_any_change(self, old: Observed | None, new: Observed | None) -> None:
        """What belongs to no tenant depends on our own writes too, and of those there are no events."""
        changed = new if new is not None else old
        assert changed is not None
        self._chores.observe(changed, old if new is not None else None)

    def _enqueue(self, found: Iterable[Key], since: float) -> None:
        if self._leading:
            for key in found:
                self.queue.add(key, since)

    async def run_caches(self) -> None:
        """Keep the caches up to date until cancelled. Raises if one of them cannot go on."""
        try:
            async with asyncio.TaskGroup() as group:
                self._early = group.create_task(self._roster.early(), name="early list")
                self._informers.start(group)
                self._node_pods.start(group)
        finally:
            if self._preparing is not None:
                self._preparing.cancel()

    def prepare(self) -> None:
        """The leader has stopped renewing and writes no more: relist every kind while its Lease runs out."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(self._informers.relist(), name="relist")

    async def caught_up(self) -> None:
        """Return when every object that existed at the start has been reconciled."""
        await self._initial.over()

    async def synced(self) -> None:
        """Return when every cache is synced."""
        await self._informers.synced()

    async def lead(self, stop: asyncio.Event, *, fresh: bool, prepared: bool = False) -> None:
        """Work as the active instance until `stop` is set, then finish the passes in progress.

        `fresh`: no other instance has led since the caches were filled. `prepared`: none has since the last call of
        `prepare`. Raises LeaseLost as soon as a write finds the Lease lost.
        """
        if self._preparing is not None:
            await self._preparing
        await self.synced()
        if not (fresh or (prepared and self._preparing is not None)):
            # A standby's caches may lag behind the last leader's writes, and shares of a quota, for example, must not
            # be given away twice.
            await self._informers.relist()
        self.is_loading = True
        # kopf's list brings the edits made since the early list, and the list after that one the deletions.
        if not (fresh and self._early is not None and await self._early):
            await self._roster.first()
        self._leading = self.has_led = True
        log.info("leading", **counts(self._resources.values()), objects=sum(map(len, self._informers.caches.values())))
        stopping = asyncio.Event()
        pulse = health.pulse(self._clock, self._stale, self._give_up_if_blind, self._resync)
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self.queue.run_timers(), name="timers"),
                    group.create_task(self._events.run(), name="events"),
                    group.create_task(self._roster.keep(), name="roster"),
                    group.create_task(pulse, name="pulse"),
                    group.create_task(self._cluster.run(), name="cluster"),
                    group.create_task(self._prober.run(), name="probe"),
                    group.create_task(self._chores.run(), name="chores"),
                    group.create_task(self._reconcile_all(), name="initial reconcile"),
                    group.create_task(self._inspect(), name="inspection"),
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

    async def _reconcile_all(self) -> None:
        # Before that, each status would be written twice.
        await self._prober.tried(within=TRIED)
        self._awaits_probe = False
        await self._initial.queue_all()
        self.is_loading = False
        self._initial.note()

    async def _inspect(self) -> None:
        # After a start, what is enforced comes first.
        await self.caught_up()
        await self._inspector.run()

    def _on_probed(self) -> None:
        if not self._awaits_probe:  # else every tenant would be queued before the suspects
            self._resync()

    def _resync(self) -> None:
        for kind, resource in self._resources.items():
            self._enqueue(keys(kind, resource.names), self._clock())
        self._cluster.requeue()

    def _give_up_if_blind(self) -> None:
        health.give_up_if_blind(self._resources.values(), self.blind_for)

    def _stale(self) -> str:
        return health.stale(self._informers.stale(), self._resources, self.blind_for)

    async def _drain(self, workers: Sequence["asyncio.Task[None]"]) -> None:
        """Wait for the passes in progress, not for the workers: an idle worker waits for a key for ever."""
        end = time.monotonic() + DRAIN
        while self.queue.active and time.monotonic() < end:
            await asyncio.wait(workers, timeout=0.02, return_when=asyncio.FIRST_EXCEPTION)
        for task in workers:
            task.cancel()

    async def _work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            item = await self.queue.get()
            started = self._clock()
            name, resource = item.key.name, self._resources[item.key.kind]
            result = "error"
            try:
                again = await resource.reconciler.reconcile(name, item.since, self.queue.failures(item.key))
                result = "requeued" if again.retry else "success"
                self._schedule(resource, item.key, again)
            except LeaseLost:
                raise
            except NotFound as error:
                self._gone(resource, item.key, error)
            except ApiError as error:
                delay = self.queue.failed(item.key)
                report = log.debug if is_away(error) else log.warning
                report("pass failed", **resource.log_fields(name), cause=str(error), retry_seconds=round(delay, 2))
            except Exception as error:
                # A bug that one object's data triggers must not stop the others.
                delay = self.queue.failed(item.key)
                log.exception("pass failed by a defect", **resource.log_fields(name), retry_seconds=round(delay, 2))
                await self._unjudged(resource, name, error)
            finally:
                self.queue.done(item.key)
                self._initial.note()
                self._metrics.reconciled(result, self._clock() - started)
            # A pass that finds nothing waits for nothing. After a start thousands of them follow one another, and the
            # Lease has to be renewed in between.
            await asyncio.sleep(0)

    async def _unjudged(self, resource: Resource, name: str, defect: Exception) -> None:
        error_type = type(defect).__name__
        cause = f"a defect in the operator aborted the reconcile of this {resource} ({error_type}: see its log)"
        try:
            await resource.reconciler.unjudged(name, cause)
        except LeaseLost:
            raise
        except Exception as error:
            log.exception(
                "status not written after a pass that failed by a defect",
                **resource.log_fields(name),
                cause=str(error),
            )

    def _schedule(self, resource: Resource, key: Key, again: Again) -> None:
        if again.missing:
            resource.relist()
        if again.retry:
            self.queue.failed(key)
        elif not again.waiting:
            self.queue.succeeded(key)
        if key.name not in resource.names:
            self.queue.forget(key)
            resource.reconciler.forget(key.name)
            return
        # The periodic resync, with jitter: a safety net.
        resync = self._resync_seconds * random.uniform(0.75, 1.25)  # noqa: S311
        self.queue.add_after(key, resync if again.after is None else min(resync, again.after))

    def _gone(self, resource: Resource, key: Key, error: ApiError) -> None:
        """A write to the object was answered with NotFound. Only its event or a list proves that it is deleted: while
        the CRD is gone, or a proxy fails, every write is answered so."""
        delay = self.queue.failed(key)
        log.info(
            f"{resource} not found, listing to see whether it is deleted",
            **resource.log_fields(key.name),
            cause=str(error),
            retry_seconds=round(delay, 2),
        )
        resource.relist()

    def unready(self) -> list[str]:
        """What is not synced yet."""
        return self._informers.unready()

    def unhealthy(self) -> list[str]:
        """Watchers that a restart would repair."""
        return self._informers.unhealthy()


def _last_contact(informer: Informer) -> float | None:
    return informer.last_contact or None


async def _either(stop: asyncio.Event, workers: Sequence["asyncio.Task[None]"]) -> None:
    """Return when `stop` is set or a worker has ended."""
    waiter = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([waiter, *workers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter
