"""What docs/security.md says is shown by a test is shown by one that there is."""

import ast
from typing import Final

import pytest

from tests.support.markdown import ROOT, code, table

PAGE: Final = ROOT / "docs" / "security.md"
SHOWN: Final = sorted({name for *_, cell in table(PAGE, "attempt", "answer", "shown by") for name in code(cell)})


@pytest.mark.parametrize("name", SHOWN)
def test_what_shows_it_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    file = ROOT / path
    assert file.is_file()
    if function:
        defined = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.AsyncFunctionDef)}
        assert function in defined


def test_every_row_names_one() -> None:
    assert all(code(cell) for *_, cell in table(PAGE, "attempt", "answer", "shown by"))
