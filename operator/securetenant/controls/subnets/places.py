"""Which addresses the pods of a namespace have. For the subnets, and for the network policies that name them."""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import NamedTuple

from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.subnets.objects import SWITCH
from securetenant.controls.subnets.ranges import kube_ovn
from securetenant.controls.world import Use, World
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE
from securetenant.model.objects import Observed, Ref
from securetenant.sets.space import Network


def of_namespace(namespace: str, world: World) -> list[Network]:
    """The addresses of a namespace's pods: of a tenant's those that it was given, of others those of the subnet that
    Kube-OVN's annotation names. On a tenant's namespace that annotation proves nothing: it is being put right, unless
    the tenant is only looked at (Audit, Paused)."""
    owner = ownership.holder(namespace, world)
    if owner is not None:
        if given := _given(owner, namespace):
            return given
        wants = any(entry.name == namespace and entry.subnet is not None for entry in owner.spec.namespaces)
        if wants and owner.spec.mode == "Enforce":
            return []  # not given yet
    return [block for switch in _switches(namespace, world) for block in of_subnet(switch, world)]


class Alone(NamedTuple):
    """The addresses that pods of a namespace have, and nobody else; or why there are none."""

    blocks: tuple[Network, ...] = ()
    reason: str = ""


def alone(namespace: str, world: World) -> Alone:
    """What stands for a namespace as a whole: of a tenant's the subnet that it was given, of others the Subnet of
    Kube-OVN that names this namespace and no other."""
    owner = ownership.holder(namespace, world)
    if owner is None:
        subnet = _bound(namespace, world)
        if subnet is None:
            return Alone((), f"{namespace} has no subnet that it shares with nobody")
        return _apart(namespace, kube_ovn(subnet), world, lambda use: use.ref == subnet.ref)
    given = _given(owner, namespace)
    if not given:
        return Alone((), f"{namespace} of tenant {owner.name} has no subnet")
    return _apart(namespace, given, world, lambda use: (use.tenant, use.namespace) == (owner.name, namespace))


def _apart(namespace: str, blocks: Sequence[Network], world: World, is_own: Callable[[Use], bool]) -> Alone:
    """These blocks, unless somebody else uses addresses of them: network plug-ins accept subnets that overlap."""
    for block in blocks:
        for use, other in world.addresses.overlapping(block):
            if not is_own(use):
                return Alone((), f"the subnet of {namespace}, {block}, overlaps {other}, {use}")
    return Alone(tuple(blocks))


def _given(owner: SecureTenant, namespace: str) -> list[Network]:
    return [ip_network(cidr) for one in owner.status.subnets if one.namespace == namespace for cidr in one.cidrs]


def _bound(namespace: str, world: World) -> Observed | None:
    """The one Subnet that is for this namespace alone, if it has addresses."""
    (switch, *more) = _switches(namespace, world) or [""]
    have = world.get(Ref(KUBE_OVN_SUBNET, "", switch)) if switch and not more else None
    spec = have.field("spec") if have is not None else None
    if have is None or not isinstance(spec, dict):
        return None
    is_alone = spec.get("namespaces") == [namespace] and not spec.get("namespaceSelectors") and not spec.get("default")
    return have if is_alone and kube_ovn(have) else None


def _switches(namespace: str, world: World) -> list[str]:
    have = world.get(Ref(NAMESPACE, "", namespace))
    return [one for one in (have.annotations.get(SWITCH, "") if have is not None else "").split(",") if one]


def of_subnet(name: str, world: World) -> list[Network]:
    """The blocks of a Subnet of Kube-OVN; none if there is no such Subnet."""
    have = world.get(Ref(KUBE_OVN_SUBNET, "", name))
    return kube_ovn(have) if have is not None else []
