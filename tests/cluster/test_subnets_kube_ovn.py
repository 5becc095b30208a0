"""Subnets of Kube-OVN: the operator as it ships, on a real API server, beside a double of Kube-OVN's controller."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from sandbox import audit
from sandbox.cni.kube_ovn import SUBNETS, SWITCH, KubeOvn
from sandbox.plane import Plane
from tests.support import kubeovn, life, pools
from tests.support.kubeovn import becomes, blocks, bound, path, spec, told
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
OPERATOR: Final = "system:serviceaccount:securetenant-system:securetenant"
CHANGED: Final = ("subnets", "Changed")
#: Of the double's `ovn-default`, where DNS is, and of its `join`.
PODS, NODES = "10.16.0.0/16", "100.64.0.0/16"


@pytest_asyncio.fixture(scope="module")
async def controller(plane: Plane, admin: Admin, manifests: None) -> AsyncIterator[KubeOvn]:
    async with kubeovn.running(plane, admin) as controller:
        yield controller


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, controller: KubeOvn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with kubeovn.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        await kubeovn.pool(admin, "prod", "10.60.0.0/16")
        yield stage


def acl(own: str, *allowed: str) -> Json:
    sources = ", ".join((own, *allowed, NODES))
    match = f"ip4 && ip4.src != {{{sources}}} && ip4.dst == {own}"
    return {"direction": "to-lport", "priority": 2500, "match": match, "action": "drop"}


@contextlib.asynccontextmanager
async def recorded(admin: Admin, *collections: str) -> AsyncIterator[list[tuple[int, str, str, Json]]]:
    """Every change of these collections, as (version, type, collection, object), in any order."""
    found: list[tuple[int, str, str, Json]] = []

    async def follow(collection: str, version: str) -> None:
        async for kind, item in admin.watch(collection, version):
            found.append((int(item["metadata"]["resourceVersion"]), kind, collection, item))

    versions = [(one, (await admin.get(one))["metadata"]["resourceVersion"]) for one in collections]
    tasks = [asyncio.create_task(follow(*each)) for each in versions]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_subnet_is_ready_before_its_namespace_is_made(stage: Stage) -> None:
    async with recorded(stage.admin, SUBNETS, NAMESPACES) as found:
        tenant = await stage.tenant(
            "ovn-first", spec(("ovn-first-a", {"pool": "prod"}), ("ovn-first-b", {"cidr": "10.61.0.0/24"}))
        )
        for name in ("ovn-first-a", "ovn-first-b"):
            await bound(stage.admin, name, f"securetenant-{name}")
    for name in ("ovn-first-a", "ovn-first-b"):
        ((born, *_),) = (
            one for one in found if one[1:3] == ("ADDED", NAMESPACES) and one[3]["metadata"]["name"] == name
        )
        before = [one for one in found if one[0] < born and one[3]["metadata"]["name"] == f"securetenant-{name}"]
        assert before
        assert kubeovn.conditions(max(before, key=lambda one: one[0])[3]) == {"Validated": "True", "Ready": "True"}
        switches = {
            item["metadata"].get("annotations", {}).get(SWITCH)
            for _, _, where, item in found
            if (where, item["metadata"]["name"]) == (NAMESPACES, name)
        }
        assert switches == {None, f"securetenant-{name}"}  # never in another

    (block,) = (await blocks(tenant)).pop("ovn-first-a")
    assert block.startswith("10.60.")
    assert block.endswith("/24")
    await told(tenant, "True", "Given", "2 subnets by KubeOVN")
    for name, own in (("ovn-first-a", block), ("ovn-first-b", "10.61.0.0/24")):
        subnet = await stage.admin.get(path(name))
        given = {key: subnet["spec"][key] for key in ("cidrBlock", "private", "allowSubnets", "namespaces", "acls")}
        assert given == {
            "cidrBlock": own,
            "private": True,
            "allowSubnets": [PODS],  # DNS
            "namespaces": [name],
            "acls": [acl(own, PODS)],
        }
    assert await stage.operator.metric("securetenant_subnets", tenant="ovn-first") == 2


@contextlib.asynccontextmanager
async def unwritten(stage: Stage, *objects: str) -> AsyncIterator[None]:
    """The operator writes none of these within the block, but writes something."""
    log = stage.plane.audit_log
    if log is None:
        pytest.skip("an existing cluster's audit log is not here")
    offset = audit.end(log)
    yield
    asked, _ = audit.requests(log, OPERATOR, offset)
    writes = [one for one in asked if one.split()[0] in ("create", "update", "patch", "delete")]
    assert writes
    assert [one for one in writes if any(each in one for each in objects)] == []


async def judged(tenant: Tenant, generation: int) -> None:
    async def is_judged() -> bool:
        return bool((await tenant.get())["status"].get("observedGeneration") == generation)

    await wait_for(is_judged, 20, f"generation {generation} of {tenant.name} to be judged")


async def test_what_the_controller_fills_in_is_not_fought(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-calm", spec(("ovn-calm-a", {"pool": "prod"})))
    await bound(stage.admin, "ovn-calm-a", "securetenant-ovn-calm-a")
    await tenant.agrees()
    async with unwritten(stage, "subnets/", "namespaces/ovn-calm-a"):
        for number in range(3):
            await tenant.edit({"displayName": f"calm {number}"})
            await stage.admin.patch(f"{path('ovn-calm-a')}/status", {"status": {"v4usingIPs": number}})
        await tenant.agrees()
    assert (await stage.admin.get(path("ovn-calm-a")))["metadata"]["generation"] == 2


#: What is done to the spec of a Subnet, and which field is told.
TAMPERINGS: Final = [
    pytest.param({"private": False}, "spec.private", id="open"),
    pytest.param({"private": None}, "spec.private", id="drop-private"),
    pytest.param({"allowSubnets": ["0.0.0.0/0"]}, "spec.allowSubnets", id="widen"),
    pytest.param({"allowSubnets": []}, "spec.allowSubnets", id="narrow"),
    pytest.param({"acls": []}, "spec.acls", id="drop-acls"),
    pytest.param({"acls": [{**acl("10.0.0.0/8"), "match": "nonsense"}]}, "spec.acls", id="void-acls"),
    # Pods of `default` would get addresses that the tenant's peers take for the tenant's.
    pytest.param(
        {"namespaceSelectors": [{"matchLabels": {"kubernetes.io/metadata.name": "default"}}]},
        "spec.namespaceSelectors",
        id="shared",
    ),
]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant with a namespace for each tampering."""
    names = [f"ovn-shop-{number}" for number in range(len(TAMPERINGS) + 4)]
    tenant = await stage.tenant("ovn-shop", spec(*((name, {"pool": "prod"}) for name in names)))
    for name in names:
        await bound(stage.admin, name, f"securetenant-{name}")
    return tenant


