"""The lock on tenants' subnets: nobody but the operator changes the objects by which a network plug-in is told of them,
and nobody at all the addresses of one.

A plug-in refuses none of that. With other addresses running pods are cut off, and addresses are handed out twice;
without the object they are free for the next tenant. What is ours carries one of our marks, before or after the change;
the plug-in's own nets, and whatever else carries none, are never refused anything. These objects are in no namespace,
so which locks are off stands on each of them, in the annotation that namespaces have as well.

The plug-in's accounts fill in the rest of the object: finalizers, status, and fields that are not ours.
"""

from collections.abc import Mapping
from typing import Final

from securetenant.checks import accounts
from securetenant.checks.policies import binding, policy_name, versioned
from securetenant.checks.targets import Document
from securetenant.checks.variables import parameters
from securetenant.controls.admission.locks import OF_SUBNETS, POSTURE
from securetenant.controls.admission.posture import METADATA, changed, has_mark
from securetenant.model import names
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, Kind

TARGET: Final = "subnets"
# What is tried, since no network plug-in need be installed: a ConfigMap of this name, which nothing else has.
TRIED: Final = f"{names.CHILD_PREFIX}-probe-subnets"
TRIED_WITH: Final = "configmaps"

# The fields of the spec that the operator writes or takes off (controls/subnets/objects.py). No plug-in writes one of
# another's.
FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    KUBE_OVN_SUBNET: ("cidrBlock", "private", "allowSubnets", "namespaces", "namespaceSelectors", "acls"),
    CALICO_IP_POOL: ("cidr", "blockSize", "nodeSelector"),
    CILIUM_POD_IP_POOL: ("ipv4", "ipv6", "podSelector", "namespaceSelector"),
}
# The same objects where Calico serves them by another name.
_CALICO: Final = "projectcalico.org"

# kube-controller-manager ends a deletion that somebody asked to wait for dependants, or to leave them.
CONTROLLERS: Final = ("system:serviceaccount:kube-system:generic-garbage-collector", accounts.CONTROLLER_MANAGER)

_OURS: Final = "only the operator changes the subnets of tenants: edit the SecureTenant instead"
_FIXED: Final = (
    "running pods keep the addresses that they have, and others would get them as well: declare a new namespace with "
    "another subnet, and move there"
)


def objects() -> list[Document]:
    """The policy and its binding."""
    name = policy_name(TARGET)
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _rules(), "matchPolicy": "Equivalent"},
        "variables": [{"name": key, "expression": cel} for key, cel in _variables().items()],
        "validations": [
            {
                "expression": "variables.moved.size() == 0",
                "messageExpression": "'fixed: ' + variables.moved.join(', ') + ' of ' + variables.named + "
                f"': {_FIXED}'",
                "message": f"fixed: {_FIXED}",
                "reason": "Forbidden",
            },
            {
                "expression": "variables.permitted || variables.refused.size() == 0 || variables.breakGlass",
                "messageExpression": f"'locked: ' + variables.told + ': {_OURS}'",
                "message": f"locked: {_OURS}",
                "reason": "Forbidden",
            },
        ],
        # They cannot fail: a failure would refuse the request.
        "auditAnnotations": [
            {"key": "tenant", "valueExpression": "variables.permitted ? '' : variables.tenant"},
            {
                "key": "break-glass",
                "valueExpression": "variables.permitted || variables.refused.size() == 0 || !variables.breakGlass "
                "? '' : variables.told",
            },
        ],
    }
    return [
        versioned(name, spec, tried_with=TRIED_WITH),
        binding(f"{TARGET}-deny.{names.GROUP}", name, ["Deny", "Audit"]),
    ]


def _rules() -> list[Document]:
    """What is matched. The API server takes a rule about what it does not serve, and follows it once it does."""
    served = {kind.group: kind.plural for kind in FIELDS} | {_CALICO: CALICO_IP_POOL.plural}
    tried = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": [TRIED_WITH],
        "resourceNames": [TRIED],
    }
    rules = [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": [plural, f"{plural}/status"],
        }
        for group, plural in served.items()
    ]
    return [*rules, tried]


