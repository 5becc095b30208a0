"""The life of Kube-OVN's subnets: what they may exchange packets with, and how they end. Beside a double of Kube-OVN's
controller."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from sandbox.cni import kube_ovn
from sandbox.cni.kube_ovn import FINALIZER, SUBNETS, KubeOvn
from sandbox.plane import Plane
from tests.cluster.test_cli import cli
from tests.support import kubeovn, life
from tests.support.kubeovn import UNUSED, becomes, blocks, bound, path, spec, told
from tests.support.life import APPLIED, MARKS, NAMESPACES
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import Stage, peer_rule

pytestmark = pytest.mark.cluster
#: Of the double's `ovn-default`, where DNS is.
PODS: Final = "10.16.0.0/16"
LEFT: Final = "securetenant.dev/left-by"
SLICE: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


@pytest_asyncio.fixture(scope="module")
async def controller(plane: Plane, admin: Admin, manifests: None) -> AsyncIterator[KubeOvn]:
    async with kubeovn.running(plane, admin) as controller:
        yield controller


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, controller: KubeOvn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with kubeovn.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        await kubeovn.pool(admin, "life", "10.70.0.0/16")
        yield stage


def marks(subnet: dict[str, Any]) -> set[str]:
    metadata = subnet["metadata"]
    keys = {*metadata.get("labels", {}), *metadata.get("annotations", {})}
    return {key for key in keys if key in MARKS or key.startswith("securetenant.dev/")}


async def test_an_agreed_flow_is_in_both_and_taken_out_of_both(stage: Stage) -> None:
    one, other = ("10.71.1.0/24", "10.71.2.0/24")
    to, from_ = ({"tenant": name, "namespaces": [f"{name}-a"]} for name in ("ovn-to", "ovn-from"))
    source = await stage.tenant("ovn-from", spec(("ovn-from-a", {"cidr": one}), ("ovn-from-b", {"pool": "life"})))
    target = await stage.tenant("ovn-to", spec(("ovn-to-a", {"cidr": other})))
    egress = {"network": {"egress": [peer_rule("out", "egress", to, ports=[8443])]}}
    ingress = {"network": {"ingress": [peer_rule("in", "ingress", from_, ports=[8443])]}}
    # Half agreed: nothing.
    await source.edit(egress)
    for name in ("ovn-from-a", "ovn-to-a"):
        assert (await stage.admin.get(path(name)))["spec"]["allowSubnets"] == [PODS]
    await target.edit(ingress)
    await becomes(stage.admin, "ovn-from-a", allowSubnets=[PODS, other])
    await becomes(stage.admin, "ovn-to-a", allowSubnets=[PODS, one])
    await becomes(stage.admin, "ovn-from-b", allowSubnets=[PODS])  # the rule opens the peer's namespace alone
    ((acl),) = (await stage.admin.get(path("ovn-to-a")))["spec"]["acls"]
    assert acl["match"] == f"ip4 && ip4.src != {{{other}, {PODS}, {one}, 100.64.0.0/16}} && ip4.dst == {other}"
    # Taken back by one side alone.
    await target.edit({"network": {"ingress": []}})
    await becomes(stage.admin, "ovn-from-a", allowSubnets=[PODS])
    await becomes(stage.admin, "ovn-to-a", allowSubnets=[PODS])
    for tenant in (source, target):
        await tenant.agrees("a whitelist to be no drift")


async def test_dns_and_the_api_server_are_in_it_by_their_addresses(stage: Stage) -> None:
    ends = (await stage.admin.get(SLICE))["endpoints"]
    servers = sorted(f"{address}/32" for end in ends for address in end["addresses"])
    wanted = {"dns": True, "apiServer": True}
    tenant = await stage.tenant("ovn-dns", spec(("ovn-dns-a", {"pool": "life"}), network=wanted))
    found = (await stage.admin.get(path("ovn-dns-a")))["spec"]
    assert sorted(found["allowSubnets"]) == sorted([PODS, *servers])
    assert all(server.removesuffix("/32") in found["acls"][0]["match"] for server in servers)
    await tenant.edit({"network": {"dns": False, "apiServer": False}})
    await becomes(stage.admin, "ovn-dns-a", allowSubnets=[])
    # The cluster's DNS comes into another subnet.
    await tenant.edit({"network": {"dns": True}})
    await becomes(stage.admin, "ovn-dns-a", allowSubnets=[PODS])
    await kubeovn.create(stage.admin, "ovn-of-dns", cidrBlock="10.72.0.0/24", namespaces=["kube-system"])
    await bound(stage.admin, "kube-system", "ovn-of-dns")
    await becomes(stage.admin, "ovn-dns-a", allowSubnets=["10.72.0.0/24"])
    await stage.admin.delete(f"{SUBNETS}/ovn-of-dns")
    await becomes(stage.admin, "ovn-dns-a", allowSubnets=[PODS])


async def test_retained_it_stays_without_marks_and_its_block_is_in_use(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-keep", spec(("ovn-keep-a", {"cidr": "10.73.0.0/24"})))
    before = await stage.admin.get(path("ovn-keep-a"))
    assert marks(before) >= {*MARKS, APPLIED}
    await tenant.delete()
    after = await stage.admin.get(path("ovn-keep-a"))
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert marks(after) == {LEFT}
    assert after["metadata"]["finalizers"] == [FINALIZER]
    await bound(stage.admin, "ovn-keep-a", "securetenant-ovn-keep-a")
    other = await stage.create("ovn-late", spec(("ovn-late-a", {"cidr": "10.73.0.0/25"})))
    await told(other, "False", "Overlap", "10.73.0.0/24", "Subnet/securetenant-ovn-keep-a")


async def test_who_adopts_the_namespace_gets_the_subnet_that_was_left_with_it(stage: Stage) -> None:
    block = {"cidr": "10.79.0.0/24"}
    tenant = await stage.tenant("ovn-before", spec(("ovn-heir-a", block)))
    await kubeovn.pod(stage.admin, "ovn-heir-a", "old")
    before = await stage.admin.get(path("ovn-heir-a"))
    await tenant.delete()
    late = await stage.create("ovn-not-heir", spec(("ovn-heir-b", block)))
    await told(late, "False", "Overlap", "10.79.0.0/24")
    adopting = spec(("ovn-heir-a", block))
    adopting["namespaces"][0]["adopt"] = True
    heir = await stage.tenant("ovn-heir", adopting)
    after = await stage.admin.get(path("ovn-heir-a"))
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert marks(after) >= {*MARKS, APPLIED}
    assert LEFT not in marks(after)
    assert await blocks(heir) == {"ovn-heir-a": ["10.79.0.0/24"]}
    await heir.agrees()


async def test_deleted_it_outlives_its_namespace_for_a_while(stage: Stage) -> None:
    block = {"cidr": "10.74.0.0/24"}
    tenant = await stage.tenant("ovn-gone", spec(("ovn-gone-a", block), deletionPolicy="Delete"))
    before = await stage.admin.get(path("ovn-gone-a"))
    await kubeovn.pod(stage.admin, "ovn-gone-a", "last")
    assert await kubeovn.addressed(stage.admin, "ovn-gone-a", "last") == ("securetenant-ovn-gone-a", "10.74.0.2")
    await tenant.delete()
    assert await stage.admin.find(f"{NAMESPACES}/ovn-gone-a") is None

    async def is_unused() -> bool:
        metadata = (await stage.admin.get(path("ovn-gone-a")))["metadata"]
        assert metadata["uid"] == before["metadata"]["uid"]
        return UNUSED in metadata.get("annotations", {})

    await wait_for(is_unused, 10, "the Subnet to say since when it is unused")
    other = await stage.create("ovn-next", spec(("ovn-next-a", block)))
    await told(other, "False", "Overlap", "10.74.0.0/24", "ovn-gone")
    await life.gone(stage.admin, path("ovn-gone-a"))
    await life.edit(stage.admin, "ovn-next", {"displayName": "looks again now"})  # by itself it would within 30 s
    await life.ready(stage.admin, "ovn-next")
    assert await blocks(other) == {"ovn-next-a": ["10.74.0.0/24"]}


async def test_a_tenant_of_the_same_name_waits_for_what_is_left_of_the_first(stage: Stage) -> None:
    given = spec(("ovn-again-a", {"cidr": "10.75.0.0/24"}), deletionPolicy="Delete")
    first = await stage.tenant("ovn-again", given)
    old = (await stage.admin.get(path("ovn-again-a")))["metadata"]["uid"]
    await first.delete()
    second = await stage.create("ovn-again", given)
    await told(second, "False", "Waiting", "Subnet/securetenant-ovn-again-a is left from an earlier tenant")
    assert await stage.admin.find(f"{NAMESPACES}/ovn-again-a") is None
    await life.ready(stage.admin, "ovn-again")
    assert (await stage.admin.get(path("ovn-again-a")))["metadata"]["uid"] != old
    await second.agrees("what was left to be no drift")


async def test_a_namespace_taken_out_of_the_spec_keeps_its_subnet(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-less", spec(("ovn-less-a", {"pool": "life"}), ("ovn-less-b", {"pool": "life"})))
    before = await stage.admin.get(path("ovn-less-b"))
    given = await blocks(tenant)
    await tenant.edit(spec(("ovn-less-a", {"pool": "life"})))
    after = await stage.admin.get(path("ovn-less-b"))
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert marks(after) == {LEFT}
    assert await blocks(tenant) == {"ovn-less-a": given["ovn-less-a"]}
    # Nobody gets its addresses.
    await tenant.edit(spec(("ovn-less-a", {"pool": "life"}), ("ovn-less-c", {"pool": "life"})))
    assert (await blocks(tenant))["ovn-less-c"] != given["ovn-less-b"]


async def test_a_namespace_that_somebody_deletes_comes_back_into_its_subnet(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-back", spec(("ovn-back-a", {"pool": "life"})))
    subnet = await stage.admin.get(path("ovn-back-a"))
    old = (await stage.admin.get(f"{NAMESPACES}/ovn-back-a"))["metadata"]["uid"]
    await stage.admin.delete(f"{NAMESPACES}/ovn-back-a")

    async def is_new() -> bool:
        return bool((await stage.admin.get(f"{NAMESPACES}/ovn-back-a"))["metadata"]["uid"] != old)

    await wait_for(is_new, 40, "the namespace to be made anew")
    await bound(stage.admin, "ovn-back-a", "securetenant-ovn-back-a")
    after = await stage.admin.get(path("ovn-back-a"))
    assert (after["metadata"]["uid"], after["spec"]) == (subnet["metadata"]["uid"], subnet["spec"])
    await tenant.healed(("namespaces", "Missing"))


async def test_a_living_namespace_gets_its_subnet_by_an_edit(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-edit", {"namespaces": [{"name": "ovn-edit-a"}]})
    await bound(stage.admin, "ovn-edit-a", "ovn-default")
    await tenant.edit(spec(("ovn-edit-a", {"pool": "life"})))
    await bound(stage.admin, "ovn-edit-a", "securetenant-ovn-edit-a")
    await told(tenant, "True", "Given")
    await tenant.agrees("the binding to be no drift")


async def test_a_lost_status_does_not_lose_the_block(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-lost", spec(("ovn-lost-a", {"pool": "life"})))
    given = await blocks(tenant)
    await stage.admin.patch(f"{tenant.path}/status", {"status": {"subnets": None, "applied": None}})

    async def is_back() -> bool:
        return await blocks(tenant) == given

    await wait_for(is_back, 20, "the status to say it again")
    await tenant.agrees()


async def test_without_the_rights_a_condition_says_how_to_mend_it(stage: Stage) -> None:
    """The rights are opt-in; no namespace is made without its subnet."""
    await stage.admin.kubectl("delete", "-f", str(kubeovn.RIGHTS))
    try:
        tenant = await stage.create("ovn-bare", spec(("ovn-bare-a", {"pool": "life"})))

        async def is_told() -> str:
            ready = await tenant.condition("Ready")
            assert ready.get("status") == "False", ready
            assert "Forbidden" in ready["message"], ready
            return str(ready["message"])

        message = await wait_for(is_told, 20, "the condition to say so")
        assert "Subnet/securetenant-ovn-bare-a" in message
        assert "manifests/components/subnets" in message
        assert await stage.admin.find(f"{NAMESPACES}/ovn-bare-a") is None
    finally:
        await stage.admin.apply(kubeovn.RIGHTS)
    await life.ready(stage.admin, "ovn-bare", deadline=40)
    await bound(stage.admin, "ovn-bare-a", "securetenant-ovn-bare-a")


async def test_a_plug_in_that_goes_and_comes_back_finds_the_same_blocks(stage: Stage) -> None:
    tenant = await stage.tenant("ovn-flap", spec(("ovn-flap-a", {"pool": "life"})))
    given, before = await blocks(tenant), (await stage.admin.get(path("ovn-flap-a")))["spec"]
    await kube_ovn.uninstall(stage.admin)
    await told(tenant, "False", "NoProvider")
    assert await blocks(tenant) == given
    late = await stage.create("ovn-flap-late", spec(("ovn-flap-late-a", {"pool": "life"})))
    await told(late, "False", "NoProvider")
    assert await stage.admin.find(f"{NAMESPACES}/ovn-flap-late-a") is None
    await kube_ovn.install(stage.admin)
    await bound(stage.admin, "ovn-flap-a", "securetenant-ovn-flap-a")
    await becomes(stage.admin, "ovn-flap-a", **before)  # once Kube-OVN has made its own ones again, too
    for one in (tenant, late):
        await life.ready(stage.admin, one.name, deadline=40)
    assert await blocks(tenant) == given
    assert not set((await blocks(late))["ovn-flap-late-a"]) & set(given["ovn-flap-a"])


async def test_plan_takes_pools_from_files(plane: Plane, stage: Stage, tmp_path: Path) -> None:
    ours = {"apiVersion": "securetenant.dev/v1alpha1"}
    pool = {**ours, "kind": "SubnetPool", "metadata": {"name": "ovn-file"}, "spec": {"cidrs": ["10.72.0.0/20"]}}
    tenant = {**ours, "kind": "SecureTenant", "metadata": {"name": "ovn-file"}}
    tenant["spec"] = spec(("ovn-file-a", {"pool": "ovn-file"}))
    for documents, planned in (([tenant], False), ([pool, tenant], True)):
        (tmp_path / "files.yaml").write_text(yaml.safe_dump_all(documents))
        done = await cli(plane.kubeconfig, "plan", tmp_path / "files.yaml", "--tenant", "ovn-file")
        assert ("+ Subnet.kubeovn.io/securetenant-ovn-file-a" in done.out, "NoPool" in done.out) == (
            planned,
            not planned,
        )


async def test_a_restart_does_not_move_a_block(plane: Plane, admin: Admin, stage: Stage, tmp_path: Path) -> None:
    """Without a status, and with another tenant that wants the same."""
    tenant = await stage.tenant("ovn-stay", spec(("ovn-stay-a", {"pool": "life"})))
    given, before = await blocks(tenant), await admin.get(path("ovn-stay-a"))
    await stage.operator.stop()
    await admin.patch(f"{tenant.path}/status", {"status": {"subnets": None, "applied": None}})
    await stage.create(
        "ovn-rival", spec(("ovn-rival-a", {"pool": "life"}), ("ovn-rival-b", {"cidr": given["ovn-stay-a"][0]}))
    )
    async with kubeovn.stage(plane, admin, tmp_path, name="after"):

        async def is_back() -> bool:
            return await blocks(tenant) == given

        await wait_for(is_back, 30, "the status to say it again")
        after = await admin.get(path("ovn-stay-a"))
        assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
        await wait_for(lambda: admin.find(path("ovn-rival-a")), 20, "the rival's own block")
        assert (await admin.get(path("ovn-rival-a")))["spec"]["cidrBlock"] != given["ovn-stay-a"][0]
        assert await admin.find(path("ovn-rival-b")) is None
