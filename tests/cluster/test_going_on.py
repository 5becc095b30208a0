"""What must go on where a rule was tightened: pods that were there before live on, and who replaces them is told why.
No operator runs.

In each namespace the pods come first, as in a cluster that already runs; then it is marked for a tenant with the
strictest rules.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.plane import Plane
from tests.support import enforced, pods
from tests.support.enforced import DEPLOYMENTS, DRY, Enforced, deployment, pod, template
from tests.support.life import NAMESPACES, Json, gone
from tests.support.sandbox import APPLY, MERGE_PATCH, Admin, wait_for

pytestmark = pytest.mark.cluster

NODE: Final = "going-on-0"
_NUMBERS: Final = itertools.count()
CASES: Final = {"type": "kwok-going-on"}
STRATEGIC: Final = "application/strategic-merge-patch+json"
# Breaks rules of ours that Pod Security does not know.
_CONTEXT: Final = {**pods.CONTAINER["securityContext"], "readOnlyRootFilesystem": False}
OLD: Final = pods.spec(containers=[{**pods.CONTAINER, "securityContext": _CONTEXT}], nodeSelector=CASES)
WRITABLE: Final = "runtime/readOnlyRootFilesystem at container c: the root filesystem is writable"
# Breaks Pod Security too.
WORST: Final = {
    "containers": [{"name": "c", "image": pods.IMAGE, "securityContext": {"privileged": True}}],
    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
    "hostPID": True,
    "nodeSelector": CASES,
}
IN_ORDER: Final = pods.spec(
    containers=[{**pods.CONTAINER, "image": f"{pods.IMAGE}@sha256:{'0' * 64}", "imagePullPolicy": "Always"}]
)


@pytest_asyncio.fixture(scope="module")
async def node(plane: Plane, admin: Admin) -> AsyncIterator[str]:
    await asyncio.to_thread(nodes.create, plane, 1, CASES, prefix=NODE.removesuffix("-0"))
    yield NODE
    await admin.delete(f"/api/v1/nodes/{NODE}")


@pytest_asyncio.fixture
async def place(plane: Plane, admin: Admin, policies: None, node: str) -> AsyncIterator[Enforced]:
    """A namespace of the test's own, not marked yet."""
    async with enforced.namespace(plane, admin, f"going-on-{next(_NUMBERS)}") as made:
        yield made


async def runs(place: Enforced, *bodies: Json) -> None:
    """Create pods and wait until they run."""
    wanted = {body["metadata"]["name"] for body in bodies}
    for body in bodies:
        await place.admin.create(place.pods, body)

    async def are_running() -> bool:
        listed = (await place.admin.get(place.pods))["items"]
        return wanted <= {item["metadata"]["name"] for item in listed if item["status"].get("phase") == "Running"}

    await wait_for(are_running, 30, f"{wanted} to run")


async def tightened(place: Enforced) -> None:
    """The strictest rules are in force: a pod like the old ones is refused."""
    await place.mark()
    status, answer = await place.admin.request("POST", place.pods, pod("new", OLD), params=DRY)
    assert status == 403, answer
    assert WRITABLE in answer["message"]


async def count(place: Enforced, app: str) -> int:
    """The pods of a workload that run."""
    listed = (await place.admin.get(place.pods, {"labelSelector": f"app={app}"}))["items"]
    return sum(item["status"].get("phase") == "Running" for item in listed)


async def has(place: Enforced, app: str, number: int) -> bool:
    return await count(place, app) == number


async def failures(place: Enforced, kind: str, start: str) -> list[str]:
    """The messages of the Events FailedCreate about objects of a kind."""
    selector = f"reason=FailedCreate,involvedObject.kind={kind}"
    events = (await place.admin.get(f"/api/v1/namespaces/{place.name}/events", {"fieldSelector": selector}))["items"]
    return [e["message"] for e in events if e["involvedObject"]["name"].startswith(start)]


async def is_told(place: Enforced, kind: str, start: str) -> bool:
    """An Event says why its pods are refused: by which check, and where."""
    return any(WRITABLE in message for message in await failures(place, kind, start))


