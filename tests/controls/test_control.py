"""A control of this file alone, as one row: its part of the status, its metric families, its condition and what it has
told go from its plan to the status, the record and the text of a scrape, and nothing on the way knows it by name."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pydantic import Field
from structlog.testing import capture_logs

from securetenant.api import crd
from securetenant.api.definitions import TENANT
from securetenant.api.status import Condition, SecureTenantStatus, StatusModel
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control, Plan
from securetenant.controls.nodes import control as nodes
from securetenant.controls.notice import Notice, Rollout, Written
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.drift.assess import assess
from securetenant.drift.judge import Finding
from securetenant.engine import status
from securetenant.engine.reporter import Reporter
from securetenant.engine.status import Pass
from securetenant.model.kinds import LIMIT_RANGE
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Ref
from securetenant.telemetry.events import Events
from securetenant.telemetry.metrics import Metrics
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

NAME: Final = "lab"
ROOMS: Final = Family("securetenant_lab_rooms", "gauge", "Rooms, by state.", ("state",), zeros=(("free",), ("taken",)))
POWER: Final = Family("securetenant_lab_power_watts", "gauge", "What the rooms draw.")


class Lab(StatusModel):
    """Its part of the status: the rooms that are free."""

    free_rooms: list[str] = Field(default_factory=list)


class LabStatus(SecureTenantStatus):
    """The whole status of a cluster with labs."""

    lab: Lab | None = None


class LabTenant(SecureTenant):
    status: LabStatus = LabStatus()


def part(of: SecureTenantStatus) -> Lab:
    """As it was given, or read."""
    return Lab.model_validate((of.model_extra or {}).get(NAME, {}))


def plan(of: SecureTenant, world: World, now: datetime) -> Plan:
    rooms = [entry.name for entry in of.spec.namespaces]
    return Plan(
        desired=[Desired(Ref(LIMIT_RANGE, room, "lab"), NAME, {"spec": {"limits": []}}) for room in rooms],
        conditions=[Condition(type="LabReady", status="True", reason="Open", message=f"{len(rooms)} rooms")],
        status={NAME: Lab(free_rooms=rooms)},
        samples={POWER.name: {(): 230.5}},
    )


def figures(of: SecureTenantStatus) -> Samples:
    return {ROOMS.name: {("free",): len(part(of).free_rooms)}}


def warnings(of: SecureTenant, said: SecureTenantStatus) -> Mapping[Hashable, Notice]:
    return {
        room: Notice("room free", {"room": room}, "RoomFree", f"{room} is free", about=room, is_warning=True)
        for room in part(said).free_rooms
    }


def rollout(of: SecureTenant, written: Sequence[Written], computed: SecureTenantStatus, now: datetime) -> Rollout:
    made = [Notice("room made", {"room": w.ref.namespace}, "RoomMade", f"{w.ref.namespace} is made") for w in written]
    return Rollout(made, cause=f"{len(part(computed).free_rooms)} rooms")


LAB: Final = Control(
    NAME,
    plan,
    (LIMIT_RANGE,),
    families=(ROOMS, POWER),
    figures=figures,
    warnings=warnings,
    rollout=rollout,
    temporary=lambda of: [f"lab of {of.name}"],
)
CONTROLS_AND_LAB: Final = (*(control for control in CONTROLS if control.name != "limits"), LAB)


class Stage:
    """A reporter of these controls, and what it told."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        families = [family for control in CONTROLS_AND_LAB for family in control.families]
        self.metrics = Metrics([control.name for control in CONTROLS_AND_LAB], families)
        self.events = Events(self._send, identity="pod", clock=lambda: 1_800_000_000.0)
        self.reporter = Reporter(self.metrics, self.events, controls=CONTROLS_AND_LAB, now=lambda: NOW)

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        self.sent.append(body)

    def passed(self, of: SecureTenant, *, planned: bool = True) -> SecureTenantStatus:
        """A pass that writes what it finds missing; the status, as it is read back."""
        found = assess(of, StaticWorld([of], mine(of)), NOW, controls=CONTROLS_AND_LAB)
        result = Pass(of, found.plans, found.held) if planned else Pass(of, {}, {})
        if planned:
            result.rolled_out = [finding for finding in found.findings if finding.control == NAME]
            result.outstanding = [Finding(Ref(LIMIT_RANGE, "a", "x"), NAME, "Stale", "Keep", rollout=False)]
        computed = status.compute(result, NOW)
        self.reporter.report(result, computed, 0.0)
        return SecureTenantStatus.model_validate(status.dump(computed))

    def shown(self, tenant: str) -> list[str]:
        """The lines of a scrape that are the lab's."""
        lines = self.metrics.text().splitlines()
        return [line for line in lines if "lab" in line.lower() and f'tenant="{tenant}"' in line]


