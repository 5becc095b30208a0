"""What each network plug-in is told of a namespace's subnet: the object that makes it, and the annotations by which the
namespace is bound to it. Only fields that the plug-ins leave as they are written: what they fill in is theirs.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from securetenant.controls.subnets.allocation import names
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, NAMESPACE, Kind
from securetenant.model.names import ANNOTATION_LEFT
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref
from securetenant.model.record import shared_record
from securetenant.sets.space import Network

NAME: Final = "subnets"

# By Kube-OVN on every namespace: the subnets that its pods get addresses of, joined by commas.
SWITCH: Final = "ovn.kubernetes.io/logical_switch"
_CALICO: Final = {4: "cni.projectcalico.org/ipv4pools", 6: "cni.projectcalico.org/ipv6pools"}
_CILIUM: Final = "ipam.cilium.io/ip-pool"
# Without it a namespace whose pool is not found falls back to the pool `default`.
_CILIUM_REQUIRED: Final = "ipam.cilium.io/require-pool-match"
# They count more than _CILIUM.
_CILIUM_BY_FAMILY: Final = ("ipam.cilium.io/ipv4-pool", "ipam.cilium.io/ipv6-pool")
# The smallest block that Calico's nodes take from a pool, unless the pool is smaller: its own defaults.
_CALICO_BLOCK: Final = {4: 26, 6: 122}
# The block that each node takes from a Cilium pool: a sixteenth of it, of at least 16 addresses (256 of IPv6).
_SHARE: Final = 4
_CILIUM_MASK: Final = {4: 28, 6: 120}


class Reach(NamedTuple):
    """What a subnet of Kube-OVN may exchange packets with, beside itself: `allowed`, and `join`, the addresses by which
    the nodes reach pods."""

    allowed: tuple[Network, ...] = ()
    join: tuple[Network, ...] = ()


def desired(kind: Kind, namespace: str, blocks: Sequence[Network], reach: Reach) -> list[Desired]:
    """The objects of a namespace's subnet."""
    if kind is KUBE_OVN_SUBNET:
        return [_object(kind, names(namespace, kind)[0], _kube_ovn(namespace, blocks, reach))]
    if kind is CILIUM_POD_IP_POOL:
        return [_object(kind, names(namespace, kind)[0], _cilium(blocks))]
    return [_object(kind, name, _calico(block)) for name, block in _calico_pools(namespace, blocks)]


def _object(kind: Kind, name: str, spec: Json) -> Desired:
    return Desired(Ref(kind, "", name), NAME, body={"spec": spec}, absent={ANNOTATION_LEFT: ""})


def was_bound(namespace: Observed | None) -> bool:
    """Whether it was seen bound by Kube-OVN before, by its record."""
    record = shared_record(namespace) if namespace is not None else None
    return record is not None and SWITCH in record.absent


def binding(kind: Kind, namespace: str, blocks: Sequence[Network], waits: str = "", *, judged: bool = True) -> Desired:
    """What binds a namespace to its subnet. `waits`: why it is not to be created yet. `judged`: whether what Kube-OVN
    writes on it must be right by now."""
    annotations: dict[str, str] = {}
    absent: dict[str, str] = {}
    if kind is KUBE_OVN_SUBNET:
        # Kube-OVN binds by the Subnet, and writes the annotation; it does not put right what others write there, but it
        # does write it again where it is missing. Without the Subnet that would be its default, again and again.
        absent = {SWITCH: names(namespace, kind)[0]} if judged else {}
    elif kind is CALICO_IP_POOL:
        by_family: dict[int, list[str]] = {}
        for name, block in _calico_pools(namespace, blocks):
            by_family.setdefault(block.version, []).append(name)
        annotations = {_CALICO[version]: json.dumps(found) for version, found in by_family.items()}
        absent = {key: "" for version, key in _CALICO.items() if version not in by_family}
    else:
        annotations = {_CILIUM: names(namespace, kind)[0], _CILIUM_REQUIRED: "true"}
        absent = dict.fromkeys(_CILIUM_BY_FAMILY, "")
    return Desired(Ref(NAMESPACE, "", namespace), NAME, annotations=annotations, absent=absent, waits=waits)


def _calico_pools(namespace: str, blocks: Sequence[Network]) -> list[tuple[str, Network]]:
    """An IPPool has one block: the names of those for the given ones."""
    first, second = names(namespace, CALICO_IP_POOL)
    return list(zip((first, second), blocks, strict=False))


