"""Informers on a real API server, through a proxy that fails."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from securetenant.kube.informer import Event, Informer, decode
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LIMIT_RANGE, NAMESPACE
from securetenant.model.objects import Json, Ref
from tests.support.kube import running, transport_to, until
from tests.support.proxy import Proxy
from tests.support.sandbox import Plane

pytestmark = pytest.mark.cluster

_number = itertools.count()


@dataclass
class Stage:
    """A namespace of the test's own, a transport past the proxy, and one through it."""

    namespace: str
    direct: Transport
    proxied: Transport
    proxy: Proxy
    requests: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    async def create(self, name: str, **labels: str) -> bytes:
        body: Json = {"metadata": {"name": name, "labels": dict(labels)}, "spec": {"limits": []}}
        return await self.direct.create(LIMIT_RANGE, self.namespace, body)

    async def label(self, name: str, value: str) -> bytes:
        return await self.direct.merge_patch(LIMIT_RANGE, self.ref(name), {"metadata": {"labels": {"v": value}}})

    async def delete(self, name: str) -> None:
        await self.direct.delete(LIMIT_RANGE, self.ref(name))

    def ref(self, name: str) -> Ref:
        return Ref(LIMIT_RANGE, self.namespace, name)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.type, event.object.ref.name) for event in self.events]

    def informer(self, *, read_deadline: float = 90.0, page_size: int = 500, label_selector: str = "") -> Informer:
        return Informer(
            self.proxied,
            LIMIT_RANGE,
            namespace=self.namespace,
            on_event=self.events.append,
            read_deadline=read_deadline,
            page_size=page_size,
            label_selector=label_selector,
            backoff=(0.05, 0.5),
        )

    def count(self, verb: str) -> int:
        return sum(1 for each, _code in self.requests if each == verb)


@pytest_asyncio.fixture
async def stage(plane: Plane) -> AsyncIterator[Stage]:
    requests: list[tuple[str, str]] = []
    namespace = f"informer-{next(_number)}"
    async with (
        Proxy(plane.url) as proxy,
        transport_to(plane.kubeconfig) as direct,
        transport_to(
            plane.kubeconfig,
            server=proxy.url,
            on_request=lambda verb, _kind, code, _seconds: requests.append((verb, code)),
        ) as proxied,
    ):
        await direct.create(NAMESPACE, "", {"metadata": {"name": namespace}})
        yield Stage(namespace, direct, proxied, proxy, requests)
        await direct.delete(NAMESPACE, Ref(NAMESPACE, "", namespace))


async def test_list_by_pages_then_watch(stage: Stage) -> None:
    for index in range(7):
        await stage.create(f"l{index}")
    informer = stage.informer(page_size=3)
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        assert sorted(name for _type, name in stage.told) == [f"l{index}" for index in range(7)]
        assert stage.count("list") == 3
        await stage.label("l0", "x")
        await stage.delete("l1")
        await stage.create("new")
        await until(lambda: len(stage.told) == 10, "three events")
    assert stage.told[7:] == [("MODIFIED", "l0"), ("DELETED", "l1"), ("ADDED", "new")]
    assert {each.ref.name for each in informer.objects()} == {"new", *(f"l{index}" for index in (0, 2, 3, 4, 5, 6))}
    assert stage.count("list") == 3
    assert stage.count("watch") == 1


async def test_selector(stage: Stage) -> None:
    await stage.create("in", v="1")
    await stage.create("out", v="2")
    informer = stage.informer(label_selector="v=1")
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        await stage.label("in", "2")
        await stage.label("out", "1")
        await until(lambda: len(stage.told) == 3, "what left and what came")
    assert stage.told == [("ADDED", "in"), ("DELETED", "in"), ("ADDED", "out")]


