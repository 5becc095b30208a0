"""NetworkTemplates as rules: what a tenant's spec refers to, put in place of the reference.

All other modules see the rules as if they stood in the spec. A reference that cannot be resolved makes no rule: its
flows stay closed, and the rest is in force.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from pydantic import ValidationError

from securetenant.api.network import FORMS, MOST_RULES, PodSelector, TemplateUse, Value
from securetenant.api.status import Condition, stamp
from securetenant.api.templates import (
    NetworkTemplateSpec,
    NetworkTemplateStatus,
    Parameter,
    TemplateEgress,
    TemplateIngress,
    TemplatePeer,
    TemplatePort,
    TemplateSide,
)
from securetenant.api.tenant import EgressRule, IngressRule, Peer, Port, SecureTenant, Side
from securetenant.controls.control import Chore, Chores
from securetenant.controls.network.triggers import TEMPLATE
from securetenant.controls.world import World
from securetenant.model.kinds import NETWORK_TEMPLATE
from securetenant.model.objects import Json, Observed, Ref, has_other_spec
from securetenant.sets.policy import Direction

# The index key that each NetworkTemplate has.
EVERY: Final = "template"
_FIRST: Final = 3  # references that the condition names


class MadeIngress(IngressRule):
    """A rule that a template makes for a tenant. `use`: the entry of its spec, by name."""

    use: str
    template: str


class MadeEgress(EgressRule):
    """The same, for egress."""

    use: str
    template: str


class Refused(NamedTuple):
    """A reference that makes no rule: the number of the entry, a reason for a condition, and what to do."""

    entry: int
    reason: str
    message: str


class Expansion(NamedTuple):
    """A tenant's rules, its own first, and the references that make none."""

    ingress: list[IngressRule]
    egress: list[EgressRule]
    refused: list[Refused]


class _WrongError(Exception):
    """The parameters do not fit the template; the message says which, and what to write."""


def resolve(tenant: SecureTenant, world: World) -> SecureTenant:
    """The tenant with the rules of its templates in its spec. Done twice it is the same."""
    network = tenant.spec.network
    if not network.templates:
        return tenant
    found = expansion(tenant, world)
    made = network.model_copy(update={"ingress": found.ingress, "egress": found.egress})
    return tenant.model_copy(update={"spec": tenant.spec.model_copy(update={"network": made})})


def expansion(tenant: SecureTenant, world: World) -> Expansion:
    """The rules in force, in the order of the spec. Where two rules have the same name, the first has it."""
    network = tenant.spec.network
    ingress: list[IngressRule] = [rule for rule in network.ingress if not isinstance(rule, MadeIngress)]
    egress: list[EgressRule] = [rule for rule in network.egress if not isinstance(rule, MadeEgress)]
    refused: list[Refused] = []
    for index, use in enumerate(network.templates):
        found = _made(tenant, index, use, world)
        if isinstance(found, Refused):
            refused.append(found)
        elif problem := (
            _crowded(index, "ingress", ingress, found.ingress) or _crowded(index, "egress", egress, found.egress)
        ):
            refused.append(problem)
        else:
            ingress += found.ingress
            egress += found.egress
    return Expansion(ingress, egress, refused)


def place(rule: IngressRule | EgressRule, tenant: SecureTenant) -> str:
    """The path in the spec of what made a rule, if that was a template; else ""."""
    if not isinstance(rule, MadeIngress | MadeEgress):
        return ""
    index = next(i for i, use in enumerate(tenant.spec.network.templates) if use.called == rule.use)
    return f"spec.network.templates[{index}]"


def template_of(tenant: SecureTenant, rule: str) -> str:
    """The template whose rule this is or was, by its name; "" if the tenant refers to none that has such names."""
    uses = (use for use in tenant.spec.network.templates if rule.startswith(f"{use.called}-"))
    found = max(uses, key=lambda use: len(use.called), default=None)
    return found.template if found is not None else ""


