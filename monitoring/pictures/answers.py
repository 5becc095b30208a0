"""What a Prometheus answers to the queries of a dashboard."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring import rules
from monitoring.panels import Dashboard, Panel, Query
from sandbox.prometheus import Prometheus

#: How many points a line has.
_POINTS = 120


@dataclass(frozen=True, slots=True)
class Series:
    """`points`: seconds since 1970 and values; one alone of an instant query. `legend`: as the panel names it."""

    labels: Mapping[str, str]
    legend: str
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        return self.points[-1][1]


#: Of each panel, by its title: of each query, its series.
Answers = Mapping[str, Sequence[Sequence[Series]]]


def asked(running: Prometheus, board: Dashboard, begin: float, end: float) -> Answers:
    """Time series between two times, everything else as it is at the end. Raises ``urllib.error.URLError``."""
    panels = [panel for _, row in board.rows for panel in row]
    return {panel.title: [_series(running, panel, query, begin, end) for query in panel.queries] for panel in panels}


def _series(running: Prometheus, panel: Panel, of: Query, begin: float, end: float) -> list[Series]:
    query = rules.plain(of.expr)
    if panel.kind == "timeseries":
        step = max(1.0, (end - begin) / _POINTS)
        found = running.ask("query_range", query=query, start=str(begin), end=str(end), step=str(step))["result"]
    else:
        found = running.ask("query", query=query, time=str(end))["result"]
    return [
        Series(
            one["metric"],
            named(of.legend, one["metric"]),
            tuple((float(at), float(value)) for at, value in one.get("values") or [one["value"]]),
        )
        for one in found
    ]


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A legend with the values of the labels that it names, as Grafana fills it in."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend).strip()
