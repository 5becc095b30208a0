"""A tenant whose spec the models refuse: let through by an older schema, or by ratcheting. It is told so, and takes
nothing out of force."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import (
    DeletionPolicy,
    Metadata,
    Mode,
    NamespaceSpec,
    Nodes,
    SecureTenant,
    SecureTenantSpec,
)
from securetenant.model.objects import Json

_Model = TypeVar("_Model", bound=BaseModel)
# The modes in which nothing is written: of a refused spec they are respected.
_WRITES_NOTHING: Final = ("Paused", "Audit")


class Refusal(NamedTuple):
    """Why the models refuse the newest spec, and the generation of the one that is `kept` in its place: the last that
    they accepted. 0: none is known, since this process has seen none."""

    problem: str
    kept: int


def parse(body: Mapping[str, Any], accepted: Json | None = None) -> tuple[SecureTenant, str]:
    """The tenant, and why the models refuse it ("" if they do not).

    A refused spec is as if it were not there: the tenant comes back with the `accepted` one, or with a bare one that
    says what the tenant holds and no more. Of the refused one count, if they can be read, its deletion policy and a
    mode in which nothing is written.
    """
    status = status_of(body.get("status"))
    try:
        return SecureTenant.model_validate({**body, "status": status}), ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" + (
            f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        )
    raw = body.get("spec")
    spec = raw if isinstance(raw, dict) else {}
    policy: DeletionPolicy = "Delete" if spec.get("deletionPolicy") == "Delete" else "Retain"
    mode = spec.get("mode")
    if accepted is not None:
        kept = SecureTenantSpec.model_validate(accepted)
        held_back: dict[str, Any] = {"mode": mode} if mode in _WRITES_NOTHING else {}
        known = kept.model_copy(update={"deletion_policy": policy, **held_back})
    else:
        known = _bare(spec, "Enforce" if mode not in _WRITES_NOTHING else mode, policy, _recorded(body, status))
    metadata = metadata_of(body["metadata"])
    return SecureTenant.model_construct(metadata=metadata, spec=known, status=status), problem


def _bare(spec: Json, mode: Mode, policy: DeletionPolicy, recorded: Iterable[str]) -> SecureTenantSpec:
    """What a tenant still holds whose spec is refused, so that no other can take it: the namespaces that the spec names
    or the status records, and the nodes that it selects if that much can be read."""
    entries = spec.get("namespaces")
    named = [item.get("name") for item in entries if isinstance(item, dict)] if isinstance(entries, list) else []
    distinct = dict.fromkeys([*(name for name in named if isinstance(name, str)), *recorded])
    spaces = list(_readable(NamespaceSpec, ({"name": name} for name in distinct)))
    nodes = next(_readable(Nodes, [spec.get("nodes")]), None)
    return SecureTenantSpec.model_construct(mode=mode, namespaces=spaces, deletion_policy=policy, nodes=nodes)


def _recorded(body: Mapping[str, Any], status: SecureTenantStatus) -> list[str]:
    """The namespaces that the tenant holds by its own record. Of one that is deleted they are not asked for: what was
    taken out of its spec is to stay."""
    if "deletionTimestamp" in body["metadata"]:
        return []
    return [entry.name for entry in status.namespaces if entry.uid]


def _readable(model: type[_Model], values: Iterable[object]) -> Iterator[_Model]:
    for value in values:
        try:
            yield model.model_validate(value)
        except ValidationError:
            continue


def metadata_of(raw: Mapping[str, Any]) -> Metadata:
    """The metadata, also of a tenant whose name the models refuse: it has to be told so in its status."""
    try:
        return Metadata.model_validate(raw)
    except ValidationError:
        return Metadata.model_validate({**raw, "name": "refused"}).model_copy(update={"name": raw["name"]})


def status_of(raw: object) -> SecureTenantStatus:
    """The status; empty if it is not one that we could have written. The next pass writes it anew."""
    try:
        return SecureTenantStatus.model_validate(raw or {})
    except ValidationError:
        return SecureTenantStatus()
