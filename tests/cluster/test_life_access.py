"""Who may do what in a tenant's namespaces: its RoleBindings' life, and the bindings of others."""

from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import tampering, tenants
from tests.support.life import APPLIED
from tests.support.sandbox import Admin
from tests.support.tampering import MANAGER, Tampering
from tests.support.tenants import BINDINGS, Stage, Tenant

pytestmark = pytest.mark.cluster
RBAC: Final = "rbac.authorization.k8s.io"
CLUSTER_BINDINGS: Final = f"/apis/{RBAC}/v1/clusterrolebindings"
FOREIGN: Final = ("access", "Foreign")
GROUP: Final = {"apiGroup": RBAC, "kind": "Group", "name": "acc-dev"}
USER: Final = {"apiGroup": RBAC, "kind": "User", "name": "acc-jo"}
ACCOUNT: Final = {"kind": "ServiceAccount", "name": "deployer", "namespace": "ci"}
DEVELOPERS: Final = {
    "role": "Developer",
    "subjects": [
        {"kind": "User", "name": "acc-jo"},
        {"kind": "Group", "name": "acc-dev"},
        {"kind": "ServiceAccount", "name": "deployer", "namespace": "ci"},
    ],
}


async def _another_role(admin: Admin, path: str) -> None:
    """roleRef cannot be changed: the binding is deleted and made again, marks and record with it."""
    item = await admin.get(path)
    kept = {key: item["metadata"][key] for key in ("name", "labels", "annotations")}
    await admin.delete(path)
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}
    # Ours may be back by then.
    status, _ = await admin.request(
        "POST",
        path.rpartition("/")[0],
        {"metadata": kept, "roleRef": role, "subjects": item["subjects"]},
        params={"fieldManager": MANAGER},
    )
    assert status in (201, 409)


