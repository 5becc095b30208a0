"""The admission policies and bindings that ship with this version, as they must stand in the cluster."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from securetenant.checks import injections, policies
from securetenant.checks.check import CheckSet
from securetenant.checks.targets import TARGETS, Document
from securetenant.controls.admission import lock, posture, restraint, root_ca, subnets
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import (
    MUTATING_BINDING,
    MUTATING_POLICY,
    VALIDATING_BINDING,
    VALIDATING_POLICY,
    Kind,
)
from securetenant.model.objects import Json, Observed, Ref

POLICIES: Final = (VALIDATING_POLICY, MUTATING_POLICY)
KINDS: Final = (*POLICIES, VALIDATING_BINDING, MUTATING_BINDING)
_TRIED_WITH: Final = {
    names.RESTRAINT: frozenset({restraint.TRIED_WITH}),
    policies.policy_name(posture.TARGET): frozenset({posture.TRIED_WITH}),
    policies.policy_name(subnets.TARGET): frozenset({f"{subnets.TRIED_WITH}/{subnets.TRIED}"}),
}
_KINDS: Final = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """A policy or a binding. `spec`: in canonical form. `policy`: the policy's name, of a binding the one that it
    binds. `version`: what the policy calls itself when it answers a probe. `resources`: what the policy is tried with,
    of what it matches ("pods", or "configmaps/kube-root-ca.crt" where it matches one object alone). `metadata`: as
    shipped. `is_optional`: it is in a component of manifests/ that need not be applied."""

    ref: Ref
    spec: Json
    policy: str
    version: str
    resources: frozenset[str]
    metadata: Mapping[str, Any]
    is_optional: bool = False

    def observed(self) -> Observed:
        """It as an object of a cluster."""
        return Observed(
            ref=self.ref,
            uid="",
            resource_version="0",
            created="",
            deleting=False,
            labels=self.metadata.get("labels", {}),
            annotations=self.metadata.get("annotations", {}),
            finalizers=(),
            owners=(),
            fields={"spec": msgspec.Raw(msgspec.json.encode(self.spec))},
        )

    @property
    def is_policy(self) -> bool:
        return self.ref.kind in POLICIES

    @property
    def actions(self) -> Sequence[str]:
        """A binding's validationActions."""
        given = self.spec.get("validationActions")
        return [str(each) for each in given] if isinstance(given, list) else []


def documents(sets: Sequence[CheckSet]) -> dict[str, list[Document]]:
    """The policies and their bindings by file of manifests/admission."""
    judging = {f"{target.name}.yaml": policies.judging(target, sets) for target in TARGETS}
    return {
        **{name: made for name, made in judging.items() if made},
        "namespaces.yaml": lock.namespaces(),
        "posture.yaml": posture.objects(),
        "operator.yaml": restraint.account(),
        "root-ca.yaml": root_ca.configmaps(),
        "subnets.yaml": subnets.objects(),
    }


def shipped(sets: Sequence[CheckSet]) -> tuple[Shipped, ...]:
    """All of them, in the order of the files, and last those of the component that injects into pods."""
    base = [one for each in documents(sets).values() for one in each]
    injecting = injections.policy(sets)
    found = {(one["kind"], one["metadata"]["name"]): one for one in (*base, *injecting)}
    return tuple(_shipped(one, found, number >= len(base)) for number, one in enumerate((*base, *injecting)))


def _shipped(document: Document, found: Mapping[tuple[str, str], Document], is_optional: bool) -> Shipped:
    kind, name = _KINDS[document["kind"]], document["metadata"]["name"]
    policy = document if kind in POLICIES else found[document["kind"].removesuffix("Binding"), _policy_of(document)]
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    created = [rule for rule in rules if "CREATE" in rule["operations"]]
    matched = frozenset(resource for rule in created for resource in _resources(rule))
    return Shipped(
        Ref(kind, "", name),
        canonical(kind, document["spec"]),
        policy["metadata"]["name"],
        policy["metadata"]["annotations"][policies.VERSION],
        _TRIED_WITH.get(policy["metadata"]["name"], matched),
        document["metadata"],
        is_optional,
    )


def _resources(rule: Document) -> list[str]:
    """What a rule matches; where it names objects, with their names."""
    named = rule.get("resourceNames")
    return [f"{one}/{name}" for one in rule["resources"] for name in named] if named else list(rule["resources"])


def is_applied(one: Shipped, shipped: Iterable[Shipped], world: World) -> bool:
    """Whether what it is a part of is applied: always, unless that is optional and nothing of it is there."""
    return not one.is_optional or any(world.get(each.ref) is not None for each in shipped if each.is_optional)


def _policy_of(binding: Document) -> str:
    return str(binding["spec"]["policyName"])


def canonical(kind: Kind, spec: Mapping[str, Any]) -> Json:
    """A spec with the API server's defaults written out and without empty lists, so that two that mean the same are
    equal."""
    made: dict[str, Any] = deepcopy({key: value for key, value in spec.items() if value not in (None, [])})
    if kind in POLICIES:
        made.setdefault("failurePolicy", "Fail")
        _match(made.setdefault("matchConstraints", {}))
    elif "matchResources" in made:
        _match(made["matchResources"])
    if kind is MUTATING_POLICY:
        made.setdefault("reinvocationPolicy", "Never")
    if "validationActions" in made:
        made["validationActions"] = sorted(made["validationActions"])  # a set
    return made


def _match(resources: Any) -> None:
    if not isinstance(resources, dict):
        return
    resources.setdefault("matchPolicy", "Equivalent")
    for selector in ("namespaceSelector", "objectSelector"):
        resources[selector] = resources.get(selector) or {}
    for rules in ("resourceRules", "excludeResourceRules"):
        for rule in resources.get(rules) or ():
            rule.setdefault("scope", "*")
