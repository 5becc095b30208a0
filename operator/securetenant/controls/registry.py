"""All controls, in the order in which they plan and are reported. A new control is one row here."""

from securetenant.checks.check import CheckSet
from securetenant.controls import images, limits, namespaces, storage
from securetenant.controls.access import control as access
from securetenant.controls.admission import control as admission
from securetenant.controls.control import Control
from securetenant.controls.exposure import control as exposure
from securetenant.controls.network import control as network
from securetenant.controls.nodes import control as nodes
from securetenant.controls.quota import control as quota
from securetenant.controls.runtime import control as runtime
from securetenant.controls.subnets import control as subnets

_WITH_CHECKS: tuple[Control, ...] = (
    namespaces.CONTROL,
    subnets.CONTROL,
    access.CONTROL,
    network.CONTROL,
    quota.CONTROL,
    limits.CONTROL,
    nodes.CONTROL,
    runtime.CONTROL,
    images.CONTROL,
    storage.CONTROL,
    exposure.CONTROL,
)

# The checks of all controls: the admission policies are generated from them.
CHECKS: tuple[CheckSet, ...] = tuple(control.checks for control in _WITH_CHECKS if control.checks is not None)

# The last one reports whether the checks of the others are in force.
CONTROLS: tuple[Control, ...] = (*_WITH_CHECKS, admission.control(CHECKS, exposure.holding))
