"""quota: one ResourceQuota per namespace: its own caps, and its share of the tenant's total.

The total holds at every instant; shares.py has the arithmetic and why it is safe, held.py the condition. Sum and shares
are computed in each pass from the quotas in the cluster; nothing is remembered. Updates of their status requeue the
tenant, so that a move of unused quota (shrink, wait for the status, grow) continues by itself.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypedDict

from msgspec import Raw, Struct

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan, Triggers
from securetenant.controls.quota import held
from securetenant.controls.quota.amounts import UNIT, amount, amounts, mapping, text
from securetenant.controls.quota.held import Places, Sum
from securetenant.controls.quota.shares import Stand, share_out
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, RESOURCE_QUOTA
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Json, Observed, Ref
from securetenant.model.quantity import canonical, parse

NAME: Final = "quota"
HARD: Final = Family(
    "securetenant_quota_hard", "gauge", "The tenant's total quota of a resource, in base units.", ("resource",)
)
USED: Final = Family(
    "securetenant_quota_used", "gauge", "The tenant's usage of a resource, in base units.", ("resource",)
)

_CPU_GRAIN: Final = 10
_BYTES_GRAIN: Final = 2**20 * UNIT
# A new quota is counted within milliseconds to seconds; one of many thousands of new ones, within minutes.
_TO_BE_COUNTED: Final = timedelta(seconds=60)
# Reasons for not being Ready that end without help.
_PASSING: Final = ("Shrinking", "Uncounted")


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a ResourceQuota of ours, by resource: spec.hard, status.hard (in force) and status.used.

    `believed`: whether its spec is as we wrote it. A resource that is missing in `used` has not been counted.
    `assumed`: the namespace does not exist yet, so `used` is assumed to be 0 and was not counted.
    """

    hard: dict[str, int]
    in_force: dict[str, int]
    used: dict[str, int]
    believed: bool
    assumed: bool = False

    def committed(self, resource: str) -> int:
        """The most that the namespace may use."""
        return max(self.hard.get(resource, 0), self.in_force.get(resource, 0), self.used.get(resource, 0))

    def stand(self, resource: str, cap: int | None) -> Stand:
        used, granted = self.used.get(resource), self.hard.get(resource)
        # A grant of 0 without a count is how an adopted namespace starts: it counts as no grant.
        if not self.believed or (used is None and not granted):
            granted = None
        return Stand(granted, self.committed(resource), used, cap, foreign=self.hard.get(resource, 0))

    def waits(self, resource: str) -> bool:
        """Whether the use of this resource is not counted yet."""
        return self.assumed or (resource not in self.used and not self.is_passed_over(resource))

    def is_passed_over(self, resource: str) -> bool:
        """Whether status.hard has the resource but status.used does not. kube-controller-manager writes both at once,
        so it will not count this resource."""
        return self.believed and resource in self.in_force and resource not in self.used

    def is_loose(self, resource: str) -> bool:
        """Whether status.hard limits less than spec.hard, or not at all."""
        have, want = self.in_force.get(resource), self.hard.get(resource)
        return self.believed and bool(self.in_force) and want is not None and (have is None or have > want)


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """The ResourceQuotas of the tenant's namespaces."""
    namespaces = ownership.held(tenant, world)
    caps = _caps(tenant)
    seen = {name: _seen(tenant, name, world) for name in namespaces}
    if not tenant.spec.quota.tenant:
        desired = [_desired(name, caps[name]) for name in namespaces if caps[name]]
        places, wake_at = _places(tenant, {name: seen[name] for name in namespaces if caps[name]}, caps, world, now)
        return Plan(desired=desired, wake_at=wake_at, **_report(tenant, (), places))
    stood = [seen[name] for name in namespaces]
    leaving = [_read(quota, believed=True) for quota in _leaving(tenant, set(namespaces), world)]
    hards = [dict(caps[name]) for name in namespaces]
    sums: list[Sum] = []
    for resource, total_text in tenant.spec.quota.tenant.items():
        limits = [amount(own[resource]) if resource in own else None for own in (caps[name] for name in namespaces)]
        stands = [quota.stand(resource, cap) for quota, cap in zip(stood, limits, strict=True)]
        sums.append(_sum(resource, total_text, stands, leaving))
        total = sums[-1].total - sum(quota.committed(resource) for quota in leaving)
        for hard, share in zip(hards, share_out(total, stands, grain(resource)), strict=True):
            hard[resource] = text(share, total_text)
    places, wake_at = _places(tenant, seen, caps, world, now)
    return Plan(
        desired=[_desired(name, hard) for name, hard in zip(namespaces, hards, strict=True)],
        samples=_samples(sums),
        wake_at=wake_at,
        **_report(tenant, sums, places),
    )