def conditions(tenant: SecureTenant, world: World) -> list[Condition]:
    """Only of a tenant that refers to templates."""
    uses = tenant.spec.network.templates
    if not uses:
        return []
    refused = expansion(tenant, world).refused
    if not refused:
        return [Condition.of("TemplatesReady", "True", "Resolved")]
    told = "; ".join(f"{uses[one.entry].called}: {one.message}" for one in refused[:_FIRST])
    more = f"; and {len(refused) - _FIRST} more" if len(refused) > _FIRST else ""
    message = f"the flows of {len(refused)} of {len(uses)} templates stay closed: {told}{more}"
    return [Condition.of("TemplatesReady", "False", refused[0].reason, message)]


# --- rules of a template


class _Rules(NamedTuple):
    ingress: list[MadeIngress]
    egress: list[MadeEgress]


def _made(tenant: SecureTenant, entry: int, use: TemplateUse, world: World) -> _Rules | Refused:
    name = use.template
    observed = world.get(Ref(NETWORK_TEMPLATE, "", name))
    if observed is None:
        return Refused(entry, "NoTemplate", f"there is no NetworkTemplate {name}: create it, or correct the name")
    spec = parsed(observed)
    if spec is None:
        message = f"NetworkTemplate {name} is not valid: apply the CRD and the template again"
        return Refused(entry, "InvalidTemplate", message)
    try:
        values = _values(use, spec)
        own = {each.name for each in tenant.spec.namespaces}
        return _Rules(
            [_ingress(rule, use, values, own) for rule in spec.ingress],
            [_egress(rule, use, values, own) for rule in spec.egress],
        )
    except _WrongError as error:
        return Refused(entry, "WrongParameters", f"NetworkTemplate {name}: {error}")


def _values(use: TemplateUse, spec: NetworkTemplateSpec) -> dict[str, Value]:
    """The value of each parameter. Raises _WrongError."""
    declared = {parameter.name: parameter for parameter in spec.parameters}
    given = {argument.name: argument for argument in use.parameters}
    for name in given:
        if name not in declared:
            has = f"it has {', '.join(sorted(declared))}" if declared else "it has none"
            raise _WrongError(f"it has no parameter {name}: remove it, or correct the name ({has})")
    return {name: _value(parameter, given.get(name)) for name, parameter in declared.items()}


def _value(parameter: Parameter, given: Value | None) -> Value:
    field = FORMS[parameter.type]
    found = given if given is not None else parameter.default
    if found is None:
        meaning = f" ({parameter.description})" if parameter.description else ""
        raise _WrongError(f"parameter {parameter.name}{meaning} is missing: add it, with the field {field}")
    if found.given != (parameter.type,):
        raise _WrongError(f"parameter {parameter.name} is of type {parameter.type}: write its value as {field}")
    return found


def _ingress(rule: TemplateIngress, use: TemplateUse, values: Mapping[str, Value], own: set[str]) -> MadeIngress:
    return MadeIngress.model_construct(  # its name is longer than that of a rule in a spec
        to=_side(rule.to, use, values, own),
        from_=[_peer(peer, values) for peer in rule.from_],
        **_common(rule, use, values),
    )


def _egress(rule: TemplateEgress, use: TemplateUse, values: Mapping[str, Value], own: set[str]) -> MadeEgress:
    return MadeEgress.model_construct(
        from_=_side(rule.from_, use, values, own),
        to=[_peer(peer, values) for peer in rule.to],
        **_common(rule, use, values),
    )


def _common(rule: TemplateIngress | TemplateEgress, use: TemplateUse, values: Mapping[str, Value]) -> dict[str, Any]:
    """What rules of both directions have."""
    return {
        "name": f"{use.called}-{rule.name}",
        "ports": [_port(port, values) for port in rule.ports],
        "ticket": use.ticket or rule.ticket,
        "expires": _earlier(use.expires, rule.expires),
        "use": use.called,
        "template": use.template,
    }


def _side(side: TemplateSide, use: TemplateUse, values: Mapping[str, Value], own: set[str]) -> Side:
    """The namespaces of the entry confine it, whatever a parameter or its default names."""
    if side.namespaces_from is None:
        return Side(namespaces=use.namespaces, pods=_pods(side, values))
    named = values[side.namespaces_from].namespaces or []
    if unknown := [name for name in named if name not in own]:
        raise _WrongError(
            f"parameter {side.namespaces_from} names {unknown[0]}, which is not in spec.namespaces: add it there "
            "or remove it here"
        )
    within = [name for name in named if use.namespaces is None or name in use.namespaces]
    if not within:
        raise _WrongError(
            f"parameter {side.namespaces_from} names {', '.join(named)}, and namespaces of the entry none of these: "
            "add one there, or give the parameter another value"
        )
    return Side(namespaces=within, pods=_pods(side, values))


