"""``python -m bench.subnets``: convergence of tenants whose namespaces have subnets, beside the same writes in a bare
loop, and beside the same tenants without subnets.

With Calico's CustomResourceDefinition, as no controller of Calico has to answer: what is measured is the operator.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from bench import converge
from bench.quiet import settle
from bench.restart import leading
from bench.run import ROOT, Bed, bed
from bench.tenants import MODEL, Template, template
from sandbox import build
from sandbox.client import Admin
from sandbox.cni import crds
from sandbox.operator import run_operator
from securetenant.model import names
from securetenant.model.kinds import CALICO_IP_POOL, SUBNET_POOL

_POOL: Final = "bench"
# Room for 16,384 subnets.
_SPEC: Final = {"cidrs": ["10.0.0.0/10"], "prefixLength": 24}


async def measure(tenants: int) -> dict[str, Any]:
    """Seconds to converge; ``over_floor``, ``over_without``: the ratios to the bare loop and to no subnets."""
    async with _with_calico() as at:
        with_subnets, model = await _operator(at, tenants, _POOL)
        given = await _given(at)
    async with _with_calico() as at:
        floor = await converge.converge_floor(at.admin, at.writer, model, tenants, 1, _POOL)
    async with _with_calico() as at:
        without, _ = await _operator(at, tenants, "")
    if given != tenants + 1:
        raise AssertionError(f"{given} subnets were given, not {tenants + 1}")
    return {
        "tenants": tenants,
        "subnets_seconds": round(with_subnets, 2),
        "floor_seconds": round(floor, 2),
        "without_seconds": round(without, 2),
        "over_floor": round(with_subnets / floor, 2),
        "over_without": round(with_subnets / without, 2),
    }


@asynccontextmanager
async def _with_calico() -> AsyncIterator[Bed]:
    async with bed() as at, Admin(at.plane) as admin:
        await crds.install(admin, crds.CALICO)
        role = str(ROOT / "manifests" / "components" / "subnets" / "role.yaml")
        await admin.kubectl("apply", "-f", role)
        body = {"apiVersion": names.API_VERSION, "kind": SUBNET_POOL.name, "metadata": {"name": _POOL}, "spec": _SPEC}
        await admin.create(SUBNET_POOL.path(), body)
        yield at


async def _operator(at: Bed, tenants: int, pool: str) -> tuple[float, Template]:
    async with run_operator(at.plane, at.folder, kubeconfig=at.kubeconfig) as operator:
        async with Admin(at.plane) as asking:
            await leading(asking)
        await converge.converge(at.admin, range(MODEL, MODEL + 1), 1, pool=pool)
        model = await template(at.admin, (CALICO_IP_POOL,) if pool else ())
        await settle(operator)
        return await converge.converge(at.admin, range(1, tenants + 1), 1, pool=pool), model


async def _given(at: Bed) -> int:
    async with Admin(at.plane) as admin:
        return len((await admin.get(CALICO_IP_POOL.path()))["items"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.subnets", description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000, metavar="N", help="how many (default: 1,000)")
    build.ensure()
    print(json.dumps(asyncio.run(measure(parser.parse_args().tenants))))
