"""The values of objects as the API server has them."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from tests.support.cni.addresses import Pool
from tests.support.cni.values import Acl, Network, Policy, Subnet


def subnet(name: str, spec: Mapping[str, Any]) -> Subnet:
    """A Subnet. Raises ValueError where Kube-OVN would say Validated=False: a bare address, or upper-case IPv6, in
    `allowSubnets`. Host bits are no error: they whitelist the whole net."""
    for text in spec.get("allowSubnets") or ():
        if "/" not in text or text != text.lower():
            raise ValueError(f"Subnet {name}: {text} in allowSubnets is not taken")
    return Subnet(
        name=name,
        blocks=networks(spec["cidrBlock"].split(",")),
        is_private=bool(spec.get("private")),
        allowed=networks(spec.get("allowSubnets") or ()),
        acls=tuple(
            Acl(one["direction"], one["priority"], one["match"], one["action"]) for one in spec.get("acls") or ()
        ),
        namespaces=tuple(spec.get("namespaces") or ()),
    )


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


def is_canonical(spec: Mapping[str, Any]) -> bool:
    """Whether Kube-OVN leaves a Subnet's `cidrBlock` as it is: one with host bits is fought over for ever."""
    return all(text == str(ip_network(text, strict=False)) for text in spec["cidrBlock"].split(","))


def ip_pool(name: str, spec: Mapping[str, Any]) -> Pool:
    """Calico's."""
    return Pool(
        name,
        networks([spec["cidr"]]),
        is_open=spec.get("nodeSelector", "all()") != "!all()",
        is_disabled=bool(spec.get("disabled")),
    )


def cilium_pool(name: str, spec: Mapping[str, Any]) -> Pool:
    return Pool(name, networks(cidr for family in ("ipv4", "ipv6") for cidr in spec.get(family, {}).get("cidrs", ())))


def policy(namespace: str, name: str, spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Policy:
    return Policy(namespace, spec, annotations, name)


def addresses(*texts: str) -> tuple[Any, ...]:
    return tuple(ip_address(text) for text in texts)
