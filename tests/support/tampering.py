"""Every way in which others may lay hands on an object that is wholly ours, as data: each is one deviation.

A tampering gets the administrator's client and the object's path; the manager it writes under is `MANAGER`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.support.life import APPLIED, MARKS
from tests.support.sandbox import JSON_PATCH, MERGE_PATCH, Admin

MANAGER: Final = "mallory"
Do = Callable[[Admin, str], Awaitable[None]]


@dataclass(frozen=True)
class Tampering:
    """`reasons`: what it must be counted as. `blamed`: whether the cluster still knows who did it."""

    name: str
    do: Do
    reasons: tuple[str, ...] = ("Changed",)
    blamed: bool = True


def merge(name: str, body: Any, *, blamed: bool = True) -> Tampering:
    """A merge patch."""

    async def do(admin: Admin, path: str) -> None:
        await _patch(admin, path, body)

    return Tampering(name, do, blamed=blamed)


def json_patch(name: str, *operations: Any, blamed: bool = True) -> Tampering:
    async def do(admin: Admin, path: str) -> None:
        await _patch(admin, path, list(operations), JSON_PATCH)

    return Tampering(name, do, blamed=blamed)


async def _patch(admin: Admin, path: str, body: Any, content_type: str = MERGE_PATCH) -> None:
    await admin.patch(path, body, content_type, params={"fieldManager": MANAGER})


async def _delete(admin: Admin, path: str) -> None:
    await admin.delete(path)


async def _own(admin: Admin, path: str) -> None:
    """An owner that exists: the garbage collector would delete the object of one that does not."""
    namespace = path.split("/namespaces/")[1].split("/")[0]
    owner = await admin.get(f"/api/v1/namespaces/{namespace}")
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner["metadata"]["uid"]}
    await _patch(admin, path, {"metadata": {"ownerReferences": [reference]}})


async def _hold_and_delete(admin: Admin, path: str) -> None:
    """A finalizer that nobody will ever take off, and then a deletion: the object is stuck, and open to all."""
    await _patch(admin, path, {"metadata": {"finalizers": ["example.com/never"]}})
    await admin.delete(path)


async def _remake(admin: Admin, path: str) -> None:
    """The same object in all that is declared, but made by somebody else: without marks and record."""
    item = await admin.get(path)
    await admin.delete(path)
    bare = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    collection, _, name = path.rpartition("/")
    status, _answer = await admin.request(
        "POST", collection, {**bare, "metadata": {"name": name}}, params={"fieldManager": MANAGER}
    )
    assert status in (201, 409), status  # 409: ours was there first


ANY: Final = (
    Tampering("delete", _delete, ("Missing",), blamed=False),
    merge("strip-labels", {"metadata": {"labels": dict.fromkeys(MARKS)}}, blamed=False),
    merge("strip-record", {"metadata": {"annotations": {APPLIED: None}}}, blamed=False),
    merge("forge-record", {"metadata": {"annotations": {APPLIED: "0" * 32}}}),
    merge("other-tenant's-mark", {"metadata": {"labels": {"securetenant.dev/tenant": "other"}}}),
    merge("other-control's-mark", {"metadata": {"labels": {"securetenant.dev/control": "limits-of-old"}}}),
    merge("add-label", {"metadata": {"labels": {"example.com/mine": "1"}}}),
    merge("add-annotation", {"metadata": {"annotations": {"example.com/mine": "1"}}}),
    merge("add-finalizer", {"metadata": {"finalizers": ["example.com/never"]}}),
    Tampering("add-owner", _own),
)

#: Each of two steps, which may be seen as one or as two.
TWO_STEPS: Final = (
    Tampering("hold-and-delete", _hold_and_delete),
    Tampering("remake", _remake),
)