TAMPERINGS: Final = (
    *tampering.ANY,
    tampering.json_patch("add-subject", {"op": "add", "path": "/subjects/-", "value": USER | {"name": "mallory"}}),
    tampering.json_patch("take-subject", {"op": "remove", "path": "/subjects/0"}),
    tampering.merge("take-all-subjects", {"subjects": None}, blamed=False),
    tampering.json_patch("change-subject", {"op": "replace", "path": "/subjects/0/name", "value": "mallory"}),
)
IN_STEPS: Final = (*tampering.TWO_STEPS, Tampering("change-role", _another_role))
NAMESPACES: Final = [f"acc-shop-{number}" for number in range(len(TAMPERINGS) + len(IN_STEPS) + 1)]


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant to lay hands on, with a namespace for each tampering."""
    namespaces = [{"name": name} for name in NAMESPACES]
    return await stage.tenant("acc-shop", {"namespaces": namespaces, "access": {"bindings": [DEVELOPERS]}})


def path(namespace: str, role: str = "developer") -> str:
    return f"{BINDINGS.format(namespace)}/securetenant-{role}"


def cluster_role(name: str) -> dict[str, str]:
    return {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}


def binding(name: str, *subjects: dict[str, str], role: str = "view", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "roleRef": cluster_role(role), "subjects": list(subjects)}


async def create(admin: Admin, collection: str, body: dict[str, Any]) -> None:
    """As another manager would."""
    status, answer = await admin.request("POST", collection, body, params={"fieldManager": MANAGER})
    assert status == 201, answer


async def test_created_as_declared(stage: Stage, shop: Tenant) -> None:
    found = await tenants.content(stage.admin, path("acc-shop-0"))
    assert found["metadata"]["labels"] == tenants.marks("acc-shop", "access")
    assert found["metadata"]["annotations"].keys() == {APPLIED}
    assert found["roleRef"] == cluster_role("securetenant-developer")
    assert found["subjects"] == [GROUP, ACCOUNT, USER]
    assert (await tenants.bodies(stage.admin, BINDINGS.format("acc-shop-0"))).keys() == {"securetenant-developer"}


@pytest.mark.parametrize("number", range(len(TAMPERINGS)), ids=[tampering.name for tampering in TAMPERINGS])
async def test_tampering_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    done, target = TAMPERINGS[number], path(NAMESPACES[number])
    before = await tenants.content(stage.admin, target)
    await done.do(stage.admin, target)
    await shop.healed(*(("access", reason) for reason in done.reasons))
    assert await tenants.content(stage.admin, target) == before
    assert shop.told()[-1]["manager"] == (MANAGER if done.blamed else "")


@pytest.mark.parametrize("number", range(len(IN_STEPS)), ids=[tampering.name for tampering in IN_STEPS])
async def test_tampering_in_steps_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    done, target = IN_STEPS[number], path(NAMESPACES[len(TAMPERINGS) + number])
    before, uid = await tenants.content(stage.admin, target), (await stage.admin.get(target))["metadata"]["uid"]
    await done.do(stage.admin, target)
    await shop.healed_somehow("access", target, before, uid)


@pytest.mark.parametrize("copied", [False, True], ids=["mark", "mark-and-record"])
async def test_a_forged_one_is_removed(stage: Stage, shop: Tenant, copied: bool) -> None:
    """A copy of ours under another name, its record included, was not written by us."""
    metadata = (await stage.admin.get(path(NAMESPACES[-1])))["metadata"]
    annotations = metadata["annotations"] if copied else {}
    body = binding("forged", GROUP, role="admin", labels=metadata["labels"], annotations=annotations)
    await create(stage.admin, BINDINGS.format(NAMESPACES[-1]), body)
    await shop.healed(("access", "Stale"))
    assert shop.told()[-1]["manager"] == MANAGER
    assert (await tenants.bodies(stage.admin, BINDINGS.format(NAMESPACES[-1]))).keys() == {"securetenant-developer"}


async def test_edits_are_rolled_out_and_are_no_drift(stage: Stage) -> None:
    tenant = await stage.tenant(
        "acc-edit",
        {
            "namespaces": [{"name": "acc-edit-a"}, {"name": "acc-edit-b"}],
            "access": {"bindings": [DEVELOPERS, {"role": "Viewer", "subjects": [{"kind": "User", "name": "v"}]}]},
        },
    )
    here = {"role": "Admin", "subjects": [{"kind": "Group", "name": "x"}], "namespaces": ["acc-edit-b"]}
    developers = {"role": "Developer", "subjects": [{"kind": "Group", "name": "y"}]}
    await tenant.edit({"access": {"bindings": [developers, here]}})
    found = {which: await tenants.bodies(stage.admin, BINDINGS.format(f"acc-edit-{which}")) for which in "ab"}
    assert found["a"].keys() == {"securetenant-developer"}
    assert found["b"].keys() == {"securetenant-developer", "securetenant-admin"}
    assert found["a"]["securetenant-developer"]["subjects"] == [GROUP | {"name": "y"}]
    await tenant.edit({"access": None})
    assert await tenants.bodies(stage.admin, BINDINGS.format("acc-edit-b")) == {}


async def test_a_foreign_one_is_reported_removed_or_ignored_as_told(stage: Stage) -> None:
    tenant = await stage.tenant("acc-open", {"namespaces": [{"name": "acc-open-a"}]})
    collection = BINDINGS.format("acc-open-a")
    await create(stage.admin, collection, binding("back-door", USER, role="cluster-admin"))
    await tenant.reported(FOREIGN)
    (item,) = await tenant.items()
    assert item == {
        "control": "access",
        "kind": "RoleBinding",
        "namespace": "acc-open-a",
        "name": "back-door",
        "reason": "Foreign",
        "manager": MANAGER,
    }
    drifted = await tenant.condition("Drifted")
    assert drifted["status"] == "True"
    assert "back-door" in drifted["message"]
    assert (await tenant.get())["status"]["namespaces"][0]["drift"] == 1

    tenant.standing.subtract([FOREIGN])
    await tenant.edit({"access": {"foreign": "Ignore"}})
    assert "back-door" in await tenants.bodies(stage.admin, collection)

    tenant.detected.update([FOREIGN])  # it is a deviation again, and now one that is undone
    tenant.corrected.update([FOREIGN])
    await tenant.edit({"access": {"foreign": "Remove"}})
    assert await tenants.bodies(stage.admin, collection) == {}

    await create(stage.admin, collection, binding("back-door", USER))
    await tenant.healed(FOREIGN)
    assert await tenants.bodies(stage.admin, collection) == {}


async def test_a_foreign_one_that_goes_is_over(stage: Stage) -> None:
    tenant = await stage.tenant("acc-over", {"namespaces": [{"name": "acc-over-a"}]})
    collection = BINDINGS.format("acc-over-a")
    await create(stage.admin, collection, binding("back-door", USER))
    await tenant.reported(FOREIGN)
    await stage.admin.delete(f"{collection}/back-door")
    await tenant.cleared(FOREIGN)


#: Subjects of a ClusterRoleBinding, and whether they are the tenant's, whose namespace is `acc-wide-a`.
WIDE: Final = [
    pytest.param(GROUP | {"name": "acc-wide"}, True, id="named-group"),
    pytest.param(USER | {"name": "acc-wide"}, False, id="user-of-the-groups-name"),
    pytest.param({"kind": "ServiceAccount", "name": "any", "namespace": "acc-wide-a"}, True, id="own-account"),
    pytest.param(USER | {"name": "system:serviceaccount:acc-wide-a:any"}, True, id="own-account-as-user"),
    pytest.param(GROUP | {"name": "system:serviceaccounts:acc-wide-a"}, True, id="own-accounts-as-group"),
    pytest.param({"kind": "ServiceAccount", "name": "bot", "namespace": "acc-ci"}, True, id="named-account"),
    pytest.param(USER | {"name": "system:serviceaccount:acc-ci:bot"}, True, id="named-account-as-user"),
    pytest.param(GROUP | {"name": "system:serviceaccounts:acc-ci"}, True, id="named-account-by-its-group"),
    pytest.param({"kind": "ServiceAccount", "name": "bot", "namespace": "elsewhere"}, False, id="other-namespace"),
    pytest.param(USER | {"name": "system:serviceaccount:acc-ci:other"}, False, id="other-account"),
    pytest.param(USER | {"name": "system:serviceaccount:acc-wide-aa:any"}, False, id="namespace-of-that-prefix"),
]


@pytest.fixture(scope="module")
def spec_wide() -> dict[str, Any]:
    subjects = [
        {"kind": "Group", "name": "acc-wide"},
        {"kind": "ServiceAccount", "name": "bot", "namespace": "acc-ci"},
    ]
    bindings = [{"role": "Viewer", "subjects": subjects}]
    return {"namespaces": [{"name": "acc-wide-a"}], "access": {"foreign": "Remove", "bindings": bindings}}


@pytest_asyncio.fixture(scope="module")
async def wide(stage: Stage, spec_wide: dict[str, Any]) -> Tenant:
    return await stage.tenant("acc-wide", spec_wide)


@pytest.mark.parametrize(("subject", "concerned"), WIDE)
async def test_rights_everywhere_are_reported_and_never_removed(
    stage: Stage, wide: Tenant, subject: dict[str, str], concerned: bool
) -> None:
    """`foreign: Remove` or not. What does not concern the tenant is made first, together with one that does, so that
    its silence is not just lateness."""
    await create(stage.admin, CLUSTER_BINDINGS, binding("acc-wide-door", subject, role="view"))
    try:
        if concerned:
            await wide.reported(FOREIGN)
            (item,) = await wide.items()
            assert (item["kind"], item["name"], item["manager"]) == ("ClusterRoleBinding", "acc-wide-door", MANAGER)
            assert await stage.admin.find(f"{CLUSTER_BINDINGS}/acc-wide-door")
        else:
            await create(stage.admin, CLUSTER_BINDINGS, binding("acc-wide-sure", GROUP | {"name": "acc-wide"}))
            await wide.reported(FOREIGN)
            assert [item["name"] for item in await wide.items()] == ["acc-wide-sure"]
    finally:
        await stage.admin.delete(f"{CLUSTER_BINDINGS}/acc-wide-door")
        await stage.admin.delete(f"{CLUSTER_BINDINGS}/acc-wide-sure")
    await wide.cleared(FOREIGN)
