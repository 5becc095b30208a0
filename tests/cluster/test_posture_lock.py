"""The lock on what the operator makes in tenants' namespaces, under attack by somebody who may do everything but break
the glass."""

from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.controls.admission.lock import CONTROLLERS
from securetenant.controls.admission.posture import COUNTERS
from tests.support import life
from tests.support.life import MARKS, NAMESPACES, Json
from tests.support.locked import BREAK_GLASS, MASTERS
from tests.support.posture import (
    COLLECTIONS,
    FOREIGN,
    METADATA,
    OBJECTS,
    OPENED,
    PLAIN,
    STATUS_WAYS,
    TAKEN,
    WAYS,
    is_refused,
    merge,
)
from tests.support.sandbox import APPLY, Admin, Plane
from tests.support.tenants import BINDINGS, POLICIES, QUOTAS, Stage, Tenant

pytestmark = pytest.mark.cluster

SPACE: Final = "posture-shop-a"
DRY: Final = {"dryRun": "All"}
OURS: Final = {"app.kubernetes.io/managed-by": "securetenant", "securetenant.dev/tenant": "posture-shop"}


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant whose objects nobody gets at. It says nothing of others' objects, so they are reported."""
    return await stage.tenant("posture-shop", life.spec(SPACE))


@pytest_asyncio.fixture(scope="module")
async def strict(stage: Stage) -> str:
    """The namespace of one that has others' objects removed."""
    spec = life.spec("posture-strict-a", access={"foreign": "Remove"})
    await stage.tenant("posture-strict", {**spec, "network": {"foreign": "Remove"}})
    return "posture-strict-a"


@pytest_asyncio.fixture(scope="module")
async def other(stage: Stage) -> str:
    """The namespace of one in which others make objects of their own."""
    await stage.tenant("posture-other", life.spec("posture-other-a"))
    return "posture-other-a"


async def without_versions(who: Admin, path: str) -> Json:
    item: Json = await who.get(path)
    aside = {"resourceVersion": "", "managedFields": []}
    return {**item, "metadata": {**item["metadata"], **aside}}


# --- objects of ours


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OBJECTS)
async def test_each_way_reaches_an_object(stage: Stage, mallory: Admin, kind: str, way: str) -> None:
    """Of a namespace that is no tenant's, with our marks and all: so that the refusals below are the lock's."""
    space = f"posture-way-{kind}-{way}"
    await stage.namespace(space)
    where = COLLECTIONS[kind].format(space)
    await mallory.create(
        where, {"metadata": {"name": "one", "labels": dict.fromkeys(MARKS, "securetenant")}, **PLAIN[kind]}
    )
    for changes in (OPENED[kind], {"metadata": METADATA["strip-marks"]}):
        status, answer = await WAYS[way](mallory, f"{where}/one", changes)
        assert status == 200, answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", OBJECTS)
async def test_what_is_declared_is_not_changed(shop: Tenant, mallory: Admin, kind: str, way: str) -> None:
    path = OBJECTS[kind].format(SPACE)
    before = await without_versions(mallory, path)
    answer = await WAYS[way](mallory, path, OPENED[kind])
    assert is_refused(answer), answer
    assert before["metadata"]["name"] in answer[1]["message"]
    assert await without_versions(mallory, path) == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", METADATA)
@pytest.mark.parametrize("kind", OBJECTS)
async def test_its_metadata_is_not_changed(shop: Tenant, mallory: Admin, kind: str, change: str, way: str) -> None:
    path = OBJECTS[kind].format(SPACE)
    before = await without_versions(mallory, path)
    answer = await WAYS[way](mallory, path, {"metadata": METADATA[change]})
    is_kept = way == "apply" and change in TAKEN
    assert is_refused(answer) or (is_kept and answer[0] == 200), answer
    assert await without_versions(mallory, path) == before


