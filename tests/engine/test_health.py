"""What proves nothing any more, and who does not go on leading."""

from typing import Any

import pytest

from securetenant.cache.roster import BLIND, Blind
from securetenant.engine import health
from securetenant.engine.resource import Resource
from securetenant.model.kinds import SECURE_TENANT, Kind
from tests.engine.test_controller import CLASS, Reconciler
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    return clock


def blind(kind: Kind, seconds: float) -> Any:
    return lambda asked: seconds if asked is kind else 0.0


def test_a_kind_that_nobody_has_watched_for_a_while_is_named() -> None:
    own = (SECURE_TENANT, CLASS)
    assert health.stale([], own, blind(CLASS, health.STALE_OWN)) == ""
    said = health.stale(["LimitRange cannot be watched: Forbidden"], own, blind(CLASS, health.STALE_OWN + 1.0))
    assert (
        said == "the caches may be out of date: LimitRange cannot be watched: Forbidden; TenantClass cannot be watched"
    )


def test_who_is_blind_gives_up_only_where_there_is_something_to_lead() -> None:
    def resource(*names: str) -> Resource:
        return Resource(CLASS, names, Reconciler(), lambda *_: (), lambda: None)

    health.give_up_if_blind([resource("a")], blind(CLASS, BLIND))
    health.give_up_if_blind([resource()], blind(CLASS, BLIND + 1.0))
    with pytest.raises(Blind, match="TenantClasses have not been watched for 61 s"):
        health.give_up_if_blind([resource("a")], blind(CLASS, BLIND + 1.0))


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
