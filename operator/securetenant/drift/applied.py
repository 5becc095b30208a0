"""The tenant's own record of what it applied, as its status holds it: what is missing since was deleted by others."""

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
    """The reverse of `grouped`, out of a status; what does not parse is left out."""
    return {
        Ref(KINDS[key], namespace, name)
        for namespace, entries in status.applied.items()
        for key, _, name in (entry.partition("/") for entry in entries)
        if key in KINDS
    }
