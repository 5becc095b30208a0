"""quota: one ResourceQuota per namespace: its own caps, and its share of the tenant's total.

The total holds at every instant; headroom.py has the arithmetic and why it is safe. Sum and shares are worked out
anew in each pass from what the quotas in the cluster say; nothing is remembered. Their status updates wake the
tenant, so that a move of headroom (shrink, wait for the status, grow) goes on by itself.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from typing import Final

from securetenant.api import names
from securetenant.api.kinds import NAMESPACE, RESOURCE_QUOTA
from securetenant.api.objects import Desired, Json, JsonValue, Observed, Ref
from securetenant.api.quantity import LIMIT, canonical, from_units, parse
from securetenant.api.record import is_recorded
from securetenant.api.status import Condition, QuotaUse
from securetenant.api.tenant import SecureTenant
from securetenant.controls import claims
from securetenant.controls.headroom import Stand, share_out
from securetenant.controls.plan import Control, Plan, World

NAME: Final = "quota"
CONDITION: Final = "QuotaHeld"

_UNIT: Final = 1000  # amounts are in thousandths, the finest that a ResourceQuota holds
_CPU_GRAIN: Final = 10
_BYTES_GRAIN: Final = 2**20 * _UNIT


@dataclass(frozen=True, slots=True)
class Seen:
    """What a ResourceQuota of ours says, by resource: spec.hard, status.hard (in force) and status.used.

    `believed`: its spec is as we wrote it. A resource that is missing in `used` has not been counted."""

    hard: dict[str, int]
    in_force: dict[str, int]
    used: dict[str, int]
    believed: bool

    def committed(self, resource: str) -> int:
        """The most that the namespace may come to use as things stand."""
        return max(self.hard.get(resource, 0), self.in_force.get(resource, 0), self.used.get(resource, 0))

    def stand(self, resource: str, cap: int | None) -> Stand:
        used, granted = self.used.get(resource), self.hard.get(resource)
        # A grant of nothing that nobody has counted against is where an adopted namespace starts.
        if not self.believed or (used is None and not granted):
            granted = None
        return Stand(granted, self.committed(resource), used, cap)


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """The ResourceQuotas of the tenant's namespaces."""
    namespaces = claims.held(tenant, world)
    caps = _caps(tenant)
    if not tenant.spec.quota.tenant:
        return Plan(desired=[_desired(name, caps[name]) for name in namespaces if caps[name]])
    seen = [_seen(tenant, name, world) for name in namespaces]
    leaving = [_read(quota, believed=True) for quota in _leaving(tenant, set(namespaces), world)]
    hards = [dict(caps[name]) for name in namespaces]
    sums: list[Sum] = []
    for resource, text in tenant.spec.quota.tenant.items():
        limits = [_amount(own[resource]) if resource in own else None for own in (caps[name] for name in namespaces)]
        stands = [quota.stand(resource, cap) for quota, cap in zip(seen, limits, strict=True)]
        sums.append(_sum(resource, text, stands, leaving))
        total = sums[-1].total - sum(quota.committed(resource) for quota in leaving)
        for hard, share in zip(hards, share_out(total, stands, grain(resource)), strict=True):
            hard[resource] = _text(share, text)
    condition = _condition(sums, namespaces)
    return Plan(
        desired=[_desired(name, hard) for name, hard in zip(namespaces, hards, strict=True)],
        conditions=[condition],
        blocking=[] if condition.status == "True" or _is_to_be_expected(tenant, condition) else [condition.message],
        quota={one.resource: QuotaUse(hard=canonical(one.text), used=_text(one.used, one.text)) for one in sums},
    )


def _desired(namespace: str, hard: dict[str, str]) -> Desired:
    body: Json = {"spec": {"hard": {resource: hard[resource] for resource in sorted(hard)}}}
    return Desired(Ref(RESOURCE_QUOTA.name, namespace, names.CHILD_PREFIX), NAME, body)


def _caps(tenant: SecureTenant) -> dict[str, dict[str, str]]:
    """By namespace, the caps of its own: those of all, overridden key by key."""
    common = tenant.spec.quota.namespace
    return {
        entry.name: {resource: canonical(text) for resource, text in {**common, **entry.quota}.items()}
        for entry in tenant.spec.namespaces
    }


# --- what the cluster says -------------------------------------------------------------------------------------


def _seen(tenant: SecureTenant, namespace: str, world: World) -> Seen:
    quota = world.get(Ref(RESOURCE_QUOTA.name, namespace, names.CHILD_PREFIX))
    if quota is not None:
        return _read(quota, believed=is_recorded(quota, tenant.metadata.uid))
    if world.get(Ref(NAMESPACE.name, "", namespace)) is not None:
        return Seen({}, {}, {}, believed=False)
    # A namespace that we are about to make uses nothing: it need not wait until that is counted.
    return Seen({}, {}, dict.fromkeys(tenant.spec.quota.tenant, 0), believed=False)


