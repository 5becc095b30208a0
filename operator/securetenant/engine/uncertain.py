"""Writes of which no answer came: they may have been carried out or not, and what is seen next may be our own doing.

Kept per object until it is seen as wanted. Without this, a write that was carried out though its connection was cut
would be taken for somebody else's when the desire changes before the next look.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from securetenant.engine.status import Drifted
from securetenant.model.objects import Ref


@dataclass(slots=True)
class Doubt:
    """One object. `records`: what its record may be by our own hand ("": deleted, or given up). `finding`: what the
    last write was to carry out; a deviation stays what it is until it is seen to be undone."""

    records: set[str] = field(default_factory=set)
    finding: Drifted | None = None


class UncertainWrites:
    """By tenant and object."""

    def __init__(self) -> None:
        self._tenants: dict[str, dict[Ref, Doubt]] = {}

    def note(self, tenant: str, ref: Ref, records: Iterable[str], finding: Drifted) -> None:
        """A write to the object ended without a certain answer."""
        doubt = self._tenants.setdefault(tenant, {}).setdefault(ref, Doubt())
        doubt.records.update(records)
        if doubt.finding is None or doubt.finding.finding.rollout or not finding.finding.rollout:
            doubt.finding = finding

    def records(self, tenant: str, ref: Ref) -> set[str]:
        doubt = self._tenants.get(tenant, {}).get(ref)
        return doubt.records if doubt is not None else set()

    def settled(self, tenant: str, ref: Ref) -> None:
        """The object was written since, with an answer."""
        self._tenants.get(tenant, {}).pop(ref, None)

    def settle(self, tenant: str, standing: set[Ref]) -> list[Drifted]:
        """Forget the objects with which nothing is wrong any more (those not in `standing`); what the writes in doubt
        were to carry out."""
        doubts = self._tenants.get(tenant, {})
        over = [doubts.pop(ref) for ref in list(doubts) if ref not in standing]
        if not doubts:
            self._tenants.pop(tenant, None)
        return [doubt.finding for doubt in over if doubt.finding is not None]

    def forget(self, tenant: str) -> None:
        self._tenants.pop(tenant, None)