def _pods(of: TemplateSide | TemplatePeer, values: Mapping[str, Value]) -> PodSelector | None:
    return values[of.pods_from].pods if of.pods_from is not None else of.pods


def _peer(peer: TemplatePeer, values: Mapping[str, Value]) -> Peer:
    return Peer(
        tenant=values[peer.tenant_from].tenant if peer.tenant_from is not None else peer.tenant,
        namespaces=values[peer.namespaces_from].namespaces if peer.namespaces_from is not None else peer.namespaces,
        namespace=values[peer.namespace_from].namespace if peer.namespace_from is not None else peer.namespace,
        pods=_pods(peer, values),
        cidr=values[peer.cidr_from].cidr if peer.cidr_from is not None else peer.cidr,
        except_=peer.except_,
    )


def _port(port: TemplatePort, values: Mapping[str, Value]) -> Port:
    number = values[port.port_from].port if port.port_from is not None else port.port
    return Port(protocol=port.protocol, port=number, end_port=port.end_port)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _crowded(
    entry: int,
    direction: Direction,
    before: Iterable[IngressRule | EgressRule],
    made: Iterable[MadeIngress | MadeEgress],
) -> Refused | None:
    """Why these rules cannot be added: a name is taken, or there would be too many."""
    names = [rule.name for rule in before]
    more = [rule.name for rule in made]
    if taken := [name for name in more if name in names]:
        message = f"there is another {direction} rule {taken[0]}: rename it, or give this entry a name of its own"
        return Refused(entry, "NameTaken", message)
    if more and len(names) + len(more) > MOST_RULES:
        number = len(names) + len(more)
        message = f"it would make {number} {direction} rules, more than {MOST_RULES}: remove some, or split the tenant"
        return Refused(entry, "TooManyRules", message)
    return None


# --- the objects


def parsed(observed: Observed) -> NetworkTemplateSpec | None:
    """The spec; None where the models refuse it."""
    return _parsed(bytes(observed.fields.get("spec", b"null")))


@lru_cache(maxsize=256)
def _parsed(spec: bytes) -> NetworkTemplateSpec | None:
    try:
        return NetworkTemplateSpec.model_validate(msgspec.json.decode(spec), by_alias=True, by_name=False)
    except ValidationError:
        return None


def concerns(new: Observed, old: Observed | None) -> bool:
    """Templates but for their status."""
    return new.ref.kind is NETWORK_TEMPLATE and has_other_spec(new, old)


def due(world: World, now: datetime) -> tuple[list[Chore], datetime | None]:
    """The statuses that changed."""
    return list(_statuses(world, now)), None


def _statuses(world: World, now: datetime) -> Iterator[Chore]:
    for have in sorted(world.indexed(NETWORK_TEMPLATE, (EVERY,)), key=lambda one: one.ref):
        before = NetworkTemplateStatus.model_validate(have.field("status") or {})
        after = NetworkTemplateStatus(
            conditions=[_ready(have, before, now)], tenants=world.count(f"{TEMPLATE}:{have.ref.name}")
        )
        if after != before:
            body: Json = after.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
            yield Chore("Status", have, body)


def _ready(have: Observed, before: NetworkTemplateStatus, now: datetime) -> Condition:
    if parsed(have) is None:
        message = "its rules are used by nobody: apply the CRD and the template again"
        found = Condition.of("Ready", "False", "Invalid", message)
    else:
        found = Condition.of("Ready", "True", "Valid", "tenants can use it")
    known = next((one for one in before.conditions if one.type == "Ready"), None)
    since = known.last_transition_time if known is not None and known.status == found.status else None
    return found.model_copy(update={"last_transition_time": since or stamp(now)})


CHORES: Final = Chores(due, concerns)
INDEXES: Final = {NETWORK_TEMPLATE: lambda observed: (EVERY,)}
