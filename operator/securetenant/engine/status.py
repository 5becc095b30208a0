"""The status of a tenant, computed from what a pass found and did. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from securetenant.api.refused import Refusal
from securetenant.api.status import (
    Condition,
    DriftItem,
    DriftStatus,
    NamespaceStatus,
    PostureStatus,
    SecureTenantStatus,
    stamp,
)
from securetenant.api.tenant import SecureTenant
from securetenant.controls import commitment
from securetenant.controls.control import Plan
from securetenant.drift.applied import grouped
from securetenant.drift.judge import Finding
from securetenant.engine import known
from securetenant.engine.contention import ManagerConflict
from securetenant.model.objects import Json, Ref
from securetenant.reach import report as reachability
from securetenant.reach.holds import Holds

ITEMS = 20  # at most this many entries of a list go into the status; totals count all
_NAMED = 3  # at most this many go into a message
MESSAGE = 1024  # characters of a condition's message


@dataclass(slots=True)
class Pass:
    """What one pass over a tenant found and did: the single source of status, metrics and events."""

    tenant: SecureTenant
    plans: Mapping[str, Plan]
    # Name -> UID of the namespace that was judged to be the tenant's, or that our Create returned; "" without one.
    held: Mapping[str, str]
    outstanding: list[Finding] = field(default_factory=list)
    corrected: list[Finding] = field(default_factory=list)
    detected: list[Finding] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unwritten: Mapping[str, Sequence[str]] = field(default_factory=dict)  # control -> what it could not write, and why
    contested: Mapping[Ref, ManagerConflict] = field(default_factory=dict)
    open: Sequence[Finding] = ()  # of `outstanding`, what leaves access open until it may be corrected again
    altered: Sequence[Finding] = ()  # of `outstanding`, our own writes that admission changed
    rolled_out: Sequence[Finding] = ()  # written because the desired state changed: no drift
    applied: Collection[Ref] = ()
    owned: Mapping[str, str] = field(default_factory=dict)  # as `held`, for namespaces that are to be released
    refusal: Refusal | None = None  # the models refuse the spec
    unknown: str = ""  # why the result of this pass is not reliable, or there is none
    reserved: Mapping[str, Collection[str]] = field(default_factory=dict)  # by namespace: reserved keys, see the API
    posture: PostureStatus | None = None  # what the inspection found last; None where nothing is judged
    compliant: Condition | None = None
    holds: Holds | None = None  # how what is open differs from what is declared; None where that is not judged
    retrying: bool = False  # a write is retried at once: this generation cannot be reported as observed yet

    @property
    def is_judged(self) -> bool:
        """Whether "no deviation" means that there is none."""
        return bool(self.plans) and (not (self.unknown or self.is_bare) or bool(self.outstanding))

    @property
    def is_bare(self) -> bool:
        """Whether the spec is refused and no accepted one is known, so that the desired state is unknown."""
        return self.refusal is not None and not self.refusal.kept


def compute(result: Pass, now: datetime) -> SecureTenantStatus:
    """The whole status. A condition keeps its lastTransitionTime unless its status changed; where nothing was planned
    from the spec, the controls' parts of the status stay as they were."""
    tenant = result.tenant
    generation = tenant.status.observed_generation if result.retrying else tenant.metadata.generation
    conditions = [
        _ready(result),
        _drifted(result),
        *(
            _as_written(condition, control, result.unwritten.get(control, ()))
            for control, plan in result.plans.items()
            for condition in plan.conditions
        ),
        _holds(result),
        *([result.compliant] if result.compliant is not None else []),
        *_abnormal(result),
    ]
    entries = _namespaces(result)
    computed = SecureTenantStatus(
        observed_generation=generation,
        mode=tenant.status.mode if result.is_bare else tenant.spec.mode,
        conditions=timed(conditions, tenant, now, generation),
        namespaces=entries,
        used_commitments=commitment.used(tenant, entries),
        drift=_drift(result, now),
        posture=result.posture,
        reachability=reachability.status(result.holds) if result.holds is not None else None,
        applied=grouped(result.applied),
    )
    if result.plans and not result.is_bare:
        return computed.model_copy(
            update={name: part for plan in result.plans.values() for name, part in plan.status.items()}
        )
    return tenant.status.model_copy(update={name: getattr(computed, name) for name in computed.model_fields_set})


def unjudged(tenant: SecureTenant, conditions: Sequence[Condition], now: datetime) -> SecureTenantStatus:
    """The status of a tenant that is not judged because it is being deleted: these conditions, no drift counts."""
    before, generation = tenant.status, tenant.metadata.generation
    return before.model_copy(
        update={
            "observed_generation": generation,
            "conditions": timed(conditions, tenant, now, generation),
            "drift": DriftStatus(last_detected=before.drift.last_detected, last_corrected=before.drift.last_corrected),
            "posture": None,
            "reachability": None,
            "namespaces": [entry.model_copy(update={"drift": None}) for entry in before.namespaces],
        }
    )


