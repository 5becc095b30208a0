"""Subnets by Calico: IPPools and the namespaces' annotations, validated by Calico's own schema."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox.cni import crds
from tests.support import life, pools, tenants
from tests.support.life import NAMESPACES, Json
from tests.support.pools import CALICO, PREFIX, UNUSED, entry, spec
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
CHANGED: Final = ("subnets", "Changed")
V4: Final = "cni.projectcalico.org/ipv4pools"
V6: Final = "cni.projectcalico.org/ipv6pools"


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with pools.stage(plane, admin, tmp_path_factory.mktemp("operator"), crds.CALICO) as stage:
        yield stage


def ip_pool(cidr: str, size: int) -> Json:
    return {"cidr": cidr, "blockSize": size, "nodeSelector": "!all()"}


def listed(*names: str) -> str:
    return json.dumps([f"{PREFIX}{name}" for name in names])


async def test_pool_before_namespace(stage: Stage) -> None:
    """Event by event: at no moment is there a namespace of the tenant whose pods would get addresses elsewhere."""
    admin = stage.admin
    await pools.pool(admin, "cal-new", "10.61.0.0/22")
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        tenant = await stage.tenant(
            "cal-new", spec(entry("cal-new-a", pool="cal-new"), entry("cal-new-b", cidr="10.62.0.0/28"))
        )
        await tenant.agrees("nothing more to be done")
    for name, cidr, size in (("cal-new-a", "10.61.0.0/24", 26), ("cal-new-b", "10.62.0.0/28", 28)):
        made, place = tape.first("IPPool", f"{PREFIX}{name}"), tape.first("Namespace", name)
        assert pools.version(made) < pools.version(place)
        assert made["spec"] == ip_pool(cidr, size)
        assert made["metadata"]["labels"] == tenants.marks("cal-new", "subnets")
        for what, item in tape.of("Namespace", name):
            assert what != "DELETED"
            assert item["metadata"]["annotations"][V4] == listed(name)
        assert [what for what, _ in tape.of("IPPool", f"{PREFIX}{name}")] == ["ADDED"]
    await pools.told(tenant, "Given", "2 subnets by Calico", status="True")
    assert await pools.subnets(admin, "cal-new") == {"cal-new-a": ["10.61.0.0/24"], "cal-new-b": ["10.62.0.0/28"]}
    await pools.pool_status(admin, "cal-new", subnets=1, total="1024", allocated="256", free="768", largestFree="/23")
    assert await stage.operator.metric("securetenant_subnets", tenant="cal-new") == 2


async def test_dual_stack(stage: Stage) -> None:
    """An IPPool has one family, so there are two, and an annotation for each."""
    admin = stage.admin
    await pools.pool(admin, "cal-dual", "10.63.0.0/22", "2001:db8:63::/48")
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        tenant = await stage.tenant(
            "cal-dual",
            spec(
                entry("cal-dual-a", pool="cal-dual", prefixLength=26, prefixLengthV6=80),
                entry("cal-dual-b", cidr="10.64.0.0/24", cidrV6="2001:db8:64::/64"),
                entry("cal-dual-c", cidr="2001:db8:65::/64"),
            ),
        )
    for name, v4, v6 in (
        ("cal-dual-a", "10.63.0.0/26", "2001:db8:63::/80"),
        ("cal-dual-b", "10.64.0.0/24", "2001:db8:64::/64"),
    ):
        first, second = (tape.first("IPPool", f"{PREFIX}{name}{end}") for end in ("", ".v6"))
        assert [first["spec"], second["spec"]] == [ip_pool(v4, 26), ip_pool(v6, 122)]
        place = tape.first("Namespace", name)
        assert max(pools.version(first), pools.version(second)) < pools.version(place)
        assert await pools.annotations(admin, name) == {V4: listed(name), V6: listed(f"{name}.v6")}
    assert tape.first("IPPool", f"{PREFIX}cal-dual-c")["spec"] == ip_pool("2001:db8:65::/64", 122)
    assert await pools.annotations(admin, "cal-dual-c") == {V6: listed("cal-dual-c")}
    await tenant.agrees()
    await pools.told(tenant, "Given", "3 subnets", status="True")


#: What is done, and what comes of it: healed, or none of ours.
TAMPERINGS: Final = [
    pytest.param("pool", {"spec": {"nodeSelector": "all()"}}, True, id="open-to-all-nodes"),
    pytest.param("pool", {"spec": {"nodeSelector": None}}, True, id="no-node-selector"),
    pytest.param("pool", {"metadata": {"labels": {"securetenant.dev/tenant": "other"}}}, True, id="another's-mark"),
    pytest.param("pool", {"metadata": {"labels": dict.fromkeys(life.MARKS)}}, True, id="no-marks"),
    pytest.param("pool", {"metadata": {"annotations": {life.APPLIED: None}}}, True, id="no-record"),
    pytest.param("pool", {"spec": {"vxlanMode": "Always", "natOutgoing": True}}, False, id="tunnels"),
    pytest.param("pool", {"metadata": {"annotations": {"example.com/mine": "1"}}}, False, id="others'-annotation"),
    pytest.param("space", {"metadata": {"annotations": {V4: '["default-ipv4-ippool"]'}}}, True, id="another-pool"),
    pytest.param("space", {"metadata": {"annotations": {V4: "[]"}}}, True, id="any-pool"),
    pytest.param("space", {"metadata": {"annotations": {V4: None}}}, True, id="no-pool"),
    pytest.param("space", {"metadata": {"annotations": {V6: '["default-ipv6-ippool"]'}}}, True, id="ipv6-beside"),
]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    await pools.pool(stage.admin, "cal-shop", "10.65.0.0/16")
    return await stage.tenant("cal-shop", spec(entry("cal-shop-a", pool="cal-shop")))


SHOP: Final = {"pool": f"{CALICO}/{PREFIX}cal-shop-a", "space": f"{NAMESPACES}/cal-shop-a"}


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
        await stage.operator.metrics()
        assert await tenants.content(stage.admin, SHOP[where]) == changed
    assert (await stage.admin.get(SHOP[where]))["metadata"]["uid"] == uid
    assert await pools.subnets(stage.admin, "cal-shop") == {"cal-shop-a": ["10.65.0.0/24"]}


TILL: Final = {"pool": f"{CALICO}/{PREFIX}cal-till-a", "space": f"{NAMESPACES}/cal-till-a"}


@pytest_asyncio.fixture(scope="module")
async def till(stage: Stage) -> Tenant:
    """Another, since what is tampered with over and over is contested."""
    await pools.pool(stage.admin, "cal-till", "10.72.0.0/16")
    return await stage.tenant("cal-till", spec(entry("cal-till-a", pool="cal-till")))


@pytest.mark.parametrize("change", [{"cidr": "10.72.1.0/24"}, {"blockSize": 28}, {"cidr": "10.72.0.0/25"}])
async def test_what_running_pods_depend_on_is_told_and_left(stage: Stage, till: Tenant, change: Json) -> None:
    """Calico's addresses would be given twice if it was put back blindly."""
    async with pools.unlocked(stage.admin):
        before = (await stage.admin.get(TILL["pool"]))["spec"]
        await stage.admin.patch(TILL["pool"], {"spec": change}, params={"fieldManager": MANAGER})
        await till.reported(CHANGED)
        (item,) = await till.items()
        assert (item["kind"], item["name"]) == ("IPPool.crd.projectcalico.org", f"{PREFIX}cal-till-a")
        assert (await stage.admin.get(TILL["pool"]))["spec"] == {**before, **change}
        # New pods stay bound to it: without the annotation they would get addresses of any other pool.
        assert (await pools.annotations(stage.admin, "cal-till-a"))[V4] == listed("cal-till-a")
        assert await pools.subnets(stage.admin, "cal-till") == {"cal-till-a": ["10.72.0.0/24"]}
        await stage.admin.patch(TILL["pool"], {"spec": {key: before[key] for key in change}})
        await till.cleared(CHANGED)
    await life.ready(stage.admin, "cal-till")


