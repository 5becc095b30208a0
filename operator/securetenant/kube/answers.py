"""Reading answers: line by line, and checking whether one of 2xx really comes from the API server.

Something in between (a load balancer, a service mesh, a captive portal) may answer 200 with a page, with nothing, or
with an empty list. If it were trusted, an empty list would mean that everything was deleted.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from typing import Final

import aiohttp
import msgspec

from securetenant.kube import errors


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    continue_: str | None = msgspec.field(name="continue", default=None)


class _Answer(msgspec.Struct):
    kind: str = ""
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: msgspec.Raw = msgspec.Raw(b"")


_decode: Final = msgspec.json.Decoder(_Answer).decode


def check(body: bytes, kind: str, verb: str, method: str, path: str) -> None:
    """Raise Malformed unless the body fits the request: a whole list of the kind, the object, or, for a DELETE, a
    Status. Without a `kind` nothing is checked."""
    if not kind:
        return
    expected = f"{kind}List" if verb == "list" else kind
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.malformed(body, expected, method, path) from error
    if not (_is_list(answer, kind) if verb == "list" else _is_object(answer, kind, method)):
        raise errors.malformed(body, expected, method, path)


# RFC 7234: 299 - "text", in which \\ and " are escaped.
_WARNING: Final = re.compile(r'[0-9]{3} \S+ "((?:[^"\\]|\\.)*)"')


def warnings(headers: Iterable[str]) -> list[str]:
    """The texts of an answer's Warning headers, in their order."""
    return [re.sub(r"\\(.)", r"\1", text) for header in headers for text in _WARNING.findall(header)]


def accepted(form: str, verb: str) -> str:
    """The Accept header that asks for objects in that form (`Kind.form`); "" for their own form."""
    return f"application/json;as={form}{'List' if verb == 'list' else ''};g=meta.k8s.io;v=v1" if form else ""


def token(page: bytes) -> str:
    """The continue token of a checked page; "" for the last page."""
    return _decode(page).metadata.continue_ or ""


def _is_list(answer: _Answer, kind: str) -> bool:
    has_items = bytes(memoryview(answer.items)[:1]) in (b"[", b"n")  # a list, or the null of an empty one
    return answer.kind == f"{kind}List" and answer.metadata.resource_version.isdecimal() and has_items


def _is_object(answer: _Answer, kind: str, method: str) -> bool:
    if method == "DELETE" and answer.kind == "Status":
        return True
    meta = answer.metadata
    return answer.kind == kind and bool(meta.name and meta.uid) and meta.resource_version.isdecimal()


async def lines(content: aiohttp.StreamReader) -> AsyncGenerator[list[bytes], None]:
    """Complete lines, however long (StreamReader.readline has a limit). An incomplete last line is dropped."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        if b"\n" not in chunk:
            parts.append(chunk)
            continue
        parts.append(chunk)
        whole = b"".join(parts).split(b"\n")
        rest = whole.pop()
        parts = [rest] if rest else []
        yield whole
