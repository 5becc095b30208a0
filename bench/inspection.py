"""What the inspection of many running pods costs, and what it does to the healing of other tenants meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

from bench.client import JSON, MERGE_PATCH, Client, decode, encode
from bench.heal import Policy, heals, quantiles
from bench.process import cpu_seconds, memory
from bench.tenants import COLLECTION
from sandbox.operator import Operator
from securetenant.model import names

_NAME: Final = "bench-running"
_CONTAINER: Final = {
    "image": "registry.example/bench/app@sha256:" + "a" * 64,
    "imagePullPolicy": "Always",
    "env": [{"name": f"SETTING_{number}", "value": f"value-{number}" * 4} for number in range(12)],
    "ports": [{"containerPort": 8080}],
    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
    "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
}
#: About 5 KB as the API server lists it. No scheduler looks at it.
_POD: Final = encode(
    {
        "metadata": {"generateName": "p-", "labels": {"app": "bench", "team": "bench"}},
        "spec": {
            "containers": [{**_CONTAINER, "name": name} for name in ("app", "sidecar")],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "schedulerName": "none",
        },
    }
)
_JUDGED_SECONDS: Final = 300.0


@asynccontextmanager
async def running(admin: Client, pods: int) -> AsyncIterator[None]:
    """A tenant in Audit whose namespace has so many pods; it is judged once when this begins."""
    await admin.send("POST", "/api/v1/namespaces", encode({"metadata": {"name": _NAME}}))
    path = f"/api/v1/namespaces/{_NAME}/pods"
    for begin in range(0, pods, 500):
        await asyncio.gather(*(admin.send("POST", path, _POD) for _ in range(min(500, pods - begin))))
    spec = {"mode": "Audit", "namespaces": [{"name": _NAME, "adopt": True}], "runtime": {"hostPorts": [1]}}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": _NAME}, "spec": spec}
    await admin.send("POST", COLLECTION, encode(body))
    try:
        await _judged(admin, "")
        yield
    finally:
        await admin.send("DELETE", f"{COLLECTION}/{_NAME}")
        await admin.send("DELETE", f"{path}?gracePeriodSeconds=0")


async def cost(operator: Operator, admin: Client, found: Sequence[Policy], pods: int, count_: int) -> dict[str, Any]:
    """Seconds, seconds of CPU and megabytes of one inspection alone; and the healing of ``count_`` policies of others
    while one follows the other."""
    before = memory(operator.pid)
    async with running(admin, pods):
        alone, cpu = [], []
        for number in range(3):
            begin, used = time.perf_counter(), cpu_seconds(operator.pid)
            await _once(admin, 100 + number)
            alone.append(time.perf_counter() - begin)
            cpu.append(cpu_seconds(operator.pid) - used)
        after = memory(operator.pid)
        endless = asyncio.create_task(_endlessly(admin))
        try:
            taken = await heals(admin, found, "deleted", count_, None)
            if endless.done():
                endless.result()
        finally:
            endless.cancel()
            await asyncio.gather(endless, return_exceptions=True)
    return {
        "pods": pods,
        "seconds": round(sorted(alone)[1], 2),
        "cpu_seconds": round(sorted(cpu)[1], 2),
        "memory_mb": round(after.rss_mb - before.rss_mb, 1),
        "peak_mb": round(after.peak_mb - before.peak_mb, 1),
        "heal_others_ms": quantiles(taken),
    }


async def _endlessly(admin: Client) -> None:
    for number in count(1000):
        await _once(admin, number % 60000)


async def _once(admin: Client, port: int) -> None:
    """Change the rules, and wait until all is judged by the new ones."""
    before = await _digest(admin)
    change = encode({"spec": {"runtime": {"hostPorts": [port]}}})
    await admin.send("PATCH", f"{COLLECTION}/{_NAME}", change, MERGE_PATCH)
    await _judged(admin, before)


async def _judged(admin: Client, before: str) -> None:
    end = time.monotonic() + _JUDGED_SECONDS
    while time.monotonic() < end:
        if (await _digest(admin)) not in ("", before):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{_NAME} is not judged after {_JUDGED_SECONDS:.0f} s")


async def _digest(admin: Client) -> str:
    """Of the rules that the pods are judged by; "" while they are not."""
    tenant = decode(await admin.send("GET", f"{COLLECTION}/{_NAME}", content_type=JSON))
    rows = tenant.get("status", {}).get("posture", {}).get("namespaces", [])
    return str(rows[0].get("rules", "")) if rows else ""