@pytest.mark.parametrize(("changed", "where"), TAMPERINGS)
async def test_tampering_is_healed(
    stage: Stage, shop: Tenant, changed: Json, where: str, request: pytest.FixtureRequest
) -> None:
    name = f"ovn-shop-{[param.id for param in TAMPERINGS].index(request.node.callspec.id)}"
    before = (await stage.admin.get(path(name)))["spec"]
    await stage.admin.patch(path(name), {"spec": changed}, params={"fieldManager": MANAGER})
    await shop.healed(CHANGED)
    assert (await stage.admin.get(path(name)))["spec"] == before
    last = shop.told()[-1]
    assert last["object"] == f"Subnet/securetenant-{name}"
    assert last["path"].startswith(where)


async def test_a_taken_namespace_is_bound_again(stage: Stage, shop: Tenant) -> None:
    """The plug-in's answer may be seen or not before all is put right: that it let the namespace go."""
    name = f"ovn-shop-{len(TAMPERINGS)}"
    await stage.admin.patch(path(name), {"spec": {"namespaces": []}})
    await becomes(stage.admin, name, namespaces=[name])
    await bound(stage.admin, name, f"securetenant-{name}")
    await somehow_healed(shop)


async def somehow_healed(tenant: Tenant) -> None:
    """What was found is over, however many steps of it were seen. What Kube-OVN made good first is found and not
    corrected: it binds a namespace again as soon as the Subnet says so."""

    async def is_over() -> bool:
        status = (await tenant.get())["status"]
        assert status["drift"]["total"] == 0, status
        assert await tenant.operator.metric("securetenant_workqueue_depth") == 0
        found, undone = [
            Counter(await life.drift(tenant.operator, tenant.name, f"{kind}_total"))
            for kind in ("detected", "corrected")
        ]
        assert {control for control, _ in found} == {"subnets"}
        assert found - tenant.detected
        assert undone - tenant.corrected <= found - tenant.detected
        tenant.detected, tenant.corrected = found, undone
        return True

    await wait_for(is_over, 20, "what was found to be over")
    await tenant.agrees()


