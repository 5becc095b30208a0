"""The whitelist in the Admin tier on a real API server, with the schema that the project publishes: written, healed,
given up; and where the kind or the right comes and goes."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from sandbox.cni import crds
from tests.support import life, plugins, tenants
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import ROOT, Admin, Plane, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import POLICIES, Stage, Tenant, bodies, marks

pytestmark = pytest.mark.cluster

CRD: Final = crds.CLUSTER_NETWORK_POLICY
TIER: Final = CRD.collection
RIGHTS: Final = ROOT / "manifests" / "components" / "admin-tier" / "role.yaml"
ON: Final = {"SECURETENANT_ADMIN_TIER": "true"}
NAME: Final = "kubernetes.io/metadata.name"
ACCEPT: Final = {"action": "Accept", "from": [{"namespaces": {}}]}


@pytest_asyncio.fixture(scope="module")
async def rights(admin: Admin, manifests: None) -> AsyncIterator[None]:
    await admin.apply(RIGHTS)
    yield
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(RIGHTS))


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with (
        crds.served(admin, CRD),
        tenants.stage(plane, admin, tmp_path_factory.mktemp("operator"), env=ON) as stage,
    ):
        yield stage


def spec(*namespaces: str, **network: object) -> Json:
    return {"namespaces": [{"name": name} for name in namespaces], "network": network}


async def ours(admin: Admin, *namespaces: str) -> dict[str, Json]:
    """The specs of the policies of these namespaces, by name."""
    found = await bodies(admin, TIER)
    names = [f"securetenant-{namespace}" for namespace in namespaces]
    return {name: body["spec"] for name, body in found.items() if name.partition(".")[0] in names}


async def stands(tenant: Tenant, reason: str, status: str = "True") -> None:
    async def told() -> bool:
        one = await tenant.condition("AdminTier")
        assert (one.get("status"), one.get("reason")) == (status, reason), one
        return True

    await wait_for(told, 20, f"AdminTier to be {status} for {reason}")


async def names_are(admin: Admin, expected: set[str], *namespaces: str) -> None:
    async def are() -> bool:
        found = set(await ours(admin, *namespaces))
        assert found == expected
        return True

    await wait_for(are, 20, f"the policies of {', '.join(namespaces)} to be {expected or 'gone'}")


async def test_written_as_the_api_server_keeps_it(stage: Stage) -> None:
    tenant = await stage.tenant("at-plain", spec("at-plain-a", "at-plain-b"))
    await stands(tenant, "Written")
    found = await ours(stage.admin, "at-plain-a", "at-plain-b")
    assert set(found) == {"securetenant-at-plain-a", "securetenant-at-plain-b"}
    one = found["securetenant-at-plain-a"]
    assert (one["tier"], one["priority"]) == ("Admin", 1000)
    assert one["subject"] == {"namespaces": {"matchLabels": {NAME: "at-plain-a"}}}
    assert one["ingress"] == [
        {"name": "agreed", "action": "Pass", "from": [{"namespaces": {"matchLabels": {NAME: "at-plain-a"}}}]},
        {"name": "other pods", "action": "Deny", "from": [{"namespaces": {}}]},
    ]
    last = one["egress"][-1]
    assert (last["action"], last["to"]) == ("Deny", [{"networks": ["0.0.0.0/0", "::/0"]}])
    # Nothing is left to write: a pass over the tenant leaves it as it is.
    path = f"{TIER}/securetenant-at-plain-a"
    before = (await stage.admin.get(path))["metadata"]["resourceVersion"]
    await tenant.edit({"quota": {"tenant": {"pods": "10"}}})
    assert (await stage.admin.get(path))["metadata"]["resourceVersion"] == before


async def test_what_others_do_to_it_is_undone(stage: Stage) -> None:
    tenant = await stage.tenant("at-heal", spec("at-heal-a"))
    path = f"{TIER}/securetenant-at-heal-a"
    before = await tenants.content(stage.admin, path)
    changes: list[Json] = [
        {"spec": {"ingress": [ACCEPT]}},
        {"spec": {"priority": 3}},
        {"spec": {"subject": {"namespaces": {"matchLabels": None}}}},
        {"metadata": {"labels": {"mine": "1"}}},
        {"metadata": {"labels": dict.fromkeys(marks("", ""))}},
        {"metadata": {"labels": dict.fromkeys(marks("", "")), "annotations": None}},
        {"metadata": {"finalizers": ["example.com/x"]}},
    ]
    for change in changes:
        await stage.admin.patch(path, change, params={"fieldManager": MANAGER})
        await tenant.healed(("network", "Changed"))
        assert await tenants.content(stage.admin, path) == before, change
    await stage.admin.delete(path)
    await tenant.healed(("network", "Missing"))
    assert await tenants.content(stage.admin, path) == before


async def test_one_of_others_is_told_whatever_mark_it_has_and_left(stage: Stage) -> None:
    tenant = await stage.tenant("at-theirs", spec("at-theirs-a"))
    body = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "theirs", "labels": marks("at-theirs", "network")},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {"matchLabels": {NAME: "at-theirs-a"}}},
            "ingress": [ACCEPT],
        },
    }
    await stage.admin.create(TIER, body)
    await tenant.reported(("network", "Foreign"))
    await stage.admin.delete(f"{TIER}/theirs")
    await tenant.cleared(("network", "Foreign"))


async def test_a_rule_for_some_pods_has_a_policy_of_its_own_which_goes_with_it(stage: Stage) -> None:
    tenant = await stage.tenant("at-some", spec("at-some-a"))
    rule = {"name": "dns", "from": {"pods": {"matchLabels": {"app": "a"}}}, "to": [{"namespace": "default"}]}
    await tenant.edit({"network": {"egress": [rule]}})
    (narrow,) = set(await ours(stage.admin, "at-some-a")) - {"securetenant-at-some-a"}
    found = (await ours(stage.admin, "at-some-a"))[narrow]
    assert found["priority"] == 999
    assert {rule["action"] for rule in found["egress"]} == {"Pass"}
    await tenant.edit({"network": {"egress": []}})
    await names_are(stage.admin, {"securetenant-at-some-a"}, "at-some-a")


async def test_as_many_rules_as_a_spec_may_have_are_taken(stage: Stage) -> None:
    """By the API server, which has bounds of its own; and it is told."""
    cidrs = [{"cidr": "10.0.0.0/8", "except": [f"10.{n}.{n}.{n}/32" for n in range(1, 17)]}] * 1
    rules = [
        {"name": f"r{n}", "to": [{"namespace": "default"}, *cidrs], "ports": [{"port": 1000 + 2 * n}]}
        for n in range(64)
    ]
    admitted = [
        {"name": f"r{n}", "from": [{"namespace": f"at-many-{p}"} for p in range(32)], "ports": [{"port": 1 + 2 * n}]}
        for n in range(64)
    ]
    tenant = await stage.tenant("at-many", spec("at-many-a", egress=rules, ingress=admitted))
    await stands(tenant, "PassedWider", "False")
    assert len((await ours(stage.admin, "at-many-a"))["securetenant-at-many-a"]["egress"]) <= 25


async def test_audit_writes_none(stage: Stage) -> None:
    tenant = await stage.create("at-audit", {**spec("at-audit-a"), "mode": "Audit"})
    await stands(tenant, "NotWritten", "False")
    assert not await ours(stage.admin, "at-audit-a")
    await life.edit(stage.admin, "at-audit", {"mode": "Enforce"})
    await names_are(stage.admin, {"securetenant-at-audit-a"}, "at-audit-a")
    await stands(tenant, "Written")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_it_goes_with_the_tenant(stage: Stage, policy: str) -> None:
    """With Retain the namespace's own NetworkPolicies stay."""
    space = f"at-{policy.lower()}-a"
    tenant = await stage.tenant(f"at-{policy.lower()}", {**spec(space), "deletionPolicy": policy})
    await names_are(stage.admin, {f"securetenant-{space}"}, space)
    await tenant.delete()
    assert not await ours(stage.admin, space)
    if policy == "Retain":
        kept = await bodies(stage.admin, POLICIES.format(space))
        assert "securetenant-default-deny" in kept
        await stage.admin.delete(f"{NAMESPACES}/{space}")


