"""One tenant's life under a running operator, with a ledger of what must have been counted of its drift.

    async with tenants.stage(plane, admin, folder) as stage:
        tenant = await stage.tenant("shop", {"namespaces": [{"name": "shop-a"}]})
        await stage.admin.delete(POLICIES.format("shop-a") + "/securetenant-default-deny")
        await tenant.healed(("network", "Missing"))

The ledger holds totals, not differences: what is counted twice, or late, shows at the next look.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from tests.support import life
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Metrics, Operator, Plane, run_operator, wait_for

BINDINGS: Final = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"
POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
QUOTAS: Final = "/api/v1/namespaces/{}/resourcequotas"
RANGES: Final = "/api/v1/namespaces/{}/limitranges"

Deviation = tuple[str, str]  # control, reason


@dataclass
class Tenant:
    """A SecureTenant and what the metrics have to say of it."""

    admin: Admin
    operator: Operator
    name: str
    detected: Counter[Deviation] = field(default_factory=Counter)
    corrected: Counter[Deviation] = field(default_factory=Counter)
    standing: Counter[Deviation] = field(default_factory=Counter)

    @property
    def path(self) -> str:
        return f"{TENANTS}/{self.name}"

    async def get(self) -> Json:
        return await life.get(self.admin, self.name)

    async def condition(self, kind: str) -> Json:
        return life.condition(await self.get(), kind)

    async def items(self) -> list[Json]:
        """The deviations that the status names."""
        return cast(list[Json], (await self.get()).get("status", {}).get("drift", {}).get("items", []))

    async def edit(self, changes: Json) -> None:
        """Change the spec, and wait until that is rolled out with not one deviation more counted."""
        await life.edit(self.admin, self.name, changes)
        await self.agrees("the edit to be rolled out without drift")

    async def healed(self, *deviations: Deviation) -> None:
        """These were done to the tenant: each is counted once, as found and as corrected, and none stands."""
        self.detected.update(deviations)
        self.corrected.update(deviations)
        await self.agrees(f"{deviations} to be found and undone")

    async def reported(self, *deviations: Deviation) -> None:
        """These were done to it, and stand: each is counted once as found, and shown."""
        self.detected.update(deviations)
        self.standing.update(deviations)
        await self.agrees(f"{deviations} to be found and left")

    async def cleared(self, *deviations: Deviation) -> None:
        """These, reported before, are no more, and not by us."""
        self.standing.subtract(deviations)
        await self.agrees(f"{deviations} to be over")

    async def agrees(self, what: str = "") -> None:
        """Wait until metrics and status say what the ledger says, and the operator has nothing to do."""
        await wait_for(self._agreement, 20, what or f"{self.name} to be as the ledger says")

    async def _agreement(self) -> bool:
        tenant = await self.get()
        status = tenant.get("status", {})
        assert status.get("observedGeneration") == tenant["metadata"]["generation"], "the spec is not judged yet"
        metrics = await self.operator.metrics()
        assert counted(metrics, "securetenant_workqueue_depth") == {(): 0}
        assert self._drift(metrics, "detected_total") == dict(+self.detected), "detected"
        assert self._drift(metrics, "corrected_total") == dict(+self.corrected), "corrected"
        assert self._drift(metrics, "objects") == dict(+self.standing), "standing"
        by_control: Counter[str] = Counter()
        for (control, _), number in (+self.standing).items():
            by_control[control] += number
        # While it is paused nothing is judged, and no number stands for that.
        total = None if tenant["spec"].get("mode") == "Paused" else self.standing.total()
        assert status.get("drift", {}).get("total") == total, status
        assert status.get("drift", {}).get("byControl", {}) == dict(by_control)
        return True

    def _drift(self, metrics: Metrics, kind: str) -> dict[Deviation, int]:
        """The samples that are not 0."""
        found = counted(metrics, f"securetenant_drift_{kind}", "control", "reason", tenant=self.name)
        return {(control, reason): int(value) for (control, reason), value in found.items() if value}

    async def healed_somehow(self, control: str, path: str, before: Json, uid: str) -> None:
        """Something of this control was done to the object in steps, of which the operator may have seen some alone:
        it is another one now (not `uid`) with the content as before, and what was found is over.

        What others made good themselves (a deleted object that is there again) is found and not corrected.
        """

        async def is_over() -> bool:
            assert (await self.admin.get(path))["metadata"]["uid"] != uid
            assert await content(self.admin, path) == before
            metrics = await self.operator.metrics()
            assert counted(metrics, "securetenant_workqueue_depth") == {(): 0}
            assert (await self.get())["status"]["drift"]["total"] == 0
            assert self._drift(metrics, "objects") == {}
            detected, corrected = (Counter(self._drift(metrics, f"{kind}_total")) for kind in ("detected", "corrected"))
            more = detected - self.detected
            assert more.total() > 0
            assert {of for of, _ in more} == {control}
            assert corrected - self.corrected <= more
            self.detected, self.corrected = detected, corrected
            return True

        await wait_for(is_over, 20, f"what was done to {path} to be found and undone")

    def told(self, event: str = "drift detected") -> list[Json]:
        """The operator's log lines about this tenant's drift, in order."""
        return [line for line in _lines(self.operator.log) if line.get("event") == event and _is_of(line, self.name)]

    async def delete(self) -> None:
        """Delete the SecureTenant and wait until it is gone; its namespaces are the deletion policy's affair."""
        await self.admin.delete(self.path)
        await life.gone(self.admin, self.path)


