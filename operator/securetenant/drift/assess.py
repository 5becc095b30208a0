"""The assessment of a tenant: every control's plan and every difference from it. Pure: no I/O, no clock.

The reconciler acts on it; `securetenant plan` prints it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from securetenant.api.refused import Refusal
from securetenant.api.status import DriftReason
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan, Within
from securetenant.controls.lookup import writers
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.drift import judge
from securetenant.drift.applied import recorded
from securetenant.drift.judge import Finding, Owner
from securetenant.drift.merge import merged
from securetenant.drift.release import left
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Desired, Observed, Ref
from securetenant.sets.space import Network


@dataclass(frozen=True, slots=True)
class Assessment:
    """`held`: the namespaces that the tenant may write to, each with the UID that was judged ("" if it does not exist);
    `entering`: those among them that are not the tenant's yet, to be created or adopted. `owned`: namespaces that it no
    longer holds but still owns by UID, to be released. `record`: what its status says it applied, as far as that is
    still valid. `wake_at`: when the plans change by themselves (an expiry). `refusal`: why the plans do not follow the
    newest spec."""

    tenant: SecureTenant
    plans: dict[str, Plan]
    desired: Sequence[Desired]
    held: dict[str, str]
    owned: dict[str, str]
    record: frozenset[Ref]
    findings: list[Finding]
    wake_at: datetime | None
    refusal: Refusal | None = None
    entering: frozenset[str] = frozenset()

    @property
    def reserved(self) -> dict[str, Sequence[Network]]:
        """The blocks of addresses that the plans give to the tenant's namespaces, by name."""
        return {name: blocks for plan in self.plans.values() for name, blocks in plan.reserved.items()}

    @property
    def addresses(self) -> dict[str, Within]:
        """Where the addresses of the namespaces' pods must lie, by name."""
        return {name: within for plan in self.plans.values() for name, within in plan.addresses.items()}

    @property
    def is_bare(self) -> bool:
        """Whether the spec is refused and no accepted one is known."""
        return self.refusal is not None and not self.refusal.kept


def assess(
    tenant: SecureTenant,
    world: World,
    now: datetime,
    last: Callable[[Ref], Collection[str]] = lambda ref: (),
    refusal: Refusal | None = None,
    trusts: Callable[[Observed], bool] = lambda have: True,
    controls: tuple[Control, ...] = CONTROLS,
) -> Assessment:
    """Assess a tenant in Enforce or Audit. `last`, `trusts`: as in `judge.Owner`.

    Where the spec is refused and no accepted one is known, only the objects that close whatever the spec says are
    wanted; everything else that was written is compared with its record, reported, and left as it is.
    """
    plans = {control.name: control.plan(tenant, world, now) for control in controls}
    is_bare = refusal is not None and not refusal.kept
    if is_bare:
        plans = {name: _closing(plan, world) for name, plan in plans.items()}
    held = {name: _uid(world, name) for name in ownership.held(tenant, world)}
    carrying = list(marked(tenant, world, controls))
    places = {have.ref.place for _, have in carrying} - held.keys()
    owned = {name: _uid(world, name) for name in places if ownership.owns(tenant, _namespace(world, name))}
    record = frozenset(_record(tenant, world))
    owner = Owner(
        tenant=tenant.name,
        salt=tenant.metadata.uid,
        applied=record.__contains__,
        reconciled=_reconciled(tenant, world),
        last=last,
        trusts=trusts,
        reserved=partial(_reserved, tenant, world),
    )
    desired = _now(merged(w for plan in plans.values() for w in plan.desired if world.serves(w.ref.kind)), world)
    superseded = {ref: how for plan in plans.values() for ref, how in plan.superseded.items()}
    findings = [
        *judge.wanted(owner, desired, partial(_seen, world)),
        *(
            _unlike_records(owner, carrying, world, record, held, {want.ref for want in desired}, writers(controls))
            if is_bare
            else judge.unwanted(owner, carrying, desired, held.__contains__, owned.__contains__, superseded)
        ),
        *(f for plan in plans.values() for f in judge.foreign(plan.foreign)),
    ]
    findings = [left(finding, tenant, controls) for finding in findings]
    wakes = [plan.wake_at for plan in plans.values() if plan.wake_at is not None]
    entering = frozenset(name for name in held if not ownership.owns(tenant, _namespace(world, name)))
    wake_at = min(wakes, default=None)
    return Assessment(tenant, plans, desired, held, owned, record, findings, wake_at, refusal, entering)


def _now(desired: Sequence[Desired], world: World) -> list[Desired]:
    """What can be wanted now: of a namespace that is not to be created yet, only what it needs before."""
    waiting = {want.ref.name for want in desired if want.waits and _namespace(world, want.ref.name) is None}
    return [want for want in desired if want.ref.place not in waiting or want.ref.kind.prefix]


