"""The API server goes away, or a connection falls silent: the operator lives on, says so, and misses nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import Front, dead, free_lease, front, leads, run_behind
from tests.support.life import TENANTS
from tests.support.sandbox import Admin, Operator, Plane, run_operator, wait_for
from tests.support.shortened import shortened

pytestmark = pytest.mark.cluster

POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}-a/networkpolicies"
CONTACT: Final = "securetenant_informer_last_contact_timestamp_seconds"
# A watch that says nothing is given up after seconds here, not minutes.
IMPATIENT: Final = {
    "watch.kopf_thread.WATCH_SILENT": 2.0,
    "watch.supervise.WATCH_SILENT": 2.0,
    "kube.informer.Informer(read_deadline)": 2.0,
}


@pytest_asyncio.fixture
async def proxy(plane: Plane, admin: Admin, manifests: None) -> AsyncIterator[Front]:
    async with front(plane) as opened:
        yield opened


async def edited(admin: Admin, name: str) -> None:
    """Add a rule."""
    rules = [life.cidr_rule("office", "10.8.0.0/16"), life.cidr_rule("vpn", "10.7.0.0/16")]
    await life.edit(admin, name, {"network": {"ingress": rules}})


async def has(admin: Admin, name: str, policy: str, deadline: float = 15.0) -> None:
    path = f"{POLICIES.format(name)}/securetenant-{policy}"
    await wait_for(lambda: admin.find(path), deadline, f"{policy} of {name}")


async def test_the_api_server_restarts(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """What happens right after its return is seen: tampering by the informers, an edit by kopf's watcher."""
    if not plane.owned:
        pytest.skip("the API server of a cluster that is not the sandbox's is not ours to stop")
    name = "outage-restart"
    try:
        async with run_operator(plane, tmp_path, env={"SECURETENANT_LEASE_DURATION": "60"}) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            await asyncio.to_thread(plane.stop_apiserver)
            heard = await contacts(operator)
            assert (await operator.get("/healthz"))[0] == 200  # it retries: restarting it would help nobody
            await asyncio.to_thread(plane.start_apiserver)
            await admin.delete(f"{POLICIES.format(name)}/securetenant-default-deny")
            await edited(admin, name)
            await has(admin, name, "default-deny", 40)
            await has(admin, name, "ingress-vpn", 40)
            await life.ready(admin, name)
            assert operator.running
            assert await leads(operator)
            assert await life.drift(operator, name) == {("network", "Missing"): 1}
            await wait_for(lambda: all_later(operator, heard), 40, "news on every watch")
            assert (await operator.get("/healthz"))[0] == 200
    finally:
        await life.remove(admin, name)


async def contacts(operator: Operator) -> dict[str, float]:
    return {
        dict(labels)["kind"]: value for (name, labels), value in (await operator.metrics()).items() if name == CONTACT
    }


async def all_later(operator: Operator, before: dict[str, float]) -> bool:
    now = await contacts(operator)
    return len(before) >= 8 and all(now[kind] > heard for kind, heard in before.items())


async def test_a_short_outage_shows_in_the_metrics(proxy: Front, admin: Admin, tmp_path: Path) -> None:
    name = "outage-short"
    try:
        async with run_behind(proxy, tmp_path, env={"SECURETENANT_LEASE_DURATION": "30"}) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            proxy.fall()
            failed = await operator.metric("securetenant_api_requests_total", code="error")
            await wait_for(lambda: errors_past(operator, failed + 8), 10, "failed requests to be counted")
            heard = await contacts(operator)
            await edited(admin, name)
            await admin.delete(f"{POLICIES.format(name)}/securetenant-default-deny")
            await wait_for(lambda: errors_past(operator, failed + 16), 10, "more failed requests")
            assert await contacts(operator) == heard, "nobody was heard of meanwhile"
            proxy.down = False
            await has(admin, name, "default-deny")
            await has(admin, name, "ingress-vpn")
            await life.ready(admin, name)
            assert await leads(operator)
            assert await life.drift(operator, name) == {("network", "Missing"): 1}
            text = operator.tail(1000)
            assert text.count("cannot reach the API server") == 1
            assert text.count("the API server answers again") == 1
            assert text.count('"level":"warning"') <= 6, text
            assert "Traceback" not in text
            assert "ConnectionKey" not in text
    finally:
        await free_lease(admin)
        await life.remove(admin, name)


