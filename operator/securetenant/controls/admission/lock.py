"""The lock on namespaces: nobody but the operator changes its labels and annotations there, or deletes a tenant's.

The policy matches all namespaces and compares the old object with the new one. A namespaceSelector would look at the
new labels alone, so that taking a mark off would also take the lock off. Subresources write labels as well
(Capsule CVE-2026-30963).

On a tenant's namespace it keeps the annotations that tell the network plug-in its subnet as well: whoever changes them
moves the pods that are created next, and what the plug-in does not write itself is not healed. The plug-in passes.
"""

from typing import Final

from securetenant.checks import accounts, cni
from securetenant.checks.policies import binding, policy_name, versioned
from securetenant.checks.targets import Document
from securetenant.checks.variables import parameters
from securetenant.controls.admission.locks import LOCKS, NAMESPACES
from securetenant.model import names

RESOURCES: Final = ("namespaces", "namespaces/status", "namespaces/finalize")
TARGET: Final = "namespaces"

# Kubernetes' own: without them no namespace ends, and no owner of one.
CONTROLLERS: Final = (
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    accounts.CONTROLLER_MANAGER,
)

_POD_SECURITY: Final = "pod-security.kubernetes.io/"
# What keys `k` are looked at. Where a namespace has thousands of long ones, each step over them counts: a regular
# expression would cost a hundred times as much of what the API server allows, and refuse the namespace.
_OURS: Final = f"k.startsWith('{names.GROUP}/')"
_ANNOTATIONS: Final = f"{_OURS} || (variables.marked && !variables.byCni && ({cni.listed(cni.ADDRESS, but=cni.FREE)}))"
_LABELS: Final = f"{_OURS} || k.startsWith('{_POD_SECURITY}') || k == '{names.LABEL_MANAGED_BY}'"
_MESSAGE: Final = "only the operator changes this on a namespace: edit the SecureTenant instead"


def namespaces() -> list[Document]:
    """The policy and its binding."""
    name = policy_name(TARGET)
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE", "DELETE"],
        "resources": list(RESOURCES),
    }
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "matchPolicy": "Equivalent"},
        "variables": [{"name": key, "expression": cel} for key, cel in _variables().items()],
        "validations": [
            {
                # In this order: what Kubernetes' controllers do does not depend on the rest.
                "expression": "variables.permitted || variables.locked.size() == 0 || variables.breakGlass",
                "messageExpression": f"'locked: ' + variables.locked.join(', ') + ': {_MESSAGE}'",
                "message": f"locked: {_MESSAGE}",
                "reason": "Forbidden",
            }
        ],
        # They cannot fail: a failure would refuse the request.
        "auditAnnotations": [
            {"key": "tenant", "valueExpression": "variables.permitted ? '' : variables.tenants.join(', ')"},
            {
                "key": "break-glass",
                "valueExpression": "variables.permitted || !variables.breakGlass ? '' : variables.locked.join(', ')",
            },
        ],
    }
    return [versioned(name, spec), binding(f"{TARGET}-deny.{names.GROUP}", name, ["Deny", "Audit"])]


def _variables() -> dict[str, str]:
    """`locked`: what of this request is locked, as texts. On CREATE there is no old object, on DELETE no new one."""
    controllers = ", ".join(f"'{one}'" for one in CONTROLLERS)
    mark = f"'{names.LABEL_TENANT}'"
    probes = ", ".join(f"'{one}'" for one in names.PROBE_NAMESPACES)
    return {
        **accounts.variables(),
        # The namespaces of the operator's probe carry a mark, and are made by whoever applies manifests/.
        "permitted": f"request.userInfo.username in variables.operatorAccounts || "
        f"request.userInfo.username in [{controllers}] || "
        f"(object == null ? oldObject : object).metadata.?name.orValue('') in [{probes}]",
        "breakGlass": "request.userInfo.?groups.orValue([]).exists(g, g in variables.breakGlassGroups)",
        "byCni": "request.userInfo.username in variables.cniAccounts",
        "oldLabels": _of("labels", "oldObject", "dyn({})"),
        "newLabels": _of("labels", "object", "variables.oldLabels"),
        "oldAnnotations": _of("annotations", "oldObject", "dyn({})"),
        "newAnnotations": _of("annotations", "object", "variables.oldAnnotations"),
        # Of the old object: whoever is locked out does not get in by writing it.
        "annotations": "variables.oldAnnotations",
        **parameters(LOCKS),
        "wasMarked": f"{mark} in variables.oldLabels",
        "marked": f"variables.wasMarked || {mark} in variables.newLabels",
        "tenants": f"(variables.wasMarked ? [variables.oldLabels[{mark}]] : []) + "
        f"(variables.newLabels[?{mark}] != variables.oldLabels[?{mark}] && {mark} in variables.newLabels "
        f"? [variables.newLabels[{mark}]] : [])",
        "changedLabels": f"{_changed('Labels', _LABELS)}.filter(k, {_is_locked_label()})",
        "changedAnnotations": _changed("Annotations", _ANNOTATIONS),
        "changedParts": "request.operation == 'UPDATE' && variables.marked ? "
        "(object.metadata.?ownerReferences.orValue([]) != oldObject.metadata.?ownerReferences.orValue([]) "
        "? ['metadata.ownerReferences'] : []) + "
        "(object.?spec.?finalizers.orValue([]) != oldObject.?spec.?finalizers.orValue([]) "
        "? ['spec.finalizers'] : []) : []",
        "locked": f"variables.wasMarked && '{NAMESPACES}' in variables.unlocked ? [] : "
        "variables.changedLabels.map(k, 'label ' + k) + variables.changedAnnotations.map(k, 'annotation ' + k) + "
        "variables.changedParts + (request.operation == 'DELETE' && variables.wasMarked ? ['deletion'] : [])",
    }


def _of(field: str, thing: str, absent: str) -> str:
    return f"{thing} == null ? {absent} : {thing}.metadata.?{field}.orValue({{}})"


def _changed(field: str, looked_at: str) -> str:
    """The changed keys `k` that are looked at, each once. What a released namespace still carries of ours, everybody
    may take off."""
    old, new = f"variables.old{field}", f"variables.new{field}"
    keys, before = (f"{one}.filter(k, {looked_at})" for one in (new, old))
    differs = f"{new}[?k] != {old}[?k] && (variables.marked || k in {new})"
    return f"({keys} + {before}.filter(k, !(k in {new}))).filter(k, {differs})"


def _is_locked_label() -> str:
    """Whether a key `k` of `_LABELS` is locked on this very namespace."""
    values = (f"variables.{when}Labels[?k].orValue('') == '{names.MANAGED_BY}'" for when in ("old", "new"))
    return (
        f"k == '{names.LABEL_MANAGED_BY}' ? ({' || '.join(values)}) : "
        f"(!k.startsWith('{_POD_SECURITY}') || variables.marked)"
    )
