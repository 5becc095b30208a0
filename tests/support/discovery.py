"""A hand-made API server that serves a kind of a CRD, or does not, as a test tells it to."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from securetenant.model.kinds import Kind
from tests.support.fakeapi import line, metadata_of, page

WIDGET: Final = Kind(
    "Widget", "example.com", "v1", "widgets", namespaced=True, content=(), optional=True, metadata_only=True
)
CRD: Final = "widgets.example.com"
RESOURCES: Final = "/apis/example.com/v1"
FORM: Final = "PartialObjectMetadata"
READ: Final = ["delete", "deletecollection", "get", "list", "watch"]

Make = Callable[[], web.Response]


def resources(
    *named: str, verbs: list[str] = READ, version: str = "example.com/v1", kind: str = "APIResourceList"
) -> web.Response:
    found = [{"name": name, "kind": "Any", "namespaced": True, "verbs": verbs} for name in named]
    return web.json_response({"kind": kind, "groupVersion": version, "resources": found})


def groups(*versions: str) -> web.Response:
    found = [{"name": "any", "versions": [{"groupVersion": each, "version": "v1"} for each in versions]}]
    return web.json_response({"kind": "APIGroupList", "groups": found})


def unknown_path() -> web.Response:
    """As the API server answers for a path that it does not serve."""
    return web.Response(status=404, text="404 page not found\n")


def sign_in() -> web.Response:
    return web.Response(text="<html>sign in</html>", content_type="text/html")


def served() -> web.Response:
    return resources("widgets")


class Server:
    """An API server with this list of CRDs and these widgets, and events of CRDs that the test sends. `answers`: those
    to discovery, in turn; the last one stays. While `answers_lists` is not set, widgets are not listed."""

    def __init__(self, crds: list[dict[str, Any]], *answers: Make) -> None:
        self.crds, self.answers = crds, list(answers)
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.asked = 0
        self.watched = 0  # watches of the CRDs
        self.listed = 0  # lists of widgets
        self.widgets: list[dict[str, Any]] = []
        self.answers_lists = asyncio.Event()
        self.answers_lists.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/apis":
            return groups()
        if request.path == RESOURCES:
            self.asked += 1
            return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()
        of_widgets = request.path == WIDGET.path()
        if "watch" not in request.query:
            if of_widgets:
                self.listed += 1
                await self.answers_lists.wait()
            return page(self.widgets if of_widgets else self.crds, 10, "", FORM)
        stream = web.StreamResponse()
        await stream.prepare(request)
        if of_widgets:
            await asyncio.sleep(60)  # sleep: a watch in which nothing comes
        self.watched += 1
        if self.watched > 1:
            self.events = asyncio.Queue()  # the watch before is over
        events = self.events
        while True:
            await stream.write(await events.get())

    def tell(self, event: str, version: int, name: str = CRD, **metadata: Any) -> None:
        self.events.put_nowait(line(event, metadata_of(name, version, **metadata)))
