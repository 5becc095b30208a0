"""Templates over a restart: what changed while no operator ran is a rollout, and what did not is left alone."""

from pathlib import Path
from typing import Final

import pytest

from tests.cluster.test_templates import TEMPLATES, closed, make, opens, spec, told, use, web
from tests.support import life
from tests.support.life import NAMESPACES
from tests.support.sandbox import Admin, Plane, run_operator, wait_for
from tests.support.tenants import POLICIES, Tenant, is_leading

pytestmark = pytest.mark.cluster

EDGE: Final = "tpl-restart-edge"


async def _versions(admin: Admin, namespace: str) -> list[str]:
    return sorted(one["metadata"]["resourceVersion"] for one in (await admin.get(POLICIES.format(namespace)))["items"])


async def test_what_changed_while_none_ran_is_a_rollout(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    await admin.create(NAMESPACES, {"metadata": {"name": EDGE}})
    await make(admin, "tpl-kept", web(EDGE))
    await make(admin, "tpl-lost", web(EDGE))
    try:
        async with run_operator(plane, tmp_path, name="before") as operator:
            await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
            for name, template in (("tpl-same", "tpl-kept"), ("tpl-gone", "tpl-lost")):
                await life.create(admin, name, spec(f"{name}-a", use(template)))
                await opens(admin, f"{name}-a", 8443)
                await life.settled(operator, name)
            before = await _versions(admin, "tpl-same-a")
        await admin.delete(f"{TEMPLATES}/tpl-lost")
        async with run_operator(plane, tmp_path, name="without") as operator:
            await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
            await closed(admin, "tpl-gone-a")
            gone, same = Tenant(admin, operator, "tpl-gone"), Tenant(admin, operator, "tpl-same")
            await told(gone, "False", "NoTemplate")
            await gone.agrees("the deletion to be no drift")
            await same.agrees("nothing to have been done")
            assert await _versions(admin, "tpl-same-a") == before
        await admin.patch(f"{TEMPLATES}/tpl-kept", {"spec": web(EDGE, ports=[{"port": 1}])})
        async with run_operator(plane, tmp_path, name="after") as operator:
            await wait_for(lambda: is_leading(operator), 30, "the operator to lead")
            await opens(admin, "tpl-same-a", 1)
            await Tenant(admin, operator, "tpl-same").agrees("the change to be no drift")
    finally:
        await life.remove(admin, "tpl-same", "tpl-gone")
        for path in (f"{TEMPLATES}/tpl-kept", f"{TEMPLATES}/tpl-lost", f"{NAMESPACES}/{EDGE}"):
            await admin.request("DELETE", path)
