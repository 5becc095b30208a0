"""What this process last wrote to each object, as far as it knows: this tells our own changes from other people's.

The record on the object is not enough: an earlier state of ours that somebody restored has a valid record too, and is
still that person's change; and a write that was carried out although its answer was lost is ours. After a restart
nothing is known, and the records alone decide.
"""

from collections.abc import Callable, Collection

from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import World
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.drift.writes import nudged
from securetenant.engine.uncertain import UncertainWrites
from securetenant.engine.writer import Outcome
from securetenant.model.objects import Observed, Ref
from securetenant.model.record import annotation


class OwnWrites:
    """By tenant, the record on each object that was last seen as wanted; and the writes with an unknown outcome."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._records: dict[str, dict[Ref, str]] = {}
        self._uncertain = UncertainWrites()
        # By tenant: the UIDs of our objects that no status recorded, as found by this process's first pass.
        self._unrecorded: dict[str, frozenset[str]] = {}

    def _remember(self, found: Assessment, done: Collection[Finding]) -> None:
        """Note the record on each object that is as wanted, and "" for what we released or deleted."""
        records = self._records.setdefault(found.tenant.name, {})
        off = {finding.ref for finding in found.findings if finding not in done}
        for want in found.desired:
            have = self._world.get(want.ref) if want.ref not in off else None
            if have is not None:
                records[have.ref] = have.record or ""
        for finding in done:
            if finding.desired is None and (finding.rollout or finding.ref in records):
                records[finding.ref] = ""

    def last(self, name: str) -> Callable[[Ref], Collection[str]]:
        """What was last written to an object, as `judge.Owner.last`."""
        records = self._records.get(name, {})

        def last(ref: Ref) -> Collection[str]:
            known, uncertain = records.get(ref), self._uncertain.records(name, ref)
            return uncertain if known is None else {known, *uncertain}

        return last

    def trusts(self, name: str) -> Callable[[Observed], bool]:
        """Which objects count as ours because of their record alone, as `judge.Owner.trusts`."""
        known = self._unrecorded.get(name)
        return (lambda have: True) if known is None else (lambda have: have.uid in known)

    def observe(self, found: Assessment, outcome: Outcome) -> list[Finding]:
        """Take in the writes of a pass: note those with an unknown outcome, and forget those whose object is no longer
        found to differ. Returns the findings of the latter: every deviation, and the rollouts that are seen to be
        carried out."""
        tenant, standing = found.tenant, {finding.ref for finding in found.findings}
        if tenant.name not in self._unrecorded:
            ours = [f.observed for f in found.findings if f.desired is None and f.rollout and f.observed is not None]
            self._unrecorded[tenant.name] = frozenset(have.uid for have in ours)
        over = self._uncertain.resolve(tenant.name, standing)
        carried = {finding for finding in over if self._is_carried_out(tenant, finding)}
        late = [finding for finding in over if not finding.rollout or finding in carried]
        for finding in outcome.done:
            self._uncertain.answered(tenant.name, finding.ref)
        for finding, error in outcome.failed:
            want, have = finding.desired, finding.observed
            if not error.is_uncertain and finding.action != "Recount":
                continue
            records = {have.record or ""} if have is not None else set[str]()
            if want is not None:
                records.add(finding.record)
            if want is None or finding.action == "Recreate":
                records.add("")
            elif finding.action == "Recount":  # two writes, of which only the first may have been carried out
                records.add(annotation(nudged(want), tenant.name, tenant.metadata.uid))
            self._uncertain.note(tenant.name, finding, records)
        self._remember(found, {*outcome.done, *carried})
        for finding in over:
            # A create that may have been carried out without being seen yet: what was there before is gone.
            want = finding.desired
            if want is not None and finding not in carried and self._world.get(want.ref) is None:
                self._records[tenant.name][want.ref] = finding.record
        return late

    def is_uncertain(self, name: str, ref: Ref) -> bool:
        """Whether a write to the object had no certain answer and the object was not seen as wanted since."""
        return bool(self._uncertain.records(name, ref))

    def forget(self, name: str) -> None:
        self._records.pop(name, None)
        self._unrecorded.pop(name, None)
        self._uncertain.forget(name)

    def _is_carried_out(self, tenant: SecureTenant, finding: Finding) -> bool:
        """Whether the object is as the finding wanted it. (No finding may also mean that the desired state changed.)"""
        have, want = self._world.get(finding.ref), finding.desired
        if want is None:
            return have is None or (finding.action == "Release" and have.tenant != tenant.name)
        return have is not None and have.record == finding.record
