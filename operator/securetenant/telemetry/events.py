"""Kubernetes Events: deduplicated, bounded in memory and in rate, never delaying a correction.

A SecureTenant is cluster-scoped, so its Events are in the namespace `default` (the API server allows no other); what
happened to an object in a namespace may get an Event there as well. There is one Event object per key (account, reason,
control, object, namespace): repeats raise its `count` and `lastTimestamp`, at most once per `INTERVAL`, with the
occurrences in between merged. A token bucket per account (a tenant), as in client-go's event correlator, keeps a tenant
under attack from flooding the API server, and a bound on the keys per account keeps it from displacing the others'
Events. Events about a rollout trail behind: they are sent after all others, `PACE` a second for all tenants,
`PACE_BESIDE` while there is other work, and never with the last tokens of an account. Metrics have the exact counts; an
Event that is lost here is only logged.
"""

import asyncio
import contextlib
import heapq
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from securetenant.model import names

NAMESPACE: Final = "default"  # of Events about cluster-scoped objects
COMPONENT: Final = "securetenant"

INTERVAL: Final = 60.0  # seconds between two writes of one Event object
BURST: Final = 25.0  # writes for one tenant at once (client-go's figure)
REFILL: Final = 30.0  # seconds for one more write (client-go: 300, where every object has a bucket of its own)
KEYS_PER_ACCOUNT: Final = 64
KEYS: Final = 4096  # of all accounts; about a kilobyte each
PACE: Final = 20.0  # trailing Events a second
PACE_BESIDE: Final = 2.0  # the same while there is work: 0.3 % of the writes of a start with 1,000 tenants
RESERVE: Final = 10.0  # tokens of an account that trailing Events leave to urgent ones
ATTEMPTS: Final = 3
# The API server deletes an Event an hour (--event-ttl) after its last write: an older one is recreated, not patched.
LIFETIME: Final = 50 * 60.0
MESSAGE_LIMIT: Final = 1024  # of core/v1 Events

EventType = Literal["Normal", "Warning"]
Send = Callable[[str, str, dict[str, Any]], Awaitable[None]]

_NOT_IN_LABELS: Final = re.compile(r"[^a-z0-9]+")

_log = structlog.get_logger("securetenant.events")


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about. The Event is in the object's namespace, or in `default` if it has none."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def path(self) -> str:
        """The URL path under which its Events are created."""
        return f"/api/v1/namespaces/{self.namespace or NAMESPACE}/events"


def tenant_subject(name: str, uid: str) -> Subject:
    """The SecureTenant itself, as the subject of Events."""
    return Subject(names.API_VERSION, names.KIND, "", name, uid)


class Undeliverable(Exception):
    """Raised by `send` where a retry is useless: the Event's namespace does not exist any more."""


_Key = tuple[str, str, str, str]  # reason, control, object, namespace


@dataclass(slots=True)
class _Entry:
    """One Event object: its content, and how much of that is not written yet. `trails`: it is not urgent."""

    about: Subject
    trails: bool
    type: EventType
    message: str
    first: float
    last: float
    count: int = 0
    unwritten: int = 0
    name: str = ""  # of the Event in the cluster; empty: to be created
    written: float | None = None
    due: float = 0.0  # when to write it
    attempts: int = 0


@dataclass(slots=True)
class _Bucket:
    size: float
    refill: float  # seconds for one more token
    refilled: float
    tokens: float = 0.0

    def wait(self, now: float, reserve: float = 0.0) -> float:
        """Seconds until there is a token in addition to the reserve; 0: there is one now."""
        self.tokens = min(self.size, self.tokens + max(0.0, now - self.refilled) / self.refill)
        self.refilled = now
        # The tolerance is for rounding errors.
        return 0.0 if self.tokens >= 1.0 + reserve - 1e-9 else (1.0 + reserve - self.tokens) * self.refill


@dataclass(slots=True)
class _Account:
    subject: Subject
    bucket: _Bucket
    entries: OrderedDict[_Key, _Entry] = field(default_factory=OrderedDict)  # least recently used first


