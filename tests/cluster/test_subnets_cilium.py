"""Subnets by Cilium: CiliumPodIPPools and the namespaces' annotations, validated by Cilium's own schema and rules."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox.cni import crds
from tests.support import life, pools, tenants
from tests.support.life import NAMESPACES, Json
from tests.support.pools import CILIUM, PREFIX, UNUSED, entry, spec
from tests.support.sandbox import JSON_PATCH, Admin, ApiError, Plane, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
CHANGED: Final = ("subnets", "Changed")
POOL: Final = "ipam.cilium.io/ip-pool"
REQUIRED: Final = "ipam.cilium.io/require-pool-match"
V4: Final = "ipam.cilium.io/ipv4-pool"
V6: Final = "ipam.cilium.io/ipv6-pool"
#: By the API server, in each pool.
DEFAULTED: Final = {"allowFirstIP": False, "allowLastIP": False}


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with pools.stage(plane, admin, tmp_path_factory.mktemp("operator"), crds.CILIUM) as stage:
        yield stage


def family(cidr: str, size: int) -> Json:
    return {"cidrs": [cidr], "maskSize": size}


def bound(name: str) -> dict[str, str]:
    return {POOL: f"{PREFIX}{name}", REQUIRED: "true"}


async def test_pool_before_namespace(stage: Stage) -> None:
    """Event by event: at no moment is there a namespace of the tenant whose pods would get addresses elsewhere."""
    admin = stage.admin
    await pools.pool(admin, "cil-new", "10.81.0.0/22", "2001:db8:81::/48", prefixLengthV6=96)
    async with pools.recorded(admin, NAMESPACES, CILIUM) as tape:
        entries = [
            entry("cil-new-a", pool="cil-new"),
            entry("cil-new-b", cidr="10.82.0.0/28"),
            entry("cil-new-c", cidr="2001:db8:82::/64"),
        ]
        tenant = await stage.tenant("cil-new", spec(*entries))
    specs = {
        "cil-new-a": {"ipv4": family("10.81.0.0/24", 28), "ipv6": family("2001:db8:81::/96", 100)},
        "cil-new-b": {"ipv4": family("10.82.0.0/28", 28)},
        "cil-new-c": {"ipv6": family("2001:db8:82::/64", 68)},
    }
    for name, expected in specs.items():
        made, place = tape.first("CiliumPodIPPool", f"{PREFIX}{name}"), tape.first("Namespace", name)
        assert pools.version(made) < pools.version(place)
        assert made["spec"] == expected | DEFAULTED
        assert made["metadata"]["labels"] == tenants.marks("cil-new", "subnets")
        for what, item in tape.of("Namespace", name):
            assert what != "DELETED"
            assert item["metadata"]["annotations"].items() >= bound(name).items()
            assert not {V4, V6} & item["metadata"]["annotations"].keys()
        # What the API server fills in is not written again.
        assert [what for what, _ in tape.of("CiliumPodIPPool", f"{PREFIX}{name}")] == ["ADDED"]
    await pools.told(tenant, "Given", "3 subnets by Cilium", status="True")
    await pools.pool_status(admin, "cil-new", subnets=1, total="1024", allocated="256", free="768", largestFree="/23")


SELECTOR: Final = {"matchLabels": {"app": "web"}}
#: What is done, and whether it is healed, or none of ours.
TAMPERINGS: Final = [
    pytest.param("pool", {"spec": {"podSelector": SELECTOR}}, True, id="for-pods-of-all"),
    pytest.param("pool", {"spec": {"namespaceSelector": SELECTOR}}, True, id="for-other-namespaces"),
    pytest.param("pool", {"metadata": {"labels": {"securetenant.dev/tenant": "other"}}}, True, id="another's-mark"),
    pytest.param("pool", {"metadata": {"labels": dict.fromkeys(life.MARKS)}}, True, id="no-marks"),
    pytest.param("pool", {"metadata": {"annotations": {"example.com/mine": "1"}}}, False, id="others'-annotation"),
    pytest.param("space", {"metadata": {"annotations": {POOL: "default"}}}, True, id="another-pool"),
    pytest.param("space", {"metadata": {"annotations": {POOL: None}}}, True, id="no-pool"),
    pytest.param("space", {"metadata": {"annotations": {REQUIRED: None}}}, True, id="not-required"),
    pytest.param("space", {"metadata": {"annotations": {REQUIRED: "false"}}}, True, id="required-false"),
    pytest.param("space", {"metadata": {"annotations": {V4: "default"}}}, True, id="by-family"),
    pytest.param("space", {"metadata": {"annotations": {V4: f"{PREFIX}cil-shop-a"}}}, True, id="by-family-the-same"),
    pytest.param("space", {"metadata": {"annotations": {V6: "default", V4: ""}}}, True, id="by-both-families"),
]
SHOP: Final = {"pool": f"{CILIUM}/{PREFIX}cil-shop-a", "space": f"{NAMESPACES}/cil-shop-a"}


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    await pools.pool(stage.admin, "cil-shop", "10.83.0.0/16")
    return await stage.tenant("cil-shop", spec(entry("cil-shop-a", pool="cil-shop")))


@pytest.mark.parametrize(("where", "patch", "is_healed"), TAMPERINGS)
async def test_tampering_is_healed(stage: Stage, shop: Tenant, where: str, patch: Json, is_healed: bool) -> None:
    before = await tenants.content(stage.admin, SHOP[where])
    uid = (await stage.admin.get(SHOP[where]))["metadata"]["uid"]
    await stage.admin.patch(SHOP[where], patch, params={"fieldManager": MANAGER})
    if is_healed:
        await shop.healed(CHANGED)
        assert await tenants.content(stage.admin, SHOP[where]) == before
    else:
        changed = await tenants.content(stage.admin, SHOP[where])
        assert changed != before
        await shop.agrees("what is not ours to be no drift")
        assert await tenants.content(stage.admin, SHOP[where]) == changed
    assert (await stage.admin.get(SHOP[where]))["metadata"]["uid"] == uid
    assert await pools.subnets(stage.admin, "cil-shop") == {"cil-shop-a": ["10.83.0.0/24"]}


TILL: Final = {"pool": f"{CILIUM}/{PREFIX}cil-till-a", "space": f"{NAMESPACES}/cil-till-a"}


@pytest_asyncio.fixture(scope="module")
async def till(stage: Stage) -> Tenant:
    """Another, since what is tampered with over and over is contested."""
    await pools.pool(stage.admin, "cil-till", "10.90.0.0/16")
    return await stage.tenant("cil-till", spec(entry("cil-till-a", pool="cil-till")))


@pytest.mark.parametrize(
    "change",
    [
        {"ipv4": {"cidrs": ["10.90.1.0/24"]}},
        {"ipv4": {"cidrs": ["10.90.0.0/24", "10.90.7.0/24"]}},
        {"ipv6": {"cidrs": ["2001:db8:83::/64"], "maskSize": 80}},
    ],
    ids=["other-addresses", "more-addresses", "ipv6"],
)
async def test_what_running_pods_depend_on_is_told_and_left(stage: Stage, till: Tenant, change: Json) -> None:
    """Cilium would give the addresses twice if it was put back blindly."""
    async with pools.unlocked(stage.admin):
        before = (await stage.admin.get(TILL["pool"]))["spec"]
        await stage.admin.patch(TILL["pool"], {"spec": change}, params={"fieldManager": MANAGER})
        changed = (await stage.admin.get(TILL["pool"]))["spec"]
        await till.reported(CHANGED)
        (item,) = await till.items()
        assert (item["kind"], item["name"]) == ("CiliumPodIPPool.cilium.io", f"{PREFIX}cil-till-a")
        await pools.told(till, "Moved", f"CiliumPodIPPool/{PREFIX}cil-till-a")
        # The rest is put right all the same.
        await stage.admin.patch(TILL["pool"], {"spec": {"podSelector": SELECTOR}}, params={"fieldManager": MANAGER})
        till.corrected.update([CHANGED])  # found it was before: the pool stands as changed all the time

        async def is_left() -> bool:
            return bool((await stage.admin.get(TILL["pool"]))["spec"] == changed)

        await wait_for(is_left, 20, "the selector to be gone again")
        assert (await pools.annotations(stage.admin, "cil-till-a")).items() >= bound("cil-till-a").items()
        assert await pools.subnets(stage.admin, "cil-till") == {"cil-till-a": ["10.90.0.0/24"]}
        await till.agrees("the selector to be counted as corrected")
        restored = [{"op": "replace", "path": "/spec", "value": before}]
        await stage.admin.patch(TILL["pool"], restored, JSON_PATCH)
        await till.cleared(CHANGED)
        await pools.told(till, "Given", status="True")


async def test_cilium_refuses_another_mask(stage: Stage, till: Tenant) -> None:
    """The schema is Cilium's own, with its rules."""
    with pytest.raises(ApiError) as refused:
        await stage.admin.patch(TILL["pool"], {"spec": {"ipv4": {"maskSize": 26}}})
    assert "maskSize is immutable" in str(refused.value)