@pytest.mark.parametrize("way", STATUS_WAYS)
async def test_the_status_of_a_quota_is_not_changed(shop: Tenant, mallory: Admin, way: str) -> None:
    """CVE-2026-30963: a subresource writes metadata, too. What a quota is held to stands in its status."""
    path = OBJECTS["quota"].format(SPACE)
    before = await without_versions(mallory, path)
    for changes in (
        {"status": {"hard": {"pods": "10k"}}},
        {"status": {"used": {"pods": "0"}, "hard": {"pods": "11"}}},
        {"metadata": METADATA["add-label"]},
        {"metadata": METADATA["own"]},
        {"metadata": METADATA["strip-marks"]},
    ):
        answer = await STATUS_WAYS[way](mallory, path, changes)
        is_kept = way == "status-apply" and answer[0] == 200
        assert is_refused(answer) or is_kept, answer
        assert await without_versions(mallory, path) == before


@pytest.mark.parametrize(
    ("params", "body"),
    [
        pytest.param(None, None, id="plain"),
        pytest.param(DRY, None, id="dry-run"),
        pytest.param({"gracePeriodSeconds": "0"}, None, id="at-once"),
        pytest.param({"propagationPolicy": "Orphan"}, None, id="orphan"),
        pytest.param(None, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}, id="body"),
    ],
)
@pytest.mark.parametrize("kind", OBJECTS)
async def test_it_is_not_deleted(
    shop: Tenant, mallory: Admin, kind: str, params: dict[str, str] | None, body: Json | None
) -> None:
    path = OBJECTS[kind].format(SPACE)
    answer = await mallory.request("DELETE", path, body, params=params)
    assert is_refused(answer), answer
    assert "deletion of" in answer[1]["message"]
    assert "deletionTimestamp" not in (await mallory.get(path))["metadata"]


@pytest.mark.parametrize("kind", OBJECTS)
async def test_a_collection_is_deleted_but_for_ours(other: str, mallory: Admin, kind: str) -> None:
    """Kubernetes asks for each object of the collection by itself."""
    where = COLLECTIONS[kind].format(other)
    await mallory.request("POST", where, {"metadata": {"name": "theirs", "labels": {"mine": "1"}}, **PLAIN[kind]})
    before = {item["metadata"]["name"] for item in (await mallory.get(where))["items"]} - {"theirs"}
    assert is_refused(await mallory.request("DELETE", where))
    assert is_refused(await mallory.request("DELETE", where, params={"labelSelector": "securetenant.dev/tenant"}))
    status, answer = await mallory.request("DELETE", where, params={"labelSelector": "mine=1"})
    assert status == 200, answer
    assert {item["metadata"]["name"] for item in (await mallory.get(where))["items"]} == before


@pytest.mark.parametrize("labels", [OURS, {key: OURS[key] for key in list(OURS)[:1]}, {"securetenant.dev/tenant": ""}])
@pytest.mark.parametrize("how", ["post", "generate", "dry-run", "apply"])
@pytest.mark.parametrize("kind", OBJECTS)
async def test_no_object_is_made_with_our_mark(shop: Tenant, mallory: Admin, kind: str, how: str, labels: Json) -> None:
    """Nor is another's given it."""
    where = COLLECTIONS[kind].format(SPACE)
    named = {"generateName": "forged-"} if how == "generate" else {"name": "forged"}
    body = {"metadata": {**named, "labels": labels}, **PLAIN[kind]}
    if how == "apply":
        version = where.split("/namespaces/")[0].removeprefix("/apis/").removeprefix("/api/")
        kinds = {"policy": "NetworkPolicy", "binding": "RoleBinding", "quota": "ResourceQuota", "range": "LimitRange"}
        whole = {"apiVersion": version, "kind": kinds[kind], **body}
        params = {"fieldManager": "mallory"}
        answer = await mallory.request("PATCH", f"{where}/forged", whole, content_type=APPLY, params=params)
    else:
        answer = await mallory.request("POST", where, body, params=DRY if how == "dry-run" else None)
    assert is_refused(answer), answer
    assert "creation of" in answer[1]["message"]


