"""NetworkTemplates: rules that the platform team keeps once, with parameters, and that tenants refer to.

A field with a sibling `<field>From` is written as it is, or is the value of the parameter that the sibling names. A
value is a whole one, of the parameter's type: nothing is put together from text.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from securetenant.api.constraints import Rule, SpecModel, Unique
from securetenant.api.network import FORMS, ParameterType, PodSelector, Protocol, Value, lie_inside, port_range
from securetenant.api.status import Condition, StatusModel
from securetenant.api.types import (
    Cidr,
    Line,
    NamespaceName,
    NamespaceNames,
    ParameterName,
    PortNumber,
    TemplateName,
    TemplateRuleName,
    TenantName,
    Ticket,
    Time,
)


class Parameter(SpecModel):
    """A parameter of a template."""

    name: ParameterName = Field(description="The parameter's name.")
    type: ParameterType = Field(description="Pods, Port, Namespaces, Namespace, Cidr or Tenant.")
    description: Line = Field("", description="What it is, for who uses the template.")
    default: Value | None = Field(
        None, description="The value where a tenant gives none. Default: each tenant has to give one."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            """!has(self.default) || (self.type == 'Pods' ? has(self.default.pods) :
            self.type == 'Port' ? has(self.default.port) : self.type == 'Namespaces' ? has(self.default.namespaces) :
            self.type == 'Namespace' ? has(self.default.__namespace__) :
            self.type == 'Cidr' ? has(self.default.cidr) : has(self.default.tenant))""",
            "the default is of another type: write the field of the parameter's type, e.g. port for Port",
            lambda p: p.default is None or p.type in p.default.given,
            field="default",
            inputs=("type", "default"),
        ),
    )


def _either(field: str) -> Rule:
    """Not both a field and its sibling."""
    attribute = f"{field}_from"
    return Rule(
        f"!(has(self.{field}) && has(self.{field}From))",
        f"{field} and {field}From exclude each other: remove one",
        lambda value: getattr(value, field) is None or getattr(value, attribute) is None,
        field=f"{field}From",
        inputs=(field, f"{field}From"),
    )


class TemplateSide(SpecModel):
    """The own side of the tenant that uses the template."""

    namespaces_from: ParameterName | None = Field(
        None,
        description="Parameter of type Namespaces: which of that tenant's, among those of the entry in its spec. "
        "Default: all of these.",
    )
    pods: PodSelector | None = Field(None, description="Which pods there. Default: all.")
    pods_from: ParameterName | None = Field(None, description="Parameter of type Pods, in place of pods.")

    RULES: ClassVar[tuple[Rule, ...]] = (_either("pods"),)


def _forms(peer: "TemplatePeer") -> int:
    given = (peer.tenant, peer.tenant_from, peer.namespace, peer.namespace_from, peer.cidr, peer.cidr_from)
    return sum(one is not None for one in given)


_PEER_RULES: Final = (
    Rule(
        "[has(self.tenant), has(self.tenantFrom), has(self.__namespace__), has(self.namespaceFrom), has(self.cidr), "
        "has(self.cidrFrom)].filter(given, given).size() == 1",
        "a peer has exactly one form: write one of tenant, namespace and cidr, or one of tenantFrom, namespaceFrom and "
        "cidrFrom (for more, add more peers)",
        lambda p: _forms(p) == 1,
        inputs=("tenant", "tenantFrom", "namespace", "namespaceFrom", "cidr", "cidrFrom"),
    ),
    _either("namespaces"),
    _either("pods"),
    Rule(
        "!(has(self.namespaces) || has(self.namespacesFrom)) || has(self.tenant) || has(self.tenantFrom)",
        'namespaces requires tenant or tenantFrom: add one, or use "namespace" for a platform namespace',
        lambda p: (
            (p.namespaces is None and p.namespaces_from is None) or p.tenant is not None or p.tenant_from is not None
        ),
        field="namespaces",
        inputs=("tenant", "tenantFrom", "namespaces", "namespacesFrom"),
    ),
    Rule(
        "!(has(self.pods) || has(self.podsFrom)) || !(has(self.cidr) || has(self.cidrFrom))",
        "pods cannot be selected among addresses: remove pods, or use tenant or namespace instead of cidr",
        lambda p: (p.pods is None and p.pods_from is None) or (p.cidr is None and p.cidr_from is None),
        field="pods",
        inputs=("pods", "podsFrom", "cidr", "cidrFrom"),
    ),
    Rule(
        "!has(self.except) || size(self.except) == 0 || has(self.cidr)",
        "except requires a cidr that is written here: add the cidr that contains it",
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


class TemplatePeer(SpecModel):
    """Exactly one form, as in a rule of a SecureTenant, each written or by a parameter."""

    tenant: TenantName | None = Field(
        None, description="A tenant. The flow is open once that tenant declares it as well."
    )
    tenant_from: ParameterName | None = Field(None, description="Parameter of type Tenant, in place of tenant.")
    namespaces: NamespaceNames | None = Field(None, description="Which namespaces of that tenant. Default: all.")
    namespaces_from: ParameterName | None = Field(
        None, description="Parameter of type Namespaces, in place of namespaces."
    )
    namespace: NamespaceName | None = Field(None, description="A platform namespace, such as ingress-nginx.")
    namespace_from: ParameterName | None = Field(
        None, description="Parameter of type Namespace, in place of namespace."
    )
    pods: PodSelector | None = Field(None, description="Which pods there. Default: all.")
    pods_from: ParameterName | None = Field(None, description="Parameter of type Pods, in place of pods.")
    cidr: Cidr | None = Field(None, description="Addresses, e.g. 10.8.0.0/16 or 2001:db8::/32.")
    cidr_from: ParameterName | None = Field(None, description="Parameter of type Cidr, in place of cidr.")
    except_: Annotated[list[Cidr], Field(max_length=16), Unique()] = Field(
        default_factory=list, alias="except", description="Parts of cidr that are excluded."
    )

    RULES: ClassVar[tuple[Rule, ...]] = _PEER_RULES


class TemplatePort(SpecModel):
    """A port, a range of ports, or all of a protocol."""

    protocol: Protocol = Field("TCP", description="TCP, UDP or SCTP. Default: TCP.")
    port: PortNumber | None = Field(None, description="The port. Default: every port of the protocol.")
    port_from: ParameterName | None = Field(None, description="Parameter of type Port, in place of port.")
    end_port: PortNumber | None = Field(None, description="The last port of a range that begins at port.")

    RULES: ClassVar[tuple[Rule, ...]] = (_either("port"), port_range())


Peers = Annotated[list[TemplatePeer], Field(min_length=1, max_length=16)]
Ports = Annotated[list[TemplatePort], Field(max_length=16)]


class TemplateIngress(SpecModel):
    """Allowed incoming traffic of a tenant that uses the template."""

    name: TemplateRuleName = Field(description="The rule's name, unique among the ingress rules.")
    to: TemplateSide = Field(default=TemplateSide(), description="The tenant's own side. Default: all its pods.")
    from_: Peers = Field(alias="from", description="Who may open the connection.")
    ports: Ports = Field(default_factory=list, description="Which ports. Default: all ports of all protocols.")
    ticket: Ticket = Field("", description="The change ticket, where the tenant's entry has none.")
    expires: Time | None = Field(None, description="When the rule expires, for each tenant.")


class TemplateEgress(SpecModel):
    """Allowed outgoing traffic of a tenant that uses the template."""

    name: TemplateRuleName = Field(description="The rule's name, unique among the egress rules.")
    from_: TemplateSide = Field(
        default=TemplateSide(), alias="from", description="The tenant's own side. Default: all its pods."
    )
    to: Peers = Field(description="To whom a connection may be opened.")
    ports: Ports = Field(default_factory=list, description="Which ports. Default: all ports of all protocols.")
    ticket: Ticket = Field("", description="The change ticket, where the tenant's entry has none.")
    expires: Time | None = Field(None, description="When the rule expires, for each tenant.")


def rules(spec: "NetworkTemplateSpec") -> Iterator[tuple[TemplateSide, list[TemplatePeer], list[TemplatePort]]]:
    """All rules, each with its own side, its peers and its ports."""
    for admitting in spec.ingress:
        yield admitting.to, admitting.from_, admitting.ports
    for reaching in spec.egress:
        yield reaching.from_, reaching.to, reaching.ports


def _named(spec: "NetworkTemplateSpec", kind: ParameterType) -> Iterator[str | None]:
    """The parameters of this type that the rules name."""
    for side, peers, ports in rules(spec):
        if kind == "Port":
            yield from (port.port_from for port in ports)
        if kind in ("Pods", "Namespaces"):
            yield side.pods_from if kind == "Pods" else side.namespaces_from
        if kind != "Port":
            yield from (getattr(peer, f"{kind.lower()}_from") for peer in peers)


def _declares(spec: "NetworkTemplateSpec", kind: ParameterType) -> bool:
    declared = {parameter.name for parameter in spec.parameters if parameter.type == kind}
    return all(name is None or name in declared for name in _named(spec, kind))


def _of_type(kind: ParameterType) -> Rule:
    """That each name of a parameter of this type is that of one."""
    field = f"{kind.lower()}From"
    declared = f"has(self.parameters) && self.parameters.exists(p, p.name == %s.{field} && p.type == '{kind}')"

    def all_(each: str, where: str) -> str:
        inner = declared % each
        return f"(!has({where}) || {where}.all({each}, !has({each}.{field}) || ({inner})))"

    checks = []
    for direction, own, peers in (("ingress", "to", "from"), ("egress", "from", "to")):
        parts = [all_("t", "r.ports" if kind == "Port" else f"r.{peers}")]
        if kind in ("Pods", "Namespaces"):
            parts.append(f"(!has(r.{own}) || !has(r.{own}.{field}) || ({declared % f'r.{own}'}))")
        checks.append(f"(!has(self.{direction}) || self.{direction}.all(r, {' && '.join(parts)}))")
    return Rule(
        " && ".join(checks),
        f"{field} names no parameter of type {kind}: declare it in parameters, or correct the name",
        lambda spec: _declares(spec, kind),
        inputs=("parameters", "ingress", "egress"),
    )


class NetworkTemplateSpec(SpecModel):
    """Rules that are added to those of each tenant that uses the template."""

    description: Line = Field("", description="What the template is for.")
    parameters: Annotated[list[Parameter], Field(max_length=16), Unique("name")] = Field(
        default_factory=list, description="What differs from tenant to tenant."
    )
    ingress: Annotated[list[TemplateIngress], Field(max_length=16), Unique("name")] = Field(
        default_factory=list, description="Allowed incoming traffic."
    )
    egress: Annotated[list[TemplateEgress], Field(max_length=16), Unique("name")] = Field(
        default_factory=list, description="Allowed outgoing traffic."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.ingress) && size(self.ingress) > 0) || (has(self.egress) && size(self.egress) > 0)",
            "the template has no rule: add one to ingress or egress",
            lambda spec: bool(spec.ingress or spec.egress),
            inputs=("ingress", "egress"),
        ),
        *map(_of_type, FORMS),
    )


class NetworkTemplateStatus(StatusModel):
    """Who uses it."""

    conditions: list[Condition] = Field(default_factory=list)
    tenants: int = Field(0, description="How many tenants use it.")


class TemplateMetadata(BaseModel):
    """The part of ObjectMeta that is read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: TemplateName
    uid: str = ""
    generation: int = 0


class NetworkTemplate(BaseModel):
    """A template: the resource as the API server holds it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    api_version: Literal["securetenant.dev/v1alpha1"] = "securetenant.dev/v1alpha1"
    kind: Literal["NetworkTemplate"] = "NetworkTemplate"
    metadata: TemplateMetadata
    spec: NetworkTemplateSpec
    status: NetworkTemplateStatus = NetworkTemplateStatus()

    @property
    def name(self) -> str:
        return self.metadata.name
