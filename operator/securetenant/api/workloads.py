"""What a tenant's workloads may never do: the sections `runtime`, `images`, `locks` and `exemptions` of the spec.

Values travel to the admission policies in annotations of the namespace, as lists ("a,b;c=d"): no value here may contain
one of the separators.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from securetenant.api.constraints import Rule, SpecModel, Text, Unique
from securetenant.api.types import SUBDOMAIN, ExemptedLabels, Line, OwnNamespaceName, PortNumber, Ticket, Time
from securetenant.model import names

AdmissionMode = Literal["Deny", "Warn"]
PodSecurityLevel = Literal["Restricted", "Baseline", "Privileged"]

HostPathPrefix = Annotated[
    str,
    Text(
        r"/|(/([A-Za-z0-9_@+-]|\.[A-Za-z0-9_@+-])[A-Za-z0-9._@+-]*)+",
        'an absolute path without "..", "//" or a "/" at its end, as "/var/log/app"',
        253,
    ),
]
Capability = Annotated[
    str, Text("[A-Z][A-Z0-9_]{1,39}", 'a capability without CAP_, as "NET_BIND_SERVICE"', 40),
    Rule(
        "self != 'ALL' && !self.startsWith('CAP_')",
        'write each capability by its name, without CAP_, as "NET_BIND_SERVICE"; ALL cannot be allowed',
        lambda value: value != "ALL" and not value.startswith("CAP_"),
    ),
]  # fmt: skip
ClassName = Annotated[str, Text(SUBDOMAIN, 'the name of a class, as "gvisor"', 253)]
PriorityClassName = Annotated[
    str,
    Text(SUBDOMAIN, 'the name of a PriorityClass, as "tenant-high"', 253),
    Rule(
        "!self.startsWith('system-')",
        "the system-* classes are the cluster's own and cannot be given to a tenant: name another class",
        lambda value: not value.startswith("system-"),
    ),
    Rule(
        f"self != '{names.PRIORITY_CLASS}'",
        "this is the operator's own class: name another class",
        lambda value: value != names.PRIORITY_CLASS,
    ),
]
Registry = Annotated[
    str,
    Text(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*",
        'a registry, with or without the beginning of a path, as "registry.bank.example/payments"',
        200,
    ),
    Rule(
        "self.split('/')[0].contains('.') || self.split('/')[0].contains(':') || self.split('/')[0] == 'localhost'",
        'begins with no registry: write it out, as "docker.io/library" for what is pulled as "nginx"',
        lambda value: "." in (host := value.split("/")[0]) or ":" in host or host == "localhost",
    ),
]


class HostPath(SpecModel):
    """A directory of the nodes that pods may mount, with all below it."""

    path: HostPathPrefix = Field(description="The directory; what is below it is included.")
    read_only: bool = Field(True, description="Whether each mount of it must be readOnly. Default: true.")


class Runtime(SpecModel):
    """What pods may do on their nodes. Not given: nothing that is listed here."""

    pod_security: PodSecurityLevel = Field(
        "Restricted", description="The level of the Pod Security Standards: Restricted, Baseline or Privileged."
    )
    read_only_root_filesystem: bool = Field(
        True, description="Whether the root filesystem of each container must be read-only. Default: true."
    )
    host_paths: Annotated[list[HostPath], Field(max_length=32), Unique("path")] = Field(
        default_factory=list, description="Directories of the nodes that pods may mount."
    )
    host_ports: Annotated[list[PortNumber], Field(max_length=64), Unique()] = Field(
        default_factory=list, description="Ports of the nodes that pods may use."
    )
    add_capabilities: Annotated[list[Capability], Field(max_length=41), Unique()] = Field(
        default_factory=list, description="Capabilities that containers may add."
    )
    service_account_tokens: bool = Field(
        True, description="Whether pods may mount a token of their ServiceAccount. Default: true."
    )
    runtime_classes: Annotated[list[ClassName], Field(max_length=32), Unique()] = Field(
        default_factory=list, description="RuntimeClasses of which pods must name one. Default: any, or none."
    )
    priority_classes: Annotated[list[PriorityClassName], Field(max_length=32), Unique()] = Field(
        default_factory=list,
        description="PriorityClasses that pods may have, the cluster's default class included. Default: none.",
    )
    evictable: bool = Field(True, description="Whether each PodDisruptionBudget must allow evictions. Default: true.")


class Images(SpecModel):
    """Which images pods may run."""

    registries: Annotated[list[Registry], Field(max_length=100), Unique()] = Field(
        default_factory=list,
        description="Registries, with or without the beginning of a path, that images may come from. Default: any.",
    )
    digest_required: bool = Field(True, description="Whether images must be named by digest. Default: true.")
    always_pull: bool = Field(
        True,
        description="Whether imagePullPolicy must be Always: each pod needs a right to its image. Default: true.",
    )


class Locks(SpecModel):
    """What nobody but the operator may change, enforced at admission."""

    namespaces: bool = Field(
        True, description="The tenant's namespaces: the operator's marks on them, and their deletion. Default: true."
    )
    posture: bool = Field(
        True,
        description="What the operator makes in them: network policies, role bindings, quotas and limit ranges; and "
        "those of others, where `foreign` says Remove. Default: true.",
    )


# The checks that an exemption can name, by control. tests/controls/admission compares them with the controls' own.
EXEMPTIBLE: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime": (
        *("privileged", "hostNamespaces", "hostProcess", "hostProbes", "appArmor", "seLinux", "procMount", "seccomp"),
        *("sysctls", "volumeTypes", "privilegeEscalation", "runAsNonRoot", "runAsUser", "dropCapabilities"),
        *("readOnlyRootFilesystem", "hostPaths", "hostPathMounts", "hostPorts", "addCapabilities"),
        # Not `priorityClasses` and `nodeName`: they would displace others' pods, and open the nodes of other tenants.
        *("serviceAccountTokens", "runtimeClasses", "disruptionBudget"),
    ),
    "images": ("reference", "registries", "digest", "pullPolicy"),
    # Not `dataSource`: it would read what is another tenant's.
    "storage": ("classes", "chosenVolume", "attributesClass"),
    # Not `tolerations`: it would open the nodes of other tenants, which did not agree to it.
    "nodes": ("selection", "foreignNodes"),
    # Not `hosts` and `dnsNames`: they would take what another tenant may hold.
    "exposure": (
        *("nodePorts", "loadBalancers", "loadBalancerClasses", "externalIPs", "externalNames", "selectors"),
        *("endpoints", "tls", "classes", "gateways", "snippets"),
    ),
    # Not the others: they would open the subnets of other tenants.
    "network": ("furtherNetworks",),
}
_IDS: Final = tuple(f"{control}/{check}" for control, checks in EXEMPTIBLE.items() for check in checks)


class Exemption(SpecModel):
    """One check that does not hold in one namespace, until a set time."""

    control: Literal["runtime", "images", "storage", "nodes", "exposure", "network"] = Field(
        description="The control: runtime, images, storage, nodes, exposure or network."
    )
    check: Annotated[str, Text("[a-z][A-Za-z]{1,39}", 'the name of a check, as "readOnlyRootFilesystem"', 40)] = Field(
        description="The check, as in docs/controls."
    )
    namespace: OwnNamespaceName = Field(description="The namespace, one of the tenant's.")
    pods: ExemptedLabels = Field(
        default_factory=dict,
        description="Only pods, or other objects that the check is about, created with these labels. Default: all of "
        "the namespace.",
    )
    reason: Line = Field(description="Why.")
    ticket: Ticket = Field("", description="The ticket of the approval.")
    approved_by: Line = Field("", description="Who approved it.")
    expires: Time = Field(description="When it ends, by the API server's clock.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"(self.control + '/' + self.check) in {list(_IDS)}",
            "the control has no check of this name: write one from the table of checks in docs/controls",
            lambda exemption: exemption.id in _IDS,
            field="check",
            inputs=("control", "check"),
        ),
    )

    @property
    def id(self) -> str:
        """The ID of the check: "runtime/privileged"."""
        return f"{self.control}/{self.check}"


def _differ(exemptions: Sequence[Exemption]) -> bool:
    """Whether no two exemptions are for the same check, namespace and pods."""
    return len({(e.id, e.namespace, frozenset(e.pods.items())) for e in exemptions}) == len(exemptions)


Exemptions = Annotated[
    list[Exemption],
    Field(max_length=64),
    Rule(
        # Maps are compared entry by entry: the API server does not know how long their keys are, and so what == costs.
        "self.all(a, self.exists_one(b, a.check == b.check && a.control == b.control && "
        "a.__namespace__ == b.__namespace__ && (has(a.pods) ? size(a.pods) : 0) == (has(b.pods) ? size(b.pods) : 0) "
        "&& (!has(a.pods) || a.pods.all(k, k in b.pods && a.pods[k] == b.pods[k]))))",
        "two exemptions are for the same check, namespace and pods: keep one, with the end that is meant",
        _differ,
    ),
]
