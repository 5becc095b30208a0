"""The kinds that SecureTenant reads or writes, as data."""

from dataclasses import dataclass
from typing import Final

from securetenant.model import names


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the Kubernetes API.

    `content` names the top-level fields that hold what is declared (compared exactly on objects that are
    wholly ours); `extra` those that are kept beside it in the caches because a control reads them.
    """

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool
    content: tuple[str, ...] = ("spec",)
    extra: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of an object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = [part for part in (name, subresource) if part]
        return "/".join([f"{root}{scope}/{self.plural}", *parts])


SECURE_TENANT: Final = Kind(
    names.KIND, names.GROUP, names.VERSION, "securetenants", namespaced=False, extra=("status",)
)
NAMESPACE: Final = Kind("Namespace", "", "v1", "namespaces", namespaced=False, content=(), extra=("status",))
NODE: Final = Kind("Node", "", "v1", "nodes", namespaced=False, content=(), extra=("spec",))
RESOURCE_QUOTA: Final = Kind("ResourceQuota", "", "v1", "resourcequotas", namespaced=True, extra=("status",))
LIMIT_RANGE: Final = Kind("LimitRange", "", "v1", "limitranges", namespaced=True)
NETWORK_POLICY: Final = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", namespaced=True)
ROLE_BINDING: Final = Kind(
    "RoleBinding",
    "rbac.authorization.k8s.io",
    "v1",
    "rolebindings",
    namespaced=True,
    content=("roleRef", "subjects"),
)
CLUSTER_ROLE_BINDING: Final = Kind(
    "ClusterRoleBinding",
    "rbac.authorization.k8s.io",
    "v1",
    "clusterrolebindings",
    namespaced=False,
    content=("roleRef", "subjects"),
)
CLUSTER_ROLE: Final = Kind(
    "ClusterRole",
    "rbac.authorization.k8s.io",
    "v1",
    "clusterroles",
    namespaced=False,
    content=("rules", "aggregationRule"),
)
ENDPOINT_SLICE: Final = Kind(
    "EndpointSlice",
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    namespaced=True,
    content=("addressType", "endpoints", "ports"),
)
LEASE: Final = Kind("Lease", "coordination.k8s.io", "v1", "leases", namespaced=True)

# What the operator caches, SecureTenant excepted (kopf watches it).
CACHED: Final = (
    NAMESPACE,
    NODE,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    NETWORK_POLICY,
    ROLE_BINDING,
    CLUSTER_ROLE_BINDING,
    CLUSTER_ROLE,
    ENDPOINT_SLICE,
)

KINDS: Final = {kind.name: kind for kind in (SECURE_TENANT, *CACHED, LEASE)}
