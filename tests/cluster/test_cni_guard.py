"""The annotations of network plug-ins on a real API server: every way by which one gets onto a pod, what a plug-in
still writes, and what goes on for pods that carry its annotations. No operator runs, and no plug-in: its writes are
made with its account."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.plane import Plane
from tests.support import enforced, pods
from tests.support.enforced import DEPLOYMENTS, Enforced, deployment, pod
from tests.support.life import Json, gone
from tests.support.locked import MASTERS
from tests.support.sandbox import APPLY, JSON_PATCH, MERGE_PATCH, Admin, wait_for

pytestmark = pytest.mark.cluster

NODE: Final = "cni-guard-0"
SELECTED: Final = {"type": "kwok-cni-guard"}
SPEC: Final = pods.spec(nodeSelector=SELECTED)
NOWHERE: Final = pods.spec(nodeSelector={"pool": "none"})
STRATEGIC: Final = "application/strategic-merge-patch+json"
SWITCH: Final = "ovn.kubernetes.io/logical_switch"
NOTE: Final = "example.com/note"
# What Kube-OVN's controller and Calico's plug-in write (reference values of both).
ALLOCATED: Final = {
    "ovn.kubernetes.io/allocated": "true",
    "ovn.kubernetes.io/cidr": "10.16.0.0/16",
    "ovn.kubernetes.io/gateway": "10.16.0.1",
    "ovn.kubernetes.io/ip_address": "10.16.0.12",
    SWITCH: "own",
    "ovn.kubernetes.io/mac_address": "02:00:00:00:00:01",
    "ovn.kubernetes.io/routed": "true",
    "cni.projectcalico.org/podIP": "10.16.0.12/32",
    "cni.projectcalico.org/podIPs": "10.16.0.12/32",
}
PLUGINS: Final = {
    "kube-ovn-controller": "system:serviceaccount:kube-system:ovn",
    "kube-ovn-cni": "system:serviceaccount:kube-system:kube-ovn-cni",
    "calico": "system:serviceaccount:kube-system:calico-cni-plugin",
    "calico-by-operator": "system:serviceaccount:calico-system:calico-cni-plugin",
}
CHANGED: Final = f"network/cniAnnotationsChanged at annotation {SWITCH}: only the network plug-in writes"
_NUMBERS: Final = itertools.count()

Answer = tuple[int, Json]
Way = Callable[[Admin, str, Json], Awaitable[Answer]]


def patched(content_type: str, subresource: str = "") -> Way:
    """A patch of annotations, on the pod or a subresource of it."""

    async def write(who: Admin, path: str, annotations: Json) -> Answer:
        body: object = {"metadata": {"annotations": annotations}}
        params = {"fieldManager": "cni-guard"}
        if content_type == JSON_PATCH:
            now = (await who.get(path))["metadata"].get("annotations", {})
            body = [{"op": "add", "path": "/metadata/annotations", "value": {**now, **annotations}}]
        elif content_type == APPLY:
            name = path.rpartition("/")[2]
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}}
            params["force"] = "true"
        return await who.request("PATCH", path + subresource, body, content_type=content_type, params=params)

    return write


def put(subresource: str = "") -> Way:
    async def write(who: Admin, path: str, annotations: Json) -> Answer:
        item = await who.get(path)
        item["metadata"].setdefault("annotations", {}).update(annotations)
        del item["metadata"]["resourceVersion"]  # the scheduler and the kubelet write as well
        return await who.request("PUT", path + subresource, item)

    return write


async def bound(who: Admin, path: str, annotations: Json) -> Answer:
    pods_path, _, name = path.rpartition("/")
    return await who.request("POST", f"{pods_path}/{name}/binding", binding(name, annotations))


async def bound_in_the_collection(who: Admin, path: str, annotations: Json) -> Answer:
    pods_path, _, name = path.rpartition("/")
    return await who.request("POST", f"{pods_path.removesuffix('/pods')}/bindings", binding(name, annotations))


def binding(name: str, annotations: Json) -> Json:
    target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "annotations": annotations},
        "target": target,
    }


WAYS: Final[dict[str, Way]] = {
    "merge": patched(MERGE_PATCH),
    "strategic": patched(STRATEGIC),
    "json": patched(JSON_PATCH),
    "apply": patched(APPLY),
    "put": put(),
    "status-merge": patched(MERGE_PATCH, "/status"),
    "status-strategic": patched(STRATEGIC, "/status"),
    "status-json": patched(JSON_PATCH, "/status"),
    "status-apply": patched(APPLY, "/status"),
    "status-put": put("/status"),
    "binding": bound,
    "bindings": bound_in_the_collection,
}


@pytest_asyncio.fixture(scope="module")
async def node(plane: Plane, admin: Admin) -> AsyncIterator[str]:
    await asyncio.to_thread(nodes.create, plane, 1, SELECTED, prefix=NODE.removesuffix("-0"))
    yield NODE
    await admin.delete(f"/api/v1/nodes/{NODE}")


@pytest_asyncio.fixture
async def place(plane: Plane, admin: Admin, policies: None, node: str) -> AsyncIterator[Enforced]:
    """A namespace of the test's own, not marked yet."""
    async with enforced.namespace(plane, admin, f"cni-guard-{next(_NUMBERS)}") as made:
        yield made


