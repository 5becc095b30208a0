"""What a pass rolled out: why, how much, and what the controls report about it. Pure.

All of it is derived from the findings that were carried out, never from what was intended.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control
from securetenant.controls.notice import Rollout, Written
from securetenant.controls.registry import CONTROLS
from securetenant.drift.judge import Action, Finding
from securetenant.drift.writes import as_released
from securetenant.engine.writer import Outcome
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Observed

_DONE: Final[Mapping[Action, str]] = {
    "Create": "created",
    "Replace": "replaced",
    "Recreate": "replaced",
    "Patch": "changed",
    "Delete": "deleted",
    "Release": "released",
}


def written(outcome: Outcome, late: Iterable[Finding]) -> list[Finding]:
    """The findings that are no drift and that a pass carried out, as the objects stand now: as admission changed them,
    and with the `late` ones, whose writes got no answer but are now seen to be carried out."""
    altered = (
        replace(one.finding, desired=replace(one.finding.desired, body={"spec": one.observed.field("spec")}))
        for one in outcome.altered
        if one.finding.desired is not None
    )
    return [finding for finding in (*outcome.done, *altered, *late) if finding.rollout]


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How often each action was carried out: "created" -> 9."""
    return dict(Counter(_DONE[finding.action] for finding in findings if finding.action in _DONE))


def by_control(findings: Iterable[Finding]) -> dict[str, int]:
    return dict(Counter(finding.control for finding in findings))


def done(action: Action) -> str:
    """The past participle of an action: "created"."""
    return _DONE.get(action, action)


def reports(
    controls: Iterable[Control],
    tenant: SecureTenant,
    findings: Iterable[Finding],
    computed: SecureTenantStatus,
    now: datetime,
) -> dict[str, Rollout]:
    """By control, its report on those of its findings that were carried out. `computed`: the status of the same
    pass."""
    controls = list(controls)
    written: dict[str, list[Written]] = {}
    for finding in findings:
        for control in _concerned(finding, controls):
            written.setdefault(control, []).append(Written(finding.ref, finding.observed, _now(finding)))
    return {
        control.name: control.rollout(tenant, written[control.name], computed, now)
        for control in controls
        if control.name in written
    }


def _now(finding: Finding) -> Desired | Observed | None:
    """The object as it stands after the finding was carried out."""
    have = finding.observed
    return as_released(have, finding.leaves) if finding.action == "Release" and have is not None else finding.desired


def _concerned(finding: Finding, controls: Iterable[Control]) -> Collection[str]:
    """The controls to which the object tells something: all that want a part of it, whichever part differed first. A
    namespace is given up with the parts of all."""
    if finding.ref.kind is NAMESPACE and finding.action in ("Release", "Delete"):
        return [control.name for control in controls if NAMESPACE in control.kinds]
    parts = finding.desired.parts if finding.desired is not None else ()
    return dict.fromkeys((finding.control, *(part.control for part in parts)))


def why(
    tenant: SecureTenant,
    written: Sequence[Finding],
    reports: Mapping[str, Rollout],
    *,
    first: bool,
    controls: Iterable[Control] = CONTROLS,
) -> str:
    """The cause of a rollout. `reports`: the controls' reports, by control. `first`: this is the instance's first pass
    over the tenant."""
    if tenant.status.observed_generation is None:
        return f"created, generation {tenant.metadata.generation}"
    if tenant.is_edited:
        return f"generation {tenant.metadata.generation}"
    if made := sorted(f.ref.name for f in written if f.ref.kind is NAMESPACE and f.action == "Create"):
        known = {entry.name for entry in tenant.status.namespaces if entry.uid}
        return f"namespace {', '.join(made)} {'recreated' if known & set(made) else 'created'}"
    if causes := [report.cause for report in reports.values() if report.cause]:
        return "; ".join(causes)
    if tenant.is_retried:
        return "what could not be written before"
    if first:
        return "start of this instance: another version of it, or a change while none ran"
    names = {finding.control for finding in written}
    own = [control.cause for control in controls if {control.name} == names]
    return own[0] if own and own[0] else "a peer's declaration, or the cluster, changed"


def adopted(tenant: SecureTenant, written: Iterable[Finding]) -> Iterator[Finding]:
    """The existing namespaces that were adopted: the spec says `adopt`, and the status did not know their UID."""
    known = {entry.name: entry.uid for entry in tenant.status.namespaces}
    taken = {entry.name for entry in tenant.spec.namespaces if entry.adopt}
    for finding in written:
        if finding.ref.kind is NAMESPACE and finding.action == "Patch" and finding.ref.name in taken:
            uid = finding.observed.uid if finding.observed is not None else ""
            if known.get(finding.ref.name) != uid:
                yield finding


def released(written: Iterable[Finding]) -> Iterator[Finding]:
    """What the tenant released, without the contents of namespaces: those are released with their namespace."""
    return (finding for finding in written if finding.action == "Release" and not finding.ref.namespace)
