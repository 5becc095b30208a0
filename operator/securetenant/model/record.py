"""The record on an object of what was last written to it: a digest in an annotation.

It distinguishes a rollout from drift without any memory in the operator: content that equals the record but not the
desired state is a rollout (the desired state changed); content that differs from the record was changed by somebody
else. The digest is salted with the tenant's UID and the object's name, so that a copy of one of our objects under
another name, or one left from an earlier tenant of the same name, does not count as written by us.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref, marks

_canonical = msgspec.json.Encoder(order="sorted")


class Shared(msgspec.Struct, frozen=True):
    """The record on an object that others write too: which keys are ours, and the digest of their values."""

    digest: str
    labels: list[str]
    annotations: list[str]
    fields: dict[str, list[str]] = {}
    absent: dict[str, str] = {}


def digest(content: Json, ref: Ref, salt: str) -> str:
    """A digest of 128 bits of the content's canonical JSON, bound to the object's name and the tenant's UID."""
    return hashlib.sha256(_canonical.encode([salt, ref.kind.key, ref.namespace, ref.name, content])).hexdigest()[:32]


def whole(desired: Desired, tenant: str) -> Json:
    """Everything that an object that is entirely ours may hold, except the record itself."""
    return {
        "labels": {**desired.labels, **marks(tenant, desired.control)},
        "annotations": dict(desired.annotations),
        "finalizers": [],
        "owners": [],
        **desired.body,
    }


def whole_of(observed: Observed) -> Json:
    """The same for an object in the cluster."""
    content = {name: observed.field(name) for name in observed.ref.kind.content if name in observed.fields}
    return {
        "labels": dict(observed.labels),
        "annotations": dict(observed.annotations),
        "finalizers": list(observed.finalizers),
        "owners": list(observed.owners),
        **content,
    }


def shared(desired: Desired, tenant: str) -> Json:
    """Our fields in an object that others write too."""
    marked = marks(tenant, desired.control) if not desired.ref.kind.mark else {}
    return {
        "labels": {**desired.labels, **marked},
        "annotations": dict(desired.annotations),
        **{name: _given(part) if name in desired.ref.kind.owned else part for name, part in desired.body.items()},
    }


def given(desired: Desired) -> Json:
    """The body without the fields that must not be there (`Desired.body`)."""
    owned = desired.ref.kind.owned
    return {
        name: {key: one for key, one in _mapping(value).items() if one is not None} if name in owned else value
        for name, value in desired.body.items()
    }


def _given(part: JsonValue) -> JsonValue:
    """Without empty fields: a client in Go leaves them out when it writes the object back."""
    if not isinstance(part, dict):
        return part
    return {key: value for key, value in part.items() if value not in (None, [], {}, "")}


_NO_FIELDS: Final[Mapping[str, Iterable[str]]] = {}
_NONE: Final[Mapping[str, str]] = {}


def shared_of(
    observed: Observed,
    labels: Iterable[str],
    annotations: Iterable[str],
    fields: Mapping[str, Iterable[str]] = _NO_FIELDS,
    absent: Mapping[str, str] = _NONE,
) -> Json:
    """The same fields as they are in the cluster; absent keys are left out. `fields`: as from `fields_of`. `absent`: as
    in `Desired`; what must not be there is there too."""
    content: dict[str, JsonValue] = {
        "labels": _pick(observed.labels, labels),
        "annotations": _pick(observed.annotations, (*annotations, *intruding(observed, absent))),
    }
    kind = observed.ref.kind
    if kind.entry is not None and (ours := entry(observed)) is not None:
        content[kind.entry.name] = ours
    for name, keys in fields.items():
        found = observed.field(name)
        content[name] = _given({key: found[key] for key in keys if key in found} if isinstance(found, dict) else found)
    return content


def intruding(observed: Observed, absent: Mapping[str, str]) -> list[str]:
    """The annotations that must not be there, or not with this value (`Desired.absent`)."""
    given = observed.annotations
    return [key for key, only in absent.items() if key in given and (not only or given[key] != only)]


def fields_of(desired: Desired) -> dict[str, list[str]]:
    """The fields that are ours in an object that others write too: by top-level field, the keys below it."""
    return {name: sorted(_mapping(desired.body.get(name))) for name in desired.ref.kind.owned}


def _mapping(value: JsonValue) -> Json:
    return value if isinstance(value, dict) else {}


def _pick(values: Mapping[str, str], keys: Iterable[str]) -> dict[str, JsonValue]:
    return {key: values[key] for key in sorted(keys) if key in values}


def entries(observed: Observed) -> list[JsonValue]:
    """All entries of the atomic list of which one is ours (a node's taints), as they are in the cluster."""
    kept = observed.ref.kind.entry
    if kept is None:
        return []
    found = observed.at(kept.path)
    return found if isinstance(found, list) else []


def is_own_entry(observed: Observed, one: JsonValue) -> bool:
    kept = observed.ref.kind.entry
    return kept is not None and isinstance(one, dict) and one.get(kept.key) == kept.value


def entry(observed: Observed) -> JsonValue:
    """Our entry, reduced to our fields; a list if there are several; None if there is none."""
    kept = observed.ref.kind.entry
    ours: list[JsonValue] = [
        {key: one[key] for key in kept.fields if key in one}
        for one in entries(observed)
        if kept is not None and isinstance(one, dict) and is_own_entry(observed, one)
    ]
    return ours[0] if len(ours) == 1 else ours or None


def annotation(desired: Desired, tenant: str, salt: str) -> str:
    """The record's text for an object that is about to be written."""
    if not desired.is_shared:
        return digest(whole(desired, tenant), desired.ref, salt)
    content = shared(desired, tenant)
    labels, annotations = content["labels"], content["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    record: dict[str, object] = {
        "digest": digest(content, desired.ref, salt),
        "labels": sorted(labels),
        "annotations": sorted(annotations),
    }
    if desired.ref.kind.owned:
        record["fields"] = fields_of(desired)
    if desired.absent:
        record["absent"] = dict(sorted(desired.absent.items()))
    return json.dumps(record, separators=(",", ":"))


def shared_record(observed: Observed) -> Shared | None:
    """The record on a shared object; None if it is absent or does not parse."""
    if observed.record is None:
        return None
    try:
        return msgspec.json.decode(observed.record, type=Shared)
    except msgspec.DecodeError:
        return None


def is_recorded(observed: Observed, salt: str) -> bool:
    """Whether the object's content matches its record, for the tenant with this UID: we wrote it as it is now."""
    if not observed.ref.kind.is_shared:
        return observed.record == digest(whole_of(observed), observed.ref, salt)
    record = shared_record(observed)
    if record is None:
        return False
    content = shared_of(observed, record.labels, record.annotations, record.fields, record.absent)
    return record.digest == digest(content, observed.ref, salt)
