"""What makes a namespace a tenant's, and that neither a race nor a forgery does: what a stranger made is never
recorded, marked, written to or deleted."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.api.objects import Desired, Ref
from securetenant.api.record import annotation
from tests.support import life
from tests.support.fault import Front, Seen, dead, free_lease, front, run_behind
from tests.support.life import APPLIED, CREATION, NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for
from tests.support.tenants import BINDINGS, marks

pytestmark = pytest.mark.cluster
CREATING: Final = "securetenant.dev/creating"
RACES: Final = 200
PER_TENANT: Final = 5


@dataclass
class Stage:
    """One operator at a time behind one proxy."""

    admin: Admin
    proxy: Front
    folder: Path
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    operator: Operator | None = None
    names: list[str] = field(default_factory=list)

    @property
    def running(self) -> Operator:
        assert self.operator is not None
        return self.operator

    async def start(self) -> Operator:
        env = {"SECURETENANT_LEASE_DURATION": "3"}
        self.operator = await self.stack.enter_async_context(run_behind(self.proxy, self.folder, env=env))
        return self.operator

    async def kill(self) -> None:
        if self.operator is not None and self.operator.running:
            self.operator.child.kill()
            await dead(self.operator)
        await free_lease(self.admin)

    async def create(self, name: str, *namespaces: str, **other: Any) -> None:
        self.names.append(name)
        await life.create(self.admin, name, {"namespaces": [{"name": n} for n in namespaces], **other})

    async def uid(self, namespace: str) -> str:
        return str((await self.admin.get(f"{NAMESPACES}/{namespace}"))["metadata"]["uid"])

    async def recorded(self, name: str) -> dict[str, str]:
        """The UIDs in a tenant's status."""
        entries = (await life.get(self.admin, name)).get("status", {}).get("namespaces", [])
        return {entry["name"]: entry.get("uid", "") for entry in entries}

    async def refused(self, name: str, word: str = "") -> None:
        """Wait until the tenant says that a namespace is not its own, and why."""

        async def is_refused() -> bool:
            told = life.condition(await life.get(self.admin, name), "NamespacesReady")
            return told.get("reason") == "NotOwned" and word in told["message"]

        await wait_for(is_refused, 30, f"{name} to be refused a namespace: {word}")


