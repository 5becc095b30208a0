"""What one look at a tenant finds: every control's plan, and every difference. Pure: no I/O, no clock.

The reconciler acts on it; `securetenant plan` prints it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from securetenant.api.kinds import NAMESPACE, NODE
from securetenant.api.objects import Desired, Observed, Ref
from securetenant.api.tenant import SecureTenant
from securetenant.controls import claims, nodes
from securetenant.controls.plan import Plan, World
from securetenant.controls.registry import CONTROLS
from securetenant.drift import judge
from securetenant.drift.judge import Finding, Owner
from securetenant.engine.status import recorded


@dataclass(frozen=True, slots=True)
class Survey:
    """`held`: the namespaces that the tenant may write to. `record`: what its status says it applied, and still
    holds true. `wake_at`: when the plans change by themselves."""

    tenant: SecureTenant
    plans: dict[str, Plan]
    held: frozenset[str]
    record: frozenset[Ref]
    findings: list[Finding]
    wake_at: datetime | None

    @property
    def desired(self) -> Iterator[Desired]:
        return (want for plan in self.plans.values() for want in plan.desired)


def survey(
    tenant: SecureTenant, world: World, now: datetime, last: Callable[[Ref], Collection[str]] = lambda ref: ()
) -> Survey:
    """Look at a tenant in Enforce or Audit. `last`: as in `judge.Owner`."""
    plans = {control.name: control.plan(tenant, world, now) for control in CONTROLS}
    held = frozenset(claims.held(tenant, world))
    record = frozenset(_record(tenant, world))
    owner = Owner(
        tenant=tenant.name,
        salt=tenant.metadata.uid,
        applied=record.__contains__,
        settled=_settled(tenant, world),
        last=last,
    )
    desired = [want for plan in plans.values() for want in plan.desired]
    superseded = {ref: how for plan in plans.values() for ref, how in plan.superseded.items()}
    findings = [
        *judge.wanted(owner, desired, partial(_seen, world)),
        *judge.unwanted(owner, marked(tenant, world), desired, held.__contains__, superseded),
        *(f for plan in plans.values() for f in judge.foreign(plan.foreign)),
    ]
    wakes = [plan.wake_at for plan in plans.values() if plan.wake_at is not None]
    return Survey(tenant, plans, held, record, findings, min(wakes, default=None))


def marked(tenant: SecureTenant, world: World) -> Iterator[tuple[str, Observed]]:
    """All that carries the tenant's mark, nodes that it no longer selects included, each with the control whose kind
    it is. What a Terminating namespace takes with it is left alone."""
    for control in CONTROLS:
        for kind in control.kinds:
            if kind != NODE.name:
                found = world.marked(kind, tenant.name)
                yield from ((control.name, have) for have in found if not _is_doomed(have, world))
    yield from ((nodes.NAME, node) for node in nodes.given_back(tenant, world))


def _seen(world: World, ref: Ref) -> Observed | None:
    """What is in no namespace is not there: of one that was deleted and is to be made anew, the caches of its
    contents may not have heard yet."""
    if ref.namespace and world.get(Ref(NAMESPACE.name, "", ref.namespace)) is None:
        return None
    return world.get(ref)


def _is_doomed(have: Observed, world: World) -> bool:
    namespace = world.get(Ref(NAMESPACE.name, "", have.ref.namespace)) if have.ref.namespace else None
    return namespace is not None and namespace.deleting


def _record(tenant: SecureTenant, world: World) -> Iterator[Ref]:
    """What the tenant's status says it applied. Of a namespace that was made anew since, nothing holds."""
    settled = _settled(tenant, world)
    return (ref for ref in recorded(tenant.status) if settled(ref.namespace))


def _settled(tenant: SecureTenant, world: World) -> Callable[[str], bool]:
    """Whether a pass over a namespace was finished and recorded, and it is still the same namespace."""
    uids = {entry.name: entry.uid for entry in tenant.status.namespaces if entry.uid}

    def settled(namespace: str) -> bool:
        if not namespace:
            return True
        observed = world.get(Ref(NAMESPACE.name, "", namespace))
        return observed is not None and uids.get(namespace) == observed.uid

    return settled