async def test_metadata_and_status_can_be_written(place: Enforced, admin: Admin) -> None:
    """As the kubelet, controllers and people do."""
    held = pod("held", WORST, finalizers=["bank.example/hold"], labels={"app": "held"})
    await runs(place, held, pod("old", OLD))
    await tightened(place)
    for name in ("held", "old"):
        path = f"{place.pods}/{name}"
        change = {"metadata": {"labels": {"app": "other"}, "annotations": {"bank.example/seen": "yes"}}}
        _, labelled, warnings = await admin.warned("PATCH", path, change, content_type=MERGE_PATCH)
        assert (labelled["metadata"]["labels"], warnings) == ({"app": "other"}, [])
        # The same by PUT, and by server-side apply of metadata alone.
        labelled["metadata"]["labels"]["by"] = "put"
        await admin.replace(path, labelled)
        applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"ssa": "yes"}}}
        await admin.patch(path, applied, APPLY, {"fieldManager": "going-on"})
        ready = {"status": {"conditions": [{"type": "bank.example/checked", "status": "True"}]}}
        after = await admin.patch(f"{path}/status", ready, STRATEGIC)
        assert "bank.example/checked" in [one["type"] for one in after["status"]["conditions"]]
    await admin.delete(f"{place.pods}/held")
    await wait_for(lambda: is_going(admin, f"{place.pods}/held"), 10, "the finalizer to hold it up")
    await admin.patch(f"{place.pods}/held", {"metadata": {"finalizers": None}})
    await gone(admin, f"{place.pods}/held")


async def is_going(admin: Admin, path: str) -> bool:
    return "deletionTimestamp" in (await admin.get(path))["metadata"]


async def test_pods_can_be_deleted_and_evicted(place: Enforced, admin: Admin) -> None:
    await runs(place, *(pod(f"{name}-{spec}", {"worst": WORST, "old": OLD}[spec])
                        for name in ("deleted", "evicted", "swept") for spec in ("worst", "old")))  # fmt: skip
    await tightened(place)
    for spec in ("worst", "old"):
        assert await admin.delete(f"{place.pods}/deleted-{spec}")
        name = f"evicted-{spec}"
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place.name}}
        await admin.create(f"{place.pods}/{name}/eviction", eviction)
        for how in ("deleted", "evicted"):
            await gone(admin, f"{place.pods}/{how}-{spec}", 40)
    await admin.delete(place.pods)
    for spec in ("worst", "old"):
        await gone(admin, f"{place.pods}/swept-{spec}", 40)


async def test_a_node_can_be_drained(place: Enforced, admin: Admin) -> None:
    await runs(place, *(pod(name, spec, labels={"app": "drained"}) for name, spec in (("worst", WORST), ("old", OLD))))
    await tightened(place)
    try:
        await admin.kubectl("drain", NODE, "--force", "--timeout=60s", "--pod-selector=app=drained")
        for name in ("worst", "old"):
            await gone(admin, f"{place.pods}/{name}")
    finally:
        await admin.kubectl("uncordon", NODE)


