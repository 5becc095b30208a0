"""How the API server treats the tenant's workloads: the label that the bindings select by, the exemptions, and
which locks are off.

The policies and their bindings ship with the operator (manifests/admission) and are never written by it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import Exemption
from securetenant.checks.check import FORMAT, encoded
from securetenant.checks.policies import ADMISSION
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls import ownership
from securetenant.controls.admission.lock import LOCKS
from securetenant.controls.control import Control, Plan
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref

NAME: Final = "admission"


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    current = [one for one in tenant.spec.exemptions if one.expires > now]
    return Plan(
        desired=[
            Desired(
                Ref(NAMESPACE, "", namespace),
                NAME,
                labels={ADMISSION: tenant.spec.admission},
                annotations={
                    EXEMPTIONS: _encoded(one for one in current if one.namespace == namespace),
                    LOCKS.annotation: encoded(LOCKS, tenant.spec, namespace),
                },
            )
            for namespace in ownership.held(tenant, world)
        ],
        wake_at=min((one.expires for one in current), default=None),
    )


def _encoded(exemptions: Iterator[Exemption]) -> str:
    """As `checks.variables` reads it: "v1;runtime/hostPorts|2027-01-01T00:00:00Z|app=web,tier=x"."""
    return ";".join([FORMAT, *map(_entry, exemptions)])


def _entry(exemption: Exemption) -> str:
    until = exemption.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = ",".join(f"{key}={value}" for key, value in sorted(exemption.pods.items()))
    return f"{exemption.control}/{exemption.check}|{until}|{labels}"


CONTROL: Final = Control(NAME, plan, (NAMESPACE,))
