"""Subnets by Calico: IPPools and the namespaces' annotations, validated by Calico's own schema."""

import json
from collections.abc import AsyncIterator
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
        tenant = await stage.tenant("cal-new", spec(entry("cal-new-a", pool="cal-new"), entry("cal-new-b", cidr="10.62.0.0/28")))
        await tenant.agrees("nothing more to be done")
    for name, cidr, size in (("cal-new-a", "10.61.0.0/24", 26), ("cal-new-b", "10.62.0.0/28", 28)):
        made, place = tape.first("IPPool", f"{PREFIX}{name}"), tape.first("Namespace", name)
        assert pools.version(made) < pools.version(place)
        assert made["spec"] == ip_pool(cidr, size)
        assert {k: v for k, v in made["metadata"]["labels"].items()} == tenants.marks("cal-new", "subnets")
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


NODES: Final = {"spec": {"nodeSelector": "all()"}}
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


@pytest.mark.parametrize("change", [{"cidr": "10.65.1.0/24"}, {"blockSize": 28}, {"cidr": "10.65.0.0/25"}])
async def test_what_running_pods_depend_on_is_told_and_left(stage: Stage, shop: Tenant, change: Json) -> None:
    """Calico's addresses would be given twice if it was put back blindly."""
    before = (await stage.admin.get(SHOP["pool"]))["spec"]
    await stage.admin.patch(SHOP["pool"], {"spec": change}, params={"fieldManager": MANAGER})
    await shop.reported(CHANGED)
    (item,) = await shop.items()
    assert (item["kind"], item["name"]) == ("IPPool", f"{PREFIX}cal-shop-a")
    assert (await stage.admin.get(SHOP["pool"]))["spec"] == {**before, **change}
    # New pods stay bound to it: without the annotation they would get addresses of any other pool.
    assert (await pools.annotations(stage.admin, "cal-shop-a"))[V4] == listed("cal-shop-a")
    assert await pools.subnets(stage.admin, "cal-shop") == {"cal-shop-a": ["10.65.0.0/24"]}
    await stage.admin.patch(SHOP["pool"], {"spec": {key: before[key] for key in change}})
    await shop.cleared(CHANGED)
    await life.ready(stage.admin, "cal-shop")


async def test_a_pool_that_was_deleted_comes_back_as_it_was(stage: Stage, shop: Tenant) -> None:
    uid = (await stage.admin.get(SHOP["pool"]))["metadata"]["uid"]
    before = await tenants.content(stage.admin, SHOP["pool"])
    await stage.admin.delete(SHOP["pool"])
    await shop.healed(("subnets", "Missing"))
    assert (await stage.admin.get(SHOP["pool"]))["metadata"]["uid"] != uid
    assert await tenants.content(stage.admin, SHOP["pool"]) == before
    assert (await pools.annotations(stage.admin, "cal-shop-a"))[V4] == listed("cal-shop-a")
    await life.ready(stage.admin, "cal-shop")
