"""Claims as the API server and Kubernetes' own controllers handle them: the default class, binding, what stands when a
rule is tightened, volumes of pods. No operator runs. The attacks one by one: tests/corpus/admission/storage.yaml."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.checks.targets import BINDERS, CLASS_ANNOTATION
from tests.support import attacks, enforced, pods
from tests.support.enforced import DRY, Enforced, template
from tests.support.life import Json, gone
from tests.support.locked import MASTERS
from tests.support.sandbox import MERGE_PATCH, Admin, Plane, wait_for

pytestmark = pytest.mark.cluster

CLASSES: Final = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES: Final = "/api/v1/persistentvolumes"
CLAIMS: Final = "/api/v1/namespaces/{}/persistentvolumeclaims"
IS_DEFAULT: Final = "storageclass.kubernetes.io/is-default-class"
ENCRYPTED: Final = {"storage": {"classes": ["encrypted-ssd"]}}
_NUMBERS: Final = itertools.count()


@pytest_asyncio.fixture
async def place(plane: Plane, admin: Admin, policies: None) -> AsyncIterator[Enforced]:
    """A namespace of the test's own, not marked yet."""
    async with enforced.namespace(plane, admin, f"storage-{next(_NUMBERS)}") as made:
        yield made


@contextlib.asynccontextmanager
async def storage_class(admin: Admin, name: str, *, default: bool = False) -> AsyncIterator[None]:
    annotations = {IS_DEFAULT: "true"} if default else {}
    body = {
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": "kubernetes.io/no-provisioner",
        "allowVolumeExpansion": True,
    }
    await admin.create(CLASSES, body)
    try:
        yield
    finally:
        await admin.delete(f"{CLASSES}/{name}")


@contextlib.asynccontextmanager
async def volume(admin: Admin, name: str, of_class: str) -> AsyncIterator[None]:
    body = {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": of_class,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/data"},
        },
    }
    await admin.create(VOLUMES, body)
    try:
        yield
    finally:
        await admin.delete(f"{VOLUMES}/{name}")


def claim(name: str, **spec: Any) -> Json:
    made = attacks.claim()
    spec = {key: value for key, value in {**made["spec"], **spec}.items() if value is not None}
    return {**made, "metadata": {"name": name}, "spec": spec}


def claims(place: Enforced, name: str = "") -> str:
    return CLAIMS.format(place.name) + (f"/{name}" if name else "")


async def test_the_default_class_is_judged_as_if_it_were_written(place: Enforced, admin: Admin) -> None:
    body = claim("c", storageClassName=None)

    async def defaulted(to: str | None) -> bool:
        made = await admin.request("POST", claims(unmarked), body, params=DRY)
        return bool(made[1]["spec"].get("storageClassName") == to)

    async with enforced.namespace(place.admin.plane, admin, f"{place.name}-unmarked") as unmarked:
        await place.mark(**ENCRYPTED)
        for name, expected in (("encrypted-ssd", 201), ("standard", 403)):
            async with storage_class(admin, name, default=True):
                await wait_for(lambda name=name: defaulted(name), 20, "the API server to know the default class")  # type: ignore[misc]
                status, answer = await admin.request("POST", claims(place), body, params=DRY)
                assert status == expected, answer
                if status == 201:
                    assert answer["spec"]["storageClassName"] == name
                else:
                    assert 'storage/classes at spec.storageClassName "standard": the storage class' in answer["message"]
            await wait_for(lambda: defaulted(None), 20, "the API server to know that there is none")
        status, answer = await admin.request("POST", claims(place), body, params=DRY)
        assert status == 403, answer
        assert "storage/classes at spec.storageClassName: " in answer["message"]


async def test_a_class_that_is_gone_is_judged_by_its_name(place: Enforced, admin: Admin) -> None:
    await place.mark(**ENCRYPTED)
    async with storage_class(admin, "encrypted-ssd"):
        pass
    for name, expected in (("encrypted-ssd", 201), ("standard", 403)):
        status, answer = await admin.request("POST", claims(place), claim("c", storageClassName=name), params=DRY)
        assert status == expected, answer


