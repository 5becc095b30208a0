"""What the API server refuses to have written is not claimed by the control that wanted it."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.support import life
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import POLICIES, Stage, peer_rule

pytestmark = pytest.mark.cluster
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
WORDS: Final = "held back by the platform"


@contextlib.asynccontextmanager
async def refusing(admin: Admin, name: str, group: str, resource: str, probe: tuple[str, Json]) -> AsyncIterator[None]:
    """Until the end of the block a ValidatingAdmissionPolicy refuses objects whose name holds this one. `probe`: the
    collection and an object that it refuses."""
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"!object.metadata.name.contains('{name}')", "message": WORDS}],
    }
    await admin.create(ADMISSION, {"metadata": {"name": name}, "spec": spec})
    await admin.create(
        BINDINGS, {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    )

    async def refuses() -> bool:
        status, body = await admin.request("POST", probe[0], probe[1], params={"dryRun": "All"})
        return status == 422 and WORDS in body["message"]

    try:
        await wait_for(refuses, 20, f"the admission policy {name} to be in force")
        yield
    finally:
        await admin.delete(f"{BINDINGS}/{name}")
        await admin.delete(f"{ADMISSION}/{name}")


async def says(stage: Stage, name: str, kind: str, status: str, reason: str) -> Json:
    async def is_so() -> Json:
        tenant = await life.get(stage.admin, name)
        found = life.condition(tenant, kind)
        assert (found.get("status"), found.get("reason")) == (status, reason), tenant.get("status")
        return found

    return await wait_for(is_so, 20, f"{kind} of {name} to be {status} {reason}")


async def test_a_namespace_that_may_not_be_made_is_not_held(stage: Stage) -> None:
    """Nor are the quota in it, or its whitelist."""
    name = "unwritten-space"
    quota = {"tenant": {"pods": "10"}}
    async with refusing(stage.admin, f"{name}-a", "", "namespaces", (NAMESPACES, {"metadata": {"name": f"{name}-a"}})):
        await stage.create(name, life.spec(f"{name}-a", quota=quota))
        assert WORDS in (await says(stage, name, "Ready", "False", "WriteFailed"))["message"]
        held = await says(stage, name, "NamespacesReady", "False", "WriteFailed")
        assert f"Namespace/{name}-a" in held["message"]
        assert WORDS in held["message"]
        assert f"{name}-a" in (await says(stage, name, "WhitelistAgreed", "False", "WriteFailed"))["message"]
        # Of what was never made nothing is counted.
        await says(stage, name, "QuotaHeld", "Unknown", "Uncounted")
        ready = {"condition": "NamespacesReady", "status": "True"}
        assert await stage.operator.metric("securetenant_tenant_condition", tenant=name, **ready) == 0
    await life.ready(stage.admin, name, 40)
    for kind, reason in (("NamespacesReady", "Held"), ("WhitelistAgreed", "Agreed"), ("QuotaHeld", "Held")):
        await says(stage, name, kind, "True", reason)


async def test_a_namespace_that_may_not_be_changed_is_not_in_order(stage: Stage) -> None:
    name = "unwritten-label"
    await stage.tenant(name, life.spec(f"{name}-a"))
    async with refusing(stage.admin, f"{name}-a", "", "namespaces", (NAMESPACES, {"metadata": {"name": f"{name}-a"}})):
        await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a", "labels": {"env": "other"}}]})
        assert WORDS in (await says(stage, name, "NamespacesReady", "False", "WriteFailed"))["message"]
    await life.ready(stage.admin, name, 40)
    await says(stage, name, "NamespacesReady", "True", "Held")


async def test_a_namespace_whose_adoption_is_refused_outlives_the_tenant(stage: Stage) -> None:
    """It never was the tenant's: nothing is written into it, and its deletion takes it from nobody."""
    name = "unwritten-adoption"
    theirs = f"{name}-a"
    await stage.admin.create(NAMESPACES, {"metadata": {"name": theirs}})
    uid = (await stage.admin.get(f"{NAMESPACES}/{theirs}"))["metadata"]["uid"]
    async with refusing(stage.admin, theirs, "", "namespaces", (NAMESPACES, {"metadata": {"name": f"{theirs}-x"}})):
        tenant = await stage.create(
            name, life.spec(namespaces=[{"name": theirs, "adopt": True}], deletionPolicy="Delete")
        )
        await says(stage, name, "Ready", "False", "WriteFailed")
        await life.edit(stage.admin, name, {"mode": "Enforce", "network": {"dns": False}})
        await says(stage, name, "Ready", "False", "WriteFailed")
        assert (await stage.admin.get(POLICIES.format(theirs)))["items"] == []
        await tenant.delete()
        left = await stage.admin.get(f"{NAMESPACES}/{theirs}")
    assert (left["metadata"]["uid"], "deletionTimestamp" in left["metadata"]) == (uid, False)


async def test_a_flow_whose_policy_may_not_be_written_is_not_agreed(stage: Stage) -> None:
    name = "unwritten-flow"
    rules = {"ingress": [peer_rule("office", "ingress", {"cidr": "10.8.0.0/16"}, ports=[8443])]}
    refused: Json = {"metadata": {"name": "securetenant-ingress-office"}, "spec": {"podSelector": {}}}
    probe = (POLICIES.format("default"), refused)
    async with refusing(stage.admin, "securetenant-ingress-office", "networking.k8s.io", "networkpolicies", probe):
        await stage.create(name, life.spec(f"{name}-a", network=rules))
        found = await says(stage, name, "WhitelistAgreed", "False", "WriteFailed")
        assert "securetenant-ingress-office" in found["message"]
        assert WORDS in found["message"]
        await says(stage, name, "NamespacesReady", "True", "Held")
    await life.ready(stage.admin, name, 40)
    await says(stage, name, "WhitelistAgreed", "True", "Agreed")