async def test_a_pool_that_was_deleted_comes_back_as_it_was(stage: Stage, till: Tenant) -> None:
    uid = (await stage.admin.get(TILL["pool"]))["metadata"]["uid"]
    await stage.admin.delete(TILL["pool"])
    await till.healed(("subnets", "Missing"))
    made = await stage.admin.get(TILL["pool"])
    assert made["metadata"]["uid"] != uid
    assert made["spec"] == ip_pool("10.72.0.0/24", 26)
    assert made["metadata"]["labels"] == tenants.marks("cal-till", "subnets")
    assert (await pools.annotations(stage.admin, "cal-till-a"))[V4] == listed("cal-till-a")
    await life.ready(stage.admin, "cal-till")


async def test_addresses_of_others_are_told(stage: Stage) -> None:
    """A pool of the platform's own; Calico hands out the same addresses twice where two overlap."""
    admin = stage.admin
    await admin.create(CALICO, _ip_pool("cal-others", "10.66.0.0/20"))
    try:
        tenant = await stage.create("cal-over", spec(entry("cal-over-a", cidr="10.66.4.0/24"), {"name": "cal-over-b"}))
        await pools.told(tenant, "Overlap", "10.66.4.0/24", "IPPool/cal-others")
        # The tenant's other namespaces do not wait.
        await wait_for(lambda: admin.find(f"{NAMESPACES}/cal-over-b"), 20, "the other namespace")
        assert await admin.find(f"{NAMESPACES}/cal-over-a") is None
        assert await admin.find(f"{CALICO}/{PREFIX}cal-over-a") is None
        # Nor is anything in it given out of a pool.
        await pools.pool(admin, "cal-over", "10.66.8.0/21")
        await pools.pool_status(admin, "cal-over", free="0", reserved="2048", largestFree="")
        await tenant.edit({"namespaces": [entry("cal-over-a", pool="cal-over"), {"name": "cal-over-b"}]})
        await pools.told(tenant, "PoolExhausted", "SubnetPool cal-over")
    finally:
        await admin.delete(f"{CALICO}/cal-others")
    await life.ready(admin, "cal-over")
    assert await pools.subnets(admin, "cal-over") == {"cal-over-a": ["10.66.8.0/24"]}
    await pools.pool_status(admin, "cal-over", free="1792", allocated="256", reserved="0", largestFree="/22")
    # Somebody puts one over it afterwards: told, and neither is touched.
    await admin.create(CALICO, _ip_pool("cal-others", "10.66.8.128/25"))
    try:
        await pools.told(tenant, "Overlap", "10.66.8.0/24", "IPPool/cal-others")
        assert (await admin.get(f"{CALICO}/{PREFIX}cal-over-a"))["spec"] == ip_pool("10.66.8.0/24", 26)
        # While it is so, a pool of the tenant's that is deleted does not come back over the other's.
        await admin.delete(f"{CALICO}/{PREFIX}cal-over-a")
        await pools.told(tenant, "Overlap", "10.66.8.0/24", "IPPool/cal-others")
        assert (await pools.annotations(admin, "cal-over-a"))[V4] == listed("cal-over-a")
    finally:
        await admin.delete(f"{CALICO}/cal-others")
    await life.ready(admin, "cal-over")
    assert (await admin.get(f"{CALICO}/{PREFIX}cal-over-a"))["spec"] == ip_pool("10.66.8.0/24", 26)


