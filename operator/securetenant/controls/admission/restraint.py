"""The operator restrained: what its own account may write, and where. RBAC cannot say "in tenants' namespaces", so a
stolen token could bind a tenant's Admin in kube-system; this policy says it. It holds for the operator's account alone.

It is a list of what is allowed. A namespace is a tenant's by our keys on it, which nobody but the operator may set: the
account can still take over a namespace that is not the system's, as it must for `adopt: true`.
"""

from collections.abc import Iterable
from typing import Final

from securetenant.checks import accounts
from securetenant.checks.policies import PROBE, binding, versioned
from securetenant.checks.targets import Document
from securetenant.controls.access.shipped import ROLES
from securetenant.controls.admission.subnets import FIELDS
from securetenant.model import names
from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    CLUSTER_NETWORK_POLICY,
    KUBE_OVN_SUBNET,
    NETWORK_TEMPLATE,
    SECURE_TENANT,
    SUBNET_POOL,
)

# The objects by which network plug-ins are told of subnets.
SUBNETS: Final = tuple(FIELDS)
_PREFIX: Final = SUBNETS[0].prefix
_SUFFIX: Final = ".v6"
# What one must say of whose pods come into it.
_BOUND: Final = {
    KUBE_OVN_SUBNET: "object.?spec.?namespaces.orValue([]) == [variables.place]",
    CALICO_IP_POOL: "object.?spec.?nodeSelector.orValue('') == '!all()'",
    CILIUM_POD_IP_POOL: "true",
}
# The fields by which others' pods would come as well.
_DRAWING: Final = ("namespaceSelectors", "default", "namespaceSelector", "podSelector")

# What the platform team writes, beside tenants: of these it writes the status alone.
OF_PLATFORM: Final = (SUBNET_POOL, NETWORK_TEMPLATE)

# What the account has a right to write (manifests/rbac, manifests/components), by API group. Not its Lease and
# not the probe's pods: RBAC says where these are. Not the status of quotas: it has no right on it, and the API server
# writes it with each pod.
RESOURCES: Final = {
    "": ("namespaces", "namespaces/status", "namespaces/finalize", "nodes", "resourcequotas", "limitranges", "events"),
    "networking.k8s.io": ("networkpolicies",),
    "rbac.authorization.k8s.io": ("rolebindings",),
    names.GROUP: tuple(f"{kind.plural}{part}" for kind in (SECURE_TENANT, *OF_PLATFORM) for part in ("", "/status")),
    **{kind.group: (kind.plural,) for kind in (*SUBNETS, CLUSTER_NETWORK_POLICY)},
}

# With an Event: each of the others is also matched by another policy of ours.
TRIED_WITH: Final = "events"

_OWNERS: Final = "object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences"
_HELD: Final = f"{_OWNERS} && object.metadata.?finalizers == oldObject.metadata.?finalizers"
_SYSTEM: Final = "variables.place + ' is a system namespace'"
_ELSEWHERE: Final = "variables.place + ' is no namespace of a tenant'"


def account() -> list[Document]:
    """The policy and its binding."""
    name = names.RESTRAINT
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _rules(), "matchPolicy": "Equivalent"},
        "variables": [{"name": key, "expression": cel} for key, cel in _variables().items()],
        "validations": [
            {
                # Everybody else is let through by the first part.
                "expression": "!(request.userInfo.username in variables.operatorAccounts) || variables.probes || "
                "variables.broken.size() == 0",
                "messageExpression": "'restrained: the operator may not do this: ' + variables.broken.join('; ')",
                "message": "restrained: the operator may not do this",
                "reason": "Forbidden",
            }
        ],
    }
    return [
        versioned(name, spec, tried_with=TRIED_WITH),
        binding(f"operator-deny.{names.GROUP}", name, ["Deny", "Audit"]),
    ]


def _rules() -> list[Document]:
    return [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": list(resources),
        }
        for group, resources in RESOURCES.items()
    ]


