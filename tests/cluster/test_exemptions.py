"""Exemptions on a real API server: what they let in and what not, how they end, and what a tenant leaves behind."""

import copy
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.checks.variables import EXEMPTIONS
from tests.support import judging, life, pods, tenants
from tests.support.judging import Verdict
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import JSON_PATCH, Admin, Operator, Plane, run_operator, wait_for
from tests.support.tenants import Stage

pytestmark = pytest.mark.cluster

EVENTS: Final = "/api/v1/namespaces/default/events"
ENFORCE: Final = "pod-security.kubernetes.io/enforce"
WRITABLE: Final = "runtime/readOnlyRootFilesystem"
PORTS: Final = "runtime/hostPorts"


@pytest_asyncio.fixture(scope="module")
async def policies(admin: Admin) -> AsyncIterator[None]:
    async with judging.policies(admin):
        yield


def exemption(check: str, namespace: str, app: str, ends: datetime | None = None) -> Json:
    control, _, name = check.partition("/")
    end = ends or datetime.now(UTC) + timedelta(days=40)
    return {
        "control": control,
        "check": name,
        "namespace": namespace,
        "expires": end.isoformat(),
        "pods": {"app": app},
        "reason": "vendor image",
        "ticket": "CHG-7",
        "approvedBy": "ciso",
    }


def pod(app: str, **container: Any) -> Json:
    """A pod in order, but for these fields of its container."""
    spec = copy.deepcopy(pods.spec())
    security = {**spec["containers"][0]["securityContext"], **container.pop("securityContext", {})}
    spec["containers"][0] |= {**container, "securityContext": security}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{app}-pod", "labels": {"app": app}}, "spec": spec}


def writable(app: str) -> Json:
    return pod(app, securityContext={"readOnlyRootFilesystem": False})


def on_port(app: str) -> Json:
    return pod(app, ports=[{"containerPort": 8080, "hostPort": 8080}])


async def tried(admin: Admin, body: Json, namespace: str) -> Verdict:
    return await judging.verdict(admin, "POST", judging.path(body, namespace), body)


async def admitted(admin: Admin, body: Json, namespace: str) -> None:
    answer = await tried(admin, body, namespace)
    assert answer.status == 201, answer


async def refused(admin: Admin, body: Json, namespace: str, *checks: str) -> None:
    answer = await tried(admin, body, namespace)
    assert (answer.status, answer.fails) == (403, frozenset(checks)), answer


async def labels(admin: Admin, namespace: str) -> Json:
    return dict((await admin.get(f"{NAMESPACES}/{namespace}"))["metadata"]["labels"])


async def annotations(admin: Admin, namespace: str) -> Json:
    return dict((await admin.get(f"{NAMESPACES}/{namespace}"))["metadata"].get("annotations", {}))


async def event(admin: Admin, uid: str, reason: str, *words: str) -> str:
    """Wait for an Event about the SecureTenant with that reason and these words; its message."""

    async def found() -> str:
        selector = f"involvedObject.uid={uid},reason={reason}"
        listed = (await admin.get(EVENTS, params={"fieldSelector": selector}))["items"]
        messages = [str(item["message"]) for item in listed]
        told = [message for message in messages if all(word in message for word in words)]
        assert told, messages
        return told[0]

    return await wait_for(found, 15, f"the Event {reason} with {words}")


async def usable(admin: Admin, *namespaces: str) -> None:
    """Pods need the ServiceAccount that kube-controller-manager makes."""
    accounts = [f"{NAMESPACES}/{name}/serviceaccounts/default" for name in namespaces]

    async def are_made() -> bool:
        return None not in [await admin.find(account) for account in accounts]

    await wait_for(are_made, 20, f"the ServiceAccounts of {namespaces}")


