"""The transport against a server that misbehaves."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube import transport as kube
from securetenant.kube.transport import Transport
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Ref
from tests.support.fakeapi import given, page, serving, status
from tests.support.kube import transport_to, until

REF = Ref(NETWORK_POLICY, "a", "p")


async def test_429_is_sent_again_after_what_the_server_asks(tmp_path: Path) -> None:
    times: list[float] = []
    heard: list[tuple[str, str, str]] = []

    async def handler(_request: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        return status(429, "TooManyRequests", retry_after=1) if len(times) == 1 else given()

    async with (
        serving(handler, tmp_path) as path,
        transport_to(path, on_request=lambda verb, kind, code, _s: heard.append((verb, kind, code))) as transport,
    ):
        assert await transport.create(NETWORK_POLICY, "a", {}) == given().body
    assert times[1] - times[0] >= 1.0
    assert heard == [("create", "NetworkPolicy", "429"), ("create", "NetworkPolicy", "200")]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        pytest.param({"code": 503, "retry_after": 0}, 1, id="503-without-time"),
        pytest.param({"code": 500, "retry_after": 1}, 1, id="500-may-have-been-done"),
        pytest.param({"code": 504, "retry_after": 1}, 1, id="504-may-have-been-done"),
        pytest.param({"code": 503, "retry_after": 1}, 2, id="503-with-time"),
        pytest.param({"code": 429}, 2, id="429-without-time"),
    ],
)
async def test_retries_are_bounded_and_only_where_nothing_was_done(
    tmp_path: Path, answer: dict[str, int], sent: int
) -> None:
    count = 0

    async def handler(_request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return status(**answer)  # type: ignore[arg-type]

    async with serving(handler, tmp_path) as path, transport_to(path) as plain:
        async with Transport(plain.config, attempts=2, max_wait=0.01) as transport:
            with pytest.raises(kube.ApiError) as caught:
                await transport.create(NETWORK_POLICY, "a", {})
        assert caught.value.status == answer["code"]
    assert count == sent


async def test_cut_connection_is_not_sent_again(tmp_path: Path) -> None:
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if request.method == "POST":
            assert request.transport is not None
            request.transport.abort()
        return given()

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        await transport.get(NETWORK_POLICY, REF)  # so that the POST goes over a kept connection
        with pytest.raises(kube.Unreachable):
            await transport.create(NETWORK_POLICY, "a", {})
    assert count == 2


async def test_time_limit(tmp_path: Path) -> None:
    heard: list[str] = []

    async def handler(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()  # for ever
        return web.Response()

    async with (
        serving(handler, tmp_path) as path,
        transport_to(path, timeout=0.2, on_request=lambda *args: heard.append(args[2])) as transport,
    ):
        with pytest.raises(kube.Unreachable) as caught:
            await transport.get(NETWORK_POLICY, REF)
    assert caught.value.reason == "Timeout"
    assert heard == ["error"]


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        pytest.param(400, "BadRequest", kube.Invalid, id="bad"),
        pytest.param(401, "Unauthorized", kube.Unauthorized, id="unauthorized"),
        pytest.param(403, "Forbidden", kube.Forbidden, id="forbidden"),
        pytest.param(404, "NotFound", kube.NotFound, id="not-found"),
        pytest.param(409, "Conflict", kube.Conflict, id="conflict"),
        pytest.param(409, "AlreadyExists", kube.AlreadyExists, id="exists"),
        pytest.param(410, "Expired", kube.Gone, id="gone"),
        pytest.param(422, "Invalid", kube.Invalid, id="invalid"),
        pytest.param(302, "", kube.ApiError, id="redirect"),
    ],
)
async def test_errors_by_class(tmp_path: Path, code: int, reason: str, expected: type[kube.ApiError]) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return status(code, reason, "because", details={"causes": [{"reason": "NamespaceTerminating"}]})

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(kube.ApiError) as caught:
            await transport.get(NETWORK_POLICY, REF)
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.message) == (code, "because")
    assert caught.value.causes == ("NamespaceTerminating",)
    assert caught.value.path in str(caught.value)


async def test_redirect_is_not_followed(tmp_path: Path) -> None:
    """Our credentials go to no other address than the configured one."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(kube.ApiError) as caught:
            await transport.request("GET", "/here")
    assert caught.value.status == 307
    assert asked == ["/here"]


