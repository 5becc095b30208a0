"""Our custom resources, one row each. A new one needs models, a row in `DEFINITIONS` and a reconciler: CRD generation,
`validate` and the startup checks use the rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel

from securetenant.api.subnets import SubnetPool
from securetenant.api.templates import NetworkTemplate
from securetenant.api.tenant import SecureTenant
from securetenant.api.types import pool_name_pattern, template_name_pattern, tenant_name_pattern
from securetenant.model.kinds import NETWORK_TEMPLATE, SECURE_TENANT, SUBNET_POOL, Kind


class Transition(NamedTuple):
    """A rule on a change of an object, in the root of the schema. `path`: the field that the error names; `holds`: the
    same for the object as it is and as it is to be, so that `plan` tells it before the API server does."""

    cel: str
    message: str
    path: str
    holds: Callable[[Any, Any], bool]  # Any: values of `Definition.model`


@dataclass(frozen=True, slots=True)
class Definition:
    """A custom resource. `model`: the whole object, with `metadata`, `spec` and `status`. `name_rule`: the CEL rule
    for its name, in the root of the schema, and the message. `columns`: the printer columns, each with name, type,
    JSONPath and description; `wide`: those of `-o wide`. `transitions`: the rules on a change, which no model of one
    object can check."""

    kind: Kind
    model: type[BaseModel]
    description: str
    name_rule: tuple[str, str]
    columns: tuple[tuple[str, str, str, str], ...]
    short_names: tuple[str, ...] = ()
    wide: tuple[tuple[str, str, str, str], ...] = ()
    transitions: tuple[Transition, ...] = ()

    @property
    def name(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.kind.plural}.{self.kind.group}"

    @property
    def spec(self) -> type[BaseModel]:
        return self._part("spec")

    @property
    def status(self) -> type[BaseModel]:
        return self._part("status")

    def _part(self, field: str) -> type[BaseModel]:
        return cast(type[BaseModel], self.model.model_fields[field].annotation)


def _keeps_subnets(before: SecureTenant, after: SecureTenant) -> bool:
    given = {one.namespace: one.cidrs for one in before.status.subnets if one.provider != "None"}
    wanted = {entry.name: entry.subnet for entry in after.spec.namespaces}
    for entry in before.spec.namespaces:
        if entry.subnet is None or entry.name not in given or entry.name not in wanted:
            continue
        is_right = not entry.subnet.cidrs or set(entry.subnet.cidrs) == set(given[entry.name])
        if is_right and wanted[entry.name] != entry.subnet:
            return False
    return True


TENANT: Final = Definition(
    SECURE_TENANT,
    SecureTenant,
    "A tenant: its declared posture and its observed state.",
    (
        f"self.metadata.name.matches('{tenant_name_pattern}')",
        'the name of a SecureTenant is a DNS label: lower-case letters, digits and "-", at most 40 characters; '
        "rename it",
    ),
    (
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the posture is in force."),
        ("Mode", "string", ".spec.mode", "Enforce, Audit or Paused."),
        ("Namespaces", "integer", ".status.namespaceCount", "How many namespaces the tenant declares."),
        ("Drift", "integer", ".status.drift.total", "How many objects deviate from the posture."),
        ("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
    ),
    ("stn",),
    (
        ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is Ready or not."),
        ("Team", "string", ".spec.owner.team", "The team that owns it."),
        ("Pending", "integer", ".status.whitelist.pendingCount", "Declared flows that wait for the other side."),
        ("Expired", "integer", ".status.whitelist.expiredCount", "Declared flows whose rule has ended."),
        ("Next Expiry", "string", ".status.whitelist.nextExpiry", "When the next rule ends."),
    ),
    (
        Transition(
            # Where none was given yet, because it overlaps for example, it can still be corrected; and one that is not
            # declared any more can be declared again. Where the spec names others than those that were given (to who
            # adopts a namespace with its subnet), it can be put right. The operator keeps what was given in any case.
            "!has(oldSelf.status) || !has(oldSelf.status.subnets) || !has(oldSelf.spec.namespaces) || "
            "!has(self.spec.namespaces) || oldSelf.spec.namespaces.all(o, "
            "!has(o.subnet) || "
            "!oldSelf.status.subnets.exists(s, s.__namespace__ == o.name && s.provider != 'None' && "
            "(!has(o.subnet.cidr) || (isCIDR(o.subnet.cidr) && string(cidr(o.subnet.cidr)) in s.cidrs && "
            "has(o.subnet.cidrV6) == (s.cidrs.size() > 1) && (!has(o.subnet.cidrV6) || "
            "(isCIDR(o.subnet.cidrV6) && string(cidr(o.subnet.cidrV6)) in s.cidrs))))) || "
            "self.spec.namespaces.all(n, n.name != o.name || (has(n.subnet) && n.subnet == o.subnet)))",
            "the subnet of a namespace is never moved once it is given, since its pods keep their addresses: restore "
            "it, or declare a new namespace with the other subnet and move there",
            ".spec.namespaces",
            _keeps_subnets,
        ),
    ),
)

POOL: Final = Definition(
    SUBNET_POOL,
    SubnetPool,
    "A pool of addresses that tenants' namespaces get their subnets out of.",
    (
        f"self.metadata.name.matches('{pool_name_pattern}')",
        'the name of a SubnetPool is a DNS label: lower-case letters, digits and "-", at most 40 characters; rename it',
    ),
    (
        ("Cidrs", "string", ".spec.cidrs", "The addresses of the pool."),
        ("Subnets", "integer", ".status.subnets", "How many blocks are given out."),
        ("Free", "string", ".status.ipv4.free", "How many IPv4 addresses are free."),
        ("Largest", "string", ".status.ipv4.largestFree", "The largest free IPv4 block."),
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether blocks are given out."),
        ("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
    ),
)

TEMPLATE: Final = Definition(
    NETWORK_TEMPLATE,
    NetworkTemplate,
    "Rules of the network that the platform team keeps once, with parameters, and that tenants refer to.",
    (
        f"self.metadata.name.matches('{template_name_pattern}')",
        'the name of a NetworkTemplate is a DNS label: lower-case letters, digits and "-", at most 40 characters; '
        "rename it",
    ),
    (
        ("Description", "string", ".spec.description", "What it is for."),
        ("Tenants", "integer", ".status.tenants", "How many tenants use it."),
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether its rules can be used."),
        ("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
    ),
)

DEFINITIONS: tuple[Definition, ...] = (TENANT, POOL, TEMPLATE)


def of_kind(kind: str) -> Definition | None:
    """The definition for a document's `kind`; None if it is not one of ours."""
    return next((definition for definition in DEFINITIONS if definition.kind.name == kind), None)
