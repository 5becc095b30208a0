"""A reverse proxy between one operator and the API server that sees each request, and that can make things go wrong.

It speaks plain HTTP on 127.0.0.1 and forwards with the token of the operator's ServiceAccount. Unlike
`tests.support.proxy`, which knows bytes, this one knows requests: it can act at the n-th write of a rollout.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sandbox.client import tls
from tests.support.faults import Fault, cut, give, target
from tests.support.sandbox import NAMESPACE, Admin, Operator, Plane, operator_token, run_operator, wait_for

WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/securetenant"
# What an election costs, the Events, which are told after the fact, and questions, which change nothing.
_ASIDE: Final = ("/leases", "/events", "/selfsubjectaccessreviews")
_DROPPED: Final = {"host", "authorization", "transfer-encoding", "content-length", "connection"}
_number = itertools.count()

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came through; `at` is time.monotonic. Watches are not among them."""

    method: str
    path: str
    body: str
    at: float

    @property
    def is_write(self) -> bool:
        """A write to what the operator is there for: neither Lease nor Event."""
        return self.method in WRITES and not self.is_aside

    @property
    def is_aside(self) -> bool:
        return any(part in self.path for part in _ASIDE)

    def concerns(self, name: str) -> bool:
        return name in self.path or name in self.body


@dataclass(slots=True)
class _Trap:
    """A signal for `pid` at the n-th write that has to do with `name`."""

    name: str
    nth: int
    when: When
    pid: int
    sig: signal.Signals


