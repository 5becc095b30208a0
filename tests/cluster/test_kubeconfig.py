"""A kubeconfig's less common settings: both clients heed them, ours and the one that kopf gets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import life
from tests.support.proxy import Proxy
from tests.support.sandbox import Admin, Plane, operator_kubeconfig, run_operator

pytestmark = pytest.mark.cluster


async def kubeconfig(plane: Plane, folder: Path, **cluster: str) -> Path:
    """The operator's own, with other settings of the cluster."""
    path = await operator_kubeconfig(plane, folder)
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(config))
    return path


async def works(plane: Plane, admin: Admin, folder: Path, path: Path, name: str) -> None:
    """A tenant gets Ready, and an edit of it is heard of: by then kopf has listed and watches."""
    try:
        async with run_operator(plane, folder, kubeconfig=path):
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            await life.edit(admin, name, {"network": {"ingress": []}})
            await life.ready(admin, name)
    finally:
        await life.remove(admin, name)


async def test_tls_server_name(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """The server's certificate has not the address that it is reached at."""
    async with Proxy(plane.url, "127.0.0.2") as elsewhere:
        settings = {"server": elsewhere.url, "tls-server-name": "kubernetes.default.svc"}
        await works(plane, admin, tmp_path, await kubeconfig(plane, tmp_path, **settings), "conf-name")


@contextlib.asynccontextmanager
async def http_proxy(plane: Plane) -> AsyncIterator[str]:
    """A proxy that knows CONNECT alone, and the API server alone, whatever it is asked for; its URL."""
    host, _, port = plane.url.removeprefix("https://").rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT ")
            upstream, to_server = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(pump(reader, to_server), pump(upstream, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_proxy_url(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """The address itself leads nowhere: who passes the proxy by has no API server."""
    async with http_proxy(plane) as url:
        elsewhere = {"server": "https://127.0.0.3:1", "tls-server-name": "kubernetes.default.svc", "proxy-url": url}
        await works(plane, admin, tmp_path, await kubeconfig(plane, tmp_path, **elsewhere), "conf-proxy")
