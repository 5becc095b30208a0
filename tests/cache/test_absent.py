"""The cluster as plain lists gave it, where a kind is not served."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from securetenant.cache import snapshot
from securetenant.cache.snapshot import ListError, fetch, world_of
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.platform import Platform
from tests.support.discovery import WIDGET, Make, Server, served, sign_in, unknown_path
from tests.support.fakeapi import metadata_of, serving
from tests.support.kube import transport_to

ONE: Final = metadata_of("one", 5, "a")


async def fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Make, kind: Kind = WIDGET
) -> dict[Kind, list[str]]:
    """The names of the objects that are listed, by kind."""
    monkeypatch.setattr(snapshot, "CACHED", (kind,))
    server = Server([], answer)
    server.widgets = [ONE]
    async with serving(server, folder) as path, transport_to(path) as transport:
        return {kind: [each.ref.name for each in found] for kind, found in (await fetch(transport)).items()}


async def test_what_is_not_served_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await fetched(tmp_path, monkeypatch, served) == {WIDGET: ["one"]}
    assert await fetched(tmp_path, monkeypatch, unknown_path) == {}


async def test_one_of_ours_comes_with_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "GROUP", WIDGET.group)
    ours = replace(WIDGET, optional=False)
    assert await fetched(tmp_path, monkeypatch, served, ours) == {ours: ["one"]}
    assert await fetched(tmp_path, monkeypatch, unknown_path, ours) == {}


async def test_who_does_not_know_makes_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListError, match="the answer is no APIResourceList"):
        await fetched(tmp_path, monkeypatch, sign_in)


def test_an_optional_kind_that_was_not_listed_is_not_served() -> None:
    without = world_of({}, (), Platform())
    assert [without.serves(kind) for kind in (WIDGET, NAMESPACE)] == [False, True]
    assert world_of({WIDGET: []}, (), Platform()).serves(WIDGET)
