"""What makes a namespace a tenant's, and that neither a race nor a forgery does: what a stranger made is never
recorded, marked, written to or deleted. Nor is one that is ours lost to a crash, or to a restored backup."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref
from securetenant.model.record import annotation
from tests.support import life, strangers
from tests.support.life import APPLIED, CREATING, CREATION, NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.strangers import Racer, Stage, each, remade, stranger, untouched
from tests.support.tenants import POLICIES, marks

pytestmark = pytest.mark.cluster
RACES: Final = 200
PER_TENANT: Final = 5


@pytest_asyncio.fixture
async def stage(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> AsyncIterator[Stage]:
    async with strangers.stage(plane, admin, tmp_path) as stage:
        yield stage


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
    # Not after the tenant: that they are deleted one after the other would keep later tests waiting.
    return [f"contest-{name}-{n}" for n in range(PER_TENANT)]


async def test_a_race_is_never_won_over_a_stranger(stage: Stage) -> None:
    """At the creation of most names, and at the re-creation of some that somebody deleted."""
    *far, last = [f"race-{n}" for n in range(RACES // PER_TENANT)]
    close, far = far[:4], far[4:]
    everyone = [*far, *close, last]
    await stage.start()
    await stage.create(last, *places(last), deletionPolicy="Delete")
    await life.ready(stage.admin, last)
    before = await stage.recorded(last)

    racer = Racer(stage.admin, close)
    stage.proxy.interpose = racer
    await each(places(last), lambda place: stage.admin.delete(f"{NAMESPACES}/{place}"))
    await each([*far, *close], lambda name: stage.create(name, *places(name), deletionPolicy="Delete"))

    async def is_settled() -> bool:
        await racer.over()
        assert racer.races >= RACES
        now = {
            item["metadata"]["name"]: item["metadata"]["uid"] for item in (await stage.admin.get(NAMESPACES))["items"]
        }
        for name in everyone:
            tenant = await life.get(stage.admin, name)
            lost = [place for place in places(name) if place in racer.made]
            told = life.condition(tenant, "NamespacesReady")
            assert told["reason"] == ("NotOwned" if lost else "Held"), told
            assert all(place in told["message"] for place in lost)
            # Of what it made itself, the UID is on record; of what is another's, what was on record before.
            uids = {entry["name"]: entry.get("uid", "") for entry in tenant["status"]["namespaces"]}
            known = before if name == last else {}
            assert uids == {place: known.get(place, "") if place in lost else now[place] for place in places(name)}
        return True

    await wait_for(is_settled, 60, "every race to be over")
    assert len(racer.made) >= RACES - len(close) * PER_TENANT
    assert not await ours(stage.admin) & racer.made.keys()
    stage.proxy.interpose = None

    # Neither does the next instance take them, nor do they go with the tenants.
    await stage.kill()
    await stage.start()
    for name in everyone:
        await life.settled(stage.running, name)
    assert not await ours(stage.admin) & racer.made.keys()
    await each(everyone, lambda name: stage.admin.delete(f"{TENANTS}/{name}"))
    await each([*far, last], lambda name: life.gone(stage.admin, f"{TENANTS}/{name}", 30))
    standing = {item["metadata"]["name"]: item for item in (await stage.admin.get(NAMESPACES))["items"]}
    assert all(untouched(made, standing[name]) for name, made in racer.made.items())


def forged(tenant: Json, name: str) -> Json:
    """All that can be made from what everybody may read: marks, and a record bound to the tenant's UID."""
    want, uid = Desired(Ref(NAMESPACE, "", name), "namespaces"), tenant["metadata"]["uid"]
    owner = tenant["metadata"]["name"]
    return {"labels": marks(owner, "namespaces"), "annotations": {APPLIED: annotation(want, owner, uid)}}


FORGERIES: Final = ("marks", "another's value", "its own value from before", "the digest")


async def test_a_forgery_does_not_pass_after_a_restart(stage: Stage) -> None:
    name = "forge"
    first, *others = [f"{name}-{n}" for n in range(1 + len(FORGERIES))]
    await stage.start()
    await stage.create(name, first, *others, deletionPolicy="Delete")
    tenant = await life.ready(stage.admin, name)
    held = {place: (await stage.admin.get(f"{NAMESPACES}/{place}"))["metadata"] for place in (first, *others)}
    await stage.kill()
    commitments = json.loads(tenant["metadata"]["annotations"][CREATING])
    made: dict[str, Json] = {}
    copies: dict[str, Json] = {}

    async def forge(place: str) -> None:
        kind = FORGERIES[others.index(place)]
        values = {
            "another's value": held[first]["annotations"][CREATION],
            "its own value from before": held[place]["annotations"][CREATION],
            "the digest": commitments[place]["digests"][0],
        }
        body = forged(tenant, place)
        body["annotations"] |= {CREATION: values[kind]} if kind in values else {}
        made[place] = await remade(stage.admin, place, **body)
        marked = {"name": "securetenant-dns", "labels": marks(name, "network")}
        policy = {"metadata": marked, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
        copies[place] = await stage.admin.create(POLICIES.format(place), policy)

    async def check() -> None:
        for place in others:
            assert untouched(made[place], await stage.admin.get(f"{NAMESPACES}/{place}"))
            (found,) = await life.children(stage.admin, place)
            assert untouched(copies[place], found[1])

    await each(others, forge)
    await stage.start()
    for place in others:
        await stage.refused(name, f"{place} carries this tenant's mark")
    await check()
    assert await stage.recorded(name) == {place: metadata["uid"] for place, metadata in held.items()}
    await stage.admin.delete(f"{TENANTS}/{name}")
    await life.gone(stage.admin, f"{TENANTS}/{name}", 30)
    await check()
    assert await stage.admin.find(f"{NAMESPACES}/{first}") is None


async def test_a_forgery_made_before_the_first_look_does_not_pass(stage: Stage) -> None:
    name = "forge-first"
    await stage.create(name, f"{name}-a")
    made = await stranger(stage.admin, f"{name}-a", **forged(await life.get(stage.admin, name), f"{name}-a"))
    assert made is not None
    await stage.start()
    await stage.refused(name)
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-a"))
    assert await stage.recorded(name) == {f"{name}-a": ""}


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
    kept = {key for key in found["labels"] if not key.startswith("pod-security.kubernetes.io/")}
    assert kept == {"kubernetes.io/metadata.name"}
    assert "annotations" not in found


async def test_one_created_before_a_crash_goes_with_the_tenant(stage: Stage) -> None:
    name = "crash-deleted"
    await created_and_killed(stage, name, deletionPolicy="Delete")
    await stage.admin.delete(f"{TENANTS}/{name}")
    await stage.start()
    await life.gone(stage.admin, f"{TENANTS}/{name}", 30)
    assert await stage.admin.find(f"{NAMESPACES}/{name}-a") is None


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