def _read(quota: Observed, *, believed: bool) -> Seen:
    spec, status = _dict(quota.field("spec")), _dict(quota.field("status"))
    used = _amounts(status.get("used"))
    if not believed and (spec.get("scopes") or spec.get("scopeSelector")):
        used = {}  # counts only a part of what runs
    return Seen(_amounts(spec.get("hard")), _amounts(status.get("hard")), used, believed)


def _leaving(tenant: SecureTenant, held: Collection[str], world: World) -> Iterable[Observed]:
    """Our quotas in namespaces that the tenant may no longer write to (dropped from the spec, Terminating): what
    runs there still uses. A mark is not enough, or a copied one would eat up the tenant's total."""
    declared = [entry.name for entry in tenant.spec.namespaces]
    recorded = [entry.name for entry in tenant.status.namespaces]
    found = {quota.ref: quota for quota in world.marked(RESOURCE_QUOTA.name, tenant.name)}
    for name in (*declared, *recorded):
        quota = world.get(Ref(RESOURCE_QUOTA.name, name, names.CHILD_PREFIX)) if name not in held else None
        if quota is not None and quota.tenant in ("", tenant.name):
            found[quota.ref] = quota
    return [
        quota
        for ref, quota in found.items()
        if ref.namespace not in held
        and ref.name == names.CHILD_PREFIX
        and claims.owns(tenant, world.get(Ref(NAMESPACE.name, "", ref.namespace)))
    ]


def _dict(value: JsonValue) -> Json:
    return value if isinstance(value, dict) else {}


def _amounts(value: JsonValue) -> dict[str, int]:
    return {resource: _seen_amount(text) for resource, text in _dict(value).items() if isinstance(text, str)}


def _seen_amount(text: str) -> int:
    """As `_amount`. What another hand wrote may be past all bounds: then it is as good as no limit."""
    try:
        return _amount(text)
    except ValueError:
        return LIMIT * _UNIT


@lru_cache(maxsize=4096)
def _amount(text: str) -> int:
    """Thousandths of a unit."""
    return int(parse(text) * _UNIT)


def _text(amount: int, like: str) -> str:
    return from_units(Fraction(min(amount, LIMIT * _UNIT), _UNIT), like)


def grain(resource: str) -> int:
    """The smallest part of a resource worth moving, in thousandths: 10m of CPU, 1Mi of memory or storage, one of
    anything that is counted."""
    last = resource.rsplit("/", 1)[-1].removeprefix("requests.").removeprefix("limits.")
    if resource.startswith("count/"):
        return _UNIT
    if last == "cpu":
        return _CPU_GRAIN
    if last in ("memory", "storage", "ephemeral-storage") or last.startswith("hugepages-"):
        return _BYTES_GRAIN
    return _UNIT


# --- what there is to say --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sum:
    """The tenant's sum of one resource, in thousandths."""

    resource: str
    text: str  # the total as the spec has it
    total: int
    used: int
    committed: int
    uncounted: tuple[int, ...]  # positions of the namespaces whose use nobody knows


def _sum(resource: str, text: str, stands: Sequence[Stand], leaving: Sequence[Seen]) -> Sum:
    return Sum(
        resource,
        text,
        total=_amount(text),
        used=sum(stand.used or 0 for stand in stands) + sum(quota.used.get(resource, 0) for quota in leaving),
        committed=sum(stand.in_force for stand in stands) + sum(quota.committed(resource) for quota in leaving),
        uncounted=tuple(i for i, stand in enumerate(stands) if stand.uncounted),
    )


def _is_to_be_expected(tenant: SecureTenant, condition: Condition) -> bool:
    """In Audit no quota is written, so nothing is counted."""
    return tenant.spec.mode == "Audit" and condition.reason == "Uncounted"


def _condition(sums: Sequence[Sum], namespaces: Sequence[str]) -> Condition:
    """Whether the total is kept: the sum of what is used, or may come to be used, against it."""
    over = [f"{s.resource} {_text(s.used, s.text)} of {canonical(s.text)}" for s in sums if s.used > s.total]
    if over:
        message = (
            f"More is used than spec.quota.tenant allows: {', '.join(over)}. Nothing is evicted and nothing more is "
            "admitted: scale down or raise the total."
        )
        return Condition(type=CONDITION, status="False", reason="OverCommitted", message=message)
    above = [f"{s.resource} {_text(s.committed, s.text)} of {canonical(s.text)}" for s in sums if s.committed > s.total]
    if above:
        message = (
            "Namespaces may still take more than spec.quota.tenant allows, until shrunk quotas take effect: "
            f"{', '.join(above)}."
        )
        return Condition(type=CONDITION, status="False", reason="Shrinking", message=message)
    uncounted = sorted({namespaces[i] for s in sums for i in s.uncounted})
    if uncounted:
        message = f"Waiting for kube-controller-manager to count what is used in: {', '.join(uncounted)}."
        return Condition(type=CONDITION, status="Unknown", reason="Uncounted", message=message)
    return Condition(type=CONDITION, status="True", reason="Held", message="The sum over all namespaces is kept.")


CONTROL: Final = Control(name=NAME, plan=plan, kinds=(RESOURCE_QUOTA.name,))
