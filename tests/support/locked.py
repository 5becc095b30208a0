"""The attacks on a locked namespace, as data: what is changed, and each way to write it."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.support import life
from tests.support.life import MARKS, Json
from tests.support.sandbox import APPLY, JSON_PATCH, MERGE_PATCH, Admin

TENANT: Final = "securetenant.dev/tenant"
LOCKS: Final = "securetenant.dev/locks"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
ENFORCE: Final = "pod-security.kubernetes.io/enforce"
BREAK_GLASS: Final = "securetenant:break-glass"
POLICY: Final = "namespaces.securetenant.dev"
MASTERS: Final = "system:masters"
OWNERS: Final = [
    {"apiVersion": "v1", "kind": "Namespace", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"}
]

Answer = tuple[int, Any]
Way = Callable[[Admin, str, Json], Awaitable[Answer]]


async def merge(who: Admin, path: str, metadata: Json) -> Answer:
    return await who.request("PATCH", path, {"metadata": metadata}, content_type=MERGE_PATCH)


async def json_patch(who: Admin, path: str, metadata: Json) -> Answer:
    """As a JSON patch that replaces the parts whole."""
    changed = changed_by((await who.get(path))["metadata"], metadata)
    operations = [{"op": "add", "path": f"/metadata/{field}", "value": changed[field]} for field in metadata]
    return await who.request("PATCH", path, operations, content_type=JSON_PATCH)


async def put(who: Admin, path: str, metadata: Json) -> Answer:
    item = await who.get(path.removesuffix("/finalize"))
    return await who.request("PUT", path, {**item, "metadata": changed_by(item["metadata"], metadata)})


async def apply(who: Admin, path: str, metadata: Json) -> Answer:
    """Server-side apply, by force. It takes away what it no longer has, so it takes all first, as others did."""
    item = await who.get(path)
    changed = changed_by(item["metadata"], metadata)
    fields = ("name", "labels", "annotations", "ownerReferences")
    body: Json = {"apiVersion": "v1", "kind": "Namespace"}
    answer: Answer = (0, None)
    for given in (item["metadata"], changed):
        body["metadata"] = {field: given[field] for field in fields if field in given}
        params = {"fieldManager": "mallory", "force": "true"}
        answer = await who.request("PATCH", path, body, content_type=APPLY, params=params)
    return answer


def at(way: Way, suffix: str = "") -> Way:
    async def on(who: Admin, path: str, metadata: Json) -> Answer:
        return await way(who, path + suffix, metadata)

    return on


WAYS: Final[dict[str, Way]] = {
    "merge": merge,
    "json": json_patch,
    "put": put,
    "apply": apply,
    "status-merge": at(merge, "/status"),
    "status-json": at(json_patch, "/status"),
    "status-put": at(put, "/status"),
    "status-apply": at(apply, "/status"),
    "finalize-put": at(put, "/finalize"),
}


def changed_by(metadata: Json, changes: Json) -> Json:
    """Metadata after a merge patch."""
    changed = copy.deepcopy(metadata)
    for field, given in changes.items():
        if isinstance(given, dict):
            merged = {**changed.get(field, {}), **given}
            changed[field] = {key: value for key, value in merged.items() if value is not None}
        else:
            changed[field] = given
    return changed


CHANGES: Final[dict[str, Json]] = {
    "strip-marks": {"labels": dict.fromkeys(MARKS)},
    "strip-tenant": {"labels": {TENANT: None}},
    "strip-managed-by": {"labels": {MANAGED_BY: None}},
    "other-tenant": {"labels": {TENANT: "lock-other"}},
    "other-manager": {"labels": {MANAGED_BY: "Helm"}},
    "admission-warn": {"labels": {"securetenant.dev/admission": "Warn"}},
    "admission-off": {"labels": {"securetenant.dev/admission": None}},
    "new-label-of-ours": {"labels": {"securetenant.dev/later": "x"}},
    "weaken-pod-security": {"labels": {ENFORCE: "privileged"}},
    "strip-pod-security": {"labels": {ENFORCE: None}},
    "pin-old-pod-security": {"labels": {f"{ENFORCE}-version": "v1.0"}},
    "parameters": {"annotations": {"securetenant.dev/runtime": "v1;hostPorts=22"}},
    "strip-parameters": {"annotations": {"securetenant.dev/runtime": None}},
    "exemption": {"annotations": {"securetenant.dev/exemptions": "v1;runtime/privileged|2999-01-01T00:00:00Z|"}},
    "unlock": {"annotations": {LOCKS: "v1;unlocked=namespaces"}},
    "strip-locks": {"annotations": {LOCKS: None}},
    "unlock-and-strip": {"annotations": {LOCKS: "v1;unlocked=namespaces"}, "labels": dict.fromkeys(MARKS)},
    "forge-record": {"annotations": {life.APPLIED: "{}"}},
    "subnet": {"annotations": {"ovn.kubernetes.io/logical_switch": "other"}},
    "pools": {"annotations": {"cni.projectcalico.org/ipv4pools": '["other"]', "ipam.cilium.io/ip-pool": "other"}},
    "own": {"ownerReferences": OWNERS},
}
# Those that only take something away.
TAKEN: Final = (
    *("strip-marks", "strip-tenant", "strip-managed-by", "admission-off", "strip-pod-security"),
    *("strip-parameters", "strip-locks"),
)


def is_refused(answer: Answer) -> bool:
    status, body = answer
    return (
        status == 403 and f"ValidatingAdmissionPolicy '{POLICY}'" in body["message"] and "locked: " in body["message"]
    )
