"""What packets need, and where it is missing: skipped, and why; in CI a failure."""

import os
import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.cni import crds
from sandbox.plane import Plane
from tests.support.packets import rig as rigs
from tests.support.packets.netns import Netns
from tests.support.packets.rig import Rig
from tests.support.sandbox import Admin


@pytest.fixture(scope="session")
def rights() -> None:
    """Network namespaces can be made here, and a rule with NFQUEUE in them."""
    if reason := missing():
        told = f"no packets here: {reason}. They need Linux, root (CAP_SYS_ADMIN, CAP_NET_ADMIN), and ip and nsenter"
        print(f"\n{told}")
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)


def missing() -> str:
    """What is; "" if nothing."""
    try:
        netns = Netns()
    except (OSError, AttributeError, AssertionError) as error:
        return f"a network namespace cannot be made ({error})"
    try:
        netns.links("link add probe type veth peer name other")
        netns.queue_new(rigs.QUEUE)
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        netns.close()
    return ""


@pytest_asyncio.fixture(scope="session")
async def rig(rights: None, plane: Plane, admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """The node and the enforcer, for all tests here. ClusterNetworkPolicies are served: without them it waits."""
    async with (
        crds.served(admin, crds.CLUSTER_NETWORK_POLICY),
        rigs.rig(plane, admin, tmp_path_factory.mktemp("packets")) as made,
    ):
        yield made
