"""The values that pass between the layers: what is wanted of the cluster, and what was seen in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, Kind

# Deliberately loose inside: it is the JSON that the API server speaks.
Json: TypeAlias = dict[str, "JsonValue"]
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class Ref(NamedTuple):
    """Which object: kind, namespace ("" if cluster-scoped) and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind.name, self.namespace, self.name) if part)

    @property
    def place(self) -> str:
        """The namespace that it is, or is in; "" of all else that is cluster-scoped."""
        return self.name if self.kind is NAMESPACE else self.namespace


class Observed(msgspec.Struct, frozen=True, gc=False):
    """An object as the API server last gave it, kept as small as it can be.

    `fields` holds the kind's `content` and `extra` fields that were present, as undecoded JSON. `record` is our
    annotation `securetenant.dev/applied`, None if absent; `annotations` are the others.
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

    def field(self, name: str) -> JsonValue:
        """The decoded value of a top-level field; None if absent. Decoded anew each time."""
        raw = self.fields.get(name)
        decoded: JsonValue = msgspec.json.decode(raw) if raw is not None else None
        return decoded

    @property
    def tenant(self) -> str:
        """The tenant whose ownership mark the object carries, or ""."""
        if self.ref.kind.mark:
            return self.labels.get(self.ref.kind.mark, "")
        if self.labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
            return ""
        return self.labels.get(names.LABEL_TENANT, "")


@dataclass(frozen=True, slots=True)
class Desired:
    """An object that a control wants, in canonical form: equal to what the API server gives back.

    Of an object that is ours alone, `labels`, `annotations` and `body` (the kind's content fields) are all that
    it may hold. Of one that others write too (`is_shared`: Namespace, Node) only the keys named here are ours; our
    entry of an atomic list stands in `body` by the name that the kind has for it.
    `labels` are without the ownership marks, which are added to all.
    `closing` objects (default deny) are written before anything that opens. `parts`: of several controls, each
    as it was wanted; `control` is the first's.
    """

    ref: Ref
    control: str
    body: Json = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    closing: bool = False
    parts: tuple["Desired", ...] = ()

    @property
    def step(self) -> int:
        """When it is written: first (0) namespaces, then (1) what closes, then (2) the rest."""
        return 0 if self.ref.kind is NAMESPACE else 1 if self.closing else 2

    @property
    def is_shared(self) -> bool:
        return self.ref.kind.is_shared


# Of an object that is given up: how much of what it opened is wanted still, of other objects; "" for nothing.
Superseded: TypeAlias = Literal["", "Partly", "Wholly"]


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object that others made and that widens what the tenant declares.

    `remove`: the tenant's spec tells us to delete it. `message` says what it opens, for the reader.
    """

    observed: Observed
    control: str
    message: str
    remove: bool = False


def marks(tenant: str, control: str) -> dict[str, str]:
    """The labels on everything of ours."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_TENANT: tenant,
        names.LABEL_CONTROL: control,
    }
