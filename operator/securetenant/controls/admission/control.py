"""How the API server treats the tenant's workloads: the label that the bindings select by, the exemptions, which locks
are off; and whether all of it is in force.

The policies and their bindings ship with the operator (manifests/admission) and are never written by it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import Exemption
from securetenant.checks.check import FORMAT, CheckSet, encoded
from securetenant.checks.policies import ADMISSION
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls import ownership
from securetenant.controls.admission import probes
from securetenant.controls.admission.lock import LOCKS
from securetenant.controls.admission.ready import verdict
from securetenant.controls.admission.shipped import KINDS, Shipped, shipped
from securetenant.controls.admission.standing import Comparison
from securetenant.controls.control import Control, Plan, Probe
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Desired, Observed, Ref

NAME: Final = "admission"


def control(sets: Sequence[CheckSet]) -> Control:
    """The control, with the checks of all others."""
    ships = shipped(sets)
    comparison = Comparison(ships)

    def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
        return _plan(tenant, world, now, sets, ships, comparison)

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
) -> Plan:
    current = [one for one in tenant.spec.exemptions if one.expires > now]
    held = ownership.held(tenant, world)
    desired = [
        Desired(
            Ref(NAMESPACE, "", namespace),
            NAME,
            labels={ADMISSION: tenant.spec.admission},
            annotations={
                EXEMPTIONS: _encoded(one for one in current if one.namespace == namespace),
                LOCKS.annotation: encoded(LOCKS, tenant.spec, namespace),
            },
        )
        for namespace in held
    ]
    wake_at = min((one.expires for one in current), default=None)
    if tenant.spec.mode == "Audit":
        # Nothing is written, and so nothing of the tenant's is judged at admission.
        return Plan(desired=desired, wake_at=wake_at)
    read = [*desired, *(want for each in sets for want in on_namespaces(each, tenant, held))]
    found = verdict(tenant, world, NAME, read, ships, comparison)
    return Plan(
        desired=desired,
        conditions=[found.condition] if found is not None else [],
        blocking=[found.message] if found is not None and found.status != "True" else [],
        passing=found is not None and found.passing,
        wake_at=wake_at,
    )


def _encoded(exemptions: Iterator[Exemption]) -> str:
    """As `checks.variables` reads it: "v1;runtime/hostPorts|2027-01-01T00:00:00Z|app=web,tier=x"."""
    return ";".join([FORMAT, *map(_entry, exemptions)])


def _entry(exemption: Exemption) -> str:
    until = exemption.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = ",".join(f"{key}={value}" for key, value in sorted(exemption.pods.items()))
    return f"{exemption.control}/{exemption.check}|{until}|{labels}"
