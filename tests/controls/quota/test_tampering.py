"""What others do to a tenant's quotas moves no other share."""

import pytest

from tests.support.quota import TEN, A, B, C, hard_pods, look, pods, reason, tampered


def test_a_raised_quota_goes_back_and_moves_no_other() -> None:
    others = [pods(TEN, B, 20, 5), pods(TEN, C, 20, 5)]
    raised = tampered(pods(TEN, A, 20, 5, in_force=1000), {"pods": "1000"})
    plan = look(TEN, raised, *others)
    assert hard_pods(plan) == [20, 20, 20]
    assert reason(plan) == ("False", "Shrinking")


def test_while_a_raised_quota_is_in_force_nobody_grows() -> None:
    raised = tampered(pods(TEN, A, 20, 5), {"pods": "1000"})
    assert hard_pods(look(TEN, raised, pods(TEN, B, 10, 10), pods(TEN, C, 20, 5)))[1] == 10


def test_a_lowered_quota_is_restored_out_of_what_is_free() -> None:
    lowered = tampered(pods(TEN, A, 20, 5), {"pods": "0"})
    assert hard_pods(look(TEN, lowered, pods(TEN, B, 20, 5), pods(TEN, C, 20, 5))) == [20, 20, 20]


def test_a_deleted_quota_comes_back_with_its_part_in_one_write() -> None:
    others = [pods(TEN, B, 20, 5), pods(TEN, C, 20, 5)]
    assert hard_pods(look(TEN, *others)) == [17, 20, 20]
    assert hard_pods(look(TEN, pods(TEN, A, 17, 5), *others)) == [17, 20, 20], "counted, and enough"


def test_a_quota_that_counts_only_some_pods_is_uncounted() -> None:
    scoped = tampered(pods(TEN, A, 20, 0), {"pods": "20"}, scopes=["Terminating"])
    plan = look(TEN, scoped, pods(TEN, B, 20, 20), pods(TEN, C, 10, 5))
    assert hard_pods(plan)[1:] == [20, 10]
    assert reason(plan) == ("Unknown", "Uncounted")


@pytest.mark.parametrize("absurd", ["100E", "9223372036854775807", "1" * 40])
def test_absurd_quantities_do_not_break_the_plan(absurd: str) -> None:
    raised = tampered(pods(TEN, A, 20, 5), {"pods": absurd})
    assert hard_pods(look(TEN, raised, pods(TEN, B, 20, 5), pods(TEN, C, 20, 5))) == [20, 20, 20]
