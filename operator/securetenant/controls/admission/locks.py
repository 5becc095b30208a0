"""What a tenant's spec says of its locks, in the annotation `securetenant.dev/locks` of its namespaces."""

from collections.abc import Iterator
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import CheckSet, Parameter

NAMESPACES: Final = "namespaces"
POSTURE: Final = "posture"
# What others' objects of these kinds widen, by the section of the spec that says what becomes of them.
FOREIGN: Final = {"network": "networkpolicies", "access": "rolebindings"}


def _unlocked(tenant: SecureTenant, _namespace: str) -> Iterator[str]:
    """The locks that are off."""
    locks = {NAMESPACES: tenant.spec.locks.namespaces, POSTURE: tenant.spec.locks.posture}
    return (name for name, is_on in locks.items() if not is_on)


def _admitted(tenant: SecureTenant, _namespace: str) -> Iterator[str]:
    """The resources of which others' may stand in the namespace."""
    wanted = {"network": tenant.spec.network.foreign, "access": tenant.spec.access.foreign}
    return (resource for section, resource in FOREIGN.items() if wanted[section] != "Remove")


_UNLOCKED: Final = Parameter("unlocked", _unlocked)
LOCKS: Final = CheckSet("locks", parameters=(_UNLOCKED, Parameter("foreign", _admitted)))
OF_SUBNETS: Final = CheckSet("locks", parameters=(_UNLOCKED,))
