"""What a check is. A control's checks and parameters are data: `policies` generates the admission policies from them,
`evaluator` runs them on a manifest.

A check is a CEL expression that lists what breaks the rule. It is restricted to what kube-apiserver and cel-cpp have in
common: no two-variable comprehensions, no `ip`, `cidr`, `quantity`, `sets`, `find`, `sort`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from securetenant.api.tenant import SecureTenant
from securetenant.model import names

Severity: TypeAlias = Literal["Critical", "High", "Medium", "Low"]

# The formats of the annotations that the policies accept: the one that is written, and those of the version before.
FORMAT: Final = "v1"
FORMATS: Final = (FORMAT,)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One part of a spec that checks read: in CEL `variables.<name>`, a list of strings.

    `values`: the strings, from a tenant and the name of a namespace. None of them contains ";" or ",", and no name and
    no value contains "=" at its first place. An empty list is the strictest value, so that a namespace without
    parameters gets the strictest of all.
    """

    name: str
    values: Callable[[SecureTenant, str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule about objects of one kind.

    `name`: camelCase, unique in its control. `found`: CEL, a list of strings: the places that break the rule
    ("container web"); empty if it is kept. `message`: what is wrong and what to write instead; the places stand before
    it. `severity`, `frameworks`: for reports ("CIS-1.12 5.2.2"). `exemptible`: whether an exemption can suspend it; not
    where that would take something from another tenant. `target`: what it looks at, a name of `targets`; `also`: other
    targets that have the same variables. `at_creation`: what stands does not tell, so the inspection leaves it out.
    """

    name: str
    found: str
    message: str
    severity: Severity = "High"
    frameworks: tuple[str, ...] = ()
    exemptible: bool = True
    target: str = "pods"
    also: tuple[str, ...] = ()
    at_creation: bool = False


@dataclass(frozen=True, slots=True)
class Injection:
    """What the API server writes into a pod that is created, so that the pod keeps a rule without its author's doing.

    `check`: the name of the check that it serves. Nothing is injected into pods that are exempted from it.
    `patches`: CEL, a list of JSONPatch, from `object` and the control's parameters. Only the API server evaluates it,
    so it may use Kubernetes' own libraries; it is empty where the pod has everything, since it is evaluated again after
    other changes. `apply`: the same for a manifest: a pod and the parameters' values to the pod as it will be.
    """

    check: str
    patches: str
    apply: Callable[[Mapping[str, Any], Mapping[str, Sequence[str]]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CheckSet:
    """The checks of one control, the parameters that they read, CEL expressions that they share (`variables.<name>`;
    each may use those before it), and what is injected into pods."""

    control: str
    parameters: Sequence[Parameter] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    injections: Sequence[Injection] = ()

    @property
    def annotation(self) -> str:
        """The annotation on the namespace that holds the parameters."""
        return f"{names.GROUP}/{self.control}"

    def identifier(self, check: Check) -> str:
        """The check's ID: "runtime/privileged"."""
        return f"{self.control}/{check.name}"


def encoded(checks: CheckSet, tenant: SecureTenant, namespace: str) -> str:
    """The annotation's value: "v1;hostPorts=8080,9090;podSecurity=Baseline". Parameters at their strictest are left
    out; the value is never empty, so that its removal is a difference."""
    given = ((parameter.name, ",".join(parameter.values(tenant, namespace))) for parameter in checks.parameters)
    return ";".join([FORMAT, *(f"{name}={values}" for name, values in given if values)])


def decoded(checks: CheckSet, annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """The values of each parameter, from the annotations of a namespace, as the policies read them: empty where the
    format is not known."""
    form, *entries = annotations.get(checks.annotation, "").split(";")
    given: dict[str, list[str]] = {parameter.name: [] for parameter in checks.parameters}
    for name, _, values in (entry.partition("=") for entry in entries if form in FORMATS):
        if name in given:
            given[name] += filter(None, values.split(","))
    return given
