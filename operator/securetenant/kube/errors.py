"""What the API server, or something in front of it, refuses."""

import os
import re
import ssl
from typing import Final, TypeGuard

import aiohttp
import msgspec

from securetenant.model import names

MESSAGE_LIMIT: Final = 1000  # characters of a message that are kept


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct, rename="camel"):
    """A metav1.Status, as far as we read it."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


class ApiError(Exception):
    """A request that failed.

    `reason` is the Status' machine-readable reason, `causes` the reasons of its details (NamespaceTerminating, ...),
    `retry_after` the seconds the server asks to wait, 0 if it does not say. Of Unreachable, `status` is 0.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        method: str = "",
        path: str = "",
        causes: tuple[str, ...] = (),
        retry_after: float = 0.0,
    ) -> None:
        where = f"{method} {path}: " if method or path else ""
        super().__init__(f"{where}{f'{status} ' if status else ''}{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.method = method
        self.path = path
        self.causes = causes
        self.retry_after = retry_after

    @property
    def is_uncertain(self) -> bool:
        """Whether a write that failed so may have been carried out all the same: no answer came, the server broke off
        within, or something between wrote the answer (`HTTP502` instead of a Status)."""
        return self.status == 0 or self.status >= 500 or self.reason.startswith("HTTP")


class Invalid(ApiError):
    """422 (or 400): the object is refused as it is; sending it again is of no use."""


class Unauthorized(ApiError):
    """401, after the credentials were renewed."""


class Forbidden(ApiError):
    """403: RBAC, an admission policy, a quota, or a namespace that is Terminating (see `causes`)."""

    @property
    def is_namespace_terminating(self) -> bool:
        return "NamespaceTerminating" in self.causes

    @property
    def is_restrained(self) -> bool:
        """Whether the policy on the operator's own account refused it. It reads a namespace's mark from the API
        server's cache, so that it may not see yet what was written just now."""
        return f"'{names.RESTRAINT}'" in self.message


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: the resourceVersion or a precondition no longer holds, or a server-side apply meets another manager."""


class AlreadyExists(ApiError):
    """409 with reason AlreadyExists."""


class Gone(ApiError):
    """410: a resourceVersion or continue token too old."""


class Unreachable(ApiError):
    """No answer: connection refused or cut, or out of time. A write may or may not have been done."""


class Malformed(Unreachable):
    """An answer of 2xx that the API server cannot have given: what stands between gave it, or a part of it got lost.
    As with no answer at all, a write may or may not have been done."""


_CLASSES: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}

_decode_status = msgspec.json.Decoder(Status).decode


def from_answer(status: int, body: bytes, method: str, path: str, retry_after: str | None = None) -> ApiError:
    """The error of an HTTP answer: a Status in JSON, or whatever a proxy wrote."""
    try:
        parsed = _decode_status(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        parsed = Status()
    if parsed.kind != "Status":
        parsed = Status(message=plain(body), reason=f"HTTP{status}")
    return from_status(parsed, status, method, path, retry_after)


def from_status(
    parsed: Status, status: int = 0, method: str = "", path: str = "", retry_after: str | None = None
) -> ApiError:
    """The error of a Status, also of one that came as a watch's ERROR event."""
    code = status or parsed.code or 500
    details = parsed.details or _Details()
    cls = _CLASSES.get(code, ApiError)
    if parsed.reason == "AlreadyExists":
        cls = AlreadyExists
    return cls(
        code,
        parsed.reason or "Unknown",
        parsed.message[:MESSAGE_LIMIT],
        method,
        path,
        tuple(cause.reason for cause in details.causes or () if cause.reason),
        seconds(retry_after) or float(details.retry_after_seconds),
    )


def unreachable(error: Exception, method: str, path: str, after: float | None = None) -> Unreachable:
    """The error of a connection; `after` is how many seconds a stream had stood."""
    reason = "Timeout" if isinstance(error, TimeoutError) else "Unreachable"
    message = _sentence(error)[:MESSAGE_LIMIT]
    return Unreachable(0, reason, message if after is None else f"{message} (after {after:.1f} s)", method, path)


def is_away(error: Exception | None) -> TypeGuard[ApiError]:
    """Whether it says nothing but that there is no API server to answer: no answer at all, or that of a gateway (or
    of a server that starts or stops) instead."""
    return isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.status in (502, 503, 504))


def _sentence(error: Exception) -> str:
    """What went wrong with a connection, without the innards of the library that are in its own texts."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)
            return f"the certificate of {error.host}:{error.port} is not accepted: {why}"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} is not resolved: {_os_cause(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"no connection to {error.host}:{error.port}: {_os_cause(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer was cut off"
        case aiohttp.SocketTimeoutError():
            return "nothing came in time"
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return _os_cause(error)
    return str(error) or type(error).__name__


def _os_cause(error: OSError) -> str:
    """`strerror` has the address and more in it where asyncio made it."""
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def malformed(body: bytes, expected: str, method: str, path: str) -> Malformed:
    """The error of an answer that is not what was asked for."""
    return Malformed(0, "Malformed", f"the answer is no {expected}: {plain(body)[:200] or 'it is empty'}", method, path)


def seconds(retry_after: str | None) -> float:
    """Retry-After in seconds; 0 if absent or a date, which the API server never sends."""
    text = (retry_after or "").strip()
    return float(text) if text.isdecimal() else 0.0


def plain(body: bytes) -> str:
    """A proxy's error page as one short line."""
    text = body[: 16 * MESSAGE_LIMIT].decode(errors="replace")
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text)
    return " ".join(text.split())[:MESSAGE_LIMIT]
