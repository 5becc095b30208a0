"""While a whitelist changes, nothing connects that is not agreed: connections are tried all the time, before, during
and after each change."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import life, tenants
from tests.support.cni.values import Call
from tests.support.life import Json
from tests.support.packets import calls, judges, watch
from tests.support.packets.calls import Attempt
from tests.support.packets.rig import Rig
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.tenants import BINDINGS, POLICIES, Stage, Tenant

pytestmark = [pytest.mark.full, pytest.mark.packets]
EDGE: Final = "pk-edge"  # of nobody: a tenant admits it without another's declaration
OLD, NEW, NEVER = Call("TCP", 8443), Call("TCP", 9443), Call("TCP", 7000)
CALLS: Final = (OLD, NEW, NEVER, Call("UDP", 8443))
SOON: Final = 3.0  # seconds within which a change is in force


@dataclass
class Scene:
    stage: Stage
    rig: Rig
    ours: Tenant
    theirs: Tenant

    def tried(self, source: str, target: str, call: Call) -> Attempt:
        return Attempt(self.rig.places[source], self.rig.places[target], call)

    def never(self) -> list[Attempt]:
        """What nobody ever agrees to."""
        pairs = (("pk-q-1/server", "pk-p-1/client"), ("pk-edge/stranger", "pk-p-1/client"))
        return [
            *(self.tried("pk-p-1/client", "pk-q-1/server", call) for call in (NEVER, Call("UDP", 8443))),
            *(self.tried(source, target, OLD) for source, target in pairs),
            *(self.tried("pk-p-1/other", "pk-q-1/server", call) for call in (OLD, NEW)),
        ]


@pytest_asyncio.fixture(scope="module")
async def scene(
    plane: Plane, admin: Admin, manifests: None, rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """Two tenants that agree on nothing yet, and a namespace of nobody."""
    before = set(rig.places)
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("changes")) as stage:
        await stage.namespace(EDGE)
        ours = await stage.tenant("pk-p", {"namespaces": [{"name": "pk-p-1"}], "network": {"dns": False}})
        theirs = await stage.tenant("pk-q", {"namespaces": [{"name": "pk-q-1"}], "network": {"dns": False}})
        for namespace, name in (("pk-p-1", "client"), ("pk-p-1", "other"), ("pk-q-1", "server")):
            await rig.pod(namespace, name, {"app": name}, CALLS)
        for name in ("a", "b", "stranger"):
            await rig.pod(EDGE, name, {"app": name}, CALLS)
        yield Scene(stage, rig, ours, theirs)
        rig.remove([place for name, place in rig.places.items() if name not in before])
    for namespace in ("pk-p-1", "pk-q-1", EDGE):
        await life.gone(admin, f"/api/v1/namespaces/{namespace}", 60)


def selected(app: str) -> dict[str, Any]:
    return {"pods": {"matchLabels": {"app": app}}}


def ports(*listed: Call) -> list[dict[str, Any]]:
    return [{"protocol": call.protocol, "port": call.port} for call in listed]


def out(*listed: Call) -> dict[str, Any]:
    to = [{"tenant": "pk-q", **selected("server")}]
    return {"egress": [{"name": "out", "from": selected("client"), "to": to, "ports": ports(*listed)}]}


def into(*listed: Call, **more: Any) -> dict[str, Any]:
    from_ = [{"tenant": "pk-p", **selected("client")}]
    return {"ingress": [{"name": "in", "to": selected("server"), "from": from_, "ports": ports(*listed), **more}]}


def edge(app: str, *listed: Call, name: str = "edge") -> dict[str, Any]:
    """Only the platform's pods with that label."""
    from_ = [{"namespace": EDGE, **selected(app)}]
    return {"ingress": [{"name": name, "to": selected("server"), "from": from_, "ports": ports(*listed)}]}


async def test_a_rule_opens_once_both_agree_and_closes_once_one_does_not(scene: Scene) -> None:
    old, new = (scene.tried("pk-p-1/client", "pk-q-1/server", call) for call in (OLD, NEW))
    async with watch.watch([old, new, *scene.never(), scene.rig.control]) as watched:
        await scene.ours.edit({"network": out(OLD, NEW)})
        await watched.closes(old)
        before = time.monotonic()
        await scene.theirs.edit({"network": into(OLD, NEW)})
        await watched.opens(old)
        await watched.opens(new)

        # Narrowed by one side: what is left stays open.
        narrowed = time.monotonic()
        await scene.theirs.edit({"network": into(NEW)})
        last = await watched.closes(old)
        await watched.opens(new)
        await scene.ours.edit({"network": {"egress": []}})
        await watched.closes(new)
    assert not [one for one in watched.connected(old, new) if one.ended < before], "open before both agreed"
    assert last - narrowed < SOON
    assert not watched.connected(*scene.never())
    assert all(one.connected for one in watched.of(scene.rig.control)), "the enforcer did not work all the time"
    await scene.theirs.edit({"network": {"ingress": []}})


