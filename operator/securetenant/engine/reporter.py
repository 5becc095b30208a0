"""Reports what a pass found and did: metrics, Kubernetes Events and log lines, all from the same value.

Drift and obstacles are reported at once; what a rollout did is logged at once, and its Events may come later. Changes
of mode, generation and the controls' warnings are found by comparing the status before and after the pass, so that each
of them is reported once, across restarts as well.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from securetenant.api.status import Condition, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control
from securetenant.controls.notice import Notice
from securetenant.controls.registry import CONTROLS
from securetenant.drift.judge import Finding
from securetenant.engine import rollout
from securetenant.engine.status import Pass
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Observed
from securetenant.posture.report import newly_failing
from securetenant.posture.report import samples as posture_samples
from securetenant.reach import report as reachability
from securetenant.telemetry.events import Events, EventType, Subject, tenant_subject
from securetenant.telemetry.metrics import Metrics, TenantReport

log = structlog.get_logger("securetenant.drift")
record = structlog.get_logger("securetenant.record")

# Conditions for which a change to this status is worth an Event. Ready's message includes the controls' conditions.
_EVENT_ON = {"Ready": "False", "Contested": "True", "Compliant": "False", "WhitelistHolds": "False"}
_LINES = {
    "Ready": "not ready",
    "Contested": "contested",
    "Compliant": "not compliant",
    "WhitelistHolds": "whitelist does not hold",
}


# How many notices of one rollout have an Event of their own, per reason; the others share one.
_EVENTS_EACH: Final = 10


class _Reported(NamedTuple):
    """What was last reported about a tenant, by the status of that pass."""

    uid: str
    generation: int | None
    mode: str
    warnings: frozenset[tuple[str, Hashable]]  # (control, what identifies the warning)


class Reporter:
    """Reports passes. Metrics count exactly; Events and logs are for readers.

    `controls`: those whose plans the passes hold. `_reported` prevents that the same is reported with every retry
    while the status cannot be written.
    """

    def __init__(
        self,
        metrics: Metrics,
        events: Events,
        *,
        controls: Sequence[Control] = CONTROLS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._metrics = metrics
        self._events = events
        self._controls = controls
        self._now = now
        self._reported: dict[str, _Reported] = {}

    def report(self, result: Pass, computed: SecureTenantStatus, seconds: float) -> None:
        """Report a pass in Enforce, Audit or Paused. `seconds`: from the event that caused it to its last write."""
        tenant = result.tenant
        for finding in result.detected:
            self._metrics.detected(tenant.name, finding.control, finding.reason)
            self._drift(tenant, "Warning", "DriftDetected", finding)
        for finding in result.corrected:
            self._metrics.corrected(tenant.name, finding.control, finding.reason, seconds)
            self._drift(tenant, "Normal", "DriftCorrected", finding, milliseconds=round(seconds * 1000, 1))
        before = self._reported.get(tenant.name)
        is_first = before is None or before.uid != tenant.metadata.uid
        if before is None or is_first:
            before = _reported(tenant, tenant.status, self._warnings(tenant, tenant.status))
        warnings = self._warnings(tenant, computed)
        self._reported[tenant.name] = now = _reported(tenant, computed, warnings)
        self._changes(tenant, before, now, is_written=bool(result.rolled_out))
        for (control, of), notice in warnings.items():
            if (control, of) not in before.warnings:
                self._notice(tenant, control, notice)
        if result.rolled_out:
            self._rolled_out(result, computed, is_first=is_first)
        self._conditions(tenant, computed)
        self._metrics.tenant(_tenant_report(result, computed, self._controls))

    def deleting(self, tenant: SecureTenant, condition: Condition) -> None:
        """Report a deletion that waits; the tenant is no longer judged."""
        self._metrics.tenant(
            TenantReport(
                tenant=tenant.name,
                mode=tenant.spec.mode,
                deletion_policy=tenant.spec.deletion_policy,
                drift=None,
                conditions={condition.type: condition.status},
            )
        )
        before = next((c.message for c in tenant.status.conditions if c.type == "Ready"), "")
        if before != condition.message:
            self._events.emit(_subject(tenant), "Normal", condition.reason, condition.message)
            log.info("deletion waits", tenant=tenant.name, reason=condition.reason, cause=condition.message)

    def deleted(self, tenant: SecureTenant, have: Observed) -> None:
        """Report that the deletion of a namespace was requested (deletionPolicy Delete)."""
        namespace = have.ref
        record.info("namespace deleted", tenant=tenant.name, namespace=namespace.name)
        message = f"{namespace.name}: deleted with the tenant (deletionPolicy Delete), with all that is in it"
        self._note(tenant, "NamespaceDeleted", message, object_=str(namespace))
        self.departed(tenant, [Finding(namespace, "namespaces", "Stale", "Delete", rollout=True, observed=have)])

    def departed(self, tenant: SecureTenant, done: Sequence[Finding]) -> None:
        """Report in the controls' own terms what the release or the deletion of a deleted tenant's objects did."""
        told = rollout.reports(self._controls, tenant, done, tenant.status, self._now())
        for control, (notices, _) in told.items():
            self._notices(tenant, control, notices)

    def gone(self, tenant: SecureTenant, released: int) -> None:
        """Report that a tenant's deletion is complete; `released`: the number of objects kept without our marks."""
        policy = tenant.spec.deletion_policy
        is_kept = policy == "Retain"
        endless = [name for control in self._controls for name in control.temporary(tenant)] if is_kept else []
        over = [name for control in self._controls for name in control.ending(tenant, self._now())] if is_kept else []
        record.info(
            "tenant released", tenant=tenant.name, policy=policy, objects=released, unending=endless, ended=over
        )
        message = f"deletionPolicy {policy}: {released} objects released"
        if over:
            message += f"; not enforced any more: {', '.join(over)}"
        if endless:
            message += f"; nothing ends these rules any more: {', '.join(endless)}"
        self._note(tenant, "Released", message)

    def forget(self, name: str) -> None:
        self._reported.pop(name, None)
        self._metrics.forget(name)

    def _rolled_out(self, result: Pass, computed: SecureTenantStatus, *, is_first: bool) -> None:
        """One log line and one Event for a pass that rolled something out; then the controls' notices about it."""
        tenant, written = result.tenant, result.rolled_out
        controls = rollout.by_control(written)
        for control, objects in controls.items():
            self._metrics.rolled_out(tenant.name, control, objects)
        reports = rollout.reports(self._controls, tenant, written, computed, self._now())
        cause = rollout.why(tenant, [*result.corrected, *written], reports, first=is_first, controls=self._controls)
        actions = rollout.counts(written)
        line = record.bind(tenant=tenant.name)
        line.info(
            "rolled out",
            generation=tenant.metadata.generation,
            cause=cause,
            objects=len(written),
            actions=actions,
            controls=controls,
        )
        for finding in written:
            line.debug(
                "object written",
                control=finding.control,
                object=str(finding.ref),
                action=rollout.done(finding.action),
                path=finding.path,
            )
        did = ", ".join(f"{count} {action}" for action, count in actions.items())
        where = ", ".join(f"{control} {count}" for control, count in controls.items())
        self._note(tenant, "RolledOut", f"{cause}: {did} ({where})", object_=cause)
        for finding in rollout.adopted(tenant, written):
            name, uid = finding.ref.name, finding.observed.uid if finding.observed is not None else ""
            line.info("namespace adopted", namespace=name, uid=uid)
            message = f"{name}: existed already and was taken over (adopt: true), UID {uid}"
            self._note(tenant, "NamespaceAdopted", message, object_=str(finding.ref))
        for finding in rollout.released(written):
            line.info("object released", control=finding.control, object=str(finding.ref))
            message = f"{finding.ref}: no longer the tenant's; our marks are taken off"
            self._note(tenant, "Released", message, control=finding.control, object_=str(finding.ref))
        for control, (notices, _) in reports.items():
            self._notices(tenant, control, notices)

    def _notices(self, tenant: SecureTenant, control: str, notices: Sequence[Notice]) -> None:
        """A log line for each; an Event for each of the first ten of a reason, and one Event for its others."""
        count: Counter[str] = Counter()
        more: dict[str, list[Notice]] = {}
        for notice in notices:
            count[notice.reason] += 1
            has_event = count[notice.reason] <= _EVENTS_EACH
            self._notice(tenant, control, notice, has_event=has_event)
            if not has_event:
                more.setdefault(notice.reason, []).append(notice)
        for reason, others in more.items():
            names = ", ".join(notice.name for notice in others)
            message = f"{len(others)} more {others[0].verb}, all of them in the operator's log: {names}"
            self._note(tenant, reason, message, control=control)

    def _notice(self, tenant: SecureTenant, control: str, notice: Notice, *, has_event: bool = True) -> None:
        write = record.warning if notice.is_warning else record.info
        write(notice.line, tenant=tenant.name, **notice.fields)
        if has_event:
            kind: EventType = "Warning" if notice.is_warning else "Normal"
            self._note(tenant, notice.reason, notice.message, control=control, object_=notice.about, kind=kind)

    def _warnings(self, tenant: SecureTenant, status: SecureTenantStatus) -> dict[tuple[str, Hashable], Notice]:
        """The controls' warnings for a status, in the order in which they are reported."""
        return {
            (control.name, of): notice
            for control in self._controls
            for of, notice in control.warnings(tenant, status).items()
        }

    def _changes(self, tenant: SecureTenant, before: _Reported, now: _Reported, *, is_written: bool) -> None:
        """Report what changed in the tenant itself since the last report."""
        generation = tenant.metadata.generation
        if before.generation is None and now.generation is not None:
            spec = tenant.spec
            namespaces = [entry.name for entry in spec.namespaces]
            record.info(
                "tenant created",
                tenant=tenant.name,
                generation=generation,
                mode=spec.mode,
                deletion_policy=spec.deletion_policy,
                namespaces=namespaces,
            )
            message = f"mode {spec.mode}, deletionPolicy {spec.deletion_policy}, namespaces: {', '.join(namespaces)}"
            self._note(tenant, "Created", message)
        elif before.generation != now.generation and not is_written:
            record.info("nothing written", tenant=tenant.name, generation=generation, mode=tenant.spec.mode)
        if before.mode and before.mode != now.mode:
            record.warning("mode changed", tenant=tenant.name, generation=generation, mode=now.mode, before=before.mode)
            kind: EventType = "Normal" if now.mode == "Enforce" else "Warning"
            message = f"mode is {now.mode} and was {before.mode} (generation {generation})"
            self._events.emit(_subject(tenant), kind, "ModeChanged", message, object_=now.mode)

    def _note(
        self,
        tenant: SecureTenant,
        reason: str,
        message: str,
        *,
        control: str = "",
        object_: str = "",
        kind: EventType = "Normal",
    ) -> None:
        """Emit an Event that may be sent later than what it reports."""
        self._events.emit(_subject(tenant), kind, reason, message, control=control, object_=object_, trails=True)

    def _drift(self, tenant: SecureTenant, kind: EventType, reason: str, finding: Finding, **fields: float) -> None:
        where = f" at {finding.path}" if finding.path else ""
        by = f" as the field manager {finding.manager}" if finding.manager else ""
        what = f" ({finding.message})" if finding.message else ""
        done = "corrected" if reason == "DriftCorrected" else "found"
        message = f"{finding.reason} {finding.ref}{where}{by}{what}: {done}"
        here = _in_its_namespace(finding) if reason == "DriftCorrected" else None
        # A correction in a tenant's namespace has an Event there too: its users cannot see Events in `default`.
        for about in (None, *([here] if here is not None else [])):
            self._events.emit(
                _subject(tenant),
                kind,
                reason,
                message,
                control=finding.control,
                object_=str(finding.ref),
                about=about,
            )
        line = log.warning if reason == "DriftDetected" else log.info
        line(
            "drift detected" if reason == "DriftDetected" else "drift corrected",
            tenant=tenant.name,
            control=finding.control,
            object=str(finding.ref),
            reason=finding.reason,
            path=finding.path,
            manager=finding.manager,
            cause=finding.message,
            **fields,
        )

    def _conditions(self, tenant: SecureTenant, computed: SecureTenantStatus) -> None:
        """One Event and one log line when a condition turns bad, and when more checks fail."""
        before = {condition.type: (condition.status, condition.reason) for condition in tenant.status.conditions}
        for condition in computed.conditions:
            bad, (status, reason) = _EVENT_ON.get(condition.type), before.get(condition.type, ("", ""))
            lasts = condition.reason == "ContestLasts" != reason
            more = condition.type == "Compliant" and bool(newly_failing(tenant.status.posture, computed.posture))
            more |= condition.type == reachability.CONDITION and reachability.newly(
                tenant.status.reachability, computed.reachability
            )
            if condition.status == bad and (status != bad or lasts or more):
                self._events.emit(_subject(tenant), "Warning", condition.reason, condition.message)
                log.warning(
                    _LINES[condition.type],
                    tenant=tenant.name,
                    reason=condition.reason,
                    cause=condition.message,
                )


