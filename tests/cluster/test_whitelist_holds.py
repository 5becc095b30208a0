"""WhitelistHolds under a running operator: what others open is told within a second, and nothing ordinary is."""

import asyncio
import json
from datetime import datetime
from typing import Any, Final

import pytest

from sandbox.cni import crds
from securetenant.model.kinds import CALICO_NETWORK_POLICY, CLUSTER_NETWORK_POLICY, NETWORK_POLICY
from tests.support import life
from tests.support.foreign_kinds import SCHEMAS
from tests.support.life import TENANTS, Json
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import Stage, Tenant, peer_rule

pytestmark = pytest.mark.cluster
NAME: Final = "kubernetes.io/metadata.name"
CONDITION: Final = "WhitelistHolds"
FOREIGN: Final = ("network", "Foreign")


def space(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {NAME: name}}}


async def policy(admin: Admin, namespace: str, name: str, **rules: Any) -> Json:
    types = [side.capitalize() for side in rules]
    spec = {"podSelector": {}, "policyTypes": types, **rules}
    made: Json = await admin.create(NETWORK_POLICY.path(namespace), {"metadata": {"name": name}, "spec": spec})
    return made


async def holds(tenant: Tenant, status: str, reason: str) -> Json:
    """Wait until the condition says so; the tenant."""

    async def is_so() -> Json:
        got = await tenant.get()
        found = life.condition(got, CONDITION)
        assert (found.get("status"), found.get("reason")) == (status, reason), found
        return got

    return await wait_for(is_so, 20, f"{CONDITION} of {tenant.name} to be {status}, {reason}")


async def unexpected(tenant: Tenant) -> dict[str, float]:
    """The metric, by direction."""
    metrics = await tenant.operator.metrics()
    return {
        dict(labels)["direction"]: value
        for (name, labels), value in metrics.items()
        if name == "securetenant_whitelist_unexpected_flows" and ("tenant", tenant.name) in labels
    }


async def told(admin: Admin, name: str, reason: str) -> list[str]:
    """The messages of the Events about a tenant."""
    found = (await admin.get("/api/v1/namespaces/default/events"))["items"]
    return [one["message"] for one in found if (one["involvedObject"]["name"], one["reason"]) == (name, reason)]


async def history(admin: Admin, version: str, *names: str) -> list[Json]:
    """The conditions that these tenants' statuses have had since then, in order."""
    params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"}
    _, answer = await admin.request("GET", TENANTS, params=params)
    lines = [answer] if isinstance(answer, dict) else [json.loads(line) for line in answer.splitlines()]
    assert all(line["type"] in ("ADDED", "MODIFIED", "DELETED") for line in lines), lines
    found = [line["object"] for line in lines if line["object"]["metadata"]["name"] in names]
    return [life.condition(one, CONDITION) for one in found if "status" in one]


async def version(admin: Admin) -> str:
    return str((await admin.get(TENANTS))["metadata"]["resourceVersion"])


async def test_what_others_open_is_told_and_is_over(stage: Stage) -> None:
    tenant = await stage.tenant("wh-a", {"namespaces": [{"name": "wh-a1"}]})
    await stage.namespace("wh-free")
    await holds(tenant, "True", "AsDeclared")
    assert await unexpected(tenant) == {"ingress": 0, "egress": 0}
    made = await policy(stage.admin, "wh-a1", "theirs", ingress=[{"from": [space("wh-free")], "ports": [{"port": 80}]}])
    got = await holds(tenant, "False", "Unexpected")
    found = life.condition(got, CONDITION)
    changed = datetime.fromisoformat(found["lastTransitionTime"])
    # Both are in whole seconds.
    assert (changed - datetime.fromisoformat(made["metadata"]["creationTimestamp"])).total_seconds() <= 2
    assert "NetworkPolicy/theirs" in found["message"]
    (flow,) = got["status"]["reachability"]["unexpected"]
    assert (flow["direction"], flow["namespace"], flow["ports"]) == ("ingress", "wh-a1", "TCP 80")
    assert flow["policy"] == "NetworkPolicy/theirs"
    await tenant.reported(FOREIGN)

    async def is_ready() -> bool:
        ready = await tenant.condition("Ready")
        assert ready["status"] == "True", ready
        return True

    # As for all foreign policies that are only reported. It waits for what else there is, such as the first probe.
    await wait_for(is_ready, 20, "the tenant to be Ready all the same")
    assert await unexpected(tenant) == {"ingress": 1, "egress": 0}

    async def is_told() -> bool:
        return any("NetworkPolicy/theirs" in message for message in await told(stage.admin, "wh-a", "Unexpected"))

    await wait_for(is_told, 20, "the Event")
    await stage.admin.delete(NETWORK_POLICY.path("wh-a1", "theirs"))
    got = await holds(tenant, "True", "AsDeclared")
    assert "reachability" not in got["status"]
    await tenant.cleared(FOREIGN)
    assert await unexpected(tenant) == {"ingress": 0, "egress": 0}


