"""The API server as a judge: objects in namespaces with parameters, under the admission policies as they ship."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from securetenant.checks.policies import ADMISSION, PROBE, VERSION, policy_name
from securetenant.checks.targets import TARGETS, Target
from securetenant.controls.admission.manifests import documents
from securetenant.model import names
from tests.support import attacks, exposed, life
from tests.support.sandbox import APPLY, JSON_PATCH, ROOT, Admin, wait_for

_PROBES: Final = itertools.count()
DRY: Final = {"dryRun": "All"}
POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_KINDS: Final = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    **{kind: f"/apis/apps/v1/namespaces/{{}}/{kind.lower()}s" for kind in attacks.KINDS[:4]},
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    **exposed.COLLECTIONS,
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Binding": "/api/v1/namespaces/{}/bindings",
}
_AT_ONCE: Final = 8
_CUT: Final = " ..."
_TARGETS: Final = "|".join(target.name for target in TARGETS)
_TOLD: Final = re.compile(
    rf"binding '(?:{_TARGETS})-(?:deny|warn)\.{re.escape(names.GROUP)}'(?: denied request)?: (.*)", re.DOTALL
)
_FAILED: Final = re.compile(r"(?:^|; )([a-z]+/[A-Za-z]+) at ")


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer: its status, what it said, the checks that failed by that. `is_cut`: some may be missing, since the
    message would be longer than the API server takes."""

    status: int
    message: str
    fails: frozenset[str]
    is_cut: bool


def path(body: Mapping[str, Any], namespace: str) -> str:
    """The collection of the object's kind, in its version."""
    where = _KINDS[body["kind"]].format(namespace)
    return (
        where if f"/{body['apiVersion']}/" in where else where.replace("/v1/", f"/{body['apiVersion'].split('/')[1]}/")
    )


async def verdict(admin: Admin, method: str, where: str, body: Any, **options: Any) -> Verdict:
    """What the API server says, in a dry run unless told otherwise by `params`."""
    status, answer, warnings = await admin.warned(method, where, body, **{"params": DRY, **options})
    message = answer.get("message", "") if isinstance(answer, dict) else str(answer)
    told = [found[1] for text in (message, *warnings) if (found := _TOLD.search(text))]
    fails = frozenset(name for text in told for name in _FAILED.findall(text))
    return Verdict(status, f"{message} {warnings}", fails, any(text.endswith(_CUT) for text in told))


async def verdicts(admin: Admin, prefix: str, cases: Iterable[attacks.Case]) -> list[tuple[attacks.Case, Verdict]]:
    """The API server's verdict on each case, in a namespace for each set of parameters."""
    spaces: dict[frozenset[tuple[str, str]], str] = {}
    made: list[tuple[attacks.Case, str]] = []
    for case in cases:
        key = frozenset(case.annotations.items())
        made.append((case, spaces.setdefault(key, f"{prefix}-{len(spaces)}")))
    placed = list(enumerate(made))
    async with contextlib.AsyncExitStack() as stack:
        contexts = (namespace(admin, name, dict(key), mode=None) for key, name in spaces.items())
        await asyncio.gather(*(stack.enter_async_context(context) for context in contexts))
        await asyncio.gather(*(_stands(admin, *one, number) for number, one in placed if one[0].is_standing))
        await asyncio.gather(*(mark(admin, name) for name in spaces.values()))
        return await _judged(admin, made)


async def _stands(admin: Admin, case: attacks.Case, space: str, number: int) -> None:
    """Create what a case changes."""
    assert case.before is not None
    metadata = {**case.before["metadata"], "name": f"object-{number}"}
    await admin.create(path(case.before, space), {**case.before, "metadata": metadata})


async def mark(admin: Admin, space: str) -> None:
    """The policies look at a namespace from now on: it is marked, and admission, which reads it from a cache, knows."""
    await admin.patch(f"{life.NAMESPACES}/{space}", {"metadata": {"labels": {ADMISSION: "Deny"}}})
    body = {**attacks.pod(), "metadata": {"name": "probe", "annotations": {PROBE: "1"}}}

    async def is_judged() -> bool:
        return "probe: " in (await verdict(admin, "POST", path(body, space), body)).message

    await wait_for(is_judged, 20, f"admission to know the mark of {space}")


async def in_namespace(admin: Admin, space: str, cases: Iterable[attacks.Case]) -> list[tuple[attacks.Case, Verdict]]:
    """The same in a namespace that is there, whatever its parameters."""
    return await _judged(admin, [(case, space) for case in cases])


async def _judged(admin: Admin, placed: Iterable[tuple[attacks.Case, str]]) -> list[tuple[attacks.Case, Verdict]]:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, case: attacks.Case, space: str) -> tuple[attacks.Case, Verdict]:
        async with at_once:
            return case, await judged(admin, case, space, number)

    return await asyncio.gather(*(one(number, case, space) for number, (case, space) in enumerate(placed)))


@contextlib.asynccontextmanager
async def policies(admin: Admin) -> AsyncIterator[None]:
    """`manifests/admission` is applied and in force. It stays, since the operator of later tests needs it."""
    folder = str(ROOT / "manifests" / "admission")
    # A namespace of that name may still be going.
    space = f"judging-probe-{next(_PROBES)}"
    await admin.kubectl("apply", "-k", folder)
    async with namespace(admin, space, {}):
        await wait_for(lambda: _all_in_force(admin, space), 20, "the admission policies to be in force")
    yield


async def _all_in_force(admin: Admin, space: str) -> bool:
    return all([await in_force(admin, space, made[0]) for made in documents().values() if _target(made[0])])


