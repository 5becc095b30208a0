"""What several of the cluster tests start from."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from securetenant.kube.transport import Transport
from tests.support import tenants
from tests.support.lease import Asked, Election, staged, unable_to_watch
from tests.support.sandbox import ROOT, Admin, Plane
from tests.support.tenants import Stage

NODE_RIGHTS: Final = ROOT / "manifests" / "components" / "nodes" / "role.yaml"


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """The operator as it ships, for all tests of a module; what they made is removed after the last."""
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module")
async def node_rights(admin: Admin, manifests: None) -> AsyncIterator[None]:
    """The opt-in right over nodes, for all tests of a module."""
    await admin.apply(NODE_RIGHTS)
    yield
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(NODE_RIGHTS))


@pytest_asyncio.fixture
async def election(plane: Plane) -> AsyncIterator[Election]:
    """A Lease of the test's own, and the candidates for it."""
    async with staged(plane) as election:
        yield election


@pytest_asyncio.fixture(scope="module")
async def poller(
    plane: Plane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Transport, Asked]]:
    """Who may not watch the Lease."""
    async with unable_to_watch(plane, admin, tmp_path_factory.mktemp("poller")) as poller:
        yield poller