def released(tenant: SecureTenant, condition: Condition, now: datetime) -> SecureTenantStatus:
    """The status of a tenant that we released and that only other finalizers hold: without everything that is no longer
    enforced."""
    base = unjudged(tenant, [condition], now)
    return SecureTenantStatus(
        observed_generation=base.observed_generation,
        mode=base.mode,
        conditions=base.conditions,
        namespaces=base.namespaces,
        used_commitments=base.used_commitments,
        drift=base.drift,
    )


def dump(status: SecureTenantStatus) -> Json:
    """The status as it is written, without empty and default values."""
    dumped: Json = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return dumped


def timed(
    conditions: Sequence[Condition], tenant: SecureTenant, now: datetime, generation: int | None
) -> list[Condition]:
    """The conditions with observedGeneration and lastTransitionTime."""
    before = {condition.type: condition for condition in tenant.status.conditions}
    stamped = []
    for condition in conditions:
        old = before.get(condition.type)
        unchanged = old is not None and old.status == condition.status and old.last_transition_time
        time = old.last_transition_time if old is not None and unchanged else stamp(now)
        stamped.append(
            condition.model_copy(
                update={
                    "message": shortened(condition.message),
                    "observed_generation": generation,
                    "last_transition_time": time,
                }
            )
        )
    return stamped


def shortened(message: str) -> str:
    return message if len(message) <= MESSAGE else message[: MESSAGE - 1] + "…"


def _blocking(result: Pass) -> list[str]:
    return [message for plan in result.plans.values() for message in plan.blocking]


def _ready(result: Pass) -> Condition:
    mode = result.tenant.spec.mode
    if result.refusal is not None:
        return Condition.of("Ready", "False", "InvalidSpec", _refused(result, result.refusal))
    if mode == "Paused":
        return Condition.of("Ready", "Unknown", "Paused", "mode is Paused: nothing is judged and nothing is corrected")
    if result.unknown:
        return Condition.of("Ready", "Unknown", "NotJudged", result.unknown)
    if result.errors:
        return Condition.of("Ready", "False", "WriteFailed", "; ".join(result.errors))
    if result.altered:
        return Condition.of("Ready", "False", "AdmissionChanged", _alterations(result))
    if blocking := _blocking(result):
        return Condition.of("Ready", "False", "Blocked", "; ".join(blocking))
    if result.contested:
        # Between two corrections the object is as the other manager wants it.
        return Condition.of("Ready", "False", "Contested", _contested(result))
    if result.open:
        listed = ", ".join(_described(item) for item in result.open[:3])
        return Condition.of(
            "Ready", "False", "Contested", f"changed back at once, corrected again in a moment: {listed}"
        )
    if result.retrying:
        return ready_before(result.tenant) or Condition.of(
            "Ready", "Unknown", "Retrying", "its objects are being written"
        )
    if mode == "Audit":
        return Condition.of("Ready", "True", "Audited", "mode is Audit: deviations are reported, nothing is written")
    count = "1 namespace" if len(result.held) == 1 else f"{len(result.held)} namespaces"
    return Condition.of("Ready", "True", "Enforced", f"posture in force in {count}")


def _as_written(condition: Condition, control: str, unwritten: Sequence[str]) -> Condition:
    """A control's condition describes its plan; it does not hold while parts of the plan are not written."""
    if condition.status != "True" or not unwritten:
        return condition
    more = f"; and {len(unwritten) - _NAMED} more" if len(unwritten) > _NAMED else ""
    message = f"not everything of {control} could be written: {'; '.join(unwritten[:_NAMED])}{more}"
    return Condition.of(condition.type, "False", "WriteFailed", message)


def ready_before(tenant: SecureTenant) -> Condition | None:
    """The condition Ready in the current status."""
    return next((condition for condition in tenant.status.conditions if condition.type == "Ready"), None)


def _drifted(result: Pass) -> Condition:
    if not result.is_judged:
        message = result.unknown or (
            "the spec is refused and no accepted one is known; nothing that was written before is found to differ"
            if result.is_bare and result.plans
            else "nothing is judged while Paused"
        )
        return Condition.of("Drifted", "Unknown", "NotJudged", message)
    if not result.outstanding:
        return Condition.of("Drifted", "False", "InSync", "")
    first = ", ".join(_described(item) for item in result.outstanding[:3])
    more = f" and {len(result.outstanding) - 3} more" if len(result.outstanding) > 3 else ""
    return Condition.of("Drifted", "True", "DriftDetected", f"{len(result.outstanding)} deviations: {first}{more}")


def _holds(result: Pass) -> Condition:
    if result.holds is None or result.unknown:
        why = result.unknown or (
            "the spec is refused and no accepted one is known: what is declared is not known"
            if result.is_bare
            else "mode is Paused: nothing is judged"
            if result.tenant.spec.mode == "Paused"
            else "the tenant holds no namespace"
        )
        return reachability.not_judged(why)
    found = reachability.condition(result.holds)
    before = next((c for c in result.tenant.status.conditions if c.type == found.type), None)
    if result.retrying and found.status == "False" and (before is None or before.status != "False"):
        return reachability.not_judged("its objects are being written")
    return found


def _described(finding: Finding) -> str:
    by = f" as the field manager {finding.manager}" if finding.manager else ""
    return f"{finding.reason} {finding.ref}{by}"