async def allocated(plane: Plane, place: Enforced, *bodies: Json) -> None:
    """Create pods in a marked namespace, let the plug-in write into them, and wait until they run."""
    for body in bodies:
        await place.admin.create(place.pods, body)
    async with Admin(plane, user=PLUGINS["kube-ovn-controller"], groups=[MASTERS]) as plugin:
        for body in bodies:
            await written(plugin, f"{place.pods}/{body['metadata']['name']}")

    async def are_running() -> bool:
        listed = (await place.admin.get(place.pods))["items"]
        assert all(item["metadata"]["annotations"].items() >= ALLOCATED.items() for item in listed)
        return all(item["status"].get("phase") == "Running" for item in listed)

    await wait_for(are_running, 30, "the pods to run")


async def written(who: Admin, path: str) -> None:
    await who.patch(path, {"metadata": {"annotations": ALLOCATED}})


async def annotations_of(admin: Admin, path: str) -> Json:
    found: Json = (await admin.get(path))["metadata"].get("annotations", {})
    return found


# --- attacks


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_reaches_the_annotations_and_is_refused(place: Enforced, admin: Admin, way: str) -> None:
    """In a namespace of no tenant it does, so that the refusal is the policy's. What is no plug-in's passes."""
    for name in ("free", "guarded", "noted"):
        await admin.create(place.pods, pod(name, NOWHERE))
    path = f"{place.pods}/free"
    status, answer = await WAYS[way](admin, path, {SWITCH: "payments"})
    assert status in (200, 201), answer
    assert (await annotations_of(admin, path))[SWITCH] == "payments"
    await place.mark()
    path = f"{place.pods}/guarded"
    status, answer = await WAYS[way](admin, path, {SWITCH: "payments"})
    assert status == 403, answer
    assert CHANGED in answer["message"]
    assert SWITCH not in await annotations_of(admin, path)
    path = f"{place.pods}/noted"
    status, answer = await WAYS[way](admin, path, {NOTE: "x"})
    assert status in (200, 201), answer
    assert (await annotations_of(admin, path))[NOTE] == "x"


@pytest.mark.parametrize("subresource", ["ephemeralcontainers", "resize"])
async def test_other_subresources_write_no_annotations(place: Enforced, admin: Admin, subresource: str) -> None:
    """So that the policy need not look at them."""
    path = f"{place.pods}/web"
    await admin.create(place.pods, pod("web", NOWHERE))
    await put(f"/{subresource}")(admin, path, {SWITCH: "payments"})
    for kind in (MERGE_PATCH, JSON_PATCH, STRATEGIC):
        await patched(kind, f"/{subresource}")(admin, path, {SWITCH: "payments"})
    assert SWITCH not in await annotations_of(admin, path)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("apply", "status-apply", "json", "status-json")])
