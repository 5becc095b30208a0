"""The lock on namespaces on a real API server, under attack by somebody who may do everything but break the glass."""

import copy
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import audit
from securetenant.controls.admission.lock import CONTROLLERS
from tests.support import life
from tests.support.life import MARKS, NAMESPACES, TENANTS, Json
from tests.support.sandbox import APPLY, JSON_PATCH, Admin, Plane
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster

TENANT: Final = "securetenant.dev/tenant"
LOCKS: Final = "securetenant.dev/locks"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
ENFORCE: Final = "pod-security.kubernetes.io/enforce"
BREAK_GLASS: Final = "securetenant:break-glass"
POLICY: Final = "namespaces.securetenant.dev"
MASTERS: Final = "system:masters"
OWNERS: Final = [
    {"apiVersion": "v1", "kind": "Namespace", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"}
]

Answer = tuple[int, Any]
Way = Callable[[Admin, str, Json], Awaitable[Answer]]


# --- ways to write a namespace


async def _merge(who: Admin, path: str, metadata: Json) -> Answer:
    return await who.request("PATCH", path, {"metadata": metadata}, content_type="application/merge-patch+json")


async def _json(who: Admin, path: str, metadata: Json) -> Answer:
    """As a JSON patch that replaces the parts whole."""
    changed = changed_by((await who.get(path))["metadata"], metadata)
    operations = [{"op": "add", "path": f"/metadata/{field}", "value": changed[field]} for field in metadata]
    return await who.request("PATCH", path, operations, content_type=JSON_PATCH)


async def _put(who: Admin, path: str, metadata: Json) -> Answer:
    item = await who.get(path.removesuffix("/finalize"))
    return await who.request("PUT", path, {**item, "metadata": changed_by(item["metadata"], metadata)})


async def _apply(who: Admin, path: str, metadata: Json) -> Answer:
    """Server-side apply, by force. It takes away what it no longer has, so it takes all first, as others did."""
    item = await who.get(path)
    changed = changed_by(item["metadata"], metadata)
    fields = ("name", "labels", "annotations", "ownerReferences")
    body: Json = {"apiVersion": "v1", "kind": "Namespace"}
    answer: Answer = (0, None)
    for given in (item["metadata"], changed):
        body["metadata"] = {field: given[field] for field in fields if field in given}
        params = {"fieldManager": "mallory", "force": "true"}
        answer = await who.request("PATCH", path, body, content_type=APPLY, params=params)
    return answer


def at(way: Way, suffix: str = "") -> Way:
    async def on(who: Admin, path: str, metadata: Json) -> Answer:
        return await way(who, path + suffix, metadata)

    return on


WAYS: Final[dict[str, Way]] = {
    "merge": _merge,
    "json": _json,
    "put": _put,
    "apply": _apply,
    "status-merge": at(_merge, "/status"),
    "status-json": at(_json, "/status"),
    "status-put": at(_put, "/status"),
    "status-apply": at(_apply, "/status"),
    "finalize-put": at(_put, "/finalize"),
}


def changed_by(metadata: Json, changes: Json) -> Json:
    """Metadata after a merge patch."""
    changed = copy.deepcopy(metadata)
    for field, given in changes.items():
        if isinstance(given, dict):
            merged = {**changed.get(field, {}), **given}
            changed[field] = {key: value for key, value in merged.items() if value is not None}
        else:
            changed[field] = given
    return changed


CHANGES: Final[dict[str, Json]] = {
    "strip-marks": {"labels": dict.fromkeys(MARKS)},
    "strip-tenant": {"labels": {TENANT: None}},
    "strip-managed-by": {"labels": {MANAGED_BY: None}},
    "other-tenant": {"labels": {TENANT: "lock-other"}},
    "other-manager": {"labels": {MANAGED_BY: "Helm"}},
    "admission-warn": {"labels": {"securetenant.dev/admission": "Warn"}},
    "admission-off": {"labels": {"securetenant.dev/admission": None}},
    "new-label-of-ours": {"labels": {"securetenant.dev/later": "x"}},
    "weaken-pod-security": {"labels": {ENFORCE: "privileged"}},
    "strip-pod-security": {"labels": {ENFORCE: None}},
    "pin-old-pod-security": {"labels": {f"{ENFORCE}-version": "v1.0"}},
    "parameters": {"annotations": {"securetenant.dev/runtime": "v1;hostPorts=22"}},
    "strip-parameters": {"annotations": {"securetenant.dev/runtime": None}},
    "exemption": {"annotations": {"securetenant.dev/exemptions": "v1;runtime/privileged|2999-01-01T00:00:00Z|"}},
    "unlock": {"annotations": {LOCKS: "v1;unlocked=namespaces"}},
    "strip-locks": {"annotations": {LOCKS: None}},
    "unlock-and-strip": {"annotations": {LOCKS: "v1;unlocked=namespaces"}, "labels": dict.fromkeys(MARKS)},
    "forge-record": {"annotations": {life.APPLIED: "{}"}},
    "own": {"ownerReferences": OWNERS},
}


def is_refused(answer: Answer) -> bool:
    status, body = answer
    return (
        status == 403 and f"ValidatingAdmissionPolicy '{POLICY}'" in body["message"] and "locked: " in body["message"]
    )


@pytest_asyncio.fixture(scope="module")
async def mallory(plane: Plane) -> AsyncIterator[Admin]:
    """Somebody with every right of RBAC, and not in the break-glass group."""
    async with Admin(plane, user="mallory", groups=[MASTERS]) as client:
        yield client


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
    is_kept = "apply" in way and None in CHANGES[change].get("labels", CHANGES[change].get("annotations", {})).values()
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
        assert is_refused(await _merge(who, SHOP, CHANGES["strip-marks"]))
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
    annotations = {"securetenant.dev.evil.example/locks": ("v1",), "note": ("", "securetenant.dev/tenant", "ü" * 300)}

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
    for _ in range(60):
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


# --- life goes on


async def test_the_operators_work_goes_on(stage: Stage, mallory: Admin) -> None:
    """Create, adopt, drift, heal, a change of the spec, and release; then the namespace is everybody's again."""
    await stage.namespace("lock-old", labels={"team": "x"})
    adopted = {"name": "lock-old", "adopt": True}
    tenant = await stage.tenant("lock-life", life.spec(namespaces=[{"name": "lock-life-a"}, adopted]))
    for name in ("lock-life-a", "lock-old"):
        path = f"{NAMESPACES}/{name}"
        assert is_refused(await mallory.request("DELETE", path))
        await stage.admin.patch(path, {"metadata": {"labels": {TENANT: None}}})
        await tenant.healed(("namespaces", "Changed"))
        assert is_refused(await _merge(mallory, path, CHANGES["strip-marks"]))
    await tenant.edit({"runtime": {"podSecurity": "Baseline"}})
    assert (await mallory.get(f"{NAMESPACES}/lock-old"))["metadata"]["labels"][ENFORCE] == "baseline"
    await tenant.delete()
    for name in ("lock-life-a", "lock-old"):
        path = f"{NAMESPACES}/{name}"
        left = (await mallory.get(path))["metadata"]
        ours = {
            field: dict.fromkeys(key for key in left.get(field, {}) if "securetenant.dev/" in key)
            for field in ("labels", "annotations")
        }
        status, answer = await _merge(mallory, path, {**ours, "labels": {**ours["labels"], ENFORCE: "baseline"}})
        assert status == 200, answer
        assert is_refused(await _merge(mallory, path, {"labels": {TENANT: "lock-life"}}))
        await mallory.delete(path)
        await life.gone(mallory, path)


async def test_a_tenants_namespaces_go_with_it(stage: Stage, mallory: Admin) -> None:
    """The operator deletes, and Kubernetes' controllers empty and finalize."""
    tenant = await stage.tenant("lock-end", life.spec("lock-end-a", deletionPolicy="Delete"))
    await mallory.create(f"{NAMESPACES}/lock-end-a/configmaps", {"metadata": {"name": "left"}})
    await tenant.delete()
    assert await mallory.find(f"{NAMESPACES}/lock-end-a") is None


async def test_a_tenant_without_the_lock(stage: Stage, mallory: Admin) -> None:
    path = f"{NAMESPACES}/lock-off-a"
    tenant = await stage.tenant("lock-off", life.spec("lock-off-a", locks={"namespaces": False}))
    assert (await _merge(mallory, path, CHANGES["strip-managed-by"]))[0] == 200
    await tenant.healed(("namespaces", "Changed"))
    assert (await mallory.request("DELETE", path, params={"dryRun": "All"}))[0] == 200
    await tenant.edit({"locks": {"namespaces": True}})
    assert is_refused(await _merge(mallory, path, CHANGES["unlock"]))
    assert is_refused(await mallory.request("DELETE", path))


async def test_the_glass_is_broken_on_the_record(plane: Plane, stage: Stage, mallory: Admin) -> None:
    """Who is in the group passes, and the audit log has what was locked, and who failed."""
    path = f"{NAMESPACES}/lock-glass-a"
    tenant = await stage.tenant("lock-glass", life.spec("lock-glass-a"))
    assert plane.audit_log is not None
    offset = plane.audit_log.stat().st_size
    async with Admin(plane, user="alice", groups=[MASTERS, BREAK_GLASS]) as alice:
        await alice.patch(path, {"metadata": {"labels": {"example.com/note": "x"}}})
        await alice.patch(path, {"metadata": {"labels": {TENANT: None}}})
    await tenant.healed(("namespaces", "Changed"))
    await _merge(mallory, path, CHANGES["strip-tenant"])
    events, _ = audit.read(plane.audit_log, offset)
    told = [
        {key: value for key, value in event.get("annotations", {}).items() if POLICY in key or POLICY in value}
        for event in events
        if event.get("impersonatedUser", {}).get("username") in ("alice", "mallory")
        and event["requestURI"].startswith(path)
        and event["verb"] == "patch"
    ]
    on = {f"{POLICY}/tenant": "lock-glass"}
    assert told[0] == on
    assert told[1] == {**on, f"{POLICY}/break-glass": f"label {TENANT}"}
    failure = told[2].pop("validation.policy.admission.k8s.io/validation_failure")
    assert told[2] == on
    assert f"locked: label {TENANT}: " in failure


async def test_the_probe_tells_the_version(admin: Admin, manifests: None) -> None:
    """To everybody, whoever they are, and only for what is created."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{POLICY}"
    version = (await admin.get(path))["metadata"]["annotations"]["securetenant.dev/policy-version"]
    body = {"metadata": {"name": "lock-probe", "annotations": {"securetenant.dev/probe": ""}}}
    status, answer = await admin.request("POST", NAMESPACES, body, params={"dryRun": "All"})
    assert (status, f"probe: {POLICY} {version} is in force" in answer["message"]) == (403, True), answer


async def test_the_tenants_resource_is_not_what_is_locked(shop: Tenant, mallory: Admin) -> None:
    """The spec is the platform team's to write, and the way to change what is locked."""
    status, _ = await mallory.request(
        "PATCH",
        f"{TENANTS}/lock-shop",
        {"spec": {"displayName": "Shop"}},
        content_type="application/merge-patch+json",
        params={"dryRun": "All"},
    )
    assert status == 200
