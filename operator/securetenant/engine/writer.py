"""Sends the writes of a pass: what closes before what opens, in parallel where nothing depends on the order."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from securetenant.api import kinds
from securetenant.api.kinds import KINDS
from securetenant.api.objects import JsonValue, Ref
from securetenant.drift.judge import Finding
from securetenant.engine import requests
from securetenant.engine.echoes import Echoes
from securetenant.engine.requests import Request
from securetenant.kube.transport import JSON_PATCH, ApiError, Conflict, NotFound, Transport


class Store(Protocol):
    """A cache that takes the answer to our own write."""

    def store(self, raw: bytes) -> None: ...

    def forget(self, ref: Ref, uid: str) -> None: ...


class _Meta(msgspec.Struct):
    finalizers: list[str] = []


class _Answer(msgspec.Struct):
    """What a DELETE answers: a Status, or the object, be it gone (a ResourceQuota) or Terminating."""

    kind: str = ""
    metadata: _Meta = msgspec.field(default_factory=_Meta)


@dataclass(slots=True)
class Outcome:
    """What became of the findings of a pass: undone, or failed and why."""

    done: list[Finding] = field(default_factory=list)
    failed: list[tuple[Finding, ApiError]] = field(default_factory=list)


class Writer:
    """Writes for one tenant at a time; several tenants at once. The transport bounds what is in flight."""

    def __init__(self, transport: Transport, stores: Mapping[str, Store], echoes: Echoes) -> None:
        self._transport = transport
        self._stores = stores
        self._echoes = echoes

    async def undo(self, findings: Sequence[Finding], tenant: str, salt: str) -> Outcome:
        """Carry out the findings' actions in order: namespaces, closing policies, all else, then what is given up.

        One that fails stops what depends on it (a namespace's contents on it; its release on theirs), and nothing
        else.
        """
        outcome = Outcome()
        for step in _steps(findings):
            blocked = {_place(finding.ref) for finding, _ in outcome.failed}
            todo = [finding for finding in step if not (place := _place(finding.ref)) or place not in blocked]
            results = await asyncio.gather(*(self._undo(finding, tenant, salt) for finding in todo))
            for finding, error in zip(todo, results, strict=True):
                if error is None:
                    outcome.done.append(finding)
                else:
                    outcome.failed.append((finding, error))
        return outcome

    async def _undo(self, finding: Finding, tenant: str, salt: str) -> ApiError | None:
        try:
            for request in requests.of(finding, tenant, salt):
                await self.send(request)
        except ApiError as error:
            return error
        return None

    async def send(self, request: Request) -> None:
        """One write. Its answer goes into the cache; deleting what is gone already is no error. Raises ApiError."""
        kind, ref = KINDS[request.ref.kind], request.ref
        with self._echoes.writing(ref) as write:
            match request.verb:
                case "create":
                    raw = await self._transport.create(kind, ref.namespace, request.body)
                case "replace":
                    raw = await self._transport.replace(kind, ref, request.body)
                case "merge":
                    raw = await self._transport.merge_patch(kind, ref, request.body)
                case "json":
                    raw = await self._transport.patch(kind, ref, request.body, JSON_PATCH)
                case "free":
                    raw = await self._free(ref, request.body)
                case "delete":
                    await self._delete(ref, request.body)
                    return
            self._stores[kind.name].store(raw)
            write.answer(raw)

    async def _free(self, ref: Ref, preconditions: JsonValue) -> bytes:
        """Write the object back without finalizers. Read first, because of a binding to a role that we may not bind
        the API server admits nothing else: to a field that the caches do not hold it would be another change."""
        given = preconditions if isinstance(preconditions, dict) else {}
        whole = msgspec.json.decode(await self._transport.get(KINDS[ref.kind], ref))
        if whole["metadata"]["uid"] != given.get("uid"):
            raise Conflict(409, "Conflict", "another object by now", "PUT", str(ref))
        whole["metadata"]["finalizers"] = []
        return await self._transport.replace(KINDS[ref.kind], ref, whole)

    async def _delete(self, ref: Ref, preconditions: JsonValue) -> None:
        given = preconditions if isinstance(preconditions, dict) else {}
        uid, version = str(given.get("uid", "")), str(given.get("resourceVersion", ""))
        try:
            raw = await self._transport.delete(KINDS[ref.kind], ref, uid=uid, resource_version=version)
        except NotFound:
            self._stores[ref.kind].forget(ref, uid)
            return
        answer = msgspec.json.decode(raw, type=_Answer)
        if ref.kind == kinds.NAMESPACE.name and answer.kind == ref.kind:
            self._stores[ref.kind].store(raw)  # it goes in its own time, with all that is in it
        elif answer.metadata.finalizers:
            self._stores[ref.kind].store(raw)
            raise Conflict(409, "Held", "a finalizer was put on it meanwhile, and holds it", "DELETE", str(ref))
        else:
            self._stores[ref.kind].forget(ref, uid)


def _steps(findings: Iterable[Finding]) -> list[list[Finding]]:
    """The order of a pass: (0) namespaces, (1) what closes, (2) the rest, (3) contents given up, (4) namespaces
    given up: their mark goes last, because it is what finds the contents."""
    steps: list[list[Finding]] = [[], [], [], [], []]
    for finding in findings:
        steps[_step(finding)].append(finding)
    return [step for step in steps if step]


def _step(finding: Finding) -> int:
    is_namespace = finding.ref.kind == kinds.NAMESPACE.name
    if finding.action == "Release":
        return 4 if is_namespace else 3
    if is_namespace:
        return 0
    return 1 if finding.desired is not None and finding.desired.closing else 2


def _place(ref: Ref) -> str:
    return ref.name if ref.kind == kinds.NAMESPACE.name else ref.namespace
