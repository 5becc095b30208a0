"""The lock on tenants' subnets on a real API server: the objects of the network plug-ins, under attack by somebody who
may do everything but break the glass."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from sandbox import audit
from securetenant.checks import accounts
from securetenant.controls.admission.subnets import CONTROLLERS
from tests.support import plugins
from tests.support.life import Json
from tests.support.locked import BREAK_GLASS, MASTERS, OWNERS, Answer, Way, at
from tests.support.plugins import FILLED, KINDS, MOVED, OPENED
from tests.support.posture import WAYS as OF_BUILT_IN
from tests.support.posture import changed_by, merge
from tests.support.sandbox import Admin, Plane, wait_for

pytestmark = pytest.mark.cluster

POLICY: Final = "subnets.securetenant.dev"
OPERATOR: Final = "system:serviceaccount:securetenant-system:securetenant"
TENANT, SPACE = "lock-subnets", "lock-subnets-a"
ONCALL: Final = "lock-subnets-oncall"
DRY: Final = {"dryRun": "All"}
NAME: Final = plugins.name(SPACE)
PATHS: Final = {kind: f"{plugins.collection(kind)}/{NAME}" for kind in KINDS}


async def put(who: Admin, path: str, changes: Json) -> Answer:
    """With the resourceVersion, which custom resources demand."""
    return await who.request("PUT", path, changed_by(await who.get(path.removesuffix("/status")), changes))


#: Custom resources take no strategic merge patch.
WAYS: Final[dict[str, Way]] = {name: way for name, way in {**OF_BUILT_IN, "put": put}.items() if name != "strategic"}
STATUS_WAYS: Final[dict[str, Way]] = {f"status-{name}": at(way, "/status") for name, way in WAYS.items()}
METADATA: Final[dict[str, Json]] = {
    "strip-marks": {"labels": dict.fromkeys(plugins.marks(TENANT))},
    "strip-managed-by": {"labels": {"app.kubernetes.io/managed-by": None}},
    "strip-tenant": {"labels": {"securetenant.dev/tenant": None}},
    "other-tenant": {"labels": {"securetenant.dev/tenant": "other"}},
    "add-label": {"labels": {"example.com/mine": "1"}},
    "unlock": {"annotations": {"securetenant.dev/locks": "v1;unlocked=posture"}},
    "strip-locks": {"annotations": {"securetenant.dev/locks": None}},
    "free-the-addresses": {"annotations": {"securetenant.dev/unused-since": "2000-01-01T00:00:00Z"}},
    "forge-record": {"annotations": {"securetenant.dev/applied": "{}"}},
    "hold": {"finalizers": ["example.com/never"]},
    "own": {"ownerReferences": OWNERS},
}


def is_refused(answer: Answer, why: str = "locked: ") -> bool:
    status, body = answer
    return status == 403 and f"ValidatingAdmissionPolicy '{POLICY}'" in body["message"] and why in body["message"]


@pytest_asyncio.fixture(scope="module")
async def served(admin: Admin, manifests: None) -> AsyncIterator[None]:
    """The plug-ins' kinds, which were not there when the policy was installed."""
    async with plugins.served(admin):
        yield


@pytest_asyncio.fixture(scope="module")
async def glass(plane: Plane) -> AsyncIterator[Admin]:
    """Somebody in the break-glass group."""
    async with Admin(plane, user=ONCALL, groups=[MASTERS, BREAK_GLASS]) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def operator(plane: Plane) -> AsyncIterator[Admin]:
    """The operator's account, with every right of RBAC."""
    async with Admin(plane, user=OPERATOR, groups=[MASTERS]) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def subnets(served: None, operator: Admin, mallory: Admin) -> dict[str, Json]:
    """The objects of one namespace's subnet in every kind, as the operator makes them."""

    async def is_matched() -> bool:
        """The kinds were not served a moment ago."""
        forged = {kind: plugins.body(kind, "lock-subnets-forged", TENANT) for kind in KINDS}
        answers = [
            await mallory.request("POST", plugins.collection(kind), made, params=DRY) for kind, made in forged.items()
        ]
        return all(is_refused(answer) for answer in answers)

    await wait_for(is_matched, 20, "the policy to look at kinds that are served since a moment")
    for kind in KINDS:
        await operator.create(plugins.collection(kind), plugins.body(kind, SPACE, TENANT))
    async with Admin(operator.plane, user=accounts.DEFAULT.cni[0], groups=[MASTERS]) as plugin:
        await plugin.patch(f"{PATHS['subnet']}/status", {"status": {"v4usingIPs": 0}})
    return {kind: await operator.get(PATHS[kind]) for kind in KINDS}


