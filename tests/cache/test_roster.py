"""Which tenants a list lets go of, and of which it does not."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from securetenant.cache import roster as module
from securetenant.cache.roster import SAMPLE, Blind, Roster
from securetenant.cache.tenants import Tenants
from securetenant.kube.transport import NotFound
from tests.support.fakeapi import serving, status
from tests.support.kube import transport_to


def tenant(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "securetenant.dev/v1alpha1",
        "kind": "SecureTenant",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "5", "generation": 1},
        "spec": {"namespaces": [{"name": f"{name}-a"}]},
    }


def listed(*names: str) -> web.Response:
    metadata = {"resourceVersion": "9"}
    return web.json_response({"kind": "SecureTenantList", "metadata": metadata, "items": [tenant(n) for n in names]})


class Server:
    """Answers a list so; of the objects themselves `there` are there."""

    def __init__(self, answer: web.Response, *there: str) -> None:
        self.answer, self.there = answer, there
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return self.answer
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        assert await request.json() == [{"op": "test", "path": "/metadata/uid", "value": f"uid-{name}"}]
        return web.json_response(tenant(name)) if name in self.there else status(404, "NotFound")


async def known_after(tmp_path: Path, server: Server, *known: str) -> set[str]:
    """The tenants that are known after a list that was tried once."""
    tenants = Tenants()
    for name in known:
        tenants.observe("ADDED", tenant(name))
    async with serving(server, tmp_path) as path, transport_to(path) as transport:
        roster = Roster(transport, tenants, lambda kind, body: None, lambda names: None)
        await roster._try(tenants.load)
    return set(tenants.names())


async def test_what_a_list_lacks_and_is_not_there_is_forgotten(tmp_path: Path) -> None:
    server = Server(listed("b"), "b")
    assert await known_after(tmp_path, server, "a", "b") == {"b"}
    assert server.asked == ["a"]


async def test_a_list_of_nothing_forgets_none_that_is_there(tmp_path: Path) -> None:
    assert await known_after(tmp_path, Server(listed(), "b"), "a", "b") == {"a", "b"}


async def test_when_all_are_gone_not_each_is_asked_for(tmp_path: Path) -> None:
    server = Server(listed())
    assert await known_after(tmp_path, server, *(f"t{number:02}" for number in range(30))) == set()
    assert len(server.asked) == SAMPLE


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(status(404, "NotFound"), id="no-crd"),
        pytest.param(web.json_response({"items": []}), id="no-kind"),
        pytest.param(web.Response(), id="nothing"),
        pytest.param(status(500), id="500"),
    ],
)
async def test_what_is_no_list_forgets_none(tmp_path: Path, answer: web.Response) -> None:
    server = Server(answer)
    assert await known_after(tmp_path, server, "a") == {"a"}
    assert server.asked == []


def gateways_page() -> web.Response:
    return web.Response(status=404, text="<html>no such page</html>", content_type="text/html")


async def taken_over(tmp_path: Path, *answers: web.Response) -> set[str]:
    """The tenants that a leader knows to begin with, where the lists are answered so; the last answer stays."""
    left, tenants = list(answers), Tenants()

    async def handler(request: web.Request) -> web.Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        await Roster(transport, tenants, lambda kind, body: None, lambda names: None).first()
    assert len(left) == 1, "it asked again"
    return set(tenants.names())


async def test_a_leader_that_finds_no_crd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked about again, and no blindness."""
    monkeypatch.setattr(module, "BLIND", 0.0)  # so that it ends soon, if otherwise
    with pytest.raises(NotFound):
        await taken_over(tmp_path, status(404, "NotFound"))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(gateways_page(), id="a-page"),
        pytest.param(web.json_response({"message": "no route"}, status=404), id="no-status"),
    ],
)
async def test_a_gateways_404_at_a_take_over_is_asked_about_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: web.Response
) -> None:
    """It has no route for a moment, which says nothing of the CRD: the process would end for it."""
    monkeypatch.setattr(module, "AGAIN", 0.01)
    assert await taken_over(tmp_path, answer, listed("a")) == {"a"}


async def test_a_gateways_404_that_stays_leaves_a_leader_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another instance may stand behind another gateway."""
    monkeypatch.setattr(module, "AGAIN", 0.01)
    monkeypatch.setattr(module, "BLIND", 0.05)
    with pytest.raises(Blind, match="no such page"):
        await taken_over(tmp_path, gateways_page())
