"""Every bad answer to every kind of request, once; and for 20 s to kopf, an informer, a write and the Lease.

Several control planes, each with an operator of its own, share the work: two operators of one cluster would have one
Lease and the same tenants. With `-s` it says how far it is.
"""

import asyncio
import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Final

import pytest

from sandbox import plane as sandbox_plane
from tests.cluster.conftest import NODE_RIGHTS
from tests.support.faults import ANSWERS, LIST_ANSWERS, WATCH_ANSWERS, Answer
from tests.support.sandbox import Admin, apply_manifests
from tests.support.stand import (
    DISCOVERY,
    KOPF_AND_TWO,
    LEASE,
    LEASES,
    LISTS,
    WATCHES,
    WRITES,
    Group,
    Stand,
    stand,
)

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(1500)]
PLANES: Final = 4
WHILE: Final = 20.0
Job = tuple[Group, Answer, float]


def _jobs() -> deque[Job]:
    """The long ones first, so that no plane is left with one in the end."""
    return deque(
        [
            *((KOPF_AND_TWO, answer, WHILE) for answer in ANSWERS.values()),
            *((LEASES, answer, WHILE) for answer in ANSWERS.values()),
            *((WATCHES, answer, 0.0) for answer in WATCH_ANSWERS.values()),
            *((LISTS, answer, 0.0) for answer in LIST_ANSWERS.values()),
            *((DISCOVERY, answer, 0.0) for answer in ANSWERS.values()),
            *((WRITES, answer, 0.0) for answer in ANSWERS.values()),
            *((LEASE, answer, 0.0) for answer in ANSWERS.values()),
        ]
    )


async def test_every_answer_to_every_request(tmp_path: Path) -> None:
    jobs, failed = _jobs(), list[str]()
    whole, started = len(jobs), time.monotonic()

    async def work(stood: Stand) -> None:
        while jobs:
            group, answer, seconds = jobs.popleft()
            try:
                await stood.suffers(group, answer, seconds)
            except AssertionError as error:
                failed.append(f"{group.name}, {answer.name}{f' for {seconds:.0f} s' if seconds else ''}: {error}")
                print(f"FAILED {failed[-1]}\n{stood.operator.tail(20)}", flush=True)
                stood.proxy.faults.clear()
                await stood.start()
            print(f"{whole - len(jobs)} of {whole}, {time.monotonic() - started:.0f} s", flush=True)

    async with contextlib.AsyncExitStack() as stack:
        stands = [await _stand(stack, tmp_path / f"plane-{number}") for number in range(PLANES)]
        await asyncio.gather(*map(work, stands))
    assert failed == []


async def _stand(stack: contextlib.AsyncExitStack, folder: Path) -> Stand:
    plane = await asyncio.to_thread(sandbox_plane.start, folder / "sandbox", report=print)
    stack.push_async_callback(asyncio.to_thread, plane.stop)
    admin = await stack.enter_async_context(Admin(plane))
    await apply_manifests(admin)
    await admin.apply(NODE_RIGHTS)
    return await stack.enter_async_context(stand(plane, admin, folder, "full"))