async def test_another_subnet_on_the_namespace_is_taken_off(stage: Stage, shop: Tenant) -> None:
    name = f"ovn-shop-{len(TAMPERINGS) + 1}"
    wrong = {"metadata": {"annotations": {SWITCH: "ovn-default"}}}
    await stage.admin.patch(f"{NAMESPACES}/{name}", wrong, params={"fieldManager": MANAGER})
    await shop.healed(CHANGED)
    await bound(stage.admin, name, f"securetenant-{name}")
    last = shop.told()[-1]
    assert (last["object"], last["path"]) == (f"Namespace/{name}", f"annotations.{SWITCH}")
    # Taken away by others, Kube-OVN writes it again: nothing of ours.
    await stage.admin.patch(f"{NAMESPACES}/{name}", {"metadata": {"annotations": {SWITCH: None}}})
    await bound(stage.admin, name, f"securetenant-{name}")
    await shop.agrees()


async def test_one_that_a_stranger_deletes_is_made_again_with_the_same_block(stage: Stage, shop: Tenant) -> None:
    name = f"ovn-shop-{len(TAMPERINGS) + 2}"
    before = await stage.admin.get(path(name))
    await stage.admin.delete(path(name))

    async def is_new() -> bool:
        found = await stage.admin.get(path(name))
        assert found["metadata"]["uid"] != before["metadata"]["uid"]
        assert found["spec"] == before["spec"]
        return True

    await wait_for(is_new, 20, "the Subnet to be made again")
    await bound(stage.admin, name, f"securetenant-{name}")
    await somehow_healed(shop)
    await told(shop, "True", "Given")


@pytest.mark.parametrize("how", ["named", "selected"])
async def test_another_subnet_that_binds_it_too_is_foreign(stage: Stage, how: str) -> None:
    """Kube-OVN says nothing of it. What it writes on the namespace then is not fought."""
    name, other = f"ovn-two-{how}", f"ovn-other-{how}"
    tenant = await stage.tenant(name, spec((f"{name}-a", {"pool": "prod"})))
    await bound(stage.admin, f"{name}-a", f"securetenant-{name}-a")
    by_label = {"namespaceSelectors": [{"matchLabels": {"kubernetes.io/metadata.name": f"{name}-a"}}]}
    given = {"namespaces": [f"{name}-a"]} if how == "named" else by_label
    await kubeovn.create(stage.admin, other, cidrBlock=f"10.64.{len(how)}.0/24", **given)
    await bound(stage.admin, f"{name}-a", f"{other},securetenant-{name}-a")

    async def is_told() -> bool:
        found = {(one["kind"], one["name"], one["reason"]) for one in await tenant.items()}
        assert found == {("Subnet.kubeovn.io", other, "Foreign")}, found
        return True

    await wait_for(is_told, 20, "the other Subnet to be told")
    await told(tenant, "False", "Shared")
    await life.settled(stage.operator, name)
    async with unwritten(stage, f"namespaces/{name}-a"):
        for number in range(3):
            generation = (await life.edit(stage.admin, name, {"displayName": f"pass {number}"}))["metadata"][
                "generation"
            ]
            await judged(tenant, generation)
            await is_told()
    await stage.admin.delete(f"{SUBNETS}/{other}")
    await bound(stage.admin, f"{name}-a", f"securetenant-{name}-a")
    await life.ready(stage.admin, name)


