"""The corpus of attacks on the admission policies, in tests/corpus/admission.

Each entry is a change of a pod, or of another object, that breaks no rule. Its keys:

name, source   what it is; the advisory, the row of a framework, or the way around that it tries
check          the check that it is about
of             the kind of the object, one of OBJECTS; not given: Pod
spec           sections of the tenant's spec; not given: images from registry.bank.example/payments alone
at             where "@" in a path is, one case each: app, setup (init container), sidecar, debug (ephemeral container,
               added to a pod that runs); not given: app
set, unset     the changes, by JSON pointer; a null is written as null, "-" adds to a list, what lacks is made
image          the same as set of "@/image"; `everywhere`: the image of all others. $D is a digest, $X very long
hostPath       the same as a volume of the node, mounted by "@" as its second mount, readOnly unless `writable`
windows        the pod is one for Windows
containers     how many containers beside the init containers the pod has; not given: one
kinds          workloads whose template the pod is, one case each
operation      create (not given), apply; on a pod that runs: update, patch, apply-update, one case each; on another
               object that stands: replace, status (of its subresource)
before         with replace and status: how what stands differs from the object that breaks no rule, by JSON pointer;
               it was there before the rules
user           whose request it is; not given: the administrator's
annotations    of the namespace, beside those that the operator writes; null: without
fails          the checks that fail, all of them; not given: none
malformed      the field for which the API server refuses it before any check ("@": of the pod)
status         the answer where it is not a policy's: 400, 422; any: not looked at
judged         false: the policies do not look at it
since          the Kubernetes from which on the API server reads the field that it is about, "1.35"; an older one drops
               it before any check
"""

import copy
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from securetenant.controls.registry import CONTROLS
from securetenant.model.kinds import NAMESPACE as NAMESPACE_KIND
from securetenant.model.objects import Ref
from tests.support import exposed
from tests.support.world import NOW, StaticWorld, tenant

