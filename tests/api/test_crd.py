"""The generated CustomResourceDefinition: that it is up to date, and what every part of it must have."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from securetenant.api import crd
from securetenant.api.constraints import RULES_KEY
from securetenant.api.tenant import SecureTenantSpec

ROOT = Path(__file__).parents[2]


def _walk(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")


PARTS = [pytest.param(schema, id=path) for path, schema in _walk(crd.spec_schema())]


def test_the_file_is_up_to_date() -> None:
    assert (ROOT / crd.PATH).read_text() == crd.text(), "run `python -m securetenant.api.crd`"
    assert yaml.safe_load(crd.text()) == crd.definition()


def test_check_finds_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["crd", "--check"])
    assert crd.main() == 1
    monkeypatch.setattr(sys, "argv", ["crd"])
    assert crd.main() == 0
    monkeypatch.setattr(sys, "argv", ["crd", "--check"])
    assert crd.main() == 0
    assert "not up to date" in capsys.readouterr().err


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

    defaulted = SecureTenantSpec.model_validate(filled(crd.spec_schema(), {}))
    assert defaulted == SecureTenantSpec()
    assert filled(crd.spec_schema(), {}) == {
        "mode": "Enforce",
        "deletionPolicy": "Retain",
        "access": {"foreign": "Report"},
        "network": {"isolation": "Namespace", "dns": True, "apiServer": False, "foreign": "Report"},
    }


def test_no_default_stands_within_a_list() -> None:
    """An applier replaces lists whole: what the server added there would be a difference to it each time."""
    assert [path for path, schema in _walk(crd.spec_schema()) if "[]" in path and "default" in schema] == []


def test_the_columns() -> None:
    columns = crd.definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["Ready", "Mode", "Namespaces", "Drift", "Age"]
