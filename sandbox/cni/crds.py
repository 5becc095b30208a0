"""The CustomResourceDefinitions of network plug-ins, out of the Go modules that hold them.

A module is downloaded once, by Go's own client and checked by Go's checksum database; the file is kept in the sandbox's
cache, and no copy of it is in the checkout.
"""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox import build, process, progress, toolchain
from sandbox.client import Admin, wait_for
from sandbox.errors import SandboxError

_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Schema:
    """A CustomResourceDefinition: its name, and the file of a Go module that has it. `served`: the version that is
    waited for."""

    plural: str
    group: str
    served: str
    module: str
    version: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    @property
    def collection(self) -> str:
        """Where its objects are, on an API server that serves it."""
        return f"/apis/{self.group}/{self.served}/{self.plural}"


CALICO: Final = Schema(
    "ippools",
    "crd.projectcalico.org",
    "v1",
    "github.com/projectcalico/calico",
    "v1.11.0-cni-plugin.0.20250813170300-a0db560f0520",
    "libcalico-go/config/crd/crd.projectcalico.org_ippools.yaml",
)
CILIUM: Final = Schema(
    "ciliumpodippools",
    "cilium.io",
    "v2alpha1",
    "github.com/cilium/cilium",
    "v1.20.2",
    "pkg/k8s/apis/cilium.io/client/crds/v2alpha1/ciliumpodippools.yaml",
)
CLUSTER_NETWORK_POLICY: Final = Schema(
    "clusternetworkpolicies",
    "policy.networking.k8s.io",
    "v1alpha2",
    "sigs.k8s.io/network-policy-api",
    "v0.2.0",
    "config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml",
)


def file(schema: Schema) -> Path:
    """The definition's file in the cache; fetches it the first time. Raises :class:`SandboxError`."""
    cache = build.cache_folder()
    folder = cache / "cni"
    kept = folder / f"{schema.name}@{schema.version}.yaml"
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with process.locked(folder / ".lock", lambda: progress.shown("waiting for another process's download")):
        if not kept.exists():
            source = module(schema.module, schema.version) / schema.path
            draft = folder / f".{kept.name}.{os.getpid()}"
            try:
                draft.write_bytes(source.read_bytes())
            except OSError as error:
                raise SandboxError(
                    f"{schema.name}: {schema.module}@{schema.version} has no {schema.path} ({error}): correct "
                    "version or path in sandbox/cni/crds.py"
                ) from error
            draft.replace(kept)
    return kept


def module(name: str, version: str) -> Path:
    """The folder of a Go module in Go's cache; downloads it if it is not there. Raises :class:`SandboxError`."""
    cache = build.cache_folder()
    go = toolchain.find(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with progress.shown(f"fetching {name}@{version}"):
        done = subprocess.run(
            [str(go.command), "mod", "download", "-json", f"{name}@{version}"],
            cwd=cache,  # in no module: of one the versions would count
            env=toolchain.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=process.die_with_parent(signal.SIGINT),
        )
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {}
    if done.returncode == 0 and told.get("Dir"):
        return Path(told["Dir"])
    said = str(told.get("Error") or done.stderr or done.stdout).strip()
    raise SandboxError(
        f"the Go module {name}@{version} could not be downloaded: {said}\nIt holds what tests need. "
        "Check the network, or set GOPROXY to a module proxy that can be reached."
    )


async def install(admin: Admin, schema: Schema) -> None:
    """Apply the definition, and wait until its objects can be listed."""
    # By the server: what kubectl would note on the client's side is larger than an annotation may be.
    await admin.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file(schema)))

    async def is_served() -> bool:
        status, _ = await admin.request("GET", schema.collection, params={"limit": "1"})
        return status == 200

    await wait_for(is_served, 20, f"{schema.name} to be served")


async def remove(admin: Admin, schema: Schema) -> None:
    """Delete the definition with all its objects, and wait until both are gone."""

    async def is_gone() -> bool:
        status, _ = await admin.request("GET", schema.collection, params={"limit": "1"})
        return status == 404 and await admin.find(f"{_CRDS}/{schema.name}") is None

    await admin.delete(f"{_CRDS}/{schema.name}")
    await wait_for(is_gone, 30, f"{schema.name} to be gone")


@asynccontextmanager
async def served(admin: Admin, *schemas: Schema) -> AsyncIterator[None]:
    """They are served for the block."""
    try:
        for schema in schemas:
            await install(admin, schema)
        yield
    finally:
        for schema in schemas:
            await remove(admin, schema)
