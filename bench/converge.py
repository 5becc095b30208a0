"""From the first SecureTenant's creation to the last one's Ready: the operator, and a bare loop of the same writes.

Both are seen by one watch, from the process that creates the tenants, on a fresh control plane each.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bench.client import JSON_PATCH, MERGE_PATCH, Client, Event, Object, decode, watching
from bench.tenants import COLLECTION, MODEL, Template, is_ready, manifest, tenant_name

#: As the operator's defaults: tenants at a time.
WORKERS: Final = 16
_READY_SECONDS: Final = 60.0
#: Give up when this many seconds per tenant have passed.
_PER_TENANT_SECONDS: Final = 1.0


@dataclass(slots=True)
class Readiness:
    """Which of the awaited tenants have been seen Ready, and when the last was."""

    awaited: set[str]
    all_ready: asyncio.Event = field(default_factory=asyncio.Event)
    last: float = 0.0

    def see(self, event: Event) -> None:
        if event.object.metadata.name in self.awaited and is_ready(event.object):
            self.awaited.discard(event.object.metadata.name)
            self.last = time.perf_counter()
            if not self.awaited:
                self.all_ready.set()


async def converge(
    admin: Client,
    numbers: range,
    namespaces: int,
    created: Callable[[int, Object], None] = lambda number, tenant: None,
    pool: str = "",
) -> float:
    """Create the tenants, ``WORKERS`` at a time, and wait until all are Ready; the seconds from first to last.

    ``created`` hears of each one's creation; ``pool``: as in ``manifest``.
    """
    readiness = Readiness({tenant_name(number) for number in numbers})
    async with watching(admin, COLLECTION, readiness.see) as watch:
        begin = time.perf_counter()

        async def create(number: int) -> None:
            answer = await admin.send("POST", COLLECTION, manifest(number, namespaces, pool))
            created(number, decode(answer, type=Object))

        await spread(numbers, create)
        what = f"{len(numbers)} tenants to be Ready"
        await watch.until(readiness.all_ready.wait(), _READY_SECONDS + _PER_TENANT_SECONDS * len(numbers), what)
        return readiness.last - begin


async def converge_operator(admin: Client, tenants: int, namespaces: int) -> float:
    """The seconds that the running operator takes; it has made the model tenant before."""
    return await converge(admin, range(1, tenants + 1), namespaces)


async def converge_floor(
    admin: Client, writer: Client, template: Template, tenants: int, namespaces: int, pool: str = ""
) -> float:
    """The seconds that the bare loop takes, which has made the model tenant before."""
    async with _writers(writer, template) as queue:
        for numbers in (range(MODEL, MODEL + 1), range(1, tenants + 1)):
            seconds = await converge(admin, numbers, namespaces, lambda n, tenant: queue.put_nowait((n, tenant)), pool)
        return seconds


async def objects_only_floor(writer: Client, template: Template, tenants: int) -> float:
    """The seconds for the tenants' objects alone: no SecureTenant, no finalizer, no status."""
    await write_objects(writer, template, MODEL)
    begin = time.perf_counter()
    await spread(range(1, tenants + 1), lambda number: write_objects(writer, template, number))
    return time.perf_counter() - begin


async def write_objects(writer: Client, template: Template, number: int) -> None:
    """Namespaces, then what closes them, then all else."""
    for step in template.of(number):
        await asyncio.gather(*(writer.send("POST", write.path, write.body) for write in step))


async def spread(numbers: Iterable[int], work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """``WORKERS`` at a time, in order. The first error ends it."""
    rest = iter(numbers)

    async def worker() -> None:
        for number in rest:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(worker())


@asynccontextmanager
async def _writers(writer: Client, template: Template) -> AsyncIterator["asyncio.Queue[tuple[int, Object]]"]:
    """The bare loop: all that the operator writes for a tenant, in its order, for each tenant that the queue gets."""
    queue: asyncio.Queue[tuple[int, Object]] = asyncio.Queue()

    async def work() -> None:
        while True:
            number, tenant = await queue.get()
            path = f"{COLLECTION}/{tenant_name(number)}"
            patch = template.finalizer_patch(tenant.metadata.resource_version)
            await writer.send("PATCH", path, patch, MERGE_PATCH)
            await write_objects(writer, template, number)
            status = template.status_patch(number, tenant.metadata.uid)
            await writer.send("PATCH", f"{path}/status", status, JSON_PATCH)

    async with asyncio.TaskGroup() as group:  # one that fails ends the wait for what it would have written
        tasks = [group.create_task(work(), name=f"writer {number}") for number in range(WORKERS)]
        yield queue
        for task in tasks:
            task.cancel()
