"""Logs: one line of JSON per event in a pod, readable on a terminal, all loggers alike."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from securetenant.telemetry.logs import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**configured)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_fields_first() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    log = structlog.get_logger("securetenant.engine")
    log.warning("drift found", tenant="支付", object="a\nb", cause="Changed", paths=("spec", 1), error=OSError("x"))
    [line] = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "drift found",
        "logger": "securetenant.engine",
        "tenant": "支付",
        "object": "a\nb",
        "cause": "Changed",
        "paths": ["spec", 1],
        "error": "x",
    }


def test_an_exception_is_on_the_same_line() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("a").exception("failed")
        logging.getLogger("b").exception("failed %s", "too")
    ours, theirs = lines(stream)
    assert (ours["event"], theirs["event"]) == ("failed", "failed too")
    assert ours["exception"].endswith("ValueError: broken")
    assert theirs["exception"].endswith("ValueError: broken")


def test_kopf_speaks_the_same_way_and_names_the_tenant() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    reference = {"kind": "SecureTenant", "name": "payments", "uid": "1"}
    logging.getLogger("kopf.objects").warning("Patching %s", "failed", extra={"k8s_ref": reference})
    [line] = lines(stream)
    assert (line["event"], line["tenant"], line["logger"]) == ("Patching failed", "payments", "kopf.objects")
    assert "k8s_ref" not in line


@pytest.mark.parametrize("name", ["aiohttp.access", "kopf.objects", "kopf.activities", "urllib3.connectionpool"])
def test_what_tells_of_every_request_is_quiet_but_at_debug(name: str) -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    logging.getLogger(name).info("GET /metrics")
    assert stream.getvalue() == ""
    configure("json", "debug", stream)
    logging.getLogger(name).info("GET /metrics")
    assert [line["event"] for line in lines(stream)] == ["GET /metrics"]


AWAY = (
    "Request attempt #{}/67 failed; will retry: GET https://127.0.0.1:6443/apis/securetenant.dev/v1alpha1 -> "
    "ClientConnectorError(ConnectionKey(host='127.0.0.1', port=6443, is_ssl=True, ssl=<ssl.SSLContext object at 0x1>, "
    "proxy=None), ConnectionRefusedError(111, \"Connect call failed ('127.0.0.1', 6443)\"))"
)
REFUSED = (
    "Request attempt #{}/67 failed; will retry: GET https://127.0.0.1:6443/apis/securetenant.dev/v1alpha1 -> "
    "APIForbiddenError('no', {{'code': 403}})"
)


def test_kopf_does_not_repeat_what_is_said_elsewhere() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    for attempt in range(1, 5):
        logging.getLogger("kopf._cogs.clients.api").error(AWAY.format(attempt))
    assert stream.getvalue() == ""


def test_kopf_says_the_same_once_a_minute() -> None:
    stream, now = io.StringIO(), [1000.0]
    configure("json", "info", stream, clock=lambda: now[0])
    for attempt in range(1, 5):
        logging.getLogger("kopf._cogs.clients.api").error(REFUSED.format(attempt))
    now[0] += 61
    logging.getLogger("kopf._cogs.clients.api").error(REFUSED.format(5))
    first, second = lines(stream)
    assert first["event"] == second["event"]
    assert first["event"].startswith("a request of the watcher of SecureTenants failed, it is sent again: GET https://")
    assert "APIForbiddenError('no'" in first["event"]


def test_kopf_writes_no_traceback_and_no_innards() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    try:
        raise ValueError("broken")
    except ValueError as error:
        logging.getLogger("kopf._cogs.aiokits.aiotasks").exception("Watcher has failed: %s", error)
        logging.getLogger("kopf.objects").exception(AWAY.partition("-> ")[2])
    assert [line["event"] for line in lines(stream)] == [
        "Watcher has failed: broken (ValueError)",
        "ClientConnectorError",
    ]
    assert "exception" not in lines(stream)[0]


def test_kopf_is_heard_whole_at_debug() -> None:
    stream = io.StringIO()
    configure("json", "debug", stream)
    for attempt in range(1, 3):
        logging.getLogger("kopf._cogs.clients.api").error(AWAY.format(attempt))
    assert len(lines(stream)) == 2


def test_the_level_holds_for_all() -> None:
    stream = io.StringIO()
    configure("json", "warning", stream)
    structlog.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.get_logger("a").warning("yes")
    logging.getLogger("b").warning("yes")
    assert [line["logger"] for line in lines(stream)] == ["a", "b"]


def test_auto_is_readable_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure("auto", "info", terminal)
    structlog.get_logger("a").info("drift found", tenant="payments")
    configure("auto", "info", pipe)
    structlog.get_logger("a").info("drift found", tenant="payments")
    assert "drift found" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert lines(pipe)[0]["tenant"] == "payments"


def test_others_text_does_not_drive_the_terminal() -> None:
    stream = io.StringIO()
    configure("console", "info", stream)
    structlog.get_logger("a").info("found \x1b[2J", manager="\x1b]0;x\x07", tenant="支付")
    logging.getLogger("b").info("line\nforged")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "支付" in text
    assert len(text.splitlines()) == 2


def test_a_traceback_on_the_terminal_shows_no_local_variables() -> None:
    stream = io.StringIO()
    configure("console", "info", stream)
    token = "".join(["sec", "ret"])
    try:
        raise ValueError(len(token))
    except ValueError:
        structlog.get_logger("a").exception("failed")
    assert "ValueError: 6" in stream.getvalue()
    assert "secret" not in stream.getvalue()
