"""A hand-made server, for answers that a real API server cannot be made to give."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, folder: Path, token: str = "t", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Path]:
    """A kubeconfig for a server whose every request goes to `handler`."""
    runner = web.ServerRunner(web.Server(cast(Any, handler)), shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    path = folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig(f"{'https' if tls else 'http'}://127.0.0.1:{port}", {"token": token})))
    try:
        yield path
    finally:
        await runner.cleanup()


def kubeconfig(server: str, user: dict[str, Any], name: str = "fake", **cluster: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, **cluster}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def status(code: int, reason: str = "", message: str = "no", **more: Any) -> web.Response:
    """A metav1.Status as an answer."""
    headers = {"Retry-After": str(more.pop("retry_after"))} if "retry_after" in more else None
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, **more}
    return web.json_response(body, status=code, headers=headers)


def policy(name: str, version: int, namespace: str = "a", **metadata: Any) -> dict[str, Any]:
    """A NetworkPolicy as the API server gives it."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            **metadata,
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


def given(kind: str = "NetworkPolicy") -> web.Response:
    """An object of that kind, as a GET or a write is answered."""
    return web.json_response({**policy("p", 1), "kind": kind})


def page(items: list[dict[str, Any]], version: int, continue_: str = "", kind: str = "NetworkPolicy") -> web.Response:
    metadata = {"resourceVersion": str(version), "continue": continue_}
    return web.json_response({"kind": f"{kind}List", "metadata": metadata, "items": items})


def metadata_of(name: str, version: int, namespace: str = "", **metadata: Any) -> dict[str, Any]:
    """An object of any kind as a PartialObjectMetadata."""
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            **metadata,
        },
    }


def line(kind: str, body: dict[str, Any]) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"
