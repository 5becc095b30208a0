"""A second custom resource, in one file and one row: what a new one is made of, besides its reconciler."""

from typing import ClassVar, Final, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from securetenant.api import definitions
from securetenant.api.constraints import Rule, SpecModel
from securetenant.api.definitions import TENANT, Definition
from securetenant.api.status import StatusModel
from securetenant.api.tenant import Metadata
from securetenant.model import names
from securetenant.model.kinds import Kind


class ShelfSpec(SpecModel):
    boards: int = Field(ge=1, le=100, description="How many boards it has.")
    reserved: int = Field(0, ge=0, le=100, description="How many are kept free.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.reserved) ? self.reserved : 0) <= self.boards",
            "more is reserved than there is: reserve less",
            lambda spec: spec.reserved <= spec.boards,
            field="reserved",
            inputs=("boards", "reserved"),
        ),
    )


class ShelfStatus(StatusModel):
    free: int | None = Field(None, description="How many boards are free.")


class Shelf(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    api_version: Literal["securetenant.dev/v1alpha1"]
    kind: Literal["Shelf"]
    metadata: Metadata
    spec: ShelfSpec
    status: ShelfStatus = ShelfStatus()


SHELF: Final = Definition(
    Kind("Shelf", names.GROUP, names.VERSION, "shelves", namespaced=False, extra=("status",)),
    Shelf,
    "Something that is not a tenant.",
    TENANT.name_rule,
    (("Free", "integer", ".status.free", "How many boards are free."),),
)


def document(name: str, **spec: object) -> dict[str, object]:
    header = {"apiVersion": SHELF.kind.api_version, "kind": SHELF.kind.name, "metadata": {"name": name}}
    return {**header, "spec": spec}


def add(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row, until the end of the test."""
    monkeypatch.setattr(definitions, "DEFINITIONS", (*definitions.DEFINITIONS, SHELF))
