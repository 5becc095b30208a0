"""Rules of addresses after a restart: what no object of the cluster says, the other tenants' specs do."""

from pathlib import Path

import pytest

from tests.support import life
from tests.support.addresspeers import excepts, versions, wide
from tests.support.sandbox import Admin, Plane, run_operator

pytestmark = pytest.mark.cluster


async def test_after_a_restart_nothing_is_opened_until_all_tenants_are_known(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    """The subnet of adr-z stands in no object but its SecureTenant."""
    entry = {"name": "adr-z-a", "subnet": {"cidr": "198.18.9.0/24"}}
    try:
        async with run_operator(plane, tmp_path, name="before") as operator:
            await life.create(admin, "adr-z", {"namespaces": [entry], "subnets": {"provider": "None"}})
            await life.create(admin, "adr-a", {"namespaces": [{"name": "adr-a-a"}], "network": wide()})
            await excepts(admin, "adr-a-a", "198.18.9.0/24")
            await life.ready(admin, "adr-z")
            await life.ready(admin, "adr-a")
            await life.settled(operator, "adr-a")
            before = await versions(admin, "adr-a-a")
        async with run_operator(plane, tmp_path, name="after") as operator:
            await life.settled(operator, "adr-a")
            await life.settled(operator, "adr-z")
            assert await versions(admin, "adr-a-a") == before
    finally:
        await life.remove(admin, "adr-a", "adr-z")