async def test_html_of_a_proxy_is_legible_and_bounded(tmp_path: Path) -> None:
    async def handler(_request: web.Request) -> web.Response:
        text = "<html><head><style>x{}</style></head><body><h1>Bad\n gateway</h1>" + "<p>x</p>" * 9999
        return web.Response(status=502, text=text, content_type="text/html")

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(kube.ApiError) as caught:
            await transport.get(NETWORK_POLICY, REF)
    assert caught.value.message.startswith("Bad gateway x x")
    assert len(caught.value.message) <= 1000
    assert caught.value.reason == "HTTP502"


async def test_long_message_is_bounded(tmp_path: Path) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return status(422, "Invalid", "x" * 100_000)

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(kube.Invalid) as caught:
            await transport.get(NETWORK_POLICY, REF)
    assert len(str(caught.value)) < 1200


async def test_what_is_sent(tmp_path: Path) -> None:
    seen: list[tuple[str, str, dict[str, str], str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        headers = request.headers
        assert headers["User-Agent"].startswith("securetenant/")
        assert headers["Authorization"] == "Bearer t"
        kind = headers.get("Content-Type", "")
        seen.append((request.method, request.path, dict(request.query), kind, await request.text()))
        return given() if "networkpolicies" in request.path else given("Namespace")

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        await transport.get(NETWORK_POLICY, REF)
        await transport.create(NETWORK_POLICY, "a", {"spec": None})
        await transport.replace(NETWORK_POLICY, REF, b"{}")
        await transport.patch(NAMESPACE, Ref(NAMESPACE, "", "n"), [], kube.JSON_PATCH)
        await transport.patch(NAMESPACE, Ref(NAMESPACE, "", "n"), {}, subresource="status")
        await transport.delete(NETWORK_POLICY, REF, uid="u", resource_version="7")
    base, manager = "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies", {"fieldManager": "securetenant"}
    options = (
        '{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background",'
        '"preconditions":{"uid":"u","resourceVersion":"7"}}'
    )
    assert seen == [
        ("GET", f"{base}/p", {}, "", ""),
        ("POST", base, manager, "application/json", '{"spec":null}'),
        ("PUT", f"{base}/p", manager, "application/json", "{}"),
        ("PATCH", "/api/v1/namespaces/n", manager, kube.JSON_PATCH, "[]"),
        ("PATCH", "/api/v1/namespaces/n/status", manager, kube.MERGE_PATCH, "{}"),
        ("DELETE", f"{base}/p", {}, "application/json", options),
    ]


async def test_in_flight_is_bounded_and_urgent_passes(tmp_path: Path) -> None:
    now, most, go = 0, 0, asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal now, most
        if request.path == "/urgent":
            return given()
        now += 1
        most = max(most, now)
        await go.wait()
        now -= 1
        return given()

    async with (
        serving(handler, tmp_path) as path,
        transport_to(path) as plain,
        Transport(plain.config, in_flight=3) as transport,
        asyncio.TaskGroup() as group,
    ):
        waiting = [group.create_task(transport.get(NETWORK_POLICY, REF)) for _ in range(12)]
        await until(lambda: now >= 3, "three wait in the server")
        for _ in range(10):  # a fourth would come before one of these
            await transport.request("GET", "/urgent", urgent=True)
        go.set()
        await asyncio.gather(*waiting)
    assert most == 3


async def test_waiting_for_the_server_takes_no_slot(tmp_path: Path) -> None:
    order: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        order.append(request.path)
        return status(429, retry_after=1) if order == ["/slow"] else given()

    async with (
        serving(handler, tmp_path) as path,
        transport_to(path) as plain,
        Transport(plain.config, in_flight=1, max_wait=0.1) as transport,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(transport.request("GET", "/slow"))
        group.create_task(transport.request("GET", "/quick"))
    assert order == ["/slow", "/quick", "/slow"]


async def test_environment_proxy_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def handler(_request: web.Request) -> web.Response:
        return given()

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        assert await transport.get(NETWORK_POLICY, REF) == given().body


async def test_stream_yields_lines_however_they_are_cut(tmp_path: Path) -> None:
    parts = [b"on", b"e\ntw", b"o\n" + b"x" * 300_000, b"y\nthree\ncut off"]

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in parts:
            await answer.write(part)
            await asyncio.sleep(0.01)  # sleep: for the parts to arrive one by one
        return answer

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        lines = [line async for batch in transport.stream("/x", {}) for line in batch]
    assert lines == [b"one", b"two", b"x" * 300_000 + b"y", b"three"]


async def test_stream_that_goes_silent(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one\n")
        await asyncio.Event().wait()  # for ever
        return answer

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        stream = transport.stream("/x", {}, read_deadline=0.2)
        assert await anext(stream) == []
        assert await anext(stream) == [b"one"]
        with pytest.raises(kube.Unreachable) as caught:
            await anext(stream)
    assert caught.value.reason == "Timeout"


async def test_pages_follow_the_token(tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return page([], 1, "next" if len(asked) == 1 else "")

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        pages = [each async for each in transport.pages(NETWORK_POLICY, params={"labelSelector": "a"}, page_size=2)]
    assert len(pages) == 2
    assert asked == [{"limit": "2", "labelSelector": "a"}, {"limit": "2", "labelSelector": "a", "continue": "next"}]


async def test_guard_before_each_write(tmp_path: Path) -> None:
    """It is asked right before a write is sent, again before it is sent anew, and not for reads and the Lease."""
    sent: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        sent.append(request.method)
        return status(429, retry_after=1) if len(sent) == 1 else given()

    asked = 0

    def guard() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise PermissionError("no longer")

    async with (
        serving(handler, tmp_path) as path,
        transport_to(path) as plain,
        Transport(plain.config, max_wait=0.01) as transport,
    ):
        transport.before_write = guard
        with pytest.raises(PermissionError):
            await transport.create(NETWORK_POLICY, "a", {})
        assert sent == ["POST"]
        await transport.get(NETWORK_POLICY, REF)
        await transport.request("PUT", "/lease", body={}, urgent=True)
        with pytest.raises(PermissionError):
            await transport.delete(NETWORK_POLICY, REF)
    assert sent == ["POST", "GET", "PUT"]
    assert asked == 3


async def test_a_dry_run_brings_the_warnings_refused_or_not(tmp_path: Path) -> None:
    """As kube-apiserver writes them: a header each, quotes and backslashes escaped."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.query_string)
        answer = given("Pod") if len(seen) == 1 else status(403, "Forbidden")
        answer.headers.add("Warning", '299 - "first: say \\"a\\\\b\\""')
        answer.headers.add("Warning", '299 - "second"')
        return answer

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        written: list[str] = []
        transport.before_write = lambda: written.append("asked")
        for expected in (None, kube.Forbidden):
            warnings = ["of before"]
            with pytest.raises(expected) if expected is not None else contextlib.nullcontext():
                await transport.request("POST", "/api/v1/pods", body={}, kind="Pod", dry_run=warnings)
            assert warnings == ['first: say "a\\b"', "second"]
        # The Lease is checked before it as before each write: only the leader tries.
        assert written == ["asked", "asked"]
    assert all("dryRun=All" in query for query in seen)
