"""Manifests of workloads and tenants, and `securetenant validate` on them."""

import copy
import json
from typing import Any, Final

import yaml
from typer.testing import CliRunner, Result

from securetenant.cli.main import app

DIGEST: Final = "@sha256:" + "0" * 64
SECURE: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def validate(*args: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, args)], input=text)


def told(*args: object, text: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(validate("-o", "json", *args, text=text).stdout)
    return found


def rules(*args: object, text: str | None = None) -> set[tuple[str, str]]:
    return {(one["rule"], one["severity"]) for one in told(*args, text=text)["problems"]}


def spec(**more: Any) -> dict[str, Any]:
    container = {"name": "web", "image": f"registry.example/web{DIGEST}", "imagePullPolicy": "Always"}
    return {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{**container, "securityContext": copy.deepcopy(SECURE)}],
        **more,
    }


def pod(namespace: str = "shop-prod", **more: Any) -> dict[str, Any]:
    metadata = {"name": "web"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(**more)}


def workload(kind: str, **more: Any) -> dict[str, Any]:
    """A workload of that kind with the pod `spec(**more)`."""
    group = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1", "Pod": "v1"}.get(kind, "apps/v1")
    held: dict[str, Any] = spec(**more)
    if kind != "Pod":
        held = {"template": {"metadata": {"labels": {"app": "web"}}, "spec": held}}
    if kind == "CronJob":
        held = {"schedule": "@daily", "jobTemplate": {"spec": held}}
    return {**pod(), "apiVersion": group, "kind": kind, "spec": held}


def tenant(name: str = "shop", **more: Any) -> dict[str, Any]:
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": name}}
    return {**body, "spec": {"namespaces": [{"name": f"{name}-prod"}], **more}}


def text_of(*documents: Any) -> str:
    return str(yaml.safe_dump_all(documents, explicit_start=True, sort_keys=False))
