"""The queue's promises, with a clock of our own."""

import asyncio

import pytest

from securetenant.engine.workqueue import MANY, Key, WorkQueue
from securetenant.model.kinds import LIMIT_RANGE, SECURE_TENANT

A, B = Key(SECURE_TENANT, "a"), Key(SECURE_TENANT, "b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock, base_delay=1.0, soon_delay=8.0, max_delay=60.0, jitter=lambda: 0.5)


async def test_equal_keys_merge_and_the_earliest_arrival_counts(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, since=90.0)
    queue.add(A, since=95.0)
    queue.add(B)
    assert queue.depth == 2
    assert (await queue.get()).since == 90.0
    assert queue.oldest() == 0.0


async def test_a_name_of_another_kind_is_another_key(queue: WorkQueue) -> None:
    other = Key(LIMIT_RANGE, "a")
    queue.add(A)
    queue.failed(A)
    queue.add(other)
    assert (queue.depth, queue.failures(other)) == (2, 0)
    assert (await queue.get()).key == A
    assert (await asyncio.wait_for(queue.get(), 1)).key == other, "though the first is being worked on"


async def test_a_key_is_never_worked_on_twice_at_once(queue: WorkQueue) -> None:
    queue.add(A)
    await queue.get()
    queue.add(A, since=99.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    assert queue.depth == 1
    queue.done(A)
    assert (await queue.get()).since == 99.0


async def test_get_waits_for_a_key(queue: WorkQueue) -> None:
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    assert (await asyncio.wait_for(getting, 1)).key == A


def test_failures_double_up_to_a_limit(queue: WorkQueue) -> None:
    assert [queue.failed(A) for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert queue.failures(A) == 5
    queue.succeeded(A)
    assert queue.failures(A) == 0


def test_who_fails_for_minutes_is_left_alone_for_longer(queue: WorkQueue) -> None:
    delays = [queue.failed(A) for _ in range(MANY + 1)]
    assert delays[3:MANY] == [8.0] * (MANY - 3)
    assert delays[MANY] == 60.0


def test_the_earlier_timer_of_a_key_stands(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(A, 10)
    queue.add_after(A, 5)
    queue.add_after(A, 7)
    assert queue.release_due() == 5
    clock.now += 5
    assert queue.release_due() is None
    assert queue.depth == 1


def test_a_forgotten_key_does_not_come_back(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(A, 1)
    queue.forget(A)
    clock.now += 2
    assert queue.release_due() is None
    assert queue.depth == 0


async def test_timers_wake_the_queue(queue: WorkQueue, clock: Clock) -> None:
    running = asyncio.create_task(queue.run_timers())
    queue.add_after(A, 0.0)
    assert (await asyncio.wait_for(queue.get(), 1)).key == A
    running.cancel()


def test_oldest_is_the_age_of_what_waited_longest(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, since=97.0)
    queue.add(B)
    assert queue.oldest() == 3.0


def test_superseded_timers_do_not_pile_up(queue: WorkQueue, clock: Clock) -> None:
    """An expiry in a year, superseded by each resync, lies below a live timer and never comes to the top."""
    for number in range(5_000):
        queue.add_after(A, 1e7)
        queue.add_after(A, 100 + number % 7)
        clock.now += 200
        queue.release_due()
        queue.add_after(B, 1.0)
    assert len(queue._timers) < 200


@pytest.mark.parametrize("turns", range(6))
async def test_timers_end_when_they_are_told_to_in_the_moment_of_news(queue: WorkQueue, turns: int) -> None:
    """Seen: a process that had lost its Lease lived on, for its timers had swallowed the cancellation."""
    queue.add_after(B, 60.0)
    running = asyncio.create_task(queue.run_timers())
    for _ in range(3):
        await asyncio.sleep(0)  # until it waits
    queue.add_after(A, 30.0)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=1)
    assert ended
