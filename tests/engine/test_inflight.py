"""Our own writes coming back on the watch, and what else comes meanwhile."""

import pytest

from securetenant.engine.inflight import WritesInFlight
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref

DENY = Ref(NETWORK_POLICY, "pay", "securetenant-default-deny")


def test_news_of_what_nobody_writes_is_heard_at_once() -> None:
    assert not WritesInFlight().hold(DENY, "MODIFIED", 5, lambda: None)


def test_the_event_of_our_write_that_comes_before_the_answer_is_dropped_and_what_came_after_is_heard() -> None:
    in_flight, heard = WritesInFlight(), list[int]()
    with in_flight.writing(DENY) as write:
        for version in (4, 5, 6):
            assert in_flight.hold(DENY, "MODIFIED", version, lambda version=version: heard.append(version))  # type: ignore[misc]
        write.answer(5)
        assert heard == []
    assert heard == [6]


def test_without_an_answer_everything_is_news() -> None:
    in_flight, heard = WritesInFlight(), list[int]()
    with pytest.raises(TimeoutError), in_flight.writing(DENY):  # noqa: PT012
        in_flight.hold(DENY, "MODIFIED", 5, lambda: heard.append(5))
        raise TimeoutError
    assert heard == [5]
    assert not in_flight.hold(DENY, "MODIFIED", 6, lambda: None)


def test_a_deletion_is_always_news() -> None:
    in_flight = WritesInFlight()
    with in_flight.writing(DENY):
        assert not in_flight.hold(DENY, "DELETED", 5, lambda: None)


def test_two_writes_to_one_object_are_waited_for() -> None:
    in_flight, heard = WritesInFlight(), list[int]()
    with in_flight.writing(DENY) as first:
        with in_flight.writing(DENY) as second:
            in_flight.hold(DENY, "MODIFIED", 7, lambda: heard.append(7))
            second.answer(7)
        first.answer(6)
    assert heard == []
