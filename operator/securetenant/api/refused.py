"""A tenant whose spec the models reject although the API server accepted it: with an older CRD, or by ratcheting.
The status says so, and what is enforced stays enforced."""

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
# The modes in which nothing is written: they are respected even in a rejected spec.
_WRITES_NOTHING: Final = ("Paused", "Audit")


class Refusal(NamedTuple):
    """Why the models reject the newest spec, and the generation of the one that is `kept` instead: the last that was
    accepted; 0 if this process has seen none."""

    problem: str
    kept: int


def parse(body: Mapping[str, Any], accepted: Json | None = None) -> tuple[SecureTenant, str]:
    """The tenant, and why the models reject it ("" if they do not).

    In place of a rejected spec the tenant gets the `accepted` one, or a minimal one with only what the tenant holds. Of
    the rejected spec only the deletion policy and a mode in which nothing is written are used, if they can be parsed.
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
    """What a tenant with a rejected spec still holds, so that no other tenant can take it: the namespaces that the spec
    names or the status records, and the nodes that the spec selects, if that part can be parsed."""
    entries = spec.get("namespaces")
    named = [item.get("name") for item in entries if isinstance(item, dict)] if isinstance(entries, list) else []
    distinct = dict.fromkeys([*(name for name in named if isinstance(name, str)), *recorded])
    spaces = list(_readable(NamespaceSpec, ({"name": name} for name in distinct)))
    nodes = next(_readable(Nodes, [spec.get("nodes")]), None)
    return SecureTenantSpec.model_construct(mode=mode, namespaces=spaces, deletion_policy=policy, nodes=nodes)


def _recorded(body: Mapping[str, Any], status: SecureTenantStatus) -> list[str]:
    """The namespaces that the status records as the tenant's. None for a tenant that is being deleted: namespaces that
    were removed from its spec must not be deleted with it."""
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
    """The metadata, even if the models reject the name: the tenant's status has to report that."""
    try:
        return Metadata.model_validate(raw)
    except ValidationError:
        return Metadata.model_validate({**raw, "name": "refused"}).model_copy(update={"name": raw["name"]})


def status_of(raw: object) -> SecureTenantStatus:
    """The status; empty if it does not parse, so that the next pass writes a new one."""
    try:
        return SecureTenantStatus.model_validate(raw or {})
    except ValidationError:
        return SecureTenantStatus()
