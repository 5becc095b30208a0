"""The record in a tenant's status of what it applied: whatever of it is missing later was deleted by others."""

from collections.abc import Iterable

from securetenant.api.status import SecureTenantStatus
from securetenant.controls.lookup import KINDS
from securetenant.model.objects import Ref


def grouped(refs: Iterable[Ref]) -> dict[str, list[str]]:
    """References as the status records them: namespace -> ["Kind/name", ...]."""
    groups: dict[str, list[str]] = {}
    for ref in sorted(refs, key=lambda ref: (ref.namespace, ref.kind, ref.name)):
        groups.setdefault(ref.namespace, []).append(f"{ref.kind.key}/{ref.name}")
    return groups


def recorded(status: SecureTenantStatus) -> set[Ref]:
    """The reverse of `grouped`, from a status; entries that do not parse are left out."""
    return {
        Ref(KINDS[key], namespace, name)
        for namespace, entries in status.applied.items()
        for key, _, name in (entry.partition("/") for entry in entries)
        if key in KINDS
    }
