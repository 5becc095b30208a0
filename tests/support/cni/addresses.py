"""Out of which blocks a pod gets its address: by what stands on it, on its namespace, and in the plug-in's objects.

A pod's own annotation counts more than its namespace's: that is how a pod gets into another tenant's subnet.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.cni.values import Network, Plugin, Subnet

SWITCH: Final = "ovn.kubernetes.io/logical_switch"
CALICO: Final = {4: "cni.projectcalico.org/ipv4pools", 6: "cni.projectcalico.org/ipv6pools"}
CILIUM: Final = "ipam.cilium.io/ip-pool"
CILIUM_BY_FAMILY: Final = {4: "ipam.cilium.io/ipv4-pool", 6: "ipam.cilium.io/ipv6-pool"}
CILIUM_REQUIRED: Final = "ipam.cilium.io/require-pool-match"
# Where pods are that nobody told anything.
OVN_DEFAULT: Final = "ovn-default"
CILIUM_DEFAULT: Final = "default"

Annotations = Mapping[str, str]


@dataclass(frozen=True)
class Pool:
    """What addresses are given out of: a Subnet, an IPPool, a CiliumPodIPPool. `is_open`: also to pods that do not ask
    for it by name (Calico)."""

    name: str
    blocks: tuple[Network, ...]
    is_open: bool = True
    is_disabled: bool = False


class NoAddressError(Exception):
    """The pod is not created."""


def out_of(
    plugin: Plugin, version: int, pod: Annotations, namespace: Annotations, pools: Sequence[Pool]
) -> list[Network]:
    """The blocks of that family. Raises NoAddressError where the plug-in refuses the pod."""
    match plugin:
        case "KubeOVN":
            names = (pod.get(SWITCH) or namespace.get(SWITCH) or OVN_DEFAULT).split(",")[:1]
            found = _named(names, pools)
        case "Calico":
            found = _calico(version, pod, namespace, pools)
        case "Cilium":
            found = _named([_cilium(version, pod, namespace)], pools)
        case "None":
            found = list(pools)
    return [block for pool in found for block in pool.blocks if block.version == version]


def _named(names: Iterable[str], pools: Iterable[Pool]) -> list[Pool]:
    by_name = {pool.name: pool for pool in pools}
    missing = [name for name in names if name not in by_name or by_name[name].is_disabled]
    if missing:
        raise NoAddressError(f"no pool {missing[0]}")
    return [by_name[name] for name in names]


def _calico(version: int, pod: Annotations, namespace: Annotations, pools: Sequence[Pool]) -> list[Pool]:
    key = CALICO[version]
    text = pod.get(key, namespace.get(key))
    try:
        names = json.loads(text) if text is not None else []
    except ValueError as error:
        raise NoAddressError(f"{key} is no JSON") from error
    if not names:  # `[]` asks for nothing in particular
        return [pool for pool in pools if pool.is_open and not pool.is_disabled]
    return _named(names, pools)


def _cilium(version: int, pod: Annotations, namespace: Annotations) -> str:
    for annotations in (pod, namespace):
        for key in (CILIUM_BY_FAMILY[version], CILIUM):
            if key in annotations:
                return annotations[key]
    if "true" in (pod.get(CILIUM_REQUIRED), namespace.get(CILIUM_REQUIRED)):
        raise NoAddressError("no pool is named")
    return CILIUM_DEFAULT


def bound(namespace: str, subnets: Sequence[Subnet]) -> str:
    """What Kube-OVN's controller writes on a namespace: the Subnets that name it. Of several a pod gets one or another,
    in no order."""
    return ",".join(subnet.name for subnet in subnets if namespace in subnet.namespaces) or OVN_DEFAULT


def is_overlapping(pools: Sequence[Pool]) -> bool:
    """Whether two pools would give out the same address."""
    blocks: list[Any] = [block for pool in pools for block in pool.blocks]
    return any(
        one.version == other.version and one.overlaps(other)
        for index, one in enumerate(blocks)
        for other in blocks[:index]
    )
