"""What deviates in the cluster and is no one tenant's: the tenant roles as they stand, what is bound to everyone."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.controls.access.shipped import LOOKED_AT
from tests.support import life
from tests.support.fault import free_lease, leads
from tests.support.sandbox import JSON_PATCH, ROOT, Admin, Operator, Plane, run_operator, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant, counted

pytestmark = pytest.mark.cluster

RBAC: Final = "rbac.authorization.k8s.io"
ROLES: Final = f"/apis/{RBAC}/v1/clusterroles"
VIEWER: Final = f"{ROLES}/securetenant-viewer"
CLUSTER_BINDINGS: Final = f"/apis/{RBAC}/v1/clusterrolebindings"
EVENTS: Final = "/api/v1/namespaces/default/events"
NONE: Final = {"Missing": 0, "Changed": 0, "Foreign": 0}
AUTHENTICATED: Final = {"apiGroup": RBAC, "kind": "Group", "name": "system:authenticated"}
ACCOUNTS: Final = AUTHENTICATED | {"name": "system:serviceaccounts"}


def rule(*resources: str, verb: str = "get") -> life.Json:
    return {"apiGroups": [""], "resources": list(resources), "verbs": [verb]}


async def widen(admin: Admin, path: str, added: life.Json) -> None:
    change = [{"op": "add", "path": "/rules/-", "value": added}]
    await admin.patch(path, change, JSON_PATCH, params={"fieldManager": MANAGER})


async def put_right(admin: Admin, role: str = "viewer") -> None:
    """As docs/operations.md says."""
    await admin.kubectl("apply", "-f", str(ROOT / "manifests" / "rbac" / f"tenant-{role}.yaml"))


def binding(name: str, *subjects: life.Json, role: str = "view") -> life.Json:
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": name}, "roleRef": ref, "subjects": list(subjects)}


async def shows(operator: Operator, kind: str, **wanted: int) -> None:
    """Wait until the metric has these samples, and 0 for the other reasons."""

    async def does() -> bool:
        found = counted(await operator.metrics(), f"securetenant_cluster_drift_{kind}", "reason", control="access")
        assert found == {(reason,): number for reason, number in (NONE | wanted).items()}
        return True

    await wait_for(does, 10, f"securetenant_cluster_drift_{kind} to be {wanted or 0}")


def told(operator: Operator, event: str) -> list[life.Json]:
    lines = (json.loads(line) for line in operator.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == f"cluster drift {event}"]


def two(operator: Operator, event: str) -> list[life.Json] | None:
    lines = told(operator, event)
    return lines if len(lines) == 2 else None


async def is_shipped(tenant: Tenant, status: str, reason: str) -> life.Json:
    """Wait until the tenant says that of its roles, and is Ready or blocked as that demands."""

    async def says() -> life.Json:
        found = await tenant.get()
        roles, ready = (life.condition(found, kind) for kind in ("RolesAsShipped", "Ready"))
        assert (roles["status"], roles["reason"]) == (status, reason)
        assert (ready["status"], ready["reason"]) == (status, "Enforced" if status == "True" else "Blocked")
        assert status == "True" or ready["message"] == roles["message"]
        return roles

    return await wait_for(says, 10, f"{tenant.name} to say {reason}")


class Ledger:
    """What must have been counted as detected, beside what stands."""

    def __init__(self, operator: Operator) -> None:
        self.operator, self.detected = operator, dict(NONE)

    async def agrees(self, came: str = "", **standing: int) -> None:
        if came:
            self.detected[came] += 1
        await shows(self.operator, "objects", **standing)
        await shows(self.operator, "detected_total", **self.detected)


# --- an instance that meets what stands (before the stage of the others, which holds the Lease) --------------------


async def test_what_an_instance_meets_is_shown_and_not_counted(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    await free_lease(admin)
    await widen(admin, VIEWER, rule("secrets"))
    await admin.create(CLUSTER_BINDINGS, binding("clu-standing", AUTHENTICATED))
    try:
        for name in ("first", "second"):
            async with run_operator(plane, tmp_path, name=name) as operator:
                await wait_for(partial(leads, operator), 30, "the operator to lead")
                ledger = Ledger(operator)
                await ledger.agrees(Changed=1, Foreign=1)
                role, bound = await wait_for(partial(two, operator, "stands"), 5, "two lines")
                assert (role["level"], role["manager"]) == ("error", MANAGER)
                assert (bound["level"], bound["object"]) == ("error", "ClusterRoleBinding/clu-standing")
                assert told(operator, "detected") == []
                if name == "second":
                    await admin.delete(f"{CLUSTER_BINDINGS}/clu-standing")
                    await ledger.agrees(Changed=1)
                    await admin.create(CLUSTER_BINDINGS, binding("clu-standing", AUTHENTICATED))
                    await ledger.agrees("Foreign", Changed=1, Foreign=1)
                assert await operator.stop() == 0
    finally:
        await admin.delete(f"{CLUSTER_BINDINGS}/clu-standing")
        await put_right(admin)


# --- a life under one operator ---------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def ledger(stage: Stage) -> Ledger:
    """On a control plane as Kubernetes and the manifests make it, nothing deviates."""
    made = Ledger(stage.operator)
    await made.agrees()
    assert told(stage.operator, "stands") == []
    return made


@pytest_asyncio.fixture(scope="module")
async def tenants(stage: Stage) -> AsyncIterator[list[Tenant]]:
    """Two whose people are Viewers, and one whose are not."""
    made = []
    for name, role in (("clu-one", "Viewer"), ("clu-two", "Viewer"), ("clu-none", "Developer")):
        bindings = [{"role": role, "subjects": [{"kind": "Group", "name": f"{name}-people"}]}]
        spec = {"namespaces": [{"name": f"{name}-a"}], "access": {"bindings": bindings}}
        made.append(await stage.tenant(name, spec))
    yield made
    await put_right(stage.admin)


async def are_right(ledger: Ledger, tenants: list[Tenant]) -> None:
    """All is as shipped again, and nothing of it was any tenant's drift."""
    await ledger.agrees()
    for tenant in tenants:
        assert "message" not in await is_shipped(tenant, "True", "AsShipped")
        await tenant.agrees()


async def test_a_widened_role_is_reported_once_and_its_tenants_are_not_ready(
    stage: Stage, ledger: Ledger, tenants: list[Tenant]
) -> None:
    one, two, none = tenants
    await widen(stage.admin, VIEWER, rule("secrets", "pods"))
    await ledger.agrees("Changed", Changed=1)
    for tenant in (one, two):
        condition = await is_shipped(tenant, "False", "Widened")
        assert "ClusterRole securetenant-viewer grants more than it ships with: get secrets;" in condition["message"]
        assert life.condition(await tenant.get(), "Stalled")["reason"] == "Blocked"
        await tenant.agrees()  # no drift of its own
    await is_shipped(none, "True", "AsShipped")
    line = told(stage.operator, "detected")[-1]
    assert (line["level"], line["object"], line["path"]) == ("error", "ClusterRole/securetenant-viewer", "rules")
    assert (line["reason"], line["manager"], line["control"]) == ("Changed", MANAGER, "access")

    # More of it is a deviation again, although the first still stands.
    await widen(stage.admin, VIEWER, rule("pods/exec", verb="create"))
    await ledger.agrees("Changed", Changed=1)
    condition = await wait_for(lambda: mentions(one, "create pods/exec"), 10, "the second right to be named")
    assert "get secrets" in condition["message"]

    # What is no right is no deviation: a label, an order.
    await stage.admin.patch(VIEWER, {"metadata": {"labels": {"example.com/mine": "1"}}})
    await put_right(stage.admin)
    await are_right(ledger, tenants)
    assert [line["object"] for line in told(stage.operator, "over")] == ["ClusterRole/securetenant-viewer"]


async def mentions(tenant: Tenant, text: str) -> life.Json | None:
    condition = await tenant.condition("RolesAsShipped")
    return condition if text in condition.get("message", "") else None


async def event(admin: Admin, about: life.Json) -> life.Json:
    """Wait for the Event that says it of the object."""

    async def found() -> life.Json | None:
        selector = f"involvedObject.uid={about['metadata']['uid']},reason=DriftDetected"
        items = (await admin.get(EVENTS, params={"fieldSelector": selector}))["items"]
        return items[-1] if items else None

    return await wait_for(found, 10, f"an Event about {about['metadata']['name']}")


async def test_an_event_about_the_role_says_it(stage: Stage, ledger: Ledger, tenants: list[Tenant]) -> None:
    await widen(stage.admin, VIEWER, rule("secrets", verb="list"))
    await ledger.agrees("Changed", Changed=1)
    found = await event(stage.admin, await stage.admin.get(VIEWER))
    assert (found["type"], found["involvedObject"]["name"]) == ("Warning", "securetenant-viewer")
    assert "as the field manager mallory" in found["message"]
    assert "grants more than it ships with" in found["message"]
    assert "securetenant.dev/tenant" not in found["metadata"]["labels"]
    await put_right(stage.admin)
    await are_right(ledger, tenants)


