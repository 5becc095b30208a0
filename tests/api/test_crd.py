"""The generated CustomResourceDefinition: that it is up to date, and what every part of it must have."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from securetenant.api import crd
from securetenant.api.constraints import RULES_KEY
from securetenant.api.definitions import DEFINITIONS, POOL, TEMPLATE, TENANT
from securetenant.api.tenant import SecureTenantSpec
from tests.support import shelf
from tests.support.shelf import SHELF
from tests.support.specs import DEFAULTS

ROOT = Path(__file__).parents[2]


def _walk(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")


EVERY = (*DEFINITIONS, SHELF)
PARTS = [pytest.param(schema, id=f"{one.kind}-{path}") for one in EVERY for path, schema in _walk(crd.spec_schema(one))]


def test_the_files_are_up_to_date() -> None:
    standing = {path.name: path.read_text() for path in (ROOT / crd.FOLDER).iterdir()}
    assert standing == crd.files(), "run `python -m securetenant.api.crd`"
    for one in DEFINITIONS:
        assert yaml.safe_load(standing[f"{one.name}.yaml"]) == crd.definition(one)


def test_check_finds_what_is_stale_or_missing_or_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["crd", *arguments])
        return crd.main(), capsys.readouterr().err.splitlines()

    monkeypatch.chdir(tmp_path)
    stale = "is not up to date: run `python -m securetenant.api.crd`"
    ours = [f"{one.name}.yaml" for one in DEFINITIONS]
    shelves, folder = f"crds/{SHELF.name}.yaml", "crds/Kustomization"
    assert run("--check") == (1, [*(f"crds/{name} {stale}" for name in ours), f"{folder} {stale}"])
    assert run() == (0, [])
    assert run("--check") == (0, [])

    shelf.add(monkeypatch)
    assert run("--check") == (1, [f"{shelves} {stale}", f"{folder} {stale}"])
    assert run() == (0, [])
    assert run("--check") == (0, [])
    assert yaml.safe_load(Path(folder).read_text())["resources"] == [*ours, f"{SHELF.name}.yaml"]

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run("--check") == (1, [f"{folder} {stale}", f"{shelves} is made by no definition: delete it"])


@pytest.mark.parametrize("schema", PARTS)
def test_each_part_is_bounded(schema: dict[str, Any]) -> None:
    """The API server estimates the cost of CEL from these bounds; they are documented limits of the API as well."""
    if schema.get("x-kubernetes-int-or-string") or schema["type"] == "string":
        assert "maxLength" in schema or "enum" in schema
    if schema.get("type") == "array":
        assert "maxItems" in schema
    if "additionalProperties" in schema:
        assert "maxProperties" in schema
    if schema.get("type") == "integer":
        assert {"minimum", "maximum"} <= schema.keys()


@pytest.mark.parametrize("schema", PARTS)
def test_each_field_is_described_and_each_rule_has_a_message(schema: dict[str, Any]) -> None:
    for name, inner in schema.get("properties", {}).items():
        assert inner.get("description", "").endswith("."), name
    rules = schema.get(RULES_KEY, [])
    assert all(rule["message"] for rule in rules)
    assert len({rule["rule"] for rule in rules}) == len(rules)


def test_the_defaults_of_the_schema_are_those_of_the_models() -> None:
    """The server fills in what the models would; empty lists, maps and texts it leaves out."""

    def filled(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = inner["default"].copy() if isinstance(inner["default"], dict) else inner["default"]
            if isinstance(value.get(name), dict):
                filled(inner, value[name])
        return value

    defaulted = SecureTenantSpec.model_validate(filled(crd.spec_schema(TENANT), {}))
    assert defaulted == SecureTenantSpec()
    assert filled(crd.spec_schema(TENANT), {}) == DEFAULTS


def test_no_default_stands_within_a_list() -> None:
    """An applier replaces lists whole: what the server added there would be a difference to it each time."""
    for one in EVERY:
        assert [path for path, schema in _walk(crd.spec_schema(one)) if "[]" in path and "default" in schema] == []


def test_the_columns() -> None:
    columns = crd.definition(TENANT)["spec"]["versions"][0]["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if "priority" not in column]
    assert narrow == ["Ready", "Mode", "Namespaces", "Drift", "Age"]
    wide = [column["name"] for column in columns if column.get("priority") == 1]
    assert wide == ["Reason", "Team", "Pending", "Expired", "Next Expiry"]
    columns = crd.definition(POOL)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["Cidrs", "Subnets", "Free", "Largest", "Ready", "Age"]
    columns = crd.definition(TEMPLATE)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["Description", "Tenants", "Ready", "Age"]


def test_a_second_resource_has_a_crd_of_its_own() -> None:
    made = crd.definition(SHELF)["spec"]
    assert (made["scope"], made["names"]["plural"], made["names"]["kind"]) == ("Cluster", "shelves", "Shelf")
    assert "shortNames" not in made["names"]
    schema = crd.root_schema(SHELF)["properties"]
    assert [rule["fieldPath"] for rule in schema["spec"][RULES_KEY]] == [".reserved"]
    assert list(schema["status"]["properties"]) == ["free"]