async def test_a_pool_that_was_deleted_comes_back_as_it_was(stage: Stage, till: Tenant) -> None:
    """Cilium lets its pods go on, and would give the addresses again to whoever has them next."""
    before = await stage.admin.get(TILL["pool"])
    await stage.admin.delete(TILL["pool"])

    async def is_back() -> bool:
        found = await stage.admin.find(TILL["pool"])
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    await wait_for(is_back, 20, "the pool to be back")
    assert (await stage.admin.get(TILL["pool"]))["spec"] == before["spec"]
    assert (await pools.annotations(stage.admin, "cil-till-a")).items() == bound("cil-till-a").items()
    await life.ready(stage.admin, "cil-till")
    assert (await life.drift(stage.operator, "cil-till", "corrected_total"))["subnets", "Missing"] == 1


def _pool(name: str, cidr: str, **metadata: Any) -> Json:
    return {
        "apiVersion": "cilium.io/v2alpha1",
        "kind": "CiliumPodIPPool",
        "metadata": {"name": name, **metadata},
        "spec": {"ipv4": {"cidrs": [cidr], "maskSize": 28}},
    }


async def test_addresses_of_others_are_told(stage: Stage) -> None:
    """Cilium gives out the same addresses twice where two pools overlap, without an error."""
    admin = stage.admin
    await admin.create(CILIUM, _pool("cil-others", "10.84.0.0/20"))
    try:
        tenant = await stage.create("cil-over", spec(entry("cil-over-a", cidr="10.84.4.0/24")))
        await pools.told(tenant, "Overlap", "10.84.4.0/24", "CiliumPodIPPool/cil-others")
        assert await admin.find(f"{NAMESPACES}/cil-over-a") is None
        assert await admin.find(f"{CILIUM}/{PREFIX}cil-over-a") is None
    finally:
        await admin.delete(f"{CILIUM}/cil-others")
    await life.ready(admin, "cil-over", 30)
    assert await pools.annotations(admin, "cil-over-a") == bound("cil-over-a")


