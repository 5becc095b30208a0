"""The rights of the five tenant roles, as data: the operator compares the ClusterRoles that it binds with it.

Their manifests (manifests/rbac/tenant-*.yaml) say why each rule is there; a test compares the two. Also the rights that
Kubernetes itself gives to everyone.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from securetenant.model import names


class Right(NamedTuple):
    """One thing that a rule allows: a verb on a resource of an API group ("" is core), with one name or with any (""),
    or on a non-resource URL."""

    verb: str
    group: str
    resource: str
    name: str = ""
    url: str = ""

    def __str__(self) -> str:
        """As in kubectl: "get secrets", "update deployments.apps web", "get /metrics"."""
        if self.url:
            return f"{self.verb} {self.url}"
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}{f' {self.name}' if self.name else ''}"


def _rights(group: str, resources: str, verbs: str) -> frozenset[Right]:
    return frozenset(Right(verb, group, resource) for resource in resources.split() for verb in verbs.split())


def _urls(paths: str) -> frozenset[Right]:
    return frozenset(Right("get", "", "", url=path) for path in paths.split())


_READ: Final = "get list watch"
_WRITE: Final = "create update patch delete"

_VIEWER: Final = frozenset().union(
    _rights(
        "",
        "configmaps endpoints persistentvolumeclaims pods replicationcontrollers serviceaccounts services",
        _READ,
    ),
    _rights("apps", "daemonsets deployments replicasets statefulsets", _READ),
    _rights("batch", "cronjobs jobs", _READ),
    _rights("autoscaling", "horizontalpodautoscalers", _READ),
    _rights("policy", "poddisruptionbudgets", _READ),
    _rights("networking.k8s.io", "ingresses", _READ),
    _rights("discovery.k8s.io", "endpointslices", _READ),
    _rights("metrics.k8s.io", "pods", "get list"),
)
_AUDITOR: Final = _VIEWER.union(
    _rights("rbac.authorization.k8s.io", "rolebindings roles", _READ),
    _rights("networking.k8s.io", "networkpolicies", _READ),
    _rights("", "events limitranges resourcequotas", _READ),
    _rights("wgpolicyk8s.io", "policyreports", _READ),
    _rights("openreports.io", "reports", _READ),
    _rights("aquasecurity.github.io", "configauditreports rbacassessmentreports vulnerabilityreports", _READ),
)
_OPERATOR: Final = _VIEWER.union(
    _rights("", "pods/log", "get"),
    _rights("", "events", _READ),
    _rights("", "pods", "delete"),
    _rights("", "pods/eviction", "create"),
    _rights("apps", "deployments/scale statefulsets/scale", "get update patch"),
)
_DEVELOPER: Final = _OPERATOR.union(
    _rights("apps", "deployments replicasets statefulsets", _WRITE),
    _rights("batch", "cronjobs jobs", _WRITE),
    _rights("autoscaling", "horizontalpodautoscalers", _WRITE),
    _rights("policy", "poddisruptionbudgets", _WRITE),
    _rights("", "configmaps persistentvolumeclaims pods serviceaccounts services", _WRITE),
)
_ADMIN: Final = _DEVELOPER.union(
    _rights("", "secrets", f"{_READ} {_WRITE}"),
    _rights("", "pods/attach pods/exec pods/portforward", "get create"),
)


def cluster_role(role: str) -> str:
    """The name of the ClusterRole (and of the RoleBindings) for a tenant role."""
    return f"{names.CHILD_PREFIX}-{role.lower()}"


#: The tenants' ClusterRoles by name.
ROLES: Final[Mapping[str, frozenset[Right]]] = {
    cluster_role("Viewer"): _VIEWER,
    cluster_role("Auditor"): _AUDITOR,
    cluster_role("Operator"): _OPERATOR,
    cluster_role("Developer"): _DEVELOPER,
    cluster_role("Admin"): _ADMIN,
}

_HEALTH: Final = _urls("/healthz /livez /readyz /version /version/")

#: The rights of Kubernetes' own ClusterRoles for everyone, by name
#: (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles, and
#: plugin/pkg/auth/authorizer/rbac/bootstrappolicy in its source).
DISCOVERY: Final[Mapping[str, frozenset[Right]]] = {
    "system:basic-user": frozenset().union(
        _rights("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        _rights("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:discovery": _HEALTH | _urls("/api /api/* /apis /apis/* /openapi /openapi/*"),
    "system:public-info-viewer": _HEALTH,
    "system:service-account-issuer-discovery": _urls(
        "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"
    ),
    "system:cluster-trust-bundle-discovery": _rights("certificates.k8s.io", "clustertrustbundles", _READ),
}

#: The groups that have them as Kubernetes ships.
DISCOVERERS: Final[Mapping[str, frozenset[str]]] = {
    "system:basic-user": frozenset({"system:authenticated", "system:serviceaccounts"}),
    "system:discovery": frozenset({"system:authenticated", "system:serviceaccounts"}),
    "system:public-info-viewer": frozenset(
        {"system:authenticated", "system:serviceaccounts", "system:unauthenticated", "system:anonymous"}
    ),
    "system:service-account-issuer-discovery": frozenset({"system:serviceaccounts"}),
    "system:cluster-trust-bundle-discovery": frozenset({"system:serviceaccounts"}),
}

#: The ClusterRoles that are cached; all others are skipped.
LOOKED_AT: Final = frozenset(ROLES) | frozenset(DISCOVERY)
