"""The operator under the policy on its own account: its whole work goes on, and what it writes right after it marked a
namespace is refused for a moment at most."""

from typing import Final

import pytest

from sandbox import audit
from tests.support import life
from tests.support.life import CHILDREN, NAMESPACES
from tests.support.locked import TENANT
from tests.support.posture import FOREIGN
from tests.support.sandbox import Plane, wait_for
from tests.support.tenants import BINDINGS, Stage

pytestmark = pytest.mark.cluster

POLICY: Final = "operator.securetenant.dev"
USER: Final = "system:serviceaccount:securetenant-system:securetenant"


def refusals(plane: Plane, offset: int) -> list[str]:
    """What the policy refused the operator, as the audit log says it."""
    assert plane.audit_log is not None
    events, _ = audit.read(plane.audit_log, offset)
    return [
        event["requestURI"]
        for event in events
        if event["user"]["username"] == USER
        and event["responseStatus"]["code"] == 403
        and f"'{POLICY}'" in event["responseStatus"].get("message", "")
    ]


def end_of(plane: Plane) -> int:
    assert plane.audit_log is not None
    return plane.audit_log.stat().st_size


async def test_what_is_written_right_after_the_mark_is_written(plane: Plane, stage: Stage) -> None:
    """Adoption: the API server's cache of namespaces is behind. Nothing of that is told as a failure."""
    offset = end_of(plane)
    spaces = [f"restrained-old-{number}" for number in range(12)]
    for space in spaces:
        await stage.namespace(space)
    for number in range(0, 12, 2):
        pair = [{"name": space, "adopt": True} for space in spaces[number : number + 2]]
        await stage.create(f"restrained-{number}", life.spec(namespaces=pair))
    for number in range(0, 12, 2):
        await life.ready(stage.admin, f"restrained-{number}")
    print(f"refused for a moment, of 12 namespaces: {len(refusals(plane, offset))} requests")
    log = stage.operator.log.read_text()
    assert "WriteFailed" not in log
    assert f"'{POLICY}'" not in log


async def test_a_mark_that_is_put_back_is_no_obstacle_either(plane: Plane, stage: Stage) -> None:
    """Mark and contents are taken away in one moment by break-glass."""
    tenant = await stage.tenant("restrained-marks", life.spec("restrained-marks-a"))
    path = f"{NAMESPACES}/restrained-marks-a"
    policy = CHILDREN["networkpolicies"].format("restrained-marks-a") + "/securetenant-default-deny"
    await stage.admin.patch(path, {"metadata": {"labels": {TENANT: None}}})
    await stage.admin.delete(policy)
    await tenant.healed(("namespaces", "Changed"), ("network", "Missing"))


async def test_a_foreign_binding_with_a_finalizer_is_removed(stage: Stage) -> None:
    """To a role that the operator may not bind: only its finalizers may be written."""
    where = BINDINGS.format("restrained-foreign-a")
    tenant = await stage.tenant("restrained-foreign", life.spec("restrained-foreign-a", access={"foreign": "Remove"}))
    await stage.admin.create(where, {"metadata": {"name": "x", "finalizers": ["example.com/x"]}, **FOREIGN["binding"]})
    await tenant.healed(("access", "Foreign"))
    assert await stage.admin.find(f"{where}/x") is None


async def test_it_was_refused_nothing_for_good(plane: Plane, stage: Stage) -> None:
    """Over creation, edit, release and deletion by both policies: each object that was refused was written later."""
    offset = end_of(plane)
    for policy in ("Retain", "Delete"):
        name = f"restrained-{policy.lower()}"
        tenant = await stage.tenant(name, life.spec(f"{name}-a", f"{name}-b", deletionPolicy=policy))
        await tenant.edit({"namespaces": [{"name": f"{name}-a"}], "network": {"ingress": []}})
        await tenant.delete()

    async def is_quiet() -> bool:
        return (await stage.operator.metric("securetenant_workqueue_depth")) == 0

    await wait_for(is_quiet, 10, "the operator to have nothing to do")
    assert refusals(plane, offset) == []
