"""Policies of Calico, Cilium and the network-policy-api that select pods of a tenant are found where these kinds are
served, with the schemas that their projects publish."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox.cni import crds
from securetenant.model import kinds
from securetenant.model.kinds import Kind
from tests.support import life, tenants
from tests.support.foreign_kinds import SCHEMAS
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster

FOREIGN: Final = ("network", "Foreign")
# It comes while the operator runs.
LATE: Final = kinds.BASELINE_ADMIN_NETWORK_POLICY
NAME: Final = "kubernetes.io/metadata.name"


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    served = [schema for kind, schema in SCHEMAS.items() if kind is not LATE]
    async with (
        crds.served(admin, *served),
        tenants.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage,
    ):
        yield stage


async def create(admin: Admin, kind: Kind, name: str, spec: Json, namespace: str = "") -> str:
    """Its path."""
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}
    await admin.create(kind.path(namespace), body)
    return kind.path(namespace, name)


async def told(tenant: Tenant, kind: Kind, name: str) -> str:
    """What the log says of the one deviation there is."""
    (item,) = await tenant.items()
    assert (item["kind"], item["name"], item["reason"]) == (kind.key, name, "Foreign")
    assert item["manager"]  # who created it
    return str(tenant.told()[-1]["cause"])


def peers(**labels: str) -> Json:
    return {"namespaces": {"matchLabels": labels}}


LOCAL: Final[dict[Kind, tuple[Json, str]]] = {
    kinds.CALICO_NETWORK_POLICY: (
        {
            "order": 10,
            "selector": "app == 'db'",
            "types": ["Ingress"],
            "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.0.0.0/8"]}}],
        },
        "Calico, order 10: selects pods with app == 'db': allows ingress from 10.0.0.0/8 on TCP",
    ),
    kinds.CILIUM_NETWORK_POLICY: (
        {
            "endpointSelector": {"matchLabels": {"app": "db"}},
            "egress": [{"toFQDNs": [{"matchName": "a.example"}]}],
            "ingressDeny": [{"fromEntities": ["cluster"]}],
        },
        "selects pods with app=db: denies ingress from all of the cluster; allows egress to the name a.example",
    ),
}
WIDE: Final[dict[Kind, tuple[Json, str]]] = {
    kinds.CALICO_GLOBAL_NETWORK_POLICY: (
        {"namespaceSelector": "env == 'foreign'", "ingress": [{"action": "Allow"}], "egress": [{"action": "Deny"}]},
        "Calico: selects pods with namespace env == 'foreign' of {}: allows ingress from everywhere; "
        "denies egress to everywhere",
    ),
    kinds.CILIUM_CLUSTERWIDE_NETWORK_POLICY: (
        {
            "endpointSelector": {"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.env": "foreign"}},
            "ingress": [{"fromEntities": ["all"]}],
        },
        "selects pods with k8s:io.cilium.k8s.namespace.labels.env=foreign of {}: allows ingress from everywhere",
    ),
    kinds.ADMIN_NETWORK_POLICY: (
        {
            "priority": 5,
            "subject": peers(env="foreign"),
            "ingress": [
                {"action": "Allow", "from": [peers()], "ports": [{"portNumber": {"protocol": "TCP", "port": 80}}]}
            ],
        },
        "priority 5: selects all pods of {}: allows ingress from all namespaces on TCP 80",
    ),
    kinds.CLUSTER_NETWORK_POLICY: (
        {
            "tier": "Admin",
            "priority": 5,
            "subject": peers(env="foreign"),
            "egress": [{"action": "Accept", "to": [{"networks": ["0.0.0.0/0"]}]}],
        },
        "tier Admin, priority 5: selects all pods of {}: allows egress to everywhere",
    ),
}


@pytest.mark.parametrize("kind", LOCAL, ids=lambda kind: kind.key)
async def test_one_in_a_tenants_namespace(stage: Stage, kind: Kind) -> None:
    name = f"fk-{kind.plural}"
    spec, message = LOCAL[kind]
    tenant = await stage.tenant(name, {"namespaces": [{"name": f"{name}-a"}]})
    other = await stage.namespace(f"{name}-free")
    await create(stage.admin, kind, "elsewhere", spec, other["metadata"]["name"])
    path = await create(stage.admin, kind, "theirs", spec, f"{name}-a")
    await tenant.reported(FOREIGN)
    assert await told(tenant, kind, "theirs") == message
    # Of these kinds none is deleted, and the message says so.
    await life.edit(stage.admin, name, {"network": {"foreign": "Remove"}})
    await tenant.agrees()
    assert await stage.admin.find(path) is not None
    await life.edit(stage.admin, name, {"network": {"foreign": "Ignore"}})
    await tenant.cleared(FOREIGN)
    await life.edit(stage.admin, name, {"network": {"foreign": "Report"}})
    await tenant.reported(FOREIGN)
    await stage.admin.delete(path)
    await tenant.cleared(FOREIGN)


@pytest.mark.parametrize("kind", WIDE, ids=lambda kind: kind.key)
async def test_one_that_selects_a_tenants_namespace(stage: Stage, kind: Kind) -> None:
    name = f"fk-{kind.plural[:24]}"
    spec, message = WIDE[kind]
    labelled = [{"name": f"{name}-a", "labels": {"env": "foreign"}}, {"name": f"{name}-b"}]
    tenant = await stage.tenant(name, {"namespaces": labelled})
    spared = await stage.tenant(f"{name}-2", {"namespaces": [{"name": f"{name}-2a"}]})
    path = await create(stage.admin, kind, f"{name}-wide", spec)
    try:
        await tenant.reported(FOREIGN)
        assert await told(tenant, kind, f"{name}-wide") == message.format(f"{name}-a")
        await spared.agrees("a policy that selects others to be nothing")
        # The plug-in goes by the labels that stand, whoever wrote them.
        await stage.admin.patch(f"{NAMESPACES}/{name}-2a", {"metadata": {"labels": {"env": "foreign"}}})
        await spared.reported(FOREIGN)
        await stage.admin.patch(f"{NAMESPACES}/{name}-2a", {"metadata": {"labels": {"env": None}}})
        await spared.cleared(FOREIGN)
    finally:
        await stage.admin.delete(path)
    await tenant.cleared(FOREIGN)


async def test_what_is_not_understood_concerns_all(stage: Stage) -> None:
    """Calico's CRD takes any text for a selector, and Calico leaves out a selector of namespaces that it cannot
    parse."""
    tenant = await stage.tenant("fk-unclear", {"namespaces": [{"name": "fk-unclear-a"}]})
    kind = kinds.CALICO_GLOBAL_NETWORK_POLICY
    spec = {"namespaceSelector": "env = 'nobody'", "ingress": [{"action": "Allow"}]}
    path = await create(stage.admin, kind, "unclear", spec)
    try:
        await tenant.reported(FOREIGN)
        assert "not understood (" in await told(tenant, kind, "unclear")
        # Corrected, it selects nobody.
        await stage.admin.patch(path, {"spec": {"namespaceSelector": "env == 'nobody'"}})
        await tenant.cleared(FOREIGN)
    finally:
        await stage.admin.delete(path)


async def test_a_baseline_where_there_is_no_default_deny(stage: Stage) -> None:
    """A kind that comes while the operator runs, and goes: it decides where no NetworkPolicy does, in Audit."""
    admin = stage.admin
    await stage.namespace("fk-late-a")
    tenant = await stage.create("fk-late", {"mode": "Audit", "namespaces": [{"name": "fk-late-a", "adopt": True}]})
    closed = await stage.tenant("fk-closed", {"namespaces": [{"name": "fk-closed-a"}]})

    async def names() -> list[str]:
        return [item["name"] for item in await tenant.items() if item["reason"] == "Foreign"]

    async def is_seen() -> bool:
        assert await names() == ["default"]
        return True

    async def is_over() -> bool:
        assert (await tenant.get()).get("status", {}).get("observedGeneration") == 1
        assert await names() == []
        return True

    spec = {"subject": peers(), "ingress": [{"action": "Allow", "from": [peers()]}]}
    await wait_for(is_over, 20, "the tenant to be judged")
    async with crds.served(admin, SCHEMAS[LATE]):
        await create(admin, LATE, "default", spec)
        await wait_for(is_seen, 20, "the policy of a kind that was added to be found")
        await closed.agrees("a baseline to be nothing behind default deny")
    await wait_for(is_over, 20, "the policy of a kind that was removed to be over")


async def test_unrelated_tenants_are_left_alone(stage: Stage) -> None:
    """A policy that names a namespace causes a pass over its tenant, and over no other."""
    near = await stage.tenant("fk-near", {"namespaces": [{"name": "fk-near-a"}]})
    far = await stage.tenant("fk-far", {"namespaces": [{"name": "fk-far-a"}]})

    async def passes() -> float:
        return sum(
            value
            for (metric, _), value in (await stage.operator.metrics()).items()
            if metric == "securetenant_reconcile_duration_seconds_count"
        )

    await far.agrees()
    before = await passes()
    spec: dict[str, Any] = {
        "priority": 7,
        "subject": peers(**{NAME: "fk-near-a"}),
        "ingress": [{"action": "Deny", "from": [peers()]}],
    }
    path = await create(stage.admin, kinds.ADMIN_NETWORK_POLICY, "fk-named", spec)
    try:
        await near.reported(FOREIGN)
        assert await passes() - before <= 2  # the event, and the status that it wrote
        await far.agrees()
    finally:
        await stage.admin.delete(path)
    await near.cleared(FOREIGN)