def _variables() -> dict[str, str]:
    """`moved`: the addresses that this request changes. `refused`: what else of it is for the operator alone, as paths,
    and as the text `told`."""
    controllers = ", ".join(f"'{one}'" for one in CONTROLLERS)
    fixed = tuple(field for kind in FIELDS for _, field in kind.fixed)
    own = tuple(field for fields in FIELDS.values() for field in fields if field not in fixed)
    return {
        **accounts.variables(),
        "permitted": "request.userInfo.username in variables.operatorAccounts || "
        f"request.userInfo.username in [{controllers}]",
        "breakGlass": "request.userInfo.?groups.orValue([]).exists(g, g in variables.breakGlassGroups)",
        "byCni": "request.userInfo.username in variables.cniAccounts",
        # Of the old object: whoever is locked out does not get in by writing it.
        "annotations": "oldObject == null ? dyn({}) : oldObject.metadata.?annotations.orValue({})",
        **parameters(OF_SUBNETS),
        "isSubnet": f"request.resource.resource != '{TRIED_WITH}'",
        "wasOurs": f"variables.isSubnet && oldObject != null && {has_mark('oldObject')}",
        "isOurs": f"variables.isSubnet && object != null && {has_mark('object')}",
        "tenant": f"string((variables.wasOurs ? oldObject : object == null ? oldObject : object)"
        f".metadata.?labels[?'{names.LABEL_TENANT}'].orValue(''))",
        "named": "request.kind.kind + ' ' + (object == null ? oldObject : object).metadata.name",
        "locked": f"variables.wasOurs ? !('{POSTURE}' in variables.unlocked) : variables.isOurs",
        "moved": f"request.operation == 'UPDATE' && variables.wasOurs ? {_paths(fixed)} : []",
        "content": f"request.operation == 'UPDATE' ? {changed(('spec', 'status'), '')} : []",
        "metadata": f"request.operation == 'UPDATE' ? {changed(METADATA, 'metadata.')} : []",
        "own": f"request.operation == 'UPDATE' ? {_set(own)} + {changed(('ownerReferences',), 'metadata.')} + "
        f"{_marks('labels')} + {_marks('annotations')} : []",
        # What only updates managedFields, as a server-side apply of what stands, changes nothing.
        "changed": "request.operation == 'UPDATE' "
        "? (variables.byCni ? variables.own : variables.content + variables.metadata) : "
        "[request.operation == 'CREATE' ? 'creation' : 'deletion']",
        "refused": "variables.locked ? variables.changed : []",
        "told": "variables.refused.join(', ') + ' of ' + variables.named",
    }


def _paths(fields: tuple[str, ...]) -> str:
    """Of these fields of the spec, the paths of those that differ between the old object and the new one."""
    return " + ".join(f"(object.?spec.?{one} != oldObject.?spec.?{one} ? ['spec.{one}'] : [])" for one in fields)


def _set(fields: tuple[str, ...]) -> str:
    """The same but for those that are absent or empty in both: plug-ins write the one for the other."""
    empty = "{}.?spec.?{}.orValue(dyn([])) in [dyn([]), dyn(false)]"
    return " + ".join(
        f"(object.?spec.?{one} != oldObject.?spec.?{one} && "
        f"!({empty.format('object', one)} && {empty.format('oldObject', one)}) ? ['spec.{one}'] : [])"
        for one in fields
    )


def _marks(field: str) -> str:
    """The changed keys of ours in a map of the metadata."""
    new, old = (f"{one}.metadata.?{field}.orValue({{}})" for one in ("object", "oldObject"))
    is_ours = f"k.startsWith('{names.GROUP}/') || k == '{names.LABEL_MANAGED_BY}'"
    return f"({new}.map(k, k) + {old}.filter(k, !(k in {new}))).filter(k, ({is_ours}) && {new}[?k] != {old}[?k])"
