"""docs/internals/controls.md: for each control, the files outside its own that know it."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from securetenant.controls.registry import CONTROLS
from tests.support.markdown import ROOT

PACKAGE: Final = ROOT / "operator" / "securetenant"
PAGE: Final = ROOT / "docs" / "internals" / "controls.md"
# What every control rests on, and so no control of its own: whose a namespace is.
BASE: Final = "namespaces"


def home(name: str) -> str:
    """The control's file, or its folder."""
    return f"controls/{name}.py" if (PACKAGE / "controls" / f"{name}.py").exists() else f"controls/{name}/"


def knows(tree: ast.AST, name: str) -> bool:
    """Whether a module imports the control, reads its section of the spec, or calls it by its name."""
    module = f"securetenant.controls.{name}"
    return any(_names(node, name, module) for node in ast.walk(tree))


def _names(node: ast.AST, name: str, module: str) -> bool:
    match node:
        case ast.ImportFrom(module=str(of)):
            imported = {of, *(f"{of}.{alias.name}" for alias in node.names)}
            return any(each == module or each.startswith(f"{module}.") for each in imported)
        case ast.Attribute(value=ast.Attribute(attr="spec") | ast.Name(id="spec"), attr=str(section)):
            return section == name
        case ast.Constant(value=str(text)):
            return text == name
    return False


def found() -> dict[str, list[str]]:
    trees = {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}
    return {
        name: [path for path, tree in trees.items() if not path.startswith(home(name)) and knows(tree, name)]
        for name in (control.name for control in CONTROLS)
        if name != BASE
    }


def told() -> Iterator[tuple[str, list[str]]]:
    for name, files in re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", PAGE.read_text(), re.MULTILINE):
        yield name, sorted(re.findall(r"`([\w/]+\.py)`", files))


def test_the_table_tells_who_knows_a_control() -> None:
    assert dict(told()) == {name: sorted(files) for name, files in found().items()}


def test_the_middle_knows_none() -> None:
    """What a new control would have to be written into, beside its own files and its row. Who reaches whom is about one
    control by nature."""
    rooms = {path.partition("/")[0] for files in found().values() for path in files}
    assert rooms <= {"controls", "api", "model", "reach"}, found()


def test_a_module_that_knows_one_is_seen() -> None:
    for text in (
        "from securetenant.controls.quota import control",
        "from securetenant.controls import quota",
        "tenant.spec.quota.tenant",
        "NAME = 'quota'",
    ):
        assert knows(ast.parse(text), "quota"), text
    assert not knows(ast.parse("from securetenant.controls import control"), "quota")
