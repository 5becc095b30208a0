"""Structured logs: one JSON object per line in a pod, readable on a terminal; kopf's and all other loggers included.

Use `structlog.get_logger("securetenant.engine")`, and log what happened in a few fixed words, with the rest as fields:
`log.warning("drift found", tenant="payments", object="NetworkPolicy payments-prod/securetenant-dns", cause="Changed")`.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog

from securetenant.model import names

Format = Literal["json", "console", "auto"]
Level = Literal["debug", "info", "warning", "error"]

# At level info these log every request, pass or handler: a line per tenant or more. They log only at debug.
_QUIET: Final = (
    "aiohttp.access",
    "asyncio",
    "kopf.activities",
    "kopf.objects",
    "kopf._core",
    "kubernetes",
    "urllib3",
)

# Between two equal lines of kopf's (seconds).
_LOG_AGAIN: Final = 60.0
_ATTEMPT: Final = re.compile(r"^Request attempt #\S+ failed; [^:]*: ")
_AWAY: Final = re.compile(r" -> (Client\w*|Server\w*|Connection\w*|Socket\w*|Timeout\w*)\(")
_INNARDS: Final = re.compile(r"\(ConnectionKey\(.*", re.DOTALL)


def configure(
    format_: Format = "auto",
    level: Level = "info",
    stream: TextIO | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send all logs, structlog's and the standard library's, to `stream` (stderr). May be called again."""
    stream = sys.stderr if stream is None else stream
    console = format_ == "console" or (format_ == "auto" and stream.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(allow=("k8s_ref",)),
        _kopf_reference,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(console, stream)],
        )
    )
    if level != "debug":
        handler.addFilter(_Kopf(clock))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


def _rendering(console: bool, stream: TextIO) -> list[Any]:
    if console:
        # Plain tracebacks: the default ones show local variables, and one of them may be a credential.
        plain = structlog.dev.plain_traceback
        return [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    """JSON with timestamp, level and event first, for people who read the raw lines."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return msgspec.json.encode(first | dict(event), enc_hook=str).decode()


def _kopf_reference(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """kopf attaches the object that a line is about to the record: name the tenant as in our own lines."""
    reference = event.pop("k8s_ref", None)
    if isinstance(reference, dict) and reference.get("kind") == names.KIND:
        event.setdefault("tenant", reference.get("name"))
    return event


class _Kopf(logging.Filter):
    """kopf logs a line per attempt and a traceback per failure, with internals of its libraries. An unreachable API
    server is logged elsewhere (kube/reach.py); for the rest one line a minute is enough, without tracebacks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != "kopf" or record.levelno < logging.WARNING:
            return True
        text = record.getMessage()
        is_attempt = _ATTEMPT.match(text) is not None
        if is_attempt and _AWAY.search(text):
            return False
        text = _ATTEMPT.sub("a request of the watcher of SecureTenants failed, it is sent again: ", text)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and type(error).__name__ not in text:
            text = f"{text} ({type(error).__name__})"
        record.msg, record.args = _INNARDS.sub("", text), ()
        record.exc_info = record.exc_text = None
        return self._is_news(record.msg)

    def _is_news(self, text: str) -> bool:
        now = self._clock()
        self._logged = {line: at for line, at in self._logged.items() if now - at < _LOG_AGAIN}
        is_news = text not in self._logged
        self._logged.setdefault(text, now)
        return is_news


def _printable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters: names from the cluster are other people's text, and must not control the reader's
    terminal."""
    return {
        key: _escaped(value) if isinstance(value, str) and key != "exception" else value for key, value in event.items()
    }


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
