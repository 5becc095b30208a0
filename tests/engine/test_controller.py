"""Keys of several kinds: each is reconciled by its own reconciler, and fails, waits and goes by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from securetenant.engine.controller import Controller
from securetenant.engine.resource import Again, Resource
from securetenant.engine.workqueue import Key
from securetenant.kube.config import ClientConfig
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.model.kinds import NETWORK_TEMPLATE, SECURE_TENANT, Kind
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics
from tests.support.kube import until
from tests.support.world import observed

CLASS = Kind("TenantClass", SECURE_TENANT.group, SECURE_TENANT.version, "tenantclasses", namespaced=False)


class Reconciler:
    """Notes what it is asked for; `does` may raise."""

    def __init__(self) -> None:
        self.passes: list[tuple[str, int]] = []
        self.said: list[tuple[str, str]] = []
        self.forgotten: list[str] = []
        self.does: Callable[[str], Again] = lambda name: Again()

    async def reconcile(self, name: str, since: float, failures: int) -> Again:
        self.passes.append((name, failures))
        return self.does(name)

    async def unjudged(self, name: str, cause: str) -> None:
        self.said.append((name, cause))

    def forget(self, name: str) -> None:
        self.forgotten.append(name)


class Stage:
    """A controller of two kinds, in each of which there is one object "a"."""

    def __init__(self) -> None:
        async def send(*_: Any) -> None: ...

        config = cast(ClientConfig, SimpleNamespace(certificates="", server=""))
        self.controller = Controller(
            Transport(config),
            Metrics((), ()),
            Events(send, identity="me", clock=lambda: 0.0),
            platform=Platform(),
            clock=lambda: 100.0,
        )
        self.tenants, self.classes = Reconciler(), Reconciler()
        self.names = {SECURE_TENANT: {"a"}, CLASS: {"a"}}
        self.relisted: list[str] = []
        self.controller._resources = {
            SECURE_TENANT: self._resource(SECURE_TENANT, self.tenants, "tenant"),
            CLASS: self._resource(CLASS, self.classes),
        }
        self.queue = self.controller.queue

    def _resource(self, kind: Kind, reconciler: Reconciler, noun: str = "") -> Resource:
        def observe(_event_type: str | None, body: Any) -> Iterable[Key]:
            # What a class says concerns the tenants of the same name too.
            return (Key(kind, body["metadata"]["name"]), Key(SECURE_TENANT, body["metadata"]["name"]))

        return Resource(
            kind,
            self.names[kind],
            reconciler,
            observe,
            relist=lambda: self.relisted.append(kind.name),
            noun=noun,
        )

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker of an active instance."""
        self.controller._leading = True
        worker = asyncio.create_task(self.controller._work(asyncio.Event()))
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def idle(self) -> None:
        await until(lambda: not self.queue.depth and not self.queue.active, "the queue to be empty")


@pytest.fixture
async def stage() -> Stage:
    return Stage()


