"""What the API server writes into each pod of a tenant with dedicated nodes: the selector and the toleration.

Both are only added. A selector that names another tenant stays, and the check `foreignNodes` refuses it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from securetenant.checks.check import Injection
from securetenant.model import names

_LABEL: Final = names.NODE_LABEL_TENANT
_TAINT: Final = names.NODE_TAINT

_SELECTOR: Final = (
    f'"{_LABEL}" in object.spec.?nodeSelector.orValue({{}}) ? [] : '
    '(has(object.spec.nodeSelector) ? [] : [JSONPatch{op: "add", path: "/spec/nodeSelector", value: {}}]) + '
    f'[JSONPatch{{op: "add", path: "/spec/nodeSelector/" + jsonpatch.escapeKey("{_LABEL}"), '
    "value: string(variables.dedicated[0])}]"
)
# Without an effect it tolerates both that spec.nodes.effect may have, so that a change of it evicts no pod of the
# tenant's own.
_TOLERATION: Final = (
    f'object.spec.?tolerations.orValue([]).exists(t, t.?key.orValue("") == "{_TAINT}" && '
    't.?operator.orValue("") in ["", "Equal"] && t.?value.orValue("") == string(variables.dedicated[0]) && '
    't.?effect.orValue("") == "") ? [] : '
    '(has(object.spec.tolerations) ? [] : [JSONPatch{op: "add", path: "/spec/tolerations", value: []}]) + '
    '[JSONPatch{op: "add", path: "/spec/tolerations/-", value: Object.spec.tolerations'
    f'{{key: "{_TAINT}", operator: "Equal", value: string(variables.dedicated[0])}}}}]'
)


def _placed(pod: Mapping[str, Any], parameters: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    if not parameters["dedicated"]:
        return pod
    (tenant, *_), spec = parameters["dedicated"], dict(pod["spec"])
    spec["nodeSelector"] = {_LABEL: tenant} | (spec.get("nodeSelector") or {})
    tolerations = list(spec.get("tolerations") or ())
    if not any(_is_own(toleration, tenant) for toleration in tolerations):
        tolerations.append({"key": _TAINT, "operator": "Equal", "value": tenant})
    return {**pod, "spec": {**spec, "tolerations": tolerations}}


def _is_own(toleration: Mapping[str, Any], tenant: str) -> bool:
    key, operator, value, effect = (toleration.get(name) or "" for name in ("key", "operator", "value", "effect"))
    return key == _TAINT and operator in ("", "Equal") and value == tenant and not effect


INJECTION: Final = Injection(
    "selection",
    f'request.operation == "CREATE" && variables.dedicated.size() > 0 ? ({_SELECTOR}) + ({_TOLERATION}) : []',
    _placed,
)
