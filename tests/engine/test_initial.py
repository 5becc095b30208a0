"""The first pass over every object: the suspects of every kind first, and over when nobody waits any more."""

import asyncio

from structlog.testing import capture_logs

from securetenant.engine.initial import InitialReconcile
from securetenant.engine.resource import Resource, keys
from securetenant.engine.workqueue import Key, WorkQueue
from securetenant.model.kinds import LIMIT_RANGE, SECURE_TENANT, Kind
from tests.engine.test_controller import Reconciler


def resource(kind: Kind, names: list[str], suspects: set[str], noun: str = "") -> Resource:
    return Resource(kind, names, Reconciler(), lambda *_: (), lambda: None, suspects.__contains__, noun)


async def test_the_suspects_come_first_and_the_end_is_told_once() -> None:
    queue = WorkQueue(lambda: 0.0)
    tenants = resource(SECURE_TENANT, ["a", "b", "c"], {"b"}, "tenant")
    initial = InitialReconcile([tenants, resource(LIMIT_RANGE, ["x", "y"], {"y"})], queue)
    initial.note()
    await initial.queue_all()
    over, order = asyncio.create_task(initial.over()), list[Key]()
    with capture_logs() as logs:
        while queue.depth:
            order.append((await queue.get()).key)
            initial.note()
            await asyncio.sleep(0)
            assert (over.done(), logs) == (False, [])
            queue.done(order[-1])
        initial.note()
        initial.note()
    await asyncio.wait_for(over, 1)
    suspects, rest = [("b", SECURE_TENANT), ("y", LIMIT_RANGE)], keys(SECURE_TENANT, ["a", "c"])
    assert order == [*(Key(kind, name) for name, kind in suspects), *rest, Key(LIMIT_RANGE, "x")]
    assert [line["event"] for line in logs] == ["all tenants reconciled after the start"]
    assert logs[0]["tenants"] == 3


async def test_one_that_went_meanwhile_is_not_looked_at() -> None:
    queue, names = WorkQueue(lambda: 0.0), ["a", "b"]

    def is_suspect(_name: str) -> bool:
        if "b" in names:
            names.remove("b")
        return False

    initial = InitialReconcile(
        [Resource(SECURE_TENANT, names, Reconciler(), lambda *_: (), lambda: None, is_suspect)], queue
    )
    await initial.queue_all()
    assert queue.depth == 1