async def test_own_writes_are_read_at_once_and_not_told(stage: Stage) -> None:
    informer = stage.informer()
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        stage.proxy.delay = 0.2  # the watch is slow: our answers come first
        informer.store(decode(LIMIT_RANGE, await stage.create("ours")))
        informer.store(decode(LIMIT_RANGE, await stage.label("ours", "1")))
        ours = informer.get(stage.ref("ours"))
        assert ours is not None
        assert ours.labels == {"v": "1"}
        await stage.label("ours", "foreign")
        await until(lambda: stage.told, "the foreign change")
        await stage.delete("ours")
        await until(lambda: len(stage.told) == 2, "the deletion")
    assert stage.told == [("MODIFIED", "ours"), ("DELETED", "ours")]
    assert stage.events[0].old is ours


async def test_silent_connection_is_noticed_and_nothing_is_lost(stage: Stage) -> None:
    informer = stage.informer(read_deadline=1.0)
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        stage.proxy.hang()
        await stage.create("meanwhile")
        await until(lambda: "Timeout" in informer.failure, "the silence is noticed", 2.5)
        assert stage.told == []
        stage.proxy.resume()
        await until(lambda: stage.told, "the event that happened meanwhile")
        await until(lambda: not informer.failure, "it is well again")
    assert stage.told == [("ADDED", "meanwhile")]
    assert informer.relists == 0


async def test_cut_connections(stage: Stage) -> None:
    informer = stage.informer()
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        for index in range(3):
            stage.proxy.cut(refuse=True)
            await stage.create(f"during-{index}")
            await until(lambda: informer.failure, "the cut is noticed")
            stage.proxy.resume()
            await until(lambda index=index: len(informer) == index + 1, "what happened meanwhile")  # type: ignore[misc]
    assert [name for _type, name in stage.told] == ["during-0", "during-1", "during-2"]
    assert informer.relists == 0


async def test_not_synced_while_the_server_is_away(stage: Stage) -> None:
    stage.proxy.cut(refuse=True)
    informer = stage.informer()
    async with running(informer):
        await until(lambda: informer.failure, "the failure is said")
        assert not informer.synced.is_set()
        stage.proxy.resume()
        await until(informer.synced.is_set, "synced")


async def test_restarted_api_server_and_deletions_meanwhile(stage: Stage, plane: Plane) -> None:
    """The new server's watch cache does not reach back: 410, a list, and what vanished is told."""
    if not plane.owned:
        pytest.skip("stops the API server")
    for name in ("stays", "goes", "changes"):
        await stage.create(name)
    informer = stage.informer(read_deadline=2.0)
    async with running(informer):
        await until(informer.synced.is_set, "synced")
        before = {each.ref.name: each for each in informer.objects()}
        stage.proxy.hang()
        await stage.delete("goes")
        await stage.label("changes", "1")
        await stage.create("comes")
        await asyncio.to_thread(plane.stop_apiserver)
        await asyncio.to_thread(plane.start_apiserver)
        await stage.label("changes", "2")  # so that the new cache's first version is past ours
        stage.proxy.cut()
        stage.proxy.resume()
        await until(lambda: informer.get(stage.ref("goes")) is None, "the deletion", 30)
        await until(lambda: not informer.failure, "it is well again")
        await stage.create("after")
        await until(lambda: ("ADDED", "after") in stage.told, "an event")
    assert ("DELETED", "goes") in stage.told[3:]
    assert ("ADDED", "comes") in stage.told[3:]
    assert ("MODIFIED", "changes") in stage.told[3:]
    assert "stays" not in [name for _type, name in stage.told[3:]]
    assert informer.get(stage.ref("stays")) is before["stays"]


async def test_cancelled_run_leaves_nothing_open(stage: Stage) -> None:
    informer = stage.informer()
    task = asyncio.create_task(informer.run())
    await until(informer.synced.is_set, "synced")
    await until(lambda: stage.count("watch"), "the watch")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await stage.create("unheard")
    await stage.proxied.get(LIMIT_RANGE, stage.ref("unheard"))
    assert stage.told == []