async def unchanged(who: Admin, kind: str, before: Json) -> bool:
    item = await who.get(PATHS[kind])
    aside = {"resourceVersion": "", "managedFields": [], "generation": 0}
    return bool(
        {**item, "metadata": {**item["metadata"], **aside}} == {**before, "metadata": {**before["metadata"], **aside}}
    )


# --- attacks


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_way_reaches_what_is_no_tenants(subnets: Json, mallory: Admin, kind: str, way: str) -> None:
    """The plug-in's own nets, whatever they are called: so that the refusals below are the lock's."""
    for name in ("ovn-default", "join", f"securetenant-free-{way}"):
        body = plugins.body(kind, "x")
        body["metadata"]["name"] = name
        path = f"{plugins.collection(kind)}/{name}"
        await mallory.create(plugins.collection(kind), body)
        for spec in (*MOVED[kind].values(), OPENED[kind], FILLED[kind]):
            status, answer = await WAYS[way](mallory, path, {"spec": spec})
            assert status == 200, answer
        status, answer = await WAYS[way](mallory, path, {"metadata": METADATA["add-label"]})
        assert status == 200, answer
        await mallory.delete(path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in MOVED.items() for field in fields])
async def test_nobody_moves_it(
    subnets: Json, mallory: Admin, glass: Admin, operator: Admin, plane: Plane, kind: str, field: str, way: str
) -> None:
    """Neither break-glass nor the operator, nor the plug-in itself."""
    async with Admin(plane, user=accounts.DEFAULT.cni[0], groups=[MASTERS]) as plugin:
        for who in (mallory, glass, operator, plugin):
            answer = await WAYS[way](who, PATHS[kind], {"spec": MOVED[kind][field]})
            # What the operator is restrained in is not told first or last.
            assert is_refused(answer, "fixed: ") or (who is operator and answer[0] == 403), answer
            if who is not operator:
                assert field in answer[1]["message"]
                assert NAME in answer[1]["message"]
    assert await unchanged(mallory, kind, subnets[kind])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["opened", "filled"])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_rest_is_not_changed_either(subnets: Json, mallory: Admin, kind: str, what: str, way: str) -> None:
    spec = (OPENED if what == "opened" else FILLED)[kind]
    answer = await WAYS[way](mallory, PATHS[kind], {"spec": spec})
    assert is_refused(answer), answer
    assert f"spec of {KINDS[kind].name} {NAME}" in answer[1]["message"]
    assert await unchanged(mallory, kind, subnets[kind])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", METADATA)
@pytest.mark.parametrize("kind", KINDS)
async def test_its_metadata_is_not_changed(subnets: Json, mallory: Admin, kind: str, change: str, way: str) -> None:
    answer = await WAYS[way](mallory, PATHS[kind], {"metadata": METADATA[change]})
    # Server-side apply takes nothing away that the operator owns as well.
    is_kept = way == "apply" and "strip" in change
    assert is_refused(answer) or (is_kept and answer[0] == 200), answer
    assert await unchanged(mallory, kind, subnets[kind])


@pytest.mark.parametrize("way", STATUS_WAYS)
async def test_its_status_is_not_changed(subnets: Json, mallory: Admin, way: str) -> None:
    """The operator goes by it: a namespace is made once the subnet is Ready."""
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert is_refused(await STATUS_WAYS[way](mallory, PATHS["subnet"], ready))
    assert await unchanged(mallory, "subnet", subnets["subnet"])


