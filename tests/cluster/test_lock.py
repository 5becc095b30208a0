"""The lock on namespaces on a real API server, under attack by somebody who may do everything but break the glass."""

import random
from typing import Final

import pytest
import pytest_asyncio

from securetenant.checks import accounts
from securetenant.controls.admission.lock import CONTROLLERS
from tests.support import life
from tests.support.life import NAMESPACES, Json
from tests.support.locked import (
    BREAK_GLASS,
    CHANGES,
    ENFORCE,
    LOCKS,
    MANAGED_BY,
    MASTERS,
    OWNERS,
    TAKEN,
    TENANT,
    WAYS,
    is_refused,
    merge,
)
from tests.support.sandbox import APPLY, Admin, Plane
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant whose namespace nobody gets at."""
    return await stage.tenant("lock-shop", life.spec("lock-shop-a"))


SHOP: Final = f"{NAMESPACES}/lock-shop-a"


# --- attacks


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_reaches_the_metadata(stage: Stage, mallory: Admin, way: str) -> None:
    """Of a namespace that is no tenant's, so that the refusals below are the lock's."""
    name = f"lock-way-{way}"
    await stage.namespace(name, labels={"team": "a"})
    status, answer = await WAYS[way](mallory, f"{NAMESPACES}/{name}", {"labels": {"team": "b"}})
    assert status == 200, answer
    assert (await mallory.get(f"{NAMESPACES}/{name}"))["metadata"]["labels"]["team"] == "b"


async def test_no_number_of_long_labels_makes_it_refuse_what_is_no_tenants(plane: Plane, mallory: Admin) -> None:
    """What the policy may cost is bounded, and a namespace that exceeded it could not even be deleted."""
    prefix = ".".join(["a" * 60] * 4)
    labels = {f"{prefix}/{'k' * 58}{number:05}": "" for number in range(1500)}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lock-long-labels", "labels": labels}}
    status, answer = await mallory.request("POST", NAMESPACES, body, params={"dryRun": "All"})
    assert status == 201, answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_tenants_namespace_is_not_changed(shop: Tenant, mallory: Admin, change: str, way: str) -> None:
    """CVE-2026-30963: by no subresource. CVE-2022-46167: neither its marks nor its owners."""
    before = (await mallory.get(SHOP))["metadata"]
    answer = await WAYS[way](mallory, SHOP, CHANGES[change])
    after = (await mallory.get(SHOP))["metadata"]
    aside = {"resourceVersion": "", "managedFields": []}
    assert {**after, **aside} == {**before, **aside}
    # Server-side apply takes nothing away that others own as well: then there is nothing to refuse.
    is_kept = "apply" in way and change in TAKEN
    assert is_refused(answer) or (is_kept and answer[0] == 200), answer


async def test_nothing_was_drift(shop: Tenant) -> None:
    """What is refused leaves nothing to heal."""
    await shop.agrees()


async def test_a_finalizer_that_keeps_its_contents_stays(shop: Tenant, mallory: Admin) -> None:
    """Without it a deletion would leave the contents behind, out of everybody's sight."""
    item = await mallory.get(SHOP)
    answer = await mallory.request("PUT", f"{SHOP}/finalize", {**item, "spec": {"finalizers": []}})
    assert is_refused(answer), answer
    assert "spec.finalizers" in answer[1]["message"]


@pytest.mark.parametrize(
    ("params", "body"),
    [
        pytest.param(None, None, id="plain"),
        pytest.param({"dryRun": "All"}, None, id="dry-run"),
        pytest.param({"gracePeriodSeconds": "0"}, None, id="at-once"),
        pytest.param({"propagationPolicy": "Orphan"}, None, id="orphan"),
        pytest.param(None, {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}, id="body"),
    ],
)
async def test_a_tenants_namespace_is_not_deleted(
    shop: Tenant, mallory: Admin, params: dict[str, str] | None, body: Json | None
) -> None:
    answer = await mallory.request("DELETE", SHOP, body, params=params)
    assert is_refused(answer), answer
    assert "deletion" in answer[1]["message"]
    assert "deletionTimestamp" not in (await mallory.get(SHOP))["metadata"]


