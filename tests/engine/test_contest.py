"""When corrections are spaced out, and when the fight is over."""

from securetenant.api.objects import Ref
from securetenant.engine.contest import CORRECTIONS, FIRST_WAIT, LONGEST_WAIT, WINDOW, Contests

DENY = Ref("NetworkPolicy", "pay", "securetenant-default-deny")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fight(contests: Contests, clock: Clock, times: int, step: float) -> None:
    for _ in range(times):
        clock.now += step
        contests.corrected("pay", DENY, "network", "helm")


def test_a_few_corrections_are_no_contest() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, CORRECTIONS - 1, 1.0)
    assert contests.wait("pay", DENY) == 0.0
    assert not contests.contested("pay")


def test_many_in_a_short_time_are_and_name_the_manager() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, CORRECTIONS, 1.0)
    assert contests.contested("pay") == {DENY: ("network", "helm")}
    assert contests.wait("pay", DENY) == FIRST_WAIT


def test_the_same_number_over_a_long_time_are_not() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, 3 * CORRECTIONS, WINDOW)
    assert not contests.contested("pay")


def test_the_spacing_doubles_up_to_a_limit() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, CORRECTIONS + 1, 1.0)
    assert contests.wait("pay", DENY) == 2 * FIRST_WAIT
    fight(contests, clock, 10, 1.0)
    assert contests.wait("pay", DENY) == LONGEST_WAIT


def test_it_is_over_when_it_has_been_calm() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, CORRECTIONS, 1.0)
    assert contests.calm_at("pay") == WINDOW
    clock.now += WINDOW + 1
    assert not contests.contested("pay")
    assert contests.wait("pay", DENY) == 0.0
    assert contests.calm_at("pay") == 0.0
