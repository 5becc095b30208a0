"""The admission policies of the checks: a fixed, small number, whatever the number of tenants.

Each policy that matches a pod costs something even if it has little to say, so there is one for all checks on pods. Its
cost grows with the number of validations and bindings, and is measured (bench/admission.py). It runs where the label
`securetenant.dev/admission` of the namespace says so, and reads its parameters from the namespace's annotations.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from securetenant.checks import accounts
from securetenant.checks.check import Check, CheckSet
from securetenant.checks.variables import PODS, WORKLOADS, Target, variables
from securetenant.model import names

Document = dict[str, Any]

API: Final = "admissionregistration.k8s.io/v1"
ADMISSION: Final = f"{names.GROUP}/admission"
PROBE: Final = f"{names.GROUP}/probe"
VERSION: Final = f"{names.GROUP}/policy-version"
# On an object of the operator's probe: the version of the policy that was injected by (see `injections`).
INJECTED: Final = f"{names.GROUP}/injected"

_WORKLOAD_RULES: Final = (
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"]},
    {"apiGroups": ["batch"], "resources": ["jobs", "cronjobs"]},
    {"apiGroups": [""], "resources": ["replicationcontrollers"]},
)
_POD_RULES: Final = (
    {"operations": ["CREATE", "UPDATE"], "resources": ["pods"]},
    {"operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
)

_INJECTED: Final = f"object.metadata.?annotations[?'{INJECTED}'].orValue('')"


def pods(sets: Sequence[CheckSet]) -> list[Document]:
    """The policy on pods. A second binding, which warns, shows the author all that is wrong: a refusal shows only the
    first."""
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], **rule} for rule in _POD_RULES]
    return [
        _policy(PODS, sets, rules),
        _binding(PODS, "deny", ["Deny", "Audit"], ["Deny"]),
        _binding(PODS, "hints", ["Warn"], ["Deny"]),
        _binding(PODS, "warn", ["Warn", "Audit"], ["Warn"]),
    ]


def workloads(sets: Sequence[CheckSet]) -> list[Document]:
    """The policy on pod templates: it never refuses, so that what runs can still be scaled down or deleted, and the
    author sees what will happen to the pods."""
    rules = [{"operations": ["CREATE", "UPDATE"], "apiVersions": ["v1"], **rule} for rule in _WORKLOAD_RULES]
    return [_policy(WORKLOADS, sets, rules), _binding(WORKLOADS, "warn", ["Warn"], ["Deny", "Warn"])]


def policy_name(target: str) -> str:
    return f"{target}.{names.GROUP}"


def _policy(target: Target, sets: Sequence[CheckSet], rules: Sequence[Document]) -> Document:
    found = {one.identifier(check): (one, check) for one in sets for check in one.checks}
    given = {**variables(target, sets), **{_variable(*pair): pair[1].found for pair in found.values()}}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": list(rules), "matchPolicy": "Equivalent"},
        # What runs can still be labelled, drained and deleted, and have finalizers removed.
        "matchConditions": [
            {
                "name": "spec-changes",
                "expression": "request.operation != 'UPDATE' || object.spec != oldObject.spec",
            }
        ],
        "variables": [{"name": name, "expression": text} for name, text in given.items()],
        "validations": [_validation(one, check) for one, check in found.values()],
        # They cannot fail: a failure would refuse the request even where the policy only warns.
        "auditAnnotations": [
            {
                "key": "tenant",
                "valueExpression": f"string(namespaceObject.metadata.?labels[?'{names.LABEL_TENANT}'].orValue(''))",
            },
            {"key": "exempted", "valueExpression": "variables.exempted.join(', ')"},
        ],
    }
    return versioned(policy_name(target.name), spec)


def versioned(name: str, spec: Document) -> Document:
    """A ValidatingAdmissionPolicy. Its first validation answers the operator's probe, the creation of an object, with
    its version, so that the operator knows that this very policy is in force. `spec` has the default accounts, if any:
    a platform that names others (see `accounts`) has the same version."""
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:12]
    probe = {
        "expression": f"request.operation != 'CREATE' || !('{PROBE}' in object.?metadata.?annotations.orValue({{}}))",
        # A MutatingAdmissionPolicy has no message of its own.
        "messageExpression": f"'probe: {name} {digest} is in force' + ({_INJECTED} == '' ? '' : "
        f"', injected ' + {_INJECTED})",
        "message": f"probe: {name} {digest} is in force",
        "reason": "Forbidden",
    }
    uses_accounts = any(variable["name"] == accounts.VARIABLE for variable in spec["variables"])
    named = {accounts.ANNOTATION: accounts.text(accounts.DEFAULT)} if uses_accounts else {}
    return {
        "apiVersion": API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": labels(), "annotations": {VERSION: digest, **named}},
        "spec": {**spec, "validations": [probe, *spec["validations"]]},
    }


def labels() -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "securetenant"}


def _validation(checks: CheckSet, check: Check) -> Document:
    variable = f"variables.{_variable(checks, check)}"
    title = checks.identifier(check)
    exempted = f"'{title}' in variables.exempted || " if check.exemptible else ""
    return {
        "expression": f"{exempted}{variable}.size() == 0",
        # What is wrong and where comes first: a warning is cut at 256 characters.
        "messageExpression": f"'{title} at ' + {variable}.join(', ') + ': {_quoted(check.message)}'",
        "message": f"{title}: {check.message}",
        "reason": "Forbidden",
    }


def _variable(checks: CheckSet, check: Check) -> str:
    return f"found_{checks.control}_{check.name}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _binding(target: Target, name: str, actions: Sequence[str], modes: Iterable[str]) -> Document:
    selector = {"matchExpressions": [{"key": ADMISSION, "operator": "In", "values": list(modes)}]}
    return binding(f"{target.name}-{name}.{names.GROUP}", policy_name(target.name), actions, selector)


def binding(name: str, policy: str, actions: Sequence[str], selector: Document | None = None) -> Document:
    """A ValidatingAdmissionPolicyBinding; with a selector only for objects in the namespaces that it selects."""
    return {
        "apiVersion": API,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": labels()},
        "spec": {
            "policyName": policy,
            "validationActions": list(actions),
            **({"matchResources": {"namespaceSelector": selector}} if selector else {}),
        },
    }