async def test_no_collection_of_namespaces_is_deleted(mallory: Admin) -> None:
    status, _ = await mallory.request("DELETE", NAMESPACES, params={"labelSelector": TENANT})
    assert status == 405


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"labels": {TENANT: "lock-shop"}}, id="tenant"),
        pytest.param({"labels": {MANAGED_BY: "securetenant"}}, id="managed-by"),
        pytest.param({"labels": {"securetenant.dev/admission": "Warn"}}, id="admission"),
        pytest.param({"annotations": {LOCKS: "v1;unlocked=namespaces"}}, id="locks"),
        pytest.param(
            {"labels": {TENANT: "x"}, "annotations": {LOCKS: "v1;unlocked=namespaces"}}, id="tenant-and-unlocked"
        ),
        pytest.param({"annotations": {life.CREATION: "0"}}, id="creation"),
        pytest.param({"annotations": {"securetenant.dev/exemptions": "v1"}}, id="exemptions"),
    ],
)
@pytest.mark.parametrize("how", ["post", "generate", "dry-run", "apply"])
async def test_no_namespace_is_created_with_our_marks(
    mallory: Admin, manifests: None, metadata: Json, how: str
) -> None:
    named = {"generateName": "lock-made-"} if how == "generate" else {"name": "lock-made"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {**named, **metadata}}
    if how == "apply":
        params = {"fieldManager": "mallory", "force": "true"}
        answer = await mallory.request("PATCH", f"{NAMESPACES}/lock-made", body, content_type=APPLY, params=params)
    else:
        answer = await mallory.request("POST", NAMESPACES, body, params={"dryRun": "All"} if how == "dry-run" else None)
    assert is_refused(answer), answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("victim", ["lock-victim", "kube-system", "default", "securetenant-system"])
async def test_no_namespace_is_taken_over(stage: Stage, mallory: Admin, victim: str, way: str) -> None:
    """CVE-2024-39690, CVE-2025-55205: neither one that is nobody's, nor one of the system's."""
    if victim == "lock-victim" and await mallory.find(f"{NAMESPACES}/{victim}") is None:
        await stage.namespace(victim)
    for metadata in (
        {"labels": {TENANT: "lock-shop", MANAGED_BY: "securetenant"}},
        {"labels": {TENANT: "lock-shop"}, "ownerReferences": OWNERS},
        {"annotations": {LOCKS: "v1;unlocked=namespaces"}},
    ):
        answer = await WAYS[way](mallory, f"{NAMESPACES}/{victim}", metadata)
        assert is_refused(answer), answer
    assert TENANT not in (await mallory.get(f"{NAMESPACES}/{victim}"))["metadata"].get("labels", {})


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        pytest.param("mallory", [f"{BREAK_GLASS}2"], id="longer-group"),
        pytest.param("mallory", [BREAK_GLASS.upper()], id="group-in-capitals"),
        pytest.param(BREAK_GLASS, [], id="user-called-as-the-group"),
        pytest.param("system:serviceaccount:securetenant-system:other", [], id="other-account"),
        pytest.param("system:serviceaccount:lock-evil:securetenant", [], id="other-namespace"),
        pytest.param("system:serviceaccount:securetenant-system:securetenant2", [], id="longer-account"),
        pytest.param("system:serviceaccount:lock-evil:namespace-controller", [], id="other-controller"),
        pytest.param("operator=system:serviceaccount:securetenant-system:securetenant", [], id="line"),
        pytest.param("system:apiserver", [], id="api-server"),
        pytest.param("system:kube-scheduler", [], id="scheduler"),
    ],
)
async def test_nobody_passes_who_looks_alike(plane: Plane, shop: Tenant, user: str, groups: list[str]) -> None:
    async with Admin(plane, user=user, groups=[MASTERS, *groups]) as who:
        assert is_refused(await merge(who, SHOP, CHANGES["strip-marks"]))
        assert is_refused(await who.request("DELETE", SHOP, params={"dryRun": "All"}))


@pytest.mark.parametrize("user", CONTROLLERS)
async def test_the_controllers_of_kubernetes_pass(plane: Plane, shop: Tenant, user: str) -> None:
    dry = {"dryRun": "All"}
    item = await shop.admin.get(SHOP)
    async with Admin(plane, user=user, groups=[MASTERS]) as who:
        for suffix in ("", "/status", "/finalize"):
            status, answer = await who.request("PUT", SHOP + suffix, {**item, "metadata": bare(item)}, params=dry)
            assert status == 200, answer
        status, answer = await who.request("DELETE", SHOP, params=dry)
        assert status == 200, answer


