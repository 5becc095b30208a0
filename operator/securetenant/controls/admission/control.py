"""How the API server treats the tenant's workloads: the label that the bindings select by, the exemptions, which locks
are off; and whether all of it is in force.

The policies and their bindings ship with the operator (manifests/admission) and are never written by it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import EXEMPTIBLE
from securetenant.checks.check import CheckSet, encoded
from securetenant.checks.policies import ADMISSION
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls import ownership, thresholds
from securetenant.controls.admission import exemptions, notices, probes
from securetenant.controls.admission.locks import LOCKS
from securetenant.controls.admission.ready import verdict
from securetenant.controls.admission.shipped import KINDS, Shipped, shipped
from securetenant.controls.admission.standing import Comparison
from securetenant.controls.control import Control, Plan, Probe
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.metrics import Family, Labels, Samples
from securetenant.model.objects import Desired, Observed, Ref

NAME: Final = "admission"

ACTIVE: Final = Family(
    "securetenant_exemptions_active",
    "gauge",
    "Declared exemptions that have not ended, by the control whose check they suspend.",
    ("control",),
    zeros=tuple((control,) for control in EXEMPTIBLE),
)
EXPIRY: Final = Family(
    "securetenant_exemptions_expiry_timestamp_seconds", "gauge", "The next end of an exemption; absent without any."
)


def control(sets: Sequence[CheckSet], written: Callable[[SecureTenant, World], SecureTenant]) -> Control:
    """The control, with the checks of all others. `written`: the tenant whose parameters the others write, without what
    another tenant holds."""
    ships = shipped(sets)
    comparison = Comparison(ships)

    def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
        return _plan(tenant, world, now, sets, ships, comparison, written)

    def concerns(new: Observed, old: Observed | None) -> bool:
        return new.ref.kind in KINDS and (old is None or not comparison.is_alike(new, old))

    return Control(
        NAME,
        plan,
        (NAMESPACE,),
        looks_at=KINDS,
        only=_names(ships),
        rereads=True,
        cluster=comparison.cluster(),
        probe=Probe(
            trials=lambda world: probes.trials(world, ships),
            concerns=concerns,
            settled=lambda world: probes.settled(world, NAME, ships, comparison),
        ),
        shipped=lambda: [one.observed() for one in ships],
        families=(ACTIVE, EXPIRY),
        figures=figures,
        warnings=notices.warnings,
        rollout=notices.rollout,
        ending=notices.ending,
        review=notices.review,
    )


def _names(ships: Sequence[Shipped]) -> Mapping[Kind, Collection[str]]:
    """By kind the names of ours. Not by a label: somebody could take it off, and the object would go unseen."""
    return {kind: frozenset(one.ref.name for one in ships if one.ref.kind is kind) for kind in KINDS}


def _plan(
    tenant: SecureTenant,
    world: World,
    now: datetime,
    sets: Sequence[CheckSet],
    ships: Sequence[Shipped],
    comparison: Comparison,
    written: Callable[[SecureTenant, World], SecureTenant],
) -> Plan:
    held = ownership.held(tenant, world)
    current, soon = exemptions.current(tenant, now), world.platform.expires_soon
    ends = [one.expires for one in current]
    wakes = [*ends, *([warning] if (warning := thresholds.next_warning(ends, soon, now)) else [])]
    desired = [
        Desired(
            Ref(NAMESPACE, "", namespace),
            NAME,
            labels={ADMISSION: tenant.spec.admission},
            annotations={
                EXEMPTIONS: exemptions.encoded(one for one in current if one.namespace == namespace),
                LOCKS.annotation: encoded(LOCKS, tenant, namespace),
            },
        )
        for namespace in held
    ]
    made = Plan(
        desired=desired,
        wake_at=min(wakes, default=None),
        status={"exemptions": exemptions.told(tenant, held, soon, now)} if tenant.spec.exemptions else {},
    )
    if tenant.spec.mode == "Audit":
        # Nothing is written, and so nothing of the tenant's is judged at admission.
        return made
    declared = written(tenant, world)
    read = [*desired, *(want for each in sets if each.parameters for want in on_namespaces(each, declared, held))]
    found = verdict(tenant, world, NAME, read, ships, comparison)
    if found is None:
        return made
    return replace(
        made,
        conditions=[found.condition],
        blocking=[found.message] if found.status != "True" else [],
        passing=found.passing,
    )


def figures(status: SecureTenantStatus) -> Samples:
    told = status.exemptions
    if told is None:
        return {}
    counts: dict[Labels, float] = {(control,): count for control, count in told.by_control.items()}
    ends = told.next_expiry
    return {ACTIVE.name: counts, **({EXPIRY.name: {(): ends.timestamp()}} if ends is not None else {})}