async def test_a_role_that_gives_less_or_is_gone(stage: Stage, ledger: Ledger, tenants: list[Tenant]) -> None:
    await stage.admin.patch(VIEWER, [{"op": "remove", "path": "/rules/0"}], JSON_PATCH)
    await ledger.agrees("Changed", Changed=1)
    assert "grants less" in (await is_shipped(tenants[0], "False", "Narrowed"))["message"]
    assert told(stage.operator, "detected")[-1]["level"] == "warning"
    await stage.admin.delete(VIEWER)
    await ledger.agrees("Missing", Missing=1)
    await is_shipped(tenants[0], "False", "Missing")
    await put_right(stage.admin)
    await are_right(ledger, tenants)


async def test_a_role_that_others_flow_into(stage: Stage, ledger: Ledger, tenants: list[Tenant]) -> None:
    """Kubernetes' own controller writes the rules then; what it makes of them may be a second deviation."""
    label = {"example.com/into-viewer": "true"}
    source = {"metadata": {"name": "clu-source", "labels": label}, "rules": [rule("secrets")]}
    await stage.admin.create(ROLES, source)
    try:
        aggregation = {"clusterRoleSelectors": [{"matchLabels": label}]}
        await stage.admin.patch(VIEWER, {"aggregationRule": aggregation}, params={"fieldManager": MANAGER})
        await wait_for(lambda: mentions(tenants[1], "get secrets"), 15, "the other role's right to be named")
        await is_shipped(tenants[1], "False", "Widened")
        await shows(stage.operator, "objects", Changed=1)
    finally:
        await stage.admin.delete(f"{ROLES}/clu-source")
        await stage.admin.delete(VIEWER)
        await put_right(stage.admin)
    await shows(stage.operator, "objects")
    metrics = counted(
        await stage.operator.metrics(), "securetenant_cluster_drift_detected_total", "reason", control="access"
    )
    ledger.detected = {reason: int(metrics[reason,]) for reason in NONE}
    await are_right(ledger, tenants)


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(AUTHENTICATED, id="every-user"),
        pytest.param(ACCOUNTS, id="every-account"),
        pytest.param(AUTHENTICATED | {"name": "system:unauthenticated"}, id="whoever-has-no-name"),
        pytest.param(AUTHENTICATED | {"kind": "User", "name": "system:anonymous"}, id="anonymous"),
    ],
)
async def test_a_role_for_everyone_is_reported_once(
    stage: Stage, ledger: Ledger, tenants: list[Tenant], subject: dict[str, Any]
) -> None:
    # One name each, which Events cannot have: they are not repeats of one another.
    name = f"Clu:Wide:{subject['name']}"
    path = f"{CLUSTER_BINDINGS}/{name}"
    status, answer = await stage.admin.request(
        "POST", CLUSTER_BINDINGS, binding(name, subject), params={"fieldManager": MANAGER}
    )
    assert status == 201, answer
    try:
        await ledger.agrees("Foreign", Foreign=1)
        line = told(stage.operator, "detected")[-1]
        assert (line["object"], line["manager"]) == (f"ClusterRoleBinding/{name}", MANAGER)
        assert f"grants ClusterRole/view to {subject['kind']} {subject['name']} in every" in line["cause"]
        about = (await event(stage.admin, await stage.admin.get(path)))["involvedObject"]
        assert (about["kind"], about["name"]) == ("ClusterRoleBinding", name)
        for tenant in tenants:
            await tenant.agrees()
            await is_shipped(tenant, "True", "AsShipped")
    finally:
        await stage.admin.delete(path)
    await are_right(ledger, tenants)


async def test_kubernetes_own_for_everyone(stage: Stage, ledger: Ledger, tenants: list[Tenant]) -> None:
    """It may be bound again by another name, and its role may not be widened."""
    await stage.admin.create(CLUSTER_BINDINGS, binding("clu-again", ACCOUNTS, role="system:discovery"))
    discovery = f"{ROLES}/system:discovery"
    before = (await stage.admin.get(discovery))["rules"]
    try:
        await widen(stage.admin, discovery, rule("secrets"))
        await ledger.agrees("Changed", Changed=1)
        line = told(stage.operator, "detected")[-1]
        assert line["object"] == "ClusterRole/system:discovery"
        assert "grants more than Kubernetes ships it with: get secrets" in line["cause"]
    finally:
        await stage.admin.patch(discovery, {"rules": before})
        await stage.admin.delete(f"{CLUSTER_BINDINGS}/clu-again")
    await are_right(ledger, tenants)


async def test_of_the_other_roles_nothing_is_kept(stage: Stage, ledger: Ledger) -> None:
    held = await stage.operator.metric("securetenant_informer_objects", kind="ClusterRole")
    standing = {role["metadata"]["name"] for role in (await stage.admin.get(ROLES))["items"]}
    # An older server has not all that Kubernetes gives to everyone.
    assert (held, len(standing) > 50) == (len(LOOKED_AT & standing), True)