def _variables() -> dict[str, str]:
    """`broken`: what of this request is not allowed, as texts."""
    places = (*names.BUILT_IN_NAMESPACES, *names.SYSTEM_NAMESPACES)
    exact = [place for place in places if not place.startswith(names.SYSTEM_NAMESPACE_PREFIXES)]
    subnets = _listed(kind.plural for kind in SUBNETS)
    starts = (f"variables.place.startsWith('{one}')" for one in names.SYSTEM_NAMESPACE_PREFIXES)
    return {
        **accounts.variables(),
        "resource": "request.resource.resource",
        # A trial of what another policy says; this one is tried with an Event.
        "probes": f"request.?dryRun.orValue(false) && variables.resource != '{TRIED_WITH}' && object != null && "
        f"'{PROBE}' in object.metadata.?annotations.orValue({{}})",
        "account": "request.userInfo.username.split(':')",
        "ownNamespace": "variables.account.size() == 4 ? variables.account[2] : ''",
        "named": "string((object == null ? oldObject : object).metadata.?name.orValue(''))",
        "isSubnet": f"variables.resource in {subnets}",
        # Of what is in no namespace: the one that it is named after.
        "isNamedAfterPlace": f"variables.isSubnet || variables.resource == '{CLUSTER_NETWORK_POLICY.plural}'",
        "place": "variables.resource == 'namespaces' ? variables.named : variables.isNamedAfterPlace ? "
        f"(variables.named.startsWith('{_PREFIX}') ? variables.named.substring({len(_PREFIX)}).split('.')[0] : '') : "
        "request.?namespace.orValue('')",
        "isSystem": f"variables.place in {_listed(exact)} || variables.place == variables.ownNamespace || "
        f"{' || '.join(starts)}",
        "isTenants": "namespaceObject != null && " + _has_mark("namespaceObject"),
        "wasMarked": f"oldObject != null && {_has_mark('oldObject')}",
        "isMarked": f"object != null && {_has_mark('object')}",
        "kept": "request.operation == 'UPDATE' && object.?spec == oldObject.?spec && "
        "object.?subjects == oldObject.?subjects && object.?roleRef == oldObject.?roleRef",
        "ofNamespaces": _namespace(),
        "ofNodes": _node(),
        "ofEvents": _unless("variables.isTenants || variables.place == 'default'", _ELSEWHERE),
        "ofTenants": _tenant(),
        "ofPlatform": _unless(
            "request.operation == 'UPDATE' && request.?subResource.orValue('') == 'status'",
            f"'of a {' or a '.join(kind.name for kind in OF_PLATFORM)} anything but its status'",
        ),
        "ofSubnets": _subnet(),
        "ofClusterPolicies": _cluster_policy(),
        "ofChildren": _child(),
        "ofBindings": f"variables.ofChildren + {_binding()}",
        "broken": "variables.resource == 'namespaces' ? variables.ofNamespaces : "
        "variables.resource == 'nodes' ? variables.ofNodes : "
        "variables.resource == 'events' ? variables.ofEvents : "
        "variables.resource == 'securetenants' ? variables.ofTenants : "
        f"variables.resource in {_listed(kind.plural for kind in OF_PLATFORM)} ? variables.ofPlatform : "
        "variables.isSubnet ? variables.ofSubnets : "
        f"variables.resource == '{CLUSTER_NETWORK_POLICY.plural}' ? variables.ofClusterPolicies : "
        "variables.resource == 'rolebindings' ? variables.ofBindings : variables.ofChildren",
    }


def _namespace() -> str:
    """The marks come with the creation, or with the adoption; after the release nothing is left to write."""
    return " + ".join(
        (
            _unless("!variables.isSystem", _SYSTEM),
            _unless(
                "variables.wasMarked || (variables.isMarked && request.operation != 'DELETE')",
                _ELSEWHERE,
            ),
            _unless("request.?subResource.orValue('') == ''", "'a subresource of a namespace'"),
            _unless(
                f"request.operation != 'UPDATE' || ({_HELD})",
                "'owners or finalizers of ' + variables.place",
            ),
        )
    )


