"""What an API server, or what stands between, may answer instead of what it should; each as an `Answer`.

    fault = Fault("kopf watch", ANSWERS["410"])
    proxy.faults.append(fault)
    ...
    assert fault.given and fault.over_at

A request is told by `target`: whose it is and what it asks for.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiohttp
from aiohttp import web

Kind = Literal[
    "status", "page", "event", "line", "nothing", "items", "list", "cut", "cut after", "truncated", "silence"
]
Carried = AbstractAsyncContextManager[aiohttp.ClientResponse]

CODES: Final = (400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504)
REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
PAGE: Final = "<html><head><title>Sign in</title></head>\n<body>Please sign in.</body>\n</html>\n"
# Longer than anybody waits.
_SILENT: Final = 90.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One bad answer. `code` is of a status or an ERROR event."""

    name: str
    kind: Kind
    code: int = 200


@dataclass(slots=True)
class Fault:
    """A bad answer to the next request of a target, or to all of them for some seconds. Times are time.monotonic."""

    target: str
    answer: Answer
    seconds: float = 0.0
    #: How many times it was given, and when first and last. (For some seconds: when they began.)
    given: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    #: When the target was answered well again.
    over_at: float = 0.0

    def takes(self, target: str) -> bool:
        """Whether this is the answer to a request of that target, now."""
        if target != self.target:
            return False
        now = time.monotonic()
        if now - self.first_at > self.seconds if self.seconds else self.given:
            return False
        self.first_at = self.first_at or now
        self.given += 1
        self.last_at = now
        return True

    def well(self, target: str) -> None:
        """A request of that target was answered as it should be."""
        if target == self.target and self.given and not self.over_at:
            self.over_at = time.monotonic()


def _answers(kinds: dict[str, Kind], codes: tuple[int, ...] = CODES) -> dict[str, Answer]:
    statuses = {str(code): Answer(str(code), "status", code) for code in codes}
    return statuses | {name: Answer(name, kind) for name, kind in kinds.items()}


_ANY: Final[dict[str, Kind]] = {
    "page": "page",
    "nothing": "nothing",
    "malformed": "line",
    "truncated": "truncated",
    "cut": "cut",
    "cut-after": "cut after",
    "silence": "silence",
}
#: To a request that is answered once: a discovery, a write, the Lease.
ANSWERS: Final = _answers(_ANY)
LIST_ANSWERS: Final = ANSWERS | _answers({"items": "items", "list-of-nothing": "list"}, ())
WATCH_ANSWERS: Final = ANSWERS | {f"event-{code}": Answer(f"event-{code}", "event", code) for code in CODES}
#: One of each class, for every run.
QUICK: Final = ("404", "403", "500", "429", "410", "cut", "malformed", "nothing")
#: And those that leave it open whether it was done.
QUICK_WRITES: Final = (*QUICK, "cut-after", "truncated")
QUICK_LISTS: Final = (*QUICK, "items", "list-of-nothing")
QUICK_WATCHES: Final = (*QUICK, "truncated", "event-410", "event-500")


def target(request: web.BaseRequest) -> str:
    """Whose request it is and what it asks for: "kopf list", "networkpolicies watch", "leases put", "put", "status"."""
    is_kopf = request.headers.get("User-Agent", "").startswith("kopf/")
    parts = request.path.strip("/").split("/")
    if request.method == "GET":
        if request.query.get("watch") in ("1", "true"):
            return "kopf watch" if is_kopf else f"{parts[-1]} watch"
        if is_kopf:
            return "kopf list" if parts[-1] == "securetenants" else "kopf discovery"
        if "leases" in parts:
            return "leases get"
        return f"{parts[-1]} list" if "limit" in request.query else "get"
    if "leases" in parts or "events" in parts:
        return f"{'leases' if 'leases' in parts else 'events'} {request.method.lower()}"
    if parts[-1] == "status":
        return "status"
    content = request.headers.get("Content-Type", "")
    return {"application/merge-patch+json": "merge", "application/json-patch+json": "json"}.get(
        content, request.method.lower()
    )


def status(code: int) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"of a test: {code}",
        "reason": REASONS.get(code, ""),
        "code": code,
    }


async def give(request: web.BaseRequest, answer: Answer, carry_out: Callable[[], Carried]) -> web.StreamResponse:
    """Answer so. `carry_out` is what the server would have answered, and done."""
    match answer.kind:
        case "status" if answer.code in (502, 504):
            # Those are a proxy's.
            return web.Response(status=answer.code, text=PAGE, content_type="text/html")
        case "status":
            return web.json_response(status(answer.code), status=answer.code)
        case "page":
            return web.Response(text=PAGE, content_type="text/html")
        case "event":
            return _json(json.dumps({"type": "ERROR", "object": status(answer.code)}) + "\n")
        case "line":
            return _json('{"type": "MODIFIED", "object": {"kind": "Sec\n')
        case "nothing":
            return _json("")
        case "items":
            return _json('{"items": []}')
        case "list":
            return _json(await _list_of_nothing(carry_out))
        case "truncated":
            return await _truncated(request, carry_out)
        case "cut after":
            async with carry_out() as carried:
                if "watch" not in request.query:
                    await carried.read()
            return cut(request)
        case "cut":
            return cut(request)
        case "silence":
            await asyncio.sleep(_SILENT)  # sleep: silence is the answer
            return cut(request)


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


async def _list_of_nothing(carry_out: Callable[[], Carried]) -> str:
    """Well formed, and as of now: nothing about it is wrong but that it is not so."""
    async with carry_out() as carried:
        whole = json.loads(await carried.read())
    return json.dumps({**whole, "metadata": {"resourceVersion": whole["metadata"]["resourceVersion"]}, "items": []})


async def _truncated(request: web.BaseRequest, carry_out: Callable[[], Carried]) -> web.StreamResponse:
    """The first half, with an end as it should be: of a watch the half of a line."""
    if "watch" in request.query:
        return _json('{"type": "MODIFIED", "object": {"kind": "Sec')
    async with carry_out() as carried:
        content = await carried.read()
        return web.Response(status=carried.status, body=content[: len(content) // 2], content_type=carried.content_type)


def cut(request: web.BaseRequest) -> web.Response:
    """The connection is cut."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
