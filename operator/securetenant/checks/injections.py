"""What the API server writes into pods at their creation: one MutatingAdmissionPolicy for the injections of all
controls, and the same done to a manifest, so that `securetenant validate` judges what the API server will.

The policy never refuses: where it cannot be evaluated or is not served (before Kubernetes 1.36), pods are judged as
their author wrote them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from securetenant.checks.check import FORMATS, CheckSet, decoded
from securetenant.checks.policies import ADMISSION, API, INJECTED, PROBE, VERSION, binding, labels
from securetenant.checks.targets import Document
from securetenant.checks.variables import EXEMPTIONS, of_injections
from securetenant.model import names

NAME: Final = f"injection.{names.GROUP}"

_RULES: Final = (
    {"operations": ["CREATE"], "resources": ["pods"]},
    {"operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
)


def policy(sets: Sequence[CheckSet]) -> list[Document]:
    """The policy and its binding. It runs where pods are judged, so that with `admission: Warn` the warnings are about
    the same pods that `Deny` would judge."""
    found = [
        f'("{checks.control}/{injection.check}" in variables.exempted ? [] : ({injection.patches}))'
        for checks in sets
        for injection in checks.injections
    ]
    spec: Document = {
        "failurePolicy": "Ignore",
        # What other policies and webhooks add to a pod (a container) is seen as well.
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], **rule} for rule in _RULES],
            "matchPolicy": "Equivalent",
        },
        "variables": [{"name": name, "expression": text} for name, text in of_injections(sets).items()],
    }
    digest = hashlib.sha256(msgspec.json.encode([spec, found], order="sorted")).hexdigest()[:12]
    mark = (
        f'("{PROBE}" in object.metadata.?annotations.orValue({{}}) && '
        f'object.metadata.annotations[?"{INJECTED}"].orValue("") != "{digest}" ? [JSONPatch{{op: "add", '
        f'path: "/metadata/annotations/" + jsonpatch.escapeKey("{INJECTED}"), value: "{digest}"}}] : [])'
    )
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": " + ".join([mark, *found])}}
    selector = {"matchExpressions": [{"key": ADMISSION, "operator": "In", "values": ["Deny", "Warn"]}]}
    bound = binding(NAME, NAME, (), selector)
    del bound["spec"]["validationActions"]
    return [
        {
            "apiVersion": API,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": NAME, "labels": labels(), "annotations": {VERSION: digest}},
            "spec": {**spec, "mutations": [mutation]},
        },
        {**bound, "kind": "MutatingAdmissionPolicyBinding"},
    ]


def injected(pod: Mapping[str, Any], sets: Sequence[CheckSet], annotations: Mapping[str, str]) -> Mapping[str, Any]:
    """A pod's manifest as it is after its creation in a namespace with these annotations. The given one is left as it
    is. Pod templates are not injected into, only the pods that are made from them."""
    exempted = frozenset(_exempted(pod, annotations))
    for checks in sets:
        parameters = decoded(checks, annotations)
        for injection in checks.injections:
            if f"{checks.control}/{injection.check}" not in exempted:
                pod = injection.apply(pod, parameters)
    return pod


def _exempted(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> Iterator[str]:
    """The checks that the pod is exempted from, whether or not the time is over: as in `variables.of_injections`."""
    form, *entries = annotations.get(EXEMPTIONS, "").split(";")
    own = (pod.get("metadata") or {}).get("labels") or {}
    for check, _, selector in (entry.split("|") for entry in entries if form in FORMATS and entry.count("|") == 2):
        wanted = [label.partition("=") for label in selector.split(",") if label]
        if all(own.get(key) == value for key, _, value in wanted):
            yield check
