"""What has to be sent to the API server for a finding, as values: pure, so that it is tested exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from securetenant.api.types import is_reserved_key
from securetenant.drift.judge import Finding
from securetenant.model import names
from securetenant.model.kinds import KINDS, NAMESPACE, RESOURCE_QUOTA, ROLE_BINDING, SECURE_TENANT
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref
from securetenant.model.record import annotation, node_taints, shared, shared_record, whole

Verb = Literal["create", "replace", "merge", "json", "free", "delete"]

_MARKS = (names.LABEL_MANAGED_BY, names.LABEL_TENANT, names.LABEL_CONTROL)


@dataclass(frozen=True, slots=True)
class Request:
    """One write. `merge` and `json` are patches (RFC 7386, RFC 6902). `free` takes the finalizers off and leaves all
    else to the byte; its `body`, and that of a delete, holds the preconditions."""

    verb: Verb
    ref: Ref
    body: JsonValue


def of(finding: Finding, tenant: str, salt: str, value: str = "") -> list[Request]:
    """The requests that undo a finding, in order; none for one that is only reported. `value`: what a namespace is
    created with."""
    want, have = finding.desired, finding.observed
    match finding.action:
        case "Create" if want is not None:
            return [Request("create", want.ref, body(want, tenant, salt, value=value))]
        case "Replace" if want is not None and have is not None:
            return [Request("replace", want.ref, body(want, tenant, salt, have))]
        case "Recount" if want is not None and have is not None:
            return [Request("replace", want.ref, body(one, tenant, salt, have)) for one in (nudging(want), want)]
        case "Recreate" if want is not None and have is not None:
            return [*_gone(have), Request("create", want.ref, body(want, tenant, salt))]
        case "Patch" if want is not None and have is not None:
            if want.ref.kind == "Node":
                return [Request("json", want.ref, _dedicate(want, have, annotation(want, tenant, salt)))]
            return [Request("merge", want.ref, _merge(want, have, tenant, salt))]
        case "Delete" if have is not None:
            return _gone(have)
        case "Release" if have is not None:
            return _gone(have) if _is_replaced(have) else [release(have)]
        case _:
            return []


# Of a kind that is in no namespace: as long as it stands in a quota it limits nothing.
_NEVER_COUNTED: Final = f"count/{SECURE_TENANT.plural}.{SECURE_TENANT.group}"


def nudging(want: Desired) -> Desired:
    """A quota that limits the same and has another spec.hard. When that changes, and then only (or every five
    minutes), kube-controller-manager counts anew and puts the spec in force."""
    spec = want.body.get("spec")
    hard = spec.get("hard") if isinstance(spec, dict) else None
    changed: Json = {"hard": {**(hard if isinstance(hard, dict) else {}), _NEVER_COUNTED: "0"}}
    return replace(want, body={**want.body, "spec": changed})


def body(want: Desired, tenant: str, salt: str, have: Observed | None = None, value: str = "") -> Json:
    """The whole object as it is created (a namespace with its value), or as it replaces what was seen."""
    kind = KINDS[want.ref.kind]
    content = shared(want, tenant) if want.is_shared else whole(want, tenant)
    creation: Json = {names.ANNOTATION_CREATION: value} if value and want.ref.kind == NAMESPACE.name else {}
    record = annotation(want, tenant, salt)
    metadata: Json = {
        "name": want.ref.name,
        "labels": content["labels"],
        "annotations": {**want.annotations, **creation, names.ANNOTATION_APPLIED: record},
    }
    if kind.namespaced:
        metadata["namespace"] = want.ref.namespace
    if have is not None:
        metadata |= _seen(have)
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **want.body}


def _seen(have: Observed) -> Json:
    """The precondition of a write: this very object, in the version that was seen.

    Of a ResourceQuota any version: each pod that comes or goes writes its status, and where pods come and go a write
    with the version loses every time (22 of 22, measured). What others may have written into it meanwhile is replaced.
    """
    if have.ref.kind == RESOURCE_QUOTA.name:
        return {"uid": have.uid}
    return {"uid": have.uid, "resourceVersion": have.resource_version}


def delete(have: Observed) -> Request:
    """Delete exactly what was seen: another object of the same name, or a newer version, is left alone."""
    return Request("delete", have.ref, _seen(have))


def _gone(have: Observed) -> list[Request]:
    """Delete an object, and not merely make it Terminating: held by a finalizer, a policy or a binding stays in force.

    So finalizers are taken off first. A change of them alone is also what the API server admits of a binding to a
    role that we may not bind.
    """
    if not have.finalizers:
        return [delete(have)]
    free = Request("free", have.ref, {"uid": have.uid})
    return [free] if have.deleting else [free, Request("delete", have.ref, {"uid": have.uid})]


def delete_namespace(have: Observed) -> Request:
    """Delete this very namespace, whatever was written to it meanwhile."""
    return Request("delete", have.ref, {"uid": have.uid})


def release(have: Observed) -> Request:
    """Take our marks off and leave the object as it stands: it is the administrators' from now on."""
    if have.ref.kind == "Node":
        return Request("json", have.ref, _give_back(have))
    if not KINDS[have.ref.kind].content:
        gone: Json = {key: None for key in _MARKS if key in have.labels}
        metadata: Json = {
            "uid": have.uid,
            "resourceVersion": have.resource_version,
            "labels": gone,
            "annotations": {names.ANNOTATION_APPLIED: None, names.ANNOTATION_CREATION: None},
        }
        return Request("merge", have.ref, {"metadata": metadata})
    labels: Json = {key: value for key, value in have.labels.items() if key not in _MARKS}
    annotations: Json = dict(have.annotations.items())
    kind = KINDS[have.ref.kind]
    kept: Json = {
        "name": have.ref.name,
        "namespace": have.ref.namespace,
        **_seen(have),
        "labels": labels,
        "annotations": annotations,
        "finalizers": list(have.finalizers),
    }
    content = {name: have.field(name) for name in kind.content if name in have.fields}
    return Request(
        "replace", have.ref, {"apiVersion": kind.api_version, "kind": kind.name, "metadata": kept, **content}
    )