@dataclass(slots=True)
class Front:
    """Stands before `plane` for one operator. Use as an asynchronous context."""

    plane: Plane
    token: str
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    #: Watches begun.
    watches: list[str] = field(default_factory=list)
    #: Paths (parts of) of which the next watch is answered with 410 Gone.
    expired: set[str] = field(default_factory=set)
    #: Paths (parts of) of which the next write is answered with 409 Conflict.
    conflicts: set[str] = field(default_factory=set)
    #: Of which writes the answer is lost: the API server has carried them out, and the connection is cut.
    loses: Callable[[Seen], bool] = lambda seen: False
    #: Awaited before a write goes on to the API server.
    interpose: Callable[[Seen], Awaitable[None]] | None = None
    #: Bad answers, each for its target.
    faults: list[Fault] = field(default_factory=list)
    #: While True, every request is cut off, as if there were no API server.
    down: bool = False
    #: Whether what was armed last has come to pass.
    fired: bool = False
    _trap: _Trap | None = None
    _mark: int = 0
    _epoch: int = 0
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)
    _runner: Any = field(default=None, repr=False)
    _streams: dict["asyncio.Task[Any]", str] = field(default_factory=dict, repr=False)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=tls(self.plane), limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        server = web.Server(self._serve, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        for task in self._streams:
            task.cancel()
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that leads here."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"front-{self.url.rpartition(':')[2]}.kubeconfig"
        entry = {"name": "front"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "front",
            "clusters": [entry | {"cluster": {"server": self.url}}],
            "users": [entry | {"user": {"token": "the front has the real one"}}],
            "contexts": [entry | {"context": {"cluster": "front", "user": "front"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def arm(self, name: str, nth: int, when: When, pid: int, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the operator at its n-th write from now on that concerns `name`: before the API server sees it, or
        after it has done it, without the answer. With SIGSTOP the answer waits for it."""
        self._trap = _Trap(name, nth, when, pid, sig)
        self.fired = False
        self._mark = len(self.seen)

    def disarm(self) -> None:
        self._trap = None

    def mute(self) -> None:
        """The watches that run now stay open and say nothing more, for ever; new ones are well."""
        self._epoch += 1

    def fall(self) -> None:
        """The API server goes away for this operator; `down = False` brings it back."""
        self.down = True
        for task in self._streams:
            task.cancel()

    def renewals(self) -> int:
        """How often the Lease was written."""
        return sum(seen.method == "PUT" and seen.path == LEASE for seen in self.seen)

    def hang_up(self, *targets: str) -> None:
        """Cut the watches of these targets (`faults.target`) that run now."""
        for task, of in self._streams.items():
            if of in targets:
                task.cancel()

    def mark(self) -> int:
        """A place in the record of requests, to be given to `since`."""
        return len(self.seen)

    def since(self, mark: int) -> list[Seen]:
        """What came through since then, Lease and Events aside."""
        return [seen for seen in self.seen[mark:] if not seen.is_aside]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.down:
            return cut(request)
        asked = target(request)
        body = await request.read()
        if (fault := next((each for each in self.faults if each.takes(asked)), None)) is not None:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                return await give(request, fault.answer, lambda: self._forward(request, body))
            return cut(request)
        if asked.endswith(" watch"):
            return await self._watch(request, asked)
        seen = Seen(request.method, request.path, body.decode(errors="replace"), time.monotonic())
        self.seen.append(seen)
        if seen.is_write and (refused := next((part for part in self.conflicts if part in seen.path), None)):
            self.conflicts.discard(refused)
            return web.json_response({"kind": "Status", "code": 409, "reason": "Conflict"}, status=409)
        if seen.is_write and self.interpose is not None:
            await self.interpose(seen)
        caught = self._caught(seen)
        if caught == "before" and (end := self._kill(request)) is not None:
            return end
        async with self._forward(request, body) as answer:
            content = await answer.read()
        if seen.is_write and self.loses(seen):
            return cut(request)
        if answer.status < 400:
            self._well(asked)
        if caught == "after" and (end := self._kill(request)) is not None:
            return end
        # A header may come several times: each Warning is one.
        headers = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _DROPPED)
        return web.Response(status=answer.status, body=content, headers=headers)

    def _well(self, asked: str) -> None:
        for fault in self.faults:
            fault.well(asked)

    def _caught(self, seen: Seen) -> When | None:
        trap = self._trap
        if trap is None or not seen.is_write:
            return None
        writes = [s for s in self.seen[self._mark :] if s.is_write and s.concerns(trap.name)]
        return trap.when if len(writes) == trap.nth and writes[-1] is seen else None

    def _kill(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """The end of the request; None if it goes on."""
        assert self._trap is not None
        self.fired = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._trap.pid, self._trap.sig)
        return cut(request) if self._trap.sig == signal.SIGKILL else None

    @asynccontextmanager
    async def _forward(self, request: web.BaseRequest, body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
        headers["Authorization"] = f"Bearer {self.token}"
        url = URL(self.plane.url + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            yield answer

    async def _watch(self, request: web.BaseRequest, asked: str) -> web.StreamResponse:
        self.watches.append(request.path)
        if gone := next((part for part in self.expired if part in request.path), None):
            self.expired.discard(gone)
            status = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"}
            return web.json_response({"type": "ERROR", "object": status})
        task = asyncio.current_task()
        assert task is not None
        self._streams[task] = asked
        try:
            return await self._stream(request, asked)
        finally:
            self._streams.pop(task, None)

    async def _stream(self, request: web.BaseRequest, asked: str) -> web.StreamResponse:
        epoch = self._epoch
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with self._forward(request, None) as answer:
                response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
                await response.prepare(request)
                if answer.status == 200:
                    self._well(asked)
                async for chunk in answer.content.iter_any():
                    if epoch == self._epoch:
                        await response.write(chunk)
                if epoch != self._epoch:
                    await asyncio.Event().wait()  # until the other side hangs up
                return response
        return cut(request)


@asynccontextmanager
async def front(plane: Plane) -> AsyncIterator[Front]:
    """A proxy with the operator's own token."""
    async with Front(plane, await operator_token(plane)) as opened:
        yield opened


@asynccontextmanager
async def run_behind(
    proxy: Front, folder: Path, *, env: Mapping[str, str] | None = None, name: str = "", wait_ready: float = 30.0
) -> AsyncIterator[Operator]:
    """An operator that reaches the API server through `proxy` alone."""
    name = name or f"operator-{next(_number)}"
    async with run_operator(
        proxy.plane, folder, name=name, env=env, kubeconfig=proxy.kubeconfig(folder), wait_ready=wait_ready
    ) as operator:
        yield operator


async def dead(operator: Operator, seconds: float = 20.0) -> int:
    """Wait for the process' end; its exit code."""
    await wait_for(lambda: not operator.running, seconds, f"the end of operator {operator.pid}")
    return int(operator.child.returncode)


async def free_lease(admin: Admin) -> None:
    """What a killed leader leaves is taken away, so that the next one need not wait until it has run out."""
    await admin.delete(LEASE)


async def leads(operator: Operator) -> bool:
    """Whether it says that it is the active instance."""
    try:
        return await operator.metric("securetenant_leader") == 1
    except (aiohttp.ClientError, TimeoutError):
        return False
