"""The network section of the spec: who may talk to whom."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from securetenant.api.constraints import Rule, SpecModel, Unique
from securetenant.api.types import (
    Cidr,
    LabelKey,
    LabelValue,
    MatchLabels,
    NamespaceName,
    NamespaceNames,
    ParameterName,
    PortNumber,
    RuleName,
    TemplateName,
    TenantName,
    Ticket,
    Time,
    network,
)

ForeignPolicy = Literal["Report", "Remove", "Ignore"]
PeersBy = Literal["Selector", "Subnet", "Both"]
Protocol = Literal["TCP", "UDP", "SCTP"]
ParameterType = Literal["Pods", "Port", "Namespaces", "Namespace", "Cidr", "Tenant"]
MOST_RULES: Final = 64  # of one direction


class LabelExpression(SpecModel):
    """One requirement on a label."""

    key: LabelKey = Field(description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How to compare the label.")
    values: Annotated[list[LabelValue], Field(max_length=16), Unique()] = Field(
        default_factory=list, description="The values, for In and NotIn."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            """(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)""",
            "In and NotIn need at least one value, Exists and DoesNotExist have none: add or remove values",
            lambda e: (e.operator in ("In", "NotIn")) == bool(e.values),
            field="values",
            inputs=("operator", "values"),
        ),
    )


class PodSelector(SpecModel):
    """A LabelSelector over pods; empty selects all."""

    match_labels: MatchLabels = Field(default_factory=dict, description="Labels that a pod must have, all of them.")
    match_expressions: list[LabelExpression] = Field(
        default_factory=list, max_length=8, description="Requirements that a pod must meet, all of them."
    )


def lie_inside(parts: Iterable[str], cidr: str | None) -> bool:
    """Whether each part lies in the block and is smaller."""
    if cidr is None:
        return True
    whole = network(cidr)
    return all(
        part.version == whole.version and part.prefixlen > whole.prefixlen and part.network_address in whole
        for part in map(network, parts)
    )


_PEER_RULES: Final = (
    Rule(
        "[has(self.tenant), has(self.__namespace__), has(self.cidr)].filter(given, given).size() == 1",
        "a peer has exactly one form: write one of tenant, namespace and cidr (for more, add more peers)",
        lambda p: (p.tenant is not None) + (p.namespace is not None) + (p.cidr is not None) == 1,
        inputs=("tenant", "namespace", "cidr"),
    ),
    Rule(
        "!has(self.namespaces) || has(self.tenant)",
        'namespaces requires tenant: add tenant, or use "namespace" for a platform namespace',
        lambda p: p.namespaces is None or p.tenant is not None,
        field="namespaces",
        inputs=("tenant", "namespaces"),
    ),
    Rule(
        "!has(self.pods) || !has(self.cidr)",
        "pods cannot be selected within a cidr: remove pods, or use tenant or namespace instead of cidr",
        lambda p: p.pods is None or p.cidr is None,
        field="pods",
        inputs=("pods", "cidr"),
    ),
    Rule(
        "!has(self.except) || size(self.except) == 0 || has(self.cidr)",
        "except requires cidr: add the cidr that contains it",
        lambda p: not p.except_ or p.cidr is not None,
        field="except",
        inputs=("cidr", "except"),
    ),
    Rule(
        """!has(self.except) || !has(self.cidr) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) ||
        (cidr(self.cidr).containsCIDR(e) && cidr(e).prefixLength() > cidr(self.cidr).prefixLength()))""",
        "each except must be part of cidr and smaller than it: widen cidr or remove the except",
        lambda p: lie_inside(p.except_, p.cidr),
        field="except",
        inputs=("cidr", "except"),
    ),
)


class Peer(SpecModel):
    """Exactly one form: `tenant` (with `namespaces`, `pods`), `namespace` (with `pods`), `cidr` (with `except`)."""

    tenant: TenantName | None = Field(
        None, description="Another tenant (or this one). The flow is open once that tenant declares it as well."
    )
    namespaces: NamespaceNames | None = Field(
        None, description="Which namespaces of that tenant. Default: all of them."
    )
    namespace: NamespaceName | None = Field(
        None, description="A platform namespace: one that belongs to no tenant, such as ingress-nginx."
    )
    pods: PodSelector | None = Field(None, description="Which pods there. Default: all.")
    cidr: Cidr | None = Field(None, description="Addresses, e.g. 10.8.0.0/16 or 2001:db8::/32.")
    except_: Annotated[list[Cidr], Field(max_length=16), Unique()] = Field(
        default_factory=list, alias="except", description="Parts of cidr that are excluded."
    )

    RULES: ClassVar[tuple[Rule, ...]] = _PEER_RULES


class Side(SpecModel):
    """The tenant's own side of a rule."""

    namespaces: NamespaceNames | None = Field(None, description="Which of this tenant's namespaces. Default: all.")
    pods: PodSelector | None = Field(None, description="Which pods there. Default: all.")


