"""Where the demo plays: the control plane, the manifests, the nodes, the tenants of the bank."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import yaml

from sandbox import build, cluster, nodes, plane
from sandbox.client import Admin, ApiError, wait_for
from sandbox.plane import Plane

ROOT = Path(__file__).resolve().parents[1]
BANK = ROOT / "examples" / "bank"
TENANTS = "/apis/securetenant.dev/v1alpha1/securetenants"


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


async def install(admin: Admin) -> None:
    """Apply what an administrator applies. The Deployment's pods would need a kubelet and an image: here the
    operator runs as a process, with the rights of the same account, so none are asked for."""
    await admin.kubectl("apply", "-k", str(ROOT / "examples" / "with-nodes"))
    await wait_for(lambda: _served(admin), 30, "the API server to serve securetenants")
    scale = {"spec": {"replicas": 0}}
    await admin.patch("/apis/apps/v1/namespaces/securetenant-system/deployments/securetenant", scale)


async def dedicated_nodes(stage: Plane) -> list[str]:
    """Three nodes of the pool that the tenant risk selects, and one for everybody; none on a cluster of others."""
    if not stage.owned:
        return []
    chosen = await asyncio.to_thread(nodes.create, stage, 3, {"pool": "risk"}, prefix="risk")
    await asyncio.to_thread(nodes.create, stage, 1, {"pool": "general"}, prefix="general")
    return chosen


def bank_tenants() -> list[str]:
    """The names of the SecureTenants in examples/bank, in the order of the files."""
    documents = [d for file in sorted(BANK.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]
    return [d["metadata"]["name"] for d in documents if d and d["kind"] == "SecureTenant"]


async def apply_bank(admin: Admin) -> None:
    """kubectl apply -f examples/bank, with strict validation, as a pipeline would."""
    await admin.kubectl("apply", "--validate=strict", "-f", str(BANK))


async def remove_bank(admin: Admin) -> None:
    """Take the tenants off a cluster that is not ours; their namespaces stay (deletionPolicy Retain)."""
    for name in bank_tenants():
        with contextlib.suppress(ApiError):
            await admin.delete(f"{TENANTS}/{name}")


async def _served(admin: Admin) -> bool:
    status, _ = await admin.request("GET", TENANTS, params={"limit": "1"})
    return status == 200
