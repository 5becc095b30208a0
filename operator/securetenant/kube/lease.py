"""One active instance: election by a coordination.k8s.io Lease.

Why not `kubernetes.aio.leaderelection`: it compares the Lease's wall-clock times, so a clock that jumps makes two
leaders; its renewal has no time limit of its own, so with a hanging request a process still believes it leads; it does
not release on a clean stop; and it cannot be asked before a write. The semantics here are client-go's:

- A Lease is free when it names no holder, or when *we* have seen no change of it for its whole duration, by our own
  clock. The times in it are only informative.
- Every write of it carries the resourceVersion that was read: if two try, one gets a Conflict.
- The holder counts from when its last successful renewal was *sent*, and gives up `margin` before others may take over.
  It calls `check()` before each write, so that a process that was paused and resumed notices first.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NoReturn

import msgspec

from securetenant.kube import errors
from securetenant.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable, is_away
from securetenant.kube.reach import Rarely
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json, Ref

log = logging.getLogger(__name__)

RELEASED_SECONDS: Final = 1  # the duration written with a release, as client-go does
_MARGIN: Final = 0.2  # part of the duration: how long before its end a holder stops writing


def boottime() -> float:
    """Seconds since boot, including time in suspend (on Linux, CLOCK_MONOTONIC does not advance in suspend)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


class LeaseLost(Exception):
    """We are not, or not certainly, the active instance any more: write nothing more, and exit."""


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Lease(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)

    @property
    def holder(self) -> str:
        return self.spec.holder_identity or ""


class _LeaseEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode = msgspec.json.Decoder(_Lease).decode
_decode_event = msgspec.json.Decoder(_LeaseEvent).decode