async def test_what_the_plugin_wrote_is_neither_changed_nor_taken_away(
    plane: Plane, place: Enforced, admin: Admin, way: str
) -> None:
    await place.mark()
    await admin.create(place.pods, pod("web", NOWHERE))
    path = f"{place.pods}/web"
    async with Admin(plane, user=PLUGINS["kube-ovn-controller"], groups=[MASTERS]) as plugin:
        await written(plugin, path)
    values = ["payments"] if "bind" in way or "put" in way else ["payments", None]
    for value in values:
        status, answer = await WAYS[way](admin, path, {SWITCH: value})
        assert status == 403, answer
        assert CHANGED in answer["message"]
    assert await annotations_of(admin, path) == ALLOCATED


async def test_a_pod_is_created_with_no_such_annotation_by_anybody(plane: Plane, place: Enforced, admin: Admin) -> None:
    await place.mark()
    for user in (*PLUGINS.values(), "system:node:cni-guard-0", "somebody"):
        async with Admin(plane, user=user, groups=[MASTERS]) as who:
            status, answer = await who.request("POST", place.pods, pod("web", NOWHERE, annotations={SWITCH: "x"}))
        assert status == 403, answer
        assert f"network/cniAnnotations at annotation {SWITCH}: " in answer["message"]


# --- what a plug-in does


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_a_plugin_writes_what_it_must(plane: Plane, place: Enforced, admin: Admin, plugin: str) -> None:
    """By each way but a binding, which is a scheduler's."""
    await place.mark()
    await admin.create(place.pods, pod("web", NOWHERE))
    path = f"{place.pods}/web"
    async with Admin(plane, user=PLUGINS[plugin], groups=[MASTERS]) as who:
        for number, (name, way) in enumerate(WAYS.items()):
            status, answer = await way(who, path, {**ALLOCATED, SWITCH: f"own-{number}"})
            if "binding" in name:
                assert status == 403, answer
            else:
                assert status == 200, answer
                assert (await annotations_of(admin, path))[SWITCH] == f"own-{number}"


async def test_with_warn_it_is_a_warning(place: Enforced, admin: Admin) -> None:
    await place.mark(admission="Warn")
    _, answer, warnings = await admin.warned("POST", place.pods, pod("web", NOWHERE, annotations={SWITCH: "x"}))
    assert answer["metadata"]["annotations"] == {SWITCH: "x"}
    assert f"network/cniAnnotations at annotation {SWITCH}: " in str(warnings)
    change = {"metadata": {"annotations": {SWITCH: "y"}}}
    status, answer, warnings = await admin.warned("PATCH", f"{place.pods}/web", change, content_type=MERGE_PATCH)
    assert status == 200, answer
    assert CHANGED in str(warnings)


# --- what goes on


async def test_a_pod_with_the_plugins_annotations_lives_and_dies(plane: Plane, place: Enforced, admin: Admin) -> None:
    """Labels and other annotations, status, another image, a finalizer, deletion and eviction."""
    await place.mark()
    held = pod("held", SPEC, finalizers=["bank.example/hold"])
    await allocated(plane, place, held, pod("evicted", SPEC), pod("deleted", SPEC))
    for name in ("held", "evicted", "deleted"):
        path = f"{place.pods}/{name}"
        change = {"metadata": {"labels": {"app": "other"}, "annotations": {NOTE: "x"}}}
        _, answer, warnings = await admin.warned("PATCH", path, change, content_type=MERGE_PATCH)
        assert (answer["metadata"]["labels"], warnings) == ({"app": "other"}, [])
        answer["metadata"]["labels"]["by"] = "put"
        await admin.replace(path, answer)
        ready = {"status": {"conditions": [{"type": "bank.example/checked", "status": "True"}]}}
        await admin.patch(f"{path}/status", ready, STRATEGIC)
        image = [{"op": "replace", "path": "/spec/containers/0/image", "value": f"{pods.IMAGE}:2"}]
        await admin.patch(path, image, JSON_PATCH)
        debug = {"spec": {"ephemeralContainers": [{**pods.CONTAINER, "name": "debug"}]}}
        await admin.patch(f"{path}/ephemeralcontainers", debug, STRATEGIC)
    await admin.delete(f"{place.pods}/deleted")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted", "namespace": place.name}}
    await admin.create(f"{place.pods}/evicted/eviction", eviction)
    await admin.delete(f"{place.pods}/held")
    await admin.patch(f"{place.pods}/held", {"metadata": {"finalizers": None}})
    for name in ("held", "evicted", "deleted"):
        await gone(admin, f"{place.pods}/{name}", 40)


