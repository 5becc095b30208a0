"""The command as a whole: help, versions, exit codes."""

import json
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import securetenant
from securetenant.cli.main import app
from securetenant.model import names
from tests.support.fakeapi import kubeconfig


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


@pytest.mark.parametrize("args", [[], ["nonsense"], ["validate"], ["version", "-o", "xml"]])
def test_wrong_usage(args: list[str]) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert "Usage: " in result.output


@pytest.mark.parametrize("args", [["--nonsense"], ["-o", "xml"], ["--tenant"]])
def test_wrong_usage_of_plan_is_not_taken_for_changes(args: list[str]) -> None:
    result = CliRunner().invoke(app, ["plan", *args])
    assert result.exit_code == 1
    assert "Error: " in result.output


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    """While an API server keeps it waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(kubeconfig(f"http://127.0.0.1:{server.getsockname()[1]}", {"token": "t"})))
        command = [sys.executable, "-m", "securetenant", "plan", "--kubeconfig", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
