"""What is told of a pass, and that it is told once: of the tenant by its status, of a rollout by its findings."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from securetenant.api.refused import Refusal
from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.lookup import FAMILIES, NAMES
from securetenant.controls.network import control as network
from securetenant.drift.judge import Action, Finding
from securetenant.engine import status
from securetenant.engine.reporter import Reporter
from securetenant.engine.status import Pass
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.reach.holds import Difference, Holds
from securetenant.telemetry import events
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

Json = dict[str, Any]
SEEN: Json = {"observedGeneration": 1, "mode": "Enforce"}


@dataclass
class Stage:
    """A reporter, as one instance of the operator has it, and what it told."""

    lines: list[Any]
    metrics: Metrics = field(default_factory=lambda: Metrics(NAMES, FAMILIES))
    sent: list[Json] = field(default_factory=list)
    clock: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.events = Events(self._send, identity="pod_1", clock=lambda: self.clock)
        self.reporter = Reporter(self.metrics, self.events, now=lambda: NOW)

    async def _send(self, method: str, path: str, body: Json) -> None:
        self.sent.append(body | {"path": path})

    def passed(self, of: SecureTenant, *written: Finding, plans: bool = False, **other: Any) -> SecureTenant:
        """A pass over the tenant; the tenant as it stands after it."""
        planned = {"network": network.plan(of, StaticWorld([of], mine(of)), NOW)} if plans else {}
        result = Pass(of, planned, {}, rolled_out=written, **other)
        computed = status.compute(result, NOW)
        self.reporter.report(result, computed, 0.0)
        return of.model_copy(update={"status": _read_back(computed)})

    async def told(self) -> list[tuple[str, str]]:
        """Reason and message of the Events that were written since."""
        await self.events.flush()
        taken, self.sent = self.sent, []
        return [(body["reason"], body["message"]) for body in taken]

    def said(self) -> list[str]:
        taken = [line["event"] for line in self.lines]
        self.lines.clear()
        return taken


def _read_back(computed: SecureTenantStatus) -> SecureTenantStatus:
    """What a restarted operator reads."""
    return SecureTenantStatus.model_validate(status.dump(computed))


@pytest.fixture
def stage() -> Iterator[Stage]:
    with capture_logs() as lines:
        yield Stage(lines)


def edited(of: SecureTenant, **spec: Any) -> SecureTenant:
    generation = of.metadata.generation + 1
    return of.model_copy(
        update={
            "spec": of.spec.model_copy(update=spec),
            "metadata": of.metadata.model_copy(update={"generation": generation}),
        }
    )


def finding(
    action: Action, name: str = "securetenant-dns", *, rollout: bool = True, kind: str = "NetworkPolicy"
) -> Finding:
    have = observed(kind, name, "pay", uid=f"uid-{name}")
    return Finding(have.ref, "network", "Changed", action, rollout, message="widens", observed=have)


def opened(rule: str) -> Finding:
    block = {"ipBlock": {"cidr": "10.8.0.0/16"}}
    spec: Json = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [block]}]}
    want = Desired(Ref(NETWORK_POLICY, "pay", f"securetenant-ingress-{rule}"), "network", {"spec": spec})
    return Finding(want.ref, "network", "Missing", "Create", rollout=True, desired=want)


async def test_a_creation_is_told_once_across_restarts(stage: Stage) -> None:
    of = stage.passed(tenant("pay", namespaces=["pay"]), finding("Create"))
    assert await stage.told() == [
        ("Created", "mode Enforce, deletionPolicy Retain, namespaces: pay"),
        ("RolledOut", "created, generation 1: 1 created (network 1)"),
    ]
    assert stage.said() == ["tenant created", "rolled out", "object written"]
    stage.restart()
    stage.passed(of)
    assert (await stage.told(), stage.said()) == ([], [])


async def test_a_status_that_cannot_be_written_has_nothing_told_twice(stage: Stage) -> None:
    rule = {"name": "a", "from": [{"cidr": "10.0.0.0/8"}], "expires": (NOW + timedelta(hours=1)).isoformat()}
    of = tenant("pay", namespaces=["pay"], network={"ingress": [rule]})
    for _ in range(3):
        stage.passed(of, plans=True)
    assert stage.said() == ["tenant created", "rule expires soon"]
    assert [reason for reason, _ in await stage.told()] == ["Created", "ExpiresSoon"]


async def test_nothing_is_said_of_a_generation_before_its_writes_are_settled(stage: Stage) -> None:
    of = tenant("pay", namespaces=["pay"])
    of = stage.passed(of, finding("Create"), retrying=True)
    assert stage.said() == ["rolled out", "object written"]
    stage.passed(of, finding("Create"))
    assert stage.said() == ["tenant created", "rolled out", "object written"]


async def test_a_change_of_mode_is_told_once_across_restarts(stage: Stage) -> None:
    of = edited(tenant("pay", namespaces=["pay"], status=SEEN), mode="Paused")
    stage.restart()
    of = stage.passed(of)
    assert stage.said() == ["nothing written", "mode changed"]
    await stage.events.flush()
    stage.restart()
    of = stage.passed(of)
    assert stage.said() == []
    stage.passed(edited(of, mode="Enforce"))
    await stage.events.flush()
    assert [(body["reason"], body["type"], body["message"]) for body in stage.sent] == [
        ("ModeChanged", "Warning", "mode is Paused and was Enforce (generation 2)"),
        ("ModeChanged", "Normal", "mode is Enforce and was Paused (generation 3)"),
    ]


async def test_a_spec_that_is_refused_is_no_change_of_mode(stage: Stage) -> None:
    """It comes back from the models as Paused, which nobody asked for."""
    of = edited(tenant("pay", namespaces=["pay"], status=SEEN), mode="Paused")
    of = stage.passed(of, refusal=Refusal("spec.x: no", 0))
    assert "mode changed" not in stage.said()
    assert of.status.mode == "Enforce"


async def test_the_status_of_an_older_version_tells_no_mode(stage: Stage) -> None:
    of = stage.passed(tenant("pay", namespaces=["pay"], status={"observedGeneration": 1}))
    assert (stage.said(), of.status.mode) == ([], "Enforce")


async def test_a_tenant_made_anew_under_its_name_is_another(stage: Stage) -> None:
    stage.passed(tenant("pay", namespaces=["pay"]))
    stage.passed(tenant("pay", uid="another", namespaces=["pay"]))
    assert stage.said() == ["tenant created"] * 2


async def test_each_threshold_of_each_end_is_told_once(stage: Stage) -> None:
    def ending(hours: float, of: SecureTenant) -> SecureTenant:
        rule = {"name": "a", "from": [{"cidr": "10.0.0.0/8"}], "ticket": "CHG-2"}
        end = (NOW + timedelta(hours=hours)).isoformat()
        changed = tenant("pay", namespaces=["pay"], network={"ingress": [{**rule, "expires": end}]})
        return changed.model_copy(update={"status": of.status})

    of = tenant("pay", namespaces=["pay"], status=SEEN)
    found = []
    for hours in (24 * 15, 24 * 13, 24 * 13, 23, 23, 24 * 13, 24 * 30, 24 * 12):
        stage.restart()
        of = stage.passed(ending(hours, of), plans=True)
        found.append([line["within"] for line in stage.lines])
        stage.lines.clear()
    assert found == [[], ["14d"], [], ["1d"], [], ["14d"], [], ["14d"]]
    stage.restart()
    stage.passed(ending(2, of), plans=True)
    ((reason, message),) = await stage.told()
    end = f"{NOW + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    assert reason == "ExpiresSoon"
    assert message == f"ingress a (CHG-2) expires at {end}, within 1d: renew it or let it expire"


async def test_many_flows_are_all_in_the_log_and_few_events(stage: Stage) -> None:
    of = edited(tenant("pay", namespaces=["pay"], status=SEEN))
    stage.passed(of, *(opened(f"r{number:02}") for number in range(40)))
    assert stage.said().count("flow opened") == 40
    told = await stage.told()
    flows = [message for reason, message in told if reason == "FlowOpened"]
    assert len(flows) == 11
    assert flows[0] == "ingress r00 opened in pay: to all pods from 10.8.0.0/16 on all ports (declared)"
    assert flows[-1].startswith("30 more opened, all of them in the operator's log: ingress r10 in pay, ")
    assert stage.metrics.text().count('securetenant_rollout_objects_total{tenant="pay",control="network"} 40\n') == 1


async def test_what_was_undone_is_told_to_the_platform_and_in_the_namespace(stage: Stage) -> None:
    of = tenant("pay", namespaces=["pay"], status=SEEN)
    item = replace(finding("Delete", "theirs", rollout=False), manager="mallory")
    stage.passed(of, detected=[item], corrected=[item])
    await stage.events.flush()
    message = "Changed NetworkPolicy/pay/theirs as the field manager mallory (widens): corrected"
    assert [(body["path"], body["reason"], body["involvedObject"]["kind"]) for body in stage.sent] == [
        ("/api/v1/namespaces/default/events", "DriftDetected", "SecureTenant"),
        ("/api/v1/namespaces/default/events", "DriftCorrected", "SecureTenant"),
        ("/api/v1/namespaces/pay/events", "DriftCorrected", "NetworkPolicy"),
    ]
    assert [body["message"] for body in stage.sent[1:]] == [message, message]
    assert stage.sent[2]["involvedObject"]["uid"] == "uid-theirs"


async def test_a_namespace_has_its_event_in_itself_and_a_node_none(stage: Stage) -> None:
    of = tenant("pay", namespaces=["pay"], status=SEEN)
    space = observed("Namespace", "pay", uid="u1")
    node = observed("Node", "n1")
    made = Finding(Ref(NAMESPACE, "", "gone"), "namespaces", "Missing", "Create", rollout=False)
    changed = [Finding(o.ref, "namespaces", "Changed", "Patch", rollout=False, observed=o) for o in (space, node)]
    stage.passed(of, corrected=[*changed, made])
    await stage.events.flush()
    about = [body["involvedObject"] for body in stage.sent if "default" not in body["path"]]
    assert about == [
        {"apiVersion": "v1", "kind": "Namespace", "namespace": "pay", "name": "pay", "uid": "u1"},
        {"apiVersion": "v1", "kind": "Namespace", "namespace": "gone", "name": "gone"},
    ]


async def test_the_end_of_a_tenant_says_what_ends_no_more(stage: Stage) -> None:
    rule = {"name": "a", "from": [{"cidr": "10.0.0.0/8"}]}
    ends = {**rule, "name": "b", "expires": (NOW + timedelta(days=1)).isoformat()}
    of = tenant("pay", namespaces=["pay"], network={"ingress": [rule, ends]})
    stage.reporter.gone(of, 7)
    stage.reporter.gone(of.model_copy(update={"spec": of.spec.model_copy(update={"deletion_policy": "Delete"})}), 0)
    assert [(line["event"], line["unending"]) for line in stage.lines] == [
        ("tenant released", ["ingress b"]),
        ("tenant released", []),
    ]
    ((reason, message),) = await stage.told()
    assert (reason, message) == ("Released", "deletionPolicy Delete: 0 objects released"), "the later of the two"


async def test_rollouts_do_not_take_what_drift_needs(stage: Stage) -> None:
    """A tenant that rolls out much still has its deviations told at once."""
    of = edited(tenant("pay", namespaces=["pay"], status=SEEN))
    for number in range(4):
        stage.passed(of, *(opened(f"r{number}{n}") for n in range(10)))
    await stage.told()
    stage.passed(of, detected=[finding("Keep", f"theirs-{n}", rollout=False) for n in range(10)])
    assert [reason for reason, _ in await stage.told()] == ["DriftDetected"] * int(events.RESERVE)


async def test_each_flow_that_opens_beside_others_is_told(stage: Stage) -> None:
    theirs, more = (
        Difference("ingress", "pay-a", peer, "TCP 80", (Ref(NETWORK_POLICY, "pay-a", "theirs"),))
        for peer in ("everywhere", "all namespaces")
    )

    of = stage.passed(tenant("pay", namespaces=["pay-a"], status=SEEN), plans=True, holds=Holds())

    async def told(*unexpected: Difference) -> list[str]:
        nonlocal of
        of = stage.passed(of, plans=True, holds=Holds(unexpected=unexpected))
        return [reason for reason, _ in await stage.told() if reason == "Unexpected"]

    assert await told() == []
    assert await told(theirs) == ["Unexpected"]
    stage.restart()
    assert await told(theirs) == []
    assert await told(theirs, more) == ["Unexpected"]
    assert await told(more) == []
    assert await told() == []
    assert stage.said().count("whitelist does not hold") == 2