async def errors_past(operator: Operator, count: float) -> bool:
    return await operator.metric("securetenant_api_requests_total", code="error") >= count


async def test_an_outage_longer_than_the_lease_ends_the_process(proxy: Front, admin: Admin, tmp_path: Path) -> None:
    """It cannot know whether it still leads. Its successor finds all that happened."""
    name, env = "outage-long", {"SECURETENANT_LEASE_DURATION": "3"}
    try:
        async with run_behind(proxy, tmp_path, env=env) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            proxy.fall()
            assert await dead(operator) == 1
            assert "Lease is lost" in operator.tail()
        await admin.delete(f"{POLICIES.format(name)}/securetenant-default-deny")
        await edited(admin, name)
        async with run_behind(proxy, tmp_path, env=env, wait_ready=0) as operator:
            # It was started too early: it waits, and is not ready.
            await wait_for(lambda: unready(operator), 15, "/readyz to say that nothing is synced")
            proxy.down = False
            await has(admin, name, "default-deny", 20)
            await life.ready(admin, name)
            await has(admin, name, "ingress-vpn")
            assert await life.drift(operator, name) == {("network", "Missing"): 1}
            await wait_for(operator.ready, 10, "the watcher, which begins after the first look")
    finally:
        await free_lease(admin)
        await life.remove(admin, name)


async def unready(operator: Operator) -> bool:
    try:
        status, text = await operator.get("/readyz")
    except OSError:
        return False
    return status == 503 and "NetworkPolicy" in text


async def test_silent_connections_are_given_up(proxy: Front, admin: Admin, tmp_path: Path) -> None:
    """Watches that stand open and say nothing, as a firewall leaves them: events on new ones are heard."""
    name = "outage-silent"
    try:
        async with run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            await life.create(admin, name, life.spec(f"{name}-a"))
            await life.ready(admin, name)
            proxy.mute()
            await admin.delete(f"{POLICIES.format(name)}/securetenant-default-deny")
            await edited(admin, name)
            await has(admin, name, "default-deny")
            await has(admin, name, "ingress-vpn")
            await life.ready(admin, name)
            assert await life.drift(operator, name) == {("network", "Missing"): 1}
            assert (await operator.get("/healthz"))[0] == 200
    finally:
        await free_lease(admin)
        await life.remove(admin, name)


async def test_a_deletion_that_no_event_told_of(proxy: Front, admin: Admin, tmp_path: Path) -> None:
    """A tenant without finalizer goes while the watcher hears nothing, and its history is compacted (410): it is
    forgotten all the same, and its claim to a namespace with it."""
    one, two, space = "outage-ghost", "outage-heir", "outage-heir-a"
    try:
        async with run_behind(proxy, tmp_path, env=shortened(tmp_path, IMPATIENT)) as operator:
            await life.create(admin, one, life.spec(space, mode="Audit"))
            await life.settled(operator, one)
            await life.create(admin, two, life.spec(space))

            async def is_refused() -> bool:
                return life.condition(await life.get(admin, two), "NamespacesReady").get("reason") == "Conflict"

            await wait_for(is_refused, 10, "the younger to be refused")
            proxy.expired.add("/securetenants")
            proxy.mute()
            await admin.delete(f"{TENANTS}/{one}")
            await life.ready(admin, two, 15)
            assert proxy.expired == set()
            assert not [metric for metric, labels in await operator.metrics() if ("tenant", one) in labels]
    finally:
        await free_lease(admin)
        await life.remove(admin, one, two)
