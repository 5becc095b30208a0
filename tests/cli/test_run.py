"""`securetenant run`: its flags, and what it loads. The operator behind it has tests of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from securetenant import app as operator
from securetenant.cli.main import app
from securetenant.settings import Settings, flag, variable


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["run", *args])


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings with which the operator is called, which does not start."""
    got: list[Settings] = []

    def record(settings: Settings) -> int:
        got.append(settings)
        return 7

    monkeypatch.setattr(operator, "main", record)
    return got


@pytest.mark.parametrize("name", Settings.model_fields)
def test_help_tells_every_setting(name: str) -> None:
    told = " ".join(run("--help").stdout.split())
    assert flag(name) in told
    assert variable(name) in told


def test_help_tells_defaults() -> None:
    told = " ".join(run("--help").stdout.split())
    assert "[default: 8080; SECURETENANT_HTTP_PORT]" in told
    assert "[default: k8s-app=kube-dns; SECURETENANT_DNS_POD_LABELS]" in told


def test_flags_win_over_the_environment(received: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_WORKERS", "3")
    monkeypatch.setenv("SECURETENANT_DNS_PORT", "5353")
    result = run("--workers", "5", "--dns-pod-labels", "app=dns,tier=x")
    assert result.exit_code == 7
    (settings,) = received
    assert (settings.workers, settings.dns_port) == (5, 5353)
    assert settings.dns_pod_labels == {"app": "dns", "tier": "x"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["--workers", "0"], "--workers: must be a whole number from 1 to 256", id="out-of-range"),
        pytest.param(["--log-format", "xml"], "--log-format", id="no-choice"),
        pytest.param(["--dns-cidrs", "10.0.0.0/99"], "--dns-cidrs", id="cidr"),
    ],
)
def test_bad_settings(received: list[Settings], args: list[str], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert received == []


def test_a_start_that_fails_ends_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "securetenant", "run", "--http-port", "0", "--kubeconfig", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "kubeconfig not found" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("module", ["kopf", "kubernetes", "aiohttp", "rich", "yaml", "structlog"])
def test_nothing_heavy_is_loaded_to_read_the_command_line(module: str) -> None:
    code = f"import sys, securetenant.cli.main; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
