"""When corrections are spaced out, and when the fight is over."""

import pytest

from securetenant.engine.contention import (
    CLOSING_BURST,
    CLOSING_RATE,
    CORRECTIONS,
    FIRST_WAIT,
    LASTING,
    LONGEST_WAIT,
    PLACE_SECONDS,
    WINDOW,
    Contention,
    ManagerConflict,
)
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref

DENY = Ref(NETWORK_POLICY, "pay", "securetenant-default-deny")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fight(contests: Contention, clock: Clock, times: int, step: float) -> None:
    for _ in range(times):
        clock.now += step
        contests.corrected("pay", DENY, "network", "helm")


def test_a_few_corrections_are_no_contest() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, CORRECTIONS - 1, 1.0)
    assert contests.wait("pay", DENY, closes=False) == 0.0
    assert not contests.contested("pay")


def test_many_in_a_short_time_are_and_name_the_manager() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, CORRECTIONS, 1.0)
    assert contests.contested("pay") == {DENY: ManagerConflict("network", "helm")}
    assert contests.wait("pay", DENY, closes=False) == FIRST_WAIT


def test_the_same_number_over_a_long_time_are_not() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, 3 * CORRECTIONS, WINDOW)
    assert not contests.contested("pay")


def test_the_spacing_doubles_up_to_a_limit() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, CORRECTIONS + 1, 1.0)
    assert contests.wait("pay", DENY, closes=False) == 2 * FIRST_WAIT
    fight(contests, clock, 10, 1.0)
    assert contests.wait("pay", DENY, closes=False) == LONGEST_WAIT


def test_it_is_over_when_it_has_been_calm() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, CORRECTIONS, 1.0)
    assert contests.calm_at("pay") == WINDOW
    clock.now += WINDOW + 1
    assert not contests.contested("pay")
    assert contests.wait("pay", DENY, closes=False) == 0.0
    assert contests.calm_at("pay") == 0.0


def test_what_closes_waits_for_nothing_but_a_rate() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, 200, 0.06)
    assert contests.contested("pay")
    clock.now += 0.05
    assert contests.wait("pay", DENY, closes=True) == 0.0


@pytest.mark.parametrize("again", [0.0, 0.001, 0.02, 0.04])
def test_who_is_quicker_than_the_rate_gains_no_longer_gap(again: float) -> None:
    """What is undone at once stands open until the next correction, and no longer than two of them may take."""
    clock = Clock()
    contests, begun, longest = Contention(clock), clock.now, 0.0
    for _ in range(100):
        clock.now += again
        wait = contests.wait("pay", DENY, closes=True)
        longest = max(longest, wait)
        clock.now += wait
        contests.corrected("pay", DENY, "network", "rival")
    assert longest <= CLOSING_BURST / CLOSING_RATE + 0.001
    assert clock.now - begun >= (100 - CLOSING_BURST) / CLOSING_RATE - 0.001


def test_names_that_are_always_new_are_one_fight_by_place_and_manager() -> None:
    clock = Clock()
    contests = Contention(clock)
    for number in range(4 * CORRECTIONS):
        clock.now += PLACE_SECONDS / 4
        contests.removed("pay", Ref(NETWORK_POLICY, "pay", f"open-{number}"), "network", "helm")
        if number < CORRECTIONS:
            assert not contests.contested("pay"), "many at once are one round"
    assert contests.contested("pay") == {Ref(NETWORK_POLICY, "pay", "*"): ManagerConflict("network", "helm")}


def test_a_fight_that_lasts_is_said_to() -> None:
    clock = Clock()
    contests = Contention(clock)
    fight(contests, clock, CORRECTIONS, 1.0)
    assert not contests.contested("pay")[DENY].lasting
    fight(contests, clock, int(LASTING), 1.0)
    assert contests.contested("pay")[DENY].lasting
