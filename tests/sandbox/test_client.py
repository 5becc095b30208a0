"""Waiting with a deadline."""

import pytest

from tests.support.sandbox import ApiError, wait_for


async def test_waiting_gives_the_first_true_value() -> None:
    values = iter([0, None, "", 7, 8])

    assert await wait_for(lambda: next(values), 5, every=0) == 7


async def test_waiting_takes_a_coroutine_and_bears_assertions_and_absence() -> None:
    calls = 0

    async def third() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ApiError("GET", "/x", 404, {})
        assert calls > 2, "too early"
        return "there"

    assert await wait_for(third, 5, every=0) == "there"


async def test_a_missed_deadline_says_what_was_waited_for_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"waited 0 s for the moon; last: \[\]"):
        await wait_for(list, 0, "the moon", every=0)


async def test_another_refusal_ends_the_waiting() -> None:
    def forbidden() -> None:
        raise ApiError("GET", "/x", 403, {"message": "no"})

    with pytest.raises(ApiError, match="403: no"):
        await wait_for(forbidden, 5)
