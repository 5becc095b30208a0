"""Run the operator as it ships: a process of its own, with the token of its ServiceAccount and not one right more."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from sandbox import credentials, process
from sandbox.client import Admin, wait_for
from sandbox.errors import SandboxError
from sandbox.plane import Plane
from sandbox.supervisor import free_port

NAMESPACE = "securetenant-system"
SERVICE_ACCOUNT = "securetenant"
Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def operator_token(
    plane: Plane, *, namespace: str = NAMESPACE, name: str = SERVICE_ACCOUNT, seconds: int = 86400
) -> str:
    """A token of a ServiceAccount by the TokenRequest API; ``ApiError`` 404 until ``manifests/`` is applied."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
    async with Admin(plane) as admin:
        answer = await admin.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
    return str(answer["status"]["token"])


async def operator_kubeconfig(plane: Plane, folder: Path) -> Path:
    """Write ``folder``/operator.kubeconfig with a new token of the operator's ServiceAccount."""
    token = await operator_token(plane)
    path = _folder(folder) / "operator.kubeconfig"
    credentials.write_kubeconfig(path, url=plane.url, ca_file=plane.ca_file, token=token, user=SERVICE_ACCOUNT)
    return path


@dataclass(slots=True)
class Operator:
    """One running operator."""

    child: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of its own HTTP port; ``aiohttp.ClientError`` if it does not answer."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def metrics(self) -> Metrics:
        """All samples of /metrics: (name, labels) -> value. Counters have their ``_total``."""
        status, text = await self.get("/metrics")
        assert status == 200, f"/metrics: {status}: {text[:200]}"
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of ``name`` that have at least ``labels``; 0 if there are none."""
        wanted = labels.items()
        return sum(value for (n, given), value in (await self.metrics()).items() if n == name and wanted <= set(given))

    async def ready(self) -> bool:
        """Whether /readyz is 200; SandboxError, with the log's end, once the process has ended."""
        if not self.running:
            raise SandboxError(f"the operator ended with {self.child.returncode}:\n{self.tail()}")
        try:
            return (await self.get("/readyz"))[0] == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def stop(self, sig: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send ``sig``, wait for the end (SIGKILL after ``seconds``) and return the exit code (negative: a signal)."""
        if self.running:
            self.child.send_signal(sig)
            try:
                return await asyncio.to_thread(self.child.wait, seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
        return await asyncio.to_thread(self.child.wait)

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@asynccontextmanager
async def run_operator(
    plane: Plane,
    folder: Path,
    *,
    name: str = "operator",
    env: Mapping[str, str] | None = None,
    kubeconfig: Path | None = None,
    wait_ready: float = 30.0,
) -> AsyncIterator[Operator]:
    """Start ``securetenant run`` against ``plane`` and stop it at the end of the block.

    ``kubeconfig`` defaults to a new one of its ServiceAccount. ``env`` overrides its settings
    (``SECURETENANT_LEASE_DURATION`` ...). Waits ``wait_ready`` seconds for /readyz; 0 does not wait. Two in one folder
    need two ``name``s. The end of its log is printed when the block fails. It dies with this process.
    """
    kubeconfig = kubeconfig or await operator_kubeconfig(plane, folder)
    operator = _launch(kubeconfig, _folder(folder) / f"{name}.log", env or {})
    try:
        if wait_ready:
            await wait_for(operator.ready, wait_ready, "the operator's /readyz")
        yield operator
    except BaseException:
        print(f"--- {operator.log}\n{operator.tail()}", file=sys.stderr)
        raise
    finally:
        await operator.stop()


def _launch(kubeconfig: Path, log: Path, env: Mapping[str, str]) -> Operator:
    """Start the process with settings of its own: nothing of the caller's environment that would change it."""
    port = free_port()
    settings = {
        "SECURETENANT_KUBECONFIG": str(kubeconfig),
        "SECURETENANT_HTTP_HOST": "127.0.0.1",
        "SECURETENANT_HTTP_PORT": str(port),
        "SECURETENANT_LOG_FORMAT": "json",
    }
    inherited = {k: v for k, v in os.environ.items() if k != "KUBECONFIG" and not k.startswith("SECURETENANT_")}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "securetenant", "run"],
            env=inherited | settings | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C on the terminal is for us, who then stop it
            preexec_fn=process.die_with_parent(),  # forked by the loop's thread, which outlives it
        )
    return Operator(child, port, log)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
