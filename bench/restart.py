"""From the start of a new operator to the first correction it makes, of what was done while none ran."""

import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Final

from bench.client import Client
from bench.heal import Policy, observing, tamper
from sandbox.client import Admin, wait_for
from sandbox.operator import NAMESPACE, run_operator
from sandbox.plane import Plane
from securetenant.model import names
from securetenant.model.kinds import LEASE

_LEASE: Final = LEASE.path(NAMESPACE, names.LEASE)


async def restart(
    plane: Plane, folder: Path, kubeconfig: Path, admin: Client, policies: Sequence[Policy], name: str
) -> list[float]:
    """Seconds from the start of the process to a policy that was deleted before, once per policy.

    No operator runs when this begins, and the last one ended cleanly.
    """
    taken = []
    for number, policy in enumerate(policies):
        taken.append(await _first_heal(plane, folder, kubeconfig, admin, policy, f"{name}-{number}", SIGTERM))
    return taken


async def restart_after_kill(
    plane: Plane, folder: Path, kubeconfig: Path, admin: Client, policy: Policy, name: str
) -> float:
    """The same after kill -9: at most the Lease's duration more. No operator runs when this begins."""
    async with run_operator(plane, folder, name=f"{name}-killed", kubeconfig=kubeconfig) as operator:
        async with Admin(plane) as asking:
            await leading(asking)
        await operator.stop(SIGKILL)
    return await _first_heal(plane, folder, kubeconfig, admin, policy, f"{name}-next", SIGTERM)


async def _first_heal(
    plane: Plane, folder: Path, kubeconfig: Path, admin: Client, policy: Policy, name: str, end: Signals
) -> float:
    async with observing(admin) as (observer, watch):
        await tamper(admin, observer, policy, "deleted")
        begin = time.perf_counter()
        async with run_operator(plane, folder, name=name, kubeconfig=kubeconfig, wait_ready=0) as operator:
            undone = await observer.when_undone(watch, f"a new operator to heal {policy.path}")
            await operator.stop(end)
    return undone - begin


async def leading(admin: Admin) -> None:
    """Wait until somebody holds the Lease, which nobody held before: the operator that was just started."""

    async def is_held() -> bool:
        return bool((await admin.get(_LEASE))["spec"].get("holderIdentity"))

    await wait_for(is_held, 60, "the operator to lead")