def _ip_pool(name: str, cidr: str, **metadata: Any) -> Json:
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPPool",
        "metadata": {"name": name, **metadata},
        "spec": {"cidr": cidr},
    }


async def test_a_strangers_object_of_its_name_is_not_written(stage: Stage) -> None:
    admin = stage.admin
    await pools.pool(admin, "cal-name", "10.67.0.0/22")
    before = await admin.create(CALICO, _ip_pool(f"{PREFIX}cal-name-a", "10.68.0.0/24"))
    tenant = await stage.create("cal-name", spec(entry("cal-name-a", pool="cal-name")))
    await pools.told(tenant, "NameTaken", f"IPPool/{PREFIX}cal-name-a")
    await life.settled(stage.operator, "cal-name")
    assert await admin.get(f"{CALICO}/{PREFIX}cal-name-a") == before
    assert await admin.find(f"{NAMESPACES}/cal-name-a") is None
    await admin.delete(f"{CALICO}/{PREFIX}cal-name-a")
    await life.ready(admin, "cal-name")
    await tenant.agrees("another's object to be no drift of the tenant's")
    assert await pools.subnets(admin, "cal-name") == {"cal-name-a": ["10.67.0.0/24"]}


async def test_what_an_earlier_tenant_of_the_name_left_goes_first(stage: Stage) -> None:
    """Its mark proves nothing: it is not taken over, and neither are its addresses."""
    admin = stage.admin
    labels = tenants.marks("cal-late", "subnets")
    await admin.create(CALICO, _ip_pool(f"{PREFIX}cal-late-a", "10.73.0.0/24", labels=labels))
    tenant = await stage.create("cal-late", spec(entry("cal-late-a", cidr="10.74.0.0/24")))
    await pools.told(tenant, "Waiting", f"IPPool/{PREFIX}cal-late-a", "earlier tenant")
    assert await admin.find(f"{NAMESPACES}/cal-late-a") is None
    await life.ready(admin, "cal-late", pools.DELAY + 20)
    assert (await admin.get(f"{CALICO}/{PREFIX}cal-late-a"))["spec"] == ip_pool("10.74.0.0/24", 26)
    await tenant.agrees("what was left to be no drift")