@pytest.mark.parametrize("params", [{}, DRY, {"propagationPolicy": "Orphan"}, {"propagationPolicy": "Foreground"}])
@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_not_deleted(subnets: Json, mallory: Admin, kind: str, params: dict[str, str]) -> None:
    answer = await mallory.request("DELETE", PATHS[kind], params=params)
    assert is_refused(answer), answer
    assert f"deletion of {KINDS[kind].name} {NAME}" in answer[1]["message"]
    assert "deletionTimestamp" not in (await mallory.get(PATHS[kind]))["metadata"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_collection_is_deleted_but_for_ours(subnets: Json, mallory: Admin, kind: str) -> None:
    where = plugins.collection(kind)
    await mallory.create(where, plugins.body(kind, "theirs"))
    assert is_refused(await mallory.request("DELETE", where))
    assert is_refused(await mallory.request("DELETE", where, params={"labelSelector": "securetenant.dev/tenant"}))
    assert await unchanged(mallory, kind, subnets[kind])
    if await mallory.find(f"{where}/{plugins.name('theirs')}") is not None:
        await mallory.delete(f"{where}/{plugins.name('theirs')}")


@pytest.mark.parametrize(
    "labels",
    [
        plugins.marks(TENANT),
        {"app.kubernetes.io/managed-by": "securetenant"},
        {"securetenant.dev/tenant": TENANT},
        {"securetenant.dev/tenant": ""},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_none_is_made_with_our_mark(subnets: Json, mallory: Admin, kind: str, labels: Json) -> None:
    """Nor another given it, not even with the lock said to be off."""
    where = plugins.collection(kind)
    metadata = {"labels": labels, "annotations": {"securetenant.dev/locks": "v1;unlocked=posture"}}
    forged = plugins.body(kind, "lock-subnets-forged")
    forged["metadata"] |= metadata
    answer = await mallory.request("POST", where, forged)
    assert is_refused(answer), answer
    assert "creation of" in answer[1]["message"]
    path = f"{where}/{plugins.name('plain')}"
    await mallory.create(where, plugins.body(kind, "plain"))
    for way in WAYS.values():
        assert is_refused(await way(mallory, path, {"metadata": metadata}))
    await mallory.delete(path)


# --- who passes


async def test_what_changes_nothing_passes(subnets: Json, mallory: Admin) -> None:
    """A GitOps tool that applies what stands, and migration of stored objects."""
    for path in PATHS.values():
        for way in ("put", "apply"):
            status, answer = await WAYS[way](mallory, path, {})
            assert status == 200, answer


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        pytest.param("mallory", [f"{BREAK_GLASS}2"], id="longer-group"),
        pytest.param(BREAK_GLASS, [], id="user-called-as-the-group"),
        pytest.param("system:serviceaccount:securetenant-system:other", [], id="other-account"),
        pytest.param("system:serviceaccount:evil:securetenant", [], id="other-namespace"),
        pytest.param("system:serviceaccount:evil:generic-garbage-collector", [], id="other-controller"),
        pytest.param("system:serviceaccount:evil:ovn", [], id="other-plug-in"),
        pytest.param("operator=system:serviceaccount:securetenant-system:securetenant", [], id="line"),
        pytest.param("system:serviceaccount:kube-system:namespace-controller", [], id="namespaces"),
        pytest.param("system:apiserver", [], id="api-server"),
    ],
)
async def test_nobody_passes_who_looks_alike(plane: Plane, subnets: Json, user: str, groups: list[str]) -> None:
    async with Admin(plane, user=user, groups=[MASTERS, *groups]) as who:
        for kind, path in PATHS.items():
            assert is_refused(await merge(who, path, {"spec": FILLED[kind]}))
            assert is_refused(await who.request("DELETE", path, params=DRY))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", accounts.DEFAULT.cni)
async def test_the_plug_in_fills_in_what_is_its_own(plane: Plane, subnets: Json, user: str, kind: str) -> None:
    path = PATHS[kind]
    async with Admin(plane, user=user, groups=[MASTERS]) as plugin:
        allowed: list[Json] = [
            {"spec": FILLED[kind]},
            {"metadata": {"finalizers": ["kubeovn.io/kube-ovn-controller"]}},
            {"metadata": {"labels": {"example.com/plugin": "1"}, "annotations": {"example.com/plugin": "1"}}},
        ]
        for change in allowed:
            status, answer = await plugin.request(
                "PATCH", path, change, content_type="application/merge-patch+json", params=DRY
            )
            assert status == 200, answer
        if kind == "subnet":
            status, answer = await plugin.request(
                "PATCH",
                f"{path}/status",
                {"status": {"v4usingIPs": 1}},
                content_type="application/merge-patch+json",
                params=DRY,
            )
            assert status == 200, answer
        assert is_refused(await merge(plugin, path, {"spec": OPENED[kind]}))
        for name in ("strip-marks", "other-tenant", "unlock", "free-the-addresses", "forge-record", "own"):
            assert is_refused(await merge(plugin, path, {"metadata": METADATA[name]})), name
        assert is_refused(await plugin.request("DELETE", path))
        forged = plugins.body(kind, "lock-subnets-forged", TENANT)
        assert is_refused(await plugin.request("POST", plugins.collection(kind), forged))


@pytest.mark.parametrize("user", CONTROLLERS)
async def test_kubernetes_ends_a_deletion_that_waits(
    plane: Plane, served: None, operator: Admin, subnets: Json, user: str
) -> None:
    """The garbage collector takes the finalizer off that such a deletion leaves."""
    async with Admin(plane, user=user, groups=[MASTERS]) as who:
        for path in PATHS.values():
            status, answer = await who.request(
                "PATCH",
                path,
                {"metadata": {"finalizers": ["orphan"]}},
                content_type="application/merge-patch+json",
                params=DRY,
            )
            assert status == 200, answer


@pytest.mark.parametrize(
    "policy",
    [
        "Background",
        # Up to half a minute passes until the garbage collector knows a kind that is served since a moment.
        pytest.param("Foreground", marks=pytest.mark.full),
        pytest.param("Orphan", marks=pytest.mark.full),
    ],
)
async def test_the_operator_makes_changes_and_deletes_it(served: None, operator: Admin, policy: str) -> None:
    name = plugins.name("lock-subnets-own")
    for kind in KINDS:
        where = plugins.collection(kind)
        await operator.create(where, plugins.body(kind, "lock-subnets-own", TENANT))
        path = f"{where}/{name}"
        if kind == "subnet":
            await operator.patch(path, {"spec": {"allowSubnets": ["10.80.0.0/24"]}})
        unused = {"annotations": {"securetenant.dev/unused-since": "2026-01-01T00:00:00Z"}}
        await operator.patch(path, {"metadata": unused})
        status, answer = await operator.request("DELETE", path, params={"propagationPolicy": policy})
        assert status == 200, answer

        async def is_gone(path: str = path) -> bool:
            return await operator.find(path) is None

        await wait_for(is_gone, 60, f"{path} to be gone")


async def test_break_glass_is_let_through_and_told(plane: Plane, subnets: Json, glass: Admin) -> None:
    """Each use is a line in the audit log, with the tenant and what was changed."""
    assert plane.audit_log is not None
    offset = plane.audit_log.stat().st_size
    merged = "application/merge-patch+json"
    for kind, path in PATHS.items():
        change = {"spec": OPENED[kind]}
        status, answer = await glass.request("PATCH", path, change, content_type=merged, params=DRY)
        assert status == 200, answer
        status, answer = await glass.request("DELETE", path, params=DRY)
        assert status == 200, answer

    async def told() -> set[tuple[str, str]]:
        assert plane.audit_log is not None
        events, _ = audit.read(plane.audit_log, offset)
        mine = [
            event.get("annotations", {})
            for event in events
            if event.get("impersonatedUser", {}).get("username") == ONCALL
        ]
        found = {(one.get(f"{POLICY}/tenant", ""), one.get(f"{POLICY}/break-glass", "")) for one in mine}
        for kind in KINDS.values():
            assert (TENANT, f"spec of {kind.name} {NAME}") in found, found
            assert (TENANT, f"deletion of {kind.name} {NAME}") in found, found
        return found

    await wait_for(told, 10, "the use of break-glass to be in the audit log")


async def test_with_the_lock_off_all_but_the_addresses_is_free(operator: Admin, subnets: Json, mallory: Admin) -> None:
    for kind in KINDS:
        where = plugins.collection(kind)
        body = plugins.body(kind, "lock-subnets-off", TENANT, "v1;unlocked=namespaces,posture")
        await operator.create(where, body)
        path = f"{where}/{plugins.name('lock-subnets-off')}"
        for spec in MOVED[kind].values():
            assert is_refused(await merge(mallory, path, {"spec": spec}), "fixed: ")
        assert (await merge(mallory, path, {"spec": OPENED[kind]}))[0] == 200
        # Whoever takes the marks off has taken the lock off as well: that is drift, and put back.
        assert (await merge(mallory, path, {"metadata": METADATA["strip-marks"]}))[0] == 200
        await mallory.delete(path)


@pytest.mark.parametrize("value", [None, "", "v2;unlocked=posture", "unlocked=posture", "v1;unlocked=namespaces"])
async def test_what_cannot_be_read_is_the_strictest(
    operator: Admin, subnets: Json, mallory: Admin, value: str | None
) -> None:
    where = plugins.collection("subnet")
    body = plugins.body("subnet", "lock-subnets-odd", TENANT)
    body["metadata"]["annotations"] = {"securetenant.dev/locks": value} if value is not None else {}
    await operator.create(where, body)
    path = f"{where}/{plugins.name('lock-subnets-odd')}"
    assert is_refused(await merge(mallory, path, {"spec": FILLED["subnet"]}))
    await operator.delete(path)
