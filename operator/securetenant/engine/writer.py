"""Sends the writes of a pass: closing ones before opening ones, in parallel where the order does not matter.

Every answer is compared with what was sent: admission (a webhook, a MutatingAdmissionPolicy) may have changed it, and
the API server answers 200 or 201 all the same.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from securetenant.drift import judge, writes
from securetenant.drift.judge import Finding
from securetenant.drift.writes import Request
from securetenant.engine.inflight import Write, WritesInFlight
from securetenant.kube.errors import malformed
from securetenant.kube.transport import JSON_PATCH, AlreadyExists, ApiError, Conflict, Forbidden, NotFound, Transport
from securetenant.kube.wire import decode
from securetenant.model import kinds
from securetenant.model.kinds import Kind
from securetenant.model.objects import JsonValue, Observed, Ref


class Store(Protocol):
    """A cache that stores the answers to our own writes."""

    def store(self, observed: Observed) -> None: ...

    def forget(self, ref: Ref, uid: str) -> None: ...


# Pauses (seconds) before a write is sent again that the policy on our own account refused: until the API server's cache
# has the mark that was put on the namespace just now.
_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
NO_VALUES: Final[Mapping[str, str]] = {}


class _Meta(msgspec.Struct):
    finalizers: list[str] = []


class _Answer(msgspec.Struct):
    """The answer to a DELETE: a Status, or the object, whether it is deleted (a ResourceQuota) or Terminating."""

    kind: str = ""
    metadata: _Meta = msgspec.field(default_factory=_Meta)


@dataclass(frozen=True, slots=True)
class Altered:
    """A write that admission changed: the object as it was stored, and the path of the first field that differs from
    what was sent."""

    finding: Finding
    observed: Observed
    path: str


@dataclass(slots=True)
class Outcome:
    """What became of the findings of a pass: carried out, failed and why, or altered by admission. `answers`: the
    objects as the writes returned them."""

    done: list[Finding] = field(default_factory=list)
    failed: list[tuple[Finding, ApiError]] = field(default_factory=list)
    altered: list[Altered] = field(default_factory=list)
    answers: dict[Ref, Observed] = field(default_factory=dict)

    @property
    def created(self) -> Iterator[tuple[Finding, Observed]]:
        """The created objects as the API server answered them, altered or not."""
        findings = (*self.done, *(one.finding for one in self.altered))
        return ((f, self.answers[f.ref]) for f in findings if f.action in ("Create", "Recreate"))


class Writer:
    """One call of `undo` writes for one tenant; calls for several tenants run concurrently. The transport bounds the
    requests in flight."""

    def __init__(self, transport: Transport, stores: Mapping[Kind, Store], in_flight: WritesInFlight) -> None:
        self._transport = transport
        self._stores = stores
        self._in_flight = in_flight

    async def undo(
        self,
        findings: Sequence[Finding],
        tenant: str,
        salt: str,
        values: Mapping[str, str] = NO_VALUES,
        entering: Collection[str] = (),
    ) -> Outcome:
        """Carry out the findings' actions in the order of `_steps`.

        A failure stops only what depends on it: the contents of a namespace depend on the namespace, its release on
        theirs. Where somebody else created a namespace first, everything that opens waits for the next pass: it was
        planned as if that namespace were the tenant's. `values`: what each namespace is created with. `entering`: the
        namespaces that are not the tenant's yet: where one cannot be created or adopted, nothing is written in it.
        """
        outcome = Outcome()
        for step in _steps(findings):
            # That somebody else's object could not be deleted holds up nothing.
            blocked = {f.ref.place for f, _ in outcome.failed if f.action != "Delete" or f.rollout}
            missing = {f.ref.name for f, _ in outcome.failed if f.ref.kind == kinds.NAMESPACE} & set(entering)
            # An object that admission altered may not open what the superseded one opens.
            doubtful = blocked | {item.finding.ref.place for item in outcome.altered}
            todo = [
                finding
                for finding in step
                if finding.ref.place not in missing
                and (
                    not _depends(finding)
                    or finding.ref.place not in (doubtful if finding.superseded == "Wholly" else blocked)
                )
            ]
            if any(_is_taken(finding, error) for finding, error in outcome.failed):
                todo = [finding for finding in todo if finding.desired is None or finding.desired.closing]
            results = await asyncio.gather(*(self._undo(finding, tenant, salt, values) for finding in todo))
            for finding, result in zip(todo, results, strict=True):
                if isinstance(result, ApiError):
                    outcome.failed.append((finding, result))
                    continue
                if result is not None:
                    outcome.answers[finding.ref] = result
                if result is not None and (path := _alteration(finding, result, tenant)):
                    outcome.altered.append(Altered(finding, result, path))
                else:
                    outcome.done.append(finding)
        return outcome

    async def _undo(
        self, finding: Finding, tenant: str, salt: str, values: Mapping[str, str]
    ) -> Observed | ApiError | None:
        """The object as the last write returned it (None after a deletion), or the error."""
        answer = None
        try:
            for request in writes.of(finding, tenant, salt, values.get(finding.ref.name, "")):
                answer = await self.send(request)
        except ApiError as error:
            return error
        return answer

    async def send(self, request: Request) -> Observed | None:
        """Send one write; store its answer in the cache and return it. A deletion returns None, and deleting what does
        not exist is no error. Raises ApiError."""
        for pause in _PAUSES:
            try:
                return await self._send(request)
            except Forbidden as error:
                if not error.is_restrained:
                    raise
            await asyncio.sleep(pause)
        return await self._send(request)

    async def _send(self, request: Request) -> Observed | None:
        kind, ref = request.ref.kind, request.ref
        with self._in_flight.writing(ref) as write:
            match request.verb:
                case "create":
                    raw = await self._transport.create(kind, ref.namespace, request.body)
                case "replace":
                    raw = await self._transport.replace(kind, ref, request.body)
                case "merge":
                    raw = await self._transport.patch(kind, ref, request.body)
                case "json":
                    raw = await self._transport.patch(kind, ref, request.body, JSON_PATCH)
                case "status":
                    raw = await self._transport.patch(kind, ref, request.body, JSON_PATCH, "status")
                case "free":
                    raw = await self._free(ref, request.body)
                case "delete":
                    await self._delete(ref, request.body)
                    return None
            return self._store(ref, raw, write)

    def _store(self, ref: Ref, raw: bytes, write: Write | None = None) -> Observed:
        observed = _decoded(ref, raw)
        self._stores[ref.kind].store(observed)
        if write is not None:
            write.answer(int(observed.resource_version))
        return observed

    async def _free(self, ref: Ref, preconditions: JsonValue) -> bytes:
        """Write the object back without finalizers. It is read first, because in a binding to a role that we may not
        bind the API server admits no other change, and losing a field that the caches do not hold would be one."""
        given = preconditions if isinstance(preconditions, dict) else {}
        raw = await self._transport.get(ref.kind, ref)
        if _decoded(ref, raw).uid != given.get("uid"):
            raise Conflict(409, "Conflict", "replaced meanwhile by another object of this name", "PUT", str(ref))
        whole = msgspec.json.decode(raw)
        whole["metadata"]["finalizers"] = []
        return await self._transport.replace(ref.kind, ref, whole)

    async def _delete(self, ref: Ref, preconditions: JsonValue) -> None:
        given = preconditions if isinstance(preconditions, dict) else {}
        uid, version = str(given.get("uid", "")), str(given.get("resourceVersion", ""))
        try:
            raw = await self._transport.delete(ref.kind, ref, uid=uid, resource_version=version)
        except NotFound as error:
            if error.is_uncertain:
                raise
            await self._confirm_gone(ref, uid)
            self._stores[ref.kind].forget(ref, uid)
            return
        answer = msgspec.json.decode(raw, type=_Answer)
        if (ref.kind is kinds.NAMESPACE or ref.kind.owned) and answer.kind == ref.kind.name:
            # Terminating until its contents are deleted, or until those who write it too let it go.
            self._store(ref, raw)
        elif answer.metadata.finalizers:
            self._store(ref, raw)
            raise Conflict(409, "Held", "held by a finalizer that was added meanwhile", "DELETE", str(ref))
        else:
            self._stores[ref.kind].forget(ref, uid)

    async def _confirm_gone(self, ref: Ref, uid: str) -> None:
        """Check with a GET that an object is deleted: one NotFound may be a proxy's. Raises Conflict if it exists."""
        try:
            raw = await self._transport.get(ref.kind, ref)
        except NotFound as error:
            if error.is_uncertain:
                raise
            return
        observed = self._store(ref, raw)
        if observed.uid == uid:
            raise Conflict(409, "Conflict", "DELETE answered NotFound, but the object exists", "DELETE", str(ref))


