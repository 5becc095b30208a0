"""Flows between tenants, on a real control plane: open only while both declare them, and exactly as far."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.support import life, tenants
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import POLICIES, Stage, Tenant, peer_rule

pytestmark = pytest.mark.cluster
OURS: Final = {"securetenant-default-deny", "securetenant-dns", "securetenant-isolation"}


def spec(*namespaces: str, ingress: list[Any] | None = None, egress: list[Any] | None = None) -> dict[str, Any]:
    network = {"ingress": ingress or [], "egress": egress or []}
    return {"namespaces": [{"name": name} for name in namespaces], "network": network}


async def openings(admin: Admin, namespace: str) -> list[dict[str, Any]]:
    """The specs of the policies there that rules made."""
    found = await tenants.bodies(admin, POLICIES.format(namespace))
    assert found.keys() >= OURS
    return [body["spec"] for name, body in sorted(found.items()) if name not in OURS]


async def opened(admin: Admin, *namespaces: str) -> None:
    """Wait until one rule is open in each."""

    async def is_open() -> bool:
        for namespace in namespaces:
            assert len(await openings(admin, namespace)) == 1, namespace
        return True

    await wait_for(is_open, 20, f"a rule to be open in {namespaces}")


async def closed(admin: Admin, *namespaces: str) -> None:
    """Wait until no rule is open in any."""

    async def is_closed() -> bool:
        for namespace in namespaces:
            assert await openings(admin, namespace) == [], namespace
        return True

    await wait_for(is_closed, 20, f"no rule to be open in {namespaces}")


async def pending(tenant: Tenant) -> str:
    """Wait until exactly one flow is pending; why it is."""

    async def reason() -> str:
        whitelist = (await tenant.get())["status"].get("whitelist", {})
        assert whitelist.get("pendingCount") == 1, whitelist
        return str(whitelist["pending"][0]["reason"])

    told = await wait_for(reason, 20, "one pending flow")
    assert (await tenant.condition("WhitelistAgreed"))["status"] == "False"
    assert (await tenant.condition("Ready"))["status"] == "True"  # it is the other's to do, and no error
    assert await tenant.operator.metric("securetenant_whitelist_flows", tenant=tenant.name, state="pending") == 1
    return told


async def test_one_side_is_pending_and_both_are_open(stage: Stage) -> None:
    a = await stage.tenant("wl-a", spec("wl-a1", egress=[peer_rule("out", "egress", {"tenant": "wl-b"}, ports=[80])]))
    assert "there is no tenant wl-b" in await pending(a)
    b = await stage.tenant("wl-b", spec("wl-b1"))
    assert "ask its owner" in await pending(a)
    assert await openings(stage.admin, "wl-a1") == []

    # Matched by what they allow, not by the rules' names.
    rule = peer_rule("in", "ingress", {"tenant": "wl-a"}, ports=[80])
    await b.edit({"network": {"ingress": [rule]}})
    await opened(stage.admin, "wl-a1", "wl-b1")
    ports = [{"protocol": "TCP", "port": 80}]
    to = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "wl-b1"}}}
    assert await openings(stage.admin, "wl-a1") == [
        {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [to], "ports": ports}]}
    ]
    of = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "wl-a1"}}}
    assert await openings(stage.admin, "wl-b1") == [
        {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [of], "ports": ports}]}
    ]
    await a.agrees("what the other one's edit opened to be no drift")
    assert (await a.condition("WhitelistAgreed"))["status"] == "True"

    await b.edit({"network": {"ingress": []}})
    await closed(stage.admin, "wl-a1", "wl-b1")
    await a.agrees("what the other one's edit closed to be no drift")
    await pending(a)


async def test_partial_overlaps_open_the_intersection(stage: Stage) -> None:
    out = {
        "name": "out",
        "from": {"namespaces": ["wl-p1"], "pods": {"matchLabels": {"app": "client"}}},
        "to": [{"tenant": "wl-q", "namespaces": ["wl-q1", "wl-q2"], "pods": {"matchLabels": {"app": "server"}}}],
        "ports": [{"port": 8000, "endPort": 8100}, {"protocol": "UDP", "port": 53}],
    }
    into = {
        "name": "in",
        "to": {"namespaces": ["wl-q2", "wl-q3"], "pods": {"matchLabels": {"tier": "web"}}},
        "from": [{"tenant": "wl-p"}],
        "ports": [{"port": 8050, "endPort": 9000}],
    }
    p = await stage.tenant("wl-p", spec("wl-p1", "wl-p2", egress=[out]))
    await stage.tenant("wl-q", spec("wl-q1", "wl-q2", "wl-q3", ingress=[into]))
    await opened(stage.admin, "wl-p1", "wl-q2")
    ports = [{"protocol": "TCP", "port": 8050, "endPort": 8100}]
    server = {"matchLabels": {"app": "server", "tier": "web"}}
    there = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "wl-q2"}},
        "podSelector": server,
    }
    client = {"matchLabels": {"app": "client"}}
    assert await openings(stage.admin, "wl-p1") == [
        {"podSelector": client, "policyTypes": ["Egress"], "egress": [{"to": [there], "ports": ports}]}
    ]
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "wl-p1"}}, "podSelector": client}
    assert await openings(stage.admin, "wl-q2") == [
        {"podSelector": server, "policyTypes": ["Ingress"], "ingress": [{"from": [here], "ports": ports}]}
    ]
    await closed(stage.admin, "wl-p2", "wl-q1", "wl-q3")
    await p.agrees()


async def test_a_rule_closes_at_its_time_on_both_sides(stage: Stage) -> None:
    """No event but the clock: the one that expires is `wl-s`'s, and `wl-r`'s counterpart rests on it."""
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    out = peer_rule("out", "egress", {"tenant": "wl-s"})
    into = peer_rule("in", "ingress", {"tenant": "wl-r"}, expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"))
    r, s = await asyncio.gather(
        stage.tenant("wl-r", spec("wl-r1", egress=[out])), stage.tenant("wl-s", spec("wl-s1", ingress=[into]))
    )
    await opened(stage.admin, "wl-r1", "wl-s1")
    assert datetime.now(UTC) < expires, "the machine was too slow for this test"
    metric = "securetenant_whitelist_expiry_timestamp_seconds"
    assert await stage.operator.metric(metric, tenant="wl-s") == expires.timestamp()
    await closed(stage.admin, "wl-r1", "wl-s1")
    late = (datetime.now(UTC) - expires).total_seconds()
    assert 0 <= late < 3
    await asyncio.gather(r.agrees("its end to be no drift"), s.agrees("its end to be no drift"))
    whitelist = (await s.get())["status"]["whitelist"]
    assert whitelist["expiredCount"] == 1
    assert "expired" in await pending(r)

    later = into | {"expires": (expires + timedelta(days=400)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    await s.edit({"network": {"ingress": [later]}})
    await opened(stage.admin, "wl-r1", "wl-s1")


async def test_a_platform_namespace_that_does_not_exist_is_pending(stage: Stage) -> None:
    into = peer_rule("hub", "ingress", {"namespace": "wl-hub"}, ports=[443])
    tenant = await stage.tenant("wl-x", spec("wl-x1", ingress=[into]))
    assert "there is no namespace wl-hub" in await pending(tenant)
    assert await openings(stage.admin, "wl-x1") == []
    await stage.namespace("wl-hub")
    await opened(stage.admin, "wl-x1")
    await tenant.agrees("what its coming opened to be no drift")
    assert (await tenant.condition("WhitelistAgreed"))["status"] == "True"
    await stage.admin.delete("/api/v1/namespaces/wl-hub")
    await closed(stage.admin, "wl-x1")
    await tenant.agrees("what its going closed to be no drift")
    assert "there is no namespace wl-hub" in await pending(tenant)


async def test_a_platform_namespace_that_becomes_a_tenants_has_to_agree(stage: Stage) -> None:
    await stage.namespace("wl-edge")
    into = peer_rule("edge", "ingress", {"namespace": "wl-edge"}, ports=[443])
    tenant = await stage.tenant("wl-t", spec("wl-t1", ingress=[into]))
    await opened(stage.admin, "wl-t1")
    owner = await stage.tenant("wl-u", {"namespaces": [{"name": "wl-edge", "adopt": True}]})
    await closed(stage.admin, "wl-t1")
    assert "belongs to tenant wl-u" in await pending(tenant)
    await tenant.agrees("that to be no drift")
    out = peer_rule("out", "egress", {"tenant": "wl-t"}, ports=[443])
    await owner.edit({"network": {"egress": [out]}})
    await opened(stage.admin, "wl-t1", "wl-edge")
    await tenant.agrees("that to be no drift")


async def test_a_peer_that_is_deleted_closes(stage: Stage) -> None:
    out = peer_rule("out", "egress", {"tenant": "wl-w"})
    tenant = await stage.tenant("wl-v", spec("wl-v1", egress=[out]))
    peer = await stage.tenant("wl-w", spec("wl-w1", ingress=[peer_rule("in", "ingress", {"tenant": "wl-v"})]))
    stage.places.append("wl-w1")
    await opened(stage.admin, "wl-v1", "wl-w1")
    await peer.delete()
    await closed(stage.admin, "wl-v1")

    async def is_told() -> bool:
        return "there is no tenant wl-w" in await pending(tenant)

    await wait_for(is_told, 10, "the pending flow to say that the peer is gone")
    await tenant.agrees("that to be no drift")
    assert life.marked(await life.picture(stage.admin, ["wl-w1"])) == []
