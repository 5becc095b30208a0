"""Where the demo plays: the control plane, the manifests, the nodes, the tenants of the bank."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from sandbox import build, cluster, nodes, plane
from sandbox.client import Admin, wait_for
from sandbox.errors import SandboxError
from sandbox.operator import run_operator
from sandbox.plane import Plane

ROOT = Path(__file__).resolve().parents[1]
BANK = ROOT / "examples" / "bank"
TENANTS = "/apis/securetenant.dev/v1alpha1/securetenants"
DEPLOYMENT = "/apis/apps/v1/namespaces/securetenant-system/deployments/securetenant"


@contextlib.asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[Plane]:
    """The cluster that SECURETENANT_TEST_KUBECONFIG names, else one of our own, stopped at the end."""
    attached = cluster.attach(folder / "cluster")
    if attached is not None:
        yield attached
        return
    await asyncio.to_thread(build.ensure)
    # On the main thread: its processes end when the thread that started them does.
    with plane.start(folder / "plane") as started:
        yield started


async def refuse_if_in_use(stage: Plane, admin: Admin) -> None:
    """Raise SandboxError on a cluster of others that has the operator (the demo would stop it to play in its place),
    or namespaces of the bank's names (a tenant takes none that it is not told to adopt)."""
    if stage.owned:
        return
    other = f"Play on another cluster (without {cluster.KUBECONFIG}: on one of the demo's own)"
    if await admin.find(DEPLOYMENT) is not None:
        raise SandboxError(
            f"{stage.url} has the Deployment securetenant-system/securetenant already, and the demo would scale it to 0"
            f" and overwrite what is installed. {other}, or, if a demo that was interrupted left it, remove it first:"
            " kubectl delete deployment -n securetenant-system securetenant"
        )
    there = {item["metadata"]["name"] for item in (await admin.get("/api/v1/namespaces"))["items"]}
    if taken := sorted(there & set(bank_namespaces())):
        raise SandboxError(
            f"{stage.url} has namespaces of the bank's names already. {other}, or, if an earlier demo left them, remove"
            f" them first: kubectl delete namespace {' '.join(taken)}"
        )


@contextlib.asynccontextmanager
async def installed(stage: Plane, admin: Admin) -> AsyncIterator[None]:
    """Apply what an administrator applies. The Deployment's pods would need a kubelet and an image: here the
    operator runs as a process, with the rights of the same account, so none are asked for. From a cluster of others
    it is removed at the end, or the next demo would be refused there."""
    await admin.kubectl("apply", "-k", str(ROOT / "examples" / "with-nodes"))
    try:
        await wait_for(lambda: _served(admin), 30, "the API server to serve securetenants")
        await admin.patch(DEPLOYMENT, {"spec": {"replicas": 0}})
        yield
    finally:
        if not stage.owned:
            await admin.delete(DEPLOYMENT)


async def dedicated_nodes(stage: Plane) -> list[str]:
    """Three nodes of the pool that the tenant risk selects, and one for everybody; none on a cluster of others."""
    if not stage.owned:
        return []
    chosen = await asyncio.to_thread(nodes.create, stage, 3, {"pool": "risk"}, prefix="risk")
    await asyncio.to_thread(nodes.create, stage, 1, {"pool": "general"}, prefix="general")
    return chosen


def bank_tenants() -> list[str]:
    """The names of the SecureTenants in examples/bank, in the order of the files."""
    return [tenant["metadata"]["name"] for tenant in _bank()]


def bank_namespaces() -> list[str]:
    """The namespaces that they make."""
    return [entry["name"] for tenant in _bank() for entry in tenant["spec"]["namespaces"] if not entry.get("adopt")]


def _bank() -> list[dict[str, Any]]:
    documents = [d for file in sorted(BANK.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]
    return [d for d in documents if d and d["kind"] == "SecureTenant"]


async def apply_bank(admin: Admin) -> None:
    """kubectl apply -f examples/bank, with strict validation, as a pipeline would."""
    await admin.kubectl("apply", "--validate=strict", "-f", str(BANK))


@contextlib.asynccontextmanager
async def bank(stage: Plane, admin: Admin, folder: Path) -> AsyncIterator[None]:
    """Take the tenants off a cluster of others at the end, with an operator of its own that lets them go. Their
    namespaces stay (deletionPolicy Retain)."""
    try:
        yield
    finally:
        if not stage.owned:
            async with run_operator(stage, folder, name="operator-at-the-end"):
                for name in bank_tenants():
                    await admin.delete(f"{TENANTS}/{name}")
                await wait_for(lambda: _are_gone(admin), 30, "the tenants of the bank to be gone")


async def _are_gone(admin: Admin) -> bool:
    left = {tenant["metadata"]["name"] for tenant in (await admin.get(TENANTS))["items"]} & set(bank_tenants())
    assert not left, left
    return True


async def _served(admin: Admin) -> bool:
    status, _ = await admin.request("GET", TENANTS, params={"limit": "1"})
    return status == 200
