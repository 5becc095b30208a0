"""Kubernetes Events: deduplicated, bounded in memory and in rate, never in the way of healing.

A SecureTenant is cluster-scoped, so its Events stand in the namespace `default` (the API server allows no other);
what happened to an object in a namespace may be told there as well. One Event object stands for a key (whose account,
reason, control, object, namespace): repeats raise its `count` and `lastTimestamp`, at most once per `INTERVAL`, with
what came in between merged. A token bucket per account (a tenant), as in client-go's event correlator, keeps a tenant
that somebody attacks from flooding the API server, and a bound on the keys per account keeps it from pushing out the
others' Events. What is told of a rollout trails behind: after all else, at `PACE` a second for all, `PACE_BESIDE` while
there is work to do, and never out of the last of an account's tokens. Metrics hold the true counts; an Event that is
lost here is only logged.
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

NAMESPACE: Final = "default"  # of Events about what is in no namespace
COMPONENT: Final = "securetenant"

INTERVAL: Final = 60.0  # seconds between two writes of one Event object
BURST: Final = 25.0  # writes of one tenant at once (client-go's figure)
REFILL: Final = 30.0  # seconds for one more write (client-go: 300, where every object has a bucket of its own)
KEYS_PER_ACCOUNT: Final = 64
KEYS: Final = 4096  # of all accounts; about a kilobyte each
PACE: Final = 20.0  # Events a second of what trails
PACE_BESIDE: Final = 2.0  # the same while there is work: of the writes of a start with 1,000 tenants, 0.3 %
RESERVE: Final = 10.0  # of an account's tokens, which what trails leaves to what is urgent
ATTEMPTS: Final = 3
# The API server drops an Event an hour (--event-ttl) after its last write: an older one is not patched but made anew.
LIFETIME: Final = 50 * 60.0
MESSAGE_LIMIT: Final = 1024  # of core/v1 Events

EventType = Literal["Normal", "Warning"]
Send = Callable[[str, str, dict[str, Any]], Awaitable[None]]

_NOT_IN_LABELS: Final = re.compile(r"[^a-z0-9]+")

_log = structlog.get_logger("securetenant.events")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about: any object. The Event stands in its namespace; if it has none, in `default`."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def path(self) -> str:
        """Where its Events are made."""
        return f"/api/v1/namespaces/{self.namespace or NAMESPACE}/events"


def tenant_subject(name: str, uid: str) -> Subject:
    """The SecureTenant itself."""
    return Subject(names.API_VERSION, names.KIND, "", name, uid)


class Undeliverable(Exception):
    """Raised by `send` where trying again is of no use: the Event's namespace is gone."""


_Key = tuple[str, str, str, str]  # reason, control, object, namespace


@dataclass(slots=True)
class _Entry:
    """One Event object: what it will say, and what of that is not written yet. `trails`: it is not urgent."""

    about: Subject
    trails: bool
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
class _Bucket:
    size: float
    refill: float  # seconds for one more token
    refilled: float
    tokens: float = 0.0

    def wait(self, now: float, reserve: float = 0.0) -> float:
        """Seconds until there is a token beside the reserve; 0: there is one now."""
        self.tokens = min(self.size, self.tokens + max(0.0, now - self.refilled) / self.refill)
        self.refilled = now
        # What rounding leaves is a whole one.
        return 0.0 if self.tokens >= 1.0 + reserve - 1e-9 else (1.0 + reserve - self.tokens) * self.refill


@dataclass(slots=True)
class _Account:
    subject: Subject
    bucket: _Bucket
    entries: OrderedDict[_Key, _Entry] = field(default_factory=OrderedDict)  # least recently told first


