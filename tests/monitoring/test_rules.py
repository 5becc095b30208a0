"""promtool's word on the rules: they parse, each alert fires when it should and stays silent when it should not."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import files
from monitoring.alerts import ALERTS
from monitoring.rules import groups
from sandbox import prometheus
from sandbox.errors import SandboxError
from tests.monitoring.cases import CASES, Case
from tests.monitoring.test_generated import expressions

SEVERITY = {alert.name: alert.severity for alert in ALERTS}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = prometheus.find("promtool")
    if found is None:
        pytest.skip("promtool is neither on PATH nor built (make test-full does it): the alerts are not tried here")
    return str(found)


def run(promtool: str, *args: str) -> str:
    done = subprocess.run([promtool, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_promtool_is_here() -> None:
    """In the full tests, which come before these where there is none: it is built."""
    try:
        prometheus.ensure("promtool")
    except SandboxError as error:
        pytest.skip(f"promtool is not here and cannot be built, so the alerts are not tried: {error}")


def test_the_rules_parse(promtool: str) -> None:
    run(promtool, "check", "rules", str(files.FOLDER / "rules.yaml"))


def test_every_expression_of_a_panel_parses(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:number{number}:x", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(expressions().values())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(path))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """The rules without their texts, which promtool would compare as well; that these parse, it says on loading."""
    shipped = groups()
    for group in shipped["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(shipped))
    return str(path)


def test_alerts_fire_and_are_silent(promtool: str, rules: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    body = {"rule_files": [rules], "evaluation_interval": "1m", "tests": [tried(case) for case in CASES]}
    path.write_text(yaml.safe_dump(body))
    run(promtool, "test", "rules", str(path))


def test_a_case_that_should_fire_and_does_not_is_noticed(promtool: str, rules: str, tmp_path: Path) -> None:
    wrong = Case("SecureTenantIntruder", {'securetenant_node_intruders{tenant="a"}': "0x20"}, "10m", {"tenant": "a"})
    path = tmp_path / "wrong.yaml"
    body = {"rule_files": [rules], "evaluation_interval": "1m", "tests": [tried(wrong)]}
    path.write_text(yaml.safe_dump(body))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, check=False)
    assert done.returncode != 0


def tried(case: Case) -> dict[str, Any]:
    labels = {key: value for key, value in case.fires.items() if key}
    expected = [{"exp_labels": {"severity": SEVERITY[case.alert], **labels}}] if case.fires else []
    return {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }
