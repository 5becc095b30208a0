"""Writes without an answer: they may have been carried out or not, so the next state seen may be our own change.

Kept per object until the object is seen as wanted. Without this, a write that was carried out although its connection
broke would be taken for somebody else's if the desired state changes before the next pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from securetenant.drift.judge import Finding
from securetenant.model.objects import Ref


@dataclass(slots=True)
class UncertainWrite:
    """One object. `records`: the records that our own writes may have left ("": deleted or released). `finding`: what
    the last such write was for; a deviation is not replaced by a later rollout."""

    records: set[str] = field(default_factory=set)
    finding: Finding | None = None


class UncertainWrites:
    """By tenant and object."""

    def __init__(self) -> None:
        self._tenants: dict[str, dict[Ref, UncertainWrite]] = {}

    def note(self, tenant: str, finding: Finding, records: Iterable[str]) -> None:
        """Note a write without a certain answer. `records`: those that may be on the object now."""
        write = self._tenants.setdefault(tenant, {}).setdefault(finding.ref, UncertainWrite())
        write.records.update(records)
        if write.finding is None or write.finding.rollout or not finding.rollout:
            write.finding = finding

    def records(self, tenant: str, ref: Ref) -> set[str]:
        write = self._tenants.get(tenant, {}).get(ref)
        return write.records if write is not None else set()

    def answered(self, tenant: str, ref: Ref) -> None:
        """A later write to the object was answered: forget it."""
        self._tenants.get(tenant, {}).pop(ref, None)

    def resolve(self, tenant: str, standing: set[Ref]) -> list[Finding]:
        """Forget the objects that are as wanted now (those not in `standing`); returns what the uncertain writes to
        them were for."""
        writes = self._tenants.get(tenant, {})
        over = [writes.pop(ref) for ref in list(writes) if ref not in standing]
        if not writes:
            self._tenants.pop(tenant, None)
        return [write.finding for write in over if write.finding is not None]

    def forget(self, tenant: str) -> None:
        self._tenants.pop(tenant, None)
