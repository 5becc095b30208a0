"""The files are as generated, and say nothing of metrics that do not exist."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from monitoring import files
from monitoring.alerts import ALERTS, RECORDS, RUNBOOKS
from monitoring.boards import DASHBOARDS
from monitoring.panels import Panel
from securetenant.controls.registry import CONTROLS
from securetenant.posture import report as posture
from securetenant.reach import report as reachability
from securetenant.telemetry.metrics import Metrics, TenantReport
from tests.monitoring.cases import CASES

#: What else than ours an expression may name: exported by every process, or by kube-state-metrics.
OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "process_resident_memory_bytes": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    "kube_pod_container_status_restarts_total": frozenset({"namespace", "pod"}),
}
#: What Prometheus adds to each series.
SCRAPED: Final = frozenset({"cluster", "instance"})


def known() -> dict[str, frozenset[str]]:
    """The metrics that the operator exposes, by the names of their series, each with its labels."""
    families = [
        *(family for control in CONTROLS for family in control.families),
        *posture.FAMILIES,
        *reachability.FAMILIES,
    ]
    metrics = Metrics([control.name for control in CONTROLS], families)
    metrics.tenant(TenantReport("a", "Enforce", "Retain", conditions={"Ready": "True"}))
    metrics.request("GET", "pods", 200, 0.1)
    metrics.cluster("access", {"Changed": 1}, ["Changed"])
    metrics.build_info("1", "2")
    metrics.watch_informer("Pod", lambda: 1, lambda: 1.0)
    found: dict[str, frozenset[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", metrics.text(), re.MULTILINE):
        found[name] = found.get(name, frozenset()) | frozenset(re.findall(r'(\w+)="', labels))
    # Of a control's own metrics without zeros nothing is exposed for a tenant that has none.
    return {**{one.name: frozenset({"tenant", *one.labels}) for one in families}, **found}


def panels() -> Iterator[Panel]:
    for board in DASHBOARDS:
        for _, row in board.rows:
            yield from row


def expressions() -> dict[str, str]:
    """By where it stands."""
    return {
        **{one.name: one.expr for one in (*ALERTS, *RECORDS)},
        **{f"{p.title}/{at}": query.expr for p in panels() for at, query in enumerate(p.queries)},
    }


def test_the_files_are_as_generated() -> None:
    assert files.stale() == [], "run python -m monitoring"


@pytest.mark.parametrize(("where", "expr"), expressions().items(), ids=expressions().keys())
def test_every_metric_and_label_is_exposed(where: str, expr: str) -> None:
    have = {**known(), **OTHERS, **{one.name: frozenset(re.findall(r"\w+", one.name.split(":")[0])) for one in RECORDS}}
    bare = re.sub(r'"[^"]*"', '""', expr)
    used = re.findall(r"\b((?:securetenant|process|kube|cluster)_?\w*(?::[\w:]+)?)(?:\{([^}]*)\})?", bare)
    metrics = [(name, labels) for name, labels in used if name not in SCRAPED and name not in ("cluster_",)]
    assert [name for name, _ in metrics if name not in have] == []
    assert metrics, where
    labels = {label for _, listed in metrics for label in re.findall(r"(\w+)\s*(?:=|!)", listed)}
    grouped = {
        label for listed in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", bare) for label in re.findall(r"\w+", listed)
    }
    possible = SCRAPED | {"le"} | frozenset().union(*(have[name] for name, _ in metrics))
    if "cluster_tenant_resource" in expr:
        possible |= {"tenant", "resource"}
    assert labels | grouped <= possible, labels | grouped


@pytest.mark.parametrize("panel", list(panels()), ids=lambda one: one.title)
def test_no_panel_is_empty_or_without_words(panel: Panel) -> None:
    assert panel.queries
    assert all(query.expr.strip() for query in panel.queries)
    assert panel.description.endswith(".")
    if panel.kind == "table":
        assert panel.by
        assert panel.sort in [query.legend for query in panel.queries]
    if panel.kind == "timeseries":
        assert all(query.legend for query in panel.queries), "a series without a legend shows all its labels"


def test_panels_do_not_overlap() -> None:
    for path in files.FOLDER.glob("dashboards/*.json"):
        board: dict[str, Any] = json.loads(path.read_text())
        places = [(p["gridPos"], p["title"]) for p in board["panels"]]
        assert all(place["x"] + place["w"] <= 24 for place, _ in places)
        for (one, first), (other, second) in combinations(places, 2):
            is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert is_beside or is_above, (first, second)


def test_every_query_of_a_dashboard_can_be_narrowed() -> None:
    """To the clusters that are chosen, and to tenants where there are any."""
    for board in DASHBOARDS:
        for _, row in board.rows:
            for query in (query for panel in row for query in panel.queries):
                assert "$cluster" in query.expr
                assert "$tenant" in query.expr or not board.has_tenant or "cluster_drift" in query.expr


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for alert in ALERTS:
        assert alert.summary[-1] not in ".!"
        assert alert.description.endswith((".", "."))
        assert "cluster" in alert.expr, "one alert for all clusters would hide which"
        page = files.FOLDER.parents[2] / "docs" / "runbooks" / f"{alert.runbook.removeprefix(RUNBOOKS)}.md"
        assert page.is_file(), page
        assert page.read_text().startswith(f"# {alert.name}\n")


def test_every_alert_has_cases() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS}
    firing, quiet = ({case.alert for case in CASES if bool(case.fires) is fires} for fires in (True, False))
    assert firing == quiet == {alert.name for alert in ALERTS}


def test_the_component_has_all_files() -> None:
    written = yaml.safe_load((files.FOLDER / "kustomization.yaml").read_text())
    (generated,) = written["configMapGenerator"]
    assert set(generated["files"]) == {f"dashboards/{one.uid}.json" for one in DASHBOARDS}
    assert generated["options"]["labels"] == {"grafana_dashboard": "1"}


def test_the_page_lists_every_alert() -> None:
    page = (files.FOLDER.parents[2] / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \| (.*)\. \|$", page, re.MULTILINE)
    told = [(a.name, a.severity, f"{a.summary}, for {a.lasts}" if a.lasts else a.summary) for a in ALERTS]
    assert rows == told
