"""Writes without an answer: they may have been carried out or not, so the next state seen may be our own change.

Kept per object until the object is seen as wanted. Without this, a write that was carried out although its connection
broke would be taken for somebody else's if the desired state changes before the next pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from securetenant.drift.judge import Finding
from securetenant.model.objects import Ref


@dataclass(slots=True)
class Doubt:
    """One object. `records`: the records that our own writes may have left ("": deleted or released). `finding`: what
    the last such write was for; a deviation is not replaced by a later rollout."""

    records: set[str] = field(default_factory=set)
    finding: Finding | None = None


class UncertainWrites:
    """By tenant and object."""

    def __init__(self) -> None:
        self._tenants: dict[str, dict[Ref, Doubt]] = {}

    def note(self, tenant: str, ref: Ref, records: Iterable[str], finding: Finding) -> None:
        """Note a write to the object without a certain answer."""
        doubt = self._tenants.setdefault(tenant, {}).setdefault(ref, Doubt())
        doubt.records.update(records)
        if doubt.finding is None or doubt.finding.rollout or not finding.rollout:
            doubt.finding = finding

    def records(self, tenant: str, ref: Ref) -> set[str]:
        doubt = self._tenants.get(tenant, {}).get(ref)
        return doubt.records if doubt is not None else set()

    def settled(self, tenant: str, ref: Ref) -> None:
        """A later write to the object was answered: forget it."""
        self._tenants.get(tenant, {}).pop(ref, None)

    def settle(self, tenant: str, standing: set[Ref]) -> list[Finding]:
        """Forget the objects that are as wanted now (those not in `standing`); returns what the uncertain writes to
        them were for."""
        doubts = self._tenants.get(tenant, {})
        over = [doubts.pop(ref) for ref in list(doubts) if ref not in standing]
        if not doubts:
            self._tenants.pop(tenant, None)
        return [doubt.finding for doubt in over if doubt.finding is not None]

    def forget(self, tenant: str) -> None:
        self._tenants.pop(tenant, None)
