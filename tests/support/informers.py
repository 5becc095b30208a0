"""An informer that plays against a server's script: answers that a real API server cannot be made to give."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from securetenant.kube.informer import Event, Informer
from securetenant.model.kinds import NETWORK_POLICY, Kind
from tests.support.fakeapi import serving, status
from tests.support.kube import running, transport_to, until

Answer = web.Response | list[bytes]
HANG = b""  # in a watch's lines: say nothing more, and do not end


class Script:
    """A server that answers lists and watches, each by its own list of answers; the last watch is silent. `objects`
    are answers to a GET by name, in turn; then there is no such object."""

    def __init__(self, lists: list[web.Response], watches: list[Answer], *objects: web.Response) -> None:
        self.lists, self.watches, self.objects = lists, watches, list(objects)
        self.asked: list[dict[str, str]] = []
        self.at: list[float] = []  # when, by the loop's clock
        self.named: list[str] = []
        self.accepts: list[str] = []  # of every request

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.accepts.append(request.headers["Accept"])
        if not request.path.endswith("/networkpolicies"):
            self.named.append(request.path.rpartition("/")[2])
            return self.objects.pop(0) if self.objects else status(404, "NotFound")
        query = dict(request.query)
        self.asked.append(query)
        self.at.append(asyncio.get_running_loop().time())
        if "watch" not in query:
            return self.lists.pop(0)
        answer = self.watches.pop(0) if self.watches else [HANG]
        if isinstance(answer, web.Response):
            return answer
        stream = web.StreamResponse()
        await stream.prepare(request)
        for each in answer:
            if each == HANG:
                await asyncio.sleep(60)  # sleep: a watch in which nothing comes
            await stream.write(each)
        return stream

    @property
    def steps(self) -> str:
        """L for each list or page, W for each watch."""
        return "".join("W" if "watch" in query else "L" for query in self.asked)


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.type, event.object.ref.name, event.object.resource_version) for event in events]


async def play(
    tmp_path: Path,
    script: Script,
    done: Callable[[Informer, list[Event]], object],
    kind: Kind = NETWORK_POLICY,
    **options: Any,
) -> tuple[Informer, list[Event]]:
    events: list[Event] = []
    async with serving(script, tmp_path) as path, transport_to(path) as transport:
        informer = Informer(transport, kind, on_event=events.append, **{"backoff": (0.02, 0.1), **options})
        async with running(informer):
            await until(lambda: done(informer, events), f"{script.steps} {told(events)}")
    return informer, events


def names(informer: Informer) -> dict[str, str]:
    return {each.ref.name: each.resource_version for each in informer.objects()}