async def test_a_strangers_object_of_its_name_is_not_written(stage: Stage) -> None:
    admin = stage.admin
    before = await admin.create(CILIUM, _pool(f"{PREFIX}cil-name-a", "10.85.0.0/24"))
    tenant = await stage.create("cil-name", spec(entry("cil-name-a", cidr="10.86.0.0/24")))
    await pools.told(tenant, "NameTaken", f"CiliumPodIPPool/{PREFIX}cil-name-a")
    await life.settled(stage.operator, "cil-name")
    assert await admin.get(f"{CILIUM}/{PREFIX}cil-name-a") == before
    assert await admin.find(f"{NAMESPACES}/cil-name-a") is None
    await admin.delete(f"{CILIUM}/{PREFIX}cil-name-a")
    await life.ready(admin, "cil-name")
    await tenant.agrees("another's object to be no drift of the tenant's")


async def test_deletion_keeps_the_addresses_for_a_while(stage: Stage) -> None:
    admin = stage.admin
    tenant = await stage.tenant("cil-gone", spec(entry("cil-gone-a", cidr="10.87.0.0/24"), deletionPolicy="Delete"))
    async with pools.recorded(admin, NAMESPACES, CILIUM) as tape:
        await tenant.delete()
        heir = await stage.create("cil-heir", spec(entry("cil-heir-a", cidr="10.87.0.128/25")))
        await pools.told(heir, "Overlap", "10.87.0.128/25", "10.87.0.0/24")
        await life.gone(admin, f"{CILIUM}/{PREFIX}cil-gone-a", pools.DELAY + 20)
        await life.ready(admin, "cil-heir", 60)
    noted, deleted = tape.of("CiliumPodIPPool", f"{PREFIX}cil-gone-a")
    assert [noted[0], deleted[0]] == ["MODIFIED", "DELETED"]
    assert datetime.fromisoformat(noted[1]["metadata"]["annotations"][UNUSED])
    kept = tape.times["CiliumPodIPPool", f"{PREFIX}cil-gone-a", "DELETED"]
    assert kept - tape.times["Namespace", "cil-gone-a", "DELETED"] > pools.DELAY - 1.5


async def test_retained_namespaces_keep_their_subnet(stage: Stage) -> None:
    admin = stage.admin
    tenant = await stage.tenant("cil-keep", spec(entry("cil-keep-a", cidr="10.88.0.0/24")))
    before = (await admin.get(f"{CILIUM}/{PREFIX}cil-keep-a"))["spec"]
    await tenant.delete()
    found = await admin.get(f"{CILIUM}/{PREFIX}cil-keep-a")
    assert found["spec"] == before
    assert not set(life.MARKS) & found["metadata"].get("labels", {}).keys()
    assert await pools.annotations(admin, "cil-keep-a") == bound("cil-keep-a")
    other = await stage.create("cil-next", spec(entry("cil-next-a", cidr="10.88.0.0/25")))
    await pools.told(other, "Overlap", f"CiliumPodIPPool/{PREFIX}cil-keep-a")
    await admin.delete(f"{CILIUM}/{PREFIX}cil-keep-a")


async def test_without_the_component_the_condition_names_it(stage: Stage) -> None:
    admin = stage.admin
    await admin.kubectl("delete", "-f", str(pools.RIGHTS))
    try:
        tenant = await stage.create("cil-bare", spec(entry("cil-bare-a", cidr="10.89.0.0/24")))

        async def is_told() -> bool:
            message = (await tenant.condition("Ready")).get("message", "")
            assert "manifests/components/subnets" in message
            assert f"CiliumPodIPPool/{PREFIX}cil-bare-a" in message
            return True

        await wait_for(is_told, 20, "the condition to name the component")
        assert await admin.find(f"{NAMESPACES}/cil-bare-a") is None
    finally:
        await admin.apply(pools.RIGHTS)
    await life.ready(admin, "cil-bare", 40)
