"""All controls, in the order in which they are planned and reported. A new control is one row here."""

from typing import Final

from securetenant.controls import limits, namespaces, nodes
from securetenant.controls.access import control as access
from securetenant.controls.network import control as network
from securetenant.controls.quota import control as quota

CONTROLS: Final = (
    namespaces.CONTROL,
    access.CONTROL,
    network.CONTROL,
    quota.CONTROL,
    limits.CONTROL,
    nodes.CONTROL,
)
NAMES: Final = tuple(control.name for control in CONTROLS)
FAMILIES: Final = tuple(family for control in CONTROLS for family in control.families)
