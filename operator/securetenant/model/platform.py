"""What the platform team configured about the cluster, apart from any tenant's spec."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """What the platform team configured about the cluster (settings, not a tenant's spec)."""

    dns_namespace: str = "kube-system"
    dns_pod_labels: tuple[tuple[str, str], ...] = (("k8s-app", "kube-dns"),)
    dns_cidrs: tuple[str, ...] = ()  # NodeLocal DNSCache or hostNetwork DNS, which pod selectors do not match
    dns_port: int = 53
    cluster_cidrs: tuple[str, ...] = ()  # addresses of the cluster itself that none of its objects names
    ingress_node_cidrs: tuple[str, ...] = ()  # addresses of nodes that ingress by cidr may open
    admin_tier: bool = False  # whether the whitelist is written as ClusterNetworkPolicies too
    admin_tier_priority: int = 1000  # of those that close; 0 to 1000, lower wins
    subnet_release_delay: int = 600  # seconds for which the addresses of a deleted namespace are given to nobody else
    operator_namespace: str = "securetenant-system"
    # Where, beside the operator's own, the pods of DaemonSets are the platform's and may run on any node.
    daemonset_namespaces: tuple[str, ...] = ("kube-system",)
    # There is no cluster to read: what only a cluster knows (its namespaces, its API server's address) is ignored.
    offline: bool = False
    expires_soon: tuple[int, ...] = (14 * 86400, 86400)  # when its owners are warned: seconds before an end
    exemption_longest: int = 90 * 86400  # seconds ahead; `validate` warns of an exemption that ends later