def concerns_caps(old: Observed, new: Observed) -> bool:
    """Whether a change of a quota's status concerns a tenant that only has caps. A change of the use does not; a change
    in whether Kubernetes enforces the quota as its spec says does."""
    lost = bool(_status_hard(old)) and not _status_hard(new)
    return lost or not (_is_settled(old) and _is_settled(new))


def _is_settled(quota: Observed) -> bool:
    """Whether kube-controller-manager has copied a quota's spec to its status and counted every resource in it. True
    for a new quota, which has no status yet."""
    hard, in_force = mapping(mapping(quota.field("spec")).get("hard")), _status_hard(quota)
    used = mapping(mapping(quota.field("status")).get("used"))
    return not in_force or (in_force == hard and hard.keys() <= used.keys())


def _status_hard(quota: Observed) -> Json:
    return mapping(mapping(quota.field("status")).get("hard"))


def _desired(namespace: str, hard: dict[str, str]) -> Desired:
    body: Json = {"spec": {"hard": {resource: hard[resource] for resource in sorted(hard)}}}
    return Desired(_ref(namespace), NAME, body)


def _caps(tenant: SecureTenant) -> dict[str, dict[str, str]]:
    """The caps of each namespace: those for all namespaces, overridden key by key by its own."""
    common = tenant.spec.quota.namespace
    return {
        entry.name: {resource: canonical(text) for resource, text in {**common, **entry.quota}.items()}
        for entry in tenant.spec.namespaces
    }


# --- what the cluster says -------------------------------------------------------------------------------------


def _seen(tenant: SecureTenant, namespace: str, world: World) -> Seen:
    quota = world.get(_ref(namespace))
    if quota is not None:
        return _read(quota, believed=ownership.as_written(tenant, quota))
    if world.get(Ref(NAMESPACE, "", namespace)) is not None:
        return Seen({}, {}, {}, believed=False)
    # A namespace that we are about to create uses nothing, so its share need not wait for a count.
    return Seen({}, {}, dict.fromkeys(tenant.spec.quota.tenant, 0), believed=False, assumed=True)


def _read(quota: Observed, *, believed: bool) -> Seen:
    spec, status = mapping(quota.field("spec")), mapping(quota.field("status"))
    used = amounts(status.get("used"))
    if not believed and (spec.get("scopes") or spec.get("scopeSelector")):
        used = {}  # it counts only a part of what runs
    return Seen(amounts(spec.get("hard")), amounts(status.get("hard")), used, believed)


def _leaving(tenant: SecureTenant, held: Collection[str], world: World) -> Iterable[Observed]:
    """Our quotas in namespaces that the tenant may no longer write to (removed from the spec, or Terminating): what
    runs there still counts against the total. The mark alone is no proof: a copied one would use up the total."""
    declared = [entry.name for entry in tenant.spec.namespaces]
    recorded = [entry.name for entry in tenant.status.namespaces]
    found = {quota.ref: quota for quota in world.marked(RESOURCE_QUOTA, tenant.name)}
    for name in (*declared, *recorded):
        quota = world.get(_ref(name)) if name not in held else None
        if quota is not None and quota.tenant in ("", tenant.name):
            found[quota.ref] = quota
    return [
        quota
        for ref, quota in found.items()
        if ref.namespace not in held
        and ref.name == names.CHILD_PREFIX
        and ownership.owns(tenant, world.get(Ref(NAMESPACE, "", ref.namespace)))
    ]


def grain(resource: str) -> int:
    """The smallest amount of a resource worth moving, in thousandths: 10m of CPU, 1Mi of memory or storage, one of
    everything else."""
    last = resource.rsplit("/", 1)[-1].removeprefix("requests.").removeprefix("limits.")
    if resource.startswith("count/"):
        return UNIT
    if last == "cpu":
        return _CPU_GRAIN
    if last in ("memory", "storage", "ephemeral-storage") or last.startswith("hugepages-"):
        return _BYTES_GRAIN
    return UNIT


# --- what is reported --------------------------------------------------------------------------------------------


