"""The SecureTenant resource: the spec that a platform team writes. The models generate crds/."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from securetenant.api.constraints import Rule, SpecModel, Unique
from securetenant.api.exposure import Exposure
from securetenant.api.network import (
    EgressRule,
    ForeignPolicy,
    IngressRule,
    LabelExpression,
    Network,
    Peer,
    PodSelector,
    Port,
    Protocol,
    Side,
    TemplateUse,
)
from securetenant.api.resources import Hard, Limits, ObjectLimits, Quota
from securetenant.api.status import SecureTenantStatus
from securetenant.api.storage import Storage
from securetenant.api.subnets import Subnet, Subnets
from securetenant.api.types import (
    Line,
    NamespaceAnnotations,
    NamespaceLabels,
    NamespaceNames,
    NodeLabels,
    OptionalNamespaceName,
    OwnNamespaceName,
    SubjectName,
    TenantName,
)
from securetenant.api.workloads import AdmissionMode, Exemptions, Images, Locks, Runtime

__all__ = [
    "Access",
    "Binding",
    "DeletionPolicy",
    "Effect",
    "EgressRule",
    "Exposure",
    "ForeignPolicy",
    "IngressRule",
    "LabelExpression",
    "Limits",
    "Metadata",
    "Mode",
    "NamespaceSpec",
    "Network",
    "NodeSelector",
    "Nodes",
    "ObjectLimits",
    "Owner",
    "Peer",
    "PodSelector",
    "Port",
    "Protocol",
    "Quota",
    "Role",
    "SecureTenant",
    "SecureTenantSpec",
    "Side",
    "SpecModel",
    "Subject",
    "Subnet",
    "Subnets",
    "TemplateUse",
]

Mode = Literal["Enforce", "Audit", "Paused"]
DeletionPolicy = Literal["Retain", "Delete"]
Role = Literal["Viewer", "Auditor", "Operator", "Developer", "Admin"]
Effect = Literal["NoSchedule", "NoExecute"]


class Owner(SpecModel):
    """Who answers for the tenant."""

    team: Line = Field(description="The team.")
    contact: Line = Field("", description="How to reach it.")


class NamespaceSpec(SpecModel):
    """One namespace of the tenant."""

    name: OwnNamespaceName = Field(description="The namespace's name: a DNS label, not a system namespace.")
    labels: NamespaceLabels = Field(default_factory=dict, description="Labels of the namespace.")
    annotations: NamespaceAnnotations = Field(default_factory=dict, description="Annotations of the namespace.")
    adopt: bool = Field(
        False,
        description="Take over an existing namespace (never a system namespace or another tenant's). Default: false.",
    )
    subnet: Subnet | None = Field(
        None, description="The addresses of its pods. Default: those that the network plug-in gives to everybody."
    )
    quota: Hard = Field(default_factory=dict, description="Overrides spec.quota.namespace, resource by resource.")
    limits: Limits | None = Field(None, description="Overrides spec.limits, type by type.")


def _is_subdomain(name: str) -> bool:
    """An RFC 1123 subdomain as Kubernetes validates it: without a maximum length of each label."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    return all(part and set(part) <= allowed and part[0] != "-" and part[-1] != "-" for part in name.split("."))


_SUBJECT_RULES: Final = (
    Rule(
        "(self.kind == 'ServiceAccount') == (has(self.__namespace__) && self.__namespace__ != '')",
        "a ServiceAccount needs its namespace, a User or a Group has none: add or remove namespace",
        lambda s: (s.kind == "ServiceAccount") == bool(s.namespace),
        field="namespace",
        inputs=("kind", "namespace"),
    ),
    Rule(
        "self.kind == 'ServiceAccount' || !self.name.startsWith('system:')",
        "names that begin with system: are reserved for Kubernetes: use a user or a group of your own "
        "(for a ServiceAccount, kind ServiceAccount)",
        lambda s: s.kind == "ServiceAccount" or not s.name.startswith("system:"),
        field="name",
        inputs=("kind", "name"),
    ),
    Rule(
        "self.kind != 'ServiceAccount' || !format.dns1123Subdomain().validate(self.name).hasValue()",
        'the name of a ServiceAccount has lower-case letters, digits, "-" and ".", e.g. "deployer": correct it',
        lambda s: s.kind != "ServiceAccount" or _is_subdomain(s.name),
        field="name",
        inputs=("kind", "name"),
    ),
)


