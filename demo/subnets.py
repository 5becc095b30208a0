"""Addresses of their own for namespaces: on Kube-OVN's schema, with a stand-in for its controller."""

from functools import partial
from typing import Any, Final

import yaml

from demo import screen, stage
from sandbox.client import MERGE_PATCH, Admin, wait_for
from sandbox.cni import kube_ovn
from sandbox.plane import Plane

EXAMPLE: Final = stage.ROOT / "examples" / "with-subnets"
RIGHTS: Final = stage.ROOT / "manifests" / "components" / "subnets" / "role.yaml"
PATIENCE: Final = 20.0
# Wants what cards-test has.
_LATECOMER: Final = {
    "apiVersion": "securetenant.dev/v1alpha1",
    "kind": "SecureTenant",
    "metadata": {"name": "latecomer"},
    "spec": {"namespaces": [{"name": "latecomer-prod", "subnet": {"cidr": "10.61.240.0/25"}}]},
}


async def play(plane: Plane, admin: Admin, problems: list[str]) -> None:
    screen.heading("Addresses of their own: kubectl apply -f examples/with-subnets")
    screen.say("Kube-OVN's schema, and a stand-in that does what its controller was seen to do; no packet is carried")
    await kube_ovn.install(admin)
    await admin.apply(RIGHTS)
    async with kube_ovn.run(plane):
        try:
            await _given(admin)
            await _refused(admin)
        except AssertionError as error:
            problems.append(f"subnets: {error}")


async def _given(admin: Admin) -> None:
    """Two tenants get blocks, and a flow that both declare opens both subnets."""
    for file in ("pools.yaml", "tenants.yaml"):
        await admin.apply(EXAMPLE / file)
    names = [document["metadata"]["name"] for document in yaml.safe_load_all((EXAMPLE / "tenants.yaml").read_text())]
    for name in names:
        await wait_for(partial(_is_ready, admin, name), PATIENCE, f"{name} to have its subnets")
    for name in names:
        for one in (await _tenant(admin, name))["status"]["subnets"]:
            subnet = await admin.get(f"{kube_ovn.SUBNETS}/securetenant-{one['namespace']}")
            pool = f"out of pool {one['pool']}" if one.get("pool") else "as declared"
            screen.tell(f"{one['namespace']}: {one['cidrs'][0]} {pool}; open to {_open(subnet)}")

    async def both() -> bool:
        ours, theirs = [
            await admin.get(f"{kube_ovn.SUBNETS}/securetenant-{name}") for name in ("cards-prod", "fraud-prod")
        ]
        pairs = ((ours, theirs), (theirs, ours))
        return all(other["spec"]["cidrBlock"] in one["spec"]["allowSubnets"] for one, other in pairs)

    await wait_for(both, PATIENCE, "the agreed flow to stand in both subnets")
    screen.tell("(10.16.0.0/16 has the pods of the cluster's DNS)")
    screen.tell("cards and fraud both declared TCP 8443: each subnet lists the other; NetworkPolicies hold the port")


def _open(subnet: dict[str, Any]) -> str:
    return ", ".join(subnet["spec"].get("allowSubnets") or []) or "nobody"


async def _refused(admin: Admin) -> None:
    """An overlap is told, and nothing is made; a subnet that was given is not moved."""
    assert (await admin.request("POST", stage.TENANTS, _LATECOMER))[0] == 201

    async def told() -> str:
        found = await _tenant(admin, "latecomer")
        conditions = {one["type"]: one for one in found.get("status", {}).get("conditions", ())}
        one = conditions.get("SubnetsReady", {})
        return str(one["message"]) if one.get("reason") == "Overlap" else ""

    screen.tell(f"a third tenant, refused: {await wait_for(told, PATIENCE, 'the overlap to be told')}")
    assert await admin.find("/api/v1/namespaces/latecomer-prod") is None, "latecomer-prod exists without its subnet"
    spec = (await _tenant(admin, "cards"))["spec"]
    spec["namespaces"][0]["subnet"] = {"cidr": "10.60.99.0/24"}
    path = f"{stage.TENANTS}/cards"
    code, answer = await admin.request("PATCH", path, {"spec": spec}, content_type=MERGE_PATCH)
    assert code == 422, f"a subnet was moved: {code}"
    said = str(answer["message"] if isinstance(answer, dict) else answer)
    screen.tell(f"and the API server, to who would move one: {said.partition('Invalid value: ')[2]}")
    await admin.delete(f"{stage.TENANTS}/latecomer")


async def _is_ready(admin: Admin, name: str) -> bool:
    status = (await _tenant(admin, name)).get("status", {})
    conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
    return conditions.get("SubnetsReady") == conditions.get("Ready") == "True"


async def _tenant(admin: Admin, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await admin.get(f"{stage.TENANTS}/{name}")
    return found