async def test_what_the_other_end_closes_is_not_open(stage: Stage) -> None:
    """And it is looked at again when the other end changes, be that a tenant's or nobody's namespace."""
    tenant = await stage.tenant("wh-b", {"namespaces": [{"name": "wh-b1"}]})
    other = await stage.tenant("wh-c", {"namespaces": [{"name": "wh-c1"}]})
    await stage.namespace("wh-shut", labels={"side": "shut"})
    await policy(stage.admin, "wh-shut", "deny", ingress=[], egress=[])
    to = [space("wh-c1"), {"namespaceSelector": {"matchLabels": {"side": "shut"}}}]
    await policy(stage.admin, "wh-b1", "theirs", egress=[{"to": to}])
    await tenant.reported(FOREIGN)
    await holds(tenant, "True", "AsDeclared")

    await policy(stage.admin, "wh-c1", "open", ingress=[{"from": [space("wh-b1")], "ports": [{"port": 5432}]}])
    got = await holds(tenant, "False", "Unexpected")
    (flow,) = got["status"]["reachability"]["unexpected"]
    assert (flow["direction"], flow["ports"], flow["policy"]) == ("egress", "TCP 5432", "NetworkPolicy/theirs")
    await holds(other, "False", "Unexpected")
    await stage.admin.delete(NETWORK_POLICY.path("wh-c1", "open"))
    await holds(tenant, "True", "AsDeclared")

    await stage.admin.delete(NETWORK_POLICY.path("wh-shut", "deny"))
    await holds(tenant, "False", "Unexpected")
    await policy(stage.admin, "wh-shut", "deny", ingress=[], egress=[])
    await holds(tenant, "True", "AsDeclared")
    # A namespace that comes to be selected.
    await stage.namespace("wh-more", labels={"side": "shut"})
    await holds(tenant, "False", "Unexpected")
    await stage.admin.patch("/api/v1/namespaces/wh-more", {"metadata": {"labels": {"side": "other"}}})
    await holds(tenant, "True", "AsDeclared")
    await stage.admin.delete(NETWORK_POLICY.path("wh-b1", "theirs"))
    await tenant.cleared(FOREIGN)


async def test_in_audit_what_stands_counts(stage: Stage) -> None:
    tenant = await stage.tenant("wh-d", {"namespaces": [{"name": "wh-d1"}]})
    await life.edit(stage.admin, "wh-d", {"mode": "Audit"})
    await holds(tenant, "True", "AsDeclared")
    await stage.admin.delete(NETWORK_POLICY.path("wh-d1", "securetenant-default-deny"))
    await tenant.reported(("network", "Missing"))
    # The policy for the namespace itself selects all its pods as well: alone it still closes.
    await holds(tenant, "True", "AsDeclared")
    await stage.admin.delete(NETWORK_POLICY.path("wh-d1", "securetenant-isolation"))
    got = await holds(tenant, "False", "Unexpected")
    assert "no policy closes it" in life.condition(got, CONDITION)["message"]
    await life.edit(stage.admin, "wh-d", {"mode": "Paused"})
    got = await holds(tenant, "Unknown", "NotJudged")
    assert "reachability" not in got["status"]
    assert await unexpected(tenant) == {}
    await life.edit(stage.admin, "wh-d", {"mode": "Enforce"})
    await holds(tenant, "True", "AsDeclared")