def _decoded(ref: Ref, raw: bytes) -> Observed:
    """The object in an answer. Raises Malformed if it is not this very object."""
    try:
        observed = decode(ref.kind, raw)
    except msgspec.MsgspecError as error:
        raise malformed(raw, str(ref), "WRITE", str(ref)) from error
    if observed.ref != ref:
        raise malformed(raw, str(ref), "WRITE", str(ref))
    return observed


def _alteration(finding: Finding, answer: Observed, tenant: str) -> str:
    """The path of the first field in which the answer differs from what was sent; "" if none does."""
    if finding.desired is not None:
        return judge.difference(finding.desired, answer, tenant, finding.record)
    return "labels" if finding.action == "Release" and answer.tenant == tenant else ""


def _steps(findings: Iterable[Finding]) -> list[list[Finding]]:
    """The order of the writes: (0) what namespaces need before they exist, (1) namespaces, (2) closing objects, (3)
    deletions, (4) the rest, (5) superseded objects, (6) released contents, (7) released namespaces: their mark goes
    last, because it is needed to find the contents.

    An edit closes what the spec no longer opens (step 3) before it opens anything else. A flow that is declared before
    and after an edit must not be interrupted when another object opens it now, so then the old object is deleted after
    the new one was written.
    """
    steps: list[list[Finding]] = [[] for _ in range(8)]
    for finding in findings:
        steps[_step(finding)].append(finding)
    return [step for step in steps if step]


