"""What the admission policies cost: how long a pod's creation takes in a tenant's namespace, and in one that no policy
looks at; and the API server's memory with the policies and without them."""

import asyncio
import re
import time
from typing import Any, Final

from bench.client import BenchError, Client, decode, encode
from bench.heal import quantiles

_PLAIN: Final = "bench-plain"
_PODS: Final = "/api/v1/namespaces/{}/pods"
#: A pod that breaks no rule; no node takes it, so that it is gone at once when deleted.
_POD: Final = encode(
    {
        "metadata": {"generateName": "p-"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "registry.example/none",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
            ],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "automountServiceAccountToken": False,
            "nodeSelector": {"no-such": "node"},
        },
    }
)
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_POLICIES: Final = (
    f"{_ADMISSION}/validatingadmissionpolicybindings",
    f"{_ADMISSION}/validatingadmissionpolicies",
    f"{_ADMISSION}/mutatingadmissionpolicybindings",
    f"{_ADMISSION}/mutatingadmissionpolicies",
)
_BATCH: Final = 50
#: The API server rereads its policies every second; then it forgets the compiled ones.
_REREAD_SECONDS: Final = 5.0


async def pod_creation(admin: Client, namespace: str, pods: int) -> dict[str, Any]:
    """Milliseconds for one creation after the other, in turn in both namespaces, so that what else the machine does
    falls on both."""
    found = decode(await admin.send("GET", f"/api/v1/namespaces/{namespace}"))["metadata"]["labels"]
    pod_security = {key: value for key, value in found.items() if key.startswith("pod-security.kubernetes.io/")}
    await admin.send("POST", "/api/v1/namespaces", encode({"metadata": {"name": _PLAIN, "labels": pod_security}}))
    for kind in ("resourcequotas", "limitranges"):  # both cost each creation something, the quota a write
        for item in decode(await admin.send("GET", f"/api/v1/namespaces/{namespace}/{kind}"))["items"]:
            same = {"metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"]}
            await admin.send("POST", f"/api/v1/namespaces/{_PLAIN}/{kind}", encode(same))
    taken: dict[str, list[float]] = {namespace: [], _PLAIN: []}
    while len(taken[_PLAIN]) < pods:
        for _ in range(_BATCH):
            for place, times in taken.items():
                begin = time.perf_counter()
                await admin.send("POST", _PODS.format(place), _POD)
                times.append((time.perf_counter() - begin) * 1000)
        for place in taken:
            await admin.send("DELETE", _PODS.format(place))
    await admin.send("DELETE", f"/api/v1/namespaces/{_PLAIN}")
    return {"with_ms": quantiles(taken[namespace]), "without_ms": quantiles(taken[_PLAIN])}


async def memory(admin: Client) -> dict[str, float]:
    """Megabytes that the API server's heap holds after a collection, with the policies and, once they are deleted,
    without them."""
    with_them = await _heap(admin)
    for kind in _POLICIES:
        await admin.send("DELETE", f"{kind}?labelSelector=app.kubernetes.io/part-of%3Dsecuretenant")
    await asyncio.sleep(_REREAD_SECONDS)
    return {"with_mb": with_them, "without_mb": await _heap(admin)}


async def _heap(admin: Client) -> float:
    await admin.send("GET", "/debug/pprof/heap?gc=1&debug=1")
    found = re.search(rb"^go_memstats_heap_alloc_bytes (\S+)", await admin.send("GET", "/metrics"), re.MULTILINE)
    if found is None:
        raise BenchError("the API server's metrics have no go_memstats_heap_alloc_bytes")
    return round(float(found[1]) / 2**20, 1)
