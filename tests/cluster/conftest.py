"""What several of the cluster tests start from."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from tests.support import tenants
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
