"""What packets need, and where it is missing: skipped, and why; in CI a failure."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import enforcer
from sandbox.cni import crds
from sandbox.errors import SandboxError
from sandbox.plane import Plane
from tests.support.packets import rig as rigs
from tests.support.packets.netns import Netns
from tests.support.packets.rig import Rig
from tests.support.sandbox import Admin


@pytest.fixture(scope="session")
def program() -> Path:
    """The enforcer, on a machine on which network namespaces and a rule with NFQUEUE can be made."""
    try:
        built = enforcer.ensure()
        _try()
    except (OSError, AssertionError, SandboxError) as error:
        told = f"no packets, they need Linux, root (CAP_SYS_ADMIN and CAP_NET_ADMIN), ip and nsenter: {error}"
        print(f"\n{told}")
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return built


def _try() -> None:
    netns = Netns()
    try:
        netns.links("link add probe type veth peer name other")
        netns.queue_new(rigs.QUEUE)
    finally:
        netns.close()


@pytest_asyncio.fixture(scope="session")
async def rig(
    program: Path, plane: Plane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    """The node and the enforcer, for all tests here. ClusterNetworkPolicies are served: without them it waits."""
    async with (
        crds.served(admin, crds.CLUSTER_NETWORK_POLICY),
        rigs.rig(plane, admin, program, tmp_path_factory.mktemp("packets")) as made,
    ):
        yield made
