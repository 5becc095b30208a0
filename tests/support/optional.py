"""An operator with a control of its own that looks at a kind which the cluster need not serve, and says in a condition
what it sees of it.

    env = shortened(folder, {}, CODE)
"""

from datetime import datetime
from pathlib import Path
from typing import Final

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control, Plan
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
#: What adds the control to the registry, before anything is made of that.
CODE: Final = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from securetenant.controls import registry
from tests.support.optional import CONTROL
registry.CONTROLS += (CONTROL,)
"""


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    seen = [o.ref.name for entry in tenant.spec.namespaces for o in world.in_namespace(WIDGET, entry.name)]
    is_served = world.serves(WIDGET)
    condition = Condition(
        type=CONDITION,
        status="True" if is_served else "Unknown",
        reason="Served" if is_served else "NotServed",
        message=" ".join(sorted(seen)) or "none",
    )
    return Plan(conditions=(condition,))


CONTROL: Final = Control("widgets", plan, kinds=(), looks_at=(WIDGET,))