async def test_a_namespace_that_is_given_up_keeps_its_network_policies_alone(stage: Stage) -> None:
    tenant = await stage.tenant("at-given", spec("at-given-a", "at-given-b"))
    await tenant.edit({"namespaces": [{"name": "at-given-a"}]})
    await names_are(stage.admin, {"securetenant-at-given-a"}, "at-given-a", "at-given-b")
    assert "securetenant-default-deny" in await bodies(stage.admin, POLICIES.format("at-given-b"))
    await stage.admin.delete(f"{NAMESPACES}/at-given-b")


async def test_without_the_right_it_is_told_and_nothing_else_waits(stage: Stage) -> None:
    await stage.admin.kubectl("delete", "-f", str(RIGHTS))
    try:
        tenant = await stage.create("at-right", spec("at-right-a", "at-right-b", isolation="Tenant"))

        async def is_told() -> bool:
            ready = await tenant.condition("Ready")
            assert ready.get("reason") == "WriteFailed", ready
            assert "manifests/components/admin-tier" in ready["message"]
            return True

        await wait_for(is_told, 20, "the missing right to be told")
        await stands(tenant, "WriteFailed", "False")
        for space in ("at-right-a", "at-right-b"):
            found = set(await bodies(stage.admin, POLICIES.format(space)))
            assert {"securetenant-default-deny", "securetenant-isolation", "securetenant-dns"} <= found
    finally:
        await stage.admin.apply(RIGHTS)
    await life.ready(stage.admin, "at-right")
    await stands(tenant, "Written")