class Events:
    """Emits Kubernetes Events.

    `send(method, path, body)` writes: POST with an Event, PATCH with a JSON merge patch; it raises if the write failed.
    `identity`: this instance; `clock`: seconds since the epoch; `interval`, `burst`, `pace`: as the constants.
    """

    def __init__(
        self,
        send: Send,
        *,
        identity: str,
        clock: Callable[[], float],
        interval: float = INTERVAL,
        burst: float = BURST,
        pace: float = PACE,
    ) -> None:
        self._send = send
        self._identity = identity
        self._clock = clock
        self._interval = interval
        self._burst = burst
        self._per_second = pace
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # by UID, least recently used first
        self._due: list[tuple[float, int, str, _Key]] = []  # a heap: when, order of arrival, uid, key
        self._trailing: deque[tuple[float, str, _Key]] = deque()  # due, but not urgent
        self._pace = _Bucket(pace, 1.0 / pace, clock(), pace)
        self._keys = 0
        self._sequence = 0
        self._stamp = 0
        self._is_busy: Callable[[], bool] = lambda: False
        self._wake = asyncio.Event()
        self._complained = -interval
        self.dropped = 0  # occurrences that no Event will report

    def give_way(self, is_busy: Callable[[], bool]) -> None:
        """Set the function that is asked, before each trailing Event, whether there is other work to do first."""
        self._is_busy = is_busy

    def emit(
        self,
        account: Subject,
        type_: EventType,
        reason: str,
        message: str,
        *,
        control: str = "",
        object_: str = "",
        about: Subject | None = None,
        trails: bool = False,
    ) -> None:
        """Queue an Event. Returns at once; the message of the latest occurrence is the one shown.

        `account`: whose rate limit it counts against, usually a SecureTenant; and what the Event is about, unless
        `about` names something else. `object_`: the object it happened to, such as
        "NetworkPolicy/payments-prod/securetenant-default-deny". `trails`: it is not urgent.
        """
        now = self._clock()
        kept = self._accounts.get(account.uid)
        if kept is None:
            kept = self._accounts[account.uid] = _Account(account, _Bucket(self._burst, REFILL, now, self._burst))
        self._accounts.move_to_end(account.uid)
        about = account if about is None else about
        key = (reason, control, object_, about.namespace)
        entry = kept.entries.get(key)
        if entry is None:
            entry = kept.entries[key] = _Entry(about, trails, type_, message, now, now)
            self._keys += 1
        kept.entries.move_to_end(key)
        if about.uid != entry.about.uid:  # another object of the same name has its own Events
            entry.about, entry.name = about, ""
        entry.type, entry.message, entry.last = type_, message, now
        entry.count += 1
        entry.unwritten += 1
        if entry.unwritten == 1:
            due = now if entry.written is None else max(now, entry.written + self._interval)
            self._schedule(due, account.uid, key, entry)
        self._bound(kept)

    async def run(self) -> None:
        """Write what is due; the only task that sends. Cancel it to stop; `flush` then writes the rest."""
        while True:
            self._wake.clear()
            await self.flush()
            now = self._clock()
            waits = [max(0.0, self._due[0][0] - now)] if self._due else []
            waits += [self._paced(now)] if self._trailing else []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(waits, default=None)):
                    await self._wake.wait()

    async def flush(self) -> None:
        """Write what is due now, as far as the rates allow. Failures are logged, never raised."""
        now = self._clock()
        while (found := self._next(now)) is not None:
            await self._write(*found, now)

    def _next(self, now: float) -> "tuple[_Account, _Key, _Entry] | None":
        """What to write next: urgent Events first, then trailing ones, as far as the rates allow."""
        while self._due and self._due[0][0] <= now:
            when, _, uid, key = heapq.heappop(self._due)
            account, entry = self._find(uid, key)
            if account is None or entry is None or not entry.unwritten or entry.due != when:
                continue
            if entry.trails:
                self._trail(when, uid, key)
            elif self._may_write(account, key, entry, now, 0.0):
                return account, key, entry
        while self._trailing and not self._paced(now):
            when, uid, key = self._trailing.popleft()
            account, entry = self._find(uid, key)
            if account is None or entry is None or not entry.unwritten or entry.due != when:
                continue
            if self._may_write(account, key, entry, now, RESERVE):
                self._pace.tokens -= 1.0
                return account, key, entry
        return None

    def _paced(self, now: float) -> float:
        """Seconds until a trailing Event may be written."""
        self._pace.refill = 1.0 / (PACE_BESIDE if self._is_busy() else self._per_second)
        return self._pace.wait(now)

    def _may_write(self, account: _Account, key: _Key, entry: _Entry, now: float, reserve: float) -> bool:
        """Take a token of the account; if there is none, schedule the Event for when there is."""
        if wait := account.bucket.wait(now, reserve):
            self._schedule(now + wait, account.subject.uid, key, entry)
            return False
        account.bucket.tokens -= 1.0
        return True

    async def _write(self, account: _Account, key: _Key, entry: _Entry, now: float) -> None:
        sent = entry.unwritten
        if entry.written is not None and now - entry.written > LIFETIME:
            entry.name = ""
        try:
            path = entry.about.path
            if entry.name:
                await self._send("PATCH", f"{path}/{entry.name}", _repeat(entry))
            else:
                name = self._name(entry.about, now)
                await self._send("POST", path, _event(name, account.subject, key, entry, self._identity))
                entry.name = name
        except Undeliverable:
            entry.name, entry.unwritten = "", 0
            return
        # Whatever the transport raises: a failed Event must never stop the operator's work.
        except Exception as error:  # noqa: BLE001
            self._failed(account, key, entry, now, error)
            return
        entry.attempts, entry.written = 0, now
        entry.unwritten -= sent
        if entry.unwritten:
            self._schedule(now + self._interval, account.subject.uid, key, entry)

    def _failed(self, account: _Account, key: _Key, entry: _Entry, now: float, error: Exception) -> None:
        """Retry: at once as a new object if there was an old one (it may be deleted), otherwise after a while."""
        _log.warning("event not written", tenant=account.subject.name, reason=key[0], object=key[2], cause=str(error))
        entry.attempts += 1
        had_name, entry.name = bool(entry.name), ""
        if entry.attempts < ATTEMPTS:
            self._schedule(now if had_name else now + self._interval, account.subject.uid, key, entry)
            return
        self._drop(account, key, entry)
        entry.attempts, entry.written = 0, now

    def _schedule(self, when: float, uid: str, key: _Key, entry: _Entry) -> None:
        entry.due = when
        self._sequence += 1
        heapq.heappush(self._due, (when, self._sequence, uid, key))
        if len(self._due) > 2 * KEYS:  # mostly keys that are forgotten by now
            self._due = [due for due in self._due if (found := self._find(*due[2:])[1]) and found.due == due[0]]
            heapq.heapify(self._due)
        self._wake.set()

    def _trail(self, when: float, uid: str, key: _Key) -> None:
        self._trailing.append((when, uid, key))
        if len(self._trailing) > 2 * KEYS:  # as above
            alive = (due for due in self._trailing if (found := self._find(*due[1:])[1]) and found.due == due[0])
            self._trailing = deque(alive)

    def _find(self, uid: str, key: _Key) -> tuple[_Account | None, _Entry | None]:
        account = self._accounts.get(uid)
        return account, account.entries.get(key) if account is not None else None

    def _bound(self, account: _Account) -> None:
        """Forget the oldest keys, first of this account, then of the least recently used one."""
        while len(account.entries) > KEYS_PER_ACCOUNT:
            self._evict(account)
        while self._keys > KEYS:
            oldest = next(iter(self._accounts.values()))
            self._evict(oldest)
            if not oldest.entries:
                del self._accounts[oldest.subject.uid]

    def _evict(self, account: _Account) -> None:
        key, entry = account.entries.popitem(last=False)
        self._keys -= 1
        self._drop(account, key, entry)

    def _drop(self, account: _Account, key: _Key, entry: _Entry) -> None:
        """Drop the unwritten occurrences, and log that from time to time."""
        self.dropped += entry.unwritten
        now = self._clock()
        if entry.unwritten and now - self._complained >= self._interval:
            self._complained = now
            _log.warning(
                "events dropped", tenant=account.subject.name, reason=key[0], object=key[2], dropped_total=self.dropped
            )
        entry.unwritten = 0

    def _name(self, subject: Subject, now: float) -> str:
        """A name that no Event has, not even one from before a restart: with the time in nanoseconds, always new."""
        self._stamp = max(self._stamp + 1, int(now * 1e9))
        # The object's name may be invalid for an Event, such as `system:node`.
        return f"{_NOT_IN_LABELS.sub('-', subject.name.lower())[:200].strip('-') or COMPONENT}.{self._stamp:x}"


def _event(name: str, account: Subject, key: _Key, entry: _Entry, identity: str) -> dict[str, Any]:
    reason, control, _, _ = key
    about = entry.about
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    if account.kind == names.KIND:
        labels[names.LABEL_TENANT] = account.name
    if control:
        labels[names.LABEL_CONTROL] = control
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace or NAMESPACE, "labels": labels},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            **({"namespace": about.namespace} if about.namespace else {}),
            "name": about.name,
            **({"uid": about.uid} if about.uid else {}),
        },
        "reason": reason,
        "firstTimestamp": _time(entry.first),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": identity,
        **_repeat(entry),
    }


def _repeat(entry: _Entry) -> dict[str, Any]:
    """The patch for a repeated Event."""
    return {
        "type": entry.type,
        "message": entry.message[:MESSAGE_LIMIT],
        "count": entry.count,
        "lastTimestamp": _time(entry.last),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
