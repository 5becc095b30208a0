"""What cannot be known is never shown as in order; and what fails in one place holds nothing up elsewhere."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox import nodes
from tests.support import life
from tests.support.fault import front, run_behind
from tests.support.life import TENANTS
from tests.support.sandbox import JSON_PATCH, Admin, Operator, Plane, run_operator, wait_for
from tests.support.shortened import shortened
from tests.support.tenants import POLICIES

pytestmark = pytest.mark.cluster
BINDING: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/securetenant-controller"
# A kind that fails is stale after seconds here, not a minute; what RBAC forbids is asked for again soon.
IMPATIENT: Final = {
    "engine.informers.STALE": 1.0,
    "engine.health.PULSE": 0.2,
    "kube.informer.FORBIDDEN_SECONDS": 0.5,
    "kube.informer.WATCH_SECONDS": (1, 1),
}
# One tenant's data brings a defect out.
DEFECT: Final = """
import securetenant.controls.registry as r
from dataclasses import replace
from securetenant.controls import limits
def plan(tenant, world, now):
    if tenant.spec.display_name == "defect":
        raise ZeroDivisionError("of a test")
    return limits.plan(tenant, world, now)
r.CONTROLS = tuple(replace(c, plan=plan) if c.name == "limits" else c for c in r.CONTROLS)
"""
# Watches that hear nothing are never given up; the probe is not patient.
SILENT: Final = {"engine.informers.SILENT": 3.0, "watch.supervise.SILENT": 3.0}


async def ready_is(admin: Admin, name: str, status: str, reason: str, words: str = "") -> dict[str, Any]:
    async def is_so() -> dict[str, Any]:
        found = life.condition(await life.get(admin, name), "Ready")
        assert (found.get("status"), found.get("reason")) == (status, reason), found
        assert words in found["message"]
        return found

    return await wait_for(is_so, 20, f"{name} to be Ready {status} {reason}")


@contextlib.asynccontextmanager
async def without_right(admin: Admin, resource: str) -> AsyncIterator[None]:
    """The operator's ClusterRole without the rule for a resource, until the end of the block."""
    rules = (await admin.get(BINDING))["rules"]
    less = [rule for rule in rules if resource not in rule["resources"]]
    assert len(less) < len(rules)
    await admin.patch(BINDING, [{"op": "replace", "path": "/rules", "value": less}], JSON_PATCH)
    try:
        yield
    finally:
        await admin.patch(BINDING, [{"op": "replace", "path": "/rules", "value": rules}], JSON_PATCH)


