"""Keeps in order what belongs to no tenant, as the controls say (`Control.chores`): the status of other resources of
ours, and objects that nobody needs any more. Only the active instance does, one write after the other."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from securetenant.controls.control import Chore
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.drift import writes
from securetenant.engine.writer import Writer
from securetenant.kube.errors import ApiError, Conflict, NotFound, is_away
from securetenant.model.objects import Json, Observed

log = structlog.get_logger("securetenant.chores")

# Between two rounds (seconds), so that a wave of events makes few writes.
PAUSE: Final = 1.0
# After a round in which something failed (seconds).
AGAIN: Final = 15.0
# A round without an event (seconds): what a tenant declares matters too, and no event is listened to for that.
RESYNC: Final = 60.0


class ChoreRunner:
    """`observe` takes every event of the caches; `run` does what is due. `stale` returns why the caches may be out of
    date; "" while they are not."""

    def __init__(
        self,
        writer: Writer,
        world: World,
        *,
        stale: Callable[[], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: float = PAUSE,
        resync: float = RESYNC,
    ) -> None:
        self._writer = writer
        self._world = world
        self._stale = stale
        self._now = now
        self._pause, self._resync = pause, resync
        self._chores = [(control.name, control.chores) for control in CONTROLS if control.chores is not None]
        self._wanted = asyncio.Event()

    def observe(self, new: Observed, old: Observed | None) -> None:
        """An object was added, changed or deleted."""
        if any(chores.concerns(new, old) for _, chores in self._chores):
            self._wanted.set()

    async def run(self) -> None:
        """Until cancelled. Raises LeaseLost where a write finds that this instance is no longer the active one."""
        wait = 0.0
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            wait = await self._round()
            await asyncio.sleep(self._pause)

    async def _round(self) -> float:
        """Do what is due; seconds until the next round."""
        if self._stale():
            return AGAIN
        waits = [self._resync]
        for name, chores in self._chores:
            try:
                due, wake_at = chores.due(self._world, self._now())
            except Exception as error:
                # A bug that an odd object triggers must not stop the work for the tenants.
                log.exception("not kept in order because of a defect", control=name, cause=str(error))
                waits.append(AGAIN)
                continue
            if wake_at is not None:
                waits.append(max(0.0, (wake_at - self._now()).total_seconds()))
            for chore in due:
                if not await self._do(name, chore):
                    waits.append(AGAIN)
        return min(waits)

    async def _do(self, control: str, chore: Chore) -> bool:
        try:
            await self._writer.send(_request(chore))
        except ApiError as error:
            is_everyday = isinstance(error, (Conflict, NotFound)) or is_away(error)
            (log.debug if is_everyday else log.warning)(
                "not kept in order, retrying", control=control, object=str(chore.have.ref), cause=str(error)
            )
            return False
        if chore.cause:
            log.info("kept in order", control=control, object=str(chore.have.ref), cause=chore.cause)
        return True


def _request(chore: Chore) -> writes.Request:
    have = chore.have
    if chore.what == "Delete":
        return writes.delete(have)
    if chore.what == "Annotate":
        seen: Json = {"uid": have.uid, "resourceVersion": have.resource_version}
        return writes.Request("merge", have.ref, {"metadata": {**seen, "annotations": chore.value}})
    return writes.Request(
        "status",
        have.ref,
        [
            {"op": "test", "path": "/metadata/uid", "value": have.uid},
            {"op": "add", "path": "/status", "value": chore.value},
        ],
    )
