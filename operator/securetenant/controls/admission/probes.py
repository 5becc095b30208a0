"""What the API server really does with an object: the trials, and what their answers say. Pure.

That a policy and its binding stand as shipped does not mean that they are in force: the API server reads them again
about every second, `status.observedGeneration` comes up to a second before it has, and a MutatingAdmissionPolicy has no
status at all. So an object is created as a dry run, with an annotation that the first validation of each of our
policies refuses, with the name and version of the policy as the message.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from securetenant.checks.policies import PROBE
from securetenant.controls.admission import root_ca, subnets
from securetenant.controls.admission.shipped import Shipped, is_applied
from securetenant.controls.admission.standing import Comparison
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import (
    MUTATING_BINDING,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RESOURCE_QUOTA,
    VALIDATING_BINDING,
    Kind,
)
from securetenant.model.objects import Json
from securetenant.model.probe import Answer, Probed, Trial

DEPLOYMENT: Final = Kind("Deployment", "apps", "v1", "deployments", namespaced=True)
SERVICE: Final = Kind("Service", "", "v1", "services", namespaced=True)
ENDPOINT_SLICE: Final = Kind("EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", namespaced=True)
INGRESS: Final = Kind("Ingress", "networking.k8s.io", "v1", "ingresses", namespaced=True)
CLAIM: Final = Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims", namespaced=True)
BUDGET: Final = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", namespaced=True)
CONFIG_MAP: Final = Kind("ConfigMap", "", "v1", "configmaps", namespaced=True)
BINDING: Final = Kind("Binding", "", "v1", "bindings", namespaced=True)
EVENT: Final = Kind("Event", "", "v1", "events", namespaced=True)
NAME: Final = "securetenant-probe"

_RESTRICTED: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Pod Security would refuse another before a policy sees it. No quota of the namespace lets it be created in earnest.
_SPEC: Final[Json] = {
    "automountServiceAccountToken": False,
    "containers": [
        {"name": "probe", "image": "securetenant.invalid/probe", "securityContext": _RESTRICTED},
    ],
}
_METADATA: Final[Json] = {"name": NAME, "annotations": {PROBE: ""}}
_BODIES: Final[Mapping[Kind, Json]] = {
    POD: {"apiVersion": "v1", "kind": "Pod", "metadata": _METADATA, "spec": _SPEC},
    DEPLOYMENT: {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _METADATA,
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": _SPEC},
        },
    },
    NAMESPACE: {"apiVersion": "v1", "kind": "Namespace", "metadata": _METADATA},
    SERVICE: {"apiVersion": "v1", "kind": "Service", "metadata": _METADATA, "spec": {"ports": [{"port": 80}]}},
    ENDPOINT_SLICE: {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _METADATA,
        "addressType": "IPv4",
        "endpoints": [],
    },
    # Its policy judges the routes of the Gateway API too, which need not be served.
    INGRESS: {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _METADATA,
        "spec": {"rules": [{"host": "securetenant.invalid"}]},
    },
    CLAIM: {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _METADATA,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    },
    BUDGET: {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": _METADATA, "spec": {}},
    BINDING: {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": _METADATA,
        "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
    },
    NETWORK_POLICY: {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _METADATA,
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    },
    # Of what the posture lock holds: the one that would do nothing.
    RESOURCE_QUOTA: {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": _METADATA, "spec": {"hard": {}}},
    # Of what the operator's own account is restrained in: the one that no other policy of ours matches.
    EVENT: {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": _METADATA,
        "involvedObject": {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": NAME},
        "reason": "Probe",
        "type": "Normal",
    },
}
# Of ConfigMaps, the ones that policies match by their names, which are all that these look at.
_NAMED: Final[Mapping[str, Json]] = {
    name: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**_METADATA, "name": name}}
    for name in (root_ca.NAME, subnets.TRIED)
}

_SEEN: Final = re.compile(
    r"AdmissionPolicy '([^']+)' with binding '([^']+)'( denied request)?: probe: (\S+) ([0-9a-f]+) is in force"
)
_INJECTED: Final = re.compile(r" is in force, injected ([0-9a-f]+)")
# Refused by what comes after the policies, in the namespaces of the probe: a quota of 0, and so no pod to be bound.
_AFTERWARDS: Final = ("exceeded quota: ", "status unknown for quota: ", f'pods "{NAME}" not found')


class Seen(NamedTuple):
    """A binding that acted on a trial, with the version of its policy. `denied`: it refused; otherwise it warned."""

    binding: str
    policy: str
    version: str
    denied: bool


def trials(world: World, shipped: Sequence[Shipped]) -> list[Trial]:
    """One of each kind that our policies match, in each namespace of the probe; an Event where those are that are about
    objects in no namespace."""
    if not any(world.serves(one.ref.kind) for one in shipped):
        return []
    of_kinds = (
        Trial(f"{kind.name}/{namespace or NAME}", kind, namespace, body)
        for kind, body in _BODIES.items()
        for namespace in _places(kind)
    )
    of_names = (
        Trial(f"{CONFIG_MAP.name}/{namespace}/{name}", CONFIG_MAP, namespace, body)
        for name, body in _NAMED.items()
        for namespace in _places(CONFIG_MAP)
    )
    return [trial for trial in (*of_kinds, *of_names) if any(is_of(trial, one) for one in shipped)]


def is_of(trial: Trial, one: Shipped) -> bool:
    """Whether a policy or binding is tried by it, where that is bound to the namespace."""
    named = {f"{CONFIG_MAP.plural}/{name}" for name, body in _NAMED.items() if body is trial.body}
    return not one.resources.isdisjoint({trial.kind.plural} | named)


def _places(kind: Kind) -> Sequence[str]:
    if kind is EVENT:
        return ("default",)
    return names.PROBE_NAMESPACES if kind.namespaced else ("",)


def seen(answers: Iterable[Answer]) -> set[Seen]:
    """Every binding that acted."""
    return {
        Seen(binding, policy, version, bool(denied))
        for text in _texts(answers)
        for policy, binding, denied, named, version in _SEEN.findall(text)
        if named == policy
    }


def _texts(answers: Iterable[Answer]) -> Iterator[str]:
    return (text for answer in answers for text in (answer.message, *answer.warnings))


def failures(answers: Iterable[Answer]) -> Iterator[str]:
    """The trials of which the answer does not say what the policies do, and why: no answer, no right, no namespace, or
    refused by something else first."""
    for answer in answers:
        came = 200 <= answer.status < 300 or _SEEN.search(answer.message)
        if not came and not any(each in answer.message for each in _AFTERWARDS):
            yield f"{answer.trial}: {answer.message}"


def unseen(probed: Probed, world: World, shipped: Sequence[Shipped]) -> list[tuple[Shipped, str]]:
    """The bindings that did not act as they should, each with what it did instead."""
    found = seen(probed.answers)
    injected = {version for text in _texts(probed.answers) for version in _INJECTED.findall(text)}
    bindings = (one for one in shipped if not one.is_policy and world.serves(one.ref.kind))
    return [
        (one, instead)
        for one in bindings
        if is_applied(one, shipped, world)
        if (instead := _not_injected(one, injected) if one.ref.kind is MUTATING_BINDING else _instead(one, found))
    ]


def _instead(one: Shipped, found: set[Seen]) -> str:
    acted = [each for each in found if each.binding == one.ref.name]
    if not acted:
        return "it did not act on the operator's probe"
    if all(each.version != one.version for each in acted):
        return f"its policy answered as version {acted[0].version}, and not {one.version}"
    if "Deny" in one.actions and not any(each.denied for each in acted):
        return "it warned about the operator's probe, and did not refuse it"
    return ""


def _not_injected(one: Shipped, injected: set[str]) -> str:
    if one.version in injected:
        return ""
    if injected:
        return f"version {min(injected)} of its policy wrote into the operator's probe, and not {one.version}"
    return "it wrote nothing into the operator's probe"


def settled(world: World, name: str, shipped: Sequence[Shipped], comparison: Comparison) -> bool:
    """Whether trying again would show nothing new: every policy and binding that stands as shipped is in force."""
    probed = world.probed(name)
    if not world.serves(VALIDATING_BINDING):
        return True
    if probed is None or not probed.user or any(failures(probed.answers)):
        return False
    wrong = {one.ref.name for one, _, _ in comparison.differences(world)}
    return all(one.ref.name in wrong or one.policy in wrong for one, _ in unseen(probed, world, shipped))
