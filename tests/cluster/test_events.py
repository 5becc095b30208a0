"""Kubernetes Events of what was found and undone: in the namespace default, one object for repeats, and who did it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import Front, front, run_behind
from tests.support.life import Json
from tests.support.sandbox import JSON_PATCH, Admin, Operator, Plane, wait_for

pytestmark = pytest.mark.cluster

EVENTS = "/api/v1/namespaces/default/events"
POLICY = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies/securetenant-default-deny"


@dataclass
class Stage:
    admin: Admin
    proxy: Front
    operator: Operator
    uids: dict[str, str] = field(default_factory=dict)

    async def create(self, name: str, **spec: Any) -> None:
        created = await life.create(self.admin, name, life.spec(f"{name}-a", **spec))
        self.uids[name] = created["metadata"]["uid"]

    async def events(self, name: str, reason: str) -> list[Json]:
        """The Events about a tenant with that reason."""
        # By UID: Events outlive what they are about by an hour.
        selector = f"involvedObject.kind=SecureTenant,involvedObject.uid={self.uids[name]},reason={reason}"
        listed = await self.admin.get(EVENTS, params={"fieldSelector": selector})
        return list(listed["items"])

    async def event(self, name: str, reason: str) -> Json:
        """Wait for the one Event of that reason."""
        (found,) = await wait_for(lambda: self.events(name, reason), 10, f"Event {reason} about {name}")
        assert isinstance(found, dict)
        return found


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    uids: dict[str, str] = {}
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path_factory.mktemp("events")) as operator:
            yield Stage(admin, proxy, operator, uids)
    finally:
        await life.remove(admin, *uids)


async def widen(admin: Admin, name: str) -> None:
    """Open the closing policy as somebody called mallory."""
    add = [{"op": "add", "path": "/spec/ingress", "value": [{}]}]
    await admin.patch(POLICY.format(name), add, JSON_PATCH, params={"fieldManager": "mallory"})


async def test_found_and_undone(stage: Stage) -> None:
    name = "told-healed"
    await stage.create(name)
    tenant = await life.ready(stage.admin, name)
    assert await stage.events(name, "DriftDetected") == []
    await widen(stage.admin, name)
    found = await stage.event(name, "DriftDetected")
    undone = await stage.event(name, "DriftCorrected")
    assert (found["type"], undone["type"]) == ("Warning", "Normal")
    for event in (found, undone):
        assert event["metadata"]["namespace"] == "default"
        assert event["involvedObject"]["uid"] == tenant["metadata"]["uid"]
        assert event["source"]["component"] == "securetenant"
        assert event["count"] == 1
        assert f"NetworkPolicy/{name}-a/securetenant-default-deny" in event["message"]
        assert "mallory" in event["message"]
        assert "spec.ingress" in event["message"]
        assert event["metadata"]["labels"]["securetenant.dev/control"] == "network"


async def test_repeats_are_one_event(stage: Stage) -> None:
    """The same again within a minute adds no object and no request; the count follows later, in one write."""
    name = "told-again"
    await stage.create(name)
    await life.ready(stage.admin, name)
    await widen(stage.admin, name)
    first = await stage.event(name, "DriftDetected")
    await stage.event(name, "DriftCorrected")

    def posted() -> int:
        """The proxy notes a request with its answer, when the Event is there already."""
        about = f"NetworkPolicy/{name}-a/"
        return sum(one.method == "POST" and EVENTS in one.path and about in one.body for one in stage.proxy.seen)

    await wait_for(lambda: posted() >= 2, 10, "the answers to both Events")
    mark = stage.proxy.mark()
    for number in (2, 3, 4):
        await widen(stage.admin, name)
        await wait_for(partial(counted, stage, name, number), 10, f"correction {number}")
    events = [seen for seen in stage.proxy.seen[mark:] if EVENTS in seen.path]
    # Two that come at once are told as Contested, once, rightly: the second waits for a moment.
    assert [(seen.method, seen.body) for seen in events if '"reason":"Contested"' not in seen.body] == []
    assert len(events) <= 1
    (again,) = await stage.events(name, "DriftDetected")
    assert again["metadata"]["uid"] == first["metadata"]["uid"]


async def counted(stage: Stage, name: str, number: int) -> bool:
    return await stage.operator.metric("securetenant_drift_corrected_total", tenant=name) == number


async def test_a_standing_deviation_is_told_once(stage: Stage) -> None:
    """What is only reported (a foreign policy) is told when it is found, and not again with each pass."""
    name = "told-foreign"
    await stage.create(name)
    await life.ready(stage.admin, name)
    path = POLICY.format(name).rpartition("/")[0]
    await stage.admin.create(path, {"metadata": {"name": "theirs"}, "spec": {"podSelector": {}, "ingress": [{}]}})
    found = await stage.event(name, "DriftDetected")
    assert "Foreign" in found["message"]
    assert "everywhere" in found["message"]
    await stage.admin.delete(POLICY.format(name))  # a pass for another reason
    await wait_for(lambda: counted(stage, name, 1), 10, "that to be undone")
    assert await life.drift(stage.operator, name) == {("network", "Foreign"): 1, ("network", "Missing"): 1}
    told = [event for event in await stage.events(name, "DriftDetected") if "Foreign" in event["message"]]
    assert [event["count"] for event in told] == [1]
    assert await stage.events(name, "DriftCorrected")


async def test_a_tenant_that_cannot_be_ready_says_why(stage: Stage) -> None:
    name = "told-refused"
    await stage.admin.create("/api/v1/namespaces", {"metadata": {"name": f"{name}-a"}})
    await stage.create(name)
    event = await stage.event(name, "Blocked")
    assert event["type"] == "Warning"
    assert "adopt: true" in event["message"]


async def test_no_tenant_can_flood(stage: Stage) -> None:
    """Many deviations at once make no more writes than the tenant's bucket holds; the metric counts them all."""
    name, many = "events-flood", 40
    await stage.create(name)
    await life.ready(stage.admin, name)
    mark = stage.proxy.mark()
    path = POLICY.format(name).rpartition("/")[0]
    for number in range(many):
        await stage.admin.create(path, {"metadata": {"name": f"theirs-{number}"}, "spec": {"podSelector": {}}})

    async def all_counted() -> bool:
        return (await life.drift(stage.operator, name)).get(("network", "Foreign")) == many

    await wait_for(all_counted, 15, "all to be counted")
    # Told in order: when this one is, all that came before it and may be written has been.
    await stage.create("told-last")
    await life.ready(stage.admin, "told-last")
    await widen(stage.admin, "told-last")
    await stage.event("told-last", "DriftCorrected")
    written = [seen for seen in stage.proxy.seen[mark:] if EVENTS in seen.path and seen.concerns(f"{name}-a")]
    assert 20 <= len(written) <= 26
    assert (await life.get(stage.admin, name))["status"]["drift"]["total"] == many