def _sum(resource: str, total: str, stands: Sequence[Stand], leaving: Sequence[Seen]) -> Sum:
    return Sum(
        resource,
        total,
        total=amount(total),
        used=sum(stand.used or 0 for stand in stands) + sum(quota.used.get(resource, 0) for quota in leaving),
        committed=sum(stand.in_force for stand in stands) + sum(quota.committed(resource) for quota in leaving),
    )


def _samples(sums: Iterable[Sum]) -> Samples:
    # Both metrics share the label tuples, which are kept for each tenant.
    sums_of = {(one.resource,): one for one in sums}
    return {
        HARD.name: {labels: float(parse(canonical(one.text))) for labels, one in sums_of.items()},
        USED.name: {labels: float(parse(text(one.used, one.text))) for labels, one in sums_of.items()},
    }


def _places(
    tenant: SecureTenant, seen: dict[str, Seen], caps: dict[str, dict[str, str]], world: World, now: datetime
) -> tuple[Places, datetime | None]:
    """Where Kubernetes does not (yet) enforce what the quotas ask for, and when to check again those that are too new
    to block.

    A tenant's total is Held only once all of it is counted. Caps of a single namespace do not wait for the count, since
    they depend on no other namespace; but if they are not counted after a minute, that is reported.
    """
    total = tenant.spec.quota.tenant
    waiting, late, never, loose, soon = set(), set(), set(), set(), []
    for name, quota in seen.items():
        never |= {(resource, name) for resource in (*total, *caps[name]) if quota.is_passed_over(resource)}
        loose |= {(resource, name) for resource in caps[name] if resource not in total and quota.is_loose(resource)}
        missing = [resource for resource in total if quota.waits(resource)]
        if not missing and (total or not quota.hard or quota.in_force):
            continue
        due = now + _TO_BE_COUNTED if quota.assumed else _due(world.get(_ref(name)))
        is_new = due is not None and due > now and (quota.assumed or all(quota.hard.get(r) for r in missing))
        if is_new and due is not None:
            soon.append(due)
        else:
            late.add(name)
        if missing or not is_new:
            waiting.add(name)
    places = Places(frozenset(waiting), frozenset(late), frozenset(never), frozenset(loose))
    return places, min(soon, default=None)


def _ref(namespace: str) -> Ref:
    return Ref(RESOURCE_QUOTA, namespace, names.CHILD_PREFIX)


def _due(quota: Observed | None) -> datetime | None:
    """When the quota should be counted at the latest; None if its creation time is unknown."""
    try:
        return datetime.fromisoformat(quota.created) + _TO_BE_COUNTED if quota is not None else None
    except ValueError:
        return None


def _report(tenant: SecureTenant, sums: Sequence[Sum], places: Places) -> "_Report":
    condition = held.condition(sums, places)
    if condition is None:
        return {"conditions": (), "blocking": (), "passing": False}
    is_new = condition.reason == "Uncounted" and not places.late
    is_in_order = condition.status == "True" or is_new or _is_to_be_expected(tenant, condition)
    return {
        "conditions": (condition,),
        "blocking": () if is_in_order else (condition.message,),
        "passing": condition.reason in _PASSING,
    }


class _Report(TypedDict):
    conditions: Sequence[Condition]
    blocking: Sequence[str]
    passing: bool


def _is_to_be_expected(tenant: SecureTenant, condition: Condition) -> bool:
    """In Audit no quota is written, so nothing is counted."""
    return tenant.spec.mode == "Audit" and condition.reason == "Uncounted"


# --- which events concern whom


class _Section(Struct):
    tenant: dict[str, Raw] = {}


def _listens(namespaces: Sequence[str], section: _Section) -> list[str]:
    """The tokens of a tenant with a total: every change of use in its namespaces concerns it."""
    return [f"usage:{namespace}" for namespace in namespaces] if section.tenant else []


def _changed(new: Observed, old: Observed | None) -> Iterator[str]:
    """The tokens of a changed quota. A tenant that only has caps is concerned only if Kubernetes starts or stops
    enforcing the quota as its spec says."""
    yield f"usage:{new.ref.namespace}"
    if old is not None and new.ref.name == names.CHILD_PREFIX and concerns_caps(old, new):
        yield f"ns:{new.ref.namespace}"


CONTROL: Final = Control(
    name=NAME,
    plan=plan,
    kinds=(RESOURCE_QUOTA,),
    triggers=Triggers("quota", _Section, _listens, {RESOURCE_QUOTA: _changed}),
    tampered=held.tampered,
    families=(HARD, USED),
    cause="quota usage",
)