@dataclass
class Stage:
    """A running operator, and the tenants that tests made."""

    plane: Plane
    admin: Admin
    operator: Operator
    names: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    async def create(self, name: str, spec: Json) -> Tenant:
        """Create a tenant, and do not wait for anything."""
        self.names.append(name)
        await life.create(self.admin, name, spec)
        return Tenant(self.admin, self.operator, name)

    async def tenant(self, name: str, spec: Json) -> Tenant:
        """Create a tenant and wait until it is Ready, with nothing counted as drift."""
        tenant = await self.create(name, spec)
        await life.ready(self.admin, name)
        await tenant.agrees("the creation to be no drift")
        return tenant

    async def namespace(self, name: str, **metadata: Any) -> Json:
        """A namespace that is no tenant's."""
        self.places.append(name)
        made: Json = await self.admin.create(NAMESPACES, {"metadata": {"name": name, **metadata}})
        return made


@asynccontextmanager
async def stage(
    plane: Plane, admin: Admin, folder: Path, *, nodes: str = "", env: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Stage]:
    """Run the operator as it ships until the end of the block; what was made there is removed after it, and the nodes
    whose names begin with `nodes`."""
    made: Stage | None = None
    try:
        async with run_operator(plane, folder, env=env) as operator:
            await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
            made = Stage(plane, admin, operator)
            yield made
    finally:
        if made is not None:
            await life.remove(admin, *made.names)
            for place in made.places:
                await admin.delete(f"{NAMESPACES}/{place}")
        for node in (await admin.get("/api/v1/nodes"))["items"] if nodes else ():
            if node["metadata"]["name"].startswith(nodes):
                await admin.delete(f"/api/v1/nodes/{node['metadata']['name']}")


async def is_leading(operator: Operator) -> bool:
    return await operator.metric("securetenant_leader") == 1


async def content(admin: Admin, path: str) -> Json:
    """An object without what the API server alone sets."""
    item = await admin.get(path)
    server_set = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
    metadata = {key: value for key, value in item["metadata"].items() if key not in server_set}
    return {"metadata": metadata, **{k: v for k, v in item.items() if k not in ("metadata", "status")}}


async def bodies(admin: Admin, collection: str) -> dict[str, Json]:
    """What is declared by each object of a collection, by name: no metadata, no status."""
    aside = ("metadata", "status", "apiVersion", "kind")
    listed = (await admin.get(collection))["items"]
    return {item["metadata"]["name"]: {k: v for k, v in item.items() if k not in aside} for item in listed}


def marks(tenant: str, control: str) -> dict[str, str]:
    """The labels on everything of a tenant's, as people would write them down."""
    return {
        "app.kubernetes.io/managed-by": "securetenant",
        "securetenant.dev/tenant": tenant,
        "securetenant.dev/control": control,
    }


def counted(metrics: Metrics, name: str, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
    """The samples of `name` that have these labels, by the values of the labels `keys`."""
    return {
        tuple(dict(given)[key] for key in keys): value
        for (metric, given), value in metrics.items()
        if metric == name and labels.items() <= set(given)
    }


def _lines(log: Path) -> Iterator[Json]:
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _is_of(line: Json, name: str) -> bool:
    return bool(line.get("tenant") == name)


def peer_rule(name: str, direction: str, peer: Json, *, ports: Iterable[int] = (), **other: Any) -> Json:
    """A rule with one peer, for the section of that direction."""
    listed = [{"port": port} for port in ports]
    return {"name": name, {"ingress": "from", "egress": "to"}[direction]: [peer], "ports": listed, **other}