def _target(policy: Mapping[str, Any]) -> Target | None:
    """What the policy judges by checks; None if it is another."""
    return next((one for one in TARGETS if policy_name(one.name) == policy["metadata"]["name"]), None)


async def in_force(admin: Admin, space: str, policy: Mapping[str, Any]) -> bool:
    """Whether this very policy, which judges by checks, answers its probe in a namespace."""
    metadata = policy["metadata"]
    target = _target(policy)
    assert target is not None, metadata["name"]
    _, kind = target.kinds[0]
    pod = attacks.pod()
    body = attacks.OBJECTS[kind]() if kind in attacks.OBJECTS else pod if kind == "Pod" else attacks.workload(kind, pod)
    body["metadata"]["annotations"] = {PROBE: "1"}
    answer = await verdict(admin, "POST", path(body, space), body)
    return f"probe: {metadata['name']} {metadata['annotations'][VERSION]} is in force" in answer.message


@contextlib.asynccontextmanager
async def namespace(
    admin: Admin,
    name: str,
    annotations: Mapping[str, str],
    mode: str | None = "Deny",
    labels: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """A namespace with these parameters in which pods can be made; removed at the end. `mode`: None, unmarked."""
    marked = {**({ADMISSION: mode} if mode else {}), **(labels or {})}
    metadata = {"name": name, "labels": marked, "annotations": dict(annotations)}
    await admin.create(life.NAMESPACES, {"metadata": metadata})
    try:
        account = f"{life.NAMESPACES}/{name}/serviceaccounts/default"
        await wait_for(lambda: admin.find(account), 20, f"the ServiceAccount of {name}")
        yield
    finally:
        await admin.delete(f"{life.NAMESPACES}/{name}")


async def judged(admin: Admin, case: attacks.Case, space: str, number: int) -> Verdict:
    """The API server's verdict on a case."""
    body = case.body
    if case.user:
        async with Admin(admin.plane, user=case.user, groups=["system:masters"]) as who:
            return await judged(who, replace(case, user=""), space, number)
    if case.is_standing:
        return await _changed(admin, case, f"{path(body, space)}/object-{number}")
    if not case.is_running:
        if case.operation == "apply":
            options = {"content_type": APPLY, "params": {**DRY, "fieldManager": "corpus"}}
            return await verdict(admin, "PATCH", f"{path(body, space)}/{body['metadata']['name']}", body, **options)
        return await verdict(admin, "POST", path(body, space), body)
    name = f"pod-{number}"
    pods = path(body, space)
    # What the case changes is not there yet, but what a container for debugging mounts is.
    there = body if case.operation == "debug" else attacks.pod()
    spec = {key: value for key, value in there["spec"].items() if key != "ephemeralContainers"}
    made = await admin.create(pods, {**there, "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec})
    if case.operation == "debug":
        patch = [{"op": "add", "path": "/spec/ephemeralContainers", "value": body["spec"]["ephemeralContainers"]}]
        where = f"{pods}/{name}/ephemeralcontainers"
        return await verdict(admin, "PATCH", where, patch, content_type=JSON_PATCH)
    if case.operation == "apply-update":
        options = {"content_type": APPLY, "params": {**DRY, "fieldManager": "corpus", "force": "true"}}
        applied = {**body, "metadata": {**body["metadata"], "name": name}}
        return await verdict(admin, "PATCH", f"{pods}/{name}", applied, **options)
    if case.operation == "patch":
        return await verdict(admin, "PATCH", f"{pods}/{name}", list(_patch(made, body)), content_type=JSON_PATCH)
    for kind in ("containers", "initContainers"):
        for old, new in zip(made["spec"][kind], body["spec"][kind], strict=True):
            old["image"] = new["image"]
    made["metadata"]["labels"] = body["metadata"]["labels"]
    del made["metadata"]["resourceVersion"]  # the scheduler writes as well
    return await verdict(admin, "PUT", f"{pods}/{name}", made)


async def _changed(admin: Admin, case: attacks.Case, where: str) -> Verdict:
    """The verdict on a change of what stands at a path."""
    metadata = {key: value for key, value in case.body["metadata"].items() if key != "name"}
    if case.operation == "status":
        # As a whole, so that what the case has not is taken off.
        patch = [{"op": "add", "path": f"/metadata/{key}", "value": value} for key, value in metadata.items()]
        return await verdict(admin, "PATCH", f"{where}/status", patch, content_type=JSON_PATCH)

    async def put() -> Verdict | None:
        made = await admin.get(where)
        # Of a pod, controllers have written some of the spec, and nobody may change that.
        kept = ("metadata", "spec") if case.body["kind"] == "Pod" else ("metadata",)
        content = {key: value for key, value in case.body.items() if key not in kept}
        body = {**made, **content, "metadata": {**made["metadata"], **metadata}}
        answer = await verdict(admin, "PUT", where, body)
        return answer if answer.status != 409 else None  # controllers write as well

    return await wait_for(put, 20, f"{case.name}: no conflict")


def _patch(made: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
    for kind in ("containers", "initContainers"):
        for index, (old, new) in enumerate(zip(made["spec"][kind], body["spec"][kind], strict=True)):
            if old["image"] != new["image"]:
                yield {"op": "replace", "path": f"/spec/{kind}/{index}/image", "value": new["image"]}
    for key in ("labels", "annotations"):
        if key in body["metadata"]:
            yield {"op": "add", "path": f"/metadata/{key}", "value": body["metadata"][key]}
