"""The result of `plan`, as data: per tenant the changes, the drift, and what blocks. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from securetenant.api.status import DriftReason
from securetenant.cli.plan_flows import Flows
from securetenant.cli.plan_running import Running
from securetenant.controls.control import Deviation
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.model import names
from securetenant.model.difference import Field, differences
from securetenant.model.objects import JsonValue, Ref
from securetenant.model.record import fields_of, shared, shared_of, shared_record, whole, whole_of

Effect = Literal["create", "update", "replace", "delete", "release", "report"]
State = Literal["judged", "paused", "deleting", "invalid"]

_EFFECTS: Mapping[str, Effect] = {
    "Create": "create",
    "Replace": "update",
    "Patch": "update",
    "Recount": "update",
    "Recreate": "replace",
    "Delete": "delete",
    "Release": "release",
    "Keep": "report",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One object that differs. `effect`: what the operator will do; `drift`: others caused the difference, it is no
    rollout; `manager`: their field manager, if known."""

    effect: Effect
    drift: bool
    reason: DriftReason
    control: str
    ref: Ref
    path: str = ""
    manager: str = ""
    message: str = ""
    fields: Sequence[Field] = ()


@dataclass(frozen=True, slots=True)
class UnmetCondition:
    """A condition that is not as it should be. `blocking` ones keep the tenant from being Ready."""

    type: str
    reason: str
    message: str
    blocking: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan for one tenant. `source`: the file it comes from, "" if from the cluster."""

    tenant: str
    mode: str
    state: State
    source: str = ""
    applied: bool = True  # whether the cluster has a SecureTenant of that name
    problem: str = ""
    changes: Sequence[Change] = ()
    unmet: Sequence[UnmetCondition] = field(default_factory=tuple)
    running: Running = field(default_factory=Running)
    flows: Flows = field(default_factory=Flows)

    @property
    def blocked(self) -> bool:
        return any(each.blocking for each in self.unmet)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to do and nothing blocks."""
        is_clear = not (self.running.refused or self.running.unknown)
        return self.state == "judged" and not self.changes and not self.blocked and is_clear


def changes(assessment: Assessment) -> list[Change]:
    """The findings in the order in which they are shown: by namespace, the Namespace itself first."""
    enforced = assessment.tenant.spec.mode == "Enforce"
    found = [
        _change(finding, assessment.tenant.name, enforced)
        for finding in assessment.findings
        if not _is_uncounted(finding)
    ]
    return sorted(found, key=lambda c: (c.ref.place, c.ref.namespace != "", c.ref.kind, c.ref.name, c.reason))


def _is_uncounted(finding: Finding) -> bool:
    """Whether Kubernetes has yet to copy the spec to the status (`Kind.mirror`): a new quota is not counted at once."""
    return finding.action == "Recount" and not _mirrored(finding)[0]


def _mirrored(finding: Finding) -> tuple[JsonValue, JsonValue, str]:
    """What is in force for the object (in its status, `Kind.mirror`), what its spec asks for, and the path of the
    former."""
    have, mirror = finding.observed, finding.ref.kind.mirror
    assert have is not None
    assert mirror is not None
    return have.at(mirror.status), have.at(mirror.spec), ".".join(mirror.status)


def unmet_conditions(assessment: Assessment) -> list[UnmetCondition]:
    """What blocks, and conditions that are False for other reasons than the changes that are listed anyway."""
    found: list[UnmetCondition] = []
    creating = {finding.control for finding in assessment.findings if finding.action == "Create"}
    for control, plan in assessment.plans.items():
        blocking = set(plan.blocking)
        for condition in plan.conditions:
            if control in creating and (condition.status == "Unknown" or plan.passing):
                # Its result is known only after the changes are made, and those are listed; or it waits for them.
                blocking -= {condition.message}
                continue
            mine = {message for message in blocking if message in condition.message}
            if condition.status != "True" and (mine or condition.reason in _REPORTED_REASONS):
                found.append(UnmetCondition(condition.type, condition.reason, condition.message, bool(mine)))
                blocking -= mine
        found += [UnmetCondition("", "", message, True) for message in plan.blocking if message in blocking]
    return found


# Reasons that do not block and are no difference of an object, but are shown.
_REPORTED_REASONS = frozenset({"Pending"})


def _change(finding: Finding, tenant: str, enforced: bool) -> Change:
    return Change(
        effect=_EFFECTS[finding.action] if enforced else "report",
        # In Audit every difference counts as a deviation, since it is not corrected.
        drift=not finding.rollout or not enforced,
        reason=finding.reason,
        control=finding.control,
        ref=finding.ref,
        path=finding.path,
        manager=finding.manager,
        message=finding.message,
        fields=tuple(_fields(finding, tenant)),
    )


def _fields(finding: Finding, tenant: str) -> Iterator[Field]:
    """The fields that differ: as they are in the cluster, and as they will be."""
    want, have = finding.desired, finding.observed
    if want is None or have is None:
        return
    if finding.action == "Recount":
        yield from differences(*_mirrored(finding))
        return
    if not want.is_shared:
        yield from differences(whole_of(have), whole(want, tenant))
        return
    content = shared(want, tenant)
    labels, annotations = content["labels"], content["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    # What we wrote earlier and no longer want is removed as well.
    record = shared_record(have)
    had = shared_of(
        have,
        {*labels, *(record.labels if record else ())},
        {*annotations, *(record.annotations if record else ())},
        fields_of(want),
        want.absent,
    )
    yield from differences(had, content)


@dataclass(frozen=True, slots=True)
class Sums:
    """The summary of many forecasts."""

    tenants: int
    create: int
    update: int
    delete: int
    drift: int
    foreign: int
    reported: int
    blocked: int
    invalid: int
    cluster: int
    refused: int

    @property
    def exit_code(self) -> int:
        """As in `terraform plan -detailed-exitcode`; a tenant that cannot be judged is an error, never "no changes"."""
        if self.invalid:
            return 1
        return 2 if self.has_changes or self.drift or self.foreign or self.blocked or self.cluster else 0

    @property
    def has_changes(self) -> bool:
        return bool(self.create or self.update or self.delete)


def sums(forecasts: Sequence[Forecast], cluster: Sequence[Deviation] = ()) -> Sums:
    """The totals. Each change counts under what will be done (`reported`: nothing), and also as drift if others caused
    it; a foreign object counts as foreign instead. `cluster`: deviations that belong to no single tenant. `refused`:
    running objects that rules refuse which are not in force yet; by themselves they are no change."""
    every = [change for forecast in forecasts for change in forecast.changes]
    return Sums(
        tenants=len(forecasts),
        create=_count(every, ("create",)),
        update=_count(every, ("update", "replace", "release")),
        delete=_count(every, ("delete",)),
        drift=sum(change.drift and change.reason != "Foreign" for change in every),
        foreign=sum(change.reason == "Foreign" for change in every),
        reported=_count(every, ("report",)),
        blocked=sum(forecast.blocked for forecast in forecasts),
        invalid=sum(forecast.state == "invalid" for forecast in forecasts),
        cluster=len(cluster),
        refused=sum(forecast.running.objects for forecast in forecasts),
    )


def _count(changes: Iterable[Change], effects: tuple[Effect, ...]) -> int:
    return sum(change.effect in effects for change in changes)


def is_record_only(change: Change) -> bool:
    """Whether only our own record of what was written differs."""
    return change.effect != "create" and change.path == f"annotations.{names.ANNOTATION_APPLIED}" and not change.fields
