"""The attacks on what the operator makes in a tenant's namespace, as data: the objects, the changes, the ways."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from tests.support.life import APPLIED, MARKS, Json
from tests.support.locked import MANAGED_BY, TENANT, Answer, Way, at
from tests.support.sandbox import APPLY, JSON_PATCH, MERGE_PATCH, Admin
from tests.support.tenants import BINDINGS, POLICIES, QUOTAS, RANGES

POLICY: Final = "posture.securetenant.dev"
STRATEGIC: Final = "application/strategic-merge-patch+json"

#: An object of each kind, of a tenant with `life.spec`.
OBJECTS: Final[Mapping[str, str]] = {
    "policy": f"{POLICIES}/securetenant-default-deny",
    "binding": f"{BINDINGS}/securetenant-developer",
    "quota": f"{QUOTAS}/securetenant",
    "range": f"{RANGES}/securetenant",
}
COLLECTIONS: Final[Mapping[str, str]] = {"policy": POLICIES, "binding": BINDINGS, "quota": QUOTAS, "range": RANGES}
#: What opens, by object.
OPENED: Final[Mapping[str, Json]] = {
    "policy": {"spec": {"ingress": [{}]}},
    "binding": {"subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]},
    "quota": {"spec": {"hard": {"pods": "10k"}}},
    "range": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "200"}}]}},
}
#: A metadata change that must not pass.
METADATA: Final[Mapping[str, Json]] = {
    "strip-marks": {"labels": dict.fromkeys(MARKS)},
    "strip-managed-by": {"labels": {MANAGED_BY: None}},
    "strip-tenant": {"labels": {TENANT: None}},
    "other-tenant": {"labels": {TENANT: "other"}},
    "add-label": {"labels": {"example.com/mine": "1"}},
    "add-annotation": {"annotations": {"example.com/mine": "1"}},
    "forge-record": {"annotations": {APPLIED: "0" * 32}},
    "add-finalizer": {"finalizers": ["example.com/never"]},
    "own": {
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"}
        ]
    },
}
# What server-side apply cannot take away, since the operator owns it as well.
TAKEN: Final = ("strip-marks", "strip-managed-by", "strip-tenant")

#: An object that widens what the tenant declares, by collection.
FOREIGN: Final[Mapping[str, Json]] = {
    "policy": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}},
    "binding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
    },
}
PLAIN: Final[Mapping[str, Json]] = {
    **FOREIGN,
    "quota": {"spec": {"hard": {"configmaps": "100"}}},
    "range": {"spec": {"limits": []}},
}


async def merge(who: Admin, path: str, changes: Json) -> Answer:
    return await who.request("PATCH", path, changes, content_type=MERGE_PATCH)


async def strategic(who: Admin, path: str, changes: Json) -> Answer:
    return await who.request("PATCH", path, changes, content_type=STRATEGIC)


async def json_patch(who: Admin, path: str, changes: Json) -> Answer:
    """As a JSON patch that replaces the parts whole."""
    after = changed_by(await _read(who, path), changes)
    parts = [(field, inner) for field, given in changes.items() for inner in _inner(field, given)]
    operations = [
        {"op": "add", "path": f"/{field}/{inner}" if inner else f"/{field}", "value": _at(after, field, inner)}
        for field, inner in parts
    ]
    return await who.request("PATCH", path, operations, content_type=JSON_PATCH)


async def put(who: Admin, path: str, changes: Json) -> Answer:
    """Without a resourceVersion: quotas are counted meanwhile."""
    made = changed_by(await _read(who, path), changes)
    del made["metadata"]["resourceVersion"]
    return await who.request("PUT", path, made)


async def apply(who: Admin, path: str, changes: Json) -> Answer:
    """Server-side apply, by force. It takes away what it no longer has, so it takes all first, as others did."""
    item = await _read(who, path)
    answer: Answer = (0, None)
    for given in (item, changed_by(item, changes)):
        body = {key: value for key, value in given.items() if key != "status" or path.endswith("/status")}
        kept = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
        body["metadata"] = {key: value for key, value in given["metadata"].items() if key in kept}
        params = {"fieldManager": "mallory", "force": "true"}
        answer = await who.request("PATCH", path, body, content_type=APPLY, params=params)
    return answer


WAYS: Final[Mapping[str, Way]] = {
    "merge": merge,
    "strategic": strategic,
    "json": json_patch,
    "put": put,
    "apply": apply,
}
STATUS_WAYS: Final[Mapping[str, Way]] = {f"status-{name}": at(way, "/status") for name, way in WAYS.items()}


async def _read(who: Admin, path: str) -> Json:
    item: Json = await who.get(path.removesuffix("/status"))
    return item


def changed_by(item: Json, changes: Json) -> Json:
    """An object after a merge patch."""
    made: Any = copy.deepcopy(item)
    for key, given in changes.items():
        if given is None:
            made.pop(key, None)
        else:
            made[key] = changed_by(made.get(key) or {}, given) if isinstance(given, dict) else given
    return dict(made)


def _inner(field: str, given: Any) -> list[str]:
    return list(given) if isinstance(given, dict) and field in ("metadata", "spec", "status") else [""]


def _at(item: Json, field: str, inner: str) -> Any:
    return item[field][inner] if inner else item[field]


def is_refused(answer: Answer, why: str = "locked: ") -> bool:
    status, body = answer
    return status == 403 and f"ValidatingAdmissionPolicy '{POLICY}'" in body["message"] and why in body["message"]
