"""The LimitRanges of a tenant from their creation to their removal, on a real control plane."""

from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import tampering, tenants
from tests.support.life import APPLIED
from tests.support.tampering import MANAGER, Tampering
from tests.support.tenants import RANGES, Stage, Tenant

pytestmark = pytest.mark.cluster
LIMITS: Final = {"container": {"max": {"cpu": "2", "memory": "1024Mi"}, "defaultRequest": {"cpu": "0.1"}}}
#: With what the API server would default written out.
RENDERED: Final = {
    "limits": [
        {
            "type": "Container",
            "default": {"cpu": "2", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "1Gi"},
            "max": {"cpu": "2", "memory": "1Gi"},
        }
    ]
}
TAMPERINGS: Final = (
    *tampering.ANY,
    tampering.json_patch("raise", {"op": "replace", "path": "/spec/limits/0/max/cpu", "value": "64"}),
    tampering.json_patch("add-field", {"op": "add", "path": "/spec/limits/0/min", "value": {"cpu": "1m"}}),
    tampering.json_patch("add-item", {"op": "add", "path": "/spec/limits/-", "value": {"type": "Pod"}}),
    tampering.merge("empty", {"spec": {"limits": []}}),
)


@pytest_asyncio.fixture(scope="module")
async def shop(stage: Stage) -> Tenant:
    """A tenant to lay hands on, with a namespace for each tampering."""
    names = [{"name": f"lim-shop-{number}"} for number in range(len(TAMPERINGS) + 1)]
    return await stage.tenant("lim-shop", {"namespaces": names, "limits": LIMITS})


def path(namespace: str) -> str:
    return f"{RANGES.format(namespace)}/securetenant"


async def test_created_as_declared(stage: Stage, shop: Tenant) -> None:
    found = await tenants.content(stage.admin, path("lim-shop-0"))
    assert found["metadata"]["labels"] == tenants.marks("lim-shop", "limits")
    assert found["metadata"]["annotations"].keys() == {APPLIED}
    assert found["spec"] == RENDERED


@pytest.mark.parametrize("number", range(len(TAMPERINGS)), ids=[tampering.name for tampering in TAMPERINGS])
async def test_tampering_is_healed(stage: Stage, shop: Tenant, number: int) -> None:
    done: Tampering = TAMPERINGS[number]
    target = path(f"lim-shop-{number}")
    before = await tenants.content(stage.admin, target)
    await done.do(stage.admin, target)
    await shop.healed(*(("limits", reason) for reason in done.reasons))
    assert await tenants.content(stage.admin, target) == before
    assert shop.told()[-1]["manager"] == (MANAGER if done.blamed else "")


async def test_a_forged_one_is_removed(stage: Stage, shop: Tenant) -> None:
    name = f"lim-shop-{len(TAMPERINGS)}"
    body: dict[str, Any] = {"metadata": {"name": "forged", "labels": tenants.marks("lim-shop", "limits")}}
    body["spec"] = {"limits": [{"type": "Pod", "max": {"cpu": "1m"}}]}
    await stage.admin.create(RANGES.format(name), body)
    await shop.healed(("limits", "Stale"))
    assert (await tenants.bodies(stage.admin, RANGES.format(name))).keys() == {"securetenant"}


async def test_another_of_the_tenants_own_is_left_alone(stage: Stage, shop: Tenant) -> None:
    """A LimitRange that others add only takes away: it is no finding."""
    name = f"lim-shop-{len(TAMPERINGS)}"
    body = {"metadata": {"name": "own"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
    await stage.admin.create(RANGES.format(name), body)
    await shop.agrees()
    assert (await tenants.bodies(stage.admin, RANGES.format(name))).keys() == {"own", "securetenant"}


async def test_edits_are_rolled_out_and_are_no_drift(stage: Stage) -> None:
    spec = {"namespaces": [{"name": "lim-edit-a"}, {"name": "lim-edit-b"}], "limits": LIMITS}
    tenant = await stage.tenant("lim-edit", spec)
    special = {"name": "lim-edit-b", "limits": {"container": {"max": {"cpu": "8"}}}}
    claims = {"max": {"storage": "10Gi"}}
    await tenant.edit({"namespaces": [{"name": "lim-edit-a"}, special], "limits": {"persistentVolumeClaim": claims}})
    found = [(await stage.admin.get(path(f"lim-edit-{which}")))["spec"]["limits"] for which in "ab"]
    eight = {"cpu": "8"}
    assert found[0] == [*RENDERED["limits"], {"type": "PersistentVolumeClaim", **claims}]
    assert found[1] == [
        {"type": "Container", "default": eight, "defaultRequest": eight, "max": eight},
        {"type": "PersistentVolumeClaim", **claims},
    ]
    await tenant.edit({"namespaces": [{"name": "lim-edit-a"}, {"name": "lim-edit-b"}], "limits": None})
    for which in "ab":
        assert await stage.admin.find(path(f"lim-edit-{which}")) is None