def _step(finding: Finding) -> int:
    is_namespace = finding.ref.kind is kinds.NAMESPACE
    if finding.action == "Release":
        return 7 if is_namespace else 6
    if is_namespace:
        return 1
    if finding.superseded:
        return 5
    return finding.desired.step if finding.desired is not None else 3


def _is_taken(finding: Finding, error: ApiError) -> bool:
    """Whether a namespace that was to be created existed already."""
    return finding.ref.kind is kinds.NAMESPACE and isinstance(error, AlreadyExists)


def _depends(finding: Finding) -> bool:
    """Whether the finding is skipped after a failure in its namespace. Nothing that closes is: a policy that was
    deleted or widened is corrected even where a label of the namespace can never be written.

    A deletion takes access away, so no failed write may prevent it: the rule that a spec removed, and a foreign
    policy, are deleted even where the write of another object keeps failing. The one exception opens nothing that is
    not declared: a wholly superseded object is kept until the objects that open the same are written. One that is
    superseded in part also opens what the spec closed: it is deleted after those objects, for the sake of the rest,
    but whatever became of them.
    """
    if finding.action == "Delete":
        return finding.superseded == "Wholly"
    if not finding.ref.place or finding.action == "Release":
        return bool(finding.ref.place)
    # Whether a rollout narrows or widens access is unknown.
    want = finding.desired
    return not judge.closes(finding) or (finding.rollout and want is not None and not want.closing)
