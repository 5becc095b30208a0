"""Reports, once each, deviations of the cluster as a whole that belong to no single tenant (`Control.cluster`).

It never writes to the cluster: roles and cluster-wide bindings are not ours. There is no object to keep a status on, so
this instance cannot know what was reported before it led: what it finds at first is shown and logged, and only what
comes later is counted as detected.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from securetenant.controls.control import ClusterWide, Deviation
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.engine.attribution import manager_of
from securetenant.kube.transport import Transport
from securetenant.model.objects import Observed
from securetenant.telemetry.events import Events, EventType, Subject
from securetenant.telemetry.metrics import Metrics

log = structlog.get_logger("securetenant.cluster")

# For how many new deviations at once the field manager is looked up: one GET each.
_LOOKED_UP = 50
# All Events about the cluster share one rate limit, so that a hundred bindings are not a flood.
_ACCOUNT = Subject("", "", "", "the cluster", "cluster")


class Cluster:
    """`observe` takes every event of the caches; `run` judges whenever one of them concerned a control, while this is
    the active instance. `stale` returns why the caches may be out of date; "" while they are not."""

    def __init__(
        self, transport: Transport, world: World, metrics: Metrics, events: Events, *, stale: Callable[[], str]
    ) -> None:
        self._transport = transport
        self._world = world
        self._metrics = metrics
        self._events = events
        self._stale = stale
        self._wanted = asyncio.Event()
        self._judging = [(control.name, control.cluster) for control in CONTROLS if control.cluster is not None]
        self._standing: dict[str, set[Deviation]] = {}  # by control; no entry until it was judged once

    def observe(self, new: Observed, old: Observed | None) -> None:
        """An object was added, changed or deleted."""
        for _, judged in self._judging:
            if judged.concerns(new) or (old is not None and judged.concerns(old)):
                self.requeue()

    def requeue(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Judge now and whenever there is a reason to, until cancelled."""
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for name, judged in self._judging:
                try:
                    await self._judge(name, judged)
                except Exception as error:
                    # A bug that an odd role triggers must not stop the work for the tenants.
                    self._metrics.cluster(name, None, ())
                    log.exception("cluster not judged because of a defect", control=name, cause=str(error))

    async def _judge(self, name: str, judged: ClusterWide) -> None:
        if stale := self._stale():
            self._metrics.cluster(name, None, ())
            log.warning("cluster not judged", control=name, cause=stale)
            return
        found = judged.deviations(self._world)
        before = self._standing.get(name)
        self._standing[name] = set(found)
        new = [deviation for deviation in found if deviation not in (before or ())]
        reasons = Counter(deviation.reason for deviation in found)
        came = [deviation.reason for deviation in new] if before is not None else []
        self._metrics.cluster(name, {reason: reasons[reason] for reason in judged.reasons}, came)
        gone = {deviation.ref: deviation for deviation in before or () if deviation.ref not in _refs(found)}
        for deviation in gone.values():
            self._report(name, deviation, "Normal", "DriftOver", "cluster drift over")
        managers = await asyncio.gather(*map(self._manager, new[:_LOOKED_UP]))
        for deviation, manager in zip(new, [*managers, *[""] * len(new)], strict=False):
            # What this instance finds at its start may be old, and reported long ago.
            line = "cluster drift detected" if before is not None else "cluster drift stands"
            self._report(name, deviation, "Warning", "DriftDetected", line, manager)

    async def _manager(self, deviation: Deviation) -> str:
        """The field manager that did it; a client chooses that name itself."""
        if not deviation.uid:
            return ""
        path = "subjects" if deviation.reason == "Foreign" else deviation.path
        return await manager_of(self._transport, deviation.ref, path)

    def _report(
        self, control: str, deviation: Deviation, type_: EventType, reason: str, event: str, manager: str = ""
    ) -> None:
        ref, has_ended = deviation.ref, type_ == "Normal"
        kind = ref.kind
        by = f", as the field manager {manager}" if manager else ""
        where = f" at {deviation.path}" if deviation.path else ""
        self._events.emit(
            _ACCOUNT,
            type_,
            reason,
            f"{deviation.reason} {ref}{where}{by} ({deviation.message}): {'over' if has_ended else 'found'}",
            control=control,
            object_=str(ref),
            about=Subject(kind.api_version, kind.name, "", ref.name, deviation.uid),
        )
        line = log.info if has_ended else log.error if deviation.widens else log.warning
        line(
            event,
            control=control,
            object=str(ref),
            reason=deviation.reason,
            path=deviation.path,
            manager=manager,
            cause=deviation.message,
        )


def _refs(found: Sequence[Deviation]) -> set[object]:
    return {deviation.ref for deviation in found}
