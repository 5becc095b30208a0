"""Which rules expire soon, for warnings. Pure.

The platform's thresholds are durations before the expiry of a rule, such as 14 days and one day.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from securetenant.api.status import ExpiringRule
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant
from securetenant.controls.network.whitelist import OPPOSITE, earliest, has_expired, rules
from securetenant.sets.policy import Direction

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))


def expiring(tenant: SecureTenant, thresholds: Iterable[int], now: datetime) -> list[ExpiringRule]:
    """The rules that expire within a threshold (seconds), each with the smallest such threshold; the next to expire
    first."""
    spans = sorted(thresholds)
    found = []
    for direction, rule, expires in _ending(tenant, now):
        within = next((span for span in spans if expires - now <= timedelta(seconds=span)), None)
        if within is not None:
            found.append(
                ExpiringRule(direction=direction, rule=rule.name, expires=expires, within=written_duration(within))
            )
    return sorted(found, key=lambda item: (item.expires, item.direction, item.rule))


def next_warning(tenant: SecureTenant, thresholds: Iterable[int], now: datetime) -> datetime | None:
    """When a rule next reaches a threshold."""
    spans = [timedelta(seconds=span) for span in thresholds]
    times = (expires - span for _, _, expires in _ending(tenant, now) for span in spans)
    return earliest(time for time in times if time > now)


def _ending(tenant: SecureTenant, now: datetime) -> Iterator[tuple[Direction, IngressRule | EgressRule, datetime]]:
    for direction in OPPOSITE:
        for rule, _, _ in rules(tenant, direction):
            if rule.expires is not None and not has_expired(rule.expires, now):
                yield direction, rule, rule.expires


def written_duration(seconds: int) -> str:
    """As in settings: 1209600 is "14d", 5400 is "90m", 45 is "45s"."""
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds % size == 0), f"{seconds}s")