class Subject(SpecModel):
    """A user, a group or a ServiceAccount."""

    kind: Literal["User", "Group", "ServiceAccount"] = Field(description="User, Group or ServiceAccount.")
    name: SubjectName = Field(description="The subject's name.")
    namespace: OptionalNamespaceName = Field("", description="The ServiceAccount's namespace; none for others.")

    RULES: ClassVar[tuple[Rule, ...]] = _SUBJECT_RULES


class Binding(SpecModel):
    """A role, and the subjects that it is granted to."""

    role: Role = Field(description="One of the five shipped ClusterRoles.")
    subjects: list[Subject] = Field(min_length=1, max_length=32, description="Who is granted the role.")
    namespaces: NamespaceNames | None = Field(None, description="In which namespaces. Default: all of the tenant's.")


class Access(SpecModel):
    """Who may do what."""

    bindings: list[Binding] = Field(default_factory=list, max_length=32, description="Roles, and who is granted them.")
    foreign: ForeignPolicy = Field(
        "Report", description="What to do with RoleBindings that others made: Report, Remove or Ignore."
    )


class NodeSelector(SpecModel):
    """Which nodes."""

    match_labels: NodeLabels = Field(description="Labels that a node must have, all of them; at least one.")


class Nodes(SpecModel):
    """Nodes dedicated to this tenant."""

    selector: NodeSelector = Field(description="Which nodes.")
    effect: Effect = Field("NoSchedule", description="The taint's effect: NoSchedule or NoExecute.")


def _names_of(sides: Iterable[Side | Binding | TemplateUse]) -> set[str]:
    return {name for side in sides for name in side.namespaces or ()}


def _declares(spec: "SecureTenantSpec", used: set[str]) -> bool:
    return not used or used <= {namespace.name for namespace in spec.namespaces}


_DECLARED: Final = "(has(self.namespaces) ? self.namespaces.map(m, m.name) : [])"
_UNDECLARED: Final = "names a namespace that is not in spec.namespaces: add it there or remove it here"

_SPEC_RULES: Final = (
    Rule(
        f"""!has(self.access) || !has(self.access.bindings) || self.access.bindings.all(b, !has(b.namespaces) ||
        b.namespaces.all(n, n in {_DECLARED}))""",
        f"access.bindings {_UNDECLARED}",
        lambda spec: _declares(spec, _names_of(spec.access.bindings)),
        inputs=("namespaces", "access"),
    ),
    Rule(
        f"""!has(self.network) || !has(self.network.ingress) || self.network.ingress.all(r, !has(r.to) ||
        !has(r.to.namespaces) || r.to.namespaces.all(n, n in {_DECLARED}))""",
        f"network.ingress: to {_UNDECLARED}",
        lambda spec: _declares(spec, _names_of(rule.to for rule in spec.network.ingress)),
        inputs=("namespaces", "network"),
    ),
    Rule(
        f"""!has(self.network) || !has(self.network.egress) || self.network.egress.all(r, !has(r.from) ||
        !has(r.from.namespaces) || r.from.namespaces.all(n, n in {_DECLARED}))""",
        f"network.egress: from {_UNDECLARED}",
        lambda spec: _declares(spec, _names_of(rule.from_ for rule in spec.network.egress)),
        inputs=("namespaces", "network"),
    ),
    Rule(
        f"""!has(self.network) || !has(self.network.templates) || self.network.templates.all(t,
        !has(t.namespaces) || t.namespaces.all(n, n in {_DECLARED}))""",
        f"network.templates: namespaces {_UNDECLARED}",
        lambda spec: _declares(spec, _names_of(spec.network.templates)),
        inputs=("namespaces", "network"),
    ),
    Rule(
        """!has(self.network) || !has(self.network.peersBy) || self.network.peersBy != 'Subnet' ||
        !has(self.subnets) || !has(self.subnets.provider) || self.subnets.provider != 'Cilium'""",
        "network.peersBy: Subnet opens nothing with Cilium, whose policies match no pods by address: write Selector",
        lambda spec: spec.network.peers_by != "Subnet" or spec.subnets.provider != "Cilium",
        inputs=("network", "subnets"),
    ),
    Rule(
        f"!has(self.exemptions) || self.exemptions.all(e, e.namespace in {_DECLARED})",
        f"exemptions: namespace {_UNDECLARED}",
        lambda spec: _declares(spec, {exemption.namespace for exemption in spec.exemptions}),
        inputs=("namespaces", "exemptions"),
    ),
)


