"""Admission that changes what the operator writes: the answer is 200 or 201, and the object is not as asked for."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support import life
from tests.support.life import APPLIED, Json
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import BINDINGS, POLICIES, QUOTAS, Stage

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("mutating")]

MUTATING: Final = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BOUND: Final = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
SPEC: Final[Json] = {
    "access": {"bindings": [{"role": "Viewer", "subjects": [{"kind": "Group", "name": "dev"}]}]},
    "quota": {"namespace": {"pods": "10"}},
}


def rule(group: str, resource: str) -> Json:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
    }


NETWORK: Final = rule("networking.k8s.io", "networkpolicies")
#: What admission does, to what, and the control and the field in which it must be found.
CHANGES: Final[dict[str, tuple[Json, str, str, str]]] = {
    "open": (
        NETWORK,
        '[JSONPatch{op: "add", path: "/spec/ingress", value: [Object.spec.ingress{}]}]',
        "network",
        "spec.ingress",
    ),
    "label": (
        NETWORK,
        '[JSONPatch{op: "add", path: "/metadata/labels/mesh", value: "on"}]',
        "network",
        "labels.mesh",
    ),
    "subject": (
        rule("rbac.authorization.k8s.io", "rolebindings"),
        '[JSONPatch{op: "add", path: "/subjects/-", value: Object.subjects{kind: "User", name: "eve",'
        ' apiGroup: "rbac.authorization.k8s.io"}}]',
        "access",
        "subjects[1]",
    ),
    "quota": (
        rule("", "resourcequotas"),
        '[JSONPatch{op: "replace", path: "/spec/hard/pods", value: "99"}]',
        "quota",
        "spec.hard.pods",
    ),
}


@contextlib.asynccontextmanager
async def admission(
    admin: Admin, name: str, namespaces: Json, change: tuple[Json, str, str, str]
) -> AsyncIterator[None]:
    """While the context stands, what is written in these namespaces is changed; it is in force when this begins."""
    resource, expression, *_ = change
    spec: Json = {
        "matchConstraints": {"resourceRules": [resource], **namespaces},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    await admin.create(MUTATING, {"metadata": {"name": name}, "spec": spec})
    await admin.create(BOUND, {"metadata": {"name": name}, "spec": {"policyName": name}})
    try:
        yield
    finally:
        await admin.delete(f"{BOUND}/{name}")
        await admin.delete(f"{MUTATING}/{name}")


def within(namespace: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


async def in_force(admin: Admin, path: str, body: Json, is_changed: Any) -> None:
    """Wait until admission changes what is written there; it takes effect a moment after it was made."""

    async def is_in_force() -> bool:
        status, answer = await admin.request("POST", path, body, params={"dryRun": "All"})
        assert status == 201, answer
        return bool(is_changed(answer))

    await wait_for(is_in_force, 20, "the MutatingAdmissionPolicy to be in force")


def template(namespace: str, control: str) -> tuple[str, Json]:
    """A harmless object of the kind that a control writes: where, and what."""
    if control == "network":
        return POLICIES.format(namespace), {
            "metadata": {"name": "probe", "labels": {"probe": "1"}},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        }
    if control == "access":
        group = "rbac.authorization.k8s.io"
        return BINDINGS.format(namespace), {
            "metadata": {"name": "probe"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "probe"}],
        }
    return QUOTAS.format(namespace), {"metadata": {"name": "probe"}, "spec": {"hard": {"pods": "1"}}}


def differs(body: Json) -> Any:
    """Whether an answer holds more or other things than was asked for."""

    def changed(answer: Json) -> bool:
        labels, asked = (item["metadata"].get("labels", {}) for item in (answer, body))
        return labels != asked or any(answer[key] != body[key] for key in body if key != "metadata")

    return changed


async def stands(admin: Admin, name: str, control: str, path: str, number: int) -> Json:
    """The status while admission has its way: outstanding, named, counted, and not Ready."""
    status: Json = (await life.get(admin, name)).get("status", {})
    ready = life.condition({"status": status}, "Ready")
    assert (ready.get("status"), ready.get("reason")) == ("False", "AdmissionChanged"), status
    assert f"admission changed it at {path}" in ready["message"], ready
    assert life.condition({"status": status}, "Drifted")["status"] == "True"
    assert status["drift"]["byControl"] == {control: number}, status["drift"]
    assert all(item["path"].startswith(path) for item in status["drift"]["items"]), status["drift"]
    assert {item["reason"] for item in status["drift"]["items"]} == {"Changed"}
    return status


@pytest.mark.parametrize("kind", CHANGES)
async def test_what_admission_changed_stands_as_a_deviation(stage: Stage, admin: Admin, kind: str) -> None:
    """From the first write on: the tenant is new, and its namespace is adopted so that admission is there before."""
    change = CHANGES[kind]
    control, path, name = change[2], change[3], f"adm-{kind}"
    place = f"{name}-a"
    await admin.create(life.NAMESPACES, {"metadata": {"name": place}})
    stage.places.append(place)
    async with admission(admin, name, within(place), change):
        where, body = template(place, control)
        await in_force(admin, where, body, differs(body))
        tenant = await stage.create(name, {"namespaces": [{"name": place, "adopt": True}], **SPEC})
        number = {"network": 3, "access": 1, "quota": 1}[control]
        await wait_for(lambda: stands(admin, name, control, path, number), 20, "the deviations to be told")
        counted = {(control, "Changed"): number}
        assert await life.drift(stage.operator, name) == counted
        assert await life.drift(stage.operator, name, "corrected_total") == {}
        # Asked again, it is the same: neither counted twice nor claimed to be corrected.
        before = (await admin.get(f"{where}/{_first(control)}"))["metadata"]["resourceVersion"]
        await admin.patch(f"{where}/{_first(control)}", {"metadata": {"annotations": {APPLIED: "nonsense"}}})
        await wait_for(lambda: _rewritten(admin, f"{where}/{_first(control)}", before), 10, "the next write of it")
        await wait_for(lambda: stands(admin, name, control, path, number), 20, "the deviations to be told again")
        assert await life.drift(stage.operator, name, "corrected_total") == {}
    await life.ready(admin, name, 90)
    tenant.detected.update({(control, "Changed"): number})
    assert await life.drift(stage.operator, name) == counted
    assert await life.drift(stage.operator, name, "corrected_total") == counted


def _first(control: str) -> str:
    return {"network": "securetenant-default-deny", "access": "securetenant-viewer", "quota": "securetenant"}[control]


async def _rewritten(admin: Admin, path: str, version: str) -> bool:
    metadata = (await admin.get(path))["metadata"]
    return bool(metadata["resourceVersion"] != version and metadata["annotations"][APPLIED] != "nonsense")


async def test_an_update_that_admission_changed_and_a_namespace_without_its_labels(stage: Stage, admin: Admin) -> None:
    name = "adm-late"
    place = f"{name}-a"
    tenant = await stage.tenant(name, {"namespaces": [{"name": place, "labels": {"env": "prod"}}], **SPEC})
    change = (
        rule("", "namespaces"),
        '[JSONPatch{op: "replace", path: "/metadata/labels/env", value: "weak"}]',
        "namespaces",
        "labels.env",
    )
    selected = {"objectSelector": {"matchLabels": {"securetenant.dev/tenant": name}}}
    async with admission(admin, name, selected, change):

        async def is_weakened() -> bool:
            patch = {"metadata": {"annotations": {"probe": "1"}}}
            answer = await admin.patch(f"{life.NAMESPACES}/{place}", patch, params={"dryRun": "All"})
            return bool(answer["metadata"]["labels"]["env"] == "weak")

        await wait_for(is_weakened, 20, "the MutatingAdmissionPolicy to be in force")
        await life.edit(admin, name, {"namespaces": [{"name": place, "labels": {"env": "test"}}]})
        await wait_for(lambda: stands(admin, name, "namespaces", "labels.env", 1), 20, "the deviation to be told")
    await life.ready(admin, name, 90)
    assert (await admin.get(f"{life.NAMESPACES}/{place}"))["metadata"]["labels"]["env"] == "test"
    assert await life.drift(stage.operator, tenant.name) == {("namespaces", "Changed"): 1}
