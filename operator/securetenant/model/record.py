"""The record on an object of what was last written to it: a digest in an annotation.

It tells a rollout from drift without any memory in the operator: content equal to the record but unequal to
the desire is our own change of mind; content unequal to the record is what somebody else did. The digest is
salted with the tenant's UID and the object's name, so that a copy of one of our objects under another name,
or one that is left from an earlier tenant of the same name, does not pass as written by us.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import msgspec

from securetenant.model import names
from securetenant.model.kinds import KINDS
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref, marks

_canonical = msgspec.json.Encoder(order="sorted")


class Shared(msgspec.Struct, frozen=True):
    """The record on an object that others write too: which keys are ours, and the digest of their values."""

    digest: str
    labels: list[str]
    annotations: list[str]


def digest(content: Json, ref: Ref, salt: str) -> str:
    """128 bits over the canonical JSON of the content, bound to the object's name and the tenant's UID."""
    return hashlib.sha256(_canonical.encode([salt, *ref, content])).hexdigest()[:32]


def whole(desired: Desired, tenant: str) -> Json:
    """All that an object which is ours alone may hold, the record itself excepted."""
    return {
        "labels": {**desired.labels, **marks(tenant, desired.control)},
        "annotations": dict(desired.annotations),
        "finalizers": [],
        "owners": [],
        **desired.body,
    }


def whole_of(observed: Observed) -> Json:
    """The same of an object in the cluster."""
    content = {name: observed.field(name) for name in KINDS[observed.ref.kind].content if name in observed.fields}
    return {
        "labels": dict(observed.labels),
        "annotations": dict(observed.annotations),
        "finalizers": list(observed.finalizers),
        "owners": list(observed.owners),
        **content,
    }


def shared(desired: Desired, tenant: str) -> Json:
    """Our fields of an object that others write too."""
    marked = marks(tenant, desired.control) if desired.ref.kind != "Node" else {}
    return {
        "labels": {**desired.labels, **marked},
        "annotations": dict(desired.annotations),
        **desired.body,
    }


def shared_of(observed: Observed, labels: Iterable[str], annotations: Iterable[str]) -> Json:
    """Those fields as they stand in the cluster; an absent key is absent."""
    content: dict[str, JsonValue] = {
        "labels": _pick(observed.labels, labels),
        "annotations": _pick(observed.annotations, annotations),
    }
    if observed.ref.kind == "Node":
        taint = node_taint(observed)
        if taint is not None:
            content["taint"] = taint
    return content


def _pick(values: Mapping[str, str], keys: Iterable[str]) -> dict[str, JsonValue]:
    return {key: values[key] for key in sorted(keys) if key in values}


def node_taints(node: Observed) -> list[JsonValue]:
    """All taints of a node, as they stand."""
    spec = node.field("spec")
    taints = spec.get("taints") if isinstance(spec, dict) else None
    return taints if isinstance(taints, list) else []


def node_taint(node: Observed) -> JsonValue:
    """Our taint on a node, without the time that the server may add; all of them if there are several; or None."""
    ours: list[JsonValue] = [
        {key: taint[key] for key in ("key", "value", "effect") if key in taint}
        for taint in node_taints(node)
        if isinstance(taint, dict) and taint.get("key") == names.NODE_TAINT
    ]
    return ours[0] if len(ours) == 1 else ours or None


def annotation(desired: Desired, tenant: str, salt: str) -> str:
    """The record's text for an object about to be written."""
    if not desired.is_shared:
        return digest(whole(desired, tenant), desired.ref, salt)
    content = shared(desired, tenant)
    labels, annotations = content["labels"], content["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    return json.dumps(
        {"digest": digest(content, desired.ref, salt), "labels": sorted(labels), "annotations": sorted(annotations)},
        separators=(",", ":"),
    )


def shared_record(observed: Observed) -> Shared | None:
    """The record on a shared object; None if there is none or if it does not parse."""
    if observed.record is None:
        return None
    try:
        return msgspec.json.decode(observed.record, type=Shared)
    except msgspec.DecodeError:
        return None


def is_recorded(observed: Observed, salt: str) -> bool:
    """Whether what stands in the cluster is what we last wrote there, for the tenant with this UID."""
    if KINDS[observed.ref.kind].content:
        return observed.record == digest(whole_of(observed), observed.ref, salt)
    record = shared_record(observed)
    if record is None:
        return False
    return record.digest == digest(shared_of(observed, record.labels, record.annotations), observed.ref, salt)
