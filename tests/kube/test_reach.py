"""What is said of a failure that goes on."""

import logging

import pytest

from securetenant.kube.errors import Unreachable
from securetenant.kube.reach import Rarely, Reach


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(message: str = "no connection to a:1: Connection refused") -> Unreachable:
    return Unreachable(0, "Unreachable", message, "GET", "/x")


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Clock:
    caplog.set_level(logging.INFO)
    return Clock()


def test_an_outage_is_said_once_a_minute_and_its_end_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reach = Reach("https://a:1", clock)
    for _ in range(600):
        reach.failed(refused())
        clock.now += 0.25
    reach.answered()
    reach.answered()
    assert caplog.messages == [
        "cannot reach the API server at https://a:1: no connection to a:1: Connection refused",
        "cannot reach the API server at https://a:1, for 60 s now: no connection to a:1: Connection refused",
        "cannot reach the API server at https://a:1, for 120 s now: no connection to a:1: Connection refused",
        "the API server answers again, after 150.0 s",
    ]


def test_one_that_comes_and_goes_is_said_once_a_minute_too(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reach = Reach("https://a:1", clock)
    for _ in range(100):
        reach.failed(refused())
        reach.answered()
        clock.now += 1
    assert [message[:12] for message in caplog.messages] == ["cannot reach", "the API serv"] * 2


def test_where_all_is_well_nothing_is_said(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    Reach("https://a:1", clock).answered()
    assert caplog.messages == []


def test_what_is_new_is_said_at_once(clock: Clock) -> None:
    rarely = Rarely(clock)
    assert [rarely("a"), rarely("a"), rarely("b"), rarely("b"), rarely("a")] == [True, False, True, False, True]
    clock.now += 60
    assert rarely("a")