@pytest_asyncio.fixture
async def stage(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> AsyncIterator[Stage]:
    async with front(plane) as proxy:
        stage = Stage(admin, proxy, tmp_path)
        try:
            async with stage.stack:
                yield stage
        finally:
            await free_lease(admin)
            await life.remove(admin, *stage.names)


async def stranger(admin: Admin, name: str, **metadata: Any) -> Json | None:
    """A namespace that somebody else makes; None if it is there already."""
    status, answer = await admin.request("POST", NAMESPACES, {"metadata": {"name": name, **metadata}})
    assert status in (201, 409), answer
    return answer if status == 201 else None


async def remade(admin: Admin, name: str, **metadata: Any) -> Json:
    """A namespace is deleted, and somebody makes another of that name as soon as it is gone."""
    await admin.delete(f"{NAMESPACES}/{name}")
    await life.gone(admin, f"{NAMESPACES}/{name}")
    made = await stranger(admin, name, **metadata)
    assert made is not None
    return made


def untouched(made: Json, now: Json) -> bool:
    """Whether nobody but the API server wrote to it."""
    aside = ("resourceVersion", "managedFields")
    before, after = ({k: v for k, v in item["metadata"].items() if k not in aside} for item in (made, now))
    return before == after


@dataclass
class Racer:
    """Somebody who creates each namespace in the moment in which the operator does: first, or at the same time."""

    admin: Admin
    made: dict[str, Json] = field(default_factory=dict)
    races: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def __call__(self, seen: Seen) -> None:
        if (seen.method, seen.path) != ("POST", NAMESPACES):
            return
        name = json.loads(seen.body)["metadata"]["name"]
        if name in self.made:
            return
        self.races += 1
        task = asyncio.create_task(self._make(name))
        self._tasks.add(task)
        if self.races % 2:
            await task

    async def _make(self, name: str) -> None:
        if (answer := await stranger(self.admin, name)) is not None:
            self.made[name] = answer

    async def over(self) -> None:
        await asyncio.gather(*self._tasks)


async def ours(admin: Admin) -> set[str]:
    """The namespaces in which something carries our marks, or that do."""
    selector = {"labelSelector": "app.kubernetes.io/managed-by=securetenant"}
    found = {item["metadata"]["name"] for item in (await admin.get(NAMESPACES, params=selector))["items"]}
    for path in life.CHILDREN.values():
        everywhere = path.replace("/namespaces/{}", "")
        listed = (await admin.get(everywhere, params=selector))["items"]
        found |= {item["metadata"]["namespace"] for item in listed}
    return found


def places(name: str) -> list[str]:
    return [f"{name}-{n}" for n in range(PER_TENANT)]


async def each(names: Iterable[str], act: Callable[[str], Awaitable[Any]]) -> None:
    await asyncio.gather(*map(act, names))


async def test_a_race_is_never_won_over_a_stranger(stage: Stage) -> None:
    """Half of the races for a name are at its creation, half at its re-creation after somebody deleted it."""
    half = RACES // 2 // PER_TENANT
    new, old = [f"race-new-{n}" for n in range(half)], [f"race-old-{n}" for n in range(half)]
    await stage.start()
    await each(old, lambda name: stage.create(name, *places(name), deletionPolicy="Delete"))
    await each(old, lambda name: life.ready(stage.admin, name, 60))
    before = {name: await stage.recorded(name) for name in old}

    racer = Racer(stage.admin)
    stage.proxy.interpose = racer
    await each(new, lambda name: stage.create(name, *places(name), deletionPolicy="Delete"))
    await each([p for name in old for p in places(name)], lambda place: stage.admin.delete(f"{NAMESPACES}/{place}"))

    async def is_settled() -> bool:
        assert racer.races >= RACES
        await racer.over()
        for name in (*new, *old):
            tenant = await life.get(stage.admin, name)
            lost = [place for place in places(name) if place in racer.made]
            told = life.condition(tenant, "NamespacesReady")
            assert told["reason"] == ("NotOwned" if lost else "Held"), told
            assert all(place in told["message"] for place in lost)
            uids = {entry["name"]: entry.get("uid", "") for entry in tenant["status"]["namespaces"]}
            # Of what it made itself, the UID is on record; of what is another's, what was on record before.
            for place in places(name):
                assert uids[place] == (before.get(name, {}).get(place, "") if place in lost else await stage.uid(place))
        return True

    await wait_for(is_settled, 60, "every race to be over")
    assert len(racer.made) >= RACES // 2
    assert not await ours(stage.admin) & racer.made.keys()
    stage.proxy.interpose = None

    # Neither does the next instance take them, nor do they go with the tenants.
    await stage.kill()
    await stage.start()
    for name in (*new, *old):
        await life.settled(stage.running, name)
    assert not await ours(stage.admin) & racer.made.keys()
    await each((*new, *old), lambda name: stage.admin.delete(f"{TENANTS}/{name}"))
    await each((*new, *old), lambda name: life.gone(stage.admin, f"{TENANTS}/{name}", 60))
    standing = {item["metadata"]["name"]: item for item in (await stage.admin.get(NAMESPACES))["items"]}
    assert {n for n in standing if n.startswith("race-")} == racer.made.keys()
    assert all(untouched(made, standing[name]) for name, made in racer.made.items())


def forged(tenant: Json, name: str) -> Json:
    """All that can be made from what everybody may read: marks, and a record bound to the tenant's UID."""
    want, uid = Desired(Ref("Namespace", "", name), "namespaces"), tenant["metadata"]["uid"]
    owner = tenant["metadata"]["name"]
    return {"labels": marks(owner, "namespaces"), "annotations": {APPLIED: annotation(want, owner, uid)}}


@pytest.mark.parametrize("value", ["none", "another's", "its own from before", "the digest"])
async def test_a_forgery_does_not_pass_after_a_restart(stage: Stage, value: str) -> None:
    name = f"forge-{value.replace(' ', '-').replace(chr(39), '')}"
    await stage.start()
    await stage.create(name, f"{name}-a", f"{name}-b", deletionPolicy="Delete")
    tenant = await life.ready(stage.admin, name)
    held = {n: (await stage.admin.get(f"{NAMESPACES}/{name}-{n}"))["metadata"] for n in "ab"}
    await stage.kill()
    digest = json.loads(tenant["metadata"]["annotations"][CREATING])[f"{name}-b"]["digests"][0]
    values = {
        "another's": held["a"]["annotations"][CREATION],
        "its own from before": held["b"]["annotations"][CREATION],
        "the digest": digest,
    }
    body = forged(tenant, f"{name}-b")
    body["annotations"] |= {CREATION: values[value]} if value in values else {}
    made = await remade(stage.admin, f"{name}-b", **body)
    path = f"/apis/networking.k8s.io/v1/namespaces/{name}-b/networkpolicies"
    marked = {"name": "securetenant-dns", "labels": marks(name, "network")}
    copied = {"metadata": marked, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    policy = await stage.admin.create(path, copied)
    await stage.start()
    await stage.refused(name, "carries this tenant's mark")
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-b"))
    assert [item["metadata"]["uid"] for _, item in await life.children(stage.admin, f"{name}-b")] == [
        policy["metadata"]["uid"]
    ]
    assert (await stage.recorded(name))[f"{name}-b"] == held["b"]["uid"]
    await stage.admin.delete(f"{TENANTS}/{name}")
    await life.gone(stage.admin, f"{TENANTS}/{name}")
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-b"))
    assert untouched(policy, await stage.admin.get(f"{path}/securetenant-dns"))
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None


async def test_a_forgery_made_before_the_first_look_does_not_pass(stage: Stage) -> None:
    name = "forge-first"
    await stage.create(name, f"{name}-a")
    made = await stranger(stage.admin, f"{name}-a", **forged(await life.get(stage.admin, name), f"{name}-a"))
    assert made is not None
    await stage.start()
    await stage.refused(name)
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-a"))
    assert await stage.recorded(name) == {f"{name}-a": ""}


async def test_an_old_value_does_not_pass_for_a_name_that_was_given_up(stage: Stage) -> None:
    """It was read from the namespace while that was the tenant's; the name is taken out of the spec, and in again."""
    name = "forge-again"
    await stage.start()
    await stage.create(name, f"{name}-a", f"{name}-b")
    await life.ready(stage.admin, name)
    value = (await stage.admin.get(f"{NAMESPACES}/{name}-b"))["metadata"]["annotations"][CREATION]
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}]})
    await life.ready(stage.admin, name)
    assert await stage.recorded(name) == {f"{name}-a": await stage.uid(f"{name}-a")}
    made = await remade(stage.admin, f"{name}-b", annotations={CREATION: value})
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}, {"name": f"{name}-b"}]})
    await stage.refused(name)
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-b"))


