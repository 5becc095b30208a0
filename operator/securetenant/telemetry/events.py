"""Kubernetes Events about a SecureTenant: deduplicated, bounded in memory and in rate, never in the way of healing.

A SecureTenant is cluster-scoped, so its Events stand in the namespace `default` (the API server allows no other).
One Event object stands for a key (tenant, reason, control, object): repeats raise its `count` and `lastTimestamp`,
at most once per `INTERVAL`, with what came in between merged. A token bucket per tenant, as in client-go's event
correlator, keeps a tenant that somebody attacks from flooding the API server, and a bound on the keys per tenant keeps
it from pushing out the others' Events. Metrics hold the true counts; an Event that is lost here is only logged.
"""

import asyncio
import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from securetenant.api import names

NAMESPACE: Final = "default"
PATH: Final = f"/api/v1/namespaces/{NAMESPACE}/events"
COMPONENT: Final = "securetenant"

INTERVAL: Final = 60.0  # seconds between two writes of one Event object
BURST: Final = 25.0  # writes of one tenant at once (client-go's figure)
REFILL: Final = 30.0  # seconds for one more write (client-go: 300, where every object has a bucket of its own)
KEYS_PER_TENANT: Final = 64
KEYS: Final = 4096  # of all tenants; about a kilobyte each
ATTEMPTS: Final = 3
# The API server drops an Event an hour (--event-ttl) after its last write: an older one is not patched but made anew.
LIFETIME: Final = 50 * 60.0
MESSAGE_LIMIT: Final = 1024  # of core/v1 Events

EventType = Literal["Normal", "Warning"]
Send = Callable[[str, str, dict[str, Any]], Awaitable[None]]

_log = structlog.get_logger("securetenant.events")


@dataclass(frozen=True, slots=True)
class Subject:
    """The SecureTenant that an Event is about."""

    name: str
    uid: str


_Key = tuple[str, str, str]  # reason, control, object


@dataclass(slots=True)
class _Entry:
    """One Event object: what it will say, and what of that is not written yet."""

    type: EventType
    message: str
    first: float
    last: float
    count: int = 0
    unwritten: int = 0
    name: str = ""  # of the object in the cluster; empty: to be created
    written: float | None = None
    due: float = 0.0  # when to write what is unwritten
    attempts: int = 0


@dataclass(slots=True)
class _Tenant:
    subject: Subject
    tokens: float
    refilled: float
    entries: OrderedDict[_Key, _Entry] = field(default_factory=OrderedDict)  # least recently told first