def event(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": "7"}}


async def test_an_event_reaches_the_reconcilers_of_the_kinds_that_it_concerns(stage: Stage) -> None:
    async with stage.working():
        stage.controller.observe(SECURE_TENANT, "MODIFIED", event("a"))
        await stage.idle()
        assert (stage.tenants.passes, stage.classes.passes) == ([("a", 0)], [])
        stage.controller.observe(CLASS, "MODIFIED", event("a"))
        await stage.idle()
    assert (stage.tenants.passes, stage.classes.passes) == ([("a", 0), ("a", 0)], [("a", 0)])


async def test_failures_are_counted_for_each_kind_by_itself(stage: Stage) -> None:
    def fails(_name: str) -> Again:
        raise ApiError(500, "InternalError", "no")

    stage.classes.does = fails
    with capture_logs() as logs:
        async with stage.working():
            stage.controller.observe(CLASS, "MODIFIED", event("a"))
            await stage.idle()
    assert (stage.queue.failures(Key(CLASS, "a")), stage.queue.failures(Key(SECURE_TENANT, "a"))) == (1, 0)
    (line,) = [line for line in logs if line["event"] == "pass failed"]
    assert (line["kind"], line["name"], "tenant" in line) == ("TenantClass", "a", False)


async def test_passes_that_wait_for_nothing_let_everything_else_run(stage: Stage) -> None:
    """After a start with 5,000 tenants to whom nothing was done, the Lease was not renewed for 16 s, and lost."""
    turns: list[int] = []

    async def renews() -> None:
        while True:
            turns.append(len(stage.tenants.passes))
            await asyncio.sleep(0)

    stage.names[SECURE_TENANT] |= {f"tenant-{number}" for number in range(100)}
    for name in stage.names[SECURE_TENANT]:
        stage.queue.add(Key(SECURE_TENANT, name))
    other = asyncio.create_task(renews())
    async with stage.working():
        await stage.idle()
    other.cancel()
    assert len(set(turns)) > 90


async def test_a_tenant_is_called_one_in_the_log(stage: Stage) -> None:
    def fails(_name: str) -> Again:
        raise ApiError(500, "InternalError", "no")

    stage.tenants.does = fails
    with capture_logs() as logs:
        async with stage.working():
            stage.controller.observe(SECURE_TENANT, "MODIFIED", event("a"))
            await stage.idle()
    (line,) = [line for line in logs if line["event"] == "pass failed"]
    assert (line["tenant"], "kind" in line) == ("a", False)


async def test_a_defect_is_reported_by_the_reconciler_that_has_it(stage: Stage) -> None:
    def breaks(_name: str) -> Again:
        raise ZeroDivisionError

    stage.classes.does = breaks
    async with stage.working():
        stage.controller.observe(CLASS, "MODIFIED", event("a"))
        await stage.idle()
        await until(lambda: stage.classes.said, "the defect to be reported")
    cause = "a defect in the operator aborted the reconcile of this TenantClass (ZeroDivisionError: see its log)"
    assert (stage.classes.said, stage.tenants.said) == ([("a", cause)], [])


async def test_an_object_that_is_gone_is_forgotten_by_its_reconciler(stage: Stage) -> None:
    stage.names[CLASS].clear()
    stage.queue.failed(Key(CLASS, "a"))
    async with stage.working():
        stage.controller.observe(CLASS, "DELETED", event("a"))
        await stage.idle()
    assert (stage.classes.forgotten, stage.tenants.forgotten) == (["a"], [])
    assert stage.queue.failures(Key(CLASS, "a")) == 0


async def test_an_object_that_a_write_does_not_find_is_looked_for_in_its_kind(stage: Stage) -> None:
    def is_not_found(_name: str) -> Again:
        raise NotFound(404, "NotFound", "no")

    stage.classes.does = is_not_found
    stage.tenants.does = lambda name: Again(missing=True, retry=True)
    async with stage.working():
        stage.controller.observe(CLASS, "MODIFIED", event("a"))
        await stage.idle()
    assert stage.relisted == ["TenantClass", "SecureTenant"]


async def test_a_standby_queues_nothing(stage: Stage) -> None:
    stage.controller.observe(CLASS, "MODIFIED", event("a"))
    assert stage.queue.depth == 0


async def test_an_edit_that_came_with_the_answer_to_our_write_is_noticed(stage: Stage) -> None:
    """The status of a template is written while others edit it: the answer has the edit, and its event is no news."""
    controller = stage.controller
    controller._leading = True
    controller._concerned = lambda new, old: [Key(SECURE_TENANT, "a")]
    cache = controller._informers.caches[NETWORK_TEMPLATE]

    def answer(version: str, spec: Any, tenants: int) -> Observed:
        made = observed(NETWORK_TEMPLATE, "web", spec=spec, status={"tenants": tenants})
        return msgspec.structs.replace(made, resource_version=version)

    cache.store(answer("5", {"ingress": []}, 0))
    cache.store(answer("6", {"ingress": []}, 1))
    assert stage.queue.depth == 0, "a status that we write concerns nobody"
    cache.store(answer("8", {"ingress": [{"name": "a"}]}, 2))
    assert stage.queue.depth == 1


async def test_the_first_answers_of_the_probe_queue_nothing_before_the_suspects() -> None:
    """What others opened while no operator ran is closed before the other tenants are reconciled."""
    stage = Stage()
    controller = stage.controller
    controller._leading = True
    reconciling = asyncio.create_task(controller._reconcile_all())
    await asyncio.sleep(0)
    controller._on_probed()
    assert stage.queue.depth == 0
    controller._prober._first.set()
    await reconciling
    controller._on_probed()
    assert stage.queue.depth == len(stage.names)
