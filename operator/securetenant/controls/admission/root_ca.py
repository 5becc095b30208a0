"""The lock on ConfigMaps `kube-root-ca.crt`: nobody but Kubernetes writes the certificates that pods trust the API
server by.

kube-controller-manager restores one that was changed, but a pod that starts meanwhile would trust what somebody else
wrote, and one that was made immutable cannot be restored or renewed. Deletion is free: the controller makes it anew,
and nobody else can. The rule names the object, so no other ConfigMap costs anything.
"""

from typing import Final

from securetenant.checks import accounts
from securetenant.checks.policies import ADMISSION, binding, policy_name, versioned
from securetenant.checks.targets import Document
from securetenant.model import names

NAME: Final = "kube-root-ca.crt"
TARGET: Final = "root-ca"
PUBLISHERS: Final = ("system:serviceaccount:kube-system:root-ca-cert-publisher", accounts.CONTROLLER_MANAGER)

_FIELDS: Final = ("data", "binaryData", "immutable")
_MESSAGE: Final = (
    "only kube-controller-manager writes the certificates that pods trust the API server by: use another ConfigMap"
)


def configmaps() -> list[Document]:
    """The policy and its bindings."""
    name = policy_name(TARGET)
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
        "resourceNames": [NAME],
    }
    changed = " || ".join(f"object.?{one} != oldObject.?{one}" for one in _FIELDS)
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "matchPolicy": "Equivalent"},
        # Labels and annotations are free.
        "matchConditions": [{"name": "changes", "expression": f"request.operation != 'UPDATE' || {changed}"}],
        "variables": [{"name": key, "expression": cel} for key, cel in _variables().items()],
        "validations": [
            {
                "expression": "variables.permitted || variables.breakGlass",
                "message": f"locked: {_MESSAGE}",
                "reason": "Forbidden",
            }
        ],
        # They cannot fail: a failure would refuse the request even where the policy only warns.
        "auditAnnotations": [
            {
                "key": "tenant",
                "valueExpression": f"string(namespaceObject.metadata.?labels[?'{names.LABEL_TENANT}'].orValue(''))",
            },
            {"key": "break-glass", "valueExpression": f"variables.permitted || !variables.breakGlass ? '' : '{NAME}'"},
        ],
    }
    return [versioned(name, spec), *(_binding(name, *each) for each in (("deny", "Deny"), ("warn", "Warn")))]


def _variables() -> dict[str, str]:
    publishers = ", ".join(f"'{one}'" for one in PUBLISHERS)
    return {
        **{key: cel for key, cel in accounts.variables().items() if key != "operatorAccounts"},
        "permitted": f"request.userInfo.username in [{publishers}]",
        "breakGlass": "request.userInfo.?groups.orValue([]).exists(g, g in variables.breakGlassGroups)",
    }


def _binding(policy: str, name: str, mode: str) -> Document:
    selector = {"matchExpressions": [{"key": ADMISSION, "operator": "In", "values": [mode]}]}
    return binding(f"{TARGET}-{name}.{names.GROUP}", policy, [mode, "Audit"], selector)
