"""Kube-OVN's Subnets, and what its controller makes of namespaces and pods, for tests with its double."""

from typing import Any, Final

from sandbox.cni.kube_ovn import SUBNETS, SWITCH
from tests.support import pods
from tests.support.sandbox import Admin, wait_for

NAMESPACES: Final = "/api/v1/namespaces"
Json = dict[str, Any]


async def create(admin: Admin, name: str, **spec: Any) -> None:
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}, "spec": spec}
    await admin.create(SUBNETS, body)


async def says(admin: Admin, name: str, **conditions: str | None) -> Json:
    """Wait until the Subnet has these conditions; None: it has no such one."""

    async def is_said() -> Json:
        subnet: Json = await admin.get(f"{SUBNETS}/{name}")
        found = {one["type"]: one["status"] for one in subnet.get("status", {}).get("conditions", ())}
        assert {key: found.get(key) for key in conditions} == conditions, found
        return subnet

    return await wait_for(is_said, 10, f"Subnet {name} to be {conditions}")


async def bound(admin: Admin, namespace: str, switch: str) -> None:
    async def is_bound() -> bool:
        metadata = (await admin.get(f"{NAMESPACES}/{namespace}"))["metadata"]
        assert metadata.get("annotations", {}).get(SWITCH) == switch, metadata.get("annotations")
        return True

    await wait_for(is_bound, 10, f"{namespace} to be bound to {switch}")


async def pod(admin: Admin, namespace: str, name: str) -> None:
    """A pod that is placed nowhere: it gets an address all the same."""

    async def has_account() -> bool:
        return await admin.find(f"{NAMESPACES}/{namespace}/serviceaccounts/default") is not None

    await wait_for(has_account, 20, f"the ServiceAccount of {namespace}")
    body = {"metadata": {"name": name}, "spec": pods.spec(nodeSelector={"pool": "none"})}
    await admin.create(f"{NAMESPACES}/{namespace}/pods", body)


async def addressed(admin: Admin, namespace: str, name: str) -> tuple[str, str]:
    """The Subnet and the address that the pod got."""

    async def has_one() -> tuple[str, str]:
        given = (await admin.get(f"{NAMESPACES}/{namespace}/pods/{name}"))["metadata"].get("annotations", {})
        assert given.get("ovn.kubernetes.io/allocated") == "true", given
        return given[SWITCH], given["ovn.kubernetes.io/ip_address"]

    return await wait_for(has_one, 10, f"an address of pod {namespace}/{name}")
