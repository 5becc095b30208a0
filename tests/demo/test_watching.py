"""What the demo says of Prometheus: which alerts, the worst first, and how to get one where there is none."""

from pathlib import Path
from typing import Any

import pytest

from demo import watching
from demo.__main__ import HELP
from demo.watching import Alert
from monitoring.alerts import ALERTS
from sandbox import prometheus
from sandbox.operator import Operator


def series(name: str, severity: str, **labels: str) -> dict[str, Any]:
    return {"metric": {"alertname": name, "severity": severity, **labels}, "value": [0, "1"]}


def test_alerts_are_told_once_and_the_worst_first() -> None:
    ever = [
        series("A", "info", tenant="one"),
        series("B", "warning", tenant="two", control="access"),
        series("B", "warning", tenant="two", control="network"),
        series("C", "critical"),
    ]
    assert watching.alerts(ever, [series("C", "critical"), series("A", "info", tenant="new")]) == [
        Alert("C", "", "critical", fires=True),
        Alert("B", "two", "warning", fires=False),
        Alert("A", "new", "info", fires=True),
        Alert("A", "one", "info", fires=False),
    ]


def test_every_severity_has_its_place() -> None:
    """An alert with another one would end the demo."""
    assert watching.alerts([series(alert.name, alert.severity) for alert in ALERTS], [])


@pytest.mark.parametrize("title", watching.SHOWN)
def test_panels_are_asked_of_prometheus_itself(title: str) -> None:
    assert "$" not in watching.query(title)


async def test_unasked_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS", raising=False)
    async with watching.watched(tmp_path, stopped()) as watch:
        assert watch is None


async def test_without_one_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS", "1")
    monkeypatch.setattr(prometheus, "find", lambda name: None)
    async with watching.watched(tmp_path, stopped()) as watch:
        assert watch is None
    assert "apt-get install prometheus" in capsys.readouterr().out


def test_the_help_tells_of_it() -> None:
    assert "PROMETHEUS=1" in HELP


def stopped() -> Operator:
    """One that is asked nothing."""
    return Operator(None, 0, Path("none"))  # type: ignore[arg-type]
