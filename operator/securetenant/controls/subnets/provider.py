"""Which network plug-in gives the addresses: by the CustomResourceDefinitions that are installed, or as declared."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import World
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, Kind

Name = Literal["KubeOVN", "Calico", "Cilium", "None"]

KINDS: Final[Mapping[Name, Kind]] = {
    "KubeOVN": KUBE_OVN_SUBNET,
    "Calico": CALICO_IP_POOL,
    "Cilium": CILIUM_POD_IP_POOL,
}


class Choice(NamedTuple):
    """The provider, or why there is none: a reason for a condition, and what to do."""

    name: Name | None
    reason: str = ""
    message: str = ""


def choose(tenant: SecureTenant, world: World) -> Choice:
    """The provider of a tenant's subnets. What gave it some before stays: a subnet is never moved."""
    before = {one.provider for one in tenant.status.subnets} & KINDS.keys()
    declared = tenant.spec.subnets.provider
    served = [name for name, kind in KINDS.items() if world.serves(kind)]
    if before:
        (name, *more) = sorted(before)
        if more or declared not in ("Auto", name):
            had = " and ".join(sorted(before))
            message = f"subnets were given by {had}: set subnets.provider to it, since no subnet is ever moved"
            return Choice(None, "ProviderChanged", message)
        declared = _of(name)
    if declared == "Auto":
        if len(served) > 1:
            message = f"{' and '.join(served)} are installed: set subnets.provider to the one that gives pods addresses"
            return Choice(None, "SeveralProviders", message)
        return Choice(_of(served[0]) if served else "None")
    if declared != "None" and declared not in served:
        kind = KINDS[declared]
        message = f"{kind.plural}.{kind.group} is not served: install {declared}, or set subnets.provider"
        return Choice(None, "NoProvider", message)
    return Choice(declared)


def _of(name: str) -> Name:
    return next(one for one in KINDS if one == name)
