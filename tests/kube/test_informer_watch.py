"""How a watch ends, and what the informer does then."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube import informer as module
from securetenant.kube.informer import Event, Informer
from tests.support.clock import Clock
from tests.support.fakeapi import line, page, policy, status
from tests.support.informers import HANG, Answer, Script, names, play, told

FIRST = 0.01  # the first wait (seconds)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(status(410, "Expired"), id="410-answer"),
        pytest.param([line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})], id="410-event"),
        pytest.param([line("ERROR", {"kind": "Status", "code": 500, "status": "Failure"})], id="500-event"),
        pytest.param([line("ERROR", {"kind": "Status", "code": 429, "message": "slow"})], id="429-event"),
        pytest.param([b'{"type":"ADDED","object":{"metadata":17}}\n'], id="not-an-object"),
        pytest.param([line("NOVELTY", policy("a", 50))], id="unknown-event"),
    ],
)
async def test_relist_tells_what_differs(tmp_path: Path, trouble: Answer) -> None:
    script = Script(
        [
            page([policy("same", 5), policy("gone", 6), policy("new", 7)], 10),
            page([policy("same", 5), policy("new", 20), policy("more", 21)], 30),
        ],
        [trouble],
    )
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWLW")
    assert told(events)[3:] == [("MODIFIED", "new", "20"), ("ADDED", "more", "21"), ("DELETED", "gone", "6")]
    assert names(informer) == {"same": "5", "new": "20", "more": "21"}
    assert informer.relists == 1
    assert informer.failure == ""


async def test_watch_fails_and_goes_on_from_where_it_was(tmp_path: Path) -> None:
    script = Script(
        [page([], 10)],
        [[line("ADDED", policy("a", 11))], status(500), status(503), [line("ADDED", policy("b", 12)), HANG]],
    )
    informer, _ = await play(tmp_path, script, lambda _, events: len(events) == 2)
    assert script.steps == "LWWWW"
    assert [query["resourceVersion"] for query in script.asked[1:]] == ["10", "11", "11", "11"]
    assert informer.failure == ""


async def test_silent_connection(tmp_path: Path) -> None:
    script = Script(
        [page([], 10)], [[line("ADDED", policy("a", 11)), HANG], [HANG], [line("ADDED", policy("b", 12)), HANG]]
    )
    contacts: set[float] = set()

    def done(informer: Informer, events: list[Event]) -> bool:
        contacts.add(informer.last_contact)
        return len(events) == 2

    informer, _ = await play(tmp_path, script, done, read_deadline=0.3)
    assert informer.failure == ""
    assert len(contacts) >= 4  # the list, the first event, a watch in which nothing came, the second event
    assert script.steps[:3] == "LWW"
    assert informer.relists == 0


async def test_a_refused_resource_version_is_not_asked_for_for_ever(tmp_path: Path) -> None:
    script = Script([page([policy("a", 5)], 10), page([policy("a", 12)], 20)], [status(400, "BadRequest")])
    informer, _ = await play(tmp_path, script, lambda *_: script.steps == "LWLW")
    assert names(informer) == {"a": "12"}


async def test_watches_that_are_accepted_and_end_at_once_are_no_watch(tmp_path: Path) -> None:
    """Something between answers 200 with nothing: what happens shows in lists alone, and it is told as a failure."""
    script = Script([page([policy("a", 5)], 10), *(page([policy("a", 5), policy("b", 12)], 13) for _ in range(9))], [])
    script.watches = [web.Response(text="") for _ in range(3)]
    failures: set[str] = set()

    def done(informer: Informer, events: list[Event]) -> bool:
        failures.add(informer.failure)
        return len(events) == 2

    await play(tmp_path, script, done)
    assert script.steps.startswith("LWWWL")
    assert any("ended at once" in failure for failure in failures)


class Slow(Script):
    """Lists that take half a minute each, by the informer's clock."""

    def __init__(self, clock: Clock, watches: list[Answer]) -> None:
        super().__init__([page([], 10) for _ in range(9)], watches)
        self.clock = clock

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.clock.now += 30.0
        return await super().__call__(request)


async def test_short_watches_are_backed_off_from_however_long_the_lists_beside_them_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large kind would be listed without a pause, for as long as something between answers its watches."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    script, failures = Slow(clock, [web.Response() for _ in range(19)]), set[str]()

    def done(informer: Informer, _events: list[Event]) -> bool:
        failures.add(informer.failure)
        return len(script.asked) > 10

    await play(tmp_path, script, done, backoff=(FIRST, 60.0))
    assert script.steps.startswith("LWWWLWLWLWL")
    # From each watch to the request after it; of a wait the half may be left out, so that not all come at once.
    waits = [after - at for (at, after), step in zip(pairwise(script.at), script.steps, strict=False) if step == "W"]
    assert all(wait >= FIRST / 2 * 2**number for number, wait in enumerate(waits)), waits
    assert any("ended at once" in failure for failure in failures)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(lambda: status(410, "Expired"), id="410-answer"),
        pytest.param(lambda: [line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})], id="410-event"),
        pytest.param(lambda: [b"no JSON\n"], id="no-json"),
    ],
)
async def test_refused_watches_are_backed_off_from_however_long_the_lists_between_them_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[[], Answer]
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    script = Slow(clock, [refusal() for _ in range(9)])
    await play(tmp_path, script, lambda *_: len(script.asked) > 8, backoff=(FIRST, 60.0))
    assert script.steps.startswith("LWLWLWLW")
    waits = [after - at for (at, after), step in zip(pairwise(script.at), script.steps, strict=False) if step == "W"]
    assert all(wait >= FIRST / 2 * 2**number for number, wait in enumerate(waits)), waits


async def test_a_watch_that_says_something_is_one_however_soon_it_ends(tmp_path: Path) -> None:
    """Two that say nothing are no cause to list, and they count no more after it."""
    silent, telling = [web.Response() for _ in range(4)], [line("ADDED", policy("a", 11))]
    script = Script([page([], 10)], [silent[0], silent[1], telling, silent[2], silent[3]])
    informer, events = await play(tmp_path, script, lambda *_: len(script.asked) > 6)
    assert script.steps == "LWWWWWW"
    assert told(events) == [("ADDED", "a", "11")]
    assert informer.relists == 0


async def test_watches_in_which_nothing_happens_are_not_listed_for(tmp_path: Path) -> None:
    """They stood until nothing had come for as long as it may take: so is a quiet kind."""
    quiet: list[Answer] = [[HANG] for _ in range(4)]
    script = Script([page([], 10)], [*quiet, [line("ADDED", policy("a", 11)), HANG]])
    informer, _ = await play(tmp_path, script, lambda _, events: events, read_deadline=0.1)
    assert script.steps.startswith("LWWWWW")
    assert informer.relists == 0
