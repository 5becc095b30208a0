"""Nodes without machines: kwok makes each Node object Ready and runs the Pods that are bound to it."""

import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from sandbox.errors import SandboxError
from sandbox.plane import Plane


def create(plane: Plane, count: int, labels: Mapping[str, str] | None = None, *, prefix: str = "node") -> list[str]:
    """Create ``count`` Nodes (``node-0`` ...) with ``labels``, wait until each is Ready, and return their names.

    A Node that is there already keeps what it has and gets the labels. Raises :class:`SandboxError` after 30 s.
    """
    names = [f"{prefix}-{number}" for number in range(count)]
    bodies = [manifest(name, labels or {}) for name in names]
    _kubectl(plane, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}))
    end = time.monotonic() + 30
    while late := set(names) - _ready(plane):
        if time.monotonic() > end:
            raise SandboxError(f"not Ready after 30 s: {', '.join(sorted(late))}")
        time.sleep(0.1)
    return names


def manifest(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """A Node of 32 CPUs, 256 GiB and 110 Pods."""
    size = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "type": "kwok", **labels}},
        "status": {"capacity": size, "allocatable": size},
    }


def _ready(plane: Plane) -> set[str]:
    """The names of the Nodes that are Ready and no longer tainted by the node lifecycle controller.

    Until both are so, nothing is scheduled there.
    """
    nodes = json.loads(_kubectl(plane, "get", "nodes", "-o", "json"))["items"]
    return {node["metadata"]["name"] for node in nodes if _is_ready(node)}


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
    taints = {taint["key"] for taint in node["spec"].get("taints", [])}
    return conditions.get("Ready") == "True" and "node.kubernetes.io/not-ready" not in taints


def _kubectl(plane: Plane, *arguments: str, text: str | None = None) -> str:
    command = [str(plane.assets / "kubectl"), f"--kubeconfig={plane.kubeconfig}", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
