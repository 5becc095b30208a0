"""Which rules expire soon, for warnings. Pure.

The platform's thresholds are durations before the expiry of a rule, such as 14 days and one day.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from securetenant.api.status import ExpiringRule
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant
from securetenant.controls import thresholds
from securetenant.controls.network.whitelist import OPPOSITE, has_expired, rules
from securetenant.sets.policy import Direction


def expiring(tenant: SecureTenant, spans: Iterable[int], now: datetime) -> list[ExpiringRule]:
    """The rules that end within one of the spans (seconds), each with the narrowest that it is within; the next to end
    first."""
    spans = tuple(spans)
    found = [
        ExpiringRule(direction=direction, rule=rule.name, expires=expires, within=within)
        for direction, rule, expires in _ending(tenant, now)
        if (within := thresholds.narrowest(expires, spans, now))
    ]
    return sorted(found, key=lambda item: (item.expires, item.direction, item.rule))


def next_warning(tenant: SecureTenant, spans: Iterable[int], now: datetime) -> datetime | None:
    """When a rule next comes within a span."""
    return thresholds.next_warning((expires for _, _, expires in _ending(tenant, now)), tuple(spans), now)


def _ending(tenant: SecureTenant, now: datetime) -> Iterator[tuple[Direction, IngressRule | EgressRule, datetime]]:
    for direction in OPPOSITE:
        for rule, _, _ in rules(tenant, direction):
            if rule.expires is not None and not has_expired(rule.expires, now):
                yield direction, rule, rule.expires
