"""Tells what is wrong in the cluster as a whole: once, and not per tenant (controls/access/cluster.py finds it).

Nothing is ever written: roles and cluster-wide bindings are not ours. There is no object of the cluster to keep a
status on, so that this instance cannot know what was told before it led: what it meets is shown and logged, and only
what comes after that is counted as detected.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from securetenant.controls.access import cluster
from securetenant.controls.access.cluster import Deviation
from securetenant.controls.world import World
from securetenant.engine.attribution import manager_of
from securetenant.kube.transport import Transport
from securetenant.model.objects import Observed
from securetenant.telemetry.events import Events, EventType, Subject
from securetenant.telemetry.metrics import Metrics

log = structlog.get_logger("securetenant.cluster")

# Of how many new deviations at once the manager is looked up: one GET each.
_LOOKED_UP = 50
# All the cluster's Events share one rate, so that a hundred bindings are not a flood.
_ACCOUNT = Subject("", "", "", "the cluster", "cluster")


class Cluster:
    """`observe` takes every event of the caches; `run` judges whenever one of them mattered, while this is the active
    instance. `stale` says why what the caches hold may not be so any more; "" while they are kept well."""

    def __init__(
        self, transport: Transport, world: World, metrics: Metrics, events: Events, *, stale: Callable[[], str]
    ) -> None:
        self._transport = transport
        self._world = world
        self._metrics = metrics
        self._events = events
        self._stale = stale
        self._wanted = asyncio.Event()
        self._standing: set[Deviation] | None = None  # None: not looked at yet

    def observe(self, new: Observed, old: Observed | None) -> None:
        """An object came, changed or went."""
        if cluster.concerns(new) or (old is not None and cluster.concerns(old)):
            self.look_again()

    def look_again(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Judge now, and whenever there is a reason to, for ever."""
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._look()
            except Exception as error:
                # A defect that an odd role brings out must not stop what is done for the tenants.
                self._metrics.cluster(cluster.NAME, None, ())
                log.exception("the cluster's roles and bindings are not judged, by a defect", cause=str(error))

    async def _look(self) -> None:
        if stale := self._stale():
            self._metrics.cluster(cluster.NAME, None, ())
            log.warning("the cluster's roles and bindings are not judged", cause=stale)
            return
        found = cluster.deviations(self._world)
        before, self._standing = self._standing, set(found)
        new = [deviation for deviation in found if deviation not in (before or ())]
        reasons = Counter(deviation.reason for deviation in found)
        came = [deviation.reason for deviation in new] if before is not None else []
        self._metrics.cluster(cluster.NAME, {reason: reasons[reason] for reason in cluster.REASONS}, came)
        gone = {deviation.ref: deviation for deviation in before or () if deviation.ref not in _refs(found)}
        for deviation in gone.values():
            self._tell(deviation, "Normal", "DriftOver", "cluster drift over")
        managers = await asyncio.gather(*map(self._manager, new[:_LOOKED_UP]))
        for deviation, manager in zip(new, [*managers, *[""] * len(new)], strict=False):
            # What stands when this instance begins may have been there, and told, for long.
            line = "cluster drift detected" if before is not None else "cluster drift stands"
            self._tell(deviation, "Warning", "DriftDetected", line, manager)

    async def _manager(self, deviation: Deviation) -> str:
        """The field manager that did it: what a client called itself."""
        if not deviation.uid:
            return ""
        path = "subjects" if deviation.reason == "Foreign" else deviation.path
        return await manager_of(self._transport, deviation.ref, path)

    def _tell(self, deviation: Deviation, type_: EventType, reason: str, event: str, manager: str = "") -> None:
        ref, is_over = deviation.ref, type_ == "Normal"
        kind = ref.kind
        by = f", as the field manager {manager}" if manager else ""
        where = f" at {deviation.path}" if deviation.path else ""
        self._events.emit(
            _ACCOUNT,
            type_,
            reason,
            f"{deviation.reason} {ref}{where}{by} ({deviation.message}): {'over' if is_over else 'found'}",
            control=cluster.NAME,
            object_=str(ref),
            about=Subject(kind.api_version, kind.name, "", ref.name, deviation.uid),
        )
        line = log.info if is_over else log.error if deviation.widens else log.warning
        line(
            event,
            control=cluster.NAME,
            object=str(ref),
            reason=deviation.reason,
            path=deviation.path,
            manager=manager,
            cause=deviation.message,
        )


def _refs(found: Sequence[Deviation]) -> set[object]:
    return {deviation.ref for deviation in found}
