"""The values that pass between the layers: objects as desired and as observed in the cluster."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, Kind

# Deliberately loosely typed: it is the API server's JSON.
Json: TypeAlias = dict[str, "JsonValue"]
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


def at(value: JsonValue, path: Iterable[str]) -> JsonValue:
    """The value under these keys, one within the other; None if there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class Ref(NamedTuple):
    """A reference to an object: kind, namespace ("" if cluster-scoped) and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind.name, self.namespace, self.name) if part)

    @property
    def place(self) -> str:
        """The namespace that the object is in, is itself, or is about; "" for all other cluster-scoped objects."""
        if self.kind is NAMESPACE:
            return self.name
        if self.kind.prefix and self.name.startswith(self.kind.prefix):
            return self.name.removeprefix(self.kind.prefix).partition(".")[0]
        return self.namespace


class Observed(msgspec.Struct, frozen=True, gc=False):
    """An object as last received from the API server, kept as small as possible.

    `fields` holds the kind's `content` and `extra` fields that were present, as undecoded JSON. `record` is our
    annotation `securetenant.dev/applied`, None if absent; `annotations` are the others. `controller`: the object that
    controls it, as "DaemonSet/fluentd", for kinds of which that is read (`Kind.controlled`).
    """

    ref: Ref
    uid: str
    resource_version: str
    created: str
    deleting: bool
    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: tuple[str, ...]
    owners: tuple[str, ...]
    fields: dict[str, msgspec.Raw]
    record: str | None = None
    controller: str = ""

    def field(self, name: str) -> JsonValue:
        """The decoded value of a top-level field; None if absent. Decoded again each time."""
        raw = self.fields.get(name)
        decoded: JsonValue = msgspec.json.decode(raw) if raw is not None else None
        return decoded

    def at(self, path: Sequence[str]) -> JsonValue:
        """The value under these keys, the first of them a top-level field; None if there is none."""
        return at(self.field(path[0]), path[1:])

    @property
    def tenant(self) -> str:
        """The tenant whose ownership mark the object carries, or ""."""
        if self.ref.kind.mark:
            return self.labels.get(self.ref.kind.mark, "")
        if self.labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
            return ""
        return self.labels.get(names.LABEL_TENANT, "")


def has_other_spec(new: Observed, old: Observed | None) -> bool:
    """Whether an object is new, or its spec has changed."""
    return old is None or bytes(old.fields.get("spec", b"")) != bytes(new.fields.get("spec", b""))


@dataclass(frozen=True, slots=True)
class Desired:
    """An object that a control wants, in canonical form: equal to what the API server returns after the write.

    An object that is entirely ours may hold nothing but `labels`, `annotations` and `body` (the kind's content fields).
    In one that others write too (`is_shared`: Namespace, Node) only the keys named here are ours; our entry of an
    atomic list is in `body` under `Entry.name`. Below a field of `Kind.owned`, None is a key that must not be there.
    `labels` do not include the ownership marks, which are added to all objects.
    `absent`: annotations that others may write with this value alone ("": not at all). `waits`: why a namespace is not
    to be created yet.
    `closing` objects (default deny) are written before anything that opens. `parts`: if several controls want it, the
    object as each wants it; `control` is the first one's.
    """

    ref: Ref
    control: str
    body: Json = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    closing: bool = False
    parts: tuple["Desired", ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    waits: str = ""

    @property
    def step(self) -> int:
        """The step in which it is written: what a namespace needs before it exists (0), namespaces (1), closing objects
        (2), and after all deletions (3) the rest (4)."""
        if self.ref.kind.prefix:
            return 0
        return 1 if self.ref.kind is NAMESPACE else 2 if self.closing else 4

    @property
    def is_shared(self) -> bool:
        return self.ref.kind.is_shared


# For an object that is no longer desired: how much of what it opens is still desired, in other objects; "" for nothing.
Superseded: TypeAlias = Literal["", "Partly", "Wholly"]


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object of somebody else that widens access beyond what the tenant declares.

    `remove`: whether the tenant's spec says that such objects are deleted. `message`: what it opens, for the reader.
    """

    observed: Observed
    control: str
    message: str
    remove: bool = False


def marks(tenant: str, control: str) -> dict[str, str]:
    """The ownership marks: the labels on every object of ours."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_TENANT: tenant,
        names.LABEL_CONTROL: control,
    }