async def test_deletion_keeps_the_addresses_for_a_while(stage: Stage) -> None:
    admin = stage.admin
    await pools.pool(admin, "cal-gone", "10.69.0.0/24", prefixLength=25)
    tenant = await stage.tenant(
        "cal-gone",
        spec(entry("cal-gone-a", pool="cal-gone"), entry("cal-gone-b", pool="cal-gone"), deletionPolicy="Delete"),
    )
    waiting = await stage.create("cal-heir", spec(entry("cal-heir-a", pool="cal-gone")))
    await pools.told(waiting, "PoolExhausted", "SubnetPool cal-gone", "/25")
    await pools.pool_status(admin, "cal-gone", subnets=2, free="0", allocated="256", largestFree="")
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        await tenant.delete()
        # No event tells that addresses came free: it is tried again after 30 s.
        await wait_for(lambda: tape.of("IPPool", f"{PREFIX}cal-heir-a"), pools.DELAY + 45, "the heir's pool")
        await life.ready(admin, "cal-heir")
    for name in ("cal-gone-a", "cal-gone-b"):
        ((gone, _),) = [event for event in tape.of("Namespace", name) if event[0] == "DELETED"]
        assert gone
        noted, deleted = tape.of("IPPool", f"{PREFIX}{name}")
        assert [noted[0], deleted[0]] == ["MODIFIED", "DELETED"]
        since = datetime.fromisoformat(noted[1]["metadata"]["annotations"][UNUSED])
        assert abs((since - datetime.now(UTC)).total_seconds()) < 60
    first = min(tape.index("IPPool", f"{PREFIX}cal-gone-{name}", "DELETED") for name in "ab")
    assert tape.index("IPPool", f"{PREFIX}cal-heir-a", "ADDED") > first
    assert (
        tape.times["IPPool", f"{PREFIX}cal-gone-a", "DELETED"] - tape.times["Namespace", "cal-gone-a", "DELETED"]
        > pools.DELAY - 1.5
    )
    assert await pools.subnets(admin, "cal-heir") == {"cal-heir-a": ["10.69.0.0/25"]}
    await pools.pool_status(admin, "cal-gone", subnets=1, free="128", allocated="128", largestFree="/25")