async def test_moved_addresses_are_told_and_never_put_right(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-move", spec(("ovn-move-a", {"cidr": "10.62.0.0/24"})))
    moved = {"cidrBlock": "10.62.9.0/24", "gateway": "10.62.9.1", "excludeIps": ["10.62.9.1"]}
    async with pools.unlocked(stage.admin):
        await stage.admin.patch(path("ovn-move-a"), {"spec": moved})
        await tenant.reported(CHANGED)
        await told(tenant, "False", "Moved", "10.62.0.0/24", "10.62.9.0/24")
        (item,) = await tenant.items()
        assert (item["name"], item["path"]) == ("securetenant-ovn-move-a", "spec.cidrBlock")
        # The rest is ours all the same.
        await stage.admin.patch(path("ovn-move-a"), {"spec": {"private": False}})
        await becomes(stage.admin, "ovn-move-a", private=True, **moved)
        tenant.corrected.update([CHANGED])
        await tenant.agrees()
        assert await blocks(tenant) == {"ovn-move-a": ["10.62.0.0/24"]}
        back = {"cidrBlock": "10.62.0.0/24", "gateway": "10.62.0.1", "excludeIps": ["10.62.0.1"]}
        await stage.admin.patch(path("ovn-move-a"), {"spec": back})
    await tenant.cleared(CHANGED)
    await told(tenant, "True", "Given")


async def test_an_overlap_is_told_before_and_after(stage: Stage, controller: KubeOvn) -> None:
    await kubeovn.create(stage.admin, "ovn-theirs", cidrBlock="10.63.0.0/24")
    tenant = await stage.create("ovn-lap", spec(("ovn-lap-a", {"cidr": "10.63.0.128/25"})))
    await told(tenant, "False", "Overlap", "10.63.0.128/25 of ovn-lap-a overlaps 10.63.0.0/24", "Subnet/ovn-theirs")
    assert await stage.admin.find(path("ovn-lap-a")) is None
    assert await stage.admin.find(f"{NAMESPACES}/ovn-lap-a") is None
    await stage.admin.delete(f"{SUBNETS}/ovn-theirs")
    await life.ready(stage.admin, "ovn-lap", 60)

    await kubeovn.create(stage.admin, "ovn-theirs", cidrBlock="10.63.0.0/24")
    await told(tenant, "False", "Overlap", "10.63.0.128/25 of ovn-lap-a overlaps 10.63.0.0/24", "Subnet/ovn-theirs")
    # The freeze: what is taken back now is not, in truth. That is told as well, by Kube-OVN.
    await life.edit(stage.admin, "ovn-lap", {"network": {"dns": False}})
    await becomes(stage.admin, "ovn-lap-a", allowSubnets=[])
    await kubeovn.says(stage.admin, "securetenant-ovn-lap-a", Ready="False")
    assert controller.enforced["securetenant-ovn-lap-a"]["allowSubnets"] == [PODS]
    await stage.admin.delete(f"{SUBNETS}/ovn-theirs")
    await life.ready(stage.admin, "ovn-lap", 60)
    assert controller.enforced["securetenant-ovn-lap-a"]["allowSubnets"] == []
    await tenant.agrees()
