"""The command as a whole: help, versions, exit codes."""

import json
import platform

import pytest
from typer.testing import CliRunner

import securetenant
from securetenant.api import names
from securetenant.cli.main import app


def test_version() -> None:
    result = CliRunner().invoke(app, ["version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"securetenant {securetenant.__version__} (Python {platform.python_version()}")
    told = json.loads(CliRunner().invoke(app, ["version", "--output", "json"]).stdout)
    assert told["api"] == names.API_VERSION


@pytest.mark.parametrize("command", ["run", "validate", "render", "plan", "version"])
def test_help_teaches(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Examples:\n    securetenant" in result.stdout or "Examples:\n    SECURETENANT" in result.stdout
    assert command == "version" or "Exit codes:\n    0  " in result.stdout


@pytest.mark.parametrize("args", [[], ["nonsense"], ["validate"], ["plan", "--nonsense"], ["version", "-o", "xml"]])
def test_wrong_usage(args: list[str]) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert "Usage: " in result.output