def _closing(plan: Plan, world: World) -> Plan:
    """The part of a plan that does not depend on the spec: closing objects in existing namespaces, and foreign
    objects."""
    desired = [
        want for want in plan.desired if want.closing and world.get(Ref(NAMESPACE, "", want.ref.namespace)) is not None
    ]
    return Plan(desired=desired, foreign=plan.foreign)


def _unlike_records(
    owner: Owner,
    carrying: Iterable[tuple[str, Observed]],
    world: World,
    record: Collection[Ref],
    held: Collection[str],
    wanted: Collection[Ref],
    control_of: Mapping[Kind, Control],
) -> Iterator[Finding]:
    """Objects that were written and are missing or changed, and objects that have our mark but were never written."""
    for ref in sorted(ref for ref in record if ref not in wanted and ref.kind in control_of and world.serves(ref.kind)):
        have, control = _seen(world, ref), control_of[ref.kind].name
        if have is None:
            if ref.kind.is_shared and not ref.place:
                continue  # a node that was deleted is no loss of this tenant's
            yield _kept(ref, control, "Missing", "was written for this tenant, but is missing")
        elif not _is_doomed(have, world) and not owner.wrote(have):
            yield _kept(ref, control, "Changed", "is not what was last written to it", have)
    for control, have in carrying:
        ref = have.ref
        if ref in wanted or ref in record or (ref.place and ref.namespace not in held):
            continue
        # An object of a pass that was aborted before it recorded it, or one with a copied mark: they look the same.
        is_unfinished = owner.wrote(have) and (not ref.place or not owner.reconciled(ref.namespace))
        if not is_unfinished:
            yield _kept(ref, control, "Stale", "carries this tenant's mark, but was never written", have)


def _kept(ref: Ref, control: str, reason: DriftReason, message: str, have: Observed | None = None) -> Finding:
    message = f"{message}; left as it is while the spec is refused"
    return Finding(ref, control, reason, "Keep", rollout=False, message=message, observed=have)


def marked(
    tenant: SecureTenant, world: World, controls: tuple[Control, ...] = CONTROLS
) -> Iterator[tuple[str, Observed]]:
    """All objects that carry the tenant's mark or that a control says are to be given back, each with the control that
    writes its kind. The contents of a Terminating namespace are left out: they are deleted with it; and what is about a
    namespace that is Terminating or gone: it stays as it is for that time."""
    for kind, control in writers(controls).items():
        # Of a kind that is not served (any more) nothing can be said, and nothing is to be deleted.
        if control.stale is None and world.serves(kind):
            found = world.marked(kind, tenant.name)
            yield from ((control.name, have) for have in found if not _is_doomed(have, world))
    for control in controls:
        if control.stale is not None:
            yield from ((control.name, have) for have in control.stale(tenant, world))


def _seen(world: World, ref: Ref) -> Observed | None:
    """The object as cached; None where its namespace does not exist: after the deletion of a namespace, the caches of
    its contents may lag behind."""
    if ref.namespace and _namespace(world, ref.namespace) is None:
        return None
    return world.get(ref)


def _namespace(world: World, name: str) -> Observed | None:
    return world.get(Ref(NAMESPACE, "", name))


def _uid(world: World, name: str) -> str:
    observed = _namespace(world, name)
    return observed.uid if observed is not None else ""


def _is_doomed(have: Observed, world: World) -> bool:
    """Whether it goes with its namespace; what is about one (`Kind.prefix`) outlives it, and is then no tenant's."""
    if have.ref.kind.prefix:
        namespace = _namespace(world, have.ref.place)
        return namespace is None or namespace.deleting
    namespace = _namespace(world, have.ref.namespace) if have.ref.namespace else None
    return namespace is not None and namespace.deleting


def _record(tenant: SecureTenant, world: World) -> Iterator[Ref]:
    """What the tenant's status says it applied, as far as that is still valid. For a namespace that was recreated
    since, nothing is, neither its contents nor itself; for one that does not exist, only the namespace itself is."""
    reconciled = _reconciled(tenant, world)
    for ref in recorded(tenant.status):
        is_gone = ref.kind is NAMESPACE and _namespace(world, ref.name) is None
        if is_gone or reconciled(ref.place):
            yield ref


def _reserved(tenant: SecureTenant, world: World, ref: Ref) -> Collection[str]:
    """The keys on this very namespace that no spec can set, and that were written for the tenant."""
    uid = _uid(world, ref.name) if ref.kind is NAMESPACE else ""
    return next((entry.reserved for entry in tenant.status.namespaces if uid and entry.uid == uid), ())


def _reconciled(tenant: SecureTenant, world: World) -> Callable[[str], bool]:
    """Whether the status recorded a pass over a namespace, and it is still the same namespace by UID."""
    uids = {entry.name: entry.uid for entry in tenant.status.namespaces if entry.uid}

    def reconciled(namespace: str) -> bool:
        if not namespace:
            return True
        observed = _namespace(world, namespace)
        return observed is not None and uids.get(namespace) == observed.uid

    return reconciled
