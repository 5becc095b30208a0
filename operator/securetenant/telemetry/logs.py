"""Structured logs: one JSON object per line in a pod, readable on a terminal; kopf's and all other loggers included.

Use `structlog.get_logger("securetenant.engine")` and say what happened in few fixed words, with the rest as fields:
`log.warning("drift found", tenant="payments", object="NetworkPolicy payments-prod/securetenant-dns", cause="Changed")`.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog

from securetenant.api import names

Format = Literal["json", "console", "auto"]
Level = Literal["debug", "info", "warning", "error"]

# At info these tell of every request, pass or handler: one line per tenant and more. At debug they speak.
_QUIET: Final = (
    "aiohttp.access",
    "asyncio",
    "kopf.activities",
    "kopf.objects",
    "kopf._core",
    "kubernetes",
    "urllib3",
)


def configure(format_: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> None:
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
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


def _rendering(console: bool, stream: TextIO) -> list[Any]:
    if console:
        # Plain: the default shows local variables, and one of them may be a credential.
        plain = structlog.dev.plain_traceback
        return [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    """Timestamp, level and event first, for those who read the lines as they are."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return msgspec.json.encode(first | dict(event), enc_hook=str).decode()


def _kopf_reference(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """kopf hangs the object that a line is about on the record: name the tenant as all our lines do."""
    reference = event.pop("k8s_ref", None)
    if isinstance(reference, dict) and reference.get("kind") == names.KIND:
        event.setdefault("tenant", reference.get("name"))
    return event


def _printable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names out of the cluster are others' text: no control character of theirs may drive the reader's terminal."""
    return {
        key: _escaped(value) if isinstance(value, str) and key != "exception" else value for key, value in event.items()
    }


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
