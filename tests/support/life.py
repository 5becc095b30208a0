"""Tenants for the tests of the operator's life: made, awaited, pictured and removed, with what they hold."""

import json
from collections.abc import Iterable
from typing import Any, Final

from tests.support.sandbox import Admin, Operator, wait_for

TENANTS: Final = "/apis/securetenant.dev/v1alpha1/securetenants"
NAMESPACES: Final = "/api/v1/namespaces"
APPLIED: Final = "securetenant.dev/applied"
CREATION: Final = "securetenant.dev/creation"
CREATING: Final = "securetenant.dev/creating"
MARKS: Final = ("app.kubernetes.io/managed-by", "securetenant.dev/tenant", "securetenant.dev/control")
CHILDREN: Final = {
    "networkpolicies": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "resourcequotas": "/api/v1/namespaces/{}/resourcequotas",
    "limitranges": "/api/v1/namespaces/{}/limitranges",
}
Json = dict[str, Any]


def spec(*namespaces: str, **other: Any) -> Json:
    """A tenant with something of every control (nodes aside) in each of its namespaces."""
    given: Json = {
        "namespaces": [{"name": name, "labels": {"env": "test"}} for name in namespaces],
        "access": {"bindings": [{"role": "Developer", "subjects": [{"kind": "Group", "name": "dev"}]}]},
        "network": {"ingress": [cidr_rule("office", "10.8.0.0/16")]},
        "quota": {"namespace": {"pods": "10"}},
        "limits": {"container": {"max": {"cpu": "2"}}},
    }
    return {**given, **other}


def cidr_rule(name: str, cidr: str) -> Json:
    return {"name": name, "from": [{"cidr": cidr}], "ports": [{"protocol": "TCP", "port": 8443}]}


async def create(admin: Admin, name: str, tenant_spec: Json) -> Json:
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": name}}
    created: Json = await admin.create(TENANTS, {**body, "spec": tenant_spec})
    return created


async def edit(admin: Admin, name: str, changes: Json) -> Json:
    """A merge patch of the spec."""
    edited: Json = await admin.patch(f"{TENANTS}/{name}", {"spec": changes})
    return edited


async def get(admin: Admin, name: str) -> Json:
    got: Json = await admin.get(f"{TENANTS}/{name}")
    return got


def condition(tenant: Json, kind: str) -> Json:
    """The condition of that type; {} if there is none."""
    conditions = tenant.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


async def is_ready(admin: Admin, name: str) -> Json:
    """The tenant, Ready as its spec is now and without drift, and with what runs in it judged, so that no status is
    written any more; AssertionError if it is not so (yet)."""
    tenant = await get(admin, name)
    status = tenant.get("status", {})
    assert status.get("observedGeneration") == tenant["metadata"]["generation"], status
    assert status.get("drift", {}).get("total") == 0, status
    assert condition(tenant, "Ready").get("status") == "True", status
    compliant = condition(tenant, "Compliant").get("status")
    assert compliant in ("True", "False") or not tenant["spec"].get("namespaces"), status
    return tenant


async def ready(admin: Admin, name: str, deadline: float = 20.0) -> Json:
    """Wait until the tenant is Ready as its spec is now, without drift."""
    return await wait_for(lambda: is_ready(admin, name), deadline, f"SecureTenant {name} to be Ready")


async def gone(admin: Admin, path: str, deadline: float = 20.0) -> None:
    async def is_gone() -> bool:
        return await admin.find(path) is None

    await wait_for(is_gone, deadline, f"{path} to be gone")


async def children(admin: Admin, namespace: str) -> list[tuple[str, Json]]:
    """Every object in a namespace of the kinds that tenants hold, with the path of its collection."""
    paths = [path.format(namespace) for path in CHILDREN.values()]
    return [(path, item) for path in paths for item in (await admin.get(path))["items"]]


async def picture(admin: Admin, namespaces: Iterable[str]) -> dict[str, Json]:
    """All that a posture is, by path: labels, annotations and content; of the record only that there is one, and
    not what a namespace was created with, which means nothing any more."""
    found: dict[str, Json] = {}
    for namespace in namespaces:
        own = await admin.find(f"{NAMESPACES}/{namespace}")
        if own is None:
            continue
        found[namespace] = _content({k: v for k, v in own.items() if k != "spec"})
        for path, item in await children(admin, namespace):
            found[f"{path}/{item['metadata']['name']}"] = _content(item)
    return found


def renamed(pictured: dict[str, Json], old: str, new: str) -> dict[str, Json]:
    """The same of a tenant of another name."""
    swapped: dict[str, Json] = json.loads(json.dumps(pictured).replace(old, new))
    return swapped


def _content(item: Json) -> Json:
    metadata = item["metadata"]
    given = metadata.get("annotations", {}).items()
    annotations = {k: "" if k == APPLIED else v for k, v in given if k != CREATION}
    content = {k: v for k, v in item.items() if k not in ("metadata", "status", "apiVersion", "kind")}
    return {
        "labels": metadata.get("labels", {}),
        "annotations": annotations,
        "finalizers": metadata.get("finalizers", []),
        **content,
    }


def marked(pictured: dict[str, Json]) -> list[str]:
    """The paths of what still carries a mark of ours."""
    return [
        path
        for path, item in pictured.items()
        if any(mark in item["labels"] for mark in MARKS) or APPLIED in item["annotations"]
    ]


async def settled(operator: Operator, name: str, deadline: float = 20.0) -> None:
    """Wait until this instance has judged the tenant, and has nothing to do."""

    async def is_settled() -> bool:
        try:
            told = await operator.metric("securetenant_tenant_info", tenant=name)
            depth = await operator.metric("securetenant_workqueue_depth")
        except TimeoutError:
            return False
        return told == 1 and depth == 0

    await wait_for(is_settled, deadline, f"a pass over {name} by operator {operator.pid}")


async def settled_or_gone(admin: Admin, operator: Operator, name: str) -> None:
    """Wait until this instance has judged the tenant, unless it is going or gone: of that no metric tells."""
    tenant = await admin.find(f"{TENANTS}/{name}")
    if tenant is not None and "deletionTimestamp" not in tenant["metadata"]:
        await settled(operator, name)


async def drift(operator: Operator, name: str, kind: str = "detected_total") -> dict[tuple[str, str], int]:
    """The counters (control, reason) of a tenant that are not 0."""
    found = {}
    for (metric, labels), value in (await operator.metrics()).items():
        given = dict(labels)
        if metric == f"securetenant_drift_{kind}" and given["tenant"] == name and value:
            found[given["control"], given["reason"]] = int(value)
    return found


async def remove(admin: Admin, *names: str) -> None:
    """Clean up without any operator's help: the tenants, and the namespaces that are named after them."""
    for name in names:
        tenant = await admin.find(f"{TENANTS}/{name}")
        if tenant is not None:
            if tenant["metadata"].get("finalizers"):
                await admin.patch(f"{TENANTS}/{name}", {"metadata": {"finalizers": None}})
            await admin.delete(f"{TENANTS}/{name}")
    existing = [item["metadata"]["name"] for item in (await admin.get(NAMESPACES))["items"]]
    for namespace in existing:
        if any(namespace == name or namespace.startswith(f"{name}-") for name in names):
            await admin.delete(f"{NAMESPACES}/{namespace}")
