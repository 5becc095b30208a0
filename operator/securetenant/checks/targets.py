"""The kinds of objects that checks look at. Each target is one policy at admission, one way to read a manifest in
`validate`, and one list of objects in the inspection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from securetenant.checks import accounts, gateway_api

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Kinds that are judged alike.

    `name`: also the first part of its policy's name. `kinds`: (apiVersion, kind) of its objects. `rules`: the
    operations and resources that its policy matches. `variables`: CEL by name, each may use those before it; among them
    `labels`, those that an exemption selects by, and `creating`, whether the API server has not completed the object
    yet. `changes`: CEL, whether an update changes what is judged; what stands can otherwise be labelled, drained and
    deleted, and have finalizers removed. `judged_as`: the target whose checks it is judged by. `refuses`: whether its
    policy may refuse; otherwise it warns, and what is made from its objects is refused. `inspected`: whether objects
    that stand are judged: not where a check asks who wrote them. `running`: the field selector of those that the
    inspection judges; "" for all.
    """

    name: str
    kinds: Sequence[tuple[str, str]]
    rules: Sequence[Document]
    variables: Mapping[str, str] = field(default_factory=dict)
    changes: str = "object.spec != oldObject.spec"
    judged_as: str = ""
    refuses: bool = True
    inspected: bool = True
    running: str = ""

    @property
    def checked_as(self) -> str:
        """The target of the checks that it is judged by."""
        return self.judged_as or self.name

    def __hash__(self) -> int:
        return hash(self.name)


def _pod(pod: str, creating: str, injected: str) -> Mapping[str, str]:
    """The variables about a pod. `pod`: CEL, the pod or pod template; `injected`: CEL, whether everything is in it that
    the API server injects into pods (`check.Injection`)."""
    return {
        "pod": pod,
        "creating": creating,
        "injected": injected,
        "podAnnotations": "variables.pod.?metadata.?annotations.orValue({})",
        "labels": "variables.pod.?metadata.?labels.orValue({})",
        "spec": "variables.pod.spec",
        "volumes": "variables.spec.?volumes.orValue([])",
        "windows": "variables.spec.?os.?name.orValue('') == 'windows'",
        "containers": "variables.spec.containers + variables.spec.?initContainers.orValue([]) + "
        "variables.spec.?ephemeralContainers.orValue([])",
    }


# Before storageClassName there was this annotation. It still counts, and more than the field.
CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


def _claim(of: str, place: str = "") -> str:
    """CEL: a claim, or a template of claims, as checks look at it. `place`: CEL, where a template is. A place in it is
    `start`, or for a field of its spec `field`, then its name, then `end`."""
    start, field, end = (f"{place} + ' ('", f"{place} + ' ('", "')'") if place else ("''", "'spec.'", "''")
    return (
        f"{{'start': dyn({start}), 'field': dyn({field}), 'end': dyn({end}), 'spec': dyn({of}.spec), "
        f"'annotations': dyn({of}.?metadata.?annotations.orValue({{}}))}}"
    )


# Of the claims that a pod brings along: what the API server adds to a claim is not in a template.
_EPHEMERAL: Final = (
    "variables.volumes.map(v, has(v.ephemeral) && has(v.ephemeral.volumeClaimTemplate), "
    + _claim("v.ephemeral.volumeClaimTemplate", "'volume ' + v.name")
    + ")"
)
_TEMPLATES: Final = {"claims": _EPHEMERAL, "stood": "[]", "completed": "false", "binding": "false"}
# Who binds claims to volumes.
BINDERS: Final = ("system:serviceaccount:kube-system:persistent-volume-binder", accounts.CONTROLLER_MANAGER)


def _rule(group: str, operations: Sequence[str], *resources: str, version: str = "v1") -> Document:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations),
        "resources": list(resources),
    }


_WRITES: Final = ("CREATE", "UPDATE")
_APPS: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")

PODS: Final = Target(
    "pods",
    [("v1", "Pod")],
    [_rule("", _WRITES, "pods"), _rule("", ["UPDATE"], "pods/ephemeralcontainers")],
    {**_pod("object", "request.operation == 'CREATE'", "true"), **_TEMPLATES},
    running="status.phase!=Succeeded,status.phase!=Failed",
)
# It never refuses, so that what runs can still be scaled down or deleted; the author sees what will happen to the pods.
WORKLOADS: Final = Target(
    "workloads",
    [
        *(("apps/v1", kind) for kind in _APPS),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("v1", "ReplicationController"),
    ],
    [
        _rule("apps", _WRITES, "deployments", "statefulsets", "daemonsets", "replicasets"),
        _rule("batch", _WRITES, "jobs", "cronjobs"),
        _rule("", _WRITES, "replicationcontrollers"),
    ],
    {
        **_pod(
            "has(object.spec.jobTemplate) ? object.spec.jobTemplate.spec.template : object.spec.template",
            "true",
            "false",
        ),
        **_TEMPLATES,
        # Those of a StatefulSet.
        "claims": f"{_EPHEMERAL} + dyn(object).spec.?volumeClaimTemplates.orValue([]).map(t, "
        + _claim("t", "'volumeClaimTemplate ' + t.metadata.?name.orValue('')")
        + ")",
    },
    judged_as="pods",
    refuses=False,
)

_OF_OBJECT: Final[Mapping[str, str]] = {
    "creating": "request.operation == 'CREATE'",
    "labels": "object.metadata.?labels.orValue({})",
}
_ANNOTATIONS: Final = "metadata.?annotations.orValue({})"