class Elector:
    """Our candidacy for one Lease.

    `identity` must be unique per process (pod name and a random part). In seconds: `duration`: how long others wait
    before they take over; `renew`: between our renewals; `retry`: after a failure; `margin`: how long before the end of
    `duration` we stop. `longest`: the longest `duration` that any instance may be configured with; we wait for another
    holder's Lease as long as it says, but no longer than that. `on_change(leading)` is called when leading begins and
    ends. `on_silent()` is called, once per missing renewal, when the holder has passed the time at which it stops
    writing. `transitions`: the Lease's own count of holders. Once acquired, `fresh`: nobody else has held it since
    `peek`; `silent`: it ran out, and nothing was seen from its holder since `on_silent`. `clock` is for tests.

    A standby *watches* the Lease: that costs no requests, and it takes over within milliseconds of a clean release,
    where polling would cost a GET per `retry` and half of `retry` in delay. Where watching is not permitted, it polls.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        renew: float = 5.0,
        retry: float = 2.0,
        margin: float | None = None,
        longest: float = 300.0,
        on_change: Callable[[bool], None] = lambda leading: None,
        on_silent: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.identity = identity
        self.transitions = 0
        self.fresh = False
        self.silent = False
        self._transport = transport
        self._ref = Ref(LEASE, namespace, name)
        self._duration = duration
        self._renew = renew
        self._retry = retry
        self._margin = duration * _MARGIN if margin is None else margin
        self._longest = longest
        self._on_change = on_change
        self._on_silent = on_silent
        self._clock = clock
        if not 0 < self._renew < self._duration - self._margin:
            raise ValueError(f"renewal every {renew} s does not fit into a lease of {duration} s")
        self._lease: _Lease | None = None  # as last seen
        self._seen = 0.0  # when it was seen to change
        self._silent = 0.0  # `_seen` as it was when `on_silent` was called
        self._logged = ""  # the holder that was logged last
        self._rarely = Rarely()
        self._acquired = ""  # wall-clock time, informative only
        self._sent: float | None = None  # when the last successful renewal was sent; None: not ours
        self._peeked: str | None = None  # the resourceVersion that `peek` found free, "" if there was no Lease

    @property
    def valid(self) -> bool:
        """Whether we are certainly the active instance at this moment."""
        return self._remaining() > 0

    def check(self) -> None:
        """Call this right before each write. Raises LeaseLost if we may not be the active instance."""
        if not self.valid:
            raise LeaseLost(f"{self.identity} does not hold {self._ref} (any more)")

    def _remaining(self) -> float:
        if self._sent is None:
            return 0.0
        return self._sent + self._duration - self._margin - self._clock()

    async def peek(self) -> None:
        """Read the Lease before the caches are filled, so that `fresh` can be determined. Failures are only logged."""
        try:
            lease = await self._read()
        except NotFound:
            self._peeked = ""
        except ApiError as error:
            log.log(logging.DEBUG if is_away(error) else logging.INFO, "%s not read yet: %s", self._ref, error)
        else:
            self._peeked = None if lease.holder else lease.metadata.resource_version

    async def acquire(self) -> None:
        """Wait until the Lease is ours, and log who holds it meanwhile. Failures are retried for ever."""
        while True:
            try:
                if await self._try():
                    log.info("%s acquired by %s", self._ref, self.identity)
                    self._on_change(True)
                    return
                self._log_holder()
                await self._until_changed()
            except ApiError as error:
                is_everyday = isinstance(error, (Conflict, AlreadyExists)) or is_away(error)
                if not is_everyday and self._rarely(f"{error.reason}: {error.message}"):
                    log.warning("%s not acquired, retrying: %s", self._ref, error)
                wait, left = self._retry * random.uniform(0.5, 1.0), self._left()  # noqa: S311
                await asyncio.sleep(min(wait, left) if left > 0 else wait)

    async def _try(self) -> bool:
        """Read the Lease, and take it if it is free."""
        known = self._lease
        try:
            lease = await self._read()
        except NotFound:
            # Perhaps deleted while its holder still relies on it and will recreate it with its next renewal.
            lease = None
        if self._is_held(lease or known):
            return False
        silent = self._silent == self._seen
        changes_hands = lease is not None and lease.holder != self.identity
        transitions = (lease.spec.lease_transitions or 0) if lease is not None else 0
        self._acquired = _now()
        await self._write(lease, transitions + changes_hands, self._duration)
        self.silent = silent
        # An unchanged resourceVersion shows that nobody took it, worked and released it in between.
        self.fresh = self._peeked == (lease.metadata.resource_version if lease is not None else "")
        return self.valid

    async def _read(self) -> _Lease:
        path = LEASE.path(self._ref.namespace, self._ref.name)
        raw = await self._request("GET", path, None, self._renew)
        return self._see(raw)

    def _see(self, raw: bytes | msgspec.Raw, *, is_deleted: bool = False) -> _Lease:
        """Store what was read. A deletion is no sign that the holder lives: its time still counts from the last
        renewal."""
        lease = _decode(raw)
        is_news = self._lease is None or lease.metadata.resource_version != self._lease.metadata.resource_version
        if is_news and not is_deleted:
            self._seen = self._clock()
        self._lease = lease
        return lease

    def _log_holder(self) -> None:
        """Log who leads, once per holder."""
        holder = self._lease.holder if self._lease is not None else ""
        if holder not in ("", self.identity, self._logged):
            self._logged = holder
            log.info("%s is held by %s: standing by", self._ref, holder)

    def _is_held(self, lease: _Lease | None) -> bool:
        """Whether somebody else holds it and their time has not run out."""
        return lease is not None and lease.holder not in ("", self.identity) and self._clock() < self._expiry(lease)

    def _expiry(self, lease: _Lease) -> float:
        """When the holder's time runs out, by our clock."""
        return self._seen + self._lasts(lease)

    def _lasts(self, lease: _Lease) -> float:
        """The duration of a Lease (seconds). It is the holder's, which may be longer than our own. For a Lease without
        a duration, or with an impossible one, it is `longest`."""
        return min(lease.spec.lease_duration_seconds or self._longest, self._longest)

    def _left(self) -> float:
        """Seconds until the time of the holder, as last seen, runs out."""
        return self._expiry(self._lease) - self._clock() if self._lease is not None else 0.0

    def _writes(self) -> float:
        """Seconds for which the holder, as last seen, may still write."""
        return self._left() - self._lasts(self._lease) * _MARGIN if self._lease is not None else 0.0

    def _patience(self) -> float:
        """Seconds until the holder stops writing; after that, until its time runs out."""
        writes = self._writes()
        return writes if writes > 0 else self._left()

    async def _until_changed(self) -> None:
        """Return when the Lease may be free: released, or run out by our clock. Raises ApiError."""
        while self._left() > 0:
            if self._writes() <= 0 and self._silent != self._seen:
                self._silent = self._seen
                self._on_silent()
            try:
                async with asyncio.timeout(self._patience()) as limit:
                    if await self._watch_free(limit):
                        return
                    await asyncio.sleep(self._retry * random.uniform(0.5, 1.0))  # noqa: S311
            except TimeoutError:
                pass  # the loop's condition checks our own clock
        # Jitter, so that not all standbys try at the same moment.
        await asyncio.sleep(self._retry * random.uniform(0.0, 0.05))  # noqa: S311

    async def _watch_free(self, limit: asyncio.Timeout) -> bool:
        """Watch the Lease, and postpone `limit` at each renewal. True: nobody holds it; False: the watch ended."""
        assert self._lease is not None
        params = {
            "watch": "1",
            "fieldSelector": f"metadata.name={self._ref.name}",
            "resourceVersion": self._lease.metadata.resource_version,
        }
        path = LEASE.path(self._ref.namespace)
        stream = self._transport.stream(path, params, kind=LEASE.name, read_deadline=4 * self._duration)
        async with contextlib.aclosing(stream) as batches:
            async for lines in batches:
                for line in lines:
                    try:
                        event = _decode_event(line)
                        if event.type == "ERROR":
                            raise ApiError(0, "WatchError", bytes(event.object).decode(errors="replace")[:200])
                        # Also if it was deleted: its holder recreates it, unless it had released it.
                        if not self._see(event.object, is_deleted=event.type == "DELETED").holder:
                            return True
                    except msgspec.MsgspecError as error:
                        raise errors.malformed(line, "event", "WATCH", path) from error
                    self._log_holder()
                limit.reschedule(asyncio.get_running_loop().time() + self._patience())
        return False

    async def keep(self) -> NoReturn:
        """Renew until that fails for too long. Raises LeaseLost before anybody else may take over."""
        try:
            while True:
                await asyncio.sleep(min(self._until_renewal(), max(0.0, self._remaining())))
                self.check()
                await self._renew_once()
        finally:
            # Also when cancelled: an instance that stops renewing stops writing, or releases the Lease.
            if not self.valid:
                self._lose()

    def _until_renewal(self) -> float:
        return max(0.0, (self._sent or 0.0) + self._renew - self._clock())

    async def _renew_once(self) -> None:
        """One renewal. Raises LeaseLost; after a temporary failure it sleeps, and `keep` retries."""
        try:
            await self._write(self._lease, self.transitions, self._duration)
        except NotFound:
            # This is about the namespace: a deleted Lease would be recreated.
            self._lose()
            raise LeaseLost(f"the namespace of {self._ref} does not exist any more") from None
        except Conflict:
            # Our own renewal whose answer was lost, somebody's edit, or a new holder.
            await self._still_ours()
        except ApiError as error:
            self._not_kept("renewed", error)
            await asyncio.sleep(min(self._retry, max(0.0, self._remaining())))

    def _not_kept(self, what: str, error: ApiError) -> None:
        if self._rarely(f"{what}: {error.message}"):
            log.warning("%s not %s, %.1f s left: %s", self._ref, what, self._remaining(), error)

    async def _still_ours(self) -> None:
        try:
            lease = await self._read()
        except ApiError as error:
            self._not_kept("read", error)
            await asyncio.sleep(min(self._retry, max(0.0, self._remaining())))
            return
        if lease.holder != self.identity:
            self._lose()
            raise LeaseLost(f"{self._ref} is held by {lease.holder or 'nobody'}")

    def _lose(self) -> None:
        if self._sent is not None:
            self._sent = None
            self._on_change(False)

    async def release(self) -> None:
        """Let a standby take over at once; call this on a clean stop, after the last write. Never raises ApiError."""
        if not self.valid:
            self._lose()
            return
        lease, left = self._lease, self._remaining()
        self._lose()  # first, so that nothing of ours writes any more
        try:
            await self._put(lease, "", self.transitions, RELEASED_SECONDS, min(left, self._renew))
            log.info("%s released by %s", self._ref, self.identity)
        except ApiError as error:
            log.warning("%s not released, it will expire by itself: %s", self._ref, error)

    async def _write(self, lease: _Lease | None, transitions: int, duration: float) -> None:
        """Create or renew the Lease in our name; its time counts from before the request is sent."""
        limit = min(self._renew, self._remaining()) if self._sent is not None else self._renew
        sent = self._clock()
        await self._put(lease, self.identity, transitions, duration, limit)
        self._sent = sent
        self.transitions = transitions

    async def _put(self, lease: _Lease | None, holder: str, transitions: int, duration: float, limit: float) -> None:
        body = self._body(lease, holder, transitions, duration)
        if lease is None:
            raw = await self._request("POST", LEASE.path(self._ref.namespace), body, limit)
        else:
            raw = await self._request("PUT", LEASE.path(self._ref.namespace, self._ref.name), body, limit)
        self._see(raw)

    def _body(self, lease: _Lease | None, holder: str, transitions: int, duration: float) -> Json:
        metadata: Json = {"name": self._ref.name, "namespace": self._ref.namespace}
        if lease is not None:
            metadata["resourceVersion"] = lease.metadata.resource_version
            metadata["labels"] = dict(lease.metadata.labels or {})
            metadata["annotations"] = dict(lease.metadata.annotations or {})
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(1, math.ceil(duration)),
                "acquireTime": self._acquired,
                "renewTime": _now(),
                "leaseTransitions": transitions,
            },
        }

    async def _request(self, method: str, path: str, body: Json | None, limit: float) -> bytes:
        """One urgent request with a limit (seconds) on all of it, including the run of a credentials plug-in."""
        try:
            async with asyncio.timeout(limit):
                return await self._transport.request(
                    method, path, body=body, kind=LEASE.name, timeout=limit, urgent=True
                )
        except TimeoutError:
            raise Unreachable(0, "Timeout", f"no answer in {limit:.1f} s", method, path) from None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
