"""Time series as SVG: lines told apart by colour and, where colours repeat, by dashes; a legend with the last value."""

import math
import time
from collections.abc import Sequence
from html import escape
from typing import Final

from monitoring.panels import Panel
from monitoring.pictures.answers import Series
from monitoring.pictures.values import runs, shown, ticks

_WIDTH: Final = 392
_HEIGHT: Final = 150
_LEFT: Final = 52
_RIGHT: Final = 8
_TOP: Final = 8
_BOTTOM: Final = 20
#: As many lines have a colour (--line-0 and so on) and a legend; further ones, lower at the end, are thin and grey.
_NAMED: Final = 7


def chart(panel: Panel, series: Sequence[Series]) -> str:
    """The lines, the highest at the end first in the legend."""
    known = [one for one in series if any(not math.isnan(value) for _, value in one.points)]
    if not known:
        return '<p class="none">No data</p>'
    ordered = sorted(known, key=lambda one: (-_last(one), one.legend))
    begin = min(one.points[0][0] for one in ordered)
    end = max(max(one.points[-1][0] for one in ordered), begin + 1)
    limits = [limit for limit, _ in panel.limits]
    highest = max(value for one in ordered for _, value in one.points if not math.isnan(value))
    scale = ticks(highest if not limits or highest < limits[0] / 5 else max(highest, limits[0]), panel.unit)

    def x(at: float) -> float:
        return _LEFT + (at - begin) / (end - begin) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / scale[-1] * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(y(value), shown(value, panel.unit)) for value in scale]
    moments = {"start": begin, "middle": (begin + end) / 2, "end": end}
    parts += [_moment(x(when), when, anchor) for anchor, when in moments.items()]
    parts += [_limit(y(limit), colour) for limit, colour in panel.limits if limit <= scale[-1]]
    step = min((b[0] - a[0] for one in ordered for a, b in zip(one.points, one.points[1:], strict=False)), default=1.0)
    # The first is drawn last, over the others.
    for index, one in reversed(list(enumerate(ordered))):
        for run in runs(one.points, step):
            path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in run)
            parts.append(f'<polyline points="{path}" class="{_line(index)}"/>')
    legend = [
        f"<span>{_sample(index)}{escape(one.legend) or '–'} <b>{shown(_last(one), panel.unit)}</b></span>"
        for index, one in enumerate(ordered[:_NAMED])
    ]
    if len(ordered) > _NAMED:
        legend.append(f"<span>{_sample(_NAMED)}{len(ordered) - _NAMED} more</span>")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" class="chart">{"".join(parts)}</svg>'
        f'<div class="legend">{"".join(legend)}</div>'
    )


def _last(one: Series) -> float:
    """The last value that is a number."""
    return next(value for _, value in reversed(one.points) if not math.isnan(value))


def _line(index: int) -> str:
    return f"line line-{index}" if index < _NAMED else "line line-rest"


def _sample(index: int) -> str:
    return f'<svg width="18" height="8"><line x1="0" x2="18" y1="4" y2="4" class="{_line(index)}"/></svg>'


def _grid(at: float, label: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
        f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _limit(at: float, colour: str) -> str:
    """Named, or it would be taken for one of the lines."""
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{colour}"/>'
        f'<text x="{_WIDTH - _RIGHT}" y="{at + 11:.1f}" text-anchor="end">limit</text>'
    )


def _moment(at: float, when: float, anchor: str) -> str:
    text = time.strftime("%H:%M:%S", time.gmtime(when))
    return f'<text x="{at:.1f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{text}</text>'
