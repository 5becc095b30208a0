"""Subnets of Calico and Cilium: an operator with the opt-in rights over them, pools, and a record of what happens."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from sandbox.cni import crds
from sandbox.cni.crds import Schema
from tests.support import life
from tests.support.fault import free_lease
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import ROOT, Admin, Plane, run_operator, wait_for
from tests.support.tenants import Stage, Tenant, is_leading

RIGHTS: Final = ROOT / "manifests" / "components" / "subnets" / "role.yaml"
POOLS: Final = "/apis/securetenant.dev/v1alpha1/subnetpools"
CALICO: Final = crds.CALICO.collection
CILIUM: Final = crds.CILIUM.collection
UNUSED: Final = "securetenant.dev/unused-since"
PREFIX: Final = "securetenant-"
#: Long enough to see that the addresses are kept, short enough to wait for.
DELAY: Final = 4


@asynccontextmanager
async def served(admin: Admin, *schemas: Schema) -> AsyncIterator[None]:
    """The plug-ins' kinds are served, and the operator has the rights over them."""
    await admin.apply(RIGHTS)
    try:
        async with crds.served(admin, *schemas):
            yield
    finally:
        await admin.kubectl("delete", "--ignore-not-found", "-f", str(RIGHTS))


@asynccontextmanager
async def stage(
    plane: Plane, admin: Admin, folder: Path, *schemas: Schema, env: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """The operator as it ships, with the component `subnets`, on a cluster with these plug-ins."""
    settings = {"SECURETENANT_SUBNET_RELEASE_DELAY": str(DELAY), **(env or {})}
    made: Stage | None = None
    await free_lease(admin)
    async with served(admin, *schemas):
        try:
            async with run_operator(plane, folder, env=settings) as operator:
                await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
                made = Stage(plane, admin, operator)
                yield made
        finally:
            if made is not None:
                await life.remove(admin, *made.names)
            await remove_pools(admin)


async def remove_pools(admin: Admin) -> None:
    for pool in (await admin.get(POOLS))["items"]:
        await admin.delete(f"{POOLS}/{pool['metadata']['name']}")


async def pool(admin: Admin, name: str, *cidrs: str, **other: Any) -> Json:
    """A SubnetPool."""
    metadata = {"name": name}
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SubnetPool", "metadata": metadata}
    made: Json = await admin.create(POOLS, {**body, "spec": {"cidrs": list(cidrs), **other}})
    return made


def entry(namespace: str, **subnet: Any) -> Json:
    return {"name": namespace, "subnet": subnet}


def spec(*entries: Json, **other: Any) -> Json:
    return {"namespaces": list(entries), **other}


async def subnets(admin: Admin, tenant: str) -> dict[str, list[str]]:
    """What a tenant's status says was given to its namespaces."""
    status = (await life.get(admin, tenant)).get("status", {})
    return {one["namespace"]: one["cidrs"] for one in status.get("subnets", [])}


async def told(tenant: Tenant, reason: str, *words: str, status: str = "False") -> Json:
    """Wait until the condition of the subnets has this reason, and names all of these."""

    async def is_told() -> Json:
        condition = await tenant.condition("SubnetsReady")
        assert (condition.get("status"), condition.get("reason")) == (status, reason), condition
        assert all(word in condition["message"] for word in words), condition
        return condition

    return await wait_for(is_told, 20, f"{tenant.name}: SubnetsReady {reason}")


async def pool_status(admin: Admin, name: str, **figures: Any) -> Json:
    """Wait until a SubnetPool's status of IPv4 has these figures, and `subnets` if that is among them."""

    async def is_so() -> Json:
        status: Json = (await admin.get(f"{POOLS}/{name}")).get("status", {})
        found = {**status.get("ipv4", {}), "subnets": status.get("subnets", 0)}
        assert {key: found.get(key, 0 if key == "fragmentation" else "") for key in figures} == figures, status
        return status

    return await wait_for(is_so, 20, f"the status of SubnetPool {name}: {figures}")


def apart(cidrs: Iterable[str]) -> bool:
    """Whether no two of them overlap."""
    found = sorted(map(ip_network, cidrs), key=lambda one: (one.version, one))
    pairs = itertools.pairwise(found)
    return not any(one.version == other.version and one.overlaps(other) for one, other in pairs)


@dataclass(slots=True)
class Tape:
    """Every event of some collections, as watches told them."""

    events: list[tuple[str, Json]] = field(default_factory=list)
    #: When each kind of event of each object came last, by kind, name and type (monotonic seconds).
    times: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def note(self, what: str, item: Json) -> None:
        self.events.append((what, item))
        self.times[item["kind"], item["metadata"]["name"], what] = time.monotonic()

    def of(self, kind: str, name: str) -> list[tuple[str, Json]]:
        """Type and object of each event of one object, in order."""
        return [(what, item) for what, item in self.events if (item["kind"], item["metadata"]["name"]) == (kind, name)]

    def index(self, kind: str, name: str, what: str) -> int:
        """Where in the record the first such event is, by resourceVersion: watches of several kinds are not in step."""
        return min(version(item) for type_, item in self.of(kind, name) if type_ == what)

    def first(self, kind: str, name: str) -> Json:
        """As it was created."""
        what, item = self.of(kind, name)[0]
        assert what == "ADDED"
        return item


@asynccontextmanager
async def recorded(admin: Admin, *collections: str) -> AsyncIterator[Tape]:
    """Record these collections from now on."""
    tape = Tape()

    async def follow(collection: str, since: str) -> None:
        async for event in admin.watch(collection, since):
            tape.note(*event)

    tasks = []
    for collection in collections:
        since = (await admin.get(collection))["metadata"]["resourceVersion"]
        tasks.append(asyncio.create_task(follow(collection, since)))
    try:
        yield tape
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def version(item: Json) -> int:
    return int(item["metadata"]["resourceVersion"])


async def annotations(admin: Admin, namespace: str) -> dict[str, str]:
    """Those of the plug-ins on a namespace."""
    found = (await admin.get(f"{NAMESPACES}/{namespace}"))["metadata"].get("annotations", {})
    return {key: value for key, value in found.items() if "projectcalico" in key or "cilium" in key}


@asynccontextmanager
async def unlocked(admin: Admin) -> AsyncIterator[None]:
    """The API server lets addresses be changed, as where the policy that refuses it is not installed."""
    where = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    binding = await admin.find(f"{where}/subnets-deny.securetenant.dev")
    if binding is None:
        yield
        return
    await admin.delete(f"{where}/{binding['metadata']['name']}")
    probe = {"metadata": {"name": "securetenant-probe-subnets", "annotations": {"securetenant.dev/probe": ""}}}

    async def is_open() -> bool:
        """The API server reads its policies again each second."""
        path = f"{NAMESPACES}/default/configmaps"
        return (await admin.request("POST", path, probe, params={"dryRun": "All"}))[0] == 201

    await wait_for(is_open, 10, "the policy not to be in force")
    try:
        yield
    finally:
        metadata = {key: binding["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
        await admin.create(where, {**binding, "metadata": metadata})