@pytest.mark.parametrize("user", accounts.DEFAULT.cni)
async def test_the_network_plug_in_writes_its_own_annotations_and_no_other(
    plane: Plane, shop: Tenant, mallory: Admin, user: str
) -> None:
    """Kube-OVN's controller annotates every namespace with its subnet."""
    own: Json = {
        "annotations": {"ovn.kubernetes.io/logical_switch": "ovn-default", "ovn.kubernetes.io/cidr": "10.16.0.0/16"}
    }
    taken: Json = {"annotations": dict.fromkeys(own["annotations"])}
    async with Admin(plane, user=user, groups=[MASTERS]) as plugin:
        assert (await merge(plugin, SHOP, own))[0] == 200
        # What it wrote stands in nobody's way.
        assert (await merge(mallory, SHOP, {"labels": {"example.com/team": "x"}}))[0] == 200
        assert (await merge(mallory, SHOP, {"labels": {"example.com/team": None}}))[0] == 200
        assert is_refused(await merge(mallory, SHOP, taken))
        for change in ("strip-marks", "weaken-pod-security", "unlock-and-strip", "own"):
            assert is_refused(await merge(plugin, SHOP, CHANGES[change]))
        assert is_refused(await plugin.request("DELETE", SHOP, params={"dryRun": "All"}))
        assert (await merge(plugin, SHOP, taken))[0] == 200
    await shop.agrees()


def bare(item: Json) -> Json:
    """The metadata of a namespace without its labels."""
    return {key: value for key, value in item["metadata"].items() if key not in ("labels", "annotations")}


async def test_what_is_not_ours_stays_free(shop: Tenant, mallory: Admin) -> None:
    for way in WAYS.values():
        status, answer = await way(mallory, SHOP, {"labels": {"example.com/team": "x"}, "annotations": {"note": "y"}})
        assert status == 200, answer
        status, answer = await way(mallory, SHOP, {"labels": {"example.com/team": None}, "annotations": {"note": None}})
        assert status == 200, answer
    await shop.agrees()


# --- whoever has nothing to do with us


def strange(chance: random.Random) -> Json:
    """Labels and annotations, some of which look like ours and are not."""
    labels = {
        MANAGED_BY: ("Helm", "securetenant2", "SecureTenant", ""),
        "app.kubernetes.io/part-of": ("securetenant",),
        "app.kubernetes.io/managed-by2": ("securetenant",),
        "securetenant.dev": ("x",),
        "securetenant.dev.evil.example/tenant": ("x",),
        "x.securetenant.dev/tenant": ("x",),
        "securetenant-dev/tenant": ("x",),
        "tenant": ("securetenant.dev",),
        ENFORCE: ("privileged", "baseline", "restricted"),
        "pod-security.kubernetes.io/warn": ("privileged", "restricted"),
        "capsule.clastix.io/tenant": ("x",),
        "env": ("", "prod", "test"),
    }
    annotations = {
        "securetenant.dev.evil.example/locks": ("v1",),
        "note": ("", "securetenant.dev/tenant", "ü" * 300),
        "ovn.kubernetes.io/logical_switch": ("a", "b"),
        "cni.projectcalico.org/ipv4pools": ('["a"]', "[]"),
    }

    def some(known: dict[str, tuple[str, ...]]) -> Json:
        return {key: chance.choice(values) for key, values in known.items() if chance.random() < 0.4}

    made: Json = {"labels": some(labels), "annotations": some(annotations)}
    return {field: given for field, given in made.items() if chance.random() < 0.9}


async def test_no_other_namespace_is_ever_refused_anything(stage: Stage, mallory: Admin) -> None:
    """Random metadata before and after, every way to write, and every other verb."""
    chance = random.Random(9)
    name = "lock-free"
    path = f"{NAMESPACES}/{name}"
    await stage.namespace(name)
    for _ in range(40):
        given = strange(chance)
        body = {"metadata": {"name": f"{name}-new", **given}}
        answers = [await mallory.request("POST", NAMESPACES, body, params={"dryRun": "All"})]
        for way in chance.sample(sorted(WAYS), 3):
            now = (await mallory.get(path))["metadata"]
            cleared: Json = {
                field: dict.fromkeys(key for key in now.get(field, {}) if not key.startswith("kubernetes.io/"))
                for field in ("labels", "annotations")
            }
            target = {field: {**cleared[field], **strange(chance).get(field, {})} for field in cleared}
            answers.append(await WAYS[way](mallory, path, target))
        answers.append(await mallory.request("DELETE", path, params={"dryRun": "All"}))
        refused = [answer["message"] for status, answer in answers if status >= 400]
        assert refused == [], given


async def test_thousands_of_labels_are_within_the_budget(mallory: Admin, manifests: None) -> None:
    many = {f"key-{number}": "" for number in range(4000)}
    body = {"metadata": {"name": "lock-many", "labels": many, "annotations": many}}
    status, answer = await mallory.request("POST", NAMESPACES, body, params={"dryRun": "All"})
    assert status == 201, answer
