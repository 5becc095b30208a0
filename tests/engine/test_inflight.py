"""Our own writes coming back on the watch, and what else comes meanwhile."""

import pytest

from securetenant.engine.inflight import Echoes
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref

DENY = Ref(NETWORK_POLICY, "pay", "securetenant-default-deny")


def test_news_of_what_nobody_writes_is_told_at_once() -> None:
    assert not Echoes().hold(DENY, "MODIFIED", 5, lambda: None)


def test_the_echo_that_comes_before_the_answer_is_dropped_and_what_came_after_is_told() -> None:
    echoes, told = Echoes(), list[int]()
    with echoes.writing(DENY) as write:
        for version in (4, 5, 6):
            assert echoes.hold(DENY, "MODIFIED", version, lambda version=version: told.append(version))  # type: ignore[misc]
        write.answer(5)
        assert told == []
    assert told == [6]


def test_without_an_answer_everything_is_news() -> None:
    echoes, told = Echoes(), list[int]()
    with pytest.raises(TimeoutError), echoes.writing(DENY):  # noqa: PT012
        echoes.hold(DENY, "MODIFIED", 5, lambda: told.append(5))
        raise TimeoutError
    assert told == [5]
    assert not echoes.hold(DENY, "MODIFIED", 6, lambda: None)


def test_a_deletion_is_always_news() -> None:
    echoes = Echoes()
    with echoes.writing(DENY):
        assert not echoes.hold(DENY, "DELETED", 5, lambda: None)


def test_two_writes_to_one_object_are_waited_for() -> None:
    echoes, told = Echoes(), list[int]()
    with echoes.writing(DENY) as first:
        with echoes.writing(DENY) as second:
            echoes.hold(DENY, "MODIFIED", 7, lambda: told.append(7))
            second.answer(7)
        first.answer(6)
    assert told == []