def _subject(tenant: SecureTenant) -> Subject:
    return tenant_subject(tenant.name, tenant.metadata.uid)


def _reported(
    tenant: SecureTenant, status: SecureTenantStatus, warnings: Mapping[tuple[str, Hashable], Notice]
) -> _Reported:
    return _Reported(tenant.metadata.uid, status.observed_generation, status.mode, frozenset(warnings))


def _in_its_namespace(finding: Finding) -> Subject | None:
    """The object itself, for an Event in its namespace; Events about a Namespace are in that namespace. None for other
    cluster-scoped objects."""
    ref = finding.ref
    namespace = ref.name if ref.kind is NAMESPACE else ref.namespace
    if not namespace:
        return None
    uid = finding.observed.uid if finding.observed is not None else ""
    return Subject(ref.kind.api_version, ref.kind.name, namespace, ref.name, uid)


def _tenant_report(result: Pass, computed: SecureTenantStatus, controls: Sequence[Control]) -> TenantReport:
    """The metrics of a pass: of the drift that it found, of its plans, and of the controls' parts of the status."""
    tenant = result.tenant
    samples = {name: found for plan in result.plans.values() for name, found in plan.samples.items()}
    for control in controls:
        samples |= control.figures(computed)
    samples |= posture_samples(computed)
    if result.holds is not None and not result.unknown:
        samples |= reachability.samples(result.holds)
    return TenantReport(
        tenant=tenant.name,
        mode=tenant.spec.mode,
        deletion_policy=tenant.spec.deletion_policy,
        drift=Counter((finding.control, finding.reason) for finding in result.outstanding)
        if result.is_judged
        else None,
        contested=Counter(contest.control for contest in result.contested.values()),
        conditions={condition.type: condition.status for condition in computed.conditions},
        samples={name: found for name, found in samples.items() if found},
    )
