"""All controls, in the order in which they plan and are reported. A new control is one row here."""

from securetenant.controls import limits, namespaces, nodes
from securetenant.controls.access import control as access
from securetenant.controls.control import Control
from securetenant.controls.network import control as network
from securetenant.controls.quota import control as quota

CONTROLS: tuple[Control, ...] = (
    namespaces.CONTROL,
    access.CONTROL,
    network.CONTROL,
    quota.CONTROL,
    limits.CONTROL,
    nodes.CONTROL,
)