async def test_with_kube_ovn_no_two_have_the_same_priority(stage: Stage) -> None:
    """Of tenants that are made at the same time, too; and as before when it is gone."""
    admin = stage.admin
    spaces = [f"at-ovn-{number}-a" for number in range(6)]
    first = await stage.tenant("at-ovn-first", spec("at-ovn-first-a"))

    async def are(count: int) -> bool:
        found = [one["priority"] for one in (await ours(admin, "at-ovn-first-a", *spaces)).values()]
        assert len(found) == count
        assert len(set(found)) == count
        assert max(found) <= 399
        return True

    async with plugins.served(admin, "subnet"):
        await wait_for(lambda: are(1), 20, "the priority that Kube-OVN enforces")
        made = [await stage.create(f"at-ovn-{number}", spec(space)) for number, space in enumerate(spaces)]
        await wait_for(lambda: are(7), 30, "a priority for each")
        for tenant in (first, *made):
            await stands(tenant, "Written")
        await first.agrees("the change of priority to be no drift")

    async def is_shared() -> bool:
        found = await ours(admin, "at-ovn-first-a", *spaces)
        assert {one["priority"] for one in found.values()} == {1000}
        return True

    await wait_for(is_shared, 30, "the shared priority")
    await first.agrees("the change back to be no drift")


async def test_the_kind_goes_and_comes(stage: Stage) -> None:
    tenant = await stage.tenant("at-kind", spec("at-kind-a"))
    await stands(tenant, "Written")
    await crds.remove(stage.admin, CRD)
    try:
        await stands(tenant, "NotServed", "False")
        await life.ready(stage.admin, "at-kind")
        await tenant.agrees("the kind's end to be no drift")
    finally:
        await crds.install(stage.admin, CRD)
    await stands(tenant, "Written")
    await tenant.agrees("its return to be no drift")
    await names_are(stage.admin, {"securetenant-at-kind-a"}, "at-kind-a")
