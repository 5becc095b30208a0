"""When what runs is inspected, and what a list that fails comes to. The API server is hand-made: it fails in ways that
a real one does not on request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from securetenant.api.status import SecureTenantStatus
from securetenant.engine import inspection
from securetenant.engine.inspection import FIRST, Inspector, Look
from securetenant.posture.rules import Rules, kinds
from tests.support import pods
from tests.support.fakeapi import page, serving, status
from tests.support.kube import transport_to, until
from tests.support.world import tenant

SPACES: Final = ("pay-a", "pay-b")
# By these the pods here break nothing.
LENIENT: Final = {"securetenant.dev/images": "v1;registries=registry.example;tags=true;cachedImages=true"}
HOUR: Final = 3600.0


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "pay-a"}, "spec": pods.spec(**spec)}


@dataclass
class Stage:
    """`answers`: by namespace, what its list is answered; good pods if nothing else is given."""

    at: datetime = datetime(2026, 11, 27, tzinfo=UTC)
    clock: float = 1000.0
    answers: dict[str, Callable[[web.Request], web.Response]] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    queued: list[set[str]] = field(default_factory=list)
    is_busy: bool = False
    tenant: Any = field(default_factory=lambda: tenant("pay", namespaces=list(SPACES)))
    rules: list[Rules] = field(default_factory=lambda: [Rules(name, f"uid-{name}", LENIENT) for name in SPACES])
    inspector: Inspector = field(init=False)

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/apis":
            return web.json_response({"kind": "APIGroupList", "groups": []})
        if request.path.startswith("/apis/"):
            return status(404, "NotFound")
        namespace, kind = request.path.split("/")[-2:]
        if kind == "pods":
            self.lists.append(namespace)
        answer = self.answers.get(namespace)
        return answer(request) if answer is not None and kind == "pods" else page([], 1, kind=_KINDS.get(kind, kind))

    def look(self) -> Look:
        return self.inspector.look(self.tenant, self.rules)

    async def inspected(self, runs: int = 1) -> Look:
        """Look, wait until as many inspections are over, and look again."""
        before = len(self.queued)
        self.look()
        await until(lambda: len(self.queued) >= before + runs, "the inspection to be over")
        return self.look()

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.clock += seconds


_KINDS: Final = {kind.plural: kind.name for found in kinds().values() for kind in found}


@asynccontextmanager
async def staged(folder: Path, interval: float | None = None) -> AsyncIterator[Stage]:
    stage = Stage()
    async with serving(stage.handle, folder) as path, transport_to(path) as transport:
        stage.inspector = Inspector(
            transport,
            stage.queued.append,
            interval=interval,
            is_busy=lambda: stage.is_busy,
            monotonic=lambda: stage.clock,
            now=lambda: stage.at,
        )
        running = asyncio.create_task(stage.inspector.run())
        try:
            yield stage
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_it_is_judged_once_until_the_rules_change(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        look = stage.look()
        assert look.compliant.status == "Unknown"
        look = await stage.inspected()
        assert look.compliant.status == "True"
        assert (look.due, stage.lists) == (None, list(SPACES))
        stage.later(1e6)
        assert (stage.look().due, stage.queued) == (None, [{"pay"}])
        stage.rules[1] = Rules("pay-b", "uid-pay-b", {"securetenant.dev/runtime": "v1;hostPorts=80"})
        look = await stage.inspected()
        assert look.compliant.status == "True"
        assert stage.lists == [*SPACES, *SPACES]


async def test_a_subnet_given_to_what_runs_is_compared_with_its_pods(tmp_path: Path) -> None:
    def answer(_: web.Request) -> web.Response:
        told = {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}]}
        host = pod("host", hostNetwork=True)
        return page([{**pod("old"), "status": told}, {**host, "status": told}], 1, kind="Pod")

    async with staged(tmp_path) as stage:
        stage.answers["pay-a"] = answer
        before = (await stage.inspected()).posture
        stage.rules[0] = Rules("pay-a", "uid-pay-a", LENIENT, ("10.60.0.0/24",), "restart them")
        look = await stage.inspected()
        assert stage.lists == [*SPACES, *SPACES]
        assert before is not None
        assert look.posture is not None
        (row, other) = look.posture.namespaces
        assert (row.outside, other.outside) == (1, 0)
        assert set(row.failed) - set(before.namespaces[0].failed) == {"subnets/address"}
        assert "pay-a: 1 pod has an address outside 10.60.0.0/24: restart them" in look.compliant.message
        assert ("subnets", "old", "10.1.0.9") in [(one.control, one.name, one.place) for one in look.posture.items]
        # What it was judged by is its own no more.
        stage.rules[0] = Rules("pay-a", "uid-pay-a", LENIENT, ("10.1.0.0/24",), "restart them")
        assert (await stage.inspected()).posture.namespaces[0].outside == 0  # type: ignore[union-attr]


async def test_a_restart_inspects_nothing_anew(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.answers["pay-a"] = lambda _: page([pod("bad", hostPID=True)], 1, kind="Pod")
        posture = (await stage.inspected()).posture
        assert posture is not None
        assert [item.name for item in posture.items] == ["bad"]
        stage.tenant = stage.tenant.model_copy(update={"status": SecureTenantStatus(posture=posture)})
        stage.inspector.forget("pay")  # as in a new process
        look = stage.look()
        assert (look.posture, look.due) == (posture, None)
        assert len(stage.lists) == 2


async def test_continuous_inspects_again_after_the_interval(tmp_path: Path) -> None:
    async with staged(tmp_path, interval=HOUR) as stage:
        look = await stage.inspected()
        assert look.due is not None
        assert 0.9 * HOUR <= look.due <= 1.1 * HOUR
        stage.later(look.due - 1)
        assert stage.look().due == pytest.approx(1)
        assert len(stage.queued) == 1
        stage.answers["pay-b"] = lambda _: page([pod("bad", hostPID=True)], 1, kind="Pod")
        stage.later(2)
        assert stage.look().compliant.status == "True"  # what was found last stands until then
        await until(lambda: len(stage.queued) == 2, "the second inspection")
        assert stage.look().compliant.status == "False"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: status(403, "Forbidden"), id="forbidden"),
        pytest.param(lambda _: status(429, "TooManyRequests"), id="throttled"),
        pytest.param(lambda _: status(500, "InternalError"), id="error"),
        pytest.param(lambda _: status(404, "NotFound"), id="404-of-a-proxy"),
        pytest.param(
            lambda r: status(410, "Expired") if "continue" in r.query else page([pod("a")], 1, "more", kind="Pod"),
            id="continue-token-expired",
        ),
        pytest.param(
            lambda _: page([1], 1, kind="Pod"),  # type: ignore[list-item]
            id="not-an-object",
        ),
    ],
)
async def test_a_list_that_fails_is_unknown_and_tried_again(
    tmp_path: Path, answer: Callable[[web.Request], web.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        monkeypatch.setattr(stage.inspector._transport, "_max_wait", 0.01)
        assert (await stage.inspected()).compliant.status == "True"
        stage.answers["pay-b"] = answer
        stage.rules = [Rules(name, f"new-{name}", LENIENT) for name in SPACES]
        look = await stage.inspected()
        assert look.compliant.status == "Unknown"
        assert look.posture is not None
        assert [row.unjudged for row in look.posture.namespaces] == [[], ["pods"]]
        assert look.due == pytest.approx(FIRST)
        stage.later(FIRST)
        assert (await stage.inspected()).due == pytest.approx(2 * FIRST)
        del stage.answers["pay-b"]
        stage.later(2 * FIRST)
        look = await stage.inspected()
        assert (look.compliant.status, look.due) == ("True", None)


async def test_while_the_api_server_is_away_what_was_found_stands_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, interval=HOUR) as stage:
        monkeypatch.setattr(stage.inspector._transport, "_max_wait", 0.01)
        await stage.inspected()
        stage.answers = dict.fromkeys(SPACES, lambda _: status(503, "ServiceUnavailable"))
        stage.later(2 * HOUR)
        for number in range(inspection.PATIENT):
            look = await stage.inspected()
            assert look.compliant.status == "True", number
            assert look.due
            stage.later(look.due)
        look = await stage.inspected()
        assert look.compliant.status == "Unknown"
        assert "does not answer" in look.compliant.message


async def test_a_defect_is_unknown_and_ends_no_other_inspection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        stage.answers["pay-a"] = lambda _: page([pod("a")], 1, kind="Pod")
        judge, stage.inspector._judge = stage.inspector._judge, None  # type: ignore[assignment]
        look = await stage.inspected()
        assert (look.compliant.status, look.compliant.reason) == ("Unknown", "NotJudged")
        assert "defect" in look.compliant.message
        stage.inspector._judge = judge
        stage.later(FIRST)
        assert (await stage.inspected()).compliant.status == "True"


async def test_what_is_forgotten_meanwhile_is_not_reported(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:

        def forgets(_: web.Request) -> web.Response:
            stage.inspector.forget("pay")
            return page([pod("a")], 1, kind="Pod")

        stage.answers["pay-b"] = forgets
        stage.look()
        await until(lambda: stage.lists == list(SPACES), "both lists")
        del stage.answers["pay-b"]
        look = await stage.inspected()
        assert stage.queued == [{"pay"}]
        assert look.compliant.status == "True"


async def test_passes_go_first_but_not_for_ever(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.is_busy = True
        stage.look()
        for _ in range(5):
            await asyncio.sleep(0)
        assert stage.lists == []
        stage.later(inspection.GIVES_WAY)
        await until(lambda: bool(stage.queued), "the inspection")
        assert stage.lists == list(SPACES)


async def test_pods_that_have_ended_are_not_asked_for(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        asked: list[str] = []

        def sees(request: web.Request) -> web.Response:
            asked.append(request.query["fieldSelector"])
            return page([], 1, kind="Pod")

        stage.answers = dict.fromkeys(SPACES, sees)
        await stage.inspected()
        assert set(asked) == {"status.phase!=Succeeded,status.phase!=Failed"}
