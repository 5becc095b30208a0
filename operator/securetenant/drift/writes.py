"""What has to be sent to the API server for a finding, as values: pure, so that it is tested exactly."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from securetenant.api.types import is_reserved_key
from securetenant.controls.lookup import WRITES
from securetenant.drift.judge import Finding
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref
from securetenant.model.record import annotation, entries, is_own_entry, shared, shared_record, whole

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
            return [Request("replace", want.ref, body(one, tenant, salt, have)) for one in (nudged(want), want)]
        case "Recreate" if want is not None and have is not None:
            return [*_gone(have), Request("create", want.ref, body(want, tenant, salt))]
        case "Patch" if want is not None and have is not None:
            if want.ref.kind.entry is not None:
                return [Request("json", want.ref, _with_entry(want, have, annotation(want, tenant, salt)))]
            return [Request("merge", want.ref, _merge(want, have, tenant, salt, finding.reserved))]
        case "Delete" if have is not None:
            return _gone(have)
        case "Release" if have is not None:
            return _gone(have) if _is_replaced(have) else [release(have)]
        case _:
            return []


def nudged(want: Desired) -> Desired:
    """An object that means the same, and whose mirrored part is another: then a controller of Kubernetes puts it in
    force anew (`Kind.mirror`)."""
    mirror = want.ref.kind.mirror
    assert mirror is not None
    (field, name), (key, value) = mirror.spec, mirror.nudge
    part = want.body.get(field)
    inner = part.get(name) if isinstance(part, dict) else None
    changed: Json = {
        **(part if isinstance(part, dict) else {}),
        name: {**(inner if isinstance(inner, dict) else {}), key: value},
    }
    return replace(want, body={**want.body, field: changed})


def body(want: Desired, tenant: str, salt: str, have: Observed | None = None, value: str = "") -> Json:
    """The whole object as it is created (a namespace with its value), or as it replaces what was seen."""
    kind = want.ref.kind
    content = shared(want, tenant) if want.is_shared else whole(want, tenant)
    creation: Json = {names.ANNOTATION_CREATION: value} if value and want.ref.kind is NAMESPACE else {}
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
    """The precondition of a write: this very object, in the version that was seen, where the kind has it so."""
    version: Json = {"resourceVersion": have.resource_version} if have.ref.kind.versioned else {}
    return {"uid": have.uid, **version}


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
    if have.ref.kind.entry is not None:
        return Request("json", have.ref, _without_entry(have))
    if have.ref.kind.is_shared:
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
    kind = have.ref.kind
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
    """Whether it was made anew as something that is not ours to leave behind, nor ours to write."""
    replaced = WRITES[have.ref.kind].replaced
    return replaced is not None and replaced(have)


def _merge(want: Desired, have: Observed, tenant: str, salt: str, reserved: Collection[str]) -> Json:
    """Our keys as they must be; those that we wrote earlier and no longer want are taken away.

    A merge patch with the resourceVersion, not server-side apply: the namespace is created with POST (apply
    would silently take over one that somebody made in the same moment), and apply does not remove what POST
    wrote. The record says which keys are ours, and is anybody's word who may patch the object: a key that no spec can
    hold (a Pod Security level, say) is taken away only if the tenant's status says as well that it is ours.
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
        "labels": {**_taken_back(old_labels, have.labels, reserved), **labels},
        "annotations": {
            **_taken_back(old_annotations, have.annotations, reserved),
            **annotations,
            names.ANNOTATION_APPLIED: annotation(want, tenant, salt),
        },
    }
    return {"metadata": metadata}


def _taken_back(recorded: Iterable[str], have: Collection[str], reserved: Collection[str]) -> Json:
    """Of the keys that the object has, or its record names: ours, to be removed unless they are wanted still."""
    own = [*(key for key in recorded if not is_reserved_key(key)), *(key for key in reserved if key in have)]
    return dict.fromkeys(own)


def _with_entry(want: Desired, have: Observed, record: str) -> list[JsonValue]:
    """Our labels, record and entry. The list of the entries is one atomic list that other controllers write too, so
    the patch tests that the object is still what was read."""
    kept = want.ref.kind.entry
    assert kept is not None
    others = [one for one in entries(have) if not is_own_entry(have, one)]
    return [
        *_unchanged(have),
        *_set_keys("labels", have.labels, want.labels),
        *_set_keys("annotations", have.annotations, {names.ANNOTATION_APPLIED: record}),
        {"op": "add", "path": "/" + "/".join(kept.path), "value": [*others, want.body[kept.name]]},
    ]


def _without_entry(have: Observed) -> list[JsonValue]:
    kind, standing = have.ref.kind, entries(have)
    assert kind.entry is not None
    others = [one for one in standing if not is_own_entry(have, one)]
    patch = _unchanged(have)
    if kind.mark in have.labels:
        patch.append({"op": "remove", "path": f"/metadata/labels/{_escape(kind.mark)}"})
    if have.record is not None:
        patch.append({"op": "remove", "path": f"/metadata/annotations/{_escape(names.ANNOTATION_APPLIED)}"})
    if len(others) != len(standing):
        patch.append({"op": "add", "path": "/" + "/".join(kind.entry.path), "value": list(others)})
    return patch


def _unchanged(have: Observed) -> list[JsonValue]:
    """Not the list alone: the answer goes into the cache, and must hold no change that we have not seen."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": have.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": have.resource_version},
    ]


def _set_keys(field: str, have: Mapping[str, str], want: Mapping[str, str]) -> list[JsonValue]:
    if not have:
        return [{"op": "add", "path": f"/metadata/{field}", "value": dict(want)}]
    return [{"op": "add", "path": f"/metadata/{field}/{_escape(key)}", "value": value} for key, value in want.items()]


def _escape(key: str) -> str:
    """RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")
