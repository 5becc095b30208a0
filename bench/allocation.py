"""``python -m bench.allocation``: how long one process takes to give subnets to namespaces. Pure, without a cluster."""

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from bench.tenants import namespace_name, tenant_name
from securetenant.api.tenant import SecureTenant
from securetenant.cache.snapshot import world_of
from securetenant.cache.world import World
from securetenant.controls.subnets import pools
from securetenant.controls.subnets.control import CONTROL
from securetenant.model.kinds import CALICO_IP_POOL, SUBNET_POOL
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform

_NOW: Final = datetime.now(UTC)
# Room for 16,384 subnets; one range in it is never given out.
_POOL: Final = {"cidrs": ["10.0.0.0/10"], "reserved": ["10.0.4.0/22"], "prefixLength": 24}


def world(subnets: int) -> tuple[World, list[SecureTenant]]:
    """So many tenants with a namespace each, of which none has its subnet yet."""
    tenants = [_tenant(number) for number in range(subnets)]
    spec = {"spec": msgspec.Raw(msgspec.json.encode(_POOL))}
    pool = Observed(Ref(SUBNET_POOL, "", "bench"), "", "", "", False, {}, {}, (), (), spec)
    return world_of({SUBNET_POOL: [pool], CALICO_IP_POOL: []}, tenants, Platform()), tenants


def _tenant(number: int) -> SecureTenant:
    entry = {"name": namespace_name(number), "subnet": {"pool": "bench"}}
    return SecureTenant.model_validate({"metadata": {"name": tenant_name(number)}, "spec": {"namespaces": [entry]}})


def measure(subnets: int) -> dict[str, float]:
    """Seconds: to give each its block, to plan all again, and for the status of the pool."""
    at, tenants = world(subnets)

    def planned() -> float:
        start = time.perf_counter()
        for tenant in tenants:
            at.addresses.reserve(tenant.name, CONTROL.plan(tenant, at, _NOW).reserved)
        return time.perf_counter() - start

    figures = {"subnets": subnets, "allocation": planned(), "again": planned()}
    start = time.perf_counter()
    chores, _ = pools.due(at, _NOW)
    figures["pool"] = time.perf_counter() - start
    given = chores[0].value["subnets"]
    if given != subnets:
        raise AssertionError(f"{given} subnets were given, not {subnets}")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.allocation", description=__doc__)
    parser.add_argument("--subnets", type=int, default=5000, metavar="N", help="how many (default: 5000)")
    print(json.dumps(measure(parser.parse_args().subnets)))