async def test_a_control_needs_no_more_than_its_row() -> None:
    of, stage = tenant("pay", namespaces=["a", "b"]), Stage()
    with capture_logs() as lines:
        after = of.model_copy(update={"status": stage.passed(of)})
    dumped = status.dump(after.status)
    assert dumped["lab"] == {"freeRooms": ["a", "b"]}
    assert [c.message for c in after.status.conditions if c.type == "LabReady"] == ["2 rooms"]
    shown = stage.shown("pay")
    for line in (
        'securetenant_drift_objects{tenant="pay",control="lab",reason="Stale"} 1',
        'securetenant_rollout_objects_total{tenant="pay",control="lab"} 2',
        'securetenant_tenant_condition{tenant="pay",condition="LabReady",status="True"} 1',
        'securetenant_lab_rooms{tenant="pay",state="free"} 2',
        'securetenant_lab_rooms{tenant="pay",state="taken"} 0',
        'securetenant_lab_power_watts{tenant="pay"} 230.5',
    ):
        assert line in shown, line
    assert [(line["event"], line.get("room")) for line in lines if "room" in line] == [
        ("room free", "a"),
        ("room free", "b"),
        ("room made", "a"),
        ("room made", "b"),
    ]
    await stage.events.flush()
    events = {(body["reason"], body["type"], body["message"]) for body in stage.sent}
    assert {("RoomFree", "Warning", "a is free"), ("RoomMade", "Normal", "b is made")} <= events


async def test_its_figures_and_its_part_of_the_status_outlast_a_pause_and_a_restart() -> None:
    of = tenant("pay", namespaces=["a", "b"])
    of = of.model_copy(update={"status": Stage().passed(of)})
    stage = Stage()
    with capture_logs() as lines:
        kept = stage.passed(of, planned=False)
    assert part(kept) == Lab(free_rooms=["a", "b"])
    assert 'securetenant_lab_rooms{tenant="pay",state="free"} 2' in stage.shown("pay")
    assert "securetenant_lab_power_watts" not in "".join(stage.shown("pay")), "nobody planned"
    assert not [line for line in lines if "room" in line], "told once, by the status"


async def test_what_it_would_have_ended_is_told_when_a_tenant_is_released() -> None:
    with capture_logs() as lines:
        Stage().reporter.gone(tenant("pay", namespaces=["a"]), 3)
    assert [line["unending"] for line in lines] == [["lab of pay"]]


def test_the_schema_of_the_whole_status_has_its_part() -> None:
    def properties(definition: dict[str, Any]) -> dict[str, Any]:
        (version,) = definition["spec"]["versions"]
        found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
        return found

    with_lab = properties(crd.definition(replace(TENANT, model=LabTenant)))
    shipped = properties(crd.definition(TENANT))
    lab = with_lab.pop("lab")
    assert lab["properties"] == {"freeRooms": {"type": "array", "items": {"type": "string"}}}
    assert with_lab == shipped


def test_what_the_shipped_controls_give_is_declared() -> None:
    """A part of the status that the CRD does not have is pruned by the API server; a family that no row has is shown by
    nobody."""
    rule = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "expires": "2027-01-01T00:00:00Z"}
    exemption = {
        "control": "runtime",
        "check": "hostPorts",
        "namespace": "a",
        "reason": "r",
        "expires": rule["expires"],
    }
    of = tenant(
        "pay",
        namespaces=[{"name": "a", "subnet": {"cidr": "10.60.0.0/24"}}],
        subnets={"provider": "None"},
        network={"ingress": [rule]},
        quota={"tenant": {"pods": "10"}},
        nodes={"selector": {"matchLabels": {"pool": "pay"}}},
        exemptions=[{**exemption, "expires": rule["expires"]}],
    )
    desired, *_ = nodes.plan(of, StaticWorld([of], [observed("Node", "n1", labels={"pool": "pay"})]), NOW).desired
    world = StaticWorld([of], [*mine(of), observe(desired, of, labels={"pool": "pay"})])
    for control in CONTROLS:
        planned = control.plan(of, world, NOW)
        assert planned.status.keys() <= SecureTenantStatus.model_fields.keys(), control.name
        said = SecureTenantStatus().model_copy(update=dict(planned.status))
        given = {**planned.samples, **control.figures(said)}
        labels = {family.name: len(family.labels) for family in control.families}
        assert given.keys() == labels.keys(), control.name
        assert all(len(key) == labels[name] for name, values in given.items() for key in values), control.name
    fields = [name for control in CONTROLS for name in control.plan(of, world, NOW).status]
    assert len(fields) == len(set(fields)), "each part is one control's"
