"""The parameters of the checks on the tenant's namespaces: its hosts without those that an older tenant holds."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from securetenant.api.load import Problem
from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan, Triggers
from securetenant.controls.exposure import hosts
from securetenant.controls.exposure.checks import CHECKS, NAME
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE

CONDITION: Final = "HostsHeld"
_NAMED_AT_MOST: Final = 5  # hosts in a message; counts include all


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    lost = hosts.lost(tenant, world)
    desired = list(on_namespaces(CHECKS, _without(tenant, lost), ownership.held(tenant, world)))
    if not tenant.spec.exposure.ingress.hosts:
        return Plan(desired=desired)
    condition = _condition(tenant, lost)
    return Plan(desired=desired, conditions=[condition], blocking=[condition.message] if lost else [])


def holding(tenant: SecureTenant, world: World) -> SecureTenant:
    """The tenant with the hosts that it holds."""
    return _without(tenant, hosts.lost(tenant, world))


def _without(tenant: SecureTenant, lost: Mapping[str, SecureTenant]) -> SecureTenant:
    if not lost:
        return tenant
    exposure = tenant.spec.exposure
    held = [pattern for pattern in exposure.ingress.hosts if pattern not in lost]
    ingress = exposure.ingress.model_copy(update={"hosts": held})
    spec = tenant.spec.model_copy(update={"exposure": exposure.model_copy(update={"ingress": ingress})})
    return tenant.model_copy(update={"spec": spec})


def _condition(tenant: SecureTenant, lost: Mapping[str, SecureTenant]) -> Condition:
    declared = len(tenant.spec.exposure.ingress.hosts)
    if not lost:
        return Condition.of(CONDITION, "True", "Held", f"{declared} of {declared} hosts held")
    taken = [f"{pattern} (SecureTenant {holder.name})" for pattern, holder in lost.items()]
    more = f" and {len(taken) - _NAMED_AT_MOST} more" if len(taken) > _NAMED_AT_MOST else ""
    return Condition.of(
        CONDITION,
        "False",
        "Conflict",
        f"Of {declared} hosts in spec.exposure.ingress.hosts, {len(lost)} belong to an older tenant: "
        f"{', '.join(taken[:_NAMED_AT_MOST])}{more}. Write other hosts here or there.",
    )


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    return ["the checks of exposure"]


def review(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """The hosts that another tenant in the files declares. Files do not say which of the two is older."""
    for index, pattern in enumerate(tenant.spec.exposure.ingress.hosts):
        for other in hosts.rivals_of(tenant, pattern, world):
            message = (
                f"the host {pattern} is declared by SecureTenant {other.name} as well: the older one holds it, write "
                "another here or there"
            )
            yield Problem(f"spec.exposure.ingress.hosts[{index}]", message)


CONTROL: Final = Control(
    NAME,
    plan,
    (NAMESPACE,),
    triggers=Triggers("exposure", hosts.Section, hosts.listens, spreads=hosts.rivals),
    ending=ending,
    review=review,
    checks=CHECKS,
    cause="hosts of other tenants changed",
)
