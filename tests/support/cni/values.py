"""A cluster as a value: what decides which connections pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Plugin: TypeAlias = Literal["KubeOVN", "Calico", "Cilium", "None"]
Direction: TypeAlias = Literal["ingress", "egress"]

LABEL_NAME: Final = "kubernetes.io/metadata.name"


class Call(NamedTuple):
    """What is connected to: TCP, UDP or SCTP with a port; ICMP with port 0."""

    protocol: str
    port: int = 0


@dataclass(frozen=True)
class End:
    """A pod; or, without a namespace, a node or an address outside the cluster.

    `is_host`: a node, or a pod on its network: outside all enforcement. `node`: where it is. `join`: the addresses of
    that node in Kube-OVN's subnet `join`, which are the source of what the node sends to pods. `named`: a pod's ports
    by name.
    """

    addresses: tuple[Address, ...]
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    is_host: bool = False
    join: tuple[Address, ...] = ()
    named: Mapping[str, Call] = field(default_factory=dict)

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod with addresses of its own."""
        return bool(self.namespace) and not self.is_host


@dataclass(frozen=True)
class Policy:
    """A NetworkPolicy: its `spec` as the API server has it."""

    namespace: str
    spec: Mapping[str, Any]
    annotations: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


class Acl(NamedTuple):
    """One of a Subnet's `acls`: `to-lport` is what goes to a pod of the subnet, `from-lport` what comes from one."""

    direction: str
    priority: int
    match: str
    action: str


@dataclass(frozen=True)
class Subnet:
    """A Subnet of Kube-OVN."""

    name: str
    blocks: tuple[Network, ...]
    is_private: bool = False
    allowed: tuple[Network, ...] = ()
    acls: tuple[Acl, ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterPolicy:
    """A ClusterNetworkPolicy: its `spec` as the API server has it, and when it was written (for equal priorities)."""

    spec: Mapping[str, Any]
    age: int = 0


@dataclass(frozen=True)
class Cluster:
    """What a plug-in enforces.

    `namespaces`: their labels. `blocks_match_pods`: whether an ipBlock matches pods by address, which Kubernetes
    leaves to the plug-in. `has_cluster_policies`: whether it enforces ClusterNetworkPolicies.
    """

    plugin: Plugin = "KubeOVN"
    policies: tuple[Policy, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    cluster_policies: tuple[ClusterPolicy, ...] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    blocks_match_pods: bool = True
    has_cluster_policies: bool = False

    @cached_property
    def policies_of(self) -> dict[str, list[Policy]]:
        """By namespace."""
        found: dict[str, list[Policy]] = {}
        for policy in self.policies:
            found.setdefault(policy.namespace, []).append(policy)
        return found

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        return {LABEL_NAME: namespace, **self.namespaces.get(namespace, {})}

    def subnet_of(self, address: Address) -> Subnet | None:
        """By address, not by namespace: a pod's annotation can put it into another's subnet."""
        return next((one for one in self.subnets if within(address, one.blocks)), None)


def within(address: Address, blocks: tuple[Network, ...]) -> bool:
    """An address is in no block of the other family."""
    return any(address in block for block in blocks)