def _child() -> str:
    """What is ours may be taken back from a namespace that is no tenant's (any more): deleted, or released as it is."""
    return " + ".join(
        (
            _unless("!variables.isSystem", _SYSTEM),
            _unless(
                "variables.isTenants || (variables.wasMarked && (request.operation == 'DELETE' || variables.kept))",
                _ELSEWHERE,
            ),
        )
    )


def _binding() -> str:
    """Whom it gives what. A binding of others' may lose its finalizers, before it is deleted."""
    own = (
        "(s.kind == 'User' && s.name in variables.operatorAccounts)",
        "(s.kind == 'ServiceAccount' && ('system:serviceaccount:' + s.?namespace.orValue('') + ':' + s.name) in "
        "variables.operatorAccounts)",
        "(s.kind == 'Group' && s.name in request.userInfo.?groups.orValue([]))",
    )
    free = "request.operation == 'DELETE' || variables.kept"
    return " + ".join(
        (
            _unless(
                f"{free} || (object.roleRef.kind == 'ClusterRole' && object.roleRef.name in {_listed(ROLES)})",
                "'a binding to ' + object.roleRef.kind + ' ' + object.roleRef.name",
            ),
            _unless(
                f"{free} || !object.?subjects.orValue([]).exists(s, {' || '.join(own)})",
                "'a binding for its own account'",
            ),
        )
    )


def _tenant() -> str:
    """The finalizer of ours, the commitments, and the status."""
    others = "{0}.metadata.?finalizers.orValue([]).filter(f, f != '" + names.FINALIZER + "')"
    kept = (
        "object.spec == oldObject.spec",
        "object.metadata.?labels == oldObject.metadata.?labels",
        _OWNERS,
        f"{others.format('object')} == {others.format('oldObject')}",
        _alike("annotations", names.ANNOTATION_CREATING),
    )
    return _unless(
        f"request.operation == 'UPDATE' && (request.?subResource.orValue('') == 'status' || ({' && '.join(kept)}))",
        "'of a SecureTenant anything but finalizer, commitments and status'",
    )


def _subnet() -> str:
    """Only what has a namespace's name, and draws in the pods of no other. It carries our marks from its creation, or
    from the adoption of its namespace, to its release. The rest of it is the network plug-in's."""
    bound = (f"variables.resource == '{kind.plural}' && {required}" for kind, required in _BOUND.items())
    labels = "object.metadata.?labels[?'{}'].orValue('')"
    whole = (
        f"{labels.format(names.LABEL_MANAGED_BY)} == '{names.MANAGED_BY}' && {labels.format(names.LABEL_TENANT)} != ''"
    )
    neither = (
        f"{labels.format(names.LABEL_MANAGED_BY)} != '{names.MANAGED_BY}' && {labels.format(names.LABEL_TENANT)} == ''"
    )
    drawing = " && ".join(
        # An empty selector of pods draws in all of them. What others wrote may be left, or taken off.
        f"(object.?spec.?{one}.orValue('') in [dyn(''), dyn(false), dyn([])] || "
        f"(oldObject != null && object.?spec.?{one} == oldObject.?spec.?{one}))"
        for one in _DRAWING
    )
    ours = f"k in {_listed((*(field for fields in FIELDS.values() for field in fields), *_DRAWING))}"
    new, old = (f"{one}.?spec.orValue({{}})" for one in ("object", "oldObject"))
    alike = " && ".join(f"{one}.all(k, {ours} || {new}[?k] == {old}[?k])" for one in (new, old))
    return " + ".join(
        (
            _unless("!variables.isSystem", _SYSTEM),
            _unless(
                f"variables.place != '' && variables.named in ['{_PREFIX}' + variables.place, "
                f"'{_PREFIX}' + variables.place + '{_SUFFIX}'] && (request.operation == 'CREATE' || "
                "variables.wasMarked)",
                "variables.named + ' is no subnet of a tenant'",
            ),
            _unless(
                # With half of the marks nothing else would keep it as it is.
                f"request.operation == 'DELETE' || ({whole}) || (variables.kept && {neither})",
                "'a subnet without both marks'",
            ),
            _unless(
                f"request.operation == 'DELETE' || variables.kept || {' || '.join(bound)}",
                "'a subnet for others than the pods of ' + variables.place",
            ),
            _unless(f"request.operation == 'DELETE' || ({drawing})", "'a subnet that draws in others'"),
            _unless(f"request.operation != 'UPDATE' || ({alike})", "'of the spec of a subnet more than is ours'"),
            _unless(
                f"request.operation == 'DELETE' || (request.operation == 'UPDATE' ? {_HELD} : "
                "!has(object.metadata.ownerReferences) && !has(object.metadata.finalizers))",
                "'owners or finalizers of a subnet'",
            ),
        )
    )


