"""The API server's addresses while nobody says where it is: what was closed stays closed, after a restart too."""

import contextlib
from pathlib import Path
from typing import Any, Final

import pytest

from securetenant.settings import NODE_LOCAL
from tests.support import life
from tests.support.admission import refused
from tests.support.sandbox import Admin, Plane, run_operator, wait_for
from tests.support.tenants import POLICIES

pytestmark = pytest.mark.cluster
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
REAL: Final = f"{SLICES}/kubernetes"
SERVICES: Final = "10.96.0.0/16"  # taken out of every rule; newer servers say so themselves (ServiceCIDR)
EVERYWHERE: Final = {"name": "everywhere", "to": [{"cidr": "0.0.0.0/0", "except": [SERVICES]}]}
NEAR: Final = {"name": "near", "to": [{"cidr": "192.0.2.0/24"}]}
DECOY: Final = {
    "metadata": {"name": "kubernetes-decoy", "labels": {"kubernetes.io/service-name": "kubernetes"}},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["203.0.113.66"], "conditions": {"ready": True}}],
    "ports": [{"name": "https", "protocol": "TCP", "port": 4444}],
}


async def excepts(admin: Admin, namespace: str, rule: str) -> list[str]:
    policy = await admin.get(f"{POLICIES.format(namespace)}/securetenant-egress-{rule}")
    (peer,) = policy["spec"]["egress"][0]["to"]
    return [part for part in peer["ipBlock"]["except"] if part not in (SERVICES, NODE_LOCAL[0])]


async def says(admin: Admin, name: str, reason: str, ready: str) -> dict[str, Any]:
    """Wait until ApiServerKnown has this reason, and Ready that status; the tenant."""

    async def is_said() -> dict[str, Any]:
        tenant = await life.get(admin, name)
        assert life.condition(tenant, "ApiServerKnown").get("reason") == reason
        assert life.condition(tenant, "Ready")["status"] == ready
        assert tenant["status"]["observedGeneration"] == tenant["metadata"]["generation"]
        return tenant

    return await wait_for(is_said, 20, f"{name} to say {reason}")


async def test_what_was_closed_stays_closed(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    def spec(name: str, *rules: Any) -> dict[str, Any]:
        return {"namespaces": [{"name": f"{name}-a"}], "network": {"egress": list(rules)}}

    async def opened(*addresses: str) -> bool:
        return await excepts(admin, "eps-old-a", "everywhere") == [f"{address}/32" for address in addresses]

    slice_ = await admin.get(REAL)
    (address,) = (address for end in slice_["endpoints"] for address in end["addresses"])
    guards = contextlib.AsyncExitStack()
    try:
        async with run_operator(plane, tmp_path, name="before"):
            await life.create(admin, "eps-old", spec("eps-old", EVERYWHERE))
            tenant = await life.ready(admin, "eps-old")
            assert await opened(address)
            assert life.condition(tenant, "ApiServerKnown")["status"] == "True"
            assert tenant["status"]["whitelist"]["apiServer"] == [address]
            before = (await admin.get(POLICIES.format("eps-old-a")))["items"]

            await guards.enter_async_context(refused(admin, SLICES, "kubernetes", addressType="IPv4", endpoints=[]))
            await admin.delete(REAL)
            tenant = await says(admin, "eps-old", "LastKnown", "False")
            assert address in life.condition(tenant, "ApiServerKnown")["message"]
            assert (await admin.get(POLICIES.format("eps-old-a")))["items"] == before

            # Another one does not stand for it: it closes more, and opens nothing.
            await admin.create(SLICES, DECOY)
            await wait_for(lambda: opened(address, "203.0.113.66"), 20, "the decoy to be left out as well")
            await says(admin, "eps-old", "LastKnown", "False")
            await admin.delete(f"{SLICES}/kubernetes-decoy")
            await wait_for(lambda: opened(address), 20, "the decoy's address to be forgotten")

            await life.edit(admin, "eps-old", {"network": {"egress": [EVERYWHERE, NEAR]}})
            await says(admin, "eps-old", "LastKnown", "False")
            assert await excepts(admin, "eps-old-a", "near") == [f"{address}/32"]

            await life.create(admin, "eps-new", spec("eps-new", EVERYWHERE))
            tenant = await says(admin, "eps-new", "NoEndpoints", "False")
            assert tenant["status"]["whitelist"]["pendingCount"] == 1
            assert await admin.find(f"{POLICIES.format('eps-new-a')}/securetenant-egress-everywhere") is None
            before = (await admin.get(POLICIES.format("eps-old-a")))["items"]

        # The slice is gone, and the operator knows nothing but what the cluster tells it.
        async with run_operator(plane, tmp_path, name="after") as operator:
            await life.settled(operator, "eps-old")
            await says(admin, "eps-old", "LastKnown", "False")
            assert (await admin.get(POLICIES.format("eps-old-a")))["items"] == before
            await guards.aclose()
            await made_again(admin, slice_)
            for name in ("eps-old", "eps-new"):
                await says(admin, name, "EndpointsKnown", "True")
                assert await excepts(admin, f"{name}-a", "everywhere") == [f"{address}/32"]
                assert await life.drift(operator, name) == {}
    finally:
        await guards.aclose()
        await admin.delete(f"{SLICES}/kubernetes-decoy")
        await life.remove(admin, "eps-old", "eps-new")
        await made_again(admin, slice_)


async def made_again(admin: Admin, slice_: dict[str, Any]) -> None:
    """As the API server does by itself, in its next round of 10 s."""
    metadata = {key: slice_["metadata"][key] for key in ("name", "labels")}
    content = {key: slice_[key] for key in ("addressType", "endpoints", "ports")}

    async def is_there() -> bool:
        status, _ = await admin.request("POST", SLICES, {"metadata": metadata, **content})
        return status in (201, 409)

    await wait_for(is_there, 20, "the slice to be admitted again")