def port_range() -> Rule:
    """The rule of a model with `port` and `endPort`."""
    return Rule(
        "!has(self.endPort) || (has(self.port) && self.port <= self.endPort)",
        "endPort is the end of a range that begins at port: set a port that is not more than endPort",
        lambda p: p.end_port is None or (p.port is not None and p.port <= p.end_port),
        field="endPort",
        inputs=("port", "endPort"),
    )


class Port(SpecModel):
    """A port, a range of ports, or all of a protocol."""

    protocol: Protocol = Field("TCP", description="TCP, UDP or SCTP. Default: TCP.")
    port: PortNumber | None = Field(None, description="The port. Default: every port of the protocol.")
    end_port: PortNumber | None = Field(None, description="The last port of a range that begins at port.")

    RULES: ClassVar[tuple[Rule, ...]] = (port_range(),)


Peers = Annotated[list[Peer], Field(min_length=1, max_length=32)]
Ports = Annotated[list[Port], Field(max_length=32)]


class IngressRule(SpecModel):
    """Allowed incoming traffic."""

    name: RuleName = Field(description="The rule's name, unique among the ingress rules.")
    to: Side = Field(default=Side(), description="The tenant's own side. Default: all its pods.")
    from_: Peers = Field(alias="from", description="Who may open the connection.")
    ports: Ports = Field(default_factory=list, description="Which ports. Default: all ports of all protocols.")
    ticket: Ticket = Field("", description="The change ticket that approves this rule.")
    expires: Time | None = Field(None, description="When the rule expires: its flows are closed at this time.")


class EgressRule(SpecModel):
    """Allowed outgoing traffic."""

    name: RuleName = Field(description="The rule's name, unique among the egress rules.")
    from_: Side = Field(default=Side(), alias="from", description="The tenant's own side. Default: all its pods.")
    to: Peers = Field(description="To whom a connection may be opened.")
    ports: Ports = Field(default_factory=list, description="Which ports. Default: all ports of all protocols.")
    ticket: Ticket = Field("", description="The change ticket that approves this rule.")
    expires: Time | None = Field(None, description="When the rule expires: its flows are closed at this time.")


# The types of a template's parameters, each with the field that holds a value of it.
FORMS: Final[Mapping[ParameterType, str]] = {
    "Pods": "pods",
    "Port": "port",
    "Namespaces": "namespaces",
    "Namespace": "namespace",
    "Cidr": "cidr",
    "Tenant": "tenant",
}


def _one_form() -> Rule:
    return Rule(
        "[has(self.pods), has(self.port), has(self.namespaces), has(self.__namespace__), has(self.cidr), "
        "has(self.tenant)].filter(given, given).size() == 1",
        "a value has exactly one form: write one of pods, port, namespaces, namespace, cidr and tenant",
        lambda v: len(v.given) == 1,
        inputs=tuple(FORMS.values()),
    )