async def test_another_object_is_not_marked_as_ours(stage: Stage, shop: Tenant, mallory: Admin) -> None:
    quota = await mallory.create(QUOTAS.format(SPACE), {"metadata": {"name": "plain"}, **PLAIN["quota"]})
    path = f"{QUOTAS.format(SPACE)}/{quota['metadata']['name']}"
    for suffix in ("", "/status"):
        assert is_refused(await merge(mallory, path + suffix, {"metadata": {"labels": OURS}}))
    assert (await merge(mallory, path, {"metadata": {"labels": {"mine": "1"}}}))[0] == 200
    assert (await merge(mallory, path, {"spec": {"hard": {"configmaps": "101"}}}))[0] == 200
    await mallory.delete(path)


async def test_what_changes_nothing_passes(shop: Tenant, mallory: Admin) -> None:
    """A backup or GitOps tool that applies what stands, and migration of stored objects."""
    for path in (each.format(SPACE) for each in OBJECTS.values()):
        status, answer = await WAYS["put"](mallory, path, {})
        assert status == 200, answer
        status, answer = await WAYS["apply"](mallory, path, {})
        assert status == 200, answer
    await shop.agrees()


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        pytest.param("mallory", [f"{BREAK_GLASS}2"], id="longer-group"),
        pytest.param(BREAK_GLASS, [], id="user-called-as-the-group"),
        pytest.param("system:serviceaccount:securetenant-system:other", [], id="other-account"),
        pytest.param("system:serviceaccount:evil:securetenant", [], id="other-namespace"),
        pytest.param("system:serviceaccount:evil:namespace-controller", [], id="other-controller"),
        pytest.param("operator=system:serviceaccount:securetenant-system:securetenant", [], id="line"),
        *(pytest.param(user, [], id=user) for user in COUNTERS),
        pytest.param("system:kube-scheduler", [], id="scheduler"),
        pytest.param("system:serviceaccount:kube-system:replicaset-controller", [], id="replicasets"),
    ],
)
async def test_nobody_passes_who_looks_alike(plane: Plane, shop: Tenant, user: str, groups: list[str]) -> None:
    """Who counts quotas may write their status, and nothing else."""
    async with Admin(plane, user=user, groups=[MASTERS, *groups]) as who:
        for kind, path in OBJECTS.items():
            assert is_refused(await merge(who, path.format(SPACE), OPENED[kind]))
            assert is_refused(await who.request("DELETE", path.format(SPACE), params=DRY))


@pytest.mark.parametrize("user", [*COUNTERS, "system:kube-controller-manager"])
async def test_who_counts_quotas_passes(plane: Plane, shop: Tenant, user: str) -> None:
    path = OBJECTS["quota"].format(SPACE)
    async with Admin(plane, user=user, groups=[MASTERS]) as who:
        changes = {"status": {"used": {"pods": "3"}}}
        status, answer = await who.request(
            "PATCH", f"{path}/status", changes, content_type="application/merge-patch+json", params=DRY
        )
        assert status == 200, answer


@pytest.mark.parametrize("user", CONTROLLERS)
async def test_the_controllers_of_kubernetes_pass(plane: Plane, shop: Tenant, user: str) -> None:
    async with Admin(plane, user=user, groups=[MASTERS]) as who:
        for path in (each.format(SPACE) for each in OBJECTS.values()):
            status, answer = await who.request("DELETE", path, params=DRY)
            assert status == 200, answer


async def test_nothing_was_drift(shop: Tenant) -> None:
    """What is refused leaves nothing to heal."""
    await shop.agrees()


# --- objects of others


async def test_others_objects_are_refused_where_they_would_be_removed(strict: str, mallory: Admin) -> None:
    for kind, body in FOREIGN.items():
        where = COLLECTIONS[kind].format(strict)
        for named in ({"name": "mine"}, {"generateName": "mine-"}):
            answer = await mallory.request("POST", where, {"metadata": named, **body})
            assert is_refused(answer, "foreign: creation of "), answer
            assert "foreign: Report" in answer[1]["message"]


async def test_what_restricts_is_everybodys(strict: str, mallory: Admin) -> None:
    for kind in ("quota", "range"):
        where = COLLECTIONS[kind].format(strict)
        await mallory.create(where, {"metadata": {"name": "mine"}, **PLAIN[kind]})
        await mallory.delete(f"{where}/mine")


