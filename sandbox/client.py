"""The administrator's thin client, for the demo, the tests and the benchmark: it shows what went over the wire."""

import asyncio
import inspect
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import aiohttp
import yaml

from sandbox.plane import Plane

T = TypeVar("T")
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """An answer other than 2xx; ``status`` and the server's Status object in ``body``."""

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        text = body.get("message", body) if isinstance(body, dict) else body
        super().__init__(f"{method} {path}: {status}: {text}")


@dataclass(slots=True)
class Admin:
    """Requests to one control plane as its administrator. Use as an asynchronous context."""

    plane: Plane
    #: Another identity's token instead of the administrator's.
    token: str | None = None
    #: Whom the requests (but kubectl's) impersonate, and in which groups; nobody if empty.
    user: str = ""
    groups: Sequence[str] = ()
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    async def __aenter__(self) -> Self:
        token = self.token or self.plane.admin_token
        headers = [("Authorization", f"Bearer {token}")] if token else []
        if self.user:
            headers += [("Impersonate-User", self.user), *(("Impersonate-Group", group) for group in self.groups)]
        connector = aiohttp.TCPConnector(ssl=tls(self.plane), limit=100)
        timeout = aiohttp.ClientTimeout(total=30)
        self._session = aiohttp.ClientSession(self.plane.url, connector=connector, headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """The status and the decoded answer (text where it is no JSON), whatever the status is.

        ``path`` starts with ``/api`` or ``/apis``. Raises :class:`aiohttp.ClientError` when there is no answer.
        """
        status, answer, _ = await self.warned(method, path, body, content_type=content_type, params=params)
        return status, answer

    async def warned(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, list[str]]:
        """The same, and the texts of the answer's ``Warning`` headers."""
        assert self._session is not None, "use 'async with Admin(plane) as admin'"
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        async with self._session.request(method, path, data=data, headers=headers, params=params) as answer:
            text = await answer.text()
            warnings = answer.headers.getall("Warning", [])
            try:
                return answer.status, json.loads(text), warnings
            except ValueError:
                return answer.status, text, warnings

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """GET; :class:`ApiError` unless 2xx."""
        return await self._checked("GET", path, params=params)

    async def find(self, path: str) -> Any | None:
        """GET, or None if there is no such object; :class:`ApiError` for any other refusal."""
        status, answer = await self.request("GET", path)
        if status == 404:
            return None
        return _checked("GET", path, status, answer)

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Any]]:
        """Each change of the collection ``path`` after that resourceVersion, as (type, object), until the API server
        ends the watch; :class:`ApiError` where it refuses it."""
        assert self._session is not None, "use 'async with Admin(plane) as admin'"
        params = {"watch": "true", "resourceVersion": version}
        # A line is one object, and no change may come for long.
        options: Any = {"timeout": aiohttp.ClientTimeout(total=None), "read_bufsize": 2**22}
        async with self._session.get(path, params=params, **options) as answer:
            if answer.status != 200:
                raise ApiError("WATCH", path, answer.status, await answer.text())
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError("WATCH", path, event["object"].get("code", 0), event["object"])
                yield event["type"], event["object"]

    async def create(self, path: str, body: Any) -> Any:
        """POST ``body`` to the collection ``path``; :class:`ApiError` unless 2xx."""
        return await self._checked("POST", path, body)

    async def replace(self, path: str, body: Any) -> Any:
        """PUT; :class:`ApiError` unless 2xx."""
        return await self._checked("PUT", path, body)

    async def patch(
        self, path: str, body: Any, content_type: str = MERGE_PATCH, params: Mapping[str, str] | None = None
    ) -> Any:
        """PATCH, a merge patch unless told; :class:`ApiError` unless 2xx. :data:`APPLY` needs ``fieldManager``."""
        return await self._checked("PATCH", path, body, content_type=content_type, params=params)

    async def delete(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """DELETE; None if there is no such object, :class:`ApiError` for any other refusal."""
        status, answer = await self.request("DELETE", path, params=params)
        if status == 404:
            return None
        return _checked("DELETE", path, status, answer)

    async def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl as the administrator and return its output; AssertionError with what it said if it fails."""
        command = [str(self.plane.assets / "kubectl"), f"--kubeconfig={self.plane.kubeconfig}", *arguments]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        output, errors = await child.communicate((text or "").encode())
        if child.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: exit {child.returncode}: {errors.decode().strip()}")
        return output.decode()

    async def apply(self, source: Path | Mapping[str, Any] | str) -> str:
        """``kubectl apply -f`` of a file or folder, one object, or YAML text; returns what kubectl printed."""
        if isinstance(source, Path):
            return await self.kubectl("apply", "-f", str(source))
        return await self.kubectl(
            "apply", "-f", "-", text=source if isinstance(source, str) else yaml.safe_dump(source)
        )

    async def _checked(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        status, answer = await self.request(method, path, body, **options)
        return _checked(method, path, status, answer)


def _checked(method: str, path: str, status: int, answer: Any) -> Any:
    if not 200 <= status < 300:
        raise ApiError(method, path, status, answer)
    return answer


def tls(plane: Plane) -> ssl.SSLContext:
    """The TLS context that trusts the plane's API server, with the client certificate if it has one."""
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    if plane.client_certificate is not None:
        context.load_cert_chain(*map(str, plane.client_certificate))
    return context


@overload
async def wait_for(
    predicate: Callable[[], Awaitable[T | None]], deadline: float = ..., what: str = ..., every: float = ...
) -> T: ...
@overload
async def wait_for(
    predicate: Callable[[], T | None], deadline: float = ..., what: str = ..., every: float = ...
) -> T: ...
async def wait_for(predicate: Callable[[], Any], deadline: float = 10.0, what: str = "", every: float = 0.02) -> Any:
    """Call ``predicate``, plain or asynchronous, until it gives something true, and return that.

    An AssertionError or a 404 out of it counts as not yet. After ``deadline`` seconds: AssertionError that says
    ``what`` was waited for and what the last call gave or raised.
    """
    begin = time.monotonic()
    what = what or getattr(predicate, "__name__", repr(predicate))
    while True:
        last: Any
        try:
            last = predicate()
            if inspect.isawaitable(last):
                last = await last
            if last:
                return last
        except AssertionError as error:
            last = f"AssertionError: {error}"
        except ApiError as error:
            if error.status != 404:
                raise
            last = error
        if time.monotonic() - begin > deadline:
            raise AssertionError(f"waited {deadline:g} s for {what}; last: {last!r}")
        await asyncio.sleep(every)
