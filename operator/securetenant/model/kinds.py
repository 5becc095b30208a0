"""The kinds that SecureTenant reads or writes, as data."""

from dataclasses import dataclass
from typing import Final

from securetenant.model import names


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ours in a list that others write too, and that the API server replaces as a whole (an atomic list).

    `name`: what a desired object's body calls it. `path`: of the list. `key`, `value`: the field that tells the entry
    from others', and what stands there. `fields`: those that are ours; the server may add others.
    """

    name: str
    path: tuple[str, str]
    key: str
    value: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mirror:
    """Kubernetes enforces what stands in `status`, and one of its controllers copies it there from `spec` whenever that
    changes. `nudge`: what may be added to `spec` without another meaning, so that it changes."""

    spec: tuple[str, str]
    status: tuple[str, str]
    nudge: tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of the Kubernetes API. There is one value of each: kinds are compared by identity, and sorted by name.

    `content` names the top-level fields that hold what is declared (compared exactly on objects that are
    wholly ours); `extra` those that are kept beside it in the caches because a control reads them.
    `immutable`: what the API server refuses to change in place. `restricts`: an object of it only ever takes away, and
    where one is missing, something is open. `guards`: prefixes of labels whose values close, on objects that others
    write too. `mark`: the label that tells whose it is, where that is not the one of all. `component`: of manifests/,
    which grants the rights over it, where that is a choice.
    `versioned`: whether a write states the resourceVersion that was seen, or the UID alone. `within`, `selector`: the
    namespace and the label selector that its objects are watched by. `metadata_only`: of its objects the metadata alone
    is read; it has no `content`.
    `optional`: a custom resource that a cluster need not serve. Where it is not served the operator works without it,
    and a control says what follows from that (`World.serves`). It needs the right to list and watch the kind, as any
    does, and to list and watch CustomResourceDefinitions, by which it notices when the kind comes or goes.
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
    metadata_only: bool = False
    mark: str = ""
    component: str = ""
    entry: Entry | None = None
    mirror: Mirror | None = None

    @property
    def is_shared(self) -> bool:
        """Whether others write its objects too, and only some fields are ours."""
        return not self.content

    @property
    def kept(self) -> tuple[str, ...]:
        """The top-level fields that are read of its objects."""
        return () if self.metadata_only else (*self.content, *self.extra)

    @property
    def form(self) -> str:
        """What its objects are asked for as, "" for what they are."""
        return "PartialObjectMetadata" if self.metadata_only else ""

    def __lt__(self, other: "Kind") -> bool:
        return (self.name, self.group) < (other.name, other.group)

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """What records on the cluster call it. A kind of Kubernetes' own by its name; another by its group too, for
        more than one project has a NetworkPolicy."""
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
NAMESPACE: Final = Kind(
    "Namespace",
    "",
    "v1",
    "namespaces",
    namespaced=False,
    content=(),
    extra=("status",),
    guards=("pod-security.kubernetes.io/",),
)
NODE: Final = Kind(
    "Node",
    "",
    "v1",
    "nodes",
    namespaced=False,
    content=(),
    extra=("spec",),
    mark=names.NODE_LABEL_TENANT,
    component="nodes",
    entry=Entry("taint", ("spec", "taints"), "key", names.NODE_TAINT, ("key", "value", "effect")),
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
    # Each pod that comes or goes writes its status, and where pods come and go a write with the version loses every
    # time (22 of 22, measured). What others may have written into it meanwhile is replaced.
    versioned=False,
    # kube-controller-manager counts anew when spec.hard changes, and then only (or every five minutes). The nudge is of
    # a kind that is in no namespace: as long as it stands there it limits nothing.
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
    # The only endpoints that matter here: those of the API server itself.
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
LEASE: Final = Kind("Lease", "coordination.k8s.io", "v1", "leases", namespaced=True)
