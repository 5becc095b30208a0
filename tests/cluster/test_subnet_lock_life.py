"""Both locks around a tenant's subnet under a running operator: on the object of the network plug-in, and on what binds
the namespace to it."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.checks import accounts
from tests.support import life, plugins, tenants
from tests.support.life import NAMESPACES, Json
from tests.support.locked import MASTERS, POLICY, WAYS, is_refused, merge
from tests.support.sandbox import MERGE_PATCH, ROOT, Admin, Plane
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster

RIGHTS: Final = ROOT / "manifests" / "components" / "subnets" / "role.yaml"
CALICO: Final = {"cni.projectcalico.org/ipv4pools": '["securetenant-locked-calico-a"]'}
CILIUM: Final = {"ipam.cilium.io/ip-pool": "securetenant-locked-cilium-a", "ipam.cilium.io/require-pool-match": "true"}
#: What the operator writes on the namespace, by tenant; and the object of its subnet.
BOUND: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "locked-calico": ("pool", CALICO),
    "locked-cilium": ("cilium", CILIUM),
}
#: Annotations by which pods would leave the subnet, whatever the plug-in.
LEFT: Final[dict[str, Json]] = {
    "other-pools": {"cni.projectcalico.org/ipv4pools": '["other"]', "ipam.cilium.io/ip-pool": "other"},
    "any-pool": {"cni.projectcalico.org/ipv4pools": "[]", "ipam.cilium.io/require-pool-match": "false"},
    "no-pool": dict.fromkeys((*CALICO, *CILIUM)),
    "another-family": {"cni.projectcalico.org/ipv6pools": '["other"]', "ipam.cilium.io/ipv4-pool": "other"},
    "another-plug-in": {"ovn.kubernetes.io/logical_switch": "ovn-default"},
    "a-further-network": {"net1.ns1.ovn.kubernetes.io/logical_switch": "other"},
}


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """The operator with the component `subnets`, on a cluster with two network plug-ins."""
    await admin.apply(RIGHTS)
    try:
        async with (
            plugins.served(admin, "pool", "cilium"),
            tenants.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage,
        ):
            yield stage
    finally:
        await admin.kubectl("delete", "--ignore-not-found", "-f", str(RIGHTS))


@pytest_asyncio.fixture(scope="module")
async def shops(stage: Stage) -> dict[str, Tenant]:
    """A tenant of each plug-in, with a subnet."""

    def spec(name: str, provider: str, cidr: str, **other: Any) -> Json:
        namespaces = [{"name": f"{name}-a", "subnet": {"cidr": cidr}}]
        return {"namespaces": namespaces, "subnets": {"provider": provider}, **other}

    return {
        "locked-calico": await stage.tenant("locked-calico", spec("locked-calico", "Calico", "10.91.0.0/24")),
        "locked-cilium": await stage.tenant("locked-cilium", spec("locked-cilium", "Cilium", "10.92.0.0/24")),
        "unlocked-calico": await stage.tenant(
            "unlocked-calico", spec("unlocked-calico", "Calico", "10.93.0.0/24", locks={"posture": False})
        ),
    }


def subnet(kind: str, name: str) -> str:
    return f"{plugins.collection(kind)}/{plugins.name(f'{name}-a')}"


async def annotations(admin: Admin, name: str) -> Json:
    found: Json = (await admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["annotations"]
    return found


@pytest.mark.parametrize("name", BOUND)
async def test_what_is_written_is_what_the_locks_read(stage: Stage, shops: dict[str, Tenant], name: str) -> None:
    kind, bound = BOUND[name]
    found = await stage.admin.get(subnet(kind, name))
    assert found["metadata"]["annotations"]["securetenant.dev/locks"] == "v1"
    assert found["metadata"]["labels"] == plugins.marks(name)
    assert bound.items() <= (await annotations(stage.admin, name)).items()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", LEFT)
@pytest.mark.parametrize("name", BOUND)
async def test_the_namespace_is_not_bound_to_another(
    shops: dict[str, Tenant], mallory: Admin, name: str, change: str, way: str
) -> None:
    path = f"{NAMESPACES}/{name}-a"
    before = await annotations(mallory, name)
    answer = await WAYS[way](mallory, path, {"annotations": LEFT[change]})
    # Server-side apply takes nothing away that the operator owns as well.
    is_kept = "apply" in way and change == "no-pool" and answer[0] == 200
    assert is_refused(answer) or is_kept, answer
    assert await annotations(mallory, name) == before


@pytest.mark.parametrize("name", BOUND)
async def test_its_subnet_is_locked_as_well(shops: dict[str, Tenant], mallory: Admin, name: str) -> None:
    kind, _ = BOUND[name]
    send = partial(mallory.request, path=subnet(kind, name))
    for field, moved in plugins.MOVED[kind].items():
        status, answer = await send("PATCH", body={"spec": moved}, content_type=MERGE_PATCH)
        assert (status, f"fixed: {field}" in answer["message"]) == (403, True), answer
    status, answer = await send("PATCH", body={"spec": plugins.OPENED[kind]}, content_type=MERGE_PATCH)
    assert (status, "locked: spec" in answer["message"]) == (403, True), answer
    status, answer = await send("DELETE")
    assert (status, "locked: deletion" in answer["message"]) == (403, True), answer


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("user", accounts.DEFAULT.cni)
async def test_the_plug_in_passes(plane: Plane, shops: dict[str, Tenant], user: str, name: str) -> None:
    """With its own annotations, whatever they say; with nothing of ours."""
    path = f"{NAMESPACES}/{name}-a"
    own = {"cni.projectcalico.org/podIP": "10.91.0.1", "ipam.cilium.io/x": "y", "ovn.kubernetes.io/cidr": "10.0.0.0/8"}
    async with Admin(plane, user=user, groups=[MASTERS]) as plugin:
        assert (await merge(plugin, path, {"annotations": own}))[0] == 200
        answer = await merge(plugin, path, {"annotations": {"securetenant.dev/locks": "v1;unlocked=namespaces"}})
        assert is_refused(answer), POLICY
        assert (await merge(plugin, path, {"annotations": dict.fromkeys(own)}))[0] == 200
    await shops[name].agrees()


async def test_nothing_was_drift(shops: dict[str, Tenant]) -> None:
    """What is refused leaves nothing to heal."""
    for tenant in shops.values():
        await tenant.agrees()


async def test_with_the_posture_lock_off_it_is_put_back(stage: Stage, shops: dict[str, Tenant], mallory: Admin) -> None:
    """The object says so; its addresses are fixed all the same."""
    tenant, path = shops["unlocked-calico"], subnet("pool", "unlocked-calico")
    before = await tenants.content(stage.admin, path)
    assert before["metadata"]["annotations"]["securetenant.dev/locks"] == "v1;unlocked=posture"
    status, answer = await mallory.request("PATCH", path, {"spec": {"cidr": "10.99.0.0/24"}}, content_type=MERGE_PATCH)
    assert (status, "fixed: spec.cidr" in answer["message"]) == (403, True), answer
    await mallory.patch(path, {"spec": {"nodeSelector": "all()"}})
    await tenant.healed(("subnets", "Changed"))
    await mallory.patch(path, {"metadata": {"annotations": {"securetenant.dev/locks": None}}})
    await tenant.healed(("subnets", "Changed"))
    assert await tenants.content(stage.admin, path) == before


async def test_the_lock_follows_the_spec(stage: Stage, shops: dict[str, Tenant], mallory: Admin) -> None:
    tenant, path = shops["unlocked-calico"], subnet("pool", "unlocked-calico")
    await tenant.edit({"locks": {"posture": True}})
    change = {"spec": {"nodeSelector": "all()"}}
    status, answer = await mallory.request("PATCH", path, change, content_type=MERGE_PATCH)
    assert (status, "locked: spec" in answer["message"]) == (403, True), answer
    await tenant.delete()
    await life.gone(stage.admin, f"{NAMESPACES}/unlocked-calico-b")