async def test_a_node_can_be_drained(plane: Plane, place: Enforced, admin: Admin) -> None:
    await place.mark()
    await allocated(plane, place, pod("web", SPEC, labels={"app": "drained"}))
    try:
        await admin.kubectl("drain", NODE, "--force", "--timeout=60s", "--pod-selector=app=drained")
        await gone(admin, f"{place.pods}/web")
    finally:
        await admin.kubectl("uncordon", NODE)


async def test_a_job_ends_and_a_deployment_rolls_on(plane: Plane, place: Enforced, admin: Admin) -> None:
    """The scheduler binds their pods, the kubelet writes their status, the Job controller takes its finalizer off."""
    await place.mark()
    jobs = f"/apis/batch/v1/namespaces/{place.name}/jobs"
    # It waits for its node, so that the plug-in writes before it runs.
    spec = {**pods.spec(nodeSelector={"pool": "cni-guard-late"}), "restartPolicy": "Never"}
    await admin.create(jobs, {"metadata": {"name": "job"}, "spec": {"template": {"spec": spec}}})
    await admin.create(DEPLOYMENTS.format(place.name), deployment("web", SPEC, 2))

    async def listed(number: int) -> list[str]:
        items = (await admin.get(place.pods))["items"]
        assert len(items) == number, [item["metadata"]["name"] for item in items]
        return [item["metadata"]["name"] for item in items]

    async with Admin(plane, user=PLUGINS["kube-ovn-controller"], groups=[MASTERS]) as plugin:
        for name in await wait_for(lambda: listed(3), 30, "three pods"):
            await written(plugin, f"{place.pods}/{name}")
    late = await asyncio.to_thread(nodes.create, plane, 1, {"pool": "cni-guard-late"}, prefix="cni-guard-late")
    try:

        async def is_complete() -> bool:
            status = (await admin.get(f"{jobs}/job")).get("status", {})
            assert status.get("succeeded") == 1, status
            assert not status.get("uncountedTerminatedPods"), status
            return True

        await wait_for(is_complete, 40, "the Job to be complete")
        done = (await admin.get(place.pods, {"labelSelector": "job-name=job"}))["items"][0]["metadata"]
        assert (done.get("finalizers", []), done["annotations"]) == ([], ALLOCATED)
        path = f"{DEPLOYMENTS.format(place.name)}/web"
        await admin.patch(path, {"spec": {"template": {"metadata": {"annotations": {NOTE: "2"}}}}}, MERGE_PATCH)

        async def is_rolled_out() -> bool:
            item = await admin.get(path)
            status = item["status"]
            assert status.get("observedGeneration") == item["metadata"]["generation"]
            return bool(status.get("updatedReplicas") == status.get("replicas") == status.get("availableReplicas") == 2)

        await wait_for(is_rolled_out, 60, "the rollout")
    finally:
        for name in late:
            await admin.delete(f"/api/v1/nodes/{name}")


async def test_a_namespace_with_such_pods_can_be_deleted(plane: Plane, place: Enforced, admin: Admin) -> None:
    await place.mark()
    await allocated(plane, place, pod("web", SPEC))
    await place.operator.delete(f"/api/v1/namespaces/{place.name}")
    await gone(admin, f"/api/v1/namespaces/{place.name}", 60)