async def test_retained_namespaces_keep_their_subnet(stage: Stage) -> None:
    """It is the administrators' from then on, still in use, and given to nobody."""
    admin = stage.admin
    await pools.pool(admin, "cal-keep", "10.70.0.0/24", prefixLength=25)
    tenant = await stage.tenant("cal-keep", spec(entry("cal-keep-a", pool="cal-keep")))
    bound = await pools.annotations(admin, "cal-keep-a")
    await tenant.delete()
    found = await admin.get(f"{CALICO}/{PREFIX}cal-keep-a")
    assert found["spec"] == ip_pool("10.70.0.0/25", 26)
    assert life.marked({"": {"labels": {}, "annotations": {}, **found["metadata"]}}) == []
    assert await pools.annotations(admin, "cal-keep-a") == bound
    other = await stage.tenant("cal-next", spec(entry("cal-next-a", pool="cal-keep")))
    assert await pools.subnets(admin, "cal-next") == {"cal-next-a": ["10.70.0.128/25"]}
    await pools.pool_status(admin, "cal-keep", subnets=1, free="0", reserved="128", allocated="128")
    await other.agrees()
    # Nobody cleans up after it: without our marks it is not ours to delete.
    await admin.delete(f"{NAMESPACES}/cal-keep-a")
    await life.gone(admin, f"{NAMESPACES}/cal-keep-a")
    await admin.delete(f"{CALICO}/{PREFIX}cal-keep-a")
    await pools.pool_status(admin, "cal-keep", subnets=1, free="128", reserved="0", allocated="128")


async def test_a_deleted_namespace_comes_back_with_its_subnet(stage: Stage, till: Tenant) -> None:
    """Somebody deletes the namespace and not the tenant: the block is the same, and the annotation is there at once."""
    async with pools.recorded(stage.admin, NAMESPACES, CALICO) as tape:
        uid = (await stage.admin.get(TILL["space"]))["metadata"]["uid"]
        await stage.admin.delete(TILL["space"])

        async def is_back() -> bool:
            found = await stage.admin.find(TILL["space"])
            return found is not None and found["metadata"]["uid"] != uid

        await wait_for(is_back, 30, "the namespace to be back")
        await life.ready(stage.admin, "cal-till", 30)
    added = [item for what, item in tape.of("Namespace", "cal-till-a") if what == "ADDED"]
    assert [item["metadata"]["annotations"][V4] for item in added] == [listed("cal-till-a")]
    assert "DELETED" not in [what for what, _ in tape.of("IPPool", f"{PREFIX}cal-till-a")]
    assert (await stage.admin.get(TILL["pool"]))["spec"] == ip_pool("10.72.0.0/24", 26)
    assert UNUSED not in (await stage.admin.get(TILL["pool"]))["metadata"]["annotations"]


async def test_without_the_component_the_condition_names_it(stage: Stage) -> None:
    admin = stage.admin
    await admin.kubectl("delete", "-f", str(pools.RIGHTS))
    try:
        tenant = await stage.create("cal-bare", spec(entry("cal-bare-a", cidr="10.71.0.0/24"), {"name": "cal-bare-b"}))

        async def is_told() -> bool:
            ready = await tenant.condition("Ready")
            assert ready.get("status") == "False", ready
            assert "manifests/components/subnets" in ready["message"], ready
            assert f"IPPool/{PREFIX}cal-bare-a" in ready["message"], ready
            return True

        await wait_for(is_told, 20, "the condition to name the component")
        assert await admin.find(f"{NAMESPACES}/cal-bare-b") is not None
        assert await admin.find(f"{NAMESPACES}/cal-bare-a") is None
    finally:
        await admin.apply(pools.RIGHTS)
    await life.ready(admin, "cal-bare", 40)
    assert (await admin.get(f"{CALICO}/{PREFIX}cal-bare-a"))["spec"] == ip_pool("10.71.0.0/24", 26)
