"""The kinds that SecureTenant reads or writes, as data."""

from dataclasses import dataclass
from typing import Final

from securetenant.model import names


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ours in an atomic list: others write it too, and the API server replaces it only as a whole.

    `name`: its key in a desired object's body. `path`: the path of the list. `key`, `value`: the field that identifies
    our entry, and its value. `fields`: the fields that are ours; the server may add others.
    """

    name: str
    path: tuple[str, str]
    key: str
    value: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mirror:
    """Kubernetes enforces the part at `status`, and one of its controllers copies it there from `spec` whenever the
    spec changes. `nudge`: what may be added at `spec` without changing its meaning, so that it is copied again."""

    spec: tuple[str, str]
    status: tuple[str, str]
    nudge: tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of the Kubernetes API. There is one value of each: kinds are compared by identity, and sorted by name.

    `content`: the top-level fields with the declared content (compared exactly in objects that are entirely ours);
    `extra`: further fields that are cached because a control reads them.
    `immutable`: fields that the API server refuses to change in place. `restricts`: an object of this kind only takes
    rights away, so that a missing one leaves something open. `guards`: prefixes of labels and annotations whose values
    close access, on objects that others write too. `mark`: the label that names the owning tenant, if it is not the
    usual one.
    `component`: the part of manifests/ that grants the rights over it, if they are opt-in.
    `versioned`: whether a write states the observed resourceVersion, or only the UID. `within`, `selector`: the
    namespace and the label selector that its objects are watched by. `metadata_only`: only the metadata of its objects
    is read; it has no `content`. `controlled`: which object controls each of its objects is read as well.
    `optional`: a custom resource that a cluster need not serve. If it is not served, the operator works without it, and
    a control reports the consequences (`World.serves`). Like any kind it needs the right to list and watch it; it also
    needs the right to list and watch CustomResourceDefinitions, from which the operator learns when the kind is added
    or removed.
    `owned`: the fields that are ours in objects that others write too (network plug-ins, which fill in the rest).
    `prefix`: it is cluster-scoped, and each of its objects is about one namespace and named after it: this, the
    namespace, and a suffix from "." on. It exists before its namespace is created.
    `fixed`: paths that are never put right, only reported, because that would take addresses from running pods.
    `narrow`: of these top-level fields, the only keys that are read.
    `since`: it is not a custom resource, but part of Kubernetes itself from this version on ("1.36"). An API server
    that does not serve it will do so after it was upgraded.
    """

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool
    content: tuple[str, ...] = ("spec",)
    extra: tuple[str, ...] = ()
    immutable: tuple[tuple[str, ...], ...] = ()
    restricts: bool = False
    guards: tuple[str, ...] = ()
    versioned: bool = True
    within: str = ""
    selector: str = ""
    optional: bool = False
    since: str = ""
    metadata_only: bool = False
    controlled: bool = False
    mark: str = ""
    component: str = ""
    entry: Entry | None = None
    mirror: Mirror | None = None
    owned: tuple[str, ...] = ()
    prefix: str = ""
    fixed: tuple[tuple[str, ...], ...] = ()
    narrow: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether others write its objects too, and only some fields are ours."""
        return not self.content

    @property
    def kept(self) -> tuple[str, ...]:
        """The top-level fields of its objects that are read."""
        return () if self.metadata_only else (*self.content, *self.extra)

    @property
    def form(self) -> str:
        """The form in which its objects are requested (such as PartialObjectMetadata); "" for their own."""
        return "PartialObjectMetadata" if self.metadata_only else ""

    def __lt__(self, other: "Kind") -> bool:
        return (self.name, self.group) < (other.name, other.group)

    def __str__(self) -> str:
        return self.name

    @property
    def plural_name(self) -> str:
        """The plural for texts: "SecureTenants"."""
        stem = len(self.name) - 1
        return self.name[:stem] + self.plural[stem:]

    @property
    def key(self) -> str:
        """Its name in records in the cluster: the kind's name for Kubernetes' own kinds, otherwise with the group,
        since more than one project has a NetworkPolicy."""
        is_builtin = "." not in self.group or self.group.endswith(".k8s.io") or self.group == names.GROUP
        return self.name if is_builtin else f"{self.name}.{self.group}"

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
SUBNET_POOL: Final = Kind("SubnetPool", names.GROUP, names.VERSION, "subnetpools", namespaced=False, extra=("status",))
NETWORK_TEMPLATE: Final = Kind(
    "NetworkTemplate", names.GROUP, names.VERSION, "networktemplates", namespaced=False, extra=("status",)
)
NAMESPACE: Final = Kind(
    "Namespace",
    "",
    "v1",
    "namespaces",
    namespaced=False,
    content=(),
    extra=("status",),
    # The latter two bind it to its subnet: pods that are born meanwhile have other addresses for life.
    guards=("pod-security.kubernetes.io/", "cni.projectcalico.org/", "ipam.cilium.io/"),
)
NODE: Final = Kind(
    "Node",
    "",
    "v1",
    "nodes",
    namespaced=False,
    content=(),
    extra=("spec", "status"),
    narrow=(("status", ("addresses",)),),
    mark=names.NODE_LABEL_TENANT,
    component="nodes",
    entry=Entry("taint", ("spec", "taints"), "key", names.NODE_TAINT, ("key", "value", "effect")),
)
# Those on dedicated nodes alone, with a watch for each node (engine/node_pods.py).
POD: Final = Kind(
    "Pod",
    "",
    "v1",
    "pods",
    namespaced=True,
    content=(),
    metadata_only=True,
    controlled=True,
    component="nodes",
)
RESOURCE_QUOTA: Final = Kind(
    "ResourceQuota",
    "",
    "v1",
    "resourcequotas",
    namespaced=True,
    extra=("status",),
    immutable=(("spec", "scopes"), ("spec", "scopeSelector")),
    restricts=True,
    # Each pod that is created or deleted changes its status, so with frequent changes a write with the resourceVersion
    # fails every time (22 of 22, measured). What others wrote into it meanwhile is replaced.
    versioned=False,
    # kube-controller-manager recalculates only when spec.hard changes (or every five minutes). The nudge is about a
    # cluster-scoped kind: while it is there it limits nothing.
    mirror=Mirror(("spec", "hard"), ("status", "hard"), (f"count/{SECURE_TENANT.plural}.{SECURE_TENANT.group}", "0")),
)
LIMIT_RANGE: Final = Kind("LimitRange", "", "v1", "limitranges", namespaced=True, restricts=True)
NETWORK_POLICY: Final = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", namespaced=True)
ROLE_BINDING: Final = Kind(
    "RoleBinding",
    "rbac.authorization.k8s.io",
    "v1",
    "rolebindings",
    namespaced=True,
    content=("roleRef", "subjects"),
    immutable=(("roleRef",),),
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
    # Only the endpoints of the API server itself matter.
    within="default",
    selector="kubernetes.io/service-name=kubernetes",
)
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "CustomResourceDefinition",
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    namespaced=False,
    content=(),
    metadata_only=True,
)
_ADMISSION: Final = "admissionregistration.k8s.io"
VALIDATING_POLICY: Final = Kind(
    "ValidatingAdmissionPolicy",
    _ADMISSION,
    "v1",
    "validatingadmissionpolicies",
    namespaced=False,
    extra=("status",),
    optional=True,
    since="1.30",
)
VALIDATING_BINDING: Final = Kind(
    "ValidatingAdmissionPolicyBinding",
    _ADMISSION,
    "v1",
    "validatingadmissionpolicybindings",
    namespaced=False,
    optional=True,
    since="1.30",
)
MUTATING_POLICY: Final = Kind(
    "MutatingAdmissionPolicy",
    _ADMISSION,
    "v1",
    "mutatingadmissionpolicies",
    namespaced=False,
    optional=True,
    since="1.36",
)
MUTATING_BINDING: Final = Kind(
    "MutatingAdmissionPolicyBinding",
    _ADMISSION,
    "v1",
    "mutatingadmissionpolicybindings",
    namespaced=False,
    optional=True,
    since="1.36",
)


def _subnet(
    name: str, group: str, version: str, plural: str, *fixed: str, narrow: tuple[tuple[str, tuple[str, ...]], ...] = ()
) -> Kind:
    """The object by which a network plug-in is told of a namespace's subnet. `fixed`: the fields of its spec that hold
    the addresses; `narrow`: as in Kind, of what is read beside the spec."""
    return Kind(
        name,
        group,
        version,
        plural,
        namespaced=False,
        content=(),
        extra=("spec", *(field for field, _ in narrow)),
        narrow=narrow,
        optional=True,
        component="subnets",
        owned=("spec",),
        prefix=f"{names.CHILD_PREFIX}-",
        fixed=tuple(("spec", field) for field in fixed),
    )


KUBE_OVN_SUBNET: Final = _subnet(
    # Its status is written with each pod.
    *("Subnet", "kubeovn.io", "v1", "subnets", "cidrBlock"),
    narrow=(("status", ("conditions",)),),
)
CALICO_IP_POOL: Final = _subnet("IPPool", "crd.projectcalico.org", "v1", "ippools", "cidr", "blockSize")
CILIUM_POD_IP_POOL: Final = _subnet("CiliumPodIPPool", "cilium.io", "v2alpha1", "ciliumpodippools", "ipv4", "ipv6")


def _foreign(
    name: str, group: str, version: str, plural: str, *, namespaced: bool = False, extra: tuple[str, ...] = ()
) -> Kind:
    """A kind of policy that a network plug-in enforces beside NetworkPolicy. The operator writes none."""
    return Kind(name, group, version, plural, namespaced, content=(), extra=("spec", *extra), optional=True)


_CALICO: Final = ("crd.projectcalico.org", "v1")
_CILIUM: Final = ("cilium.io", "v2")
_POLICY: Final = "policy.networking.k8s.io"
CALICO_NETWORK_POLICY: Final = _foreign("NetworkPolicy", *_CALICO, "networkpolicies", namespaced=True)
CALICO_GLOBAL_NETWORK_POLICY: Final = _foreign("GlobalNetworkPolicy", *_CALICO, "globalnetworkpolicies")
CILIUM_NETWORK_POLICY: Final = _foreign(
    "CiliumNetworkPolicy", *_CILIUM, "ciliumnetworkpolicies", namespaced=True, extra=("specs",)
)
CILIUM_CLUSTERWIDE_NETWORK_POLICY: Final = _foreign(
    "CiliumClusterwideNetworkPolicy", *_CILIUM, "ciliumclusterwidenetworkpolicies", extra=("specs",)
)
ADMIN_NETWORK_POLICY: Final = _foreign("AdminNetworkPolicy", _POLICY, "v1alpha1", "adminnetworkpolicies")
BASELINE_ADMIN_NETWORK_POLICY: Final = _foreign(
    "BaselineAdminNetworkPolicy", _POLICY, "v1alpha1", "baselineadminnetworkpolicies"
)
# Others write some as well: which are ours, controls/network/admin_tier.py decides.
CLUSTER_NETWORK_POLICY: Final = Kind(
    "ClusterNetworkPolicy",
    _POLICY,
    "v1alpha2",
    "clusternetworkpolicies",
    namespaced=False,
    optional=True,
    component="admin-tier",
)
SERVICE_CIDR: Final = Kind(
    "ServiceCIDR", "networking.k8s.io", "v1", "servicecidrs", namespaced=False, optional=True, since="1.33"
)
LEASE: Final = Kind("Lease", "coordination.k8s.io", "v1", "leases", namespaced=True)
