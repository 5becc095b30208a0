"""What kopf is doing with a kind, read off its requests."""

import pytest

from securetenant.watch.requests import ANSWER, BACKOFFS, IDLE, LATE, PATIENCE, STANDS, Asking


@pytest.fixture
def asking() -> Asking:
    return Asking(since=100.0)


def watching(asking: Asking, now: float) -> None:
    """It begins a watch, which is accepted."""
    asking.began(now)
    asking.answered("watch", "200", now)


def test_who_watches_is_not_stuck_however_quiet(asking: Asking) -> None:
    watching(asking, 101.0)
    assert asking.stuck(101.0 + 3600) == ""
    assert asking.sees(101.0 + 3600) == 101.0 + 3600


def test_after_a_watch_another_request_must_begin_in_time(asking: Asking) -> None:
    watching(asking, 101.0)
    asking.over("watch", 110.0)
    assert asking.stuck(110.0 + IDLE) == ""
    assert "asked for nothing" in asking.stuck(110.1 + IDLE)
    asking.began(111.0)
    assert asking.stuck(111.0 + IDLE + 0.1) == "", "it waits for an answer"
    assert asking.sees(112.0) == 110.0


def test_its_own_pauses_are_no_reason() -> None:
    assert max(BACKOFFS) < IDLE


@pytest.mark.parametrize("code", ["404", "500", "error"])
def test_a_refusal_is_no_watch(asking: Asking, code: str) -> None:
    asking.began(101.0)
    asking.answered("watch", code, 101.0)
    assert asking.stuck(101.1 + IDLE)
    assert asking.sees(102.0) == 0.0


def test_an_answer_that_does_not_come(asking: Asking) -> None:
    asking.began(101.0)
    assert asking.stuck(101.0 + ANSWER + LATE) == ""
    assert "no answer" in asking.stuck(101.1 + ANSWER + LATE)


def test_an_answer_that_is_being_read(asking: Asking) -> None:
    """A page of a list takes its time, and is no pause."""
    asking.began(101.0)
    asking.answered("list", "200", 101.0)
    assert asking.stuck(101.1 + IDLE) == ""
    asking.over("list", 101.1 + IDLE)
    assert asking.under_way == 0


def test_a_retry_after_is_heeded_within_reason(asking: Asking) -> None:
    asking.began(101.0)
    asking.answered("watch", "429", 101.0, retry_after=3600)
    assert asking.stuck(101.0 + PATIENCE) == ""
    assert asking.stuck(101.1 + PATIENCE + 1.0)


def test_a_watch_that_ends_at_once_has_seen_nothing(asking: Asking) -> None:
    watching(asking, 101.0)
    asking.over("watch", 101.0 + STANDS / 2)
    assert asking.sees(105.0) == 0.0
    watching(asking, 106.0)
    asking.event(106.1)
    asking.over("watch", 106.2)
    assert asking.sees(110.0) == 106.1, "but for an event"