async def test_policies_of_the_tier_admin_count(stage: Stage) -> None:
    admin, kind = stage.admin, CLUSTER_NETWORK_POLICY
    agreed = {"name": "near", "from": [{"namespace": "wh-near"}], "ports": [{"port": 80}]}
    await stage.namespace("wh-near")
    await stage.namespace("wh-far")
    tenant = await stage.tenant("wh-h", {"namespaces": [{"name": "wh-h1"}], "network": {"ingress": [agreed]}})

    async def put(action: str, source: str) -> None:
        subject = {"namespaces": {"matchLabels": {NAME: "wh-h1"}}}
        rule = {"action": action, "from": [{"namespaces": {"matchLabels": {NAME: source}}}]}
        spec = {"tier": "Admin", "priority": 10, "subject": subject, "ingress": [rule]}
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": "wh-theirs"}, "spec": spec}
        await admin.create(kind.path(), body)

    async with crds.served(admin, SCHEMAS[kind]):
        await holds(tenant, "True", "AsDeclared")
        await put("Accept", "wh-far")
        got = await holds(tenant, "False", "Unexpected")
        (flow,) = got["status"]["reachability"]["unexpected"]
        assert (flow["direction"], flow["namespace"], flow["ports"]) == ("ingress", "wh-h1", "all ports")
        assert flow["policy"] == "ClusterNetworkPolicy/wh-theirs"
        # It opens nothing where the other end is closed, and is looked at again when that changes.
        await policy(admin, "wh-far", "deny", egress=[])
        await holds(tenant, "True", "AsDeclared")
        await admin.delete(NETWORK_POLICY.path("wh-far", "deny"))
        await holds(tenant, "False", "Unexpected")
        await admin.delete(kind.path("", "wh-theirs"))
        await holds(tenant, "True", "AsDeclared")
        await put("Deny", "wh-near")
        got = await holds(tenant, "False", "Blocked")
        (flow,) = got["status"]["reachability"]["blocked"]
        assert (flow["direction"], flow["ports"]) == ("ingress", "TCP 80")
        assert flow["policy"] == "ClusterNetworkPolicy/wh-theirs"
        await admin.delete(kind.path("", "wh-theirs"))
        got = await holds(tenant, "True", "AsDeclared")
        assert "reachability" not in got["status"]


async def test_what_is_not_understood_is_unknown(stage: Stage) -> None:
    tenant = await stage.tenant("wh-e", {"namespaces": [{"name": "wh-e1"}], "network": {"foreign": "Ignore"}})
    kind = CALICO_NETWORK_POLICY
    async with crds.served(stage.admin, SCHEMAS[kind]):
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": "theirs"}}
        spec = {"selector": "all()", "ingress": [{"action": "Allow"}]}
        await stage.admin.create(kind.path("wh-e1"), {**body, "spec": spec})
        got = await holds(tenant, "Unknown", "NotUnderstood")
        assert "theirs" in life.condition(got, CONDITION)["message"]
        assert await unexpected(tenant) == {}
        await stage.admin.delete(kind.path("wh-e1", "theirs"))
        await holds(tenant, "True", "AsDeclared")


async def test_nothing_ordinary_shows_otherwise(stage: Stage) -> None:
    """Not one status of a creation, an agreement, an edit, a narrowing and an end says anything but True."""
    admin = stage.admin
    before = await version(admin)
    a = await stage.tenant("wh-f", {"namespaces": [{"name": "wh-f1"}, {"name": "wh-f2"}]})
    b = await stage.tenant("wh-g", {"namespaces": [{"name": "wh-g1"}]})
    out = peer_rule("out", "egress", {"tenant": "wh-g"}, ports=[80, 81])
    into = peer_rule("in", "ingress", {"tenant": "wh-f"}, ports=[80])
    await asyncio.gather(
        life.edit(admin, "wh-f", {"network": {"egress": [out]}}),
        life.edit(admin, "wh-g", {"network": {"ingress": [into]}}),
    )
    await a.agrees()
    await b.agrees()
    narrowed = {**into, "to": {"pods": {"matchLabels": {"app": "db"}}}}
    await b.edit({"network": {"ingress": [narrowed]}})
    await b.edit({"network": {"ingress": [{**narrowed, "name": "renamed"}]}})
    await a.edit({"network": {"isolation": "Tenant"}})
    await a.edit({"namespaces": [{"name": "wh-f1"}, {"name": "wh-f3"}]})
    await b.edit({"network": {"ingress": []}})
    await a.edit({"network": {"egress": []}})
    # What is put back at once is not told either: it is drift, and over when the status is written.
    await admin.delete(NETWORK_POLICY.path("wh-f1", "securetenant-isolation"))
    await a.healed(("network", "Missing"))
    seen = await history(admin, before, "wh-f", "wh-g")
    assert len(seen) > 8
    said = {(one["status"], one["reason"]) for one in seen if one}
    assert said == {("True", "AsDeclared")}