# Before the others: those share an operator that runs until the end of this file.
async def test_it_ends_by_the_clock_with_the_operator_stopped(
    plane: Plane, admin: Admin, manifests: None, policies: None, tmp_path: Path
) -> None:
    name, place = "exempt-clock", "exempt-clock-a"
    try:
        async with run_operator(plane, tmp_path / "first") as operator:
            await wait_for(lambda: tenants.is_leading(operator), 30, "the operator to lead")
            # The pods' ServiceAccount comes first, so that nothing but the end is waited for.
            await life.create(admin, name, {"namespaces": [{"name": place}]})
            await life.ready(admin, name)
            await usable(admin, place)
            end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=15)
            await life.edit(admin, name, {"exemptions": [exemption(PORTS, place, "edge", end)]})
            await life.ready(admin, name)
            await admitted(admin, on_port("edge"), place)
        assert (await labels(admin, place))[ENFORCE] == "privileged"
        assert datetime.now(UTC) < end, "the operator stopped before the end"

        async def is_over() -> bool:
            return (await tried(admin, on_port("edge"), place)).status == 403

        await wait_for(is_over, 30, "the exemption to end")
        assert datetime.now(UTC) >= end
        await refused(admin, on_port("edge"), place, PORTS)
        assert "hostPorts" in (await annotations(admin, place))[EXEMPTIONS], "nobody has taken it away yet"
        async with run_operator(plane, tmp_path / "second") as operator:
            await _told_at_the_start(admin, operator, name, place)
    finally:
        await life.remove(admin, name)


async def _told_at_the_start(admin: Admin, operator: Operator, name: str, place: str) -> None:
    """The operator finds an exemption that ended while it was stopped."""
    uid = (await life.get(admin, name))["metadata"]["uid"]
    await event(admin, uid, "ExemptionEnded", PORTS, "CHG-7", "its end was")
    tenant = await life.ready(admin, name)
    assert (await annotations(admin, place))[EXEMPTIONS] == "v1"
    assert (await labels(admin, place))[ENFORCE] == "restricted"
    told = tenant["status"]["exemptions"]
    assert (told.get("active", 0), told["ended"], told["items"][0]["ended"]) == (0, 1, True)
    assert await operator.metric("securetenant_exemptions_active", tenant=name, control="runtime") == 0
    assert await life.drift(operator, name) == {}


async def test_it_lets_in_exactly_what_it_says(stage: Stage, policies: None, admin: Admin) -> None:
    name, (here, there) = "exempt-exact", ("exempt-exact-a", "exempt-exact-b")
    given = [exemption(WRITABLE, here, "vendor"), exemption(PORTS, here, "edge")]
    spec = {"namespaces": [{"name": here}, {"name": there}], "exemptions": given}
    tenant = await stage.tenant(name, spec)
    await usable(admin, here, there)
    await admitted(admin, pod("web"), here)
    await admitted(admin, writable("vendor"), here)
    await admitted(admin, on_port("edge"), here)
    await refused(admin, writable("web"), here, WRITABLE)
    await refused(admin, writable("vendor"), there, WRITABLE)
    await refused(admin, writable("edge"), here, WRITABLE)
    await refused(admin, on_port("vendor"), here, PORTS)
    # Pod Security knows whole levels: here it is lowered, and the policies refuse the rest of the level.
    assert [(await labels(admin, place))[ENFORCE] for place in (here, there)] == ["privileged", "restricted"]
    root = pod("edge", securityContext={"privileged": True, "allowPrivilegeEscalation": True})
    await refused(admin, root, here, "runtime/privileged", "runtime/privilegeEscalation")
    assert "PodSecurity" in (await tried(admin, on_port("edge"), there)).message
    status = (await tenant.get())["status"]["exemptions"]
    assert (status["active"], status["byControl"]) == (2, {"runtime": 2})
    assert {(item["check"], item["ticket"], item["approvedBy"]) for item in status["items"]} == {
        ("readOnlyRootFilesystem", "CHG-7", "ciso"),
        ("hostPorts", "CHG-7", "ciso"),
    }
    assert await stage.operator.metric("securetenant_exemptions_active", tenant=name, control="runtime") == 2
    uid = (await tenant.get())["metadata"]["uid"]
    for check in (WRITABLE, PORTS):
        await event(admin, uid, "ExemptionStarted", check, "CHG-7", "vendor image", "approved by ciso", "generation 1")


