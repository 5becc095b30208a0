"""What the API server writes into pods, by manifests/components/injection alone: the same as `checks.injections` does
to a manifest. The operator does not run."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.checks.injections import injected, policy
from securetenant.checks.policies import ADMISSION, INJECTED, PROBE, VERSION
from securetenant.controls.registry import CHECKS
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import JSON_PATCH, ROOT, Admin, wait_for

pytestmark = pytest.mark.cluster

POLICY: Final = str(ROOT / "manifests" / "components" / "injection" / "policy.yaml")
PODS: Final = "/api/v1/namespaces/{}/pods"
BINDINGS: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
REFUSING: Final = ("pods-deny.securetenant.dev", "pods-warn.securetenant.dev")
DRY: Final = {"dryRun": "All"}
LABEL: Final = "securetenant.node-restriction.kubernetes.io/tenant"
OWN: Final = {"key": "securetenant.dev/tenant", "operator": "Equal", "value": "risk"}
DIGEST: Final = "x@sha256:" + "0123456789abcdef" * 4
BOTH: Final = {"securetenant.dev/nodes": "v1;dedicated=risk", "securetenant.dev/images": "v1"}
#: Parameters by the namespace's name. `inj-off` is not a tenant's, so that it shows what the server adds by itself.
SPACES: Final[Mapping[str, Mapping[str, str]]] = {
    "inj-off": BOTH,
    "inj-both": BOTH,
    "inj-none": {"securetenant.dev/nodes": "v1", "securetenant.dev/images": "v1;cachedImages=allowed"},
    "inj-unknown": {
        "securetenant.dev/nodes": "v9;dedicated=risk",
        "securetenant.dev/images": "v9;cachedImages=allowed",
    },
    "inj-over": BOTH | {"securetenant.dev/exemptions": "v1;nodes/selection|2000-01-01T00:00:00Z|"},
    "inj-some": BOTH
    | {"securetenant.dev/exemptions": "v1;a/b|x|;images/pullPolicy|2999-01-01T00:00:00Z|app=web,tier="},
}


def pod(**spec: Any) -> Json:
    return {
        "metadata": {"name": "pod", "labels": {"app": "web", "tier": ""}},
        "spec": {"containers": [{"name": "c", "image": DIGEST}], "automountServiceAccountToken": False, **spec},
    }


CASES: Final[Mapping[str, Json]] = {
    "nothing": pod(),
    "nulls": pod(nodeSelector=None, tolerations=None, volumes=None, initContainers=None),
    "empty": pod(nodeSelector={}, tolerations=[]),
    "other selector": pod(nodeSelector={"disk": "ssd"}, tolerations=[{"key": "gpu", "operator": "Exists"}]),
    "has both": pod(nodeSelector={LABEL: "risk"}, tolerations=[OWN]),
    "has both in short": pod(nodeSelector={LABEL: "risk"}, tolerations=[{"key": OWN["key"], "value": "risk"}]),
    "of one effect": pod(tolerations=[OWN | {"effect": "NoSchedule"}]),
    "another tenant's": pod(nodeSelector={LABEL: "web"}, tolerations=[OWN | {"value": "web"}]),
    "every taint": pod(tolerations=[{"operator": "Exists"}]),
    "no label": {**pod(), "metadata": {"generateName": "pod-"}},
    "images": pod(
        containers=[
            {"name": "a", "image": "x:1"},
            {"name": "b", "image": "x:1", "imagePullPolicy": "IfNotPresent"},
            {"name": "c", "image": "x", "imagePullPolicy": "Never"},
            {"name": "d", "image": "x:latest"},
        ],
        initContainers=[{"name": "e", "image": DIGEST}, {"name": "f", "image": DIGEST, "restartPolicy": "Always"}],
        volumes=[
            {"name": "g", "emptyDir": {}},
            {"name": "h", "image": {"reference": DIGEST}},
            {"name": "i", "image": {"reference": "x:1", "pullPolicy": "Never"}},
            {"name": "j", "configMap": {"name": "none"}},
        ],
    ),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def spaces(admin: Admin, mutating: None) -> AsyncIterator[Admin]:
    """The namespaces, with the policy in force, and none on pods that would refuse them."""
    refusing = [one for one in [await admin.find(f"{BINDINGS}/{name}") for name in REFUSING] if one]
    try:
        for one in refusing:
            await admin.delete(f"{BINDINGS}/{one['metadata']['name']}")
        await admin.kubectl("apply", "-f", POLICY)
        for name, annotations in SPACES.items():
            labels = {} if name == "inj-off" else {ADMISSION: "Warn" if name == "inj-none" else "Deny"}
            body = {"metadata": {"name": name, "labels": labels, "annotations": dict(annotations)}}
            await admin.create(NAMESPACES, body)
        for name in SPACES:
            account = f"{NAMESPACES}/{name}/serviceaccounts/default"
            await wait_for(partial(admin.find, account), 20, f"the ServiceAccount of {name}")
        await wait_for(lambda: in_force(admin), 20, "the policy to be in force")
        yield admin
    finally:
        await admin.kubectl("delete", "--ignore-not-found", "-f", POLICY)
        for one in refusing:
            meta = {key: one["metadata"][key] for key in ("name", "labels")}
            await admin.create(BINDINGS, {**one, "metadata": meta})
        for name in SPACES:
            await admin.delete(f"{NAMESPACES}/{name}")


async def in_force(admin: Admin) -> bool:
    """A dry run says which version of the policy is in force."""
    body = pod()
    body["metadata"]["annotations"] = {PROBE: "1"}
    status, answer = await admin.request("POST", PODS.format("inj-both"), body, params=DRY)
    assert status == 201, answer
    found = answer["metadata"]["annotations"].get(INJECTED)
    assert found in (None, policy(CHECKS)[0]["metadata"]["annotations"][VERSION])
    return found is not None


async def created(admin: Admin, space: str, body: Json) -> Json:
    """The spec that a pod would have."""
    status, answer = await admin.request("POST", PODS.format(space), body, params=DRY)
    assert status == 201, answer
    spec: Json = answer["spec"]
    return spec


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("space", [name for name in SPACES if name != "inj-off"])
async def test_a_pod_is_as_a_manifest_with_the_injection(spaces: Admin, space: str, case: str) -> None:
    body = CASES[case]
    as_manifest = injected(body, CHECKS, SPACES[space])
    plain, expected, found = await asyncio.gather(
        created(spaces, "inj-off", body),
        created(spaces, "inj-off", dict(as_manifest)),
        created(spaces, space, body),
    )
    assert found == injected({**body, "spec": plain}, CHECKS, SPACES[space])["spec"]
    # The server's own tolerations stand before or behind.
    for spec in (expected, found):
        spec["tolerations"].sort(key=str)
    assert found == expected


async def test_a_pod_in_no_tenants_namespace_is_left_alone(spaces: Admin) -> None:
    spec = await created(spaces, "inj-off", pod())
    assert "nodeSelector" not in spec
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"


async def test_a_container_for_debugging_is_pulled_always_and_those_before_it_stay(spaces: Admin) -> None:
    pods = PODS.format("inj-both")
    await spaces.create(pods, pod())
    where = f"{pods}/pod/ephemeralcontainers"
    debug = {"name": "first", "image": DIGEST, "imagePullPolicy": "Never"}
    patch = [{"op": "add", "path": "/spec/ephemeralContainers", "value": [debug]}]
    await spaces.patch(where, patch, JSON_PATCH)

    def another(name: str) -> list[Json]:
        return [{"op": "add", "path": "/spec/ephemeralContainers/-", "value": {"name": name, "image": DIGEST}}]

    answer = await spaces.patch(where, another("second"), JSON_PATCH)
    policies = [c["imagePullPolicy"] for c in answer["spec"]["ephemeralContainers"]]
    assert policies == ["Never", "Always"]
    # One that was there before the policy.
    await spaces.patch(f"{NAMESPACES}/inj-both", {"metadata": {"labels": {ADMISSION: None}}})
    await spaces.patch(where, another("third"), JSON_PATCH)
    await spaces.patch(f"{NAMESPACES}/inj-both", {"metadata": {"labels": {ADMISSION: "Deny"}}})
    answer = await spaces.patch(where, another("fourth"), JSON_PATCH)
    policies = [c["imagePullPolicy"] for c in answer["spec"]["ephemeralContainers"]]
    assert policies == ["Never", "Always", "IfNotPresent", "Always"]
