"""The posture lock: nobody but the operator changes what it made in a tenant's namespace, and where the tenant says
`foreign: Remove`, nobody adds a NetworkPolicy or a RoleBinding of their own.

What is ours carries one of our marks, before or after the change: taking the mark off is a change, and so is making an
object that carries it. Drift detection finds and heals the same; the lock keeps it from being for these milliseconds,
and holds with the operator stopped.
"""

from typing import Final

from securetenant.checks import accounts
from securetenant.checks.policies import ADMISSION, binding, policy_name, versioned
from securetenant.checks.targets import Document
from securetenant.checks.variables import parameters
from securetenant.controls.admission.lock import CONTROLLERS
from securetenant.controls.admission.locks import FOREIGN, LOCKS, POSTURE
from securetenant.model import names

TARGET: Final = "posture"
# With a ResourceQuota: NetworkPolicies are matched by another policy of ours as well.
TRIED_WITH: Final = "resourcequotas"

# What the operator makes in namespaces, by API group. Capsule CVE-2026-30963: subresources write metadata as well.
RESOURCES: Final = {
    "": ("resourcequotas", "resourcequotas/status", "limitranges"),
    "networking.k8s.io": ("networkpolicies",),
    "rbac.authorization.k8s.io": ("rolebindings",),
}
# Who writes the status of quotas: the API server with each object that it counts, and the controller that recounts.
COUNTERS: Final = ("system:apiserver", "system:serviceaccount:kube-system:resourcequota-controller")

_OURS: Final = "only the operator changes what it made here: edit the SecureTenant instead"
_THEIRS: Final = (
    "the SecureTenant removes those of others (foreign: Remove): declare it there, or have it say foreign: Report"
)
METADATA: Final = ("labels", "annotations", "finalizers", "ownerReferences")
_CONTENT: Final = ("spec", "status", "subjects", "roleRef")


def objects() -> list[Document]:
    """The policy and its binding."""
    name = policy_name(TARGET)
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _rules(), "matchPolicy": "Equivalent"},
        # Before all else: each pod that is created writes the status of its namespace's quotas.
        "matchConditions": [{"name": "not-kubernetes-itself", "expression": f"!({_is_kubernetes()})"}],
        "variables": [{"name": key, "expression": cel} for key, cel in _variables().items()],
        "validations": [
            {
                "expression": "variables.permitted || variables.told.size() == 0 || variables.breakGlass",
                "messageExpression": "variables.told",
                "message": f"locked: {_OURS}",
                "reason": "Forbidden",
            }
        ],
        # They cannot fail: a failure would refuse the request.
        "auditAnnotations": [
            {"key": "tenant", "valueExpression": "variables.permitted ? '' : variables.tenant"},
            {
                "key": "break-glass",
                "valueExpression": "variables.permitted || !variables.breakGlass ? '' : variables.refused",
            },
        ],
    }
    # The probe's namespaces carry this label, and no tenant's mark. Nobody but the operator can take it off.
    selector = {"matchExpressions": [{"key": ADMISSION, "operator": "Exists"}]}
    return [
        versioned(name, spec, tried_with=TRIED_WITH),
        binding(f"{TARGET}-deny.{names.GROUP}", name, ["Deny", "Audit"], selector),
    ]


def _rules() -> list[Document]:
    return [
        {
            "apiGroups": [group],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": list(resources),
        }
        for group, resources in RESOURCES.items()
    ]


def _is_kubernetes() -> str:
    """Whether the request is one of those without which no namespace ends, and no quota counts."""
    controllers, counters = (", ".join(f"'{one}'" for one in some) for some in (CONTROLLERS, COUNTERS))
    return (
        f"request.userInfo.username in [{controllers}] || (request.resource.resource == 'resourcequotas' && "
        f"request.?subResource.orValue('') == 'status' && request.userInfo.username in [{counters}])"
    )


def _variables() -> dict[str, str]:
    """`refused`: what of this request is refused, as a text, with the reason `told`; "" if nothing is."""
    foreign = ", ".join(f"'{one}'" for one in FOREIGN.values())
    return {
        **accounts.variables(),
        "permitted": "request.userInfo.username in variables.operatorAccounts",
        "breakGlass": "request.userInfo.?groups.orValue([]).exists(g, g in variables.breakGlassGroups)",
        "annotations": "namespaceObject.metadata.?annotations.orValue({})",
        **parameters(LOCKS),
        "tenant": f"string(namespaceObject.metadata.?labels[?'{names.LABEL_TENANT}'].orValue(''))",
        "locked": f"variables.tenant != '' && !('{POSTURE}' in variables.unlocked)",
        "named": "request.kind.kind + ' ' + (object == null ? oldObject : object).metadata.name",
        "ours": f"[object, oldObject].exists(o, o != null && {has_mark('o')})",
        "content": f"request.operation == 'UPDATE' ? {changed(_CONTENT, '')} : []",
        "metadata": f"request.operation == 'UPDATE' ? {changed(METADATA, 'metadata.')} : []",
        # What only updates managedFields, as a server-side apply of what stands, changes nothing.
        "changed": "request.operation == 'UPDATE' ? variables.content + variables.metadata : "
        "[request.operation == 'CREATE' ? 'creation' : 'deletion']",
        # Finalizers and labels of what was there before can be changed, and everything deleted: it opens nothing.
        "widens": f"!variables.ours && request.resource.resource in [{foreign}] && "
        "!(request.resource.resource in variables.foreign) && "
        "(request.operation == 'CREATE' || variables.content.size() > 0)",
        "refused": "variables.locked && (variables.ours ? variables.changed.size() > 0 : variables.widens) "
        "? variables.changed.join(', ') + ' of ' + variables.named : ''",
        "told": "variables.refused == '' ? '' : (variables.ours "
        f"? 'locked: ' + variables.refused + ': {_OURS}' : 'foreign: ' + variables.refused + ': {_THEIRS}')",
    }


def has_mark(thing: str) -> str:
    """CEL, whether an object carries one of the marks of what is ours."""
    return (
        f"({thing}.metadata.?labels[?'{names.LABEL_MANAGED_BY}'].orValue('') == '{names.MANAGED_BY}' || "
        f"{thing}.metadata.?labels[?'{names.LABEL_TENANT}'].hasValue())"
    )


def changed(fields: tuple[str, ...], path: str) -> str:
    """CEL, the paths of those of the fields that differ between the old object and the new one."""
    return " + ".join(
        f"(object.{path}?{field} != oldObject.{path}?{field} ? ['{path}{field}'] : [])" for field in fields
    )