@pytest.mark.parametrize("names", [("edge", "edge"), ("from-a", "from-b")], ids=["the same rule", "another rule"])
async def test_a_change_closes_before_it_opens(scene: Scene, admin: Admin, names: tuple[str, str]) -> None:
    """One edit takes a port and a peer away and gives others: at no moment are both open, neither to packets nor by
    any state of the policies that there was."""
    a, b = (scene.tried(f"{EDGE}/{name}", "pk-q-1/server", call) for name, call in (("a", OLD), ("b", NEW)))
    mixed = [scene.tried(f"{EDGE}/{name}", "pk-q-1/server", call) for name, call in (("a", NEW), ("b", OLD))]
    first, second = edge("a", OLD, name=names[0]), edge("b", NEW, name=names[1])
    await scene.theirs.edit({"network": first})
    async with judges.recording(admin, "pk-q-1") as states, watch.watch([a, b, *mixed, *scene.never()]) as watched:
        await watched.opens(a)
        for gone, come, network in ((a, b, second), (b, a, first), (a, b, second), (b, a, first)):
            begin = time.monotonic()
            await scene.theirs.edit({"network": network})
            await watched.opens(come)
            await watched.closes(gone)
            opened = min(one.ended for one in watched.connected(come, since=begin))
            assert not watched.connected(gone, since=opened), f"{gone} was still open when {come} was"
    assert not watched.connected(*mixed, *scene.never())
    opened_at = [judges.Evaluator(state).open([a, b, *mixed, *scene.never()]) for state in states]
    assert all(len(found) <= 1 for found in opened_at), [sorted(map(str, found)) for found in opened_at]
    assert {a} in opened_at
    assert {b} in opened_at
    await scene.theirs.edit({"network": {"ingress": []}})


async def test_a_rule_closes_at_its_end(scene: Scene) -> None:
    flow = scene.tried("pk-p-1/client", "pk-q-1/server", OLD)
    await scene.ours.edit({"network": out(OLD)})
    async with watch.watch([flow, *scene.never(), scene.rig.control]) as watched:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
        ending = time.monotonic() + (expires - datetime.now(UTC)).total_seconds()
        end = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        await scene.theirs.edit({"network": into(OLD, expires=end)})
        await watched.opens(flow)
        assert time.monotonic() < ending, "the machine was too slow for this test"
        await wait_for(lambda: time.monotonic() > ending, 10, "the end of the rule")
        last = await watched.closes(flow)
    assert ending - 1 < last < ending + SOON
    assert not watched.connected(*scene.never())
    assert all(one.connected for one in watched.of(scene.rig.control)), "the enforcer did not work all the time"
    for tenant, direction in ((scene.ours, "egress"), (scene.theirs, "ingress")):
        await tenant.edit({"network": {direction: []}})


async def test_a_new_namespace_is_closed_before_its_first_pod(scene: Scene, plane: Plane, admin: Admin) -> None:
    """A developer of the tenant asks for a pod without pause from the start, and what runs is tried from elsewhere.

    An address is nobody's to the enforcer until it knows the pod. It reads pods in the order of their changes: once it
    blocks the sentinel, whose pod came later, it knows this one.
    """
    rig = scene.rig
    blocked = {"podSelector": {}, "policyTypes": ["Ingress"]}
    sentinels = (await scene.stage.namespace("pk-sentinel"))["metadata"]["name"]
    await admin.create(POLICIES.format(sentinels), {"metadata": {"name": "deny"}, "spec": blocked})
    stranger = rig.places[f"{EDGE}/stranger"]
    for number in range(3):
        name = f"pk-new{number}"
        first = rig.place(f"{name}-1/first", {"app": "first"}, CALLS)
        sentinel = rig.place(f"{sentinels}/{number}", {}, CALLS)
        access = {"bindings": [{"role": "Developer", "subjects": [{"kind": "Group", "name": name}]}]}
        spec = {"namespaces": [{"name": f"{name}-1"}], "access": access, "network": {"dns": False}}
        async with Admin(plane, user="dev", groups=[name]) as developer:
            await scene.stage.create(name, spec)
            created = await rig.run(first, by=developer)
        deny = await admin.get(f"{POLICIES.format(f'{name}-1')}/securetenant-default-deny")
        bindings = (await admin.get(BINDINGS.format(f"{name}-1")))["items"]
        assert _written(deny) < min(map(_written, bindings)), "he had his rights before the policy that closes"
        assert _written(deny) < _written(created), "the pod was there before the policy that closes"
        tried = [Attempt(stranger, first, OLD), Attempt(first, stranger, OLD)]
        known = Attempt(stranger, sentinel, OLD)
        async with watch.watch([*tried, known, rig.control]) as watched:
            await rig.run(sentinel)
            since = await watched.closes(known)
            await life.ready(admin, name)
            await watched.closes(tried[0])
        assert not watched.connected(*tried, since=since + calls.BLOCKED)
        assert all(one.connected for one in watched.of(rig.control)), "the enforcer did not work all the time"


def _written(item: Json) -> int:
    """One number for all objects: of two, the later written has the higher."""
    return int(item["metadata"]["resourceVersion"])


async def test_packets_show_what_is_open(scene: Scene, admin: Admin) -> None:
    """With the operator gone and its policies deleted, what was never agreed connects: the other tests can fail."""
    await scene.stage.operator.stop()
    listed = [one for one in scene.never() if one.target.end.namespace == "pk-q-1"]
    assert not await calls.passing(listed)
    for namespace in ("pk-p-1", "pk-q-1"):
        await admin.delete(POLICIES.format(namespace))
    await wait_for(lambda: _pass(listed), 10, "what nobody closes to connect")


async def _pass(listed: list[Attempt]) -> bool:
    return await calls.passing(listed) == set(listed)
