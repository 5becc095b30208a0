"""An operator with a kind that the cluster need not serve: its control `limits` looks at widgets too, and says in a
condition what it sees of them.

    env = shortened(folder, CODE)

It replaces a row of the registry before that is read, and so has to be the first that the process imports.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import limits
from securetenant.controls.control import Plan
from securetenant.controls.world import World
from securetenant.model.kinds import Kind

WIDGET: Final = Kind(
    "Widget",
    "optional.securetenant.example",
    "v1",
    "widgets",
    namespaced=True,
    content=(),
    optional=True,
    metadata_only=True,
)
CONDITION: Final = "WidgetsSeen"
CODE: Final = Path(__file__).read_text() + "\ninstall()\n"


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """The plan of `limits`, and which widgets there are in the tenant's namespaces."""
    seen = [o.ref.name for entry in tenant.spec.namespaces for o in world.in_namespace(WIDGET, entry.name)]
    condition = (
        Condition(type=CONDITION, status="True", reason="Seen", message=" ".join(sorted(seen)) or "none")
        if world.serves(WIDGET)
        else Condition(type=CONDITION, status="Unknown", reason="NotServed", message=" ".join(seen) or "none")
    )
    return replace(limits.plan(tenant, world, now), conditions=(condition,))


def install() -> None:
    limits.CONTROL = replace(limits.CONTROL, plan=plan, looks_at=(WIDGET,))  # type: ignore[misc]  # a Final, elsewhere