def _kube_ovn(namespace: str, blocks: Sequence[Network], reach: Reach) -> Json:
    """No other namespace is bound to it: a selector would give its addresses to others."""
    acls: list[JsonValue] = [acl for block in blocks if (acl := _acl(block, reach))]
    return {
        "cidrBlock": ",".join(map(str, blocks)),
        "private": True,
        "allowSubnets": [str(block) for block in reach.allowed],
        "namespaces": [namespace],
        "namespaceSelectors": None,
        "acls": acls,
    }


# Above every NetworkPolicy (2001), below what Kube-OVN keeps for itself (3000).
_PRIORITY: Final = 2500


def _acl(own: Network, reach: Reach) -> JsonValue:
    """Nothing else comes in, whatever NetworkPolicies others add. Made of parsed blocks alone: a match that means
    nothing is accepted without a word. None while the nodes' addresses are unknown: it would close the way of their
    probes."""
    if not any(one.version == own.version for one in reach.join):
        return None
    family = f"ip{own.version}"
    sources = [str(one) for one in (own, *reach.allowed, *reach.join) if one.version == own.version]
    match = f"{family} && {family}.src != {{{', '.join(sources)}}} && {family}.dst == {own}"
    return {"direction": "to-lport", "priority": _PRIORITY, "match": match, "action": "drop"}


def _calico(block: Network) -> Json:
    """No namespace draws from it but by its annotation."""
    return {
        "cidr": str(block),
        "blockSize": max(block.prefixlen, _CALICO_BLOCK[block.version]),
        "nodeSelector": "!all()",
    }


def _cilium(blocks: Sequence[Network]) -> Json:
    """No pod draws from it but by its namespace's annotation: a selector would give its addresses to others."""
    families: Json = {
        f"ipv{block.version}": {
            "cidrs": [str(block)],
            "maskSize": max(block.prefixlen, min(block.prefixlen + _SHARE, _CILIUM_MASK[block.version])),
        }
        for block in blocks
    }
    return {"ipv4": None, "ipv6": None, **families, "podSelector": None, "namespaceSelector": None}


def moved(kind: Kind, blocks: Sequence[Network], found: Sequence[Observed]) -> str:
    """What others made of the addresses, which is not put right: pods would be cut off; "" if nothing."""
    for have in found:
        said = OF_SUBNET[kind](have)
        if strange := [block for block in said if block not in blocks]:
            return (
                f"{have.ref} was given {', '.join(map(str, blocks))} and has {', '.join(map(str, strange))} now: see "
                "where its pods are, and restore it"
            )
        if not said:
            return f"{have.ref} was given {', '.join(map(str, blocks))} and has no addresses now: restore it"
        if kind is not CALICO_IP_POOL and len(said) < len(blocks):  # Calico's objects have one block each
            both = ", ".join(map(str, blocks))
            return f"{have.ref} was given {both} and has {', '.join(map(str, said))} alone now: restore it"
    return ""


def readiness(kind: Kind, namespace: str, blocks: Sequence[Network], found: Sequence[Observed]) -> str:
    """Why the namespace cannot have pods in its subnet yet; "" if it can. `found`: the subnet's objects."""
    if set(_said(kind, found)) != set(blocks):
        return f"{kind} {names(namespace, kind)[0]} is being written"
    return _of_kube_ovn(found[0]) if kind is KUBE_OVN_SUBNET else ""


def _said(kind: Kind, found: Iterable[Observed]) -> list[Network]:
    return [block for have in found for block in OF_SUBNET[kind](have)]


def _of_kube_ovn(subnet: Observed) -> str:
    """By Ready and Validated: the condition Error keeps its old message after recovery."""
    conditions = subnet.at(("status", "conditions"))
    found = {
        str(one.get("type")): one
        for one in (conditions if isinstance(conditions, list) else [])
        if isinstance(one, dict)
    }
    for name in ("Validated", "Ready"):
        one = found.get(name)
        if one is None or one.get("status") != "True":
            said = str(one.get("message") or one.get("reason") or "") if one is not None else ""
            return f"Kube-OVN does not say {name} of Subnet {subnet.ref.name}" + (f": {said}" if said else " yet")
    return ""
