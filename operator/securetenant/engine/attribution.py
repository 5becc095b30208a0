"""Who changed it: the field manager of a drifted field, read from managedFields once, when drift is found."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import msgspec

from securetenant.drift.judge import Finding
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.model import names
from securetenant.model.objects import Ref


class _Entry(msgspec.Struct, rename="camel"):
    manager: str = ""
    time: str = ""
    subresource: str = ""
    fields_v1: dict[str, Any] = msgspec.field(name="fieldsV1", default_factory=dict)


class _Meta(msgspec.Struct, rename="camel"):
    managed_fields: list[_Entry] = msgspec.field(default_factory=list)


class _Object(msgspec.Struct):
    metadata: _Meta


async def attributed(
    transport: Transport, findings: Sequence[Finding], known: Mapping[tuple[Ref, str], str] = MappingProxyType({})
) -> list[Finding]:
    """The findings with their field managers: one GET for each that is not in `known` (by `Finding.key`), but none for
    rollouts, and none for missing objects, which leave nothing to read."""
    asked = [f for f in findings if f.observed is not None and not f.rollout and f.key not in known]
    read = dict(zip(asked, await asyncio.gather(*(manager_of(transport, f.ref, f.path) for f in asked)), strict=True))
    managers = ((f, read.get(f) or known.get(f.key)) for f in findings)
    return [replace(finding, manager=manager) if manager else finding for finding, manager in managers]


async def manager_of(transport: Transport, ref: Ref, path: str) -> str:
    """The manager that last wrote the field at `path` (or the object, if none owns that field), as recorded by the
    API server; "" if it is unknown. One GET."""
    try:
        raw = await transport.get(ref.kind, ref)
    except NotFound:
        return ""
    except ApiError:
        # Attribution only helps the reader; the correction must not wait for it. The metrics count the failed request.
        return ""
    return last_manager(raw, path)


def last_manager(raw: bytes, path: str) -> str:
    """The same, of an object's JSON."""
    fields = _entries(raw)
    if path.startswith("status."):
        # Kubernetes' own controllers write the status as well: only a manager that owns this very field counts.
        owning = [e for e in fields if e.subresource == "status" and _owns(e.fields_v1, _keys(path))]
        return max(owning, key=lambda entry: entry.time).manager if owning else ""
    written = [e for e in fields if not e.subresource]
    # A manager that removed a field does not own it any more. One that wrote before our last write did not do it.
    ours = max((entry.time for entry in written if entry.manager == names.FIELD_MANAGER), default="")
    entries = [entry for entry in written if entry.manager != names.FIELD_MANAGER and entry.time >= ours]
    keys = _keys(path)
    owning = [entry for entry in entries if _owns(entry.fields_v1, keys)]
    latest = max(owning or entries, key=lambda entry: entry.time, default=None)
    return latest.manager if latest is not None else ""


async def is_newer(transport: Transport, ref: Ref, path: str, than: str) -> bool:
    """Whether the field `path` of an object's status was written later than the field `than` of its spec; False if
    that is unknown. One GET."""
    try:
        return was_written_later(await transport.get(ref.kind, ref), path, than)
    except ApiError:
        return False


def was_written_later(raw: bytes, path: str, than: str) -> bool:
    """The same, of an object's JSON. The API server's times are whole seconds: within one the order is unknown."""
    fields = _entries(raw)
    status = max((e.time for e in fields if e.subresource == "status" and _owns(e.fields_v1, _keys(path))), default="")
    spec = max((e.time for e in fields if not e.subresource and _owns(e.fields_v1, _keys(than))), default="")
    return status > spec


def _entries(raw: bytes) -> list[_Entry]:
    return msgspec.json.decode(raw, type=_Object).metadata.managed_fields


def _keys(path: str) -> list[str]:
    """A dotted path as fieldsV1 keys, up to the first list: "spec.ingress[0].ports" -> f:spec, f:ingress.

    Label and annotation keys hold dots themselves, and so do resources: what follows `labels`, `annotations` or `hard`
    is one key.
    """
    head, _, rest = path.partition(".")
    if rest.startswith("hard."):
        return [f"f:{head}", "f:hard", f"f:{rest.removeprefix('hard.')}"]
    if head in ("labels", "annotations"):
        return ["f:metadata", f"f:{head}", *([f"f:{rest}"] if rest else [])]
    if head == "taint":
        return ["f:spec", "f:taints"]
    return [f"f:{part}" for part in re.split(r"\.", path.partition("[")[0]) if part]


def _owns(fields: dict[str, Any], keys: list[str]) -> bool:
    at: Any = fields
    for key in keys:
        if not isinstance(at, dict) or key not in at:
            return False
        at = at[key]
    return True
