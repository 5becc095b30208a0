"""A kind of which the metadata alone is read."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from securetenant.model.kinds import NETWORK_POLICY
from tests.support.fakeapi import line, metadata_of, page, policy
from tests.support.informers import Script, names, play, told

KIND: Final = replace(NETWORK_POLICY, content=(), metadata_only=True)
FORM: Final = "PartialObjectMetadata"
ONE: Final = f"application/json;as={FORM};g=meta.k8s.io;v=v1"
LIST: Final = f"application/json;as={FORM}List;g=meta.k8s.io;v=v1"


async def test_lists_and_watches_ask_for_the_metadata(tmp_path: Path) -> None:
    first = metadata_of("a", 5, "x", labels={"l": "1"}, deletionTimestamp="2026-01-01T00:00:00Z")
    script = Script(
        [page([first], 10, "more", FORM), page([metadata_of("b", 6, "x")], 10, "", FORM)],
        [[line("ADDED", metadata_of("c", 11, "x")), line("DELETED", metadata_of("b", 12, "x"))]],
    )
    _, events = await play(tmp_path, script, lambda *_: script.steps == "LLWW", KIND)
    assert told(events) == [("ADDED", "a", "5"), ("ADDED", "b", "6"), ("ADDED", "c", "11"), ("DELETED", "b", "12")]
    assert script.accepts[:4] == [LIST, LIST, ONE, ONE]
    seen = events[0].object
    assert (seen.ref.kind, seen.labels, seen.deleting, seen.uid) == (KIND, {"l": "1"}, True, "uid-a")


async def test_fields_that_come_all_the_same_are_not_kept(tmp_path: Path) -> None:
    kind = replace(NETWORK_POLICY, metadata_only=True)
    whole = {**policy("a", 5), "kind": FORM}
    script = Script([page([whole], 10, "", FORM)], [[line("ADDED", policy("b", 11))]])
    _, events = await play(tmp_path, script, lambda _, events: len(events) == 2, kind)
    assert [event.object.fields for event in events] == [{}, {}]


async def test_what_a_list_lacks_is_asked_for_in_the_same_form(tmp_path: Path) -> None:
    script = Script(
        [page([metadata_of("a", 5, "x")], 10, "", FORM), page([], 20, "", FORM), page([], 20, "", FORM)],
        [web.Response(status=410)],
        web.json_response(metadata_of("a", 5, "x")),
    )
    informer, _ = await play(tmp_path, script, lambda informer, _: script.named == ["a"] and informer.failure, KIND)
    assert "it lacks NetworkPolicy/x/a" in informer.failure
    assert script.accepts == [LIST, ONE, LIST, ONE]
    assert names(informer) == {"a": "5"}


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(page([policy("a", 5)], 10), id="whole-objects"),
        pytest.param(web.Response(text="<html>sign in</html>", content_type="text/html"), id="a-page"),
    ],
)
async def test_a_list_in_another_form_is_no_answer(tmp_path: Path, lie: web.Response) -> None:
    informer, events = await play(tmp_path, Script([lie, lie], []), lambda informer, _: informer.failure, KIND)
    assert f"the answer is no {FORM}List" in informer.failure
    assert not informer.synced.is_set()
    assert events == []
