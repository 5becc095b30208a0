"""The informer against answers that a real API server cannot be made to give."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube import informer as module
from securetenant.kube.informer import Event, Informer, decode
from securetenant.kube.wire import codec
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from tests.support.fakeapi import given, line, page, policy, serving, status
from tests.support.informers import Script, names, play, told
from tests.support.kube import running, transport_to, until


async def test_only_some_are_kept_and_the_others_passed_over(tmp_path: Path) -> None:
    """Their versions count all the same: the watch goes on from there."""
    script = Script(
        [page([policy("a", 5), policy("other", 6)], 10)],
        [
            [
                line("MODIFIED", policy("other", 11)),
                line("ADDED", policy("b", 12)) + line("DELETED", policy("other", 13)) + line("ADDED", policy("c", 14)),
            ]
        ],
    )
    informer, events = await play(
        tmp_path, script, lambda _, events: len(events) == 2 and len(script.asked) > 2, only={"a", "b"}
    )
    assert told(events) == [("ADDED", "a", "5"), ("ADDED", "b", "12")]
    assert names(informer) == {"a": "5", "b": "12"}
    assert len(informer) == 2
    assert script.asked[2]["resourceVersion"] == "14"


async def test_events(tmp_path: Path) -> None:
    script = Script(
        [page([policy("a", 5), policy("b", 6)], 10)],
        [
            [
                line("MODIFIED", policy("a", 11)),
                line("ADDED", policy("c", 12)) + line("DELETED", policy("b", 13)),
                line("MODIFIED", policy("a", 11)),  # repeated
                line("MODIFIED", policy("b", 6)),  # of what is gone
                line("MODIFIED", policy("c", 9)),  # out of order
                line("BOOKMARK", {"metadata": {"resourceVersion": "20", "creationTimestamp": None}, "spec": {}}),
            ]
        ],
    )
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWW")
    assert told(events) == [
        ("ADDED", "a", "5"),
        ("ADDED", "b", "6"),
        ("MODIFIED", "a", "11"),
        ("ADDED", "c", "12"),
        ("DELETED", "b", "13"),
    ]
    assert events[2].old is not None
    assert events[2].old.resource_version == "5"
    assert names(informer) == {"a": "11", "c": "12"}
    assert len(informer) == 2
    assert [q["resourceVersion"] for q in script.asked[1:]] == ["10", "20"]
    assert script.asked[1]["allowWatchBookmarks"] == "true"


async def test_token_that_expires_while_paging(tmp_path: Path) -> None:
    script = Script(
        [page([policy("a", 5)], 10, "more"), status(410, "Expired"), page([policy("b", 12)], 12)],
        [],
    )
    informer, events = await play(tmp_path, script, lambda informer, _: script.steps == "LLLW")
    assert [query.get("continue") for query in script.asked] == [None, "more", None, None]
    assert told(events) == [("ADDED", "a", "5"), ("ADDED", "b", "12"), ("DELETED", "a", "5")]
    assert names(informer) == {"b": "12"}


async def test_not_synced_before_the_last_page(tmp_path: Path) -> None:
    script = Script([page([policy("a", 5)], 10, "more"), *[status(500)] * 50], [])
    informer, _ = await play(tmp_path, script, lambda informer, _: informer.failure)
    assert len(informer) == 1
    assert not informer.synced.is_set()
    assert "500" in informer.failure


async def test_list_answers_410(tmp_path: Path) -> None:
    script = Script([status(410, "Gone"), page([policy("a", 5)], 10)], [])
    informer, _ = await play(tmp_path, script, lambda informer, _: informer.synced.is_set())
    assert names(informer) == {"a": "5"}


async def test_forbidden_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORBIDDEN_SECONDS", 0.2)
    seen: list[bool] = []
    script = Script([status(403, "Forbidden"), status(403, "Forbidden"), page([policy("a", 5)], 10)], [])

    def done(informer: Informer, _events: list[Event]) -> bool:
        seen.append(informer.forbidden)
        if informer.forbidden:
            assert not informer.synced.is_set()
        return informer.synced.is_set()

    started = time.monotonic()
    informer, _ = await play(tmp_path, script, done)
    assert time.monotonic() - started > 0.3  # two waits of 0.2 s, a fifth less at most
    assert True in seen
    assert not informer.forbidden
    assert script.steps.startswith("LLL")


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(web.Response(), id="nothing"),
        pytest.param(web.json_response({"items": []}), id="no-kind"),
        pytest.param(
            web.json_response({"kind": "NetworkPolicyList", "metadata": {}, "items": []}), id="no-resourceVersion"
        ),
        pytest.param(
            web.json_response({"kind": "NetworkPolicyList", "metadata": {"resourceVersion": "20"}}), id="no-items"
        ),
        pytest.param(
            web.json_response({"kind": "NodeList", "metadata": {"resourceVersion": "20"}, "items": []}), id="other-kind"
        ),
        pytest.param(web.Response(text="<html>sign in</html>", content_type="text/html"), id="a-page"),
    ],
)
async def test_what_is_no_list_says_nothing_of_what_is_there(tmp_path: Path, lie: web.Response) -> None:
    script = Script([page([policy("a", 5)], 10), lie, page([policy("a", 5)], 20)], [status(410, "Expired")])
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWLLW")
    assert told(events) == [("ADDED", "a", "5")]
    assert names(informer) == {"a": "5"}
    assert script.named == []


async def test_a_list_of_nothing_is_not_believed_while_an_object_is_there(tmp_path: Path) -> None:
    """Whole and well formed, as a cache in between may give it."""
    known = [policy(name, 5) for name in "abcde"]
    script = Script(
        [page(known, 10), page([], 20), page([], 30)], [status(410, "Expired")], status(404, "NotFound"), given()
    )
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWLLW")
    assert sorted(told(events)[5:]) == [("DELETED", name, "5") for name in "abcde"], (
        "of the second, which the objects confirm"
    )
    assert script.named == ["a", "b", "a", "b", "c"]
    assert len(informer) == 0


async def test_a_list_that_lacks_much_is_not_believed_at_once(tmp_path: Path) -> None:
    known = [policy(f"p{number:02}", 5) for number in range(30)]
    script = Script(
        [page(known, 10), page(known[:14], 20), page(known, 30), page(known[:-10], 40)],
        [status(410, "Expired"), status(410, "Expired")],
        given(),
    )
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWLLWLW")
    assert len(events) == 40, "ten of thirty may well go at once"
    assert script.named == ["p14"]
    assert len(informer) == 20


async def test_where_objects_may_not_be_read_the_list_is_asked_again(tmp_path: Path) -> None:
    known = [policy("a", 5), policy("b", 6)]
    script = Script(
        [page(known, 10), page([], 20), page([policy("b", 6)], 21)], [status(410, "Expired")], status(403, "Forbidden")
    )
    informer, _ = await play(tmp_path, script, lambda *_: script.steps == "LWLLW")
    assert names(informer) == {"b": "6"}


async def test_however_long_the_server_asks_to_wait_it_is_asked_again_soon(tmp_path: Path) -> None:
    script = Script([status(500, retry_after=3600), page([policy("a", 5)], 10)], [])
    informer, _ = await play(tmp_path, script, lambda informer, _: informer.synced.is_set())
    assert names(informer) == {"a": "5"}


async def test_restored_backup_is_believed(tmp_path: Path) -> None:
    """Versions that go back: all that was known is void, whatever its version."""
    script = Script(
        [page([policy("a", 500), policy("b", 501)], 600), page([policy("a", 5)], 10)], [status(410, "Expired")]
    )
    informer, events = await play(tmp_path, script, lambda *_: script.steps == "LWLW")
    assert told(events)[2:] == [("MODIFIED", "a", "5"), ("DELETED", "b", "501")]
    assert names(informer) == {"a": "5"}


class TestStore:
    """Reading our own writes."""

    @staticmethod
    def raw(name: str, version: int) -> bytes:
        return json.dumps(policy(name, version)).encode()

    async def test_own_write_is_seen_at_once_and_its_event_swallowed(self, tmp_path: Path) -> None:
        go = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            if "watch" not in request.query:
                return page([policy("a", 5)], 10)
            stream = web.StreamResponse()
            await stream.prepare(request)
            await go.wait()
            await stream.write(
                line("MODIFIED", policy("a", 11)) + line("ADDED", policy("b", 12)) + line("MODIFIED", policy("a", 13))
            )
            await asyncio.sleep(60)  # sleep: a watch in which nothing comes
            return stream

        events: list[Event] = []
        changes: list[tuple[str, str]] = []
        async with serving(handler, tmp_path) as path, transport_to(path) as transport:
            informer = Informer(
                transport,
                NETWORK_POLICY,
                on_event=events.append,
                on_change=lambda old, new: changes.append(
                    (old.resource_version if old else "", new.resource_version if new else "")
                ),
            )
            async with running(informer):
                await informer.synced.wait()
                informer.store(decode(NETWORK_POLICY, self.raw("a", 11)))
                informer.store(decode(NETWORK_POLICY, self.raw("b", 12)))
                informer.store(decode(NETWORK_POLICY, self.raw("a", 4)))  # older than what is known
                informer.store(decode(NETWORK_POLICY, self.raw("old", 9)))  # the list had passed it: it is gone again
                assert names(informer) == {"a": "11", "b": "12"}
                assert len(events) == 1
                go.set()
                await until(lambda: len(events) == 2, "the foreign change")
        assert told(events) == [("ADDED", "a", "5"), ("MODIFIED", "a", "13")]
        assert changes == [("", "5"), ("5", "11"), ("", "12"), ("11", "13")]

    async def test_relist_keeps_what_is_newer_than_the_list(self, tmp_path: Path) -> None:
        """The list was read before our write; the write's answer came first."""
        asked, go = asyncio.Event(), asyncio.Event()
        known = [policy("a", 5), policy("c", 6), policy("again", 7)]
        lists = [page(known, 10), page([policy("a", 5)], 10)]

        async def handler(request: web.Request) -> web.StreamResponse:
            if "watch" in request.query:
                if lists:
                    return status(410, "Expired")
                await asyncio.sleep(60)  # sleep: a watch in which nothing comes
            if len(lists) == 1:
                asked.set()
                await go.wait()
            return lists.pop(0)

        events: list[Event] = []
        async with serving(handler, tmp_path) as path, transport_to(path) as transport:
            informer = Informer(transport, NETWORK_POLICY, on_event=events.append, backoff=(0.01, 0.01))
            async with running(informer):
                await asked.wait()
                informer.store(decode(NETWORK_POLICY, self.raw("a", 11)))
                informer.store(decode(NETWORK_POLICY, self.raw("b", 12)))
                # Deleted unseen, and made anew by us after the list.
                informer.store(decode(NETWORK_POLICY, self.raw("again", 13)))
                go.set()
                await until(lambda: informer.relists, "the second list")
        assert names(informer) == {"a": "11", "b": "12", "again": "13"}
        assert told(events)[3:] == [("DELETED", "c", "6")]

    async def test_forget(self, tmp_path: Path) -> None:
        script = Script([page([policy("a", 5), policy("b", 6)], 10)], [])
        informer, events = await play(tmp_path, script, lambda informer, _: informer.synced.is_set())
        informer.forget(Ref(NETWORK_POLICY, "a", "a"), "another-uid")
        assert len(informer) == 2
        informer.forget(Ref(NETWORK_POLICY, "a", "a"), "uid-a")
        assert names(informer) == {"b": "6"}
        assert len(events) == 2

    async def test_what_we_deleted_does_not_come_back_by_a_watch_that_is_late(self, tmp_path: Path) -> None:
        script = Script([page([policy("a", 5), policy("b", 6)], 10)], [])
        informer, events = await play(tmp_path, script, lambda informer, _: informer.synced.is_set())
        informer.forget(Ref(NETWORK_POLICY, "a", "a"), "uid-a")

        def follow(kind: str, version: int) -> None:
            event = codec(NETWORK_POLICY).event(line(kind, policy("a", version)))
            informer._follow(event.type, event.object, 0.0)

        follow("MODIFIED", 12)
        assert names(informer) == {"b": "6"}
        follow("DELETED", 13)
        assert len(events) == 2
        follow("ADDED", 14)
        assert names(informer) == {"a": "14", "b": "6"}


async def test_in_namespace(tmp_path: Path) -> None:
    script = Script([page([policy("p", 1, "one"), policy("p", 2, "two"), policy("q", 3, "two")], 10)], [])
    informer, _ = await play(tmp_path, script, lambda informer, _: informer.synced.is_set())
    assert [each.ref.name for each in informer.in_namespace("two")] == ["p", "q"]
    assert list(informer.in_namespace("none")) == []
    found = informer.get(Ref(NETWORK_POLICY, "one", "p"))
    assert found is not None
    assert found.resource_version == "1"
    assert informer.get(Ref(NETWORK_POLICY, "one", "q")) is None


async def test_what_the_listener_raises_ends_the_informer(tmp_path: Path) -> None:
    script = Script([page([policy("a", 5)], 10)], [])

    def listener(_event: Event) -> None:
        raise KeyError("a defect")

    async with serving(script, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(KeyError, match="a defect"):
            await Informer(transport, NETWORK_POLICY, on_event=listener).run()
