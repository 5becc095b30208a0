"""The condition QuotaHeld: whether Kubernetes actually enforces spec.quota."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from securetenant.api.status import Condition
from securetenant.controls.control import Plan
from securetenant.controls.quota.amounts import text
from securetenant.model.quantity import canonical

CONDITION: Final = "QuotaHeld"
_NAMED: Final = 5  # how many places a message names


@dataclass(frozen=True, slots=True)
class Sum:
    """The tenant's sum of one resource, in thousandths."""

    resource: str
    text: str  # the total as in the spec
    total: int
    used: int
    committed: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where Kubernetes does not (yet) enforce what a quota asks for.

    `waiting`: namespaces whose use is not counted yet; `late`: where it should have been counted by now. `never`:
    (resource, namespace) that were left out when the rest was counted. `loose`: (resource, namespace) where status.hard
    allows more than spec.hard.
    """

    waiting: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    never: frozenset[tuple[str, str]] = frozenset()
    loose: frozenset[tuple[str, str]] = frozenset()


def condition(sums: Sequence[Sum], places: Places) -> Condition | None:
    """The condition: the first reason that applies, with the messages of all that apply. None if the tenant has no
    total and everything is in order."""
    found = [each for each in (_over(sums), _above(sums), _loose(places), _never(places), _waiting(places)) if each]
    if found:
        return found[0].model_copy(update={"message": " ".join(each.message for each in found)})
    if not sums:
        return None
    return Condition.of(CONDITION, "True", "Held", "The total over all namespaces is kept.")


def tampered(plan: Plan, told: Sequence[str]) -> Plan:
    """The plan, where others changed the status of quotas. `told`: a text for each change."""
    message = (
        f"Kubernetes admits by status.hard of a ResourceQuota, and others changed it: {_listed(told)}. "
        "Until this is corrected, more than spec.quota allows may be admitted, or may have been admitted already."
    )
    before = " ".join(c.message for c in plan.conditions if c.type == CONDITION and c.status != "True")
    changed = Condition.of(CONDITION, "False", "StatusChanged", f"{message} {before}" if before else message)
    others = [c for c in plan.conditions if c.type != CONDITION]
    return replace(plan, conditions=[*others, changed], blocking=[*plan.blocking, message], passing=True)


def _over(sums: Sequence[Sum]) -> Condition | None:
    over = [s for s in sums if s.used > s.total]
    if not over:
        return None
    much = ", ".join(f"{s.resource} {text(s.used, s.text)} of {canonical(s.text)}" for s in over)
    room = [f"{s.resource} {text(s.committed - s.used, s.text)}" for s in over if s.committed > s.used]
    more = f"until shrunk quotas take effect, as much more may be admitted: {', '.join(room)}"
    message = (
        f"More is used than spec.quota.tenant allows: {much}. Nothing is evicted; "
        f"{more if room else 'nothing more is admitted'}. Scale down or raise the total."
    )
    return Condition.of(CONDITION, "False", "OverCommitted", message)


def _above(sums: Sequence[Sum]) -> Condition | None:
    above = [
        f"{s.resource} {text(s.committed, s.text)} of {canonical(s.text)}"
        for s in sums
        if s.committed > s.total >= s.used
    ]
    if not above:
        return None
    message = (
        "Namespaces may still take more than spec.quota.tenant allows, until shrunk quotas take effect: "
        f"{', '.join(above)}."
    )
    return Condition.of(CONDITION, "False", "Shrinking", message)


def _loose(places: Places) -> Condition | None:
    if not places.loose:
        return None
    message = (
        "Namespaces may still take more than their quota says, until kube-controller-manager puts it in force: "
        f"{_listed(_pairs(places.loose))}."
    )
    return Condition.of(CONDITION, "False", "Shrinking", message)


def _never(places: Places) -> Condition | None:
    if not places.never:
        return None
    message = (
        f"Kubernetes does not count, and so does not limit: {_listed(_pairs(places.never))}. Correct the name, install "
        "what serves that kind (it is counted some minutes later), or remove it from spec.quota."
    )
    return Condition.of(CONDITION, "False", "NotCounted", message)


def _waiting(places: Places) -> Condition | None:
    if not places.waiting:
        return None
    message = f"Waiting for kube-controller-manager to count what is used in: {', '.join(sorted(places.waiting))}."
    return Condition.of(CONDITION, "Unknown", "Uncounted", message)


def _pairs(found: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{resource} in {namespace}" for resource, namespace in sorted(found)]


def _listed(told: Sequence[str]) -> str:
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f"{', '.join(told[:_NAMED])}{more}"