def _cluster_policy() -> str:
    """Only what closes, or leaves to NetworkPolicies, for the pods of the namespace that it is named after."""
    label = f"[?'{names.LABEL_NAMESPACE_NAME}'].orValue('') == variables.place"
    subject = "object.?spec.?subject"
    exactly = f"{subject}.?namespaces.?matchLabels{label}", f"{subject}.?pods.?namespaceSelector.?matchLabels{label}"
    rules = "(object.?spec.?ingress.orValue([]) + object.?spec.?egress.orValue([]))"
    return " + ".join(
        (
            _unless("variables.place != '' && !variables.isSystem", _SYSTEM),
            _unless(
                "(request.operation == 'DELETE' && variables.wasMarked) || variables.isMarked || variables.kept",
                "variables.named + ' is no policy of a tenant'",
            ),
            _unless(
                f"request.operation == 'DELETE' || variables.kept || {' || '.join(exactly)}",
                "'a policy for others than the pods of ' + variables.place",
            ),
            _unless(
                "request.operation == 'DELETE' || variables.kept || (object.?spec.?tier.orValue('') == 'Admin' && "
                f"{rules}.all(r, r.?action.orValue('') in ['Pass', 'Deny']))",
                "'a policy that accepts something'",
            ),
            _unless("request.operation == 'DELETE' || !has(object.metadata.ownerReferences)", "'owners of a policy'"),
        )
    )


def _node() -> str:
    """Label, record and taint of ours."""
    taints = "{0}.spec.?taints.orValue([]).filter(t, t.key != '" + names.NODE_TAINT + "')"
    fields = "{0}.spec.all(k, k == 'taints' || object.spec[?k] == oldObject.spec[?k])"
    kept = (
        _alike("labels", names.NODE_LABEL_TENANT),
        _alike("annotations", names.ANNOTATION_APPLIED),
        _HELD,
        f"{taints.format('object')} == {taints.format('oldObject')}",
        fields.format("object"),
        fields.format("oldObject"),
    )
    return _unless(
        f"request.operation == 'UPDATE' && {' && '.join(kept)}",
        "'of a node anything but label, record and taint of ours'",
    )


def _alike(field: str, but: str) -> str:
    """Whether nothing of a map in the metadata differs but one key."""
    new, old = (f"{one}.metadata.?{field}.orValue({{}})" for one in ("object", "oldObject"))
    return " && ".join(f"{one}.all(k, k == '{but}' || {new}[?k] == {old}[?k])" for one in (new, old))


def _has_mark(thing: str) -> str:
    """Whether it carries a key of ours. On namespaces nobody else may set one; where one of them was taken off by
    break-glass, the others still tell."""
    maps = f"[{thing}.metadata.?labels.orValue({{}}), {thing}.metadata.?annotations.orValue({{}})]"
    return f"{maps}.exists(m, m.exists(k, k.startsWith('{names.GROUP}/')))"


def _unless(allowed: str, told: str) -> str:
    """A list with what is wrong, empty if it is allowed."""
    return f"({allowed} ? [] : [{told}])"


def _listed(texts: Iterable[str]) -> str:
    quoted = (f"'{one}'" for one in dict.fromkeys(texts))
    return f"[{', '.join(quoted)}]"