class Events:
    """What is to be told as Kubernetes Events.

    `send(method, path, body)` writes: POST with an Event, PATCH with a JSON merge patch; it raises if the write failed.
    `identity` is this instance, `clock` gives seconds since the epoch.
    """

    def __init__(self, send: Send, *, identity: str, clock: Callable[[], float]) -> None:
        self._send = send
        self._identity = identity
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()  # by uid, least recently told first
        self._due: list[tuple[float, int, str, _Key]] = []  # a heap: when, order of arrival, uid, key
        self._keys = 0
        self._sequence = 0
        self._stamp = 0
        self._wake = asyncio.Event()
        self._complained = -INTERVAL
        self.dropped = 0  # occurrences that no Event will tell

    def emit(
        self, subject: Subject, type_: EventType, reason: str, message: str, *, control: str = "", object_: str = ""
    ) -> None:
        """Tell that something happened. Returns at once; the message of the latest occurrence is the one shown.

        `object_` names the object it happened to, such as "NetworkPolicy payments-prod/securetenant-default-deny".
        """
        now = self._clock()
        tenant = self._tenants.get(subject.uid)
        if tenant is None:
            tenant = self._tenants[subject.uid] = _Tenant(subject, BURST, now)
        self._tenants.move_to_end(subject.uid)
        key = (reason, control, object_)
        entry = tenant.entries.get(key)
        if entry is None:
            entry = tenant.entries[key] = _Entry(type_, message, now, now)
            self._keys += 1
        tenant.entries.move_to_end(key)
        entry.type, entry.message, entry.last = type_, message, now
        entry.count += 1
        entry.unwritten += 1
        if entry.unwritten == 1:
            due = now if entry.written is None else max(now, entry.written + INTERVAL)
            self._schedule(due, subject.uid, key, entry)
        self._bound(tenant)

    async def run(self) -> None:
        """Write what is due, for ever: the one task that sends. Cancel it to stop; `flush` then writes the rest."""
        while True:
            self._wake.clear()
            await self.flush()
            timeout = max(0.0, self._due[0][0] - self._clock()) if self._due else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()

    async def flush(self) -> None:
        """Write what is due now and what the tenants' rates allow. Failures are logged, never raised."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            when, _, uid, key = heapq.heappop(self._due)
            tenant, entry = self._find(uid, key)
            if tenant is None or entry is None or not entry.unwritten or entry.due != when:
                continue
            wait = _take(tenant, now)
            if wait > 0:
                self._schedule(now + wait, uid, key, entry)
                continue
            await self._write(tenant, key, entry, now)

    async def _write(self, tenant: _Tenant, key: _Key, entry: _Entry, now: float) -> None:
        told = entry.unwritten
        if entry.written is not None and now - entry.written > LIFETIME:
            entry.name = ""
        try:
            if entry.name:
                await self._send("PATCH", f"{PATH}/{entry.name}", _repeat(entry))
            else:
                name = self._name(tenant.subject, now)
                await self._send("POST", PATH, _event(name, tenant.subject, key, entry, self._identity))
                entry.name = name
        # Whatever the transport raises: telling must never stop what is told of.
        except Exception as error:  # noqa: BLE001
            self._failed(tenant, key, entry, now, error)
            return
        entry.attempts, entry.written = 0, now
        entry.unwritten -= told
        if entry.unwritten:
            self._schedule(now + INTERVAL, tenant.subject.uid, key, entry)

    def _failed(self, tenant: _Tenant, key: _Key, entry: _Entry, now: float, error: Exception) -> None:
        """Try again at once as a new object if there was an old one (it may be gone), else after a while."""
        _log.warning("event not written", tenant=tenant.subject.name, reason=key[0], object=key[2], cause=str(error))
        entry.attempts += 1
        had_name, entry.name = bool(entry.name), ""
        if entry.attempts < ATTEMPTS:
            self._schedule(now if had_name else now + INTERVAL, tenant.subject.uid, key, entry)
            return
        self._drop(tenant, key, entry)
        entry.attempts, entry.written = 0, now

    def _schedule(self, when: float, uid: str, key: _Key, entry: _Entry) -> None:
        entry.due = when
        self._sequence += 1
        heapq.heappush(self._due, (when, self._sequence, uid, key))
        if len(self._due) > 2 * KEYS:  # mostly of keys that are forgotten by now
            self._due = [due for due in self._due if (found := self._find(*due[2:])[1]) and found.due == due[0]]
            heapq.heapify(self._due)
        self._wake.set()

    def _find(self, uid: str, key: _Key) -> tuple[_Tenant | None, _Entry | None]:
        tenant = self._tenants.get(uid)
        return tenant, tenant.entries.get(key) if tenant is not None else None

    def _bound(self, tenant: _Tenant) -> None:
        """Forget the oldest keys, of this tenant first, then of the one least recently told of."""
        while len(tenant.entries) > KEYS_PER_TENANT:
            self._evict(tenant)
        while self._keys > KEYS:
            oldest = next(iter(self._tenants.values()))
            self._evict(oldest)
            if not oldest.entries:
                del self._tenants[oldest.subject.uid]

    def _evict(self, tenant: _Tenant) -> None:
        key, entry = tenant.entries.popitem(last=False)
        self._keys -= 1
        self._drop(tenant, key, entry)

    def _drop(self, tenant: _Tenant, key: _Key, entry: _Entry) -> None:
        """Give up what is unwritten, and say so once in a while."""
        self.dropped += entry.unwritten
        now = self._clock()
        if entry.unwritten and now - self._complained >= INTERVAL:
            self._complained = now
            _log.warning(
                "events dropped", tenant=tenant.subject.name, reason=key[0], object=key[2], dropped_total=self.dropped
            )
        entry.unwritten = 0

    def _name(self, subject: Subject, now: float) -> str:
        """A name that no Event has, a restart included: the time in nanoseconds, never twice the same."""
        self._stamp = max(self._stamp + 1, int(now * 1e9))
        return f"{subject.name}.{self._stamp:x}"


def _take(tenant: _Tenant, now: float) -> float:
    """Take a token of the tenant's bucket: 0, or the seconds until there is one."""
    tenant.tokens = min(BURST, tenant.tokens + max(0.0, now - tenant.refilled) / REFILL)
    tenant.refilled = now
    if tenant.tokens < 1.0 - 1e-9:  # what rounding leaves is a whole one
        return (1.0 - tenant.tokens) * REFILL
    tenant.tokens -= 1.0
    return 0.0


def _event(name: str, subject: Subject, key: _Key, entry: _Entry, identity: str) -> dict[str, Any]:
    reason, control, _ = key
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TENANT: subject.name}
    if control:
        labels[names.LABEL_CONTROL] = control
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": subject.name,
            "uid": subject.uid,
        },
        "reason": reason,
        "firstTimestamp": _time(entry.first),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": identity,
        **_repeat(entry),
    }


def _repeat(entry: _Entry) -> dict[str, Any]:
    """What a repeat changes."""
    return {
        "type": entry.type,
        "message": entry.message[:MESSAGE_LIMIT],
        "count": entry.count,
        "lastTimestamp": _time(entry.last),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
