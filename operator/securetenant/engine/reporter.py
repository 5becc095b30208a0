"""Tells what a pass found: metrics, Kubernetes Events and log lines, all out of the same value."""

from collections import Counter

import structlog

from securetenant.api.quantity import parse
from securetenant.api.status import Condition, QuotaUse, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.engine.status import Drifted, Pass
from securetenant.telemetry.events import Events, EventType, Subject, tenant_subject
from securetenant.telemetry.metrics import Metrics, TenantReport

log = structlog.get_logger("securetenant.drift")

# Conditions whose turn to this status is worth an Event. Ready's message holds what the controls' conditions say.
_TOLD = {"Ready": "False", "Contested": "True"}


class Reporter:
    """Where passes are told. Counting is exact in the metrics; Events and logs are for readers."""

    def __init__(self, metrics: Metrics, events: Events) -> None:
        self._metrics = metrics
        self._events = events

    def report(self, result: Pass, computed: SecureTenantStatus, seconds: float) -> None:
        """A pass in Enforce, Audit or Paused; `seconds` from the event behind it to the last write."""
        tenant = result.tenant
        for item in result.detected:
            finding = item.finding
            self._metrics.detected(tenant.name, finding.control, finding.reason)
            self._tell(tenant, "Warning", "DriftDetected", item)
        for item in result.corrected:
            finding = item.finding
            self._metrics.corrected(tenant.name, finding.control, finding.reason, seconds)
            self._tell(tenant, "Normal", "DriftCorrected", item, milliseconds=round(seconds * 1000, 1))
        self._conditions(tenant, computed)
        self._metrics.tenant(_tenant_report(result, computed))

    def deleting(self, tenant: SecureTenant, condition: Condition) -> None:
        """A deletion that waits: nothing is judged any more."""
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

    def forget(self, name: str) -> None:
        self._metrics.forget(name)

    def _tell(self, tenant: SecureTenant, kind: EventType, reason: str, item: Drifted, **fields: float) -> None:
        finding = item.finding
        where = f" at {finding.path}" if finding.path else ""
        by = f" by {item.manager}" if item.manager else ""
        what = f" ({finding.message})" if finding.message else ""
        told = "undone" if reason == "DriftCorrected" else "found"
        self._events.emit(
            _subject(tenant),
            kind,
            reason,
            f"{finding.reason} {finding.ref}{where}{by}{what}: {told}",
            control=finding.control,
            object_=str(finding.ref),
        )
        line = log.warning if reason == "DriftDetected" else log.info
        line(
            "drift detected" if reason == "DriftDetected" else "drift corrected",
            tenant=tenant.name,
            control=finding.control,
            object=str(finding.ref),
            reason=finding.reason,
            path=finding.path,
            manager=item.manager,
            cause=finding.message,
            **fields,
        )

    def _conditions(self, tenant: SecureTenant, computed: SecureTenantStatus) -> None:
        """One Event and one line when a condition turns bad."""
        before = {condition.type: (condition.status, condition.reason) for condition in tenant.status.conditions}
        for condition in computed.conditions:
            bad, (status, reason) = _TOLD.get(condition.type), before.get(condition.type, ("", ""))
            lasts = condition.reason == "ContestLasts" != reason
            if condition.status == bad and (status != bad or lasts):
                self._events.emit(_subject(tenant), "Warning", condition.reason, condition.message)
                log.warning(
                    "not ready" if condition.type == "Ready" else "contested",
                    tenant=tenant.name,
                    reason=condition.reason,
                    cause=condition.message,
                )


def _subject(tenant: SecureTenant) -> Subject:
    return tenant_subject(tenant.name, tenant.metadata.uid)


def _tenant_report(result: Pass, computed: SecureTenantStatus) -> TenantReport:
    tenant, whitelist = result.tenant, computed.whitelist
    quota: dict[str, QuotaUse] = {key: use for plan in result.plans.values() for key, use in plan.quota.items()}
    return TenantReport(
        tenant=tenant.name,
        mode=tenant.spec.mode,
        deletion_policy=tenant.spec.deletion_policy,
        drift=Counter((item.finding.control, item.finding.reason) for item in result.outstanding)
        if result.is_judged
        else None,
        contested=Counter(contest.control for contest in result.contested.values()),
        conditions={condition.type: condition.status for condition in computed.conditions},
        flows={
            "agreed": whitelist.agreed,
            "pending": whitelist.pending_count,
            "expired": whitelist.expired_count,
        }
        if whitelist is not None
        else {},
        next_expiry=whitelist.next_expiry.timestamp() if whitelist is not None and whitelist.next_expiry else None,
        quota_hard={key: float(parse(use.hard)) for key, use in quota.items()},
        quota_used={key: float(parse(use.used)) for key, use in quota.items()},
        nodes=len(computed.nodes),
    )
