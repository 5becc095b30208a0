"""limits: what one container, pod or claim may request, as a LimitRange in each namespace."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from securetenant.api.tenant import Limits, ObjectLimits, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan
from securetenant.controls.world import World
from securetenant.model.kinds import LIMIT_RANGE
from securetenant.model.objects import Desired, Json, JsonValue, Ref
from securetenant.model.quantity import canonical

NAME: Final = "limits"
CHILD: Final = "securetenant"


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    held = set(ownership.held(tenant, world))
    desired = [
        Desired(Ref(LIMIT_RANGE, entry.name, CHILD), NAME, {"spec": {"limits": items}})
        for entry in tenant.spec.namespaces
        if entry.name in held and (items := _items(tenant.spec.limits, entry.limits))
    ]
    return Plan(desired=desired)


def _items(general: Limits, special: Limits | None) -> list[JsonValue]:
    """The items of a namespace's LimitRange in a fixed order; its own limits replace the tenant's type by type."""
    own = special or Limits()
    chosen = (
        ("Container", own.container or general.container),
        ("Pod", own.pod or general.pod),
        ("PersistentVolumeClaim", own.persistent_volume_claim or general.persistent_volume_claim),
    )
    items = [_item(kind, limits) for kind, limits in chosen if limits is not None]
    return [item for item in items if len(item) > 1]


def _item(kind: str, limits: ObjectLimits) -> Json:
    """One item as the API server returns it; only its type if it has no limits."""
    default, request = _quantities(limits.default), _quantities(limits.default_request)
    most, least = _quantities(limits.max), _quantities(limits.min)
    if kind == "Container":
        # What SetDefaults_LimitRangeItem (k8s.io/kubernetes/pkg/apis/core/v1) adds, in its order.
        default = {**most, **default}
        request = {**least, **default, **request}
    values = {
        "default": default,
        "defaultRequest": request,
        "max": most,
        "min": least,
        "maxLimitRequestRatio": _quantities(limits.max_limit_request_ratio),
    }
    return {"type": kind, **{name: value for name, value in values.items() if value}}


def _quantities(values: Mapping[str, str]) -> dict[str, JsonValue]:
    return {resource: canonical(quantity) for resource, quantity in values.items()}


CONTROL: Final = Control(NAME, plan, (LIMIT_RANGE,))
