"""The kinds of objects that checks look at. Each target is one policy at admission, one way to read a manifest in
`validate`, and one list of objects in the inspection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Kinds that are judged alike.

    `name`: also the first part of its policy's name. `kinds`: (apiVersion, kind) of its objects. `rules`: the
    operations and resources that its policy matches. `variables`: CEL by name, each may use those before it; among them
    `labels`, those that an exemption selects by, and `creating`, whether the API server has not completed the object
    yet. `changes`: CEL, whether an update changes what is judged; what stands can otherwise be labelled, drained and
    deleted, and have finalizers removed. `judged_as`: the target whose checks it is judged by. `refuses`: whether its
    policy may refuse; otherwise it warns, and what is made from its objects is refused. `running`: the field
    selector of those that the inspection judges; "" for all.
    """

    name: str
    kinds: Sequence[tuple[str, str]]
    rules: Sequence[Document]
    variables: Mapping[str, str] = field(default_factory=dict)
    changes: str = "object.spec != oldObject.spec"
    judged_as: str = ""
    refuses: bool = True
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


def _rule(group: str, operations: Sequence[str], *resources: str) -> Document:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": list(operations), "resources": list(resources)}


_WRITES: Final = ("CREATE", "UPDATE")
_APPS: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")

PODS: Final = Target(
    "pods",
    [("v1", "Pod")],
    [_rule("", _WRITES, "pods"), _rule("", ["UPDATE"], "pods/ephemeralcontainers")],
    _pod("object", "request.operation == 'CREATE'", "true"),
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
    _pod(
        "has(object.spec.jobTemplate) ? object.spec.jobTemplate.spec.template : object.spec.template", "true", "false"
    ),
    judged_as="pods",
    refuses=False,
)

TARGETS: Final = (PODS, WORKLOADS)