async def test_a_commitment_stands_before_each_creation(stage: Stage) -> None:
    """With the finalizer for the first ones, in a request of its own for one that comes later."""
    name = "commit"
    await stage.start()
    mark = stage.proxy.mark()
    await stage.create(name, f"{name}-a", f"{name}-b")
    await life.ready(stage.admin, name)
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-{n}"} for n in "abc"]})
    await life.ready(stage.admin, name)
    uid = (await life.get(stage.admin, name))["metadata"]["uid"]
    commitments: dict[str, Any] = {}
    patches = 0
    for seen in stage.proxy.since(mark):
        if (seen.method, seen.path) == ("PATCH", f"{TENANTS}/{name}"):
            patches += 1
            commitments = json.loads(json.loads(seen.body)["metadata"]["annotations"][CREATING])
        if (seen.method, seen.path) == ("POST", NAMESPACES):
            made = json.loads(seen.body)["metadata"]
            text = json.dumps([uid, made["name"], made["annotations"][CREATION]], separators=(",", ":"))
            assert hashlib.sha256(text.encode()).hexdigest() in commitments[made["name"]]["digests"]
    assert patches == 2
    assert commitments.keys() == {f"{name}-c"}  # the others count no more


async def test_what_cannot_be_committed_to_is_not_created(stage: Stage) -> None:
    name = "commit-refused"
    await stage.start()
    await stage.create(name, f"{name}-a")
    await life.ready(stage.admin, name)
    stage.proxy.conflicts.add(f"{TENANTS}/{name}")
    mark = stage.proxy.mark()
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-{n}"} for n in "ab"]})
    await life.ready(stage.admin, name)
    writes = [
        (s.method, s.path) for s in stage.proxy.since(mark) if s.is_write and s.path != f"{TENANTS}/{name}/status"
    ]
    assert writes[:3] == [("PATCH", f"{TENANTS}/{name}")] * 2 + [("POST", NAMESPACES)]


