"""The double of Kube-OVN does what its controller does, as far as the operator can see it."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from sandbox.cni import kube_ovn
from sandbox.cni.kube_ovn import FINALIZER, MANAGER, SUBNETS, SWITCH, KubeOvn
from tests.support.kubeovn import addressed, bound, create, pod, says
from tests.support.sandbox import APPLY, Admin, Plane

pytestmark = pytest.mark.cluster
NAMESPACES: Final = "/api/v1/namespaces"


@pytest_asyncio.fixture(scope="module")
async def controller(plane: Plane, admin: Admin) -> AsyncIterator[KubeOvn]:
    await kube_ovn.install(admin)
    async with kube_ovn.run(plane) as controller:
        yield controller
    for namespace in (await admin.get(NAMESPACES))["items"]:
        if namespace["metadata"]["name"].startswith("ovn-double"):
            await admin.delete(f"{NAMESPACES}/{namespace['metadata']['name']}")
    await kube_ovn.uninstall(admin)


async def test_a_spec_is_filled_in_rewritten_and_then_left_alone(admin: Admin, controller: KubeOvn) -> None:
    await create(admin, "ovn-double-a", cidrBlock="10.200.1.7/24,FD00:C8::/64", excludeIps=["10.200.1.9"])
    subnet = await says(admin, "ovn-double-a", Ready="True", Validated="True", Error=None)
    assert subnet["spec"] == {
        "cidrBlock": "10.200.1.0/24,fd00:c8::/64",
        "default": False,
        "enableLb": True,
        "excludeIps": ["10.200.1.1", "10.200.1.9", "fd00:c8::1"],
        "gateway": "10.200.1.1,fd00:c8::1",
        "gatewayNode": "",
        "gatewayType": "distributed",
        "natOutgoing": False,
        "private": False,
        "protocol": "Dual",
        "provider": "ovn",
        "u2oFeatures": {},
        "vpc": "ovn-cluster",
    }
    assert (subnet["metadata"]["generation"], subnet["metadata"]["finalizers"]) == (2, [FINALIZER])
    assert MANAGER in {one["manager"] for one in subnet["metadata"]["managedFields"]}
    minimal = {"cidrBlock": "10.200.1.0/24,fd00:c8::/64", "private": False, "allowSubnets": [], "acls": []}
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "ovn-double-a"}, "spec": minimal}
    params = {"fieldManager": "ours", "force": "true"}
    versions = set()
    for _ in range(3):
        await admin.patch(f"{SUBNETS}/ovn-double-a", body, APPLY, params=params)
        await says(admin, "ovn-double-a", Ready="True")
        versions.add((await admin.get(f"{SUBNETS}/ovn-double-a"))["metadata"]["resourceVersion"])
    assert len(versions) == 1
    for name in kube_ovn.OWN:
        await says(admin, name, Ready="True")


async def test_what_is_wrong_shows_in_conditions_and_error_stays(admin: Admin, controller: KubeOvn) -> None:
    await create(admin, "ovn-double-bad", cidrBlock="10.201.1.0/24", allowSubnets=["10.0.0.1"])
    await says(admin, "ovn-double-bad", Validated="False", Ready="False", Error="True")
    await admin.patch(f"{SUBNETS}/ovn-double-bad", {"spec": {"allowSubnets": ["FD00::/64"]}})
    await says(admin, "ovn-double-bad", Validated="False")
    await admin.patch(f"{SUBNETS}/ovn-double-bad", {"spec": {"allowSubnets": ["fd00::/64"]}})
    await says(admin, "ovn-double-bad", Validated="True", Ready="True", Error="True")
    await create(admin, "ovn-double-vpc", cidrBlock="10.201.2.0/24", vpc="nosuch")
    await says(admin, "ovn-double-vpc", Validated="True", Ready=None)
    await create(admin, "ovn-double-none", cidrBlock="10.201.3.0/33")
    await create(admin, "ovn-double-after", cidrBlock="10.201.4.0/24", acls=[{"match": "nonsense"}])
    await says(admin, "ovn-double-after", Ready="True")
    assert "status" not in await admin.get(f"{SUBNETS}/ovn-double-none")


async def test_namespaces_are_bound_and_tampering_stays(admin: Admin, controller: KubeOvn) -> None:
    await create(admin, "ovn-double-bind", cidrBlock="10.202.1.0/24", namespaces=["ovn-double-n"])
    await says(admin, "ovn-double-bind", Ready="True")
    for name in ("ovn-double-n", "ovn-double-free"):
        await admin.create(NAMESPACES, {"metadata": {"name": name}})
    await bound(admin, "ovn-double-n", "ovn-double-bind")
    await bound(admin, "ovn-double-free", "ovn-default")
    annotations = (await admin.get(f"{NAMESPACES}/ovn-double-n"))["metadata"]["annotations"]
    assert annotations["ovn.kubernetes.io/cidr"] == "10.202.1.0/24"
    assert annotations["ovn.kubernetes.io/exclude_ips"] == "10.202.1.1"

    await pod(admin, "ovn-double-n", "before")
    assert await addressed(admin, "ovn-double-n", "before") == ("ovn-double-bind", "10.202.1.2")
    await admin.patch(f"{NAMESPACES}/ovn-double-n", {"metadata": {"annotations": {SWITCH: "ovn-default"}}})
    await pod(admin, "ovn-double-n", "meanwhile")
    assert (await addressed(admin, "ovn-double-n", "meanwhile"))[0] == "ovn-default"
    await bound(admin, "ovn-double-n", "ovn-default")
    await admin.patch(f"{NAMESPACES}/ovn-double-n", {"metadata": {"annotations": {SWITCH: None}}})
    await bound(admin, "ovn-double-n", "ovn-double-bind")
    await admin.patch(f"{SUBNETS}/ovn-double-bind", {"spec": {"namespaces": []}})
    await bound(admin, "ovn-double-n", "ovn-default")


async def test_an_overlap_freezes_the_old_one(admin: Admin, controller: KubeOvn) -> None:
    await create(admin, "ovn-double-old", cidrBlock="10.203.1.0/24", allowSubnets=["10.9.0.0/16"])
    await says(admin, "ovn-double-old", Ready="True")
    await create(admin, "ovn-double-new", cidrBlock="10.203.1.128/25")
    await says(admin, "ovn-double-new", Ready="False", Validated="True")
    await says(admin, "ovn-double-old", Ready="True", Error=None)
    await admin.patch(f"{SUBNETS}/ovn-double-old", {"spec": {"allowSubnets": []}})
    await says(admin, "ovn-double-old", Ready="False")
    assert controller.enforced["ovn-double-old"]["allowSubnets"] == ["10.9.0.0/16"]
    await admin.delete(f"{SUBNETS}/ovn-double-new")
    await says(admin, "ovn-double-old", Ready="True", Error="True")
    assert controller.enforced["ovn-double-old"]["allowSubnets"] == []
    await create(admin, "ovn-double-nodes", cidrBlock="100.64.3.0/24")
    await says(admin, "ovn-double-nodes", Ready="False")


async def test_pods_hold_a_deleted_one_and_their_namespace_falls_back(admin: Admin, controller: KubeOvn) -> None:
    await create(admin, "ovn-double-held", cidrBlock="10.204.1.0/24", namespaces=["ovn-double-h"])
    await says(admin, "ovn-double-held", Ready="True")
    await admin.create(NAMESPACES, {"metadata": {"name": "ovn-double-h"}})
    await bound(admin, "ovn-double-h", "ovn-double-held")
    await pod(admin, "ovn-double-h", "first")
    await addressed(admin, "ovn-double-h", "first")
    await admin.delete(f"{SUBNETS}/ovn-double-held")
    await pod(admin, "ovn-double-h", "second")
    assert (await addressed(admin, "ovn-double-h", "second"))[0] == "ovn-double-held"
    for name in ("first", "second"):
        await admin.delete(f"{NAMESPACES}/ovn-double-h/pods/{name}", params={"gracePeriodSeconds": "0"})
    await bound(admin, "ovn-double-h", "ovn-default")
    assert await admin.find(f"{SUBNETS}/ovn-double-held") is None
