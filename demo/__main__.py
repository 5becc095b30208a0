"""python -m demo: exit code 0 if all happened as told, 1 if not, 2 if the stage could not be set."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import admission, attacks, screen, stage, subnets, watching
from demo.scenes import Scene, scenes
from demo.screen import Played
from sandbox.client import Admin, wait_for
from sandbox.errors import SandboxError
from sandbox.operator import Metrics, Operator, run_operator
from sandbox.plane import Plane

HELP = """usage: make demo   (or: python -m demo)

Starts a real control plane on 127.0.0.1, runs the operator with the rights of its own ServiceAccount, applies the
tenants of examples/bank, tampers with them, and shows each deviation found and undone. Then it stops the operator, and
shows what the API server refuses without it.

  HOLD=0                          stop everything at the end also on a terminal
  PROMETHEUS=1                    a real Prometheus scrapes the operator beside it, and says which alerts fire
  SECURETENANT_TEST_KUBECONFIG    play on this cluster instead; refused if it looks like production, and where the
                                  Deployment securetenant-system/securetenant or one of the bank's namespaces is there
                                  already
"""
# A scene that takes longer than this (seconds) did not happen as told.
PATIENCE = 15.0
_SHOWN = (
    "drift_detected_total",
    "drift_corrected_total",
    "drift_objects",
    "whitelist_flows",
    "node_dedicated",
    "node_intruders",
)


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(HELP)
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="securetenant-demo-") as folder:
            return asyncio.run(play(Path(folder)))
    except SandboxError as error:
        screen.failed([str(error)])
        return 2
    except KeyboardInterrupt:
        return 130


async def play(folder: Path) -> int:
    """The whole demo; the number of things that did not happen as told, at most 1."""
    problems: list[str] = []
    screen.heading("A real control plane")
    async with stage.control_plane(folder) as plane, Admin(plane) as admin:
        screen.say(f"kube-apiserver at {plane.url}")
        await stage.refuse_if_in_use(plane, admin)
        async with stage.installed(plane, admin), stage.bank(plane, admin, folder):
            nodes = await stage.dedicated_nodes(plane)
            screen.say(
                "applied: CRD, least rights, tenant roles (examples/with-nodes, which is manifests/ and the nodes'"
                " right)"
            )
            async with run_operator(plane, folder) as operator, watching.watched(folder, operator) as watch:
                screen.say(f"operator running as ServiceAccount securetenant-system/securetenant, pid {operator.pid}")
                await _tenants(admin, problems, has_nodes=bool(nodes))
                await watching.caught_up(watch, problems)
                await _tamper(admin, operator, nodes[0] if nodes else None, problems)
                if nodes:
                    await _intruder(admin, operator, nodes[1], problems)
                if plane.owned:
                    await subnets.play(plane, admin, problems)
                await _metrics(operator, len(nodes), problems)
                await watching.told(watch, _alerts(has_nodes=bool(nodes)), problems)
                screen.heading("An exemption and attacks, with the operator stopped")
                end = await admission.exempt(admin, problems)
            screen.say("the operator is stopped: what follows is the API server alone")
            await admission.alone(plane, admin, end, problems)
            screen.heading("The same rules in a pipeline, without a cluster")
            await admission.pipeline(problems)
            async with run_operator(plane, folder, name="operator-again") as operator:
                await _caught_up(operator, problems)
                if problems:
                    screen.failed(problems)
                elif _holds():
                    await _hold(plane, operator)
    if not plane.owned:
        names = " ".join(stage.bank_namespaces())
        screen.say(f"\nthe tenants are removed; their namespaces stay: kubectl delete namespace {names}")
    if not problems:
        screen.say("\n[bold green]all of it happened as told[/bold green]; everything is stopped")
    return 1 if problems else 0


async def _tenants(admin: Admin, problems: list[str], *, has_nodes: bool) -> None:
    """Apply the bank's tenants and show them getting Ready."""
    screen.heading("The tenants of a bank: kubectl apply -f examples/bank")
    begin = time.monotonic()
    await stage.apply_bank(admin)
    seconds: dict[str, float] = {}
    expected = set(stage.bank_tenants()) - (set() if has_nodes else {"risk"})

    async def all_ready() -> bool:
        for tenant in await _all_tenants(admin):
            if _is_ready(tenant):
                seconds.setdefault(tenant["metadata"]["name"], time.monotonic() - begin)
        return expected <= seconds.keys()

    try:
        await wait_for(all_ready, 30, "all tenants to be Ready")
    except AssertionError:
        problems.extend(f"tenant {name} is not Ready" for name in sorted(expected - seconds.keys()))
    screen.tenants(await _all_tenants(admin), seconds)
    screen.say("\ntreasury is in Audit: nothing was written there, and its drift is what it would take to be in order")


