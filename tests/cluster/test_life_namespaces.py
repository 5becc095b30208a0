"""The namespaces of a tenant from their creation to their release, on a real control plane."""

from typing import Any

import pytest
import pytest_asyncio

from tests.support import life, tenants
from tests.support.life import APPLIED, CREATION, MARKS, NAMESPACES
from tests.support.sandbox import wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster
CHANGED = ("namespaces", "Changed")
#: What the admission policies and Pod Security read, of a tenant that says nothing about it.
PARAMETERS = [
    f"securetenant.dev/{control}"
    for control in ("runtime", "images", "nodes", "storage", "exposure", "exemptions", "locks")
]
RULES = {
    "securetenant.dev/admission": "Deny",
    **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
    **{f"pod-security.kubernetes.io/{mode}-version": "v1.37" for mode in ("enforce", "audit", "warn")},
}


def entry(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "labels": {"env": "prod"}, "annotations": {"bank.example/cost": "42"}, **other}


#: What others may do to the part of a namespace that is ours, and the first field that differs then.
TAMPERINGS = [
    pytest.param({"labels": {"env": "test"}}, "labels.env", True, id="change-label"),
    pytest.param({"labels": {"env": None}}, "labels.env", False, id="take-label"),
    pytest.param({"annotations": {"bank.example/cost": "0"}}, "annotations.bank.example/cost", True, id="annotation"),
    pytest.param({"annotations": {APPLIED: None}}, f"annotations.{APPLIED}", False, id="strip-record"),
    pytest.param({"annotations": {APPLIED: "{}"}}, f"annotations.{APPLIED}", True, id="forge-record"),
    pytest.param({"labels": {"securetenant.dev/tenant": "other"}}, "labels.securetenant.dev/tenant", True, id="mark"),
    pytest.param({"labels": dict.fromkeys(MARKS)}, "labels.app.kubernetes.io/managed-by", False, id="strip-marks"),
    pytest.param({"labels": None, "annotations": None}, "annotations.bank.example/cost", False, id="strip-all"),
]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant to lay hands on, with a namespace for each tampering: what is done often to one is Contested."""
    names = [f"ns-shop-{number}" for number in range(len(TAMPERINGS) + 2)]
    return await stage.tenant("ns-shop", life.spec(namespaces=[entry(name) for name in names]))


async def test_created_as_declared(stage: Stage, shop: Tenant) -> None:
    found = (await stage.admin.get(f"{NAMESPACES}/ns-shop-0"))["metadata"]
    system = {"kubernetes.io/metadata.name": "ns-shop-0"}
    assert found["labels"] == {"env": "prod", **tenants.marks("ns-shop", "namespaces"), **system, **RULES}
    assert found["annotations"].keys() == {"bank.example/cost", APPLIED, CREATION, *PARAMETERS}
    assert found["annotations"]["bank.example/cost"] == "42"
    status = (await shop.get())["status"]
    reserved = sorted({*RULES, *PARAMETERS})
    entry_of = {"name": "ns-shop-0", "uid": found["uid"], "drift": 0, "reserved": reserved}
    assert status["namespaces"][0] == entry_of
    assert life.condition({"status": status}, "NamespacesReady")["status"] == "True"


@pytest.mark.parametrize(("metadata", "path", "blamed"), TAMPERINGS)
async def test_what_is_ours_on_it_is_healed(
    stage: Stage, shop: Tenant, metadata: dict[str, Any], path: str, blamed: bool, request: pytest.FixtureRequest
) -> None:
    name = f"ns-shop-{[param.id for param in TAMPERINGS].index(request.node.callspec.id)}"
    before = await life.picture(stage.admin, [name])
    await stage.admin.patch(f"{NAMESPACES}/{name}", {"metadata": metadata}, params={"fieldManager": MANAGER})
    await shop.healed(CHANGED)
    assert await life.picture(stage.admin, [name]) == before
    told = shop.told()[-1]
    assert (told["object"], told["path"]) == (f"Namespace/{name}", path)
    assert told["manager"] == (MANAGER if blamed else "")  # who took something away leaves no trace of himself


async def test_what_others_put_on_it_is_left_alone(stage: Stage, shop: Tenant) -> None:
    path = f"{NAMESPACES}/ns-shop-{len(TAMPERINGS)}"
    others = {"labels": {"example.com/team": "x"}, "annotations": {"example.com/note": "y"}}
    await stage.admin.patch(path, {"metadata": others})
    await stage.admin.patch(path, {"metadata": {"labels": {"env": "forged"}}})
    await shop.healed(CHANGED)
    found = (await stage.admin.get(path))["metadata"]
    assert found["labels"]["example.com/team"] == "x"
    assert found["annotations"]["example.com/note"] == "y"
    assert found["labels"]["env"] == "prod"


async def test_one_that_is_deleted_comes_back_with_its_posture(stage: Stage, shop: Tenant) -> None:
    name = f"ns-shop-{len(TAMPERINGS) + 1}"
    before = await life.picture(stage.admin, [name])
    old = await stage.admin.get(f"{NAMESPACES}/{name}")
    await stage.admin.delete(f"{NAMESPACES}/{name}")

    async def is_new() -> bool:
        return bool((await stage.admin.get(f"{NAMESPACES}/{name}"))["metadata"]["uid"] != old["metadata"]["uid"])

    await wait_for(is_new, 40, "the namespace to be made anew")
    await shop.healed(("namespaces", "Missing"))  # one deviation: its contents went with it
    assert await life.picture(stage.admin, [name]) == before


async def test_edits_are_rolled_out_and_are_no_drift(stage: Stage) -> None:
    tenant = await stage.tenant("ns-edit", life.spec("ns-edit-a", namespaces=[entry("ns-edit-a")]))
    edited = {"name": "ns-edit-a", "labels": {"tier": "1"}, "annotations": {"bank.example/cost": "43"}}
    await tenant.edit({"namespaces": [edited, entry("ns-edit-b")]})
    found = (await stage.admin.get(f"{NAMESPACES}/ns-edit-a"))["metadata"]
    assert found["labels"].keys() == {"tier", "kubernetes.io/metadata.name", *MARKS, *RULES}
    assert found["annotations"]["bank.example/cost"] == "43"
    assert await life.children(stage.admin, "ns-edit-b")


async def test_one_that_is_taken_off_the_spec_is_given_back(stage: Stage) -> None:
    tenant = await stage.tenant("ns-less", life.spec("ns-less-a", "ns-less-b"))
    before = await life.picture(stage.admin, ["ns-less-b"])
    await tenant.edit({"namespaces": [entry("ns-less-a")]})
    after = await life.picture(stage.admin, ["ns-less-b"])
    assert after.keys() == before.keys()
    assert life.marked(after) == []
    policy = next(item for path, item in after.items() if path.endswith("/securetenant-default-deny"))
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}  # what closes stays in force
    # Nobody's any more: what happens there now is no concern of the tenant's.
    await stage.admin.delete(f"{tenants.POLICIES.format('ns-less-b')}/securetenant-default-deny")
    await stage.admin.patch(f"{NAMESPACES}/ns-less-a", {"metadata": {"labels": {"env": "x"}}})
    await tenant.healed(CHANGED)


async def test_an_existing_one_is_taken_over_only_when_told(stage: Stage) -> None:
    await stage.namespace("ns-old", labels={"team": "before"})
    tenant = await stage.create("ns-adopt", life.spec("ns-old", namespaces=[entry("ns-old")]))

    async def is_refused() -> bool:
        return (await tenant.condition("NamespacesReady")).get("reason") == "NotOwned"

    await wait_for(is_refused, 20, "the condition NotOwned")
    ready = await tenant.condition("Ready")
    assert ready["status"] == "False"
    assert "adopt: true" in ready["message"]
    found = (await stage.admin.get(f"{NAMESPACES}/ns-old"))["metadata"]
    assert found["labels"] == {"team": "before", "kubernetes.io/metadata.name": "ns-old"}
    assert await life.children(stage.admin, "ns-old") == []

    await tenant.edit({"namespaces": [entry("ns-old", adopt=True)]})
    await life.ready(stage.admin, "ns-adopt")
    labels = (await stage.admin.get(f"{NAMESPACES}/ns-old"))["metadata"]["labels"]
    assert labels["team"] == "before"
    assert labels.items() >= tenants.marks("ns-adopt", "namespaces").items()
    assert await life.children(stage.admin, "ns-old")


async def test_of_two_that_name_it_the_older_keeps_it(stage: Stage) -> None:
    older = await stage.tenant("ns-older", life.spec("ns-both"))
    younger = await stage.create("ns-younger", life.spec("ns-both", "ns-own", mode="Enforce"))

    async def is_refused() -> bool:
        condition = await younger.condition("NamespacesReady")
        return condition.get("reason") == "Conflict" and "SecureTenant ns-older" in condition["message"]

    await wait_for(is_refused, 20, "the condition Conflict")
    await older.agrees("nothing of the older one's to be touched")
    found = (await stage.admin.get(f"{NAMESPACES}/ns-both"))["metadata"]["labels"]
    assert found["securetenant.dev/tenant"] == "ns-older"
    assert await life.children(stage.admin, "ns-own")  # what is its own, it has

    # Given up by the one, it is the other's only if it may adopt what is there.
    await older.edit({"namespaces": []})
    await younger.edit({"namespaces": [{"name": "ns-both", "adopt": True}, {"name": "ns-own"}]})
    await life.ready(stage.admin, "ns-younger")
    found = (await stage.admin.get(f"{NAMESPACES}/ns-both"))["metadata"]["labels"]
    assert found["securetenant.dev/tenant"] == "ns-younger"
    await older.agrees()


async def test_a_tenant_that_goes_leaves_no_mark(stage: Stage) -> None:
    tenant = await stage.tenant("ns-gone", life.spec("ns-gone-a"))
    before = await life.picture(stage.admin, ["ns-gone-a"])
    await tenant.delete()
    after = await life.picture(stage.admin, ["ns-gone-a"])
    assert after.keys() == before.keys()
    assert life.marked(after) == []
    stage.places.append("ns-gone-a")