class Value(SpecModel):
    """A value of a template's parameter: exactly one field, the one of the parameter's type."""

    pods: PodSelector | None = Field(None, description="For a parameter of type Pods: which pods.")
    port: PortNumber | None = Field(None, description="For a parameter of type Port: the port.")
    namespaces: NamespaceNames | None = Field(
        None, description="For a parameter of type Namespaces: namespaces of one tenant."
    )
    namespace: NamespaceName | None = Field(
        None, description="For a parameter of type Namespace: a platform namespace."
    )
    cidr: Cidr | None = Field(None, description="For a parameter of type Cidr: addresses outside of the cluster.")
    tenant: TenantName | None = Field(None, description="For a parameter of type Tenant: a tenant.")

    RULES: ClassVar[tuple[Rule, ...]] = (_one_form(),)

    @property
    def given(self) -> tuple[ParameterType, ...]:
        """The types whose fields are set; one in a valid value."""
        return tuple(kind for kind, field in FORMS.items() if getattr(self, field) is not None)


class Argument(Value):
    """What a tenant gives for a parameter of a template."""

    name: ParameterName = Field(description="The parameter's name.")

    RULES: ClassVar[tuple[Rule, ...]] = (_one_form(),)


class TemplateUse(SpecModel):
    """The rules of a NetworkTemplate, for this tenant."""

    name: RuleName | None = Field(
        None, description="What its rules' names begin with, unique in the list. Default: the template's name."
    )
    template: TemplateName = Field(description="The NetworkTemplate's name.")
    parameters: Annotated[list[Argument], Field(max_length=16), Unique("name")] = Field(
        default_factory=list, description="A value for each parameter of the template that has no default."
    )
    namespaces: NamespaceNames | None = Field(
        None, description="Which of this tenant's namespaces the rules are for. Default: all."
    )
    ticket: Ticket = Field("", description="The change ticket that approves it. Default: that of the template's rule.")
    expires: Time | None = Field(
        None, description="When the rules expire, unless the template lets them expire earlier."
    )

    @property
    def called(self) -> str:
        """Its name: the names of its rules are this, a hyphen, and the name in the template."""
        return self.name if self.name is not None else self.template


class Network(SpecModel):
    """Who may talk to whom: only what is declared here is open."""

    isolation: Literal["Namespace", "Tenant"] = Field(
        "Namespace", description="Which pods may talk freely: those of one Namespace, or of the whole Tenant."
    )
    dns: bool = Field(True, description="Whether pods may query the cluster's DNS.")
    api_server: bool = Field(False, description="Whether pods may reach the Kubernetes API server.")
    peers_by: PeersBy = Field(
        "Selector",
        description="How NetworkPolicies name peers in the cluster. Selector: by namespace and labels. Subnet: by the "
        "subnets of their namespaces. Both: a whole namespace by either.",
    )
    ingress: Annotated[list[IngressRule], Field(max_length=MOST_RULES), Unique("name")] = Field(
        default_factory=list, description="Allowed incoming traffic."
    )
    egress: Annotated[list[EgressRule], Field(max_length=MOST_RULES), Unique("name")] = Field(
        default_factory=list, description="Allowed outgoing traffic."
    )
    templates: list[TemplateUse] = Field(
        default_factory=list, max_length=16, description="Rules that the platform team keeps as NetworkTemplates."
    )
    foreign: ForeignPolicy = Field(
        "Report", description="What to do with NetworkPolicies that others made: Report, Remove or Ignore."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            """!has(self.templates) || self.templates.all(a, self.templates.exists_one(b,
            (has(b.name) ? b.name : b.template) == (has(a.name) ? a.name : a.template)))""",
            "two entries of templates have the same name: give one of them a name of its own",
            lambda n: len({use.called for use in n.templates}) == len(n.templates),
            field="templates",
            inputs=("templates",),
        ),
    )
