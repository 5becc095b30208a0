"""The admission policies of the checks: a fixed, small number, whatever the number of tenants.

Each policy, validation, message and binding that matches a pod costs its creation something, even if it has nothing to
say (bench/admission.py measures it): so there is one policy for all checks of a target, with one validation whose
message lists all that is broken. It runs where the label `securetenant.dev/admission` of the namespace says so, and
reads its parameters from the namespace's annotations.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from securetenant.checks import accounts, variables
from securetenant.checks.check import Check, CheckSet
from securetenant.checks.targets import Document, Target
from securetenant.model import names

API: Final = "admissionregistration.k8s.io/v1"
ADMISSION: Final = f"{names.GROUP}/admission"
PROBE: Final = f"{names.GROUP}/probe"
VERSION: Final = f"{names.GROUP}/policy-version"
# On an object of the operator's probe: the version of the policy that was injected by (see `injections`).
INJECTED: Final = f"{names.GROUP}/injected"

# The longest message (bytes): the API server takes none over 5 KiB. A character has up to 4.
_LONGEST: Final = 4800
_INJECTED: Final = f"object.metadata.?annotations[?'{INJECTED}'].orValue('')"


def judging(target: Target, sets: Sequence[CheckSet]) -> list[Document]:
    """The policy of a target and its bindings; empty if no check looks at it."""
    if not variables.judging(target, sets):
        return []
    if not target.refuses:
        return [_policy(target, sets), _binding(target, "warn", ["Warn"], ["Deny", "Warn"])]
    return [
        _policy(target, sets),
        _binding(target, "deny", ["Deny", "Audit"], ["Deny"]),
        _binding(target, "warn", ["Warn", "Audit"], ["Warn"]),
    ]


def policy_name(target: str) -> str:
    return f"{target}.{names.GROUP}"


def _policy(target: Target, sets: Sequence[CheckSet]) -> Document:
    found = variables.judging(target, sets)
    given = {**variables.variables(target, sets), **{_variable(*pair): pair[1].found for pair in found}}
    given["broken"] = " + ".join(_broken(*pair) for pair in found)
    # A message with a line break is none for the API server.
    given["said"] = r"variables.broken.join('; ').replace('\n', ' ')"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": list(target.rules), "matchPolicy": "Equivalent"},
        "matchConditions": [
            {"name": "changes", "expression": f"request.operation != 'UPDATE' || {target.changes}"},
        ],
        "variables": [{"name": name, "expression": text} for name, text in given.items()],
        "validations": [
            {
                "expression": "variables.broken.size() == 0",
                "messageExpression": f"bytes(variables.said).size() <= {_LONGEST} ? variables.said : "
                f"variables.said.substring(0, {_LONGEST // 4}) + ' ...'",
                "message": "rules of the tenant are broken: see docs/controls, or ask `securetenant validate` which",
                "reason": "Forbidden",
            }
        ],
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


def versioned(name: str, spec: Document, tried_with: str = "") -> Document:
    """A ValidatingAdmissionPolicy. Its first validation answers the operator's probe, the creation of an object, with
    its version, so that the operator knows that this very policy is in force. `spec` has the default accounts, if any:
    a platform that names others (see `accounts`) has the same version. `tried_with`: the one resource with which it is
    tried; "": any that it matches. Of several policies that refuse an object the answer names one."""
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:12]
    others = f"request.resource.resource != '{tried_with}' || " if tried_with else ""
    probe = {
        "expression": f"{others}request.operation != 'CREATE' || "
        f"!('{PROBE}' in object.?metadata.?annotations.orValue({{}}))",
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


def _broken(checks: CheckSet, check: Check) -> str:
    """CEL: a list with what is wrong and where, empty if the check is kept or exempted from."""
    variable = f"variables.{_variable(checks, check)}"
    title = checks.identifier(check)
    kept = f"{variable}.size() == 0"
    kept = f"'{title}' in variables.exempted || {kept}" if check.exemptible else kept
    return f"({kept} ? [] : ['{title} at ' + {variable}.join(', ') + ': {_quoted(check.message)}'])"


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
