"""The corpus of good and bad documents in tests/corpus, as pytest parameters. `kind` of an entry: SecureTenant unless
it says another."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from securetenant.model import names

FOLDER = Path(__file__).parents[1] / "corpus"


def document(entry: dict[str, Any]) -> dict[str, Any]:
    """The whole document of an entry."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": entry.get("kind", names.KIND),
        "metadata": {"name": entry.get("name", "corpus")},
        "spec": entry["spec"],
    }


def entries(kind: str) -> list[dict[str, Any]]:
    """The entries of the files below `kind` ("good" or "bad"), each with an `id`."""
    found = []
    for path in sorted((FOLDER / kind).glob("*.yaml")):
        for index, entry in enumerate(yaml.safe_load(path.read_text())):
            label = entry.get("title") or entry["path"]
            found.append({**entry, "id": f"{path.stem}-{index + 1}-{label.replace(' ', '-')}"})
    return found


def params(kind: str) -> list[Any]:
    """The same as parameters of a test."""
    return [pytest.param(entry, id=entry["id"]) for entry in entries(kind)]