async def test_a_pod_that_waits_for_a_node_still_runs_and_its_job_ends(
    plane: Plane, place: Enforced, admin: Admin
) -> None:
    """The scheduler binds it, the kubelet writes its status, the Job controller takes its finalizer off."""
    spec = {**OLD, "nodeSelector": {"pool": "going-on-late"}, "restartPolicy": "Never"}
    jobs = f"/apis/batch/v1/namespaces/{place.name}/jobs"
    await admin.create(jobs, {"metadata": {"name": "old"}, "spec": {"template": {"spec": spec}}})
    waiting = await wait_for(lambda: of_job(place, "old"), 20, "the Job's pod")
    assert waiting["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    await tightened(place)
    late = await asyncio.to_thread(nodes.create, plane, 1, {"pool": "going-on-late"}, prefix="going-on-late")
    try:

        async def is_complete() -> bool:
            status = (await admin.get(f"{jobs}/old")).get("status", {})
            assert status.get("succeeded") == 1, status
            assert not status.get("uncountedTerminatedPods"), status
            assert "Complete" in [one["type"] for one in status["conditions"] if one["status"] == "True"]
            return True

        await wait_for(is_complete, 40, "the Job to be complete")
        done = await of_job(place, "old")
        assert done is not None
        assert done["metadata"].get("finalizers", []) == []
        await admin.delete(f"{jobs}/old", {"propagationPolicy": "Background"})
        await gone(admin, f"{place.pods}/{done['metadata']['name']}")
    finally:
        for name in late:
            await admin.delete(f"/api/v1/nodes/{name}")


async def of_job(place: Enforced, name: str) -> Json | None:
    listed = (await place.admin.get(place.pods, {"labelSelector": f"job-name={name}"}))["items"]
    return listed[0] if listed else None


async def test_a_deployment_tells_its_author_why(place: Enforced, admin: Admin) -> None:
    """At once, as a warning on what is applied; later in Events and its conditions; and what runs goes on running."""
    path = f"{DEPLOYMENTS.format(place.name)}/web"
    await admin.create(DEPLOYMENTS.format(place.name), deployment("web", OLD, 2))
    await wait_for(lambda: has(place, "web", 2), 30, "two pods")
    await tightened(place)

    # Its metadata and its scale are no business of the policies, and there is no warning.
    for target, change in (
        (path, {"metadata": {"labels": {"team": "a"}}}),
        (f"{path}/scale", {"spec": {"replicas": 1}}),
    ):
        status, answer, warnings = await admin.warned("PATCH", target, change, content_type=MERGE_PATCH)
        assert (status, warnings) == (200, []), answer
    await wait_for(lambda: has(place, "web", 1), 40, "one pod after scaling down")

    # More of the old pods there are not; the author reads why.
    await admin.patch(f"{path}/scale", {"spec": {"replicas": 3}})
    await wait_for(lambda: is_told(place, "ReplicaSet", "web-"), 20, "the ReplicaSet's Event")
    await wait_for(lambda: says_so(admin, path), 20, "the Deployment's condition ReplicaFailure")

    # A rollout of a template that is no better: warned of, not refused, and the old pod runs on.
    rollout = {"spec": {"template": {"metadata": {"annotations": {"rollout": "2"}}}}}
    status, answer, warnings = await admin.warned("PATCH", path, rollout, content_type=MERGE_PATCH)
    assert status == 200, answer
    assert any(WRITABLE in warning for warning in warnings), warnings
    current = answer["metadata"]["generation"]
    await wait_for(lambda: observed(admin, path, current), 20, "the rollout to begin")
    assert await has(place, "web", 1)

    # One in order comes through, without a warning.
    better = {"spec": {"template": {"spec": {**IN_ORDER, "nodeSelector": CASES}}}}
    status, answer, warnings = await admin.warned("PATCH", path, better, content_type=MERGE_PATCH)
    assert (status, warnings) == (200, []), answer
    await wait_for(lambda: is_rolled_out(admin, path, 3), 60, "the rollout of pods in order")


async def says_so(admin: Admin, path: str) -> bool:
    conditions = (await admin.get(path))["status"]["conditions"]
    return any(one["type"] == "ReplicaFailure" and WRITABLE in one["message"] for one in conditions)


async def observed(admin: Admin, path: str, generation: int) -> bool:
    return bool((await admin.get(path))["status"].get("observedGeneration", 0) >= generation)


async def is_rolled_out(admin: Admin, path: str, number: int) -> bool:
    got = await admin.get(path)
    status = got["status"]
    assert status.get("observedGeneration") == got["metadata"]["generation"]
    assert (status.get("updatedReplicas"), status.get("availableReplicas")) == (number, number), status
    return bool(status.get("replicas") == number)


def workloads(place: Enforced) -> Mapping[str, tuple[str, Json]]:
    """The other workloads of the tenant's or the platform's: collection and object."""
    apps, batch = (f"/apis/{group}/v1/namespaces/{place.name}" for group in ("apps", "batch"))
    job = {"template": {"spec": {**OLD, "restartPolicy": "Never", "nodeSelector": {"pool": "none"}}}}
    given = {
        "StatefulSet": (f"{apps}/statefulsets", {"replicas": 2, "serviceName": "db", **template("statefulset", OLD)}),
        "DaemonSet": (f"{apps}/daemonsets", template("daemonset", OLD)),
        "ReplicaSet": (f"{apps}/replicasets", {"replicas": 1, **template("replicaset", OLD)}),
        "Job": (f"{batch}/jobs", job),
        "CronJob": (f"{batch}/cronjobs", {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}),
    }
    return {kind: (at, {"metadata": {"name": kind.lower()}, "spec": spec}) for kind, (at, spec) in given.items()}


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"])
async def test_every_other_workload_lives_on(place: Enforced, admin: Admin, kind: str) -> None:
    """Its author is warned of a template, and an Event says why it gets no more pods."""
    collection, body = workloads(place)[kind]
    made = await admin.create(collection, body)
    app = kind.lower()
    number = {"StatefulSet": 2, "DaemonSet": 1, "ReplicaSet": 1}.get(kind, 0)
    await wait_for(lambda: has(place, app, number), 30, f"{number} pods of the {kind}")
    await tightened(place)

    # What changes no template is not warned of.
    labelled = {"metadata": {"labels": {"team": "a"}}}
    status, answer, warnings = await admin.warned("PATCH", f"{collection}/{app}", labelled, content_type=MERGE_PATCH)
    assert (status, warnings) == (200, []), answer
    another = {**body, "metadata": {"name": f"{app}-2"}}
    status, answer, warnings = await admin.warned("POST", collection, another, params=DRY)
    assert (status, any(WRITABLE in one for one in warnings)) == (201, True), (answer, warnings)

    if number:
        assert await has(place, app, number)
        first = (await admin.get(place.pods, {"labelSelector": f"app={app}"}))["items"][0]["metadata"]["name"]
        await admin.delete(f"{place.pods}/{first}")
        await wait_for(lambda: is_told(place, kind, app), 40, f"the Event of the {kind}")
        await wait_for(lambda: has(place, app, number - 1), 20, "one pod less")
    if kind == "CronJob":
        # As its controller makes one, and `kubectl create job --from`.
        owner = {"apiVersion": "batch/v1", "kind": kind, "name": app, "uid": made["metadata"]["uid"]}
        run = {"metadata": {"name": "run", "ownerReferences": [owner]}, "spec": made["spec"]["jobTemplate"]["spec"]}
        await admin.create(collection.replace("cronjobs", "jobs"), run)
        await wait_for(lambda: is_told(place, "Job", "run"), 20, "the Job's Event")


async def test_what_runs_cannot_be_made_worse(place: Enforced, admin: Admin) -> None:
    """Another image, and a container to debug with, are new programs: the pod is judged as a whole, as a new one."""
    await runs(place, pod("old", OLD), pod("worst", WORST))
    await tightened(place)
    image = {"spec": {"containers": [{"name": "c", "image": f"{pods.IMAGE}@sha256:{'1' * 64}"}]}}
    # A container that would break no rule by itself.
    debug = {"spec": {"ephemeralContainers": [{**IN_ORDER["containers"][0], "name": "debug"}]}}
    for name, said in (("old", WRITABLE), ("worst", "violates PodSecurity")):
        for suffix, change in (("", image), ("/ephemeralcontainers", debug)):
            status, answer, _ = await admin.warned(
                "PATCH", f"{place.pods}/{name}{suffix}", change, content_type=STRATEGIC
            )
            assert status == 403, (name, suffix, answer)
            assert said in answer["message"], (name, suffix, answer)
        stored = (await admin.get(f"{place.pods}/{name}"))["spec"]
        assert stored["containers"][0]["image"] == pods.IMAGE
        assert "ephemeralContainers" not in stored


async def test_its_namespace_can_be_deleted(place: Enforced, admin: Admin) -> None:
    """By the operator, as `deletionPolicy: Delete` does; the namespace controller empties it."""
    await runs(place, pod("old", OLD), pod("worst", WORST))
    await admin.create(DEPLOYMENTS.format(place.name), deployment("web", OLD))
    await wait_for(lambda: has(place, "web", 1), 30, "a pod of the Deployment")
    await tightened(place)
    await place.operator.delete(f"{NAMESPACES}/{place.name}")
    await gone(admin, f"{NAMESPACES}/{place.name}", 60)
