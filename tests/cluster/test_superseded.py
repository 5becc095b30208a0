"""A flow that is declared before and after is at no moment closed because another policy opens it now."""

import json
from pathlib import Path
from typing import Any

import pytest

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.model.record import annotation
from tests.support import life, tenants
from tests.support.admission import refused
from tests.support.sandbox import Admin, ApiError, Plane, run_operator, wait_for
from tests.support.tenants import POLICIES, Stage, peer_rule

pytestmark = pytest.mark.cluster


async def version(admin: Admin, collection: str) -> str:
    return str((await admin.get(collection))["metadata"]["resourceVersion"])


async def since(admin: Admin, collection: str, before: str) -> list[set[str]]:
    """The names that stood in the collection after each event since that resource version."""
    standing = {item["metadata"]["name"] for item in (await admin.get(collection))["items"]}
    watch = {"watch": "1", "resourceVersion": before, "timeoutSeconds": "1"}
    status, text = await admin.request("GET", collection, params=watch)
    assert status == 200, text
    lines = [text] if isinstance(text, dict) else [json.loads(line) for line in text.splitlines()]
    found: list[set[str]] = []
    for event in reversed(lines):
        found.append(set(standing))
        name = event["object"]["metadata"]["name"]
        if event["type"] == "ADDED":
            standing.discard(name)
        elif event["type"] == "DELETED":
            standing.add(name)
    return [standing, *reversed(found)]


