"""What the inspection says of a tenant: its part of the status, the condition Compliant, metrics.

What was not judged by the rules as they are now is unknown: no outcome is kept from other rules, and none is taken from
the absence of objects that nobody looked for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from securetenant.api.status import Condition, NamespacePosture, PostureItem, PostureStatus, SecureTenantStatus, stamp
from securetenant.controls.registry import CHECKS
from securetenant.model.metrics import Family, Labels, Samples
from securetenant.posture import addresses
from securetenant.posture.rules import INSPECTED, Rules, judged_by

OUTCOMES: Final = ("pass", "fail", "unknown", "exempted")
_NAMED: Final = 3  # how many checks a message names

POSTURE: Final = Family(
    "securetenant_posture_checks",
    "gauge",
    "Checks of what runs, each counted in each namespace, by control and outcome.",
    # No zeros: a tenant that is not judged has no series, for a 0 among the failed would look like compliance.
    ("control", "outcome"),
)
_ZEROS: Final[Mapping[Labels, float]] = {
    (one.control, outcome): 0 for one in CHECKS if one.checks for outcome in OUTCOMES
}
_SUBNETS: Final[Mapping[Labels, float]] = {(addresses.CONTROL, outcome): 0 for outcome in OUTCOMES}
JUDGED: Final = Family(
    "securetenant_posture_judged_timestamp_seconds",
    "gauge",
    "Since when every namespace of the tenant has been judged; absent while one was not.",
)
FAMILIES: Final = (POSTURE, JUDGED)


def told(
    rules: Sequence[Rules],
    declared: Iterable[str],
    rows: Mapping[str, NamespacePosture],
    items: Sequence[PostureItem],
) -> PostureStatus:
    """The status. `rules`: those of the namespaces that the tenant holds; `declared`: all that it names; `rows`: what
    was found last, and the first `items` of it."""
    held = {one.namespace: one for one in rules}
    made = [_row(name, held.get(name), rows.get(name)) for name in declared]
    counts = Counter(outcome for row in made for _, _, outcome in outcomes(row))
    is_current = {row.name for row in made if row.judged}
    times = [row.judged for row in made if row.judged and not row.unjudged]
    return PostureStatus(
        passed=counts["pass"],
        failed=counts["fail"],
        unknown=counts["unknown"],
        exempted=counts["exempted"],
        judged=min(times) if times and len(times) == len(made) else None,
        findings=sum(row.findings for row in made),
        items=[item for item in items if item.namespace in is_current],
        namespaces=made,
    )


def _row(name: str, rules: Rules | None, row: NamespacePosture | None) -> NamespacePosture:
    if rules is None:
        return _unjudged(name, "the namespace does not exist, is not the tenant's, or is Terminating")
    if not rules.uid:
        return _unjudged(name, "the namespace does not exist", rules.subnets)
    if row is None or row.rules != rules.digest:
        return _unjudged(name, "not judged yet by the rules as they are now", rules.subnets)
    return row


def _unjudged(name: str, why: str, subnets: Sequence[str] = ()) -> NamespacePosture:
    unjudged = [target.name for target in INSPECTED]
    return NamespacePosture(name=name, unjudged=unjudged, subnets=list(subnets), message=why)


def failed_row(rules: Rules, why: str, judged: datetime) -> NamespacePosture:
    """The outcome where the inspection of a namespace was ended by a defect."""
    update = {"rules": rules.digest, "judged": stamp(judged)}
    return _unjudged(rules.namespace, why, rules.subnets).model_copy(update=update)


def outcomes(row: NamespacePosture) -> Iterator[tuple[str, str, str]]:
    """Control, ID and outcome of every check there is, in one namespace."""
    failed, unknown, exempted = set(row.failed), set(row.unknown), set(row.exempted)
    for name, control, targets in judged_by(row.subnets):
        if name in failed:
            outcome = "fail"
        elif name in unknown or not targets.isdisjoint(row.unjudged):
            outcome = "unknown"
        else:
            outcome = "exempted" if name in exempted else "pass"
        yield control, name, outcome


def condition(posture: PostureStatus) -> Condition:
    """Compliant."""
    total = posture.passed + posture.failed + posture.unknown + posture.exempted
    since = f"; judged {posture.judged} or later" if posture.judged else ""
    if posture.failed:
        failed = [f"{name} in {row.name}" for row in posture.namespaces for name in row.failed]
        unknown = f", {posture.unknown} are unknown" if posture.unknown else ""
        outside = [f"{row.name}: {row.message}" for row in posture.namespaces if row.outside]
        restart = f"; {_some(outside)}" if outside else ""
        message = f"{posture.failed} of {total} checks fail{unknown}: {_some(failed)}{restart}{since}"
        return Condition.of("Compliant", "False", "ChecksFail", message)
    if posture.unknown or not total:
        why = [f"{row.name}: {row.message}" for row in posture.namespaces if row.unjudged or row.unknown]
        message = f"{posture.unknown} of {total} checks are unknown: {_some(why) or 'there is no namespace'}{since}"
        return Condition.of("Compliant", "Unknown", "NotJudged", message)
    exempted = f", {posture.exempted} by an exemption" if posture.exempted else ""
    return Condition.of("Compliant", "True", "ChecksPass", f"{total} checks are kept{exempted}{since}")


def unjudged(why: str) -> Condition:
    """Compliant where nothing is judged at all."""
    return Condition.of("Compliant", "Unknown", "NotJudged", why)


def newly_failing(before: PostureStatus | None, now: PostureStatus | None) -> list[str]:
    """The checks that fail and did not when they were judged last, as "runtime/privileged in payments-prod"."""
    failed = {(row.name, name) for row in (before.namespaces if before else ()) for name in row.failed}
    return [
        f"{name} in {row.name}"
        for row in (now.namespaces if now else ())
        for name in row.failed
        if (row.name, name) not in failed
    ]


def samples(status: SecureTenantStatus) -> Samples:
    """Of `FAMILIES`."""
    posture = status.posture
    if posture is None:
        return {}
    counts: Counter[Labels] = Counter(
        (control, outcome) for row in posture.namespaces for control, _, outcome in outcomes(row)
    )
    zeros = {**_ZEROS, **_SUBNETS} if any(row.subnets for row in posture.namespaces) else _ZEROS
    found: dict[str, Mapping[Labels, float]] = {POSTURE.name: {**zeros, **counts}}
    if posture.judged:
        found[JUDGED.name] = {(): _seconds(posture.judged)}
    return found


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