class Events:
    """What is to be told as Kubernetes Events.

    `send(method, path, body)` writes: POST with an Event, PATCH with a JSON merge patch; it raises if the write failed.
    `identity` is this instance, `clock` gives seconds since the epoch; `interval`, `burst`, `pace`: as the constants.
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
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # by uid, least recently told first
        self._due: list[tuple[float, int, str, _Key]] = []  # a heap: when, order of arrival, uid, key
        self._trailing: deque[tuple[float, str, _Key]] = deque()  # what is due, but not urgent
        self._pace = _Bucket(pace, 1.0 / pace, clock(), pace)
        self._keys = 0
        self._sequence = 0
        self._stamp = 0
        self._is_busy: Callable[[], bool] = lambda: False
        self._wake = asyncio.Event()
        self._complained = -interval
        self.dropped = 0  # occurrences that no Event will tell

    def give_way(self, is_busy: Callable[[], bool]) -> None:
        """Ask before each Event that trails whether there is work that it would be in the way of."""
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
        """Tell that something happened. Returns at once; the message of the latest occurrence is the one shown.

        `account`: whose rate it counts against, a SecureTenant as a rule; and what the Event is about, unless `about`
        names something else. `object_` names the object it happened to, such as
        "NetworkPolicy/payments-prod/securetenant-default-deny". `trails`: it need not be told at once.
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
        if about.uid != entry.about.uid:  # an object of the same name: its Events are not the old one's
            entry.about, entry.name = about, ""
        entry.type, entry.message, entry.last = type_, message, now
        entry.count += 1
        entry.unwritten += 1
        if entry.unwritten == 1:
            due = now if entry.written is None else max(now, entry.written + self._interval)
            self._schedule(due, account.uid, key, entry)
        self._bound(kept)

    async def run(self) -> None:
        """Write what is due, for ever: the one task that sends. Cancel it to stop; `flush` then writes the rest."""
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
        """Write what is due now and what the rates allow. Failures are logged, never raised."""
        now = self._clock()
        while (found := self._next(now)) is not None:
            await self._write(*found, now)

    def _next(self, now: float) -> "tuple[_Account, _Key, _Entry] | None":
        """What is to be written next: what is urgent, then what trails, so far as its pace and the accounts' allow."""
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
        """Seconds until one that trails may be written."""
        self._pace.refill = 1.0 / (PACE_BESIDE if self._is_busy() else self._per_second)
        return self._pace.wait(now)

    def _may_write(self, account: _Account, key: _Key, entry: _Entry, now: float, reserve: float) -> bool:
        """Take a token of the account's, or come back when there is one."""
        if wait := account.bucket.wait(now, reserve):
            self._schedule(now + wait, account.subject.uid, key, entry)
            return False
        account.bucket.tokens -= 1.0
        return True

    async def _write(self, account: _Account, key: _Key, entry: _Entry, now: float) -> None:
        told = entry.unwritten
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
        # Whatever the transport raises: telling must never stop what is told of.
        except Exception as error:  # noqa: BLE001
            self._failed(account, key, entry, now, error)
            return
        entry.attempts, entry.written = 0, now
        entry.unwritten -= told
        if entry.unwritten:
            self._schedule(now + self._interval, account.subject.uid, key, entry)

    def _failed(self, account: _Account, key: _Key, entry: _Entry, now: float, error: Exception) -> None:
        """Try again at once as a new object if there was an old one (it may be gone), else after a while."""
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
        if len(self._due) > 2 * KEYS:  # mostly of keys that are forgotten by now
            self._due = [due for due in self._due if (found := self._find(*due[2:])[1]) and found.due == due[0]]
            heapq.heapify(self._due)
        self._wake.set()

    def _trail(self, when: float, uid: str, key: _Key) -> None:
        self._trailing.append((when, uid, key))
        if len(self._trailing) > 2 * KEYS:  # as with what is due
            alive = (due for due in self._trailing if (found := self._find(*due[1:])[1]) and found.due == due[0])
            self._trailing = deque(alive)

    def _find(self, uid: str, key: _Key) -> tuple[_Account | None, _Entry | None]:
        account = self._accounts.get(uid)
        return account, account.entries.get(key) if account is not None else None

    def _bound(self, account: _Account) -> None:
        """Forget the oldest keys, of this account first, then of the one least recently told of."""
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
        """Give up what is unwritten, and say so once in a while."""
        self.dropped += entry.unwritten
        now = self._clock()
        if entry.unwritten and now - self._complained >= self._interval:
            self._complained = now
            _log.warning(
                "events dropped", tenant=account.subject.name, reason=key[0], object=key[2], dropped_total=self.dropped
            )
        entry.unwritten = 0

    def _name(self, subject: Subject, now: float) -> str:
        """A name that no Event has, a restart included: the time in nanoseconds, never twice the same."""
        self._stamp = max(self._stamp + 1, int(now * 1e9))
        # What it is about may have a name that no Event can have, such as `system:node`.
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
    """What a repeat changes."""
    return {
        "type": entry.type,
        "message": entry.message[:MESSAGE_LIMIT],
        "count": entry.count,
        "lastTimestamp": _time(entry.last),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
