"""One size, measured: rounds of floor and operator on fresh control planes, the last operator then measured further."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import admission, converge, fight, heal, inspection, restart
from bench.client import Client, connect
from bench.heal import Spacing, bare_healer, heals, quantiles
from bench.process import cpu_seconds, memory
from bench.quiet import quiet, requests_so_far, settle
from bench.restart import leading
from bench.tenants import COLLECTION, CRD, MODEL, Template, namespace_name, template
from sandbox import plane as sandbox_plane
from sandbox.client import Admin, wait_for
from sandbox.operator import operator_kubeconfig, operator_token, run_operator
from sandbox.plane import Plane

ROOT = Path(__file__).resolve().parent.parent
#: Seconds in which the fresh control plane's own start has ended.
_CALM_SECONDS = 3.0
_PROGRAMS = ("kube-apiserver", "etcd", "kube-controller-manager")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and how often."""

    namespaces: int = 1
    rounds: int = 3
    heals: int = 100
    restarts: int = 3
    quiet_seconds: float = 60.0
    pods: int = 300
    running: int = 10_000


@dataclass(frozen=True, slots=True)
class Bed:
    """A fresh control plane with manifests/, and who asks it: the administrator, and the operator's account."""

    plane: Plane
    folder: Path
    kubeconfig: Path
    admin: Client
    writer: Client


@dataclass(slots=True)
class Rounds:
    """Seconds of each round, and of the CPU in them by who used it."""

    operator: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    objects_only: list[float] = field(default_factory=list)
    cpu: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {"operator": [], "floor": []})


async def measure(tenants: int, options: Options, say: Say) -> dict[str, Any]:
    """All figures for one number of tenants, by their names in the results' file."""
    rounds = Rounds()
    figures: dict[str, Any] = {}
    model: Template | None = None
    for number in range(options.rounds):
        is_last = number == options.rounds - 1
        first, second = ("operator", "floor") if model is None or number % 2 == 0 else ("floor", "operator")
        for side in (first, second):
            say(f"{tenants} tenants, round {number + 1} of {options.rounds}: {side}")
            async with bed() as at:
                if side == "operator":
                    model = await _operator_round(at, tenants, options, rounds, figures if is_last else None, say)
                else:
                    assert model is not None
                    await _floor_round(at, tenants, options, rounds, model, say)
    assert model is not None
    say(f"{tenants} tenants: their objects alone")
    async with bed() as at:
        figures["objects_only_seconds"] = round(await converge.objects_only_floor(at.writer, model, tenants), 3)
    return _converged(tenants, options, rounds, model) | figures


async def _operator_round(
    at: Bed, tenants: int, options: Options, rounds: Rounds, figures: dict[str, Any] | None, say: Say
) -> Template:
    """Converge; with ``figures`` all the rest too, which goes there."""
    async with run_operator(at.plane, at.folder, kubeconfig=at.kubeconfig) as operator:
        async with Admin(at.plane) as asking:
            await leading(asking)
        await converge.converge(at.admin, range(MODEL, MODEL + 1), options.namespaces)
        model = await template(at.admin)
        await settle(operator)
        sent, used = await requests_so_far(operator), _cpu(at.plane, operator.pid)
        rounds.operator.append(await converge.converge_operator(at.admin, tenants, options.namespaces))
        rounds.cpu["operator"].append(_since(used, _cpu(at.plane, operator.pid)))
        say(f"  converged in {rounds.operator[-1]:.2f} s")
        if figures is None:
            return model
        await settle(operator)
        sent = await requests_so_far(operator) - sent
        figures["requests_per_tenant"] = {
            " ".join(key): round(n / tenants, 3) for key, n in sorted(sent.items()) if "watch" not in key
        }
        say(f"  quiet for {options.quiet_seconds:.0f} s")
        calm = await quiet(operator, at.admin, options.quiet_seconds)
        figures["rss_after_converge_mb"] = memory(operator.pid).rss_mb
        found = heal.policies(model, tenants, options.namespaces)
        spacing = Spacing()
        for how in heal.TAMPERINGS:
            say(f"  heal {options.heals} {how} policies")
            taken = await heals(at.admin, found, how, options.heals, spacing)
            figures[f"heal_{how}_ms"] = quantiles(taken)
            say(f"  {figures[f'heal_{how}_ms']}")
        say("  a fight over one policy")
        figures["fight"] = await fight.fight(at.admin, found, min(options.heals, 50))
        say(f"  {figures['fight']}")
        held = memory(operator.pid)
        say(f"  {options.running} running pods are inspected")
        figures["inspection"] = await inspection.cost(operator, at.admin, found, options.running, options.heals)
        say(f"  {figures['inspection']}")
        figures |= {
            "quiet_requests_per_minute": calm.requests,
            "cpu_seconds_quiet_per_minute": calm.cpu_seconds,
            "quiet": asdict(calm),
            "rss_mb": held.rss_mb,
            "memory": asdict(held),
        }
        assert await operator.stop() == 0, operator.tail()
    await _restarts(at, options, found, figures, say)
    await _heal_floor(at, options, found, figures, say)
    await _admission(at, options, figures, say)
    return model


