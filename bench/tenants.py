"""The tenants that are measured, and the very bytes that the operator writes for one, for the floor to write again."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from bench.client import Client, Object, decode, encode
from securetenant.controls.lookup import CACHED
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, SECURE_TENANT, Kind

COLLECTION: Final = SECURE_TENANT.path()
CRD: Final = f"{SECURE_TENANT.plural}.{names.GROUP}"
POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
#: The tenant with which both sides warm up, and whose objects are the template; the others count from 1.
MODEL: Final = 0
_META: Final = ("name", "namespace", "labels", "annotations")


def tenant_name(number: int) -> str:
    """All of one length, so that all bodies are."""
    return f"bench-{number:06d}"


def namespace_name(number: int, index: int = 0) -> str:
    return f"{tenant_name(number)}-{index}"


def manifest(number: int, namespaces: int, pool: str = "") -> bytes:
    """A SecureTenant with, in each namespace, 3 RoleBindings, 3 NetworkPolicies, a LimitRange and a ResourceQuota; with
    a `pool`, each has a subnet out of that."""
    name = tenant_name(number)
    container = {
        "default": {"cpu": "500m", "memory": "512Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
        "max": {"cpu": "4", "memory": "8Gi"},
    }
    spec = {
        "owner": {"team": f"{name}-team", "contact": f"{name}@bank.example"},
        "namespaces": [
            {
                "name": namespace_name(number, i),
                "labels": {"env": "prod"},
                **({"subnet": {"pool": pool}} if pool else {}),
            }
            for i in range(namespaces)
        ],
        "access": {
            "bindings": [
                {"role": role, "subjects": [{"kind": "Group", "name": f"{name}-{role.lower()}s"}]}
                for role in ("Admin", "Developer", "Viewer")
            ]
        },
        "quota": {"namespace": {"requests.cpu": "20", "requests.memory": "40Gi", "pods": "100"}},
        "limits": {"container": container},
    }
    return encode(
        {"apiVersion": names.API_VERSION, "kind": SECURE_TENANT.name, "metadata": {"name": name}, "spec": spec}
    )


def is_ready(tenant: Object) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in tenant.status.conditions)


@dataclass(frozen=True, slots=True)
class Write:
    """A POST; the bodies are those of the model tenant until :meth:`Template.of` names another."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Template:
    """What one tenant's posture is made of, in the operator's order: the steps, each of writes with no order."""

    steps: tuple[tuple[Write, ...], ...]
    finalizer: bytes
    status: bytes

    @property
    def objects(self) -> int:
        """Objects per tenant, the SecureTenant itself not counted."""
        return sum(len(step) for step in self.steps)

    @property
    def sizes(self) -> int:
        """Bytes of the bodies per tenant, the status included."""
        return len(self.status) + sum(len(write.body) for step in self.steps for write in step)

    def of(self, number: int) -> list[list[Write]]:
        """The steps for a tenant."""
        old, new = tenant_name(MODEL), tenant_name(number)
        return [
            [Write(w.path.replace(old, new), w.body.replace(old.encode(), new.encode())) for w in step]
            for step in self.steps
        ]

    def finalizer_patch(self, resource_version: str) -> bytes:
        return encode({"metadata": {"resourceVersion": resource_version, **decode(self.finalizer)}})

    def status_patch(self, number: int, uid: str) -> bytes:
        status = decode(self.status.replace(tenant_name(MODEL).encode(), tenant_name(number).encode()))
        return encode(
            [
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "add", "path": "/status", "value": status},
            ]
        )


async def template(admin: Client, optional: Collection[Kind] = ()) -> Template:
    """Take the model tenant, which is Ready, out of the API server. `optional`: of which of these it has objects."""
    name = tenant_name(MODEL)
    selector = f"labelSelector={names.LABEL_TENANT}={name}"
    steps: tuple[list[Write], ...] = ([], [], [], [])
    for kind in CACHED:
        if kind.optional and kind not in optional:
            continue
        for item in decode(await admin.send("GET", f"{kind.path()}?{selector}"))["items"]:
            steps[_step(kind, item)].append(_write(kind, item))
    tenant = decode(await admin.send("GET", f"{COLLECTION}/{name}"))
    return Template(
        steps=tuple(tuple(step) for step in steps if step),
        finalizer=encode({"finalizers": tenant["metadata"]["finalizers"]}),
        status=encode(tenant["status"]),
    )


def _step(kind: Kind, item: dict[str, Any]) -> int:
    """What namespaces need, namespaces, what closes them, then all else."""
    if kind.prefix:
        return 0
    if kind is NAMESPACE:
        return 1
    return 2 if re.search("default-deny$", item["metadata"]["name"]) else 3


def _write(kind: Kind, item: dict[str, Any]) -> Write:
    metadata = {key: item["metadata"][key] for key in _META if key in item["metadata"]}
    if kind is NAMESPACE:  # the API server adds this one
        metadata["labels"].pop(names.LABEL_NAMESPACE_NAME, None)
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    # Of a shared kind too: others' fields are what the API server filled in.
    body |= {field: item[field] for field in kind.content or kind.owned if field in item}
    return Write(kind.path(metadata.get("namespace", "")), encode(body))