async def test_a_kind_that_cannot_be_watched_any_more(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """Its cache proves nothing: neither Ready nor "no drift" may be read out of it."""
    name = "unknown-kind"
    try:
        async with run_operator(plane, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            async with without_right(admin, "limitranges"):
                await ready_is(admin, name, "Unknown", "NotJudged", "LimitRange cannot be watched")
                assert life.condition(await life.get(admin, name), "Drifted")["status"] == "Unknown"
                labels = {"tenant": name, "control": "limits", "reason": "Missing"}
                assert not [
                    metric
                    for metric, given in await operator.metrics()
                    if metric == "securetenant_drift_objects" and labels.items() <= set(given)
                ]
                # Of the other kinds all is heard, and kept.
                path = f"{POLICIES.format(f'{name}-a')}/securetenant-default-deny"
                await admin.delete(path)
                await wait_for(lambda: admin.find(path), 10, "the policy to be back")
            await life.ready(admin, name)
    finally:
        await life.remove(admin, name)


async def test_a_defect_in_one_tenants_pass(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    sick, well = "unknown-sick", "unknown-well"
    try:
        async with run_operator(plane, tmp_path, env=shortened(tmp_path, {}, DEFECT)) as operator:
            for name in (sick, well):
                await life.create(admin, name, life.spec(f"{name}-a"))
            for name in (sick, well):
                await life.ready(admin, name)
            await life.edit(admin, sick, {"displayName": "defect"})
            found = await ready_is(admin, sick, "Unknown", "NotJudged")
            assert "ZeroDivisionError" in found["message"]
            assert life.condition(await life.get(admin, sick), "Drifted")["status"] == "Unknown"
            assert "of a test" in operator.tail()
            path = f"{POLICIES.format(f'{well}-a')}/securetenant-default-deny"
            await admin.delete(path)
            await wait_for(lambda: admin.find(path), 10, "the other tenant's policy to be back")
            await life.edit(admin, sick, {"displayName": "mended"})
            await life.ready(admin, sick)
    finally:
        await life.remove(admin, sick, well)


async def test_a_silent_watcher_fails_the_probe(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """Each kind of its own, SecureTenants among them: they are kopf's."""
    async with front(plane) as proxy, run_behind(proxy, tmp_path, env=shortened(tmp_path, SILENT)) as operator:
        assert (await operator.get("/healthz"))[0] == 200
        proxy.mute()

        async def is_told() -> bool:
            status, text = await operator.get("/healthz")
            assert status == 503
            return {"SecureTenant", "Namespace", "NetworkPolicy"} <= {line.split(":")[0] for line in text.splitlines()}

        await wait_for(is_told, 20, "/healthz to name the silent watchers")
        assert operator.running


async def test_what_kopf_asks_and_hears_is_counted(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    name = "unknown-kopf"
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            asked = {"kind": "SecureTenant", "code": "200"}
            await wait_for(
                lambda: operator.metric("securetenant_api_requests_total", verb="watch", **asked), 10, "kopf's watch"
            )
            assert await operator.metric("securetenant_informer_objects", kind="SecureTenant") == 1
            heard = "securetenant_informer_last_contact_timestamp_seconds"
            assert await operator.metric(heard, kind="SecureTenant") > datetime.now(UTC).timestamp() - 60
    finally:
        await life.remove(admin, name)


async def test_an_edit_that_no_pass_gets_through_with_shows_as_lag(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    name = "unknown-lag"
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            assert await operator.metric("securetenant_tenant_generation_lag", tenant=name) == 0
            async with without_right(admin, "securetenants/status"):
                await life.edit(admin, name, {"displayName": "edited"})
                await wait_for(lambda: lags(operator, name, 1), 10, "the lag to show")
            await wait_for(lambda: lags(operator, name, 0), 20, "the lag to be over")
    finally:
        await life.remove(admin, name)


async def lags(operator: Operator, name: str, by: int) -> bool:
    return await operator.metric("securetenant_tenant_generation_lag", tenant=name) == by


async def test_a_rule_ends_in_time_beside_a_write_that_fails(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """Nodes without the opt-in rights: tried again with a growing pause, which is not the expiry's."""
    name = "unknown-expiry"
    (node,) = nodes.create(plane, 1, {"pool": name}, prefix=name)
    try:
        # Pauses of a minute from the first failure on.
        pauses = {"engine.workqueue.WorkQueue(base_delay)": 60.0, "engine.workqueue.WorkQueue(soon_delay)": 60.0}
        async with run_operator(plane, tmp_path, env=shortened(tmp_path, pauses)):
            end = datetime.now(UTC) + timedelta(seconds=4)
            rule = {**life.cidr_rule("office", "10.8.0.0/16"), "expires": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
            selector = {"selector": {"matchLabels": {"pool": name}}}
            await life.create(admin, name, life.spec(f"{name}-a", network={"ingress": [rule]}, nodes=selector))
            path = f"{POLICIES.format(f'{name}-a')}/securetenant-ingress-office"
            await wait_for(lambda: admin.find(path), 3, "the rule to open")
            await ready_is(admin, name, "False", "WriteFailed")
            await life.gone(admin, path, 10)
            assert datetime.now(UTC) > end.replace(microsecond=0)
    finally:
        await admin.delete(f"/api/v1/nodes/{node}")
        await life.remove(admin, name)


async def test_ready_does_not_speak_of_an_edit_that_is_not_written(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """A write that meets a conflict is tried again in silence, and `kubectl wait` must not go on meanwhile."""
    name = "unknown-edit"
    said: list[tuple[int, int]] = []
    try:
        async with front(plane) as proxy, run_behind(proxy, tmp_path):
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            mark = proxy.mark()
            proxy.conflicts.add("securetenant-ingress-office")
            rules = [life.cidr_rule("office", "10.9.0.0/16")]
            edited = await life.edit(admin, name, {"network": {"ingress": rules}})
            await life.ready(admin, name)
            assert proxy.conflicts == set(), "no conflict was met"
            policy = f"{POLICIES.format(f'{name}-a')}/securetenant-ingress-office"
            generation = edited["metadata"]["generation"]
            for number, seen in enumerate(proxy.since(mark)):
                if seen.is_write and seen.path == policy:
                    said.append((number, 0))
                if f'"observedGeneration":{generation}' in seen.body and seen.path == f"{TENANTS}/{name}/status":
                    said.append((number, generation))
            # The refused write, the one that succeeded, and only then the status that says so.
            assert [told for _, told in said] == [0, 0, generation], said
    finally:
        await life.remove(admin, name)