async def created_and_killed(stage: Stage, name: str, **other: Any) -> None:
    """The operator dies when the namespace is there, and its UID on no record."""
    await stage.start()
    stage.proxy.arm(name, 2, "after", stage.running.pid)
    await stage.create(name, f"{name}-a", **other)
    await wait_for(lambda: stage.proxy.fired, 20, "the namespace to be created")
    stage.proxy.disarm()
    await stage.kill()
    assert CREATION in (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["annotations"]
    assert await stage.recorded(name) == {}


async def test_one_created_before_a_crash_is_the_tenants(stage: Stage) -> None:
    name = "crash-held"
    await created_and_killed(stage, name)
    uid = await stage.uid(f"{name}-a")
    await stage.start()
    await life.ready(stage.admin, name)
    assert await stage.recorded(name) == {f"{name}-a": uid}
    assert await life.drift(stage.running, name) == {}


async def test_one_created_before_a_crash_is_released(stage: Stage) -> None:
    """It is taken out of the spec before anybody looks again."""
    name = "crash-released"
    await created_and_killed(stage, name)
    await life.edit(stage.admin, name, {"namespaces": []})
    await stage.start()
    await life.ready(stage.admin, name)
    found = (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]
    assert found["labels"].keys() == {"kubernetes.io/metadata.name"}
    assert "annotations" not in found


async def test_one_created_before_a_crash_goes_with_the_tenant(stage: Stage) -> None:
    name = "crash-deleted"
    await created_and_killed(stage, name, deletionPolicy="Delete")
    await stage.admin.delete(f"{TENANTS}/{name}")
    await stage.start()
    await life.gone(stage.admin, f"{TENANTS}/{name}", 30)
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None


async def test_what_lands_in_a_strangers_namespace_is_taken_back(stage: Stage) -> None:
    """Between the look and the write of a RoleBinding, the namespace is deleted and made anew by others."""
    name = "stray"
    await stage.start()
    binding = {"role": "Developer", "subjects": [{"kind": "Group", "name": "dev"}]}
    await stage.create(name, f"{name}-a", access={"bindings": [binding]})
    await life.ready(stage.admin, name)
    collection = BINDINGS.format(f"{name}-a")
    made: list[Json] = []

    async def replace(seen: Seen) -> None:
        if (seen.method, seen.path) == ("POST", collection) and not made:
            made.append(await remade(stage.admin, f"{name}-a"))

    stage.proxy.interpose = replace
    mark = stage.proxy.mark()
    await stage.admin.delete(f"{collection}/securetenant-developer")
    await stage.refused(name, "another than the one that this tenant held")
    await life.gone(stage.admin, f"{collection}/securetenant-developer")
    assert ("DELETE", f"{collection}/securetenant-developer") in [
        (seen.method, seen.path) for seen in stage.proxy.since(mark)
    ], "it never got there"
    assert untouched(made[0], await stage.admin.get(f"{NAMESPACES}/{name}-a"))
    assert await life.children(stage.admin, f"{name}-a") == []


def again(item: Json) -> Json:
    """An object as a backup restores it: with its labels and annotations, and another UID."""
    kept = {k: v for k, v in item["metadata"].items() if k in ("name", "namespace", "labels", "annotations")}
    return {**{k: v for k, v in item.items() if k != "status"}, "metadata": kept}


async def test_a_restored_backup_is_adopted(stage: Stage) -> None:
    """As docs/operations.md says: SecureTenant, namespaces and contents come back with new UIDs, and no status."""
    name = "backup"
    await stage.start()
    stage.names.append(name)
    await life.create(stage.admin, name, life.spec(f"{name}-a", f"{name}-b"))
    tenant = await life.ready(stage.admin, name)
    before = await life.picture(stage.admin, places_of := [f"{name}-a", f"{name}-b"])
    kept = [await stage.admin.get(f"{NAMESPACES}/{place}") for place in places_of]
    contents = [found for place in places_of for found in await life.children(stage.admin, place)]
    await stage.kill()
    await life.remove(stage.admin, name)
    await each(places_of, lambda place: life.gone(stage.admin, f"{NAMESPACES}/{place}"))

    for item in kept:
        await stage.admin.create(NAMESPACES, again(item))
    # One that the spec does not ask for any more was in the backup, too.
    policies, dns = next(found for found in contents if found[1]["metadata"]["name"] == "securetenant-dns")
    older = again(dns)
    older["metadata"]["name"] = "securetenant-ingress-older"
    for path, item in (*((path, again(item)) for path, item in contents), (policies, older)):
        await stage.admin.create(path, item)
    await stage.admin.create(TENANTS, again(tenant))
    restored = await life.picture(stage.admin, places_of)

    await stage.start()
    await stage.refused(name, "restored from a backup")
    assert "adopt: true" in life.condition(await life.get(stage.admin, name), "NamespacesReady")["message"]
    assert await life.picture(stage.admin, places_of) == restored
    entries = [{"name": place, "labels": {"env": "test"}, "adopt": True} for place in places_of]
    await life.edit(stage.admin, name, {"namespaces": entries})
    await life.ready(stage.admin, name)
    assert await life.picture(stage.admin, places_of) == before
    assert await stage.recorded(name) == {place: await stage.uid(place) for place in places_of}
    assert await life.drift(stage.running, name) == {}
    # It is as any other now, `adopt` or not.
    await life.edit(stage.admin, name, {"namespaces": [{k: v for k, v in e.items() if k != "adopt"} for e in entries]})
    await life.ready(stage.admin, name)
    await stage.admin.delete(f"{policies}/securetenant-dns")
    await wait_for(lambda: stage.admin.find(f"{policies}/securetenant-dns"), 10, "the policy to be back")
    await life.ready(stage.admin, name)
    assert await life.drift(stage.running, name) == {("network", "Missing"): 1}
