"""Which addresses the cluster's own objects use: nodes, Services, and the network plug-ins' nets."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    KUBE_OVN_SUBNET,
    NODE,
    SERVICE_CIDR,
    Kind,
)
from securetenant.model.objects import JsonValue, Observed
from securetenant.sets.space import Network, parsed


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _node(node: Observed) -> Iterator[Network]:
    """Its pods' addresses, where the cluster gives each node some, and its own."""
    spec = node.field("spec")
    given = spec if isinstance(spec, dict) else {}
    yield from parsed([*_listed(given.get("podCIDRs")), *([given["podCIDR"]] if given.get("podCIDR") else [])])
    for one in _listed(node.at(("status", "addresses"))):
        if isinstance(one, dict) and one.get("type") in ("InternalIP", "ExternalIP"):
            yield from parsed([one.get("address")])


def _services(cidrs: Observed) -> Iterator[Network]:
    yield from parsed(_listed(cidrs.at(("spec", "cidrs"))))


def kube_ovn(subnet: Observed) -> list[Network]:
    """The blocks of a Subnet: dual stack is joined by a comma."""
    return list(parsed(str(subnet.at(("spec", "cidrBlock")) or "").split(",")))


def calico(pool: Observed) -> list[Network]:
    return list(parsed([pool.at(("spec", "cidr"))]))


def cilium(pool: Observed) -> list[Network]:
    """The blocks of a pool, IPv4 first. In newer versions an entry may be an object with `cidr`."""
    texts = [text for family in ("ipv4", "ipv6") for text in _listed(pool.at(("spec", family, "cidrs")))]
    return list(parsed(one.get("cidr") if isinstance(one, dict) else one for one in texts))


def pool(pool: Observed) -> Iterator[Network]:
    """All of a SubnetPool, given out or not."""
    yield from parsed(_listed(pool.at(("spec", "cidrs"))))


# What a subnet's object says about its addresses.
OF_SUBNET: Final[Mapping[Kind, Callable[[Observed], list[Network]]]] = {
    KUBE_OVN_SUBNET: kube_ovn,
    CALICO_IP_POOL: calico,
    CILIUM_POD_IP_POOL: cilium,
}

RANGES: Final[Mapping[Kind, Callable[[Observed], Iterable[Network]]]] = {
    NODE: _node,
    SERVICE_CIDR: _services,
    **OF_SUBNET,
}