async def test_a_claim_in_order_is_bound(place: Enforced, admin: Admin) -> None:
    """Of a class of the test's own: a claim of another test, on its way out, would take the volume."""
    own = place.name
    await place.mark(storage={"classes": [own]})
    async with storage_class(admin, own), volume(admin, own, own):
        await admin.create(claims(place), claim("c", storageClassName=own))
        await wait_for(lambda: is_bound(place, "c", own), 40, "the claim to be bound")


async def is_bound(place: Enforced, name: str, to: str) -> bool:
    got = await place.admin.get(claims(place, name))
    return (got["status"].get("phase"), got["spec"].get("volumeName")) == ("Bound", to)


async def test_what_stood_before_a_rule_is_bound_enlarged_labelled_and_deleted(place: Enforced, admin: Admin) -> None:
    own = place.name
    async with storage_class(admin, own):
        await admin.create(claims(place), claim("old", storageClassName=own))
        await place.mark(**ENCRYPTED)
        status, answer = await admin.request("POST", claims(place), claim("new", storageClassName=own))
        assert status == 403, answer
        async with volume(admin, own, own):
            await wait_for(lambda: is_bound(place, "old", own), 40, "the old claim to be bound")
            at = claims(place, "old")
            for where, change in (
                (at, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
                (at, {"metadata": {"labels": {"team": "a"}, "finalizers": ["bank.example/hold"]}}),
                (f"{at}/status", {"status": {"capacity": {"storage": "2Gi"}}}),
            ):
                status, answer, warnings = await admin.warned("PATCH", where, change, content_type=MERGE_PATCH)
                assert (status, warnings) == (200, []), answer
            await admin.delete(at)
            await admin.patch(at, {"metadata": {"finalizers": None}})
            await gone(admin, at)


async def test_only_kubernetes_names_the_volume(plane: Plane, place: Enforced, admin: Admin) -> None:
    await place.mark(**ENCRYPTED)
    await admin.create(claims(place), claim("c"))
    change = {"spec": {"volumeName": "pv-of-another"}}
    for user, expected in (("mallory", 403), *((user, 200) for user in BINDERS)):
        async with Admin(plane, user=user, groups=[MASTERS]) as client:
            status, answer, _ = await client.warned(
                "PATCH", claims(place, "c"), change, content_type=MERGE_PATCH, params=DRY
            )
        assert status == expected, (user, answer)
        assert status == 200 or "storage/chosenVolume at spec.volumeName: " in answer["message"]


async def test_a_default_class_that_comes_later_is_judged_as_well(plane: Plane, place: Enforced, admin: Admin) -> None:
    """Kubernetes gives it to claims that have none (KEP-3333)."""
    await admin.create(claims(place), claim("late", storageClassName=None))
    await place.mark(**ENCRYPTED)
    async with Admin(plane, user=BINDERS[0], groups=[MASTERS]) as binder:
        change = {"spec": {"storageClassName": "standard"}}
        status, answer, _ = await binder.warned(
            "PATCH", claims(place, "late"), change, content_type=MERGE_PATCH, params=DRY
        )
    assert status == 403, answer
    assert 'storage/classes at spec.storageClassName "standard"' in answer["message"]

    async def has_class() -> bool:
        return bool((await admin.get(claims(place, "late")))["spec"].get("storageClassName") == "encrypted-ssd")

    async with storage_class(admin, "encrypted-ssd", default=True):
        await wait_for(has_class, 60, "the default class in the claim")


async def test_the_status_of_a_claim_takes_the_class_where_nobody_judges(place: Enforced, admin: Admin) -> None:
    """Why the policy matches the subresource: Kubernetes lets nobody change that annotation but here."""
    await admin.create(claims(place), claim("c"))
    change = {"metadata": {"annotations": {CLASS_ANNOTATION: "standard"}}}
    at = claims(place, "c")
    assert (await admin.warned("PATCH", at, change, content_type=MERGE_PATCH, params=DRY))[0] == 422
    changed = await admin.patch(f"{at}/status", change, params=DRY)
    assert changed["metadata"]["annotations"][CLASS_ANNOTATION] == "standard"
    await place.mark(**ENCRYPTED)
    status, answer, _ = await admin.warned("PATCH", f"{at}/status", change, content_type=MERGE_PATCH, params=DRY)
    assert status == 403, answer
    assert f'storage/classes at annotation {CLASS_ANNOTATION} "standard"' in answer["message"]


def with_volume(name: str, **spec: Any) -> Json:
    template = {"spec": claim("x", **spec)["spec"]}
    scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
    return enforced.pod(name, pods.spec(volumes=[scratch], nodeSelector={"pool": "none"}))


async def test_the_claim_of_a_pods_volume_is_judged_when_it_is_made(place: Enforced, admin: Admin) -> None:
    """What the pod says is judged with it; what the default class would be is judged with the claim."""
    await place.mark(images=None, runtime={"readOnlyRootFilesystem": False}, **ENCRYPTED)
    status, answer = await admin.request("POST", place.pods, with_volume("bad", storageClassName="standard"))
    assert status == 403, answer
    assert 'storage/classes at volume scratch (storageClassName "standard")' in answer["message"]
    await admin.create(place.pods, with_volume("good"))
    await wait_for(lambda: admin.find(claims(place, "good-scratch")), 20, "the claim of the good pod")
    await admin.create(place.pods, with_volume("open", storageClassName=None))
    await wait_for(lambda: is_told(place, "open"), 30, "the Event about the refused claim")
    assert await admin.find(claims(place, "open-scratch")) is None


async def is_told(place: Enforced, pod: str) -> bool:
    selector = f"involvedObject.kind=Pod,involvedObject.name={pod}"
    events = await place.admin.get(f"/api/v1/namespaces/{place.name}/events", {"fieldSelector": selector})
    return any("storage/classes at spec.storageClassName" in event["message"] for event in events["items"])


async def test_the_author_of_a_statefulset_is_warned(place: Enforced, admin: Admin) -> None:
    await place.mark(images=None, runtime={"readOnlyRootFilesystem": False}, **ENCRYPTED)
    good, bad = claim("data"), claim("log", storageClassName="standard", volumeName="pv-of-another")
    spec = {"serviceName": "db", **template("db", pods.spec()), "volumeClaimTemplates": [good, bad]}
    body = {"metadata": {"name": "db"}, "spec": spec}
    path = f"/apis/apps/v1/namespaces/{place.name}/statefulsets"
    status, answer, warnings = await admin.warned("POST", path, body, params=DRY)
    assert status == 201, answer
    told = " ".join(warnings).replace('\\"', '"')
    assert 'storage/classes at volumeClaimTemplate log (storageClassName "standard"): ' in told
    assert "volumeClaimTemplate data" not in told


async def test_a_budget_without_numbers_allows_no_eviction(place: Enforced, admin: Admin) -> None:
    """Why `runtime/disruptionBudget` refuses one: Kubernetes takes it for none that may go."""
    await admin.create(place.pods, enforced.pod("web", pods.spec(nodeSelector={"pool": "none"}), labels={"app": "web"}))
    budgets = f"/apis/policy/v1/namespaces/{place.name}/poddisruptionbudgets"
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}
    await admin.create(budgets, body)

    async def counted() -> Json | None:
        status: Json = (await admin.get(f"{budgets}/web")).get("status", {})
        return status if status.get("observedGeneration") == 1 else None

    status = await wait_for(counted, 30, "the budget to be counted")
    assert status["disruptionsAllowed"] == 0
