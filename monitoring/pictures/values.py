"""Values as people read them, by the units of the panels."""

import math
from itertools import pairwise
from typing import Final

from monitoring.panels import Unit

_SPANS: Final = (("year", 365 * 86400.0), ("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
_BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def shown(value: float, unit: Unit, now: float = 0.0) -> str:
    """`now`: of what dates are told from, seconds since 1970."""
    if math.isnan(value):
        return "–"
    match unit:
        case "percentunit":
            return f"{value * 100:.0f} %"
        case "s":
            return _seconds(value)
        case "bytes":
            return _bytes(value)
        case "reqps":
            return f"{_number(value)}/s"
        case "dateTimeFromNow":
            return _from_now(value / 1000 - now)
        case _:
            return _number(value)


def ticks(highest: float, unit: Unit) -> list[float]:
    """From 0 to at least `highest`, in at most six steps, round ones of the unit."""
    highest = highest if highest > 0 else 1.0
    size = 1024.0 ** int(math.log(highest, 1024)) if unit == "bytes" and highest >= 1 else 1.0
    power = size * 10 ** math.floor(math.log10(highest / size))
    step = next(power * part for part in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5) if highest / (power * part) <= 5)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _number(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _seconds(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if value and abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if abs(value) < 600 else f"{value / 60:.3g} min"


def _bytes(value: float) -> str:
    power = min(int(math.log(value, 1024)), len(_BYTES) - 1) if value >= 1 else 0
    return f"{value / 1024**power:.3g} {_BYTES[power]}"


def _from_now(seconds: float) -> str:
    """In the largest unit of which there is one at least."""
    name, size = next(((n, s) for n, s in _SPANS if abs(seconds) >= s), _SPANS[-1])
    count = round(abs(seconds) / size)
    text = f"{count} {name}{'' if count == 1 else 's'}"
    return f"in {text}" if seconds >= 0 else f"{text} ago"


def runs(points: tuple[tuple[float, float], ...], step: float) -> list[list[tuple[float, float]]]:
    """The points without those that are no number, cut where some are missing."""
    found: list[list[tuple[float, float]]] = [[]]
    kept = [(at, value) for at, value in points if not math.isnan(value)]
    if kept:
        found[0].append(kept[0])
    for (before, _), point in pairwise(kept):
        if point[0] - before > 2 * step:
            found.append([])
        found[-1].append(point)
    return [run for run in found if run]
