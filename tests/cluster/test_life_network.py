"""Who may talk to whom: the life of a tenant's NetworkPolicies, and what others put beside them."""

from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.settings import NODE_LOCAL
from tests.support import tampering, tenants
from tests.support.life import APPLIED
from tests.support.sandbox import Admin, wait_for
from tests.support.tampering import MANAGER, Tampering
from tests.support.tenants import POLICIES, Stage, Tenant

pytestmark = pytest.mark.cluster
FOREIGN: Final = ("network", "Foreign")
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
DENY: Final = "securetenant-default-deny"
RULE: Final = "securetenant-ingress-office"
OFFICE: Final = {
    "name": "office",
    "to": {"pods": {"matchLabels": {"app": "teller"}}},
    "from": [{"cidr": "10.8.0.0/16", "except": ["10.8.9.0/24"]}],
    "ports": [{"port": 8443}],
}
BLOCK: Final = "/spec/ingress/0/from/0/ipBlock"
RENDERED: Final[dict[str, dict[str, Any]]] = {
    DENY: {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    "securetenant-dns": {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                    }
                ],
                "ports": [{"protocol": "TCP", "port": 53}, {"protocol": "UDP", "port": 53}],
            }
        ],
    },
    "securetenant-isolation": {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}]}],
        "egress": [{"to": [{"podSelector": {}}]}],
    },
    RULE: {
        "podSelector": {"matchLabels": {"app": "teller"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"ipBlock": {"cidr": "10.8.0.0/16", "except": ["10.8.9.0/24"]}}],
                "ports": [{"protocol": "TCP", "port": 8443}],
            }
        ],
    },
}
ON_DENY: Final = (
    *tampering.ANY,
    # Server-side apply does not see this one: the field is not in what it applies.
    tampering.merge("add-rule", {"spec": {"ingress": [{}]}}),
    tampering.merge("select-nothing", {"spec": {"podSelector": {"matchLabels": {"no": "such"}}}}),
    tampering.merge("take-type", {"spec": {"policyTypes": ["Ingress"]}}),
)
ON_RULE: Final = (
    tampering.ANY[0],
    tampering.json_patch(
        "add-peer", {"op": "add", "path": "/spec/ingress/0/from/-", "value": {"ipBlock": {"cidr": "0.0.0.0/0"}}}
    ),
    tampering.json_patch("widen", {"op": "replace", "path": f"{BLOCK}/cidr", "value": "10.0.0.0/8"}),
    tampering.json_patch("take-except", {"op": "remove", "path": f"{BLOCK}/except"}),
    tampering.json_patch("take-ports", {"op": "remove", "path": "/spec/ingress/0/ports"}),
    tampering.json_patch("all-pods", {"op": "remove", "path": "/spec/podSelector/matchLabels"}),
    tampering.merge("take-rules", {"spec": {"ingress": None}}, blamed=False),
)
ROWS: Final = [(DENY, done) for done in ON_DENY] + [(RULE, done) for done in ON_RULE]
NAMESPACES: Final = [f"net-shop-{number}" for number in range(len(ROWS) + len(tampering.TWO_STEPS) + 1)]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant to lay hands on, with a namespace for each tampering."""
    spec = {"namespaces": [{"name": name} for name in NAMESPACES], "network": {"ingress": [OFFICE]}}
    return await stage.tenant("net-shop", spec)


def path(namespace: str, name: str = DENY) -> str:
    return f"{POLICIES.format(namespace)}/{name}"


async def policies(admin: Admin, namespace: str) -> dict[str, Any]:
    """The specs of all policies there, by name."""
    return {name: body["spec"] for name, body in (await tenants.bodies(admin, POLICIES.format(namespace))).items()}


async def versions(admin: Admin, namespace: str) -> dict[str, str]:
    """The resource versions of all policies there, by name."""
    listed = (await admin.get(POLICIES.format(namespace)))["items"]
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed}


async def create(admin: Admin, namespace: str, name: str, spec: dict[str, Any], **metadata: Any) -> None:
    """As another manager would."""
    body = {"metadata": {"name": name, **metadata}, "spec": spec}
    status, answer = await admin.request("POST", POLICIES.format(namespace), body, params={"fieldManager": MANAGER})
    assert status == 201, answer


async def test_created_as_declared(stage: Stage, shop: Tenant) -> None:
    assert await policies(stage.admin, "net-shop-0") == RENDERED
    for name in RENDERED:
        metadata = (await tenants.content(stage.admin, path("net-shop-0", name)))["metadata"]
        assert metadata["labels"] == tenants.marks("net-shop", "network")
        assert metadata["annotations"].keys() == {APPLIED}


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[f"{name}-{done.name}" for name, done in ROWS])
async def test_tampering_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    name, done = ROWS[number]
    target = path(NAMESPACES[number], name)
    before = await tenants.content(stage.admin, target)
    await done.do(stage.admin, target)
    await shop.healed(*(("network", reason) for reason in done.reasons))
    assert await tenants.content(stage.admin, target) == before
    told = shop.told()[-1]
    assert told["object"] == f"NetworkPolicy/{NAMESPACES[number]}/{name}"
    assert told["manager"] == (MANAGER if done.blamed else "")


@pytest.mark.parametrize("number", range(len(tampering.TWO_STEPS)), ids=[done.name for done in tampering.TWO_STEPS])
async def test_tampering_in_steps_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    done: Tampering = tampering.TWO_STEPS[number]
    target = path(NAMESPACES[len(ROWS) + number])
    before, uid = await tenants.content(stage.admin, target), (await stage.admin.get(target))["metadata"]["uid"]
    await done.do(stage.admin, target)
    await shop.healed_somehow("network", target, before, uid)


async def test_the_addition_is_told_with_its_place(stage: Stage, shop: Tenant) -> None:
    await stage.admin.patch(path(NAMESPACES[-1]), {"spec": {"ingress": [{}]}}, params={"fieldManager": MANAGER})
    await shop.healed(("network", "Changed"))
    assert shop.told()[-1]["path"] == "spec.ingress"
    corrected = shop.told("drift corrected")[-1]
    assert corrected["object"] == f"NetworkPolicy/{NAMESPACES[-1]}/{DENY}"
    assert corrected["manager"] == MANAGER
    assert corrected["milliseconds"] > 0


@pytest.mark.parametrize("copied", [False, True], ids=["mark", "mark-and-record"])
async def test_a_forged_one_is_removed(stage: Stage, shop: Tenant, copied: bool) -> None:
    """A copy of ours under another name, its record included, was not written by us."""
    where = NAMESPACES[-1]
    metadata = (await stage.admin.get(path(where, RULE)))["metadata"]
    annotations = metadata["annotations"] if copied else {}
    opening = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    spec = RENDERED[RULE] if copied else opening
    await create(stage.admin, where, "forged", spec, labels=metadata["labels"], annotations=annotations)
    await shop.healed(("network", "Stale"))
    assert shop.told()[-1]["manager"] == MANAGER
    assert await policies(stage.admin, where) == RENDERED


async def test_edits_are_rolled_out_and_are_no_drift(stage: Stage) -> None:
    namespaces = [{"name": "net-edit-a"}, {"name": "net-edit-b"}]
    tenant = await stage.tenant("net-edit", {"namespaces": namespaces, "network": {"ingress": [OFFICE]}})
    moved = {**OFFICE, "name": "branch", "ports": [{"port": 1000, "endPort": 2000}]}
    await tenant.edit({"network": {"isolation": "Tenant", "dns": False, "ingress": [moved]}})
    found = await policies(stage.admin, "net-edit-b")
    assert found.keys() == {DENY, "securetenant-isolation", "securetenant-ingress-branch"}
    both = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["net-edit-a", "net-edit-b"]}
    peer = {"namespaceSelector": {"matchExpressions": [both]}}
    assert found["securetenant-isolation"]["ingress"] == [{"from": [peer]}]
    (rule,) = found["securetenant-ingress-branch"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 1000, "endPort": 2000}]
    await tenant.edit({"network": None})
    found = await policies(stage.admin, "net-edit-b")
    assert found == {name: spec for name, spec in RENDERED.items() if name != RULE}


async def test_the_api_server_is_reached_by_its_endpoints_and_no_forged_ones(stage: Stage) -> None:
    tenant = await stage.tenant("net-api", {"namespaces": [{"name": "net-api-a"}], "network": {"apiServer": True}})
    slices = await stage.admin.get(SLICES)
    (endpoints,) = [s for s in slices["items"] if s["metadata"]["labels"].get("kubernetes.io/service-name")]
    (port,) = endpoints["ports"]
    addresses = sorted(address for endpoint in endpoints["endpoints"] for address in endpoint["addresses"])
    assert (await policies(stage.admin, "net-api-a"))["securetenant-api-server"] == {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": f"{address}/32"}} for address in addresses],
                "ports": [{"protocol": "TCP", "port": port["port"]}],
            }
        ],
    }

    before = await versions(stage.admin, "net-api-a")
    forged = {
        "metadata": {"name": "kubernetes-x7b2k", "labels": endpoints["metadata"]["labels"]},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["203.0.113.66"], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": 4444}],
    }

    async def is_named() -> bool:
        return "kubernetes-x7b2k" in (await tenant.condition("ApiServerOpen")).get("message", "")

    try:
        await stage.admin.create(SLICES, forged)
        await wait_for(is_named, 20, "the forged slice to be named")
        await tenant.agrees()
        assert await versions(stage.admin, "net-api-a") == before
    finally:
        await stage.admin.delete(f"{SLICES}/kubernetes-x7b2k")


async def test_egress_by_addresses_stays_closed_to_the_api_server(stage: Stage) -> None:
    """Whatever its endpoints are at the time: when they change, that is a rollout."""
    everywhere = {"name": "everywhere", "to": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]}
    itself = {"name": "itself", "to": [{"cidr": "192.0.2.10/32"}]}
    spec = {"namespaces": [{"name": "net-out-a"}], "network": {"egress": [everywhere, itself]}}
    tenant = await stage.tenant("net-out", spec)

    async def closed_to(*addresses: str) -> None:
        excepts = ["10.0.0.0/8", NODE_LOCAL[0], *(f"{address}/32" for address in addresses)]

        async def is_closed() -> bool:
            found = await policies(stage.admin, "net-out-a")
            assert found["securetenant-egress-everywhere"]["egress"] == [
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": excepts}}]}
            ]
            assert "securetenant-egress-itself" not in found
            return True

        await wait_for(is_closed, 20, f"egress to be closed to {addresses}")
        await tenant.agrees("the change of the endpoints to be no drift")

    await closed_to("192.0.2.10")
    whitelist = (await tenant.get())["status"]["whitelist"]
    assert (whitelist["agreed"], whitelist["pendingCount"]) == (1, 1)
    assert whitelist["pending"][0]["rule"] == "itself"
    assert "set network.apiServer: true" in whitelist["pending"][0]["reason"]

    before = await versions(stage.admin, "net-out-a")
    await tenant.edit({"displayName": "looked at again"})
    assert await versions(stage.admin, "net-out-a") == before

    metadata = {"name": "net-out", "labels": {"kubernetes.io/service-name": "kubernetes"}}
    down = {"addresses": ["192.0.2.77"], "conditions": {"ready": False}}
    try:
        await stage.admin.create(SLICES, {"metadata": metadata, "addressType": "IPv4", "endpoints": [down]})
        await closed_to("192.0.2.10", "192.0.2.77")
        up = {"addresses": ["192.0.2.78"], "conditions": {"ready": True}}
        await stage.admin.patch(f"{SLICES}/net-out", {"endpoints": [up, down]})
        await closed_to("192.0.2.10", "192.0.2.77", "192.0.2.78")
    finally:
        await stage.admin.delete(f"{SLICES}/net-out")
    await closed_to("192.0.2.10")
    assert await versions(stage.admin, "net-out-a") != before

    await tenant.edit({"network": {"apiServer": True}})
    found = await policies(stage.admin, "net-out-a")
    assert found["securetenant-egress-everywhere"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", NODE_LOCAL[0]]}}]}
    ]
    assert found["securetenant-egress-itself"]["egress"] == [{"to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}]}]


async def test_a_foreign_one_is_reported_removed_or_ignored_as_told(stage: Stage) -> None:
    tenant = await stage.tenant("net-open", {"namespaces": [{"name": "net-open-a"}]})
    opening = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    await create(stage.admin, "net-open-a", "open-all", opening)
    await tenant.reported(FOREIGN)
    (item,) = await tenant.items()
    assert item == {
        "control": "network",
        "kind": "NetworkPolicy",
        "namespace": "net-open-a",
        "name": "open-all",
        "reason": "Foreign",
        "manager": MANAGER,
    }
    assert "from everywhere" in tenant.told()[-1]["cause"]
    assert await stage.admin.find(path("net-open-a", "open-all"))

    tenant.standing.subtract([FOREIGN])
    await tenant.edit({"network": {"foreign": "Ignore"}})
    assert await stage.admin.find(path("net-open-a", "open-all"))

    tenant.detected.update([FOREIGN])  # it is a deviation again, and now one that is undone
    tenant.corrected.update([FOREIGN])
    await tenant.edit({"network": {"foreign": "Remove"}})
    assert await stage.admin.find(path("net-open-a", "open-all")) is None

    await create(stage.admin, "net-open-a", "again", opening)
    await tenant.healed(FOREIGN)
    assert await stage.admin.find(path("net-open-a", "again")) is None


async def test_a_foreign_one_that_goes_is_over(stage: Stage) -> None:
    tenant = await stage.tenant("net-over", {"namespaces": [{"name": "net-over-a"}]})
    await create(stage.admin, "net-over-a", "open-all", {"podSelector": {}, "ingress": [{}]})
    await tenant.reported(FOREIGN)
    await stage.admin.delete(path("net-over-a", "open-all"))
    await tenant.cleared(FOREIGN)
