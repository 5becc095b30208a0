"""The tables of checks in the pages of the controls are those of the data."""

from typing import Final

import pytest

from securetenant.checks import cni
from securetenant.checks.check import Check, CheckSet
from securetenant.controls.registry import CHECKS
from tests.support.markdown import ROOT, table

TITLES: Final = ("check", "refused", "instead", "severity", "frameworks")


def row(checks: CheckSet, check: Check) -> tuple[str, ...]:
    """The line of a check. Its message is what is wrong, a colon, and what to write instead."""
    refused, _, instead = check.message.partition(": ")
    return f"`{checks.identifier(check)}`", refused, instead, check.severity, ", ".join(check.frameworks) or "–"


@pytest.mark.parametrize("checks", CHECKS, ids=lambda checks: checks.control)
def test_the_table_of_checks_is_that_of_the_data(checks: CheckSet) -> None:
    wanted = [row(checks, check) for check in checks.checks]
    page = ROOT / "docs" / "controls" / f"{checks.control}.md"
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in (TITLES, ("---",) * len(TITLES), *wanted))
    assert table(page, *TITLES) == wanted, f"the table in {page.name} must be:\n{text}"


def test_the_table_of_annotations_is_that_of_the_data() -> None:
    titles = ("on", "plug-in", "annotation", "what it decides")
    groups = (("pods", cni.ADDRESS), ("pods", cni.FURTHER), ("NetworkPolicies", cni.SWITCHES))
    wanted = [
        (on, one.plugin, ", ".join(f"`{key}`" for key in one.keys), one.reads) for on, group in groups for one in group
    ]
    page = ROOT / "docs" / "controls" / "network.md"
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, ("---",) * len(titles), *wanted))
    assert table(page, *titles) == wanted, f"the table in {page.name} must be:\n{text}"