_CLASS: Final = f"metadata.?annotations[?'{CLASS_ANNOTATION}']"
CLAIMS: Final = Target(
    "claims",
    [("v1", "PersistentVolumeClaim")],
    # The status of a claim takes another annotation as well.
    [_rule("", _WRITES, "persistentvolumeclaims"), _rule("", ["UPDATE"], "persistentvolumeclaims/status")],
    {
        **_OF_OBJECT,
        "claims": f"[{_claim('object')}]",
        # The claim as it was, so that what stands can be bound and enlarged.
        "stood": f"request.operation == 'UPDATE' && oldObject != null ? [{_claim('oldObject')}] : []",
        # Whether the API server has written the default class into it, if there is one.
        "completed": "true",
        "binding": "request.operation == 'UPDATE' && request.?userInfo.?username.orValue('') in "
        f"[{', '.join(map(repr, BINDERS))}]",
    },
    changes=f"object.spec != oldObject.spec || object.{_CLASS} != oldObject.{_CLASS}",
)
BUDGETS: Final = Target(
    "budgets",
    [("policy/v1", "PodDisruptionBudget")],
    [_rule("policy", _WRITES, "poddisruptionbudgets")],
    _OF_OBJECT,
)

# Annotations that say what is exposed as the spec does.
# external-dns: since its version 0.22, and before.
PUBLISHED_HOSTS: Final = tuple(
    f"external-dns.{group}/{name}"
    for group in ("kubernetes.io", "alpha.kubernetes.io")
    for name in ("hostname", "internal-hostname")
)
INGRESS_HOSTS: Final = ("nginx.ingress.kubernetes.io/server-alias", *PUBLISHED_HOSTS)
TLS_REDIRECT: Final = "nginx.ingress.kubernetes.io/ssl-redirect"
INGRESS_CLASS: Final = "kubernetes.io/ingress.class"
# CEL, of a key `k`: those of ingress-nginx, nginx.org and haproxy.org.
SERVER_SNIPPETS: Final = "k.endsWith('-snippet') || k.endsWith('-snippets')"


def _differ(*fields: str) -> str:
    """CEL: whether one of these fields is another than before."""
    return " || ".join(f"object.?{field} != oldObject.?{field}" for field in fields)


def _other(field: str, keys: Sequence[str]) -> str:
    """CEL: whether one of these labels or annotations is another than before."""
    listed = ", ".join(f"'{key}'" for key in keys)
    return f"[{listed}].exists(k, object.metadata.?{field}[?k] != oldObject.metadata.?{field}[?k])"


# Their `status` is not looked at: the API server takes an address there of LoadBalancers alone, and no role of a tenant
# writes it.
SERVICES: Final = Target(
    "services",
    [("v1", "Service")],
    [_rule("", _WRITES, "services")],
    _OF_OBJECT,
    changes=f"{_differ('spec')} || {_other('annotations', PUBLISHED_HOSTS)}",
)
ENDPOINTS: Final = Target(
    "endpoints",
    [("v1", "Endpoints"), ("discovery.k8s.io/v1", "EndpointSlice")],
    [_rule("", _WRITES, "endpoints"), _rule("discovery.k8s.io", _WRITES, "endpointslices")],
    _OF_OBJECT,
    # Labels say which Service an EndpointSlice is of, and whether one is made from Endpoints.
    changes=f"{_differ('subsets', 'endpoints', 'ports')} || "
    f"{_other('labels', ('kubernetes.io/service-name', 'endpointslice.kubernetes.io/skip-mirror'))}",
    inspected=False,
)
# Routes of the Gateway API are judged where they are served, in whatever version.
ROUTES: Final = Target(
    "routes",
    [("networking.k8s.io/v1", "Ingress"), *gateway_api.KINDS],
    [
        _rule("networking.k8s.io", _WRITES, "ingresses"),
        *(_rule(group, _WRITES, *plurals, version="*") for group, plurals in gateway_api.RESOURCES.items()),
    ],
    _OF_OBJECT,
    changes=f"{_differ('spec')} || {_other('annotations', (*INGRESS_HOSTS, TLS_REDIRECT, INGRESS_CLASS))} || "
    f"object.{_ANNOTATIONS}.exists(k, ({SERVER_SNIPPETS}) && "
    f"object.{_ANNOTATIONS}[?k] != oldObject.{_ANNOTATIONS}[?k])",
)

_NEW, _OLD = (f"{one}.{_ANNOTATIONS}" for one in ("object", "oldObject"))
_METADATA: Final = {
    **_OF_OBJECT,
    "newAnnotations": _NEW,
    "oldAnnotations": f"oldObject == null ? dyn({{}}) : {_OLD}",
}
# What is written into a pod's metadata once it is there: its spec does not change then. A binding's annotations are
# copied into the pod, which is an update that no policy on pods sees.
POD_ANNOTATIONS: Final = Target(
    "podannotations",
    [("v1", "Binding")],
    [_rule("", ["UPDATE"], "pods", "pods/status"), _rule("", ["CREATE"], "bindings", "pods/binding")],
    {**_METADATA, **accounts.variables()},
    changes=f"{_NEW} != {_OLD}",
    inspected=False,
)
NETWORK_POLICIES: Final = Target(
    "networkpolicies",
    [("networking.k8s.io/v1", "NetworkPolicy")],
    [_rule("networking.k8s.io", _WRITES, "networkpolicies")],
    _METADATA,
    changes=f"{_NEW} != {_OLD}",
    # The operator watches them: what is ours is compared as a whole, annotations included.
    inspected=False,
)

TARGETS: Final = (PODS, WORKLOADS, POD_ANNOTATIONS, CLAIMS, BUDGETS, SERVICES, ENDPOINTS, ROUTES, NETWORK_POLICIES)
