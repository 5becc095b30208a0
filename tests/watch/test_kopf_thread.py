"""A real kopf against a hand-made server: it watches each of several kinds, and renews what is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from securetenant.kube import config
from securetenant.model.kinds import SECURE_TENANT, Kind
from securetenant.watch.kopf_thread import Kopf
from securetenant.watch.requests import Request
from tests.support.fakeapi import line, serving, status
from tests.support.kube import until

CLASS = Kind("TenantClass", SECURE_TENANT.group, SECURE_TENANT.version, "tenantclasses", namespaced=False)
KINDS = (SECURE_TENANT, CLASS)


def made(kind: Kind, name: str) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "5"}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": {}}


def group(name: str, version: str) -> dict[str, Any]:
    versions = [{"groupVersion": f"{name}/{version}", "version": version}]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resources(*named: tuple[str, str]) -> dict[str, Any]:
    """By plural and kind, all of them cluster-wide."""
    common = {"singularName": "", "namespaced": False, "verbs": ["get", "list", "watch"]}
    return {"kind": "APIResourceList", "resources": [{"name": name, "kind": kind, **common} for name, kind in named]}


# What kopf looks for before it watches anything; our own kinds are among it.
DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": resources(("namespaces", "Namespace"), ("events", "Event")),
    "/apis": {
        "kind": "APIGroupList",
        "groups": [group("apiextensions.k8s.io", "v1"), group(SECURE_TENANT.group, SECURE_TENANT.version)],
    },
    "/apis/apiextensions.k8s.io/v1": resources(("customresourcedefinitions", "CustomResourceDefinition")),
    f"/apis/{SECURE_TENANT.api_version}": resources(*((kind.plural, kind.name) for kind in KINDS)),
}


class Server:
    """Discovery, a list of one object per kind, and a watch that tells of another and then stands."""

    def __init__(self) -> None:
        self.refused: set[str] = set()  # tokens
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if request.headers["Authorization"] in self.refused:
            return status(401, "Unauthorized")
        if (discovered := DISCOVERY.get(request.path)) is not None:
            return web.json_response(discovered)
        kind = next(kind for kind in KINDS if request.path == kind.path())
        if "watch" not in request.query:
            items = [made(kind, f"listed-{kind.plural}")]
            return web.json_response({"kind": f"{kind.name}List", "metadata": {"resourceVersion": "5"}, "items": items})
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(line("ADDED", made(kind, f"new-{kind.plural}")))
        await asyncio.Event().wait()
        return answer


class Heard:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.answers: list[tuple[Request, str]] = []
        self.under_way = 0
        self.objects: set[tuple[str, str | None, str]] = set()

    def began(self, by: Kopf, request: Request) -> None:
        self.under_way += 1

    def answered(self, by: Kopf, request: Request, code: str, retry_after: float) -> None:
        self.answers.append((request, code))
        if code != "200":
            self.under_way -= 1

    def over(self, by: Kopf, request: Request) -> None:
        self.under_way -= 1

    def observe(self, by: Kopf, kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        self.objects.add((kind.name, event_type, body["metadata"]["name"]))


EVENTS = {
    ("SecureTenant", None, "listed-securetenants"),
    ("SecureTenant", "ADDED", "new-securetenants"),
    ("TenantClass", None, "listed-tenantclasses"),
    ("TenantClass", "ADDED", "new-tenantclasses"),
}


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, Path]]:
    server = Server()
    async with serving(server.handle, tmp_path) as path:
        yield server, path


async def ended(kopf: Kopf) -> None:
    kopf.stop()
    await asyncio.to_thread(kopf.thread.join, 10.0)
    assert not kopf.thread.is_alive()


async def test_each_kind_is_listed_and_watched(server: tuple[Server, Path]) -> None:
    served, path = server
    heard = Heard()
    kopf = Kopf(await config.load(str(path)), KINDS, heard)
    try:
        await until(lambda: heard.objects >= EVENTS, f"all events, but {EVENTS - heard.objects}")
        assert heard.objects == EVENTS
        requests = [request for request, _ in heard.answers]
        for kind in KINDS:
            assert Request("list", kind, True) in requests
            assert Request("watch", kind, False) in requests
        assert {request.verb for request in requests if request.kind is None} == {"get"}, "discovery"
        await until(lambda: heard.under_way == len(KINDS), "nothing but the watches to be under way")
        assert {code for _, code in heard.answers} == {"200"}
        (agent,) = {headers["User-Agent"] for headers in served.headers}
        assert agent.startswith("kopf/"), "an audit log tells its requests from ours"
        assert {headers["Accept-Encoding"] for headers in served.headers} == {"identity"}
    finally:
        await ended(kopf)


async def test_refused_credentials_are_renewed(server: tuple[Server, Path]) -> None:
    served, path = server
    given = await config.load(str(path))
    given.renew_seconds = -1.0
    served.refused.add("Bearer t")
    path.write_text(path.read_text().replace('"token": "t"', '"token": "new"'))
    heard = Heard()
    kopf = Kopf(given, KINDS, heard)
    try:
        await until(lambda: heard.objects >= EVENTS, "the kinds to be watched")
        assert "401" in {code for _, code in heard.answers}
        assert served.headers[-1]["Authorization"] == "Bearer new"
    finally:
        await ended(kopf)
