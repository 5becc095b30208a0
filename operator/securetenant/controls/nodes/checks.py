"""What pods may select and tolerate, so that a tenant's pods run on its dedicated nodes and others' never do.

The taint keeps pods off a tenant's nodes, so `tolerations` is the check that others rest on: whatever else a pod
selects, the scheduler refuses it a node whose taint it does not tolerate. `schedulerName` is not judged: a scheduler
binds pods through `pods/binding`, a right that no role of a tenant has.
"""

from collections.abc import Iterator
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import Check, CheckSet, Parameter
from securetenant.controls.nodes import placement
from securetenant.model import names

NAME: Final = "nodes"


def _dedicated(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    if tenant.spec.nodes is not None:
        yield tenant.name


_LABEL: Final = names.NODE_LABEL_TENANT
_TAINT: Final = names.NODE_TAINT

_REQUIRED: Final = (
    "variables.spec.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.?nodeSelectorTerms"
    ".orValue([])"
)
_PREFERRED: Final = (
    "variables.spec.?affinity.?nodeAffinity.?preferredDuringSchedulingIgnoredDuringExecution.orValue([])"
    ".map(p, p.?preference.orValue({}))"
)
# The DaemonSet controller replaces the required terms of each pod by one that names its node (and then judges the
# template's own terms itself). Just that form is allowed (the API server takes no other field, and one value alone):
# taint and nodeSelector still decide whether the pod may run there, and a tenant that writes it by hand gets no more
# than by the label kubernetes.io/hostname.
_NAMES_NODES: Final = (
    "variables.preferredNodes.exists(t, t.?matchFields.orValue([]).size() > 0) || "
    "(variables.requiredNodes.exists(t, t.?matchFields.orValue([]).size() > 0) && "
    "!(variables.requiredNodes.size() == 1 && variables.requiredNodes[0].?matchExpressions.orValue([]).size() == 0 && "
    "variables.requiredNodes[0].matchFields.size() == 1 && "
    "variables.requiredNodes[0].matchFields[0].?operator.orValue('') == 'In'))"
)
_SELECTS_OTHERS: Final = (
    "(variables.requiredNodes + variables.preferredNodes).exists(t, t.?matchExpressions.orValue([]).exists(e, "
    f"e.?key.orValue('') == '{_LABEL}' && e.?operator.orValue('') != 'DoesNotExist' && "
    "!(e.?operator.orValue('') == 'In' && e.?values.orValue([]).all(v, v in variables.dedicated))))"
)
# A toleration without a key tolerates every taint. An empty operator is Equal; Exists, Lt and Gt match several values.
_TOLERATES_OTHERS: Final = (
    f"t.?key.orValue('') == '' || (t.?key.orValue('') == '{_TAINT}' && "
    "!(t.?operator.orValue('Equal') in ['Equal', ''] && t.?value.orValue('') in variables.dedicated))"
)

CHECKS: Final = CheckSet(
    control=NAME,
    parameters=(Parameter("dedicated", _dedicated),),
    variables={
        "nodeSelector": "variables.spec.?nodeSelector.orValue({})",
        "requiredNodes": _REQUIRED,
        "preferredNodes": _PREFERRED,
        # A DaemonSet's template must have both already: its controller decides by the template where pods are created.
        "placed": "variables.injected || object.?kind.orValue('') == 'DaemonSet'",
        "ownToleration": "variables.spec.?tolerations.orValue([]).exists(t, t.?value.orValue('') in "
        f"variables.dedicated && t.?key.orValue('') == '{_TAINT}')",
    },
    checks=(
        Check(
            "selection",
            "variables.dedicated.size() == 0 ? [] : "
            f"(('{_LABEL}' in variables.nodeSelector ? variables.nodeSelector['{_LABEL}'] in variables.dedicated : "
            "!variables.placed) ? (variables.placed && !variables.ownToleration ? ['spec.tolerations'] : []) : "
            "['spec.nodeSelector'])",
            "pods of this tenant run on its own nodes only: set nodeSelector "
            f"{_LABEL} to the tenant's name, and tolerate the taint {_TAINT} with that value",
            "High",
        ),
        Check(
            "tolerations",
            f"variables.spec.?tolerations.orValue([]).map(t, {_TOLERATES_OTHERS}, "
            "'spec.tolerations (key ' + t.?key.orValue('') + ', operator ' + t.?operator.orValue('') + ', value ' + "
            "t.?value.orValue('') + ')')",
            "the pod tolerates the taint of nodes that are another tenant's: name the key and value of each taint, and "
            f"of {_TAINT} no value but the own tenant's",
            "Critical",
            exemptible=False,
        ),
        Check(
            "foreignNodes",
            f"('{_LABEL}' in variables.nodeSelector && !(variables.nodeSelector['{_LABEL}'] in variables.dedicated) "
            f"? ['spec.nodeSelector'] : []) + ({_SELECTS_OTHERS} || {_NAMES_NODES} "
            "? ['spec.affinity.nodeAffinity'] : [])",
            f"the pod selects nodes by name, or nodes of another tenant: remove matchFields and {_LABEL}",
            "High",
        ),
    ),
    injections=(placement.INJECTION,),
)  # fmt: skip
