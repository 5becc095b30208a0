"""A dashboard as one page of HTML, without a script: the panels of the table, and what a Prometheus answered."""

import math
import time
from collections.abc import Sequence
from html import escape
from typing import Final, Literal

from monitoring.panels import BAD, WARN, Dashboard, Panel
from monitoring.pictures.answers import Answers, Series
from monitoring.pictures.chart import chart
from monitoring.pictures.values import shown

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WIDTH: Final = 1280  # pixels
LABEL: Final = "drawn by monitoring/pictures from Prometheus, not by Grafana"

#: Colours of lines by Okabe and Ito, those that show on the ground first.
_LINES: Final[dict[Theme, tuple[str, ...]]] = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    "dark": ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#FFFFFF"),
}
#: Ground, panel, border, text, lesser text.
_GROUNDS: Final[dict[Theme, tuple[str, ...]]] = {
    "light": ("#F4F5F5", "#FFFFFF", "#D8DADD", "#1F2329", "#5A6068"),
    "dark": ("#111217", "#1A1C22", "#33363D", "#E3E4E8", "#A0A4AC"),
}
_STYLE: Final = """
* { box-sizing: border-box; margin: 0; }
body { background: var(--ground); color: var(--text); font: 13px/1.35 "DejaVu Sans", sans-serif; padding: 14px; }
header { display: flex; justify-content: space-between; align-items: baseline; }
h1 { font-size: 19px; } h2 { font-size: 13px; margin: 12px 0 6px; color: var(--lesser); }
header span, .none { color: var(--lesser); }
section { display: grid; grid-template-columns: repeat(24, 1fr); gap: 7px; }
.panel { background: var(--panel); border: 1px solid var(--border); border-radius: 3px; padding: 7px 9px; }
.panel { min-width: 0; }
h3 { font-size: 12px; font-weight: 600; margin-bottom: 3px; }
.stat b { font-size: 27px; line-height: 1.15; display: block; }
.level { color: #000; border-color: transparent; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 1px 7px; border-top: 1px solid var(--border); white-space: nowrap; }
th { border: 0; font-size: 12px; color: var(--lesser); font-weight: 600; }
.label { text-align: left; }
td span { display: inline-block; min-width: 34px; padding: 0 6px; border-radius: 2px; }
td .level { font-weight: 600; }
td.zero { color: var(--lesser); }
.chart { display: block; width: 100%; } .chart text { font-size: 10.5px; fill: var(--lesser); }
.grid { stroke: var(--border); stroke-width: 1; }
.line { fill: none; stroke-width: 2; } .line-rest { stroke: var(--lesser); stroke-width: 0.8; }
.legend { display: flex; flex-wrap: wrap; gap: 0 12px; font-size: 11.5px; margin-top: 3px; }
.legend svg { margin-right: 4px; }
"""
_DASHES: Final = ("", "7 3", "2 3", "10 3 2 3", "", "5 2", "1 2")


def drawn(board: Dashboard, answers: Answers, now: float, theme: Theme) -> str:
    """The page; `now` is when the answers were given, seconds since 1970."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    rows = "".join(
        f"<h2>{escape(title)}</h2><section>"
        + "".join(_panel(panel, answers[panel.title], now) for panel in row)
        + "</section>"
        for title, row in board.rows
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(board.title)}</title>'
        f"<style>{_variables(theme)}{_STYLE}</style>"
        f"<body><header><h1>{escape(board.title)}</h1><span>{LABEL} · {at}</span></header>{rows}</body></html>\n"
    )


def _variables(theme: Theme) -> str:
    names = ("ground", "panel", "border", "text", "lesser")
    grounds = "".join(f"--{name}: {value};" for name, value in zip(names, _GROUNDS[theme], strict=True))
    lines = "".join(
        f".line-{index} {{ stroke: {colour}; stroke-dasharray: {dash or 'none'}; }}"
        for index, (colour, dash) in enumerate(zip(_LINES[theme], _DASHES, strict=True))
    )
    return f":root {{ {grounds} }}{lines}"


def _panel(panel: Panel, answers: Sequence[Sequence[Series]], now: float) -> str:
    place = f"grid-column: span {panel.width};"
    title = f"<h3>{escape(panel.title)}</h3>"
    if panel.kind == "stat":
        return _stat(panel, answers[0], place, title)
    body = _table(panel, answers, now) if panel.kind == "table" else chart(panel, [s for one in answers for s in one])
    return f'<div class="panel" style="{place}">{title}{body}</div>'


def _stat(panel: Panel, series: Sequence[Series], place: str, title: str) -> str:
    """The worst of the values on the ground of its level: one, but for several clusters."""
    if not series:
        return f'<div class="panel stat" style="{place}">{title}<b class="none">No data</b></div>'
    value = max(one.last for one in series)
    colour = _level(value, panel.limits)
    level = f'level" style="{place} background: {colour};' if colour else f'" style="{place}'
    return f'<div class="panel stat {level}">{title}<b>{shown(value, panel.unit)}</b></div>'


def _level(value: float, limits: Sequence[tuple[float, str]]) -> str:
    """The colour of the highest limit that is reached; "" below all, and for what is as it should be."""
    reached = [colour for limit, colour in limits if value >= limit]
    return reached[-1] if reached and reached[-1] in (WARN, BAD) else ""


def _table(panel: Panel, answers: Sequence[Sequence[Series]], now: float) -> str:
    """One line for each set of labels, sorted as the panel says; lines that tie, by the other columns."""
    columns = [query.legend for query in panel.queries]
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for column, series in zip(columns, answers, strict=True):
        for one in series:
            cells.setdefault(tuple(one.labels.get(name, "") for name in panel.by), {})[column] = one.last
    if not cells:
        return '<p class="none">No data</p>'
    order = [panel.sort, *(column for column in columns if column != panel.sort)]
    sign = -1 if panel.descending else 1

    def rank(line: tuple[str, ...]) -> tuple[list[float], tuple[str, ...]]:
        return [sign * cells[line].get(column, sign * math.inf) for column in order], line

    head = "".join(f'<th class="label">{name.capitalize()}</th>' for name in panel.by)
    head += "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        "<tr>"
        + "".join(f'<td class="label">{escape(value)}</td>' for value in line)
        + "".join(_cell(panel, column, cells[line].get(column), now) for column in columns)
        + "</tr>"
        for line in sorted(cells, key=rank)
    )
    return f"<table><tr>{head}</tr>{lines}</table>"


def _cell(panel: Panel, column: str, value: float | None, now: float) -> str:
    if value is None:
        return '<td class="zero"><span>–</span></td>'
    unit = panel.units.get(column, panel.unit)
    colour = _level(value, panel.column_limits.get(column, panel.limits))
    if colour:
        return f'<td><span class="level" style="background: {colour}">{shown(value, unit, now)}</span></td>'
    return f"<td{'' if value else ' class=zero'}><span>{shown(value, unit, now)}</span></td>"
