"""Rules of addresses while the cluster grows: what it declares as its own is taken out; and peers that are written by
the subnets of their namespaces."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support.addresspeers import excepts, versions, wide, written
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import Stage, peer_rule

pytestmark = pytest.mark.cluster

NODES: Final = "/api/v1/nodes"
POOLS: Final = "/apis/securetenant.dev/v1alpha1/subnetpools"
POOL: Final = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SubnetPool"}
SERVICES: Final = "/apis/networking.k8s.io/v1/servicecidrs"
SINCE: Final = 33  # ServiceCIDR


@contextlib.asynccontextmanager
async def standing(admin: Admin, path: str, name: str, **content: Any) -> AsyncIterator[None]:
    """An object of the cluster, until the end of the block."""
    await admin.create(path, {"metadata": {"name": name}, **content})
    try:
        yield
    finally:
        await admin.delete(f"{path}/{name}")


async def has_addresses(admin: Admin, node: str) -> bool:
    return bool((await admin.get(f"{NODES}/{node}"))["status"].get("addresses"))


async def test_what_the_cluster_declares_later_is_taken_out_later(stage: Stage, minor: int) -> None:
    admin = stage.admin
    tenant = await stage.tenant("adr-wide", {"namespaces": [{"name": "adr-wide-a"}], "network": wide()})
    other = await stage.tenant("adr-far", {"namespaces": [{"name": "adr-far-a"}], "network": wide("203.0.113.0/28")})
    await excepts(admin, "adr-wide-a")
    far = await versions(admin, "adr-far-a")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(standing(admin, NODES, "adr-1", spec={"podCIDRs": ["198.18.64.0/24"]}))
        await excepts(admin, "adr-wide-a", "198.18.64.0/24")
        await wait_for(lambda: has_addresses(admin, "adr-1"), 20, "kwok to give the node an address of its own")
        listed = [{"type": "InternalIP", "address": "198.18.7.1"}, {"type": "Hostname", "address": "adr-1"}]
        await admin.patch(f"{NODES}/adr-1/status", {"status": {"addresses": listed}})
        await excepts(admin, "adr-wide-a", "198.18.64.0/24", "198.18.7.1/32")
        pool = {"cidrs": ["198.19.0.0/20"], "reserved": ["198.19.4.0/24"]}
        await stack.enter_async_context(standing(admin, POOLS, "adr", **POOL, spec=pool))
        await excepts(admin, "adr-wide-a", "198.18.64.0/24", "198.18.7.1/32", "198.19.0.0/20")

        before = await versions(admin, "adr-wide-a")
        entry = {"name": "adr-in-a", "subnet": {"cidr": "198.19.4.0/24"}}
        await stage.tenant("adr-in", {"namespaces": [entry]})
        assert await versions(admin, "adr-wide-a") == before, "a subnet in a pool changes nobody's policies"
        if minor >= SINCE:
            services = standing(admin, SERVICES, "adr", spec={"cidrs": ["198.19.128.0/20"]})
            await stack.enter_async_context(services)
            parts = ("198.18.64.0/24", "198.18.7.1/32", "198.19.0.0/20", "198.19.128.0/20")
            await excepts(admin, "adr-wide-a", *parts)
        await tenant.agrees("what the cluster declares to be no drift")
        condition = await tenant.condition("WhitelistNarrowed")
        assert (condition["status"], condition["reason"]) == ("True", "ClusterInternal")
        assert "198.18.7.1/32" in condition["message"]

        await tenant.edit({"network": wide("198.19.3.0/24")})
        assert await written(admin, "adr-wide-a", "egress-wide") is None
        pending = (await tenant.get())["status"]["whitelist"]["pending"]
        assert {"all of 198.19.3.0/24 is cluster-internal" in one["reason"] for one in pending} == {True}
        await tenant.edit({"network": wide()})
    # The subnet of adr-in is declared still.
    await excepts(admin, "adr-wide-a", "198.19.4.0/24")
    await tenant.agrees("what the cluster declares no more to be no drift")
    assert await versions(admin, "adr-far-a") == far
    await other.agrees()


async def test_peers_are_written_by_the_subnet_once_it_is_given(stage: Stage) -> None:
    admin = stage.admin
    rules = {"peersBy": "Subnet", "ingress": [peer_rule("near", "ingress", {"tenant": "adr-src"}, ports=[443])]}
    tenant = await stage.tenant("adr-dst", {"namespaces": [{"name": "adr-dst-a"}], "network": rules})
    egress = {"egress": [peer_rule("to", "egress", {"tenant": "adr-dst"}, ports=[443])]}
    source = await stage.tenant("adr-src", {"namespaces": [{"name": "adr-src-a"}], "network": egress})

    async def is_without() -> bool:
        (pending,) = (await tenant.get())["status"]["whitelist"]["pending"]
        return "adr-src-a of tenant adr-src has no subnet" in pending["reason"]

    await wait_for(is_without, 20, "the flow to wait for a subnet")
    assert await written(admin, "adr-dst-a", "ingress-near") is None
    await source.edit({"namespaces": [{"name": "adr-src-a", "subnet": {"cidr": "198.18.20.0/24"}}]})

    async def is_written() -> bool:
        return await written(admin, "adr-dst-a", "ingress-near") == [{"ipBlock": {"cidr": "198.18.20.0/24"}}]

    await wait_for(is_written, 20, "the flow to be open")
    await tenant.agrees()
    assert await tenant.condition("WhitelistNarrowed") == {}
    (selected,) = await written(admin, "adr-src-a", "egress-to") or []
    assert "namespaceSelector" in selected, "the other side writes as it says"
    await tenant.edit({"network": {"peersBy": "Both"}})
    assert [list(peer) for peer in await written(admin, "adr-dst-a", "ingress-near") or []] == [
        ["namespaceSelector"],
        ["ipBlock"],
    ]