class SecureTenantSpec(SpecModel):
    """The desired posture of the tenant. Defaults are closed; what others create there is reported."""

    display_name: Line = Field("", description="A name for people.")
    owner: Owner | None = Field(None, description="Who answers for the tenant.")
    mode: Mode = Field(
        "Enforce",
        description="Enforce: create and correct objects. Audit: only report. Paused: do nothing.",
    )
    deletion_policy: DeletionPolicy = Field(
        "Retain",
        description="On deletion, Retain: keep the namespaces with their policies. Delete: delete the namespaces too.",
    )
    admission: AdmissionMode = Field(
        "Deny",
        description="What the API server does in mode Enforce with a workload that breaks a rule. Deny: refuse its "
        "pods. Warn: admit them with a warning.",
    )
    namespaces: Annotated[list[NamespaceSpec], Field(max_length=64), Unique("name")] = Field(
        default_factory=list, description="The tenant's namespaces."
    )
    access: Access = Field(default=Access(), description="Who may do what: RoleBindings in each namespace.")
    network: Network = Field(default=Network(), description="Who may talk to whom: NetworkPolicies in each namespace.")
    subnets: Subnets = Field(default=Subnets(), description="How the subnets of the namespaces are made.")
    quota: Quota = Field(default=Quota(), description="How much the tenant may use: ResourceQuotas.")
    limits: Limits = Field(default=Limits(), description="What one container, pod or claim may request: LimitRanges.")
    nodes: Nodes | None = Field(None, description="Nodes dedicated to this tenant.")
    runtime: Runtime = Field(default=Runtime(), description="What workloads may never do: checked at admission.")
    images: Images | None = Field(None, description="Which images may run. Default: any.")
    storage: Storage = Field(default=Storage(), description="Which volumes may be claimed: checked at admission.")
    exposure: Exposure = Field(
        default=Exposure(), description="What Services, Ingresses and routes may open to the outside."
    )
    locks: Locks = Field(default=Locks(), description="What nobody but the operator may change.")
    exemptions: Exemptions = Field(
        default_factory=list, description="Checks that do not hold for a while, in one namespace each."
    )

    RULES: ClassVar[tuple[Rule, ...]] = _SPEC_RULES


class Metadata(BaseModel):
    """The part of ObjectMeta that the operator reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: TenantName
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    finalizers: list[str] = Field(default_factory=list)
    annotations: dict[str, str] = Field(default_factory=dict)


class SecureTenant(BaseModel):
    """One tenant: the resource as the API server holds it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    api_version: Literal["securetenant.dev/v1alpha1"] = "securetenant.dev/v1alpha1"
    kind: Literal["SecureTenant"] = "SecureTenant"
    metadata: Metadata
    spec: SecureTenantSpec
    status: SecureTenantStatus = SecureTenantStatus()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def is_edited(self) -> bool:
        """Whether its spec is newer than status.observedGeneration."""
        return self.metadata.generation > (self.status.observed_generation or 0)

    @property
    def is_retried(self) -> bool:
        """Whether its status says that something is being retried."""
        return any(condition.type == "Reconciling" for condition in self.status.conditions)
