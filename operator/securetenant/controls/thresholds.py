"""The spans of time before an end at which people are warned of it, such as 14 days and one day. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))


def narrowest(end: datetime, thresholds: Iterable[int], now: datetime) -> str:
    """The narrowest threshold (seconds) that an end is within, as "14d"; "" if it is within none."""
    within = next((span for span in sorted(thresholds) if end - now <= timedelta(seconds=span)), None)
    return written_duration(within) if within is not None else ""


def next_warning(ends: Iterable[datetime], thresholds: Iterable[int], now: datetime) -> datetime | None:
    """When one of these next comes within a threshold."""
    spans = [timedelta(seconds=span) for span in thresholds]
    return min((end - span for end in ends for span in spans if end - span > now), default=None)


def written_duration(seconds: int) -> str:
    """As a setting writes it: 1209600 is "14d", 5400 is "90m", 45 is "45s"."""
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds % size == 0), f"{seconds}s")