def _abnormal(result: Pass) -> list[Condition]:
    """Conditions that are present only while true (kstatus: Reconciling means in progress, Stalled means failed)."""
    found = []
    if result.refusal is not None:
        found.append(Condition.of("Stalled", "True", "InvalidSpec", _refused(result, result.refusal)))
    elif result.tenant.spec.mode != "Paused":
        waiting = any(plan.blocking and plan.passing for plan in result.plans.values())
        blocking = _blocking(result)
        if result.errors or waiting:
            found.append(Condition.of("Reconciling", "True", "Retrying", "; ".join(result.errors or blocking)))
        elif result.altered:
            found.append(Condition.of("Stalled", "True", "AdmissionChanged", _alterations(result)))
        elif blocking:
            found.append(Condition.of("Stalled", "True", "Blocked", "; ".join(blocking)))
    if result.contested:
        lasting = any(contest.lasting for contest in result.contested.values())
        found.append(Condition.of("Contested", "True", "ContestLasts" if lasting else "Contested", _contested(result)))
    return found


def _alterations(result: Pass) -> str:
    return "; ".join(f"{item.ref}: {item.message}" for item in result.altered)


def _refused(result: Pass, refusal: Refusal) -> str:
    """Which field is refused, and what is enforced meanwhile."""
    mode = result.tenant.spec.mode
    if mode == "Paused":
        holds = "mode is Paused: nothing is judged and nothing is corrected"
    elif refusal.kept and mode == "Audit":
        holds = f"what generation {refusal.kept} asked for is what is judged by; mode is Audit: nothing is written"
    elif refusal.kept:
        holds = f"what generation {refusal.kept} asked for is kept in force"
    else:
        closing = "mode is Audit: nothing is written" if mode == "Audit" else "only the default-deny policies are kept"
        holds = f"{closing}; what else stands is left as it is and differences are reported, not corrected"
    others = [*result.errors, _alterations(result), *_blocking(result), _contested(result) if result.contested else ""]
    return "; ".join(part for part in (f"{refusal.problem}: correct it", holds, *others, result.unknown) if part)


def _contested(result: Pass) -> str:
    managers = sorted({contest.manager for contest in result.contested.values()} - {""})
    who = f"the field manager {', '.join(managers)}" if managers else "somebody who is not recorded"
    objects = ", ".join(str(ref) for ref in sorted(result.contested)[:5])
    message = f"{who} keeps changing {objects}; what closes is corrected each time, all else at growing intervals"
    if not any(contest.lasting for contest in result.contested.values()):
        return message
    return (
        f"{message}. It does not end by itself: find the user in the API server's audit log, and take away its right "
        "to write there, or refuse its writes by a ValidatingAdmissionPolicy"
    )


def _namespaces(result: Pass) -> list[NamespaceStatus]:
    """The declared namespaces, and those no longer declared that are still to be released. The recorded UID is that of
    the namespace that this pass judged or created, never of one that has the name by now. Where the tenant does not
    hold the namespace now (Terminating, paused), the UID recorded before is kept."""
    tenant = result.tenant
    uids = {entry.name: entry.uid for entry in tenant.status.namespaces}
    if tenant.spec.mode == "Enforce":
        uids |= {name: uid for name, uid in (*result.owned.items(), *result.held.items()) if uid}
    before = tenant.status.namespaces
    reserved = {entry.name: entry.reserved for entry in before if entry.uid and entry.uid == uids.get(entry.name)}
    drift: dict[str, int] = {}
    for item in result.outstanding:
        place = item.ref.place
        drift[place] = drift.get(place, 0) + 1
    declared = [spec.name for spec in tenant.spec.namespaces]
    going = sorted({ref.place for ref in result.applied} - {"", *declared})
    return [
        NamespaceStatus(
            name=name,
            uid=uids.get(name, ""),
            drift=drift.get(name, 0) if result.is_judged else None,
            reserved=sorted(result.reserved.get(name, reserved.get(name, ()))),
        )
        for name in (*declared, *(name for name in going if uids.get(name)))
    ]


def _drift(result: Pass, now: datetime) -> DriftStatus:
    before = result.tenant.status.drift
    by_control: dict[str, int] = {}
    for item in result.outstanding:
        by_control[item.control] = by_control.get(item.control, 0) + 1
    beyond = [known.digest(item.key) for item in result.outstanding[ITEMS:]]
    return DriftStatus(
        total=len(result.outstanding) if result.is_judged else None,
        by_control=by_control,
        items=[drift_item(item) for item in result.outstanding[:ITEMS]],
        unlisted=known.packed(beyond) if result.plans else known.unlisted(before),
        last_detected=stamp(now) if result.detected else before.last_detected,
        last_corrected=stamp(now) if result.corrected else before.last_corrected,
    )


def drift_item(finding: Finding) -> DriftItem:
    return DriftItem(
        control=finding.control,
        kind=finding.ref.kind.key,
        namespace=finding.ref.namespace,
        name=finding.ref.name,
        reason=finding.reason,
        path=finding.path,
        manager=finding.manager,
    )
