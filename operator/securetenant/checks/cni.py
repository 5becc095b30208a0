"""The annotations by which a network plug-in is told a pod's subnet and address, and those that switch a NetworkPolicy
off: as data, and as CEL.

They stand above what a namespace is bound to: with one of them a pod takes an address in another tenant's subnet, and
with it every whitelist that names that subnet. The plug-ins write many of them themselves, once a pod runs.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple


class Keys(NamedTuple):
    """Annotations of one plug-in. A key that ends in "/*" is every key of that domain; one that begins with "*." is the
    same key in every domain below. `reads`: what the plug-in does with them; `source`: where it does so."""

    plugin: str
    keys: tuple[str, ...]
    reads: str
    source: str


# What decides the subnet and the address of a pod.
ADDRESS: Final = (
    Keys(
        "Kube-OVN",
        ("ovn.kubernetes.io/*", "*.ovn.kubernetes.io/*"),
        "subnet, address, router, floating address, security groups, spoofing; with the name of a further network in "
        "front, the same there",
        "kube-ovn v1.17 pkg/util/const.go; seen: logical_switch and ip_pool move a pod, join passes NetworkPolicies",
    ),
    Keys(
        "Kube-OVN",
        tuple(
            f"*.kubernetes.io/{name}"
            for name in (
                *("ip_address", "mac_address", "ip_pool", "logical_switch", "logical_router", "default_route"),
                *("security_groups", "port_security", "port_vips", "layer2_forward", "vlan_id"),
            )
        ),
        "the same on a further network of another plug-in, whose addresses Kube-OVN manages",
        "kube-ovn v1.17 pkg/util/const.go: %s.kubernetes.io/..., with the provider's name",
    ),
    Keys(
        "Calico",
        ("cni.projectcalico.org/*",),
        "pools, addresses, floating addresses, addresses to spoof; podIP and podIPs are the addresses that policies "
        "take a pod for while its status has none",
        "calico cni-plugin and libcalico-go/lib/backend/k8s/conversion; seen: ipv4pools, ipAddrs, '[]' escape",
    ),
    Keys("Cilium", ("ipam.cilium.io/*", "cni.cilium.io/*"), "pools, hardware address", "cilium v1.18 pkg/annotation"),
    Keys(
        "Multus",
        ("v1.multus-cni.io/default-network",),
        "another plug-in, and so another subnet, in place of the cluster's",
        "multus pkg/k8sclient",
    ),
)  # fmt: skip

# What gives a pod more networks. Not named in ADDRESS: a tenant may have a use for it.
FURTHER: Final = (
    Keys("Multus", ("k8s.v1.cni.cncf.io/networks",), "further networks, of any namespace", "multus pkg/types"),
)

# Of the domains above, what only slows the pod's own traffic down.
FREE: Final = tuple(
    f"*.kubernetes.io/{name}" for name in ("ingress_rate", "egress_rate", "latency", "jitter", "limit", "loss")
)

# On a NetworkPolicy.
SWITCHES: Final = (
    Keys(
        "Kube-OVN",
        ("ovn.kubernetes.io/network_policy_for", "ovn.kubernetes.io/network_policy_enforcement"),
        "the policy does not hold; it holds for less",
        "kube-ovn v1.17; seen: network_policy_for of a network that is none ends a default deny, lax lets ICMP pass",
    ),
)


def listed(*groups: tuple[Keys, ...], but: tuple[str, ...] = ()) -> str:
    """CEL, whether `k` is a key of these groups. Without regular expressions: the one engine compiles them anew for
    each key, and for the other they cost a hundred times as much of what it allows."""
    among = _among([key for group in groups for one in group for key in one.keys])
    return f"({among}) && !({_among(but)})" if but else among


def _among(keys: Sequence[str]) -> str:
    domains = [key.removesuffix("*") for key in keys if key.endswith("/*")]
    below: dict[str, list[str]] = {}
    for domain, name in (key.split("/") for key in keys if key.startswith("*.") and not key.endswith("/*")):
        below.setdefault(domain.removeprefix("*"), []).append(name)
    whole = [key for key in keys if "*" not in key]
    return " || ".join(
        [
            # A key has one slash, so that what stands before it is the end of the domain.
            *(f"k.contains('{one[1:]}')" if one[0] == "*" else f"k.startsWith('{one}')" for one in domains),
            *(f"k.contains('{domain}/') && k.split('/')[1] in {names}" for domain, names in below.items()),
            *([f"k in {whole}"] if whole else []),
        ]
    )


def changed(new: str, old: str, is_listed: str) -> str:
    """CEL, the listed keys whose values differ. `new`, `old`: CEL, annotations as a map."""
    keys = f"({new}.map(k, k) + {old}.filter(k, !(k in {new})))"
    return f"{keys}.filter(k, {new}[?k] != {old}[?k] && ({is_listed}))"
