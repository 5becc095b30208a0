"""A control of the test suite, in one file and one row: what a new control is made of, and nothing else of the operator
is changed for it.

It has a section of the spec (`lab`), a kind of its own (PodDisruptionBudget), a part of each Namespace (a label that no
spec can set), an object of others that it looks at (a PriorityClass), a condition, a part of the status and a metric.
`install` adds it to the operator of a process in which nothing else was imported yet.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, cast

from msgspec import Struct
from pydantic import Field

from securetenant.api.constraints import SpecModel
from securetenant.api.status import Condition, SecureTenantStatus, StatusModel
from securetenant.api.tenant import SecureTenant, SecureTenantSpec
from securetenant.api.types import Line
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan, Triggers
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Observed, Ref

NAME: Final = "lab"
LEVEL: Final = "lab.securetenant.dev/level"
ROOMS: Final = Family("securetenant_lab_rooms", "gauge", "Rooms of the lab.")
BUDGET: Final = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", namespaced=True)
CLASS: Final = Kind("PriorityClass", "scheduling.k8s.io", "v1", "priorityclasses", namespaced=False, content=("value",))


class Section(SpecModel):
    """`spec.lab`."""

    level: Line = Field(description="The PriorityClass of the lab, and the label of its namespaces.")


class LabSpec(SecureTenantSpec):
    lab: Section | None = Field(None, description="The lab.")


class LabTenant(SecureTenant):
    spec: LabSpec


class Part(StatusModel):
    rooms: list[str] = Field(default_factory=list)


class LabStatus(SecureTenantStatus):
    lab: Part | None = None


class LabResource(LabTenant):
    """What generates the CRD: the operator itself reads the part of the status without a model of it."""

    status: LabStatus = LabStatus()


def plan(of: SecureTenant, world: World, now: datetime) -> Plan:
    section = cast(LabTenant, of).spec.lab
    if section is None:
        return Plan()
    rooms = list(ownership.held(of, world))
    known = world.get(Ref(CLASS, "", section.level)) is not None
    budget: dict[str, Any] = {"maxUnavailable": 2 if known else 1, "selector": {"matchLabels": {"lab": section.level}}}
    return Plan(
        desired=[
            *(Desired(Ref(NAMESPACE, "", room), NAME, labels={LEVEL: section.level}) for room in rooms),
            *(Desired(Ref(BUDGET, room, "securetenant-lab"), NAME, {"spec": budget}) for room in rooms),
        ],
        conditions=[
            Condition(type="LabReady", status="True", reason="Known" if known else "Unheard", message=section.level)
        ],
        status={NAME: Part(rooms=rooms)},
    )


def figures(of: SecureTenantStatus) -> Samples:
    part = (of.model_extra or {}).get(NAME)
    return {ROOMS.name: {(): len(Part.model_validate(part).rooms)}} if part is not None else {}


class _Read(Struct):
    level: str = ""


def _listens(namespaces: Sequence[str], section: _Read) -> Iterator[str]:
    if section.level:
        yield f"class:{section.level}"


def _class(new: Observed, old: Observed | None) -> list[str]:
    return [f"class:{new.ref.name}"]


CONTROL: Final = Control(
    NAME,
    plan,
    (NAMESPACE, BUDGET),
    looks_at=(CLASS,),
    triggers=Triggers(NAME, _Read, _listens, {CLASS: _class}),
    families=(ROOMS,),
    figures=figures,
)


def install() -> None:
    """The section of the spec, and the row."""
    import securetenant.api.tenant as api
    import securetenant.controls.registry as registry

    api.SecureTenantSpec, api.SecureTenant = LabSpec, LabTenant  # type: ignore[misc]
    registry.CONTROLS = (*registry.CONTROLS, CONTROL)