async def test_an_update_is_judged_without_it(stage: Stage, policies: None, admin: Admin) -> None:
    name, place = "exempt-update", "exempt-update-a"
    await stage.tenant(name, {"namespaces": [{"name": place}], "exemptions": [exemption(WRITABLE, place, "vendor")]})
    await usable(admin, place)
    made = f"{NAMESPACES}/{place}/pods/vendor-pod"
    await admin.create(f"{NAMESPACES}/{place}/pods", writable("vendor"))
    debug = [{"op": "add", "path": "/spec/ephemeralContainers", "value": [{**pods.CONTAINER, "name": "debug"}]}]
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "registry.example/other"}]
    for path, patch in ((f"{made}/ephemeralcontainers", debug), (made, image)):
        answer = await judging.verdict(admin, "PATCH", path, patch, content_type=JSON_PATCH)
        assert (answer.status, answer.fails) == (403, frozenset([WRITABLE])), answer
    label = [{"op": "add", "path": "/metadata/labels/seen", "value": "yes"}]
    answer = await judging.verdict(admin, "PATCH", made, label, content_type=JSON_PATCH)
    assert answer.status == 200, answer


async def test_modes(stage: Stage, policies: None, admin: Admin) -> None:
    name, place = "exempt-modes", "exempt-modes-a"
    spec = {"namespaces": [{"name": place}], "exemptions": [exemption(WRITABLE, place, "vendor")]}
    tenant = await stage.tenant(name, {**spec, "admission": "Warn"})
    await usable(admin, place)
    answer = await tried(admin, on_port("web"), place)
    assert (answer.status, "hostPorts" in answer.message) == (201, True), answer
    assert (await labels(admin, place))[ENFORCE] == "privileged"
    await tenant.edit({"admission": "Deny"})
    await refused(admin, writable("web"), place, WRITABLE)
    for mode in ("Paused", "Audit"):
        await life.edit(admin, name, {"mode": mode, "exemptions": []})

        async def is_seen(mode: str = mode) -> bool:
            return bool((await tenant.get())["status"]["mode"] == mode)

        await wait_for(is_seen, 20, f"the mode {mode}")
        # What was written stays in force, the exemption until its end.
        await admitted(admin, writable("vendor"), place)
        await refused(admin, writable("web"), place, WRITABLE)
    await life.edit(admin, name, {"mode": "Enforce"})
    await life.ready(admin, name)
    await refused(admin, writable("vendor"), place, WRITABLE)
    uid = (await tenant.get())["metadata"]["uid"]
    await event(admin, uid, "ExemptionEnded", WRITABLE, "no longer declared")


async def test_audit_from_the_start_writes_none(stage: Stage, policies: None, admin: Admin) -> None:
    name, place = "exempt-audit", "exempt-audit-a"
    await stage.namespace(place)
    spec = {"mode": "Audit", "namespaces": [{"name": place, "adopt": True}]}
    await stage.create(name, {**spec, "exemptions": [exemption(WRITABLE, place, "vendor")]})
    await life.settled(stage.operator, name)
    await usable(admin, place)
    assert EXEMPTIONS not in await annotations(admin, place)
    assert not [key for key in await labels(admin, place) if key.startswith("pod-security.kubernetes.io/")]
    await admitted(admin, on_port("web"), place)


async def test_retain_leaves_pod_security_and_no_exemption(stage: Stage, policies: None, admin: Admin) -> None:
    name, place = "exempt-retain", "exempt-retain-a"
    given = [exemption(PORTS, place, "edge"), exemption(WRITABLE, place, "vendor")]
    tenant = await stage.tenant(name, {"namespaces": [{"name": place}], "exemptions": given})
    await usable(admin, place)
    await admitted(admin, on_port("edge"), place)
    uid = (await tenant.get())["metadata"]["uid"]
    await tenant.delete()
    left = await labels(admin, place)
    assert left[ENFORCE] == "restricted", "not the lowered level"
    ours = {key for key in (*left, *await annotations(admin, place)) if key.startswith("securetenant.dev/")}
    assert ours == set()
    assert "PodSecurity" in (await tried(admin, on_port("edge"), place)).message
    # What Pod Security does not have is enforced no longer.
    await admitted(admin, writable("web"), place)
    for check in (PORTS, WRITABLE):
        await event(admin, uid, "ExemptionEnded", check, "the SecureTenant is deleted")
    await event(
        admin, uid, "Released", "not enforced any more: the checks of runtime (Pod Security stays, at restricted)"
    )