def _is_replaced(have: Observed) -> bool:
    """Whether a RoleBinding of ours gives another role by now. The API server would not let us write it, not even to
    take our marks off, and it is not ours to leave behind."""
    if have.ref.kind != ROLE_BINDING.name:
        return False
    role = have.field("roleRef")
    return not isinstance(role, dict) or (role.get("kind"), role.get("name")) != ("ClusterRole", have.ref.name)


def _merge(want: Desired, have: Observed, tenant: str, salt: str) -> Json:
    """Our keys as they must be; those that we wrote earlier and no longer want are taken away.

    A merge patch with the resourceVersion, not server-side apply: the namespace is created with POST (apply
    would silently take over one that somebody made in the same moment), and apply does not remove what POST
    wrote. The record says which keys are ours, and is anybody's word who may patch the object: a key that no spec can
    hold (a Pod Security level, say) is never taken away because of it.
    """
    content = shared(want, tenant)
    record = shared_record(have)
    labels, annotations = content["labels"], content["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    old_labels = record.labels if record is not None else []
    old_annotations = record.annotations if record is not None else []
    metadata: Json = {
        "uid": have.uid,
        "resourceVersion": have.resource_version,
        "labels": {**_taken_back(old_labels), **labels},
        "annotations": {
            **_taken_back(old_annotations),
            **annotations,
            names.ANNOTATION_APPLIED: annotation(want, tenant, salt),
        },
    }
    return {"metadata": metadata}


def _taken_back(keys: Iterable[str]) -> Json:
    return {key: None for key in keys if not is_reserved_key(key)}


def _dedicate(want: Desired, have: Observed, record: str) -> list[JsonValue]:
    """Label, taint and record of a node. `spec.taints` is one atomic list that other controllers write too, so
    the patch tests that the node is still what was read."""
    others = [t for t in node_taints(have) if not _is_ours(t)]
    return [
        *_unchanged(have),
        *_set_keys("labels", have.labels, want.labels),
        *_set_keys("annotations", have.annotations, {names.ANNOTATION_APPLIED: record}),
        {"op": "add", "path": "/spec/taints", "value": [*others, want.body["taint"]]},
    ]


def _give_back(have: Observed) -> list[JsonValue]:
    taints = node_taints(have)
    others = [t for t in taints if not _is_ours(t)]
    patch = _unchanged(have)
    if names.NODE_LABEL_TENANT in have.labels:
        patch.append({"op": "remove", "path": f"/metadata/labels/{_escape(names.NODE_LABEL_TENANT)}"})
    if have.record is not None:
        patch.append({"op": "remove", "path": f"/metadata/annotations/{_escape(names.ANNOTATION_APPLIED)}"})
    if len(others) != len(taints):
        patch.append({"op": "add", "path": "/spec/taints", "value": list(others)})
    return patch


def _unchanged(node: Observed) -> list[JsonValue]:
    """Not the list of taints alone: the answer goes into the cache, and must hold no change that we have not seen."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": node.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": node.resource_version},
    ]


def _set_keys(field: str, have: Mapping[str, str], want: Mapping[str, str]) -> list[JsonValue]:
    if not have:
        return [{"op": "add", "path": f"/metadata/{field}", "value": dict(want)}]
    return [{"op": "add", "path": f"/metadata/{field}/{_escape(key)}", "value": value} for key, value in want.items()]


def _is_ours(taint: JsonValue) -> bool:
    return isinstance(taint, dict) and taint.get("key") == names.NODE_TAINT


def _escape(key: str) -> str:
    """RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")
