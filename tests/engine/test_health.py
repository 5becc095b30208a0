"""What proves nothing any more, and who does not go on leading."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from securetenant.cache.roster import BLIND, Blind
from securetenant.engine import health
from securetenant.engine.resource import Resource
from securetenant.kube.informer import Informer
from securetenant.model.kinds import LIMIT_RANGE, NETWORK_POLICY, SECURE_TENANT, Kind
from tests.engine.test_controller import CLASS, Reconciler
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    return clock


def informer(clock: Clock, **state: Any) -> Informer:
    synced = asyncio.Event()
    synced.set()
    known = {"failing_since": 0.0, "failure": "", "tried": clock.now, "last_contact": clock.now, "synced": synced}
    return cast(Informer, SimpleNamespace(**{**known, **state}))


def blind(kind: Kind, seconds: float) -> Any:
    return lambda asked: seconds if asked is kind else 0.0


def test_a_cache_that_cannot_be_kept_is_named_after_a_while(clock: Clock) -> None:
    informers = {
        LIMIT_RANGE: informer(clock, failing_since=clock.now, failure="Forbidden"),
        NETWORK_POLICY: informer(clock),
    }
    own = (SECURE_TENANT, CLASS)
    clock.now += health.STALE
    assert health.stale(informers, own, blind(CLASS, health.STALE_OWN)) == ""
    clock.now += 1.0
    said = health.stale(informers, own, blind(CLASS, health.STALE_OWN + 1.0))
    assert said == "what is known may be old: LimitRange cannot be watched: Forbidden; TenantClass cannot be watched"


def test_who_is_blind_gives_up_only_where_there_is_something_to_lead(clock: Clock) -> None:
    def resource(*names: str) -> Resource:
        return Resource(CLASS, names, Reconciler(), lambda *_: (), lambda: None)

    health.give_up_if_blind([resource("a")], blind(CLASS, BLIND))
    health.give_up_if_blind([resource()], blind(CLASS, BLIND + 1.0))
    with pytest.raises(Blind, match="TenantClasses have not been watched for 61 s"):
        health.give_up_if_blind([resource("a")], blind(CLASS, BLIND + 1.0))


async def test_a_watcher_that_is_dead_silent_or_does_not_try(clock: Clock) -> None:
    running, ended = asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(asyncio.sleep(0))
    await ended
    tasks = cast(Any, {LIMIT_RANGE: running, NETWORK_POLICY: running})
    try:
        informers = {LIMIT_RANGE: informer(clock), NETWORK_POLICY: informer(clock, failure="HTTP500")}
        assert health.unhealthy(informers, tasks) == []
        clock.now += health.SILENT + 1.0
        assert health.unhealthy(informers, tasks) == [
            "LimitRange: silent for 241 s",
            "NetworkPolicy: not tried again for 241 s after: HTTP500",
        ]
        found = health.unhealthy({LIMIT_RANGE: informer(clock)}, {LIMIT_RANGE: cast(Any, ended)})
        assert found == ["LimitRange: its watcher is not running"]
    finally:
        running.cancel()


async def test_everything_is_looked_at_again_when_the_clock_was_set_or_a_cache_changed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PULSE", 0.0)
    stale, looks, rounds = [""], list[str](), 0

    def give_up() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            stale[0] = "LimitRange cannot be watched"  # seen in the next round
        if rounds == 4:
            clock.now += 60.0  # the time of day, and not the monotonic one
        if rounds == 6:
            raise Blind("the end")

    with pytest.raises(Blind):
        await health.pulse(lambda: 0.0, lambda: stale[0], give_up, lambda: looks.append(f"{rounds} {stale[0]}"))
    assert looks == ["3 LimitRange cannot be watched", "5 LimitRange cannot be watched"]
