"""The whitelist in the Admin tier, written by one operator and taken away by the next, which is told to write none."""

from pathlib import Path

import pytest

from sandbox.cni import crds
from tests.cluster.test_admin_tier import CRD, ON, RIGHTS, names_are, spec
from tests.support import life, tenants
from tests.support.sandbox import Admin, Plane, wait_for

pytestmark = pytest.mark.cluster


async def test_switched_off_it_is_taken_away(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    await admin.apply(RIGHTS)
    async with crds.served(admin, CRD):
        (tmp_path / "on").mkdir()
        async with tenants.stage(plane, admin, tmp_path / "on", env=ON) as stage:
            await stage.tenant("at-off", spec("at-off-a"))
            await names_are(admin, {"securetenant-at-off-a"}, "at-off-a")
            stage.names.clear()
        (tmp_path / "off").mkdir()
        async with tenants.stage(plane, admin, tmp_path / "off") as stage:
            stage.names.append("at-off")
            await names_are(admin, set(), "at-off-a")
            await life.ready(admin, "at-off")

            async def is_silent() -> bool:
                found = (await life.get(admin, "at-off"))["status"]["conditions"]
                return "AdminTier" not in {one["type"] for one in found}

            await wait_for(is_silent, 20, "AdminTier not to be told any more")
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(RIGHTS))
