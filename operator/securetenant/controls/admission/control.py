"""How the API server treats the tenant's workloads: the label that the bindings select by, and the exemptions.

The policies and their bindings ship with the operator (manifests/admission) and are never written by it.
"""

from datetime import datetime
from typing import Final

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import EXEMPTIBLE
from securetenant.checks.policies import ADMISSION
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls import ownership, thresholds
from securetenant.controls.admission import exemptions, notices
from securetenant.controls.control import Control, Plan
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.metrics import Family, Labels, Samples
from securetenant.model.objects import Desired, Ref

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


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    held = ownership.held(tenant, world)
    current, soon = exemptions.current(tenant, now), world.platform.expires_soon
    ends = [one.expires for one in current]
    wakes = [*ends, *([warning] if (warning := thresholds.next_warning(ends, soon, now)) else [])]
    return Plan(
        desired=[
            Desired(
                Ref(NAMESPACE, "", namespace),
                NAME,
                labels={ADMISSION: tenant.spec.admission},
                annotations={EXEMPTIONS: exemptions.encoded(one for one in current if one.namespace == namespace)},
            )
            for namespace in held
        ],
        wake_at=min(wakes, default=None),
        status={"exemptions": exemptions.told(tenant, held, soon, now)} if tenant.spec.exemptions else {},
    )


def figures(status: SecureTenantStatus) -> Samples:
    told = status.exemptions
    if told is None:
        return {}
    counts: dict[Labels, float] = {(control,): count for control, count in told.by_control.items()}
    ends = told.next_expiry
    return {ACTIVE.name: counts, **({EXPIRY.name: {(): ends.timestamp()}} if ends is not None else {})}


CONTROL: Final = Control(
    NAME,
    plan,
    (NAMESPACE,),
    families=(ACTIVE, EXPIRY),
    figures=figures,
    warnings=notices.warnings,
    rollout=notices.rollout,
    ending=notices.ending,
    review=notices.review,
)