async def _all_tenants(admin: Admin) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admin.get(stage.TENANTS))["items"]
    return [tenant for tenant in found if tenant.get("status", {}).get("conditions")]


def _is_ready(tenant: dict[str, Any]) -> bool:
    status = tenant["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    seen = status.get("observedGeneration") == tenant["metadata"]["generation"]
    # Nodes are seen to be in order a pass after they were written.
    return bool(seen and conditions["Ready"] == conditions.get("NodesReady", "True") == "True")


async def _tamper(admin: Admin, operator: Operator, node: str | None, problems: list[str]) -> None:
    screen.heading("Tampering, in front of you")
    screen.say("by a member of the break-glass group; the API server refuses most of it to everybody else, see below")
    acts = scenes(node)
    for number, scene in enumerate(acts, 1):
        screen.opening(scene.title, number, len(acts))
        try:
            screen.played(await _act(admin, operator, scene))
        except AssertionError as error:
            problems.append(f"{scene.title}: {error}")
    if node is None:
        screen.say("\nskipped: the act with a node's taint, for it needs nodes of our own")


async def _intruder(admin: Admin, operator: Operator, node: str, problems: list[str]) -> None:
    """A pod that is not the tenant's runs on its dedicated node: reported, for deleting it is for people."""
    screen.heading("An intruder on a dedicated node")
    screen.tell(f"a pod in ingress-nginx names {node} in spec.nodeName: no scheduler asks whether it may run there")
    pod = attacks.intruder(node)

    async def created() -> bool:
        status, answer = await admin.request("POST", attacks.PODS.format("ingress-nginx"), pod)
        assert status == 201, f"{status}: {answer}"  # until its namespace has a ServiceAccount
        return True

    async def condition() -> Any:
        status = (await admin.get(f"{stage.TENANTS}/risk"))["status"]
        found = {c["type"]: c for c in status["conditions"]}["NodesExclusive"]
        return found if found["reason"] == "Intruders" else None

    async def counted() -> bool:
        return await operator.metric("securetenant_node_intruders", tenant="risk") == 1

    try:
        await wait_for(created, PATIENCE, "the intruder to be created")
        begin = time.monotonic()
        told = await wait_for(condition, PATIENCE, "the intruder to be reported", 0.002)
        screen.intruded(told, (time.monotonic() - begin) * 1000)
        await wait_for(counted, PATIENCE, "the intruder to be counted")
    except AssertionError as error:
        problems.append(f"the intruder: {error}")


async def _caught_up(operator: Operator, problems: list[str]) -> None:
    """What the operator tells of the exemption that ended without it."""
    screen.heading("The operator runs again")
    try:
        said = await wait_for(lambda: _ended(operator), PATIENCE, "the end of the exemption to be told")
        screen.tell(
            f"it tells that an exemption of {said['tenant']} ended: {said['check']} in {said['namespace']} for pods"
            f" with {said['pods']}, {said['ticket']}: {said['cause']}"
        )
    except AssertionError as error:
        problems.append(str(error))


def _ended(operator: Operator) -> dict[str, str] | None:
    return next((entry for entry in _log(operator) if entry.get("event") == "exemption ended"), None)


async def _act(admin: Admin, operator: Operator, scene: Scene) -> Played:
    """Tamper, and wait until it is undone (or reported) and the operator has said and counted it."""
    before = await operator.metrics()
    offset = operator.log.stat().st_size
    await scene.tamper(admin)
    begin = time.monotonic()
    await wait_for(lambda: scene.done(admin), PATIENCE, f"{scene.object} to be {scene.outcome}", 0.002)
    milliseconds = (time.monotonic() - begin) * 1000
    said = await wait_for(lambda: _said(operator, offset, scene), PATIENCE, f"a log line about {scene.object}")
    await wait_for(lambda: _counted(operator, before, scene), PATIENCE, f"the counters of {scene.object}")
    return Played(scene, said.get("path", ""), said.get("manager", ""), milliseconds)


async def _counted(operator: Operator, before: Metrics, scene: Scene) -> bool:
    """Whether the operator counts it as found, and as undone or (`reported`) as standing; AssertionError if not yet."""
    after = await operator.metrics()
    labels = frozenset({"tenant": scene.tenant, "control": scene.control, "reason": scene.reason}.items())

    def rose(name: str) -> bool:
        return after.get((name, labels), 0) > before.get((name, labels), 0)

    assert rose("securetenant_drift_detected_total"), f"detected: {dict(labels)} did not rise"
    if scene.outcome == "reported":
        assert after.get(("securetenant_drift_objects", labels), 0) >= 1, f"standing: {dict(labels)} is 0"
    else:
        assert rose("securetenant_drift_corrected_total"), f"corrected: {dict(labels)} did not rise"
    return True


def _said(operator: Operator, offset: int, scene: Scene) -> dict[str, str] | None:
    """What the operator's log says of the deviation since `offset`."""
    for entry in _log(operator, offset):
        if entry.get("event") == "drift detected" and entry.get("object") == scene.object:
            return entry
    return None


def _log(operator: Operator, offset: int = 0) -> Iterator[dict[str, str]]:
    """The operator's log since `offset`, without what is not written to its end yet."""
    for line in operator.log.read_bytes()[offset:].splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


async def _metrics(operator: Operator, nodes: int, problems: list[str]) -> None:
    screen.heading(f"The metrics that say so: curl {operator.url}/metrics")

    async def all_counted() -> bool:
        return await operator.metric("securetenant_node_dedicated") == nodes

    try:
        await wait_for(all_counted, PATIENCE, f"{nodes} dedicated nodes to be counted")
    except AssertionError as error:
        problems.append(str(error))
    _, text = await operator.get("/metrics")
    lines = [line for line in text.splitlines() if line.startswith(tuple(f"securetenant_{name}" for name in _SHOWN))]
    # treasury's are the ten deviations that Audit found at the start.
    shown = (line for line in lines if float(line.rsplit(" ", 1)[1]) > 0 and 'tenant="treasury"' not in line)
    screen.metrics(shown)
    corrections = [
        line for line in text.splitlines() if "correction_duration_seconds_" in line and "bucket" not in line
    ]
    screen.metrics(corrections)


def _alerts(*, has_nodes: bool) -> set[tuple[str, str]]:
    """What has to have fired by then, each with its tenant."""
    drift = {("SecureTenantDriftOfAccess", "payments"), ("SecureTenantDriftOfAccess", "core-banking")}
    standing = {("SecureTenantDriftStands", "payments")}
    return drift | standing | ({("SecureTenantIntruder", "risk")} if has_nodes else set())


def _holds() -> bool:
    return sys.stdout.isatty() and os.environ.get("HOLD", "1") != "0"


async def _hold(plane: Plane, operator: Operator) -> None:
    """Stay up for the reader to play with, until Ctrl-C."""
    screen.heading("It stays up: play with it, Ctrl-C ends it")
    screen.say(f"export KUBECONFIG={plane.kubeconfig}")
    screen.say(f"alias kubectl={plane.assets}/kubectl      # kubectl get stn; kubectl describe stn payments")
    screen.say(
        f"metrics {operator.url}/metrics   probes {operator.url}/healthz {operator.url}/readyz   log {operator.log}"
    )
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
    await asked.wait()


if __name__ == "__main__":
    sys.exit(main())