async def test_an_upgrade_renames_without_a_gap(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """Version 0.1 wrote a rule that its peer narrows under a name that another rule might have."""
    client, server = {"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}
    reaching = {"name": "x", "from": {"pods": client}, "to": [{"tenant": "sup-b"}], "ports": [{"port": 80}]}
    admitting = {"name": "x", "from": [{"tenant": "sup-a", "pods": server}], "ports": [{"port": 80}]}
    spec = {
        "sup-a": {"namespaces": [{"name": "sup-a-1"}], "network": {"egress": [reaching]}},
        "sup-b": {"namespaces": [{"name": "sup-b-1"}], "network": {"ingress": [admitting]}},
    }
    collection = POLICIES.format("sup-a-1")
    try:
        async with run_operator(plane, tmp_path, name="before"):
            for name, declared in spec.items():
                await life.create(admin, name, declared)

            async def narrowed() -> str:
                assert await life.is_ready(admin, "sup-b")
                tenant = await life.is_ready(admin, "sup-a")
                found = [n for n in await tenants.bodies(admin, collection) if n.startswith("securetenant-egress")]
                assert len(found) == tenant["status"]["whitelist"].get("agreed") == 1
                return found[0]

            new = await wait_for(narrowed, 20, "the flow to be open")
        assert new.startswith("securetenant-egress-x."), new

        old = "securetenant-egress-x-2bcb8533"
        tenant, body = await life.get(admin, "sup-a"), await admin.get(f"{collection}/{new}")
        await admin.delete(f"{collection}/{new}")
        desired = Desired(Ref(NETWORK_POLICY, "sup-a-1", old), "network", {"spec": body["spec"]})
        applied = {life.APPLIED: annotation(desired, "sup-a", tenant["metadata"]["uid"])}
        metadata = {"name": old, "labels": body["metadata"]["labels"], "annotations": applied}
        await admin.create(collection, {"metadata": metadata, "spec": body["spec"]})
        recorded = tenant["status"]["applied"]
        recorded["sup-a-1"] = [entry.replace(new, old) for entry in recorded["sup-a-1"]]
        await admin.patch(f"{life.TENANTS}/sup-a/status", {"status": {"applied": recorded}})

        before = await version(admin, collection)
        async with run_operator(plane, tmp_path, name="after") as operator:
            await life.gone(admin, f"{collection}/{old}")
            await life.settled(operator, "sup-a")
            assert await life.drift(operator, "sup-a") == {}
            assert f"NetworkPolicy/{new}" in (await life.ready(admin, "sup-a"))["status"]["applied"]["sup-a-1"]
        stood = await since(admin, collection, before)
        assert [names & {old, new} for names in stood] == [{old}, {old, new}, {new}]
    finally:
        await life.remove(admin, "sup-a", "sup-b")


def cidr_rules(**names: str) -> dict[str, Any]:
    rules = [peer_rule(name, "ingress", {"cidr": cidr}, ports=[8443]) for name, cidr in names.items()]
    return {"network": {"ingress": rules}}


async def test_a_failed_write_keeps_the_flow_and_no_removed_rule(stage: Stage) -> None:
    """A rule is renamed and another one removed, and the policy of the new name is refused for a while."""
    spec = {"namespaces": [{"name": "sup-c-1"}], **cidr_rules(old="10.8.0.0/16", gone="10.9.0.0/16")}
    tenant = await stage.tenant("sup-c", spec)
    collection = POLICIES.format("sup-c-1")
    before = await version(stage.admin, collection)
    old, new, gone = (f"securetenant-ingress-{rule}" for rule in ("old", "new", "gone"))
    async with refused(stage.admin, collection, new):
        await life.edit(stage.admin, "sup-c", cidr_rules(new="10.8.0.0/16"))
        await life.gone(stage.admin, f"{collection}/{gone}")

        async def is_told() -> bool:
            return new in (await tenant.condition("Ready")).get("message", "")

        await wait_for(is_told, 20, "Ready to name the write that was refused")
        assert await stage.admin.find(f"{collection}/{old}")
    await life.gone(stage.admin, f"{collection}/{old}")
    await tenant.agrees("all that to be no drift")
    stood = [names & {old, new, gone} for names in await since(stage.admin, collection, before)]
    assert stood == [{old, gone}, {old}, {old, new}, {new}]


async def test_a_rule_that_its_peer_narrows_is_closed_after_its_rest_is_open(stage: Stage) -> None:
    """What the peer takes back goes, whatever becomes of the rest: that is refused here."""
    narrow = {"matchLabels": {"app": "web"}}
    out = peer_rule("out", "egress", {"tenant": "sup-e"})
    a = await stage.tenant("sup-d", {"namespaces": [{"name": "sup-d-1"}], "network": {"egress": [out]}})
    into = peer_rule("in", "ingress", {"tenant": "sup-d"})
    b = await stage.tenant("sup-e", {"namespaces": [{"name": "sup-e-1"}], "network": {"ingress": [into]}})
    collection = POLICIES.format("sup-d-1")
    wide = "securetenant-egress-out"
    await wait_for(lambda: stage.admin.find(f"{collection}/{wide}"), 20, "the flow to be open")
    before = await version(stage.admin, collection)

    async def narrowed() -> str:
        found = [n for n in await tenants.bodies(stage.admin, collection) if n.startswith(wide)]
        assert len(found) == 1
        assert found != [wide]
        return found[0]

    await b.edit({"network": {"ingress": [peer_rule("in", "ingress", {"tenant": "sup-d", "pods": narrow})]}})
    name = await wait_for(narrowed, 20, "the flow to be narrowed")
    stood = [names & {wide, name} for names in await since(stage.admin, collection, before)]
    assert stood == [{wide}, {wide, name}, {name}]

    await b.edit({"network": {"ingress": [into]}})
    await wait_for(lambda: stage.admin.find(f"{collection}/{wide}"), 20, "the flow to be wide again")
    await a.agrees()
    async with refused(stage.admin, collection, name):
        await life.edit(
            stage.admin,
            "sup-e",
            {"network": {"ingress": [peer_rule("in", "ingress", {"tenant": "sup-d", "pods": narrow})]}},
        )
        await life.gone(stage.admin, f"{collection}/{wide}")
    with pytest.raises(ApiError):
        await stage.admin.get(f"{collection}/{wide}")
    await wait_for(lambda: stage.admin.find(f"{collection}/{name}"), 60, "the rest to be open once it is admitted")