async def _admission(at: Bed, options: Options, figures: dict[str, Any], say: Say) -> None:
    say(f"  {options.pods} pods with the admission policies, and as many without")
    figures["pod_creation"] = await admission.pod_creation(at.admin, namespace_name(1), options.pods)
    say(f"  {figures['pod_creation']}")
    figures["apiserver_heap"] = await admission.memory(at.admin)


async def _restarts(at: Bed, options: Options, found: list[heal.Policy], figures: dict[str, Any], say: Say) -> None:
    say(f"  {options.restarts} restarts after a clean stop, 1 after kill -9")
    picked = (found * options.restarts)[-options.restarts :]
    taken = await restart.restart(at.plane, at.folder, at.kubeconfig, at.admin, picked, "restart")
    say(f"  {[round(seconds, 2) for seconds in taken]}")
    killed = await restart.restart_after_kill(at.plane, at.folder, at.kubeconfig, at.admin, found[0], "kill")
    figures |= {
        "restart_seconds": round(median(taken), 3),
        "restart_each_seconds": [round(seconds, 3) for seconds in taken],
        "restart_after_kill_seconds": round(killed, 3),
    }


async def _heal_floor(at: Bed, options: Options, found: list[heal.Policy], figures: dict[str, Any], say: Say) -> None:
    """The same tampering on the same, equally full control plane, undone by the bare client."""
    say("  heal: the floor")
    async with bare_healer(at.writer):
        for how in heal.TAMPERINGS:
            taken = await heals(at.admin, found, how, options.heals, None)
            figures[f"heal_{how}_floor_ms"] = quantiles(taken)


async def _floor_round(at: Bed, tenants: int, options: Options, rounds: Rounds, model: Template, say: Say) -> None:
    used = _cpu(at.plane, None)
    rounds.floor.append(await converge.converge_floor(at.admin, at.writer, model, tenants, options.namespaces))
    say(f"  the same writes in {rounds.floor[-1]:.2f} s")
    rounds.cpu["floor"].append(_since(used, _cpu(at.plane, None)))


def _converged(tenants: int, options: Options, rounds: Rounds, model: Template) -> dict[str, Any]:
    """The medians, and what they were made of."""
    seconds, floor = median(rounds.operator), median(rounds.floor)
    return {
        "tenants": tenants,
        "namespaces": options.namespaces,
        "objects": tenants * model.objects,
        "bytes_per_tenant": model.sizes,
        "converge_seconds": round(seconds, 3),
        "floor_seconds": round(floor, 3),
        "converge_ratio": round(seconds / floor, 2),
        "converge_rounds_seconds": [round(one, 3) for one in rounds.operator],
        "floor_rounds_seconds": [round(one, 3) for one in rounds.floor],
        "cpu_ratio": round(_median_total(rounds.cpu["operator"]) / _median_total(rounds.cpu["floor"]), 2),
        "operator_cpu_ms_per_tenant": round(median(r["operator"] for r in rounds.cpu["operator"]) * 1000 / tenants, 2),
        "cpu_seconds": rounds.cpu,
    }


def _median_total(rounds: list[dict[str, float]]) -> float:
    """CPU seconds of control plane, client and operator together: what other work on the machine disturbs least."""
    return max(median(sum(round_.values()) for round_ in rounds), 0.01)  # a clock tick


def _cpu(plane: Plane, operator: int | None) -> dict[str, float]:
    pids = {name: plane.pid(name) for name in _PROGRAMS} | {"bench": os.getpid()}
    return {name: cpu_seconds(pid) for name, pid in (pids | ({"operator": operator} if operator else {})).items()}


def _since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: round(after[name] - before[name], 2) for name in after}


async def apply_manifests(admin: Admin) -> None:
    """``kubectl apply -k manifests/``, and wait until SecureTenants are served."""
    await admin.kubectl("apply", "-k", str(ROOT / "manifests"))
    await admin.kubectl("wait", "--for=condition=Established", "--timeout=20s", f"crd/{CRD}")

    async def served() -> bool:
        return (await admin.request("GET", COLLECTION, params={"limit": "1"}))[0] == 200

    await wait_for(served, 20, "SecureTenants to be served")


@asynccontextmanager
async def bed() -> AsyncIterator[Bed]:
    """A control plane of its own, gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="securetenant-bench-"))
    plane = await asyncio.to_thread(sandbox_plane.start, folder / "plane")
    try:
        async with Admin(plane) as admin:
            await apply_manifests(admin)
        token = await operator_token(plane)
        kubeconfig = await operator_kubeconfig(plane, folder)
        async with connect(plane, plane.admin_token) as admin_client, connect(plane, token) as writer:
            await asyncio.sleep(_CALM_SECONDS)
            yield Bed(plane, folder, kubeconfig, admin_client, writer)
    finally:
        await asyncio.to_thread(plane.stop)
        shutil.rmtree(folder, ignore_errors=True)
