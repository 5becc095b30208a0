"""The panels of the dashboards, as a table. Queries are in PromQL with Grafana's variables.

What has nothing to count is 0 only while the operator is scraped: a dead operator shows "No data", never a zero that
reads as in order.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

# Colours that colour-blind people tell apart (Okabe and Ito), on light and on dark.
GOOD: Final = "#56B4E9"
WARN: Final = "#E69F00"
BAD: Final = "#D55E00"

Unit = Literal["short", "percentunit", "s", "bytes", "reqps", "dateTimeFromNow"]


@dataclass(frozen=True, slots=True)
class Query:
    """`legend`: of a series; in a table, the column's name."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`limits`: from which value on which colour; `width` of 24, `height` in rows of the grid. `by`: in a table, the
    labels that are columns; `sort`: the column that is sorted by, largest first."""

    title: str
    kind: Literal["stat", "timeseries", "table"]
    queries: tuple[Query, ...]
    description: str
    unit: Unit = "short"
    limits: tuple[tuple[float, str], ...] = ()
    width: int = 4
    height: int = 4
    by: tuple[str, ...] = ()
    sort: str = ""
    descending: bool = True
    units: dict[str, Unit] = field(default_factory=dict)  # of single columns, as these:
    column_limits: dict[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`rows`: the panels by the title of their row."""

    uid: str
    title: str
    description: str
    has_tenant: bool
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


# From one on it is bad, or worth a look.
ANY: Final = ((1, BAD),)
SOME: Final = ((1, WARN),)


def of_process(more: str = "") -> str:
    return f'{{cluster=~"$cluster"{more}}}'


def stat(title: str, expr: str, description: str, limits: tuple[tuple[float, str], ...] = (), width: int = 4) -> Panel:
    return Panel(title, "stat", (Query(expr, title),), description, limits=limits, width=width)


def series(
    title: str,
    queries: tuple[Query, ...],
    description: str,
    unit: Unit = "short",
    limits: tuple[tuple[float, str], ...] = (),
) -> Panel:
    """One of three beside each other."""
    return Panel(title, "timeseries", queries, description, unit, limits, width=8, height=7)
