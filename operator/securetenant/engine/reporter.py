"""Tells what a pass found and did: metrics, Kubernetes Events and log lines, all out of the same value.

Drift, what stands in the way and what ends soon are told at once; what a rollout did trails behind it as Events, and
stands in the log. What the status has no place for in the list of changes is read off it: mode, generation and the
rules that end soon, as they stood before and as they stand now. So each change is told once, across restarts as well.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from securetenant.api.status import Condition, ExpiringRule, QuotaUse, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import whitelist
from securetenant.drift.judge import Finding
from securetenant.engine import rollout
from securetenant.engine.rollout import FlowChange
from securetenant.engine.status import Drifted, Pass
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref
from securetenant.model.quantity import parse
from securetenant.telemetry.events import Events, EventType, Subject, tenant_subject
from securetenant.telemetry.metrics import Metrics, TenantReport

log = structlog.get_logger("securetenant.drift")
record = structlog.get_logger("securetenant.record")
Line = structlog.typing.FilteringBoundLogger

# Conditions whose turn to this status is worth an Event. Ready's message holds what the controls' conditions say.
_TOLD = {"Ready": "False", "Contested": "True"}


# Flows of one pass that have an Event of their own each, by what became of them; the others share one.
_FLOW_EVENTS: Final = 10
_FLOWS_SHOWN: Final = 3  # of a rule in an Event; the log has all
FLOW_REASONS: Final = {"opened": "FlowOpened", "closed": "FlowClosed", "expired": "FlowExpired"}


class _Said(NamedTuple):
    """What was last said of a tenant, by the status of that pass."""

    uid: str
    generation: int | None
    mode: str
    expiring: frozenset[ExpiringRule]


class Reporter:
    """Where passes are told. Counting is exact in the metrics; Events and logs are for readers.

    `_said` only keeps a status that cannot be written from having the same told with each try.
    """

    def __init__(
        self, metrics: Metrics, events: Events, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._metrics = metrics
        self._events = events
        self._now = now
        self._said: dict[str, _Said] = {}

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
        before = self._said.get(tenant.name)
        is_first = before is None or before.uid != tenant.metadata.uid
        if before is None or is_first:
            before = _said(tenant, tenant.status)
        self._said[tenant.name] = now = _said(tenant, computed)
        self._turned(tenant, before, now, is_written=bool(result.rolled_out))
        if result.rolled_out:
            self._rolled_out(result, computed, is_first=is_first)
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

    def deleted(self, tenant: SecureTenant, namespace: Ref) -> None:
        """A namespace of a tenant with deletionPolicy Delete was sent to its end."""
        record.info("namespace deleted", tenant=tenant.name, namespace=namespace.name)
        message = f"{namespace.name}: deleted with the tenant (deletionPolicy Delete), with all that is in it"
        self._note(tenant, "NamespaceDeleted", message, object_=str(namespace))

    def gone(self, tenant: SecureTenant, released: int) -> None:
        """The deletion of a tenant is carried out; `released` objects keep standing without our marks."""
        policy = tenant.spec.deletion_policy
        endless = [f"{d} {r.name}" for d in whitelist.OPPOSITE for r, _, _ in whitelist.rules(tenant, d) if r.expires]
        record.info(
            "tenant released",
            tenant=tenant.name,
            policy=policy,
            objects=released,
            unending=endless if policy == "Retain" else [],
        )
        message = f"deletionPolicy {policy}: {released} objects released"
        if endless and policy == "Retain":
            message += f"; nothing ends these rules any more: {', '.join(endless)}"
        self._note(tenant, "Released", message)

    def forget(self, name: str) -> None:
        self._said.pop(name, None)
        self._metrics.forget(name)

    def _rolled_out(self, result: Pass, computed: SecureTenantStatus, *, is_first: bool) -> None:
        """One line and one Event for a pass that wrote by our own change of mind; then what it opened and closed."""
        tenant, written = result.tenant, result.rolled_out
        controls = rollout.by_control(written)
        for control, objects in controls.items():
            self._metrics.rolled_out(tenant.name, control, objects)
        flows = rollout.flow_changes(tenant, written, computed, self._now())
        undone = [item.finding for item in result.corrected]
        cause = rollout.why(tenant, [*undone, *written], flows, first=is_first)
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
        self._flows(tenant, flows, line)

    def _flows(self, tenant: SecureTenant, flows: list[FlowChange], line: Line) -> None:
        """One line for each rule and namespace whose flows changed, and an Event for the first of them."""
        told: Counter[str] = Counter()
        more: dict[str, list[str]] = {}
        for flow in flows:
            line.info(
                f"flow {flow.change}",
                namespace=flow.namespace,
                direction=flow.direction,
                rule=flow.rule,
                ticket=flow.ticket,
                flows=[str(opening) for opening in flow.flows],
                cause=flow.cause,
            )
            told[flow.change] += 1
            if told[flow.change] > _FLOW_EVENTS:
                more.setdefault(flow.change, []).append(f"{flow.name} in {flow.namespace}")
                continue
            told_by_name = f"{flow.direction} "
            shown = "; ".join(str(opening).removeprefix(told_by_name) for opening in flow.flows[:_FLOWS_SHOWN])
            rest = f" and {len(flow.flows) - _FLOWS_SHOWN} more" if len(flow.flows) > _FLOWS_SHOWN else ""
            self._note(
                tenant,
                FLOW_REASONS[flow.change],
                f"{flow.name} {flow.change} in {flow.namespace}: {shown}{rest} ({flow.cause})",
                control="network",
                object_=f"{flow.direction}/{flow.rule}/{flow.namespace}",
            )
        for change, names in more.items():
            message = f"{len(names)} more {change}, all of them in the operator's log: {', '.join(names)}"
            self._note(tenant, FLOW_REASONS[change], message, control="network")

    def _turned(self, tenant: SecureTenant, before: _Said, now: _Said, *, is_written: bool) -> None:
        """What changed of the tenant itself since it was last told of."""
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
        for rule in sorted(now.expiring - before.expiring, key=lambda rule: rule.expires):
            self._expires(tenant, rule)

    def _expires(self, tenant: SecureTenant, rule: ExpiringRule) -> None:
        ticket = next(
            (r.ticket for r, _, _ in whitelist.rules(tenant, rule.direction) if r.name == rule.rule and r.ticket), ""
        )
        record.warning(
            "rule expires soon",
            tenant=tenant.name,
            direction=rule.direction,
            rule=rule.rule,
            ticket=ticket,
            expires=f"{rule.expires:%Y-%m-%dT%H:%M:%SZ}",
            within=rule.within,
        )
        name = f"{rule.direction} {rule.rule}" + (f" ({ticket})" if ticket else "")
        message = f"{name} ends at {rule.expires:%Y-%m-%dT%H:%M:%SZ}, within {rule.within}: renew it, or let it close"
        self._events.emit(
            _subject(tenant),
            "Warning",
            "ExpiresSoon",
            message,
            control="network",
            object_=f"{rule.direction}/{rule.rule}",
            trails=True,
        )

    def _note(self, tenant: SecureTenant, reason: str, message: str, *, control: str = "", object_: str = "") -> None:
        """A Normal Event that may come later than what it tells of."""
        self._events.emit(_subject(tenant), "Normal", reason, message, control=control, object_=object_, trails=True)

    def _tell(self, tenant: SecureTenant, kind: EventType, reason: str, item: Drifted, **fields: float) -> None:
        finding = item.finding
        where = f" at {finding.path}" if finding.path else ""
        by = f" as the field manager {item.manager}" if item.manager else ""
        what = f" ({finding.message})" if finding.message else ""
        told = "undone" if reason == "DriftCorrected" else "found"
        message = f"{finding.reason} {finding.ref}{where}{by}{what}: {told}"
        here = _in_its_namespace(finding) if reason == "DriftCorrected" else None
        # What was undone in a tenant's namespace is told there as well: its people see no Events of `default`.
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


def _said(tenant: SecureTenant, status: SecureTenantStatus) -> _Said:
    expiring = status.whitelist.expiring if status.whitelist is not None else ()
    return _Said(tenant.metadata.uid, status.observed_generation, status.mode, frozenset(expiring))


def _in_its_namespace(finding: Finding) -> Subject | None:
    """The object itself, for an Event in its namespace; a Namespace's stand in it. None for what is in none."""
    ref = finding.ref
    namespace = ref.name if ref.kind is NAMESPACE else ref.namespace
    if not namespace:
        return None
    uid = finding.observed.uid if finding.observed is not None else ""
    return Subject(ref.kind.api_version, ref.kind.name, namespace, ref.name, uid)


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
