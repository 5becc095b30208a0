"""The requests to the API server for a finding, as values. Pure, so that tests can compare them exactly."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from msgspec.structs import replace as replace_struct

from securetenant.api.types import is_reserved_key
from securetenant.controls.lookup import WRITES
from securetenant.drift.judge import Finding
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref, at
from securetenant.model.record import annotation, entries, given, intruding, is_own_entry, shared, shared_record, whole

Verb = Literal["create", "replace", "merge", "json", "status", "free", "delete"]

_MARKS = (names.LABEL_MANAGED_BY, names.LABEL_TENANT, names.LABEL_CONTROL)


@dataclass(frozen=True, slots=True)
class Request:
    """One write. `merge` and `json` are patches (RFC 7386, RFC 6902), `status` a JSON patch of that subresource. `free`
    removes the finalizers and leaves everything else exactly as it is; its `body`, and that of a delete, holds the
    preconditions."""

    verb: Verb
    ref: Ref
    body: JsonValue


def of(finding: Finding, tenant: str, salt: str, value: str = "") -> list[Request]:
    """The requests that carry out a finding, in order; none if it is only reported. `value`: what a namespace is
    created with (controls/commitment.py)."""
    want, have = finding.desired, finding.observed
    match finding.action:
        case "Create" if want is not None:
            return [Request("create", want.ref, body(want, tenant, finding.record, value=value))]
        case "Replace" if want is not None and have is not None:
            return [Request("replace", want.ref, body(want, tenant, finding.record, have))]
        case "Recount" if want is not None and have is not None:
            first = nudged(want)
            steps = ((first, annotation(first, tenant, salt)), (want, finding.record))
            return [Request("replace", want.ref, body(one, tenant, record, have)) for one, record in steps]
        case "Recreate" if want is not None and have is not None:
            return [*_gone(have), Request("create", want.ref, body(want, tenant, finding.record))]
        case "Patch" if want is not None and have is not None:
            if want.ref.kind.entry is not None:
                return [Request("json", want.ref, _with_entry(want, have, finding.record))]
            return [Request("merge", want.ref, _merge(want, have, tenant, finding))]
        case "Delete" if have is not None:
            return _gone(have)
        case "Release" if have is not None:
            return _gone(have) if _is_replaced(have) else [release(have, finding.leaves)]
        case _:
            return []


def nudged(want: Desired) -> Desired:
    """An object with the same meaning but a different mirrored part (`Kind.mirror`): writing it makes the Kubernetes
    controller copy the spec into the status again."""
    mirror = want.ref.kind.mirror
    assert mirror is not None
    (field, name), (key, value) = mirror.spec, mirror.nudge
    part, inner = want.body.get(field), at(want.body, mirror.spec)
    changed: Json = {
        **(part if isinstance(part, dict) else {}),
        name: {**(inner if isinstance(inner, dict) else {}), key: value},
    }
    return replace(want, body={**want.body, field: changed})


def body(want: Desired, tenant: str, record: str, have: Observed | None = None, value: str = "") -> Json:
    """The whole object with its record: to create it (a namespace with its `value`), or to replace `have`."""
    kind = want.ref.kind
    content = shared(want, tenant) if want.is_shared else whole(want, tenant)
    creation: Json = {names.ANNOTATION_CREATION: value} if value and want.ref.kind is NAMESPACE else {}
    metadata: Json = {
        "name": want.ref.name,
        "labels": content["labels"],
        "annotations": {**want.annotations, **creation, names.ANNOTATION_APPLIED: record},
    }
    if kind.namespaced:
        metadata["namespace"] = want.ref.namespace
    if have is not None:
        metadata |= _seen(have)
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **given(want)}


def _seen(have: Observed) -> Json:
    """The preconditions of a write: the UID and, unless the kind opts out (`Kind.versioned`), the resourceVersion."""
    version: Json = {"resourceVersion": have.resource_version} if have.ref.kind.versioned else {}
    return {"uid": have.uid, **version}


def delete(have: Observed) -> Request:
    """Delete exactly what was observed: another object of the same name, or a newer version, is left alone."""
    return Request("delete", have.ref, _seen(have))


def _gone(have: Observed) -> list[Request]:
    """Delete an object for good: a policy or binding that is Terminating but held by a finalizer stays in force.

    So the finalizers are removed first. In a binding to a role that we may not bind, this is also the only change that
    the API server admits.
    """
    if not have.finalizers:
        return [delete(have)]
    free = Request("free", have.ref, {"uid": have.uid})
    return [free] if have.deleting else [free, Request("delete", have.ref, {"uid": have.uid})]


def delete_namespace(have: Observed) -> Request:
    """Delete this very namespace (by UID), whatever was written to it meanwhile."""
    return Request("delete", have.ref, {"uid": have.uid})


def release(have: Observed, leaves: Mapping[str, str] = MappingProxyType({})) -> Request:
    """Remove our marks and leave the rest of the object as it is: from now on it belongs to the administrators.

    With the marks of a namespace goes what the admission policies read on it, exemptions included: nobody would keep it
    from being changed any more. `leaves`: labels that it gets.
    """
    if have.ref.kind.entry is not None:
        return Request("json", have.ref, _without_entry(have))
    if have.ref.kind.is_shared:
        released = as_released(have, leaves)
        metadata: Json = {
            "uid": have.uid,
            "resourceVersion": have.resource_version,
            "labels": {**{key: None for key in have.labels if key not in released.labels}, **leaves},
            "annotations": {
                **{key: None for key in have.annotations if key not in released.annotations},
                names.ANNOTATION_APPLIED: None,
                **({names.ANNOTATION_CREATION: None} if have.ref.kind is NAMESPACE else {}),
                **_left(have),
            },
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


def as_released(have: Observed, leaves: Mapping[str, str] = MappingProxyType({})) -> Observed:
    """An object that others write too as its release leaves it."""
    if have.ref.kind is not NAMESPACE and not have.ref.kind.owned:
        return have
    labels = {key: value for key, value in have.labels.items() if not _is_ours(key)}
    annotations = {key: value for key, value in have.annotations.items() if not _is_ours(key)}
    return replace_struct(have, labels={**labels, **leaves}, annotations={**annotations, **_left(have)}, record=None)


def _left(have: Observed) -> dict[str, str]:
    return {names.ANNOTATION_LEFT: have.tenant} if have.ref.kind.prefix else {}


def _is_ours(key: str) -> bool:
    return key in _MARKS or key.startswith(f"{names.GROUP}/")


def _is_replaced(have: Observed) -> bool:
    """Whether the object was replaced by something that we must neither leave behind nor write."""
    replaced = WRITES[have.ref.kind].replaced
    return replaced is not None and replaced(have)


def _merge(want: Desired, have: Observed, tenant: str, finding: Finding) -> Json:
    """A patch that sets our keys, and removes those that we wrote earlier and no longer want.

    A merge patch with the resourceVersion, not server-side apply: the namespace is created with POST (apply would
    silently take over one that somebody created at the same moment), and apply does not remove what POST wrote. The
    record says which keys are ours, but anybody who may patch the object can change it: a key that no spec can set (a
    Pod Security level, for example) is removed only if the tenant's status also says that it is ours.
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
        "labels": {**_taken_back(old_labels, have.labels, finding.reserved), **labels},
        "annotations": {
            **_taken_back(old_annotations, have.annotations, finding.reserved),
            **dict.fromkeys(intruding(have, want.absent)),
            **annotations,
            names.ANNOTATION_APPLIED: finding.record,
        },
    }
    return {"metadata": metadata, **{name: want.body[name] for name in want.ref.kind.owned if name in want.body}}


def _taken_back(recorded: Iterable[str], have: Collection[str], reserved: Collection[str]) -> Json:
    """Of the keys that the object has, or its record names: ours, to be removed unless they are wanted still."""
    own = [*(key for key in recorded if not is_reserved_key(key)), *(key for key in reserved if key in have)]
    return dict.fromkeys(own)


def _with_entry(want: Desired, have: Observed, record: str) -> list[JsonValue]:
    """A patch that sets our labels, record and entry. The entries (a node's taints) are one atomic list that other
    controllers write too, so the patch tests that the object is still as it was read."""
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
    """Tests that the whole object is unchanged, not only the list: the answer goes into the cache, and must not hold a
    change that we have not seen."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": have.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": have.resource_version},
    ]


def _set_keys(field: str, have: Mapping[str, str], want: Mapping[str, str]) -> list[JsonValue]:
    if not have:
        return [{"op": "add", "path": f"/metadata/{field}", "value": dict(want)}]
    return [{"op": "add", "path": f"/metadata/{field}/{_escape(key)}", "value": value} for key, value in want.items()]


def _escape(key: str) -> str:
    """Escape a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