FOLDER: Final = Path(__file__).parents[1] / "corpus" / "admission"
DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
SPEC: Final = {"images": {"registries": ["registry.bank.example/payments"]}, "exposure": exposed.SPEC}
NAMESPACE: Final = "corpus"
EVER: Final = "2999-01-01T00:00:00Z"
DEBUG: Final = "/spec/ephemeralContainers/0"
PLACES: Final = {"app": "/spec/containers/0", "setup": "/spec/initContainers/0", "sidecar": "/spec/initContainers/1"}
RUNNING: Final = ("update", "patch", "apply-update", "debug")
STANDING: Final = ("replace", "status")
REMOVED: Final = object()
_APPS: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
KINDS: Final = (*_APPS, "Job", "CronJob", "ReplicationController")
_FIELDS: Final = frozenset(
    {
        *("name", "source", "check", "spec", "at", "set", "unset", "image", "everywhere", "hostPath", "writable"),
        *("windows", "containers", "kinds", "operation", "annotations", "fails", "malformed", "status", "judged"),
        *("of", "before", "user"),
        "since",
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """One object, and what must come of it."""

    name: str
    check: str
    annotations: Mapping[str, str]
    operation: str
    body: dict[str, Any]
    fails: frozenset[str]
    malformed: str
    status: str
    is_judged: bool
    before: dict[str, Any] | None = None
    user: str = ""
    since: int = 0

    @property
    def is_running(self) -> bool:
        """Whether it is a change of a pod that is there."""
        return self.operation in RUNNING

    @property
    def is_standing(self) -> bool:
        """Whether it is a change of another object that is there, `before`."""
        return self.operation in STANDING

    @property
    def is_change(self) -> bool:
        return self.is_running or self.is_standing

    def read_by(self, minor: int) -> "Case":
        """As the API server of Kubernetes 1.`minor` reads it: without what it drops nothing is broken."""
        return self if minor >= self.since else replace(self, fails=frozenset(), malformed="", status="")


def container(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"registry.bank.example/payments/{name}:1.4@{DIGEST}",
        "imagePullPolicy": "Always",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod(containers: int = 1) -> dict[str, Any]:
    """A pod that breaks no rule."""
    made = [container("app"), *(container(f"app-{number}") for number in range(1, containers))]
    setup, sidecar = container("setup"), {**container("sidecar"), "restartPolicy": "Always"}
    for one in (*made, setup, sidecar):
        one["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "labels": {"app": "web"}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [setup, sidecar],
            "containers": made,
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def claim() -> dict[str, Any]:
    """A PersistentVolumeClaim that breaks no rule where its class is allowed."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "object", "labels": {"app": "web"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "encrypted-ssd",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def budget() -> dict[str, Any]:
    """A PodDisruptionBudget that breaks no rule."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "object", "labels": {"app": "web"}},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }


def policy() -> dict[str, Any]:
    """A NetworkPolicy that breaks no rule."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "object", "labels": {"app": "web"}},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


def binding() -> dict[str, Any]:
    """A Binding that breaks no rule."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "object"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
    }


OBJECTS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "NetworkPolicy": policy,
    "Binding": binding,
    "PersistentVolumeClaim": claim,
    "PodDisruptionBudget": budget,
    **exposed.OBJECTS,
}


def workload(kind: str, pod: Mapping[str, Any]) -> dict[str, Any]:
    """An object of this kind with the pod as its template."""
    template = {"metadata": {**pod.get("metadata", {}), "labels": {"app": "web"}}, "spec": pod["spec"]}
    template["metadata"].pop("name", None)
    labels = {"app": "web"}
    spec: dict[str, Any] = {"template": template}
    if kind == "ReplicationController":
        spec["selector"] = labels
    elif kind in _APPS:
        spec["selector"] = {"matchLabels": labels}
    else:
        template["spec"] = {**pod["spec"], "restartPolicy": "Never"}
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    version = "apps/v1" if kind in _APPS else "v1" if kind == "ReplicationController" else "batch/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "pod"}, "spec": spec}


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("/").split("/")]


def changed(body: dict[str, Any], pointer: str, value: Any) -> None:
    """Set what a JSON pointer names; what lacks on the way is made."""
    *way, last = _steps(pointer)
    at: Any = body
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    if not isinstance(at, list):
        if last == "-":
            raise AssertionError(f"{pointer}: not a list")
        at[last] = value
    elif last == "-" or int(last) == len(at):
        at.append(value)
    else:
        at[int(last)] = value


def removed(body: dict[str, Any], pointer: str) -> None:
    *way, last = _steps(pointer)
    at: Any = body
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    del at[last]


def annotations(sections: Mapping[str, Any], more: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """What the policies read on a namespace of a tenant with these sections, and `more`."""
    made: dict[str, str | None] = {**_written(json.dumps({**SPEC, **sections})), **(more or {})}
    return {key: value for key, value in made.items() if value is not None}


@functools.cache
def _written(sections: str) -> Mapping[str, str]:
    one = tenant("corpus", **{"namespaces": [NAMESPACE], **json.loads(sections)})
    world = StaticWorld([one])
    planning = (control.plan(one, world, NOW) for control in CONTROLS if control.checks or control.name == "admission")
    return {
        key: value
        for plan in planning
        for desired in plan.desired
        if desired.ref == Ref(NAMESPACE_KIND, "", NAMESPACE)
        for key, value in desired.annotations.items()
    }


@functools.cache
def cases() -> tuple[Case, ...]:
    """All cases of all files."""
    made: list[Case] = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text()):
            assert entry.keys() <= _FIELDS, f"{path.name}: {entry['name']}: unknown {entry.keys() - _FIELDS}"
            assert entry.get("source"), f"{path.name}: {entry['name']} has no source"
            made += _expanded(path.stem, entry)
    return tuple(made)


@functools.cache
def changes() -> tuple[tuple[str, Any], ...]:
    """The single changes of pods of all cases, by JSON pointer with "@"; `REMOVED` is what a change takes away."""
    made: list[tuple[str, Any]] = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in (one for one in yaml.safe_load(path.read_text()) if "of" not in one):
            made += [(pointer, _filled(value)) for pointer, value in _changes(entry)]
            made += [(pointer, REMOVED) for pointer in entry.get("unset", ())]
    return tuple(made)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _expanded(file: str, entry: Mapping[str, Any]) -> Iterator[Case]:
    for place in entry.get("at", ["app"]):
        for operation in _list(entry.get("operation", "debug" if place == "debug" else "create")):
            case = _case(file, entry, place, operation)
            if "kinds" not in entry:
                yield case
            for kind in entry.get("kinds", ()):
                at = ".".join(("spec", *(("jobTemplate", "spec") if kind == "CronJob" else ()), "template", "spec"))
                yield replace(
                    case,
                    name=f"{case.name} {kind}",
                    body=workload(kind, case.body),
                    malformed=case.malformed.replace("@", at),
                )


def _case(file: str, entry: Mapping[str, Any], place: str, operation: str) -> Case:
    body = OBJECTS[entry["of"]]() if "of" in entry else pod(entry.get("containers", 1))
    before = copy.deepcopy(body) if operation in STANDING else None
    for pointer, value in entry.get("before", {}).items():
        assert before is not None, entry["name"]
        for one in (before, body):
            changed(one, pointer, _filled(value))
    if place == "debug":
        debug = container("debug")
        body["spec"]["ephemeralContainers"] = [{**debug, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}]
    if entry.get("windows"):
        _for_windows(body)
    for pointer, value in _changes(entry):
        changed(body, pointer.replace("@", PLACES.get(place, DEBUG)), _filled(value))
    for pointer in entry.get("unset", ()):
        removed(body, pointer.replace("@", PLACES.get(place, DEBUG)))
    suffix = "".join(f" {part}" for part, key in ((place, "at"), (operation, "operation")) if key in entry)
    return Case(
        name=f"{file}: {entry['name']}{suffix}",
        check=entry.get("check", ""),
        annotations=annotations(entry.get("spec", {}), entry.get("annotations")),
        operation=operation,
        body=body,
        fails=frozenset(entry.get("fails", ())),
        malformed=entry.get("malformed", ""),
        status=str(entry.get("status", "")),
        is_judged=entry.get("judged", True),
        before=before,
        user=entry.get("user", ""),
        since=int(entry.get("since", "1.0").removeprefix("1.")),
    )


def _changes(entry: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if everywhere := entry.get("everywhere"):
        for at in PLACES.values():
            yield f"{at}/image", everywhere
    if "image" in entry:
        yield "@/image", entry["image"]
    if "hostPath" in entry:
        yield "/spec/volumes/-", {"name": "host", "hostPath": {"path": entry["hostPath"]}}
        yield "@/volumeMounts/-", {"name": "host", "mountPath": "/host", "readOnly": not entry.get("writable", False)}
    yield from entry.get("set", {}).items()


def _filled(value: Any) -> Any:
    """A copy of its own, with the digest and what is very long written out."""
    if isinstance(value, str):
        return value.replace("$D", DIGEST).replace("$X", "x" * 10_000)
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items()}
    return [_filled(item) for item in value] if isinstance(value, list) else copy.copy(value)


def _for_windows(body: dict[str, Any]) -> None:
    """Without what the API server refuses there."""
    spec = body["spec"]
    spec["os"] = {"name": "windows"}
    spec["securityContext"] = {"runAsNonRoot": True}
    for one in (*spec["containers"], *spec["initContainers"]):
        del one["securityContext"]
