"""The custom resources that are ours, a row each. A new one is its models, its row in `DEFINITIONS` and its
reconciler: the CRDs, the reading of files and the checks at the start go through the rows."""

from dataclasses import dataclass
from typing import Final, cast

from pydantic import BaseModel

from securetenant.api.constraints import Rule
from securetenant.api.tenant import SecureTenant
from securetenant.api.types import is_tenant_name, tenant_name_pattern
from securetenant.model.kinds import SECURE_TENANT, Kind


@dataclass(frozen=True, slots=True)
class Definition:
    """A custom resource. `model`: the whole of it, with `metadata`, `spec` and `status`. `name_rule`: what must hold of
    its name, in the root of the schema. `columns`: what kubectl prints, each with name, type, JSONPath and
    description."""

    kind: Kind
    model: type[BaseModel]
    description: str
    name_rule: Rule
    columns: tuple[tuple[str, str, str, str], ...]
    short_names: tuple[str, ...] = ()

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


TENANT: Final = Definition(
    SECURE_TENANT,
    SecureTenant,
    "A tenant: the posture that a platform team declares, and what was found of it.",
    Rule(
        f"self.metadata.name.matches('{tenant_name_pattern}')",
        'the name of a SecureTenant is a DNS label: lower-case letters, digits and "-", at most 40 characters; '
        "rename it",
        lambda tenant: is_tenant_name(tenant.metadata.name),
    ),
    (
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the posture is in place."),
        ("Mode", "string", ".spec.mode", "Enforce, Audit or Paused."),
        ("Namespaces", "integer", ".status.namespaceCount", "How many namespaces the tenant declares."),
        ("Drift", "integer", ".status.drift.total", "How many objects are not as they must be."),
        ("Age", "date", ".metadata.creationTimestamp", "Since when the tenant exists."),
    ),
    ("stn",),
)

DEFINITIONS: tuple[Definition, ...] = (TENANT,)


def of_kind(kind: str) -> Definition | None:
    """The definition of a document's `kind`, if it is one of ours."""
    return next((definition for definition in DEFINITIONS if definition.kind.name == kind), None)
