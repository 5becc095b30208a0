"""Namespaces as the admission policies find them, without an operator: what its controls plan for a spec is written
with its account. The policies are in force by the fixture `policies`.

    async with namespace(plane, admin, "shop-a", runtime={"hostPorts": [8080]}) as enforced:
        ...
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from securetenant.api.tenant import SecureTenant
from securetenant.checks.policies import PROBE
from securetenant.controls.registry import CONTROLS
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref, marks
from tests.support import pods
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Plane, operator_token, wait_for
from tests.support.world import StaticWorld, mine, tenant

PODS: Final = "/api/v1/namespaces/{}/pods"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/{}/deployments"
DRY: Final = {"dryRun": "All"}


def metadata(held_by: SecureTenant, name: str) -> dict[str, dict[str, str]]:
    """The labels and annotations that the operator keeps on a namespace of the tenant."""
    world = StaticWorld([held_by], mine(held_by))
    here = Ref(NAMESPACE, "", name)
    now = datetime.now(UTC)
    parts = [part for one in CONTROLS for part in one.plan(held_by, world, now).desired if part.ref == here]
    labels = {key: value for part in parts for key, value in part.labels.items()}
    annotations = {key: value for part in parts for key, value in part.annotations.items()}
    return {"labels": {**labels, **marks(held_by.name, "namespaces")}, "annotations": annotations}


@dataclass
class Enforced:
    """One namespace, and those who act in it: `admin`, and `operator` with the operator's account."""

    admin: Admin
    operator: Admin
    name: str

    @property
    def pods(self) -> str:
        return PODS.format(self.name)

    async def mark(self, **spec: Any) -> None:
        """Write what the operator keeps on it for a tenant of the same name with this spec, and wait until admission
        knows: it reads namespaces from a cache, some ms late."""
        await self.annotate(**metadata(tenant(self.name, namespaces=[self.name], **spec), self.name))
        await wait_for(self.is_judged, 20, f"admission to know the marks of {self.name}")

    async def annotate(self, **changes: Mapping[str, str | None]) -> None:
        """Change labels and annotations as the operator would, by a merge patch."""
        await self.operator.patch(f"{NAMESPACES}/{self.name}", {"metadata": changes})

    async def try_pod(self, spec: Json) -> tuple[int, str, list[str]]:
        """Status, message and warnings that a pod of this spec would get (dry run)."""
        body = pod("trial", spec)
        status, answer, warnings = await self.admin.warned("POST", self.pods, body, params=DRY)
        return status, answer.get("message", ""), warnings

    async def is_judged(self) -> bool:
        """Whether the policies look here, as admission knows the namespace now."""
        _, answer, warnings = await self.admin.warned(
            "POST", self.pods, pod("probe", pods.spec(), annotations={PROBE: "true"}), params=DRY
        )
        return "probe: " in f"{answer.get('message', '')} {warnings}"


@contextlib.asynccontextmanager
async def namespace(plane: Plane, admin: Admin, name: str, **spec: Any) -> AsyncIterator[Enforced]:
    """A namespace, marked for a tenant with this spec; not marked if there is none. It is deleted at the end."""
    async with Admin(plane, token=await operator_token(plane)) as operator:
        made = Enforced(admin, operator, name)
        await admin.create(NAMESPACES, {"metadata": {"name": name}})
        try:
            account = f"{NAMESPACES}/{name}/serviceaccounts/default"
            await wait_for(lambda: admin.find(account), 10, f"the ServiceAccount default of {name}")
            if spec:
                await made.mark(**spec)
            yield made
        finally:
            await admin.delete(f"{NAMESPACES}/{name}")


def pod(name: str, spec: Json, **meta: Any) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **meta}, "spec": spec}


def template(name: str, spec: Json) -> Json:
    """A pod template with the label `app`, and the selector of it."""
    labels = {"app": name}
    return {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}


def deployment(name: str, spec: Json, replicas: int = 1) -> Json:
    body = {"replicas": replicas, **template(name, spec)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}
