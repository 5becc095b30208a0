"""Kube-OVN's Subnets, and what its controller makes of namespaces and pods, for tests with its double."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sandbox.cni import kube_ovn
from sandbox.cni.kube_ovn import SUBNETS, SWITCH, KubeOvn
from tests.support import life, pods
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import ROOT, Admin, Plane, run_operator, wait_for
from tests.support.tenants import Stage, Tenant, is_leading

RIGHTS: Final = ROOT / "manifests" / "components" / "subnets" / "role.yaml"
POOLS: Final = "/apis/securetenant.dev/v1alpha1/subnetpools"
UNUSED: Final = "securetenant.dev/unused-since"
#: Long enough to see that the addresses are kept, short enough to wait for.
DELAY: Final = 3
SETTINGS: Final = {"SECURETENANT_SUBNET_RELEASE_DELAY": str(DELAY)}


@asynccontextmanager
async def running(plane: Plane, admin: Admin) -> AsyncIterator[KubeOvn]:
    """A cluster with Kube-OVN, where the operator has the rights over Subnets."""
    await admin.apply(RIGHTS)
    await kube_ovn.install(admin)
    try:
        async with kube_ovn.run(plane) as controller:
            for name in kube_ovn.OWN:
                await says(admin, name, Ready="True")
            yield controller
    finally:
        await kube_ovn.uninstall(admin)
        await admin.kubectl("delete", "--ignore-not-found", "-f", str(RIGHTS))


@asynccontextmanager
async def stage(
    plane: Plane, admin: Admin, folder: Path, env: Mapping[str, str] = SETTINGS, name: str = "operator"
) -> AsyncIterator[Stage]:
    """The operator as it ships, with the component `subnets`; what was made there is removed after it."""
    made: Stage | None = None
    try:
        async with run_operator(plane, folder, env=env, name=name) as operator:
            await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
            made = Stage(plane, admin, operator)
            yield made
    finally:
        if made is not None:
            await life.remove(admin, *made.names)
            for place in made.places:
                await admin.delete(f"{NAMESPACES}/{place}")
        for pool in (await admin.get(POOLS))["items"]:
            await admin.delete(f"{POOLS}/{pool['metadata']['name']}")


def spec(*namespaces: tuple[str, Json], **other: Any) -> Json:
    """A tenant whose namespaces have these subnets."""
    return {"namespaces": [{"name": name, "subnet": subnet} for name, subnet in namespaces], **other}


def path(namespace: str) -> str:
    """Of the Subnet of a tenant's namespace."""
    return f"{SUBNETS}/securetenant-{namespace}"


async def create(admin: Admin, name: str, **spec: Any) -> None:
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}, "spec": spec}
    await admin.create(SUBNETS, body)


async def pool(admin: Admin, name: str, *cidrs: str, **other: Any) -> None:
    """A SubnetPool."""
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SubnetPool", "metadata": {"name": name}}
    await admin.create(POOLS, {**body, "spec": {"cidrs": list(cidrs), **other}})


def conditions(subnet: Json) -> dict[str, str]:
    return {one["type"]: one["status"] for one in subnet.get("status", {}).get("conditions", ())}


async def says(admin: Admin, name: str, **wanted: str | None) -> Json:
    """Wait until the Subnet has these conditions; None: it has no such one."""

    async def is_said() -> Json:
        subnet: Json = await admin.get(f"{SUBNETS}/{name}")
        found = conditions(subnet)
        assert {key: found.get(key) for key in wanted} == wanted, found
        return subnet

    return await wait_for(is_said, 10, f"Subnet {name} to be {wanted}")


async def bound(admin: Admin, namespace: str, switch: str) -> None:
    async def is_bound() -> bool:
        metadata = (await admin.get(f"{NAMESPACES}/{namespace}"))["metadata"]
        assert metadata.get("annotations", {}).get(SWITCH) == switch, metadata.get("annotations")
        return True

    await wait_for(is_bound, 10, f"{namespace} to be bound to {switch}")


async def becomes(admin: Admin, namespace: str, **spec: Any) -> Json:
    """Wait until these fields of its Subnet are so."""

    async def is_so() -> Json:
        subnet: Json = await admin.get(path(namespace))
        assert {key: subnet["spec"].get(key) for key in spec} == spec, subnet["spec"]
        return subnet

    return await wait_for(is_so, 20, f"the Subnet of {namespace} to have {spec}")


async def told(tenant: Tenant, status: str, reason: str, *words: str) -> Json:
    """Wait until the tenant's condition of its subnets has this reason, and these words."""

    async def is_told() -> Json:
        condition = await tenant.condition("SubnetsReady")
        assert (condition.get("status"), condition.get("reason")) == (status, reason), condition
        assert all(word in condition["message"] for word in words), condition
        return condition

    return await wait_for(is_told, 20, f"SubnetsReady {reason} {words}")


async def blocks(tenant: Tenant) -> dict[str, list[str]]:
    """What the tenant's status says was given."""
    return {one["namespace"]: one["cidrs"] for one in (await tenant.get())["status"].get("subnets", ())}


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
