"""The first pass over every object after a start: suspects come first. Also tells when all of them are done.

A pass costs about a millisecond of CPU; checking whether what a tenant wrote is unchanged (triage.py), a tenth of that.
So a policy that was opened while no operator ran is closed long before the last of 5,000 tenants is reconciled.
"""

import asyncio
from collections.abc import Collection

import structlog

from securetenant.engine.resource import Resource, counts
from securetenant.engine.workqueue import Key, WorkQueue

log = structlog.get_logger("securetenant.operator")

# Objects that are checked before the event loop may run other tasks.
_BATCH = 20


class InitialReconcile:
    """`queue_all` starts it; call `note` after each pass; `over` waits for the end."""

    def __init__(self, resources: Collection[Resource], queue: WorkQueue) -> None:
        self._resources = resources
        self._queue = queue
        self._is_queued = False
        self._over = asyncio.Event()

    async def queue_all(self) -> None:
        """Queue every object once, suspects first."""
        rest = []
        for resource in self._resources:
            for number, name in enumerate(tuple(resource.names)):
                if name not in resource.names:
                    continue
                key = Key(resource.kind, name)
                if resource.is_suspect(name):
                    self._queue.add(key)
                else:
                    rest.append(key)
                if number % _BATCH == 0:
                    await asyncio.sleep(0)
        for key in rest:
            self._queue.add(key)
        self._is_queued = True

    def note(self) -> None:
        """A pass has ended: it may have been the last one."""
        if self._over.is_set() or not self._is_queued or self._queue.depth or self._queue.active:
            return
        self._over.set()
        log.info("all tenants reconciled after the start", **counts(self._resources))

    async def over(self) -> None:
        """Return when every object that existed at the start has been reconciled."""
        await self._over.wait()
