"""When the operator tries what a control has to try, how often, and what it does with the answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import msgspec
import pytest

from securetenant.controls.control import Control, Plan, Probe
from securetenant.engine import probe
from securetenant.engine.probe import Prober
from securetenant.kube.errors import ApiError, Forbidden
from securetenant.kube.lease import LeaseLost
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LIMIT_RANGE, NETWORK_POLICY
from securetenant.model.probe import Answer, Probed, Trial
from tests.support.kube import until
from tests.support.world import StaticWorld, observed

ME = "system:serviceaccount:here:me"
REVIEW = msgspec.json.encode({"status": {"userInfo": {"username": ME}}})
CHANGE = observed("NetworkPolicy", "a", "pay", spec={})


class Server:
    """Answers each request as `does` says: an error, or the warnings that come with a 201."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.does: Callable[[], ApiError | Exception | list[str]] = list

    async def request(self, method: str, path: str, *, dry_run: list[str] | None = None, **more: Any) -> bytes:
        if dry_run is None:
            return REVIEW
        self.asked.append((path, more["body"]))
        done = self.does()
        if isinstance(done, Exception):
            raise done
        dry_run[:] = done
        return b"{}"


class Stage:
    def __init__(self) -> None:
        self.server, self.world, self.now, self.news, self.is_settled = Server(), StaticWorld(), 1000.0, 0, True
        trial = Trial("one", LIMIT_RANGE, "pay", {"kind": "LimitRange"})
        trying = Probe(
            trials=lambda world: [trial],
            concerns=lambda new, old: new.ref.kind is NETWORK_POLICY,
            settled=lambda world: self.is_settled,
        )
        control = Control("trying", lambda tenant, world, now: Plan(), (), probe=trying)
        other = Control("other", lambda tenant, world, now: Plan(), ())
        transport = cast(Transport, self.server)
        self.prober = Prober(transport, self.world, [control, other], self._note, lambda: self.now)

    def _note(self) -> None:
        self.news += 1

    @property
    def probed(self) -> Probed:
        found = self.world.probed("trying")
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.prober.run())
        try:
            await self.prober.tried(within=5)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses, so that each turn of the loop would try again."""
    monkeypatch.setattr(probe, "FIRST", 0.0)
    monkeypatch.setattr(probe, "LONGEST", 0.0)


async def idle() -> None:
    """Let the loop turn so often that whoever has something to do has done it."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_it_tries_once_at_the_start_and_not_again_while_nothing_changes() -> None:
    stage = Stage()
    assert stage.probed == Probed()
    assert stage.world.probed("other") is None
    stage.server.does = lambda: ["careful"]
    async with stage.running():
        await idle()
        assert stage.server.asked == [("/api/v1/namespaces/pay/limitranges", {"kind": "LimitRange"})]
        assert stage.probed == Probed((Answer("one", 201, "", ("careful",)),), ME)
        assert stage.news == 1
        # What concerns nobody is no reason.
        stage.prober.observe(observed("LimitRange", "a", "pay", spec={}), None)
        await idle()
        assert (len(stage.server.asked), stage.probed.changed, stage.news) == (1, False, 1)


async def test_what_came_before_it_led_did_not_change_just_now() -> None:
    stage = Stage()
    stage.prober.observe(CHANGE, None)
    assert stage.probed.changed
    async with stage.running():
        assert not stage.probed.changed
        assert len(stage.server.asked) == 1


async def test_an_answer_counts_only_once_the_api_server_must_have_seen_the_change() -> None:
    stage = Stage()
    async with stage.running():
        stage.now += 100
        stage.prober.observe(CHANGE, None)
        assert stage.probed.changed
        assert stage.news == 2
        await until(lambda: len(stage.server.asked) >= 4, "it to be tried again and again")
        assert stage.probed.changed  # the same answer, too early
        stage.now += probe.SETTLES
        await until(lambda: not stage.probed.changed, "the answer to count")
        assert stage.news == 3
        asked = len(stage.server.asked)
        await idle()
        assert len(stage.server.asked) == asked


async def test_it_tries_until_nothing_more_is_to_be_found_out() -> None:
    stage = Stage()
    stage.is_settled = False
    error = Forbidden(403, "Forbidden", "no right")
    stage.server.does = lambda: error
    async with stage.running():
        assert stage.probed.answers == (Answer("one", 403, "no right"),)
        await until(lambda: len(stage.server.asked) >= 5, "it to be tried again")
        assert stage.news == 1  # the answer stayed the same
        stage.server.does = list
        await until(lambda: stage.probed.answers[0].status == 201, "another answer")
        assert stage.news == 2
        stage.is_settled = True
        await idle()
        asked = len(stage.server.asked)
        await idle()
        assert len(stage.server.asked) == asked


async def test_the_loss_of_the_lease_ends_it() -> None:
    stage = Stage()
    lost = LeaseLost("lost")
    stage.server.does = lambda: lost
    with pytest.raises(LeaseLost):
        await stage.prober.run()
