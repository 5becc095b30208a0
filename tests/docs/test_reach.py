"""docs/reach.md names every field of the JSON that `reach` prints, and every exit code that its help does."""

import re
from itertools import takewhile

import msgspec
from typer.testing import CliRunner

from securetenant.cli import reach_json
from securetenant.cli.main import app
from tests.support.markdown import ROOT

PAGE = (ROOT / "docs" / "reach.md").read_text()


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def fields(form: type[msgspec.Struct]) -> set[str]:
    return {one.encode_name for one in msgspec.structs.fields(form)}


def rows(title: str) -> dict[str, str]:
    """The table whose first column has this title: the other column by the first one."""
    lines = PAGE[PAGE.index(f"| {title} |") :].splitlines()[2:]
    cells = [line.strip("| ").split(" | ", 1) for line in takewhile(bool, lines)]
    return {first: rest for first, rest in cells}  # noqa: C416  each has two


def test_every_field_is_described() -> None:
    json = PAGE[PAGE.index("## JSON") :]
    assert named(" ".join(rows("field"))) == fields(reach_json.FlowsForm)
    assert named(" ".join(rows("field of a flow"))) == fields(reach_json.FlowForm)
    of_flow = rows("field of a flow")
    assert fields(reach_json.EndForm) <= named(of_flow["`from`, `to`"])
    assert fields(reach_json.PortRange) <= named(of_flow["`ports`"])
    assert fields(reach_json.PolicyForm) <= named(of_flow["`policies`"])
    for form in (
        *(reach_json.UnknownForm, reach_json.AnswersForm, reach_json.AnswerForm),
        *(reach_json.MatrixForm, reach_json.CellForm),
    ):
        assert fields(form) <= named(json)


def test_exit_codes_are_those_of_the_help() -> None:
    told = CliRunner().invoke(app, ["reach", "--help"]).stdout
    codes = re.findall(r"^ +(\d)  ", told[told.index("Exit codes:") :], re.MULTILINE)
    assert codes == list(rows("exit code")) == ["0", "1", "2", "3"]
