"""Which rules end soon, and when the next one comes within a threshold."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from securetenant.controls import thresholds
from securetenant.controls.network import control as network
from securetenant.controls.network import expiry
from securetenant.model.platform import Platform
from tests.support.network import whitelist
from tests.support.world import NOW, StaticWorld, mine, tenant

DAY = 86_400
SPANS = (14 * DAY, DAY)


def ending(**ends: float) -> list[dict[str, object]]:
    """Rules that end so many seconds from NOW."""
    return [
        {"name": name, "from": [{"cidr": "10.0.0.0/8"}], "expires": (NOW + timedelta(seconds=seconds)).isoformat()}
        for name, seconds in ends.items()
    ]


def within(now: datetime = NOW, spans: tuple[int, ...] = SPANS, **ends: float) -> list[tuple[str, str]]:
    pay = tenant("pay", namespaces=["pay"], network={"ingress": ending(**ends)})
    return [(rule.rule, rule.within) for rule in expiry.expiring(pay, spans, now)]


def test_each_is_within_the_narrowest_span_that_holds_it_and_the_next_to_end_comes_first() -> None:
    ends: dict[str, Any] = {
        "later": 15 * DAY,
        "weeks": 13 * DAY,
        "today": 3600,
        "edge": 14 * DAY,
        "day": DAY,
        "over": 0,
        "past": -1,
    }
    assert within(**ends) == [("today", "1d"), ("day", "1d"), ("weeks", "14d"), ("edge", "14d")]
    assert within(spans=(), **ends) == []


def test_the_next_warning_is_the_next_time_at_which_a_rule_comes_within_a_span() -> None:
    pay = tenant("pay", namespaces=["pay"], network={"ingress": ending(a=20 * DAY, b=10 * DAY, over=-5)})
    times = []
    now: datetime | None = NOW
    while now is not None:
        before = within(now, a=20 * DAY, b=10 * DAY)
        now = expiry.next_warning(pay, SPANS, now)
        if now is not None:
            times.append((now - NOW).days)
            assert within(now, a=20 * DAY, b=10 * DAY) != before, "at that very time there is something to tell"
    assert times == [6, 9, 19]
    assert expiry.next_warning(pay, (), NOW) is None


def test_a_rule_without_end_is_never_within() -> None:
    rule = {"name": "a", "from": [{"cidr": "10.0.0.0/8"}]}
    pay = tenant("pay", namespaces=["pay"], network={"ingress": [rule]})
    assert expiry.expiring(pay, SPANS, NOW) == []
    assert expiry.next_warning(pay, SPANS, NOW) is None


@pytest.mark.parametrize(("spans", "days"), [(SPANS, 1), ((3 * DAY,), 12), ((), 15)])
def test_the_control_wakes_for_it_and_says_so_in_the_status(spans: tuple[int, ...], days: int) -> None:
    pay = tenant("pay", namespaces=["pay"], network={"ingress": ending(a=15 * DAY)})
    world = StaticWorld([pay], mine(pay), Platform(expires_soon=spans))
    plan = network.plan(pay, world, NOW)
    assert plan.wake_at == NOW + timedelta(days=days)
    assert whitelist(plan).expiring == []
    assert whitelist(plan).next_expiry == NOW + timedelta(days=15), "the warning is no expiry"
    if len(spans) == 2:
        later = whitelist(network.plan(pay, world, plan.wake_at))
        assert [(rule.rule, rule.within) for rule in later.expiring] == [("a", "14d")]


@pytest.mark.parametrize(("seconds", "written"), [(14 * DAY, "14d"), (5400, "90m"), (7200, "2h"), (45, "45s")])
def test_a_span_is_written_as_a_setting_writes_it(seconds: int, written: str) -> None:
    assert thresholds.written_duration(seconds) == written
