"""The informers of all kinds that the controls read. That of an optional kind runs only while the kind is served."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from securetenant.controls.lookup import CACHED, ONLY, OPTIONAL
from securetenant.kube.discovery import Discovery
from securetenant.kube.errors import ApiError
from securetenant.kube.informer import Event, Informer, OnChange
from securetenant.kube.transport import Transport
from securetenant.model.kinds import CUSTOM_RESOURCE_DEFINITION, Kind
from securetenant.model.objects import Observed

log = structlog.get_logger("securetenant.informers")

# An informer that has neither failed nor received anything for this long (seconds) has a dead connection.
SILENT = 240.0
# One that failed and has not retried for this long (seconds) hangs: its back-off is far shorter.
UNTRIED = 60.0
# The cache of a kind that could not be watched for this long (seconds) counts as out of date.
STALE = 60.0


class Informers:
    """`caches`: by kind, those that the controls read; the cache of a kind that is not served is empty.

    `on_event`, `hooks` (by kind): the callbacks of each informer. `on_turn`: called when an optional kind starts or
    stops being served, which may change any tenant's plan.
    """

    def __init__(
        self,
        transport: Transport,
        on_event: Callable[[Event], None],
        hooks: Mapping[Kind, Sequence[OnChange]],
        on_turn: Callable[[], None],
    ) -> None:
        self.caches = {kind: _informer(transport, kind, on_event, hooks.get(kind, ())) for kind in CACHED}
        self._discovery = Discovery(transport, OPTIONAL, self._answered, self._going)
        crds = self._discovery.crds
        self._all = self.caches if crds is None else {**self.caches, CUSTOM_RESOURCE_DEFINITION: crds}
        self._on_turn = on_turn
        self._tasks: dict[Kind, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._served: dict[Kind, bool] = {}  # for the optional kinds, as far as known

    def all(self) -> Mapping[Kind, Informer]:
        """All informers, including that of the CRDs where an optional kind has one."""
        return self._all

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run the informers as tasks of the group, until cancelled. One that cannot go on raises."""
        self._group = group
        for kind in self._all:
            if not kind.optional:
                self._watch(kind)
        if OPTIONAL:
            group.create_task(self._discovery.run(), name="discovery")

    def _watch(self, kind: Kind) -> None:
        assert self._group is not None
        self._all[kind].synced.clear()
        self._tasks[kind] = self._group.create_task(self._all[kind].run(), name=f"informer {kind}")

    async def relist(self) -> None:
        """Relist every kind, and return when every cache is synced."""
        for kind in self._all:
            if (task := self._tasks.get(kind)) is None:
                continue
            task.cancel()
            await asyncio.wait([task])
            if self._tasks.get(kind) is task:  # the kind may have stopped being served meanwhile
                self._watch(kind)
        await self.synced()

    async def synced(self) -> None:
        """Return when every cache is synced, or its kind is known not to be served."""
        for informer in self._all.values():
            await informer.synced.wait()

    def serves(self, kind: Kind) -> bool:
        """Whether the kind is served and its CRD is not being deleted."""
        return self._served.get(kind, not kind.optional)

    def _answered(self, kind: Kind, answer: bool | ApiError) -> None:
        """Take discovery's answer for an optional kind: served, not served, or an error."""
        informer, is_watched = self._all[kind], kind in self._tasks
        if isinstance(answer, ApiError):
            if not is_watched:  # otherwise its own watch reports the trouble
                informer.doubt(answer)
        elif answer:
            if not is_watched:
                self._watch(kind)
            assert self._group is not None
            self._group.create_task(self._note_once_listed(kind), name=f"list of {kind}")
        else:
            if is_watched:
                self._tasks.pop(kind).cancel()
            informer.empty()
            self._note(kind)

    async def _note_once_listed(self, kind: Kind) -> None:
        """Note a kind as served only once it is listed: before that, all its objects would seem to be missing."""
        await self._all[kind].synced.wait()
        self._note(kind)

    def _going(self, kind: Kind) -> None:
        if kind in self._served:
            self._note(kind)

    def _note(self, kind: Kind) -> None:
        is_served = kind in self._tasks and self._all[kind].synced.is_set() and kind not in self._discovery.going
        if is_served == self._served.get(kind):
            return
        self._served[kind] = is_served
        if is_served:
            log.info("an optional kind is served, it is watched from now on", kind=kind.key)
        else:
            log.info("an optional kind is not served, working without it", kind=kind.key, version=kind.api_version)
        self._on_turn()

    def stale(self) -> list[str]:
        """Which caches are out of date, and why."""
        return [
            f"{kind.key} cannot be watched: {informer.failure}"
            for kind, informer in self._all.items()
            if informer.failing_since and time.monotonic() - informer.failing_since > STALE
        ]

    def unready(self) -> list[str]:
        """What is not synced yet."""
        return [
            f"{kind.key}: {informer.failure or 'not listed yet'}"
            for kind, informer in self._all.items()
            if not informer.synced.is_set()
        ]

    def unhealthy(self) -> list[str]:
        """Informers that are dead, that failed and have not retried, or that receive nothing although they do not
        fail."""
        found = []
        for kind, informer in self._all.items():
            task = self._tasks.get(kind)
            untried, silent = time.monotonic() - informer.tried, time.time() - informer.last_contact
            if task is None and kind.optional:
                continue
            if task is None or task.done():
                found.append(f"{kind.key}: its watcher is not running")
            elif informer.failure:
                if untried > UNTRIED:
                    found.append(f"{kind.key}: not tried again for {untried:.0f} s after: {informer.failure}")
            elif informer.synced.is_set() and silent > SILENT:
                found.append(f"{kind.key}: silent for {silent:.0f} s")
        return found


def _informer(
    transport: Transport, kind: Kind, on_event: Callable[[Event], None], hooks: Sequence[OnChange]
) -> Informer:
    def on_change(old: Observed | None, new: Observed | None) -> None:
        for hook in hooks:
            hook(old, new)

    return Informer(
        transport,
        kind,
        on_event=on_event,
        on_change=on_change,
        namespace=kind.within,
        label_selector=kind.selector,
        only=ONLY.get(kind),
    )