async def test_others_objects_are_reported_where_the_spec_says_nothing(shop: Tenant, mallory: Admin) -> None:
    for kind, control in (("policy", "network"), ("binding", "access")):
        where = COLLECTIONS[kind].format(SPACE)
        await mallory.create(where, {"metadata": {"name": "mine"}, **FOREIGN[kind]})
        await shop.reported((control, "Foreign"))
        assert (await merge(mallory, f"{where}/mine", {"metadata": {"labels": {"mine": "1"}}}))[0] == 200
        await mallory.delete(f"{where}/mine")
        await shop.cleared((control, "Foreign"))


async def test_those_that_were_there_are_not_widened_and_can_go(stage: Stage, mallory: Admin) -> None:
    """The tenant turns to `Remove` while nobody runs to remove what is there: a paused one."""
    spec = life.spec("posture-turns-a")
    tenant = await stage.tenant("posture-turns", spec)
    made: list[tuple[str, str]] = []
    for kind in FOREIGN:
        path = f"{COLLECTIONS[kind].format('posture-turns-a')}/mine"
        made.append((kind, path))
        await mallory.create(path.removesuffix("/mine"), {"metadata": {"name": "mine"}, **FOREIGN[kind]})
    await tenant.reported(("network", "Foreign"), ("access", "Foreign"))
    namespace = f"{NAMESPACES}/posture-turns-a"
    await life.edit(stage.admin, "posture-turns", {"mode": "Paused"})
    await stage.admin.patch(namespace, {"metadata": {"annotations": {"securetenant.dev/locks": "v1"}}})
    for kind, path in made:
        assert is_refused(await merge(mallory, path, OPENED[kind] | {"spec": {"egress": [{}]}}), "foreign: ") or (
            kind == "binding"
        )
        if kind == "binding":
            assert is_refused(await merge(mallory, path, {"subjects": []}), "foreign: ")
        assert (await merge(mallory, path, {"metadata": {"finalizers": ["example.com/one"]}}))[0] == 200
        assert (await mallory.request("DELETE", path))[0] == 200
        assert (await merge(mallory, path, {"metadata": {"finalizers": None}}))[0] == 200
        assert await mallory.find(path) is None


async def test_without_readable_parameters_the_strictest_holds(stage: Stage, mallory: Admin) -> None:
    space = "posture-garbled-a"
    await stage.tenant("posture-garbled", life.spec(space))
    await life.edit(stage.admin, "posture-garbled", {"mode": "Paused"})
    for value in (None, "", "v2;unlocked=posture;foreign=networkpolicies", "unlocked=posture", "v1;unlocked="):
        await stage.admin.patch(
            f"{NAMESPACES}/{space}", {"metadata": {"annotations": {"securetenant.dev/locks": value}}}
        )
        for kind, path in OBJECTS.items():
            assert is_refused(await merge(mallory, path.format(space), OPENED[kind])), value
        for kind, body in FOREIGN.items():
            answer = await mallory.request("POST", COLLECTIONS[kind].format(space), {"metadata": {"name": "x"}, **body})
            assert is_refused(answer, "foreign: "), value


async def test_no_tenants_namespace_is_ever_refused_anything(stage: Stage, mallory: Admin) -> None:
    """A copy of a tenant's object included."""
    space = "posture-free"
    await stage.namespace(space)
    for kind in OBJECTS:
        where = COLLECTIONS[kind].format(space)
        for labels in ({}, OURS):
            body: Any = {"metadata": {"name": "one", "labels": labels}, **PLAIN[kind]}
            await mallory.create(where, body)
            await mallory.patch(f"{where}/one", OPENED[kind])
            await mallory.delete(f"{where}/one")


async def test_thousands_of_labels_are_within_the_budget(shop: Tenant, mallory: Admin) -> None:
    many = {f"key-{number}": "" for number in range(4000)}
    body = {"metadata": {"name": "many", "labels": many, "annotations": many}, **FOREIGN["policy"]}
    for where in (POLICIES, BINDINGS):
        given = body if where == POLICIES else {**FOREIGN["binding"], "metadata": body["metadata"]}
        status, answer = await mallory.request("POST", where.format(SPACE), given, params=DRY)
        assert status == 201, answer
