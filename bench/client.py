"""The barest client there is: aiohttp, bytes in and out. What it needs for the same writes is the floor."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from sandbox.client import tls
from sandbox.plane import Plane

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"

encode = msgspec.json.encode
decode = msgspec.json.decode


class BenchError(Exception):
    """The measurement cannot go on; the message says why."""


class Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Condition(msgspec.Struct):
    type: str
    status: str


class Status(msgspec.Struct):
    conditions: list[Condition] = []


class Object(msgspec.Struct):
    """Of an object, what the measurements look at."""

    metadata: Meta
    spec: Any = None
    status: Status = msgspec.field(default_factory=Status)


class Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: Object


class _List(msgspec.Struct):
    metadata: Meta


_decode_event = msgspec.json.Decoder(Event).decode
_decode_object = msgspec.json.Decoder(Object).decode


@dataclass(slots=True)
class Client:
    """Requests of one identity, at most ``in_flight`` at a time; watches are not counted."""

    session: aiohttp.ClientSession
    slots: asyncio.Semaphore
    sent: int = 0

    async def send(self, method: str, path: str, body: bytes | None = None, content_type: str = JSON) -> bytes:
        """The answer's body; :class:`BenchError` unless 2xx."""
        headers = {"Content-Type": content_type} if body is not None else {}
        async with self.slots, self.session.request(method, path, data=body, headers=headers) as answer:
            content = await answer.read()
            self.sent += 1
            if answer.status >= 300:
                raise BenchError(f"{method} {path}: {answer.status}: {content[:500].decode(errors='replace')}")
            return content

    async def get(self, path: str) -> Object:
        return _decode_object(await self.send("GET", path))

    async def latest(self, path: str) -> str:
        """The resourceVersion from which a watch of the collection ``path`` sees all that comes."""
        return decode(await self.send("GET", f"{path}?limit=1"), type=_List).metadata.resource_version


@asynccontextmanager
async def connect(plane: Plane, token: str, in_flight: int = 32) -> AsyncIterator[Client]:
    """A client with its own connections and the identity of ``token``."""
    connector = aiohttp.TCPConnector(ssl=tls(plane), limit=0, keepalive_timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(
        plane.url, connector=connector, headers=headers, timeout=timeout, read_bufsize=2**18, auto_decompress=False
    ) as session:
        yield Client(session, asyncio.Semaphore(in_flight))


@dataclass(frozen=True, slots=True)
class Watch:
    """A watch that runs."""

    task: asyncio.Task[None]

    async def until(self, something: Coroutine[Any, Any, Any], seconds: float, what: str) -> None:
        """Wait for what the watch brings about. :class:`BenchError` after ``seconds``, or if the watch ends."""
        waiting = asyncio.create_task(something)
        try:
            await asyncio.wait({waiting, self.task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self.task.done():
                self.task.result()
            if not waiting.done():
                raise BenchError(f"waited {seconds:.0f} s for {what}")
            waiting.result()
        finally:
            waiting.cancel()


@asynccontextmanager
async def watching(client: Client, path: str, on_event: Callable[[Event], None]) -> AsyncIterator[Watch]:
    """Call ``on_event`` for each change of the collection ``path`` while the block runs; it stands when that begins."""
    version = await client.latest(path)
    standing = asyncio.Event()

    async def follow() -> None:
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        rest = b""
        async with client.session.get(path, params=params) as answer:
            if answer.status != 200:
                raise BenchError(f"watch {path}: {answer.status}: {(await answer.read())[:500]!r}")
            standing.set()
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    on_event(_decode_event(line))
        raise BenchError(f"the watch of {path} ended")

    watch = Watch(asyncio.create_task(follow(), name=f"watch {path}"))
    try:
        await watch.until(standing.wait(), 10, "the watch to stand")
        yield watch
    finally:
        watch.task.cancel()
        await asyncio.gather(watch.task, return_exceptions=True)
