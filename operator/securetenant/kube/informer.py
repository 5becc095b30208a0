"""A cache of one kind, kept by list and watch.

Why not kopf's or the kubernetes package's: kopf costs 15 to 40 times the CPU and delivers no deletion after a
410; the package's informer has no read deadline (a silent connection is never noticed) and no paging.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Container, Iterable
from itertools import chain
from typing import Final, Literal

import msgspec

from securetenant.kube import errors
from securetenant.kube.errors import ApiError, Forbidden, Gone, NotFound
from securetenant.kube.transport import Transport
from securetenant.kube.wire import Wire, codec, decode
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed, Ref

__all__ = ["Event", "Informer", "decode"]

log = logging.getLogger(__name__)

# Called for every change of the cache as (old, new), our own stored writes included; updates the indexes.
OnChange = Callable[[Observed | None, Observed | None], None]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

FORBIDDEN_SECONDS: Final = 10.0  # between two tries of a list or watch that RBAC does not permit
# The server ends a watch after a random time in this range (seconds), so that not all watches end at once.
WATCH_SECONDS: Final = (240, 480)
# The end of a connection that lasted this long (seconds) is no failure.
GOOD_SECONDS: Final = 1.0
# A list that lacks more than MANY of the cached objects (and more than half of them), or all of them, is trusted only
# after SAMPLE of the missing objects were requested one by one.
MANY: Final = 10
SAMPLE: Final = 3
# For how long (seconds), and for how many objects, our own deletions are remembered: a delayed watch reports them late.
LATE: Final = 120.0
MOST_GONE: Final = 4096
# HTTP codes after which the same request may succeed later. After another 4xx, the resourceVersion may be the cause.
_PASSING: Final = (401, 403, 429)


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change of the cache. `old` is what it held before; `received` is time.monotonic at its arrival."""

    type: EventType
    object: Observed
    old: Observed | None
    received: float


class _Relist(Exception):
    """The watch cannot continue from its last resourceVersion."""


class Informer:
    """The cache of one kind, and the task that keeps it up to date.

    `on_event` is called for each change, in order and synchronously: it must be quick (put a key on a queue). If it
    raises, `run` ends. `on_change` is called before it, and also for changes by `store` and `forget`. `on_forbidden`:
    when RBAC begins or ceases to forbid it.
    `read_deadline` (seconds) must exceed the interval of the server's bookmarks, about 60 s. (The server sends none for
    a kind without any known change; where etcd sends no progress notifications, unlike with kubeadm's
    `--watch-progress-notify-interval=5s`, the watch of a quiet kind is reopened after each deadline.)
    `backoff`: the first and the longest wait (seconds) after failures. `only`: the names of the objects to keep, where
    few of a kind matter; all others are skipped without an event.

    A list that lacks much of what is cached does not prove that it was deleted: see `_confirm`.

    Attributes for monitoring: `synced` is set after the first complete list; `last_contact` (time.time) is the last
    event, bookmark, list or accepted watch, and so never much older than `read_deadline` in a healthy informer; `tried`
    (time.monotonic) is when it last requested a list or a watch, and so always recent while it fails; `forbidden`:
    RBAC does not permit the kind; `failure`: the last error, "" while the watch is healthy; `failing_since`
    (time.monotonic): the first failure in a row, 0 while healthy; `relists` counts the lists after the first.
    """

    def __init__(
        self,
        transport: Transport,
        kind: Kind,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_change: OnChange = lambda old, new: None,
        on_forbidden: Callable[[], None] = lambda: None,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        only: Container[str] | None = None,
        page_size: int = 500,
        read_deadline: float = 90.0,
        backoff: tuple[float, float] = (0.5, 8.0),
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.last_contact = 0.0
        self._forbidden = False
        self._on_forbidden = on_forbidden
        self.failure = ""
        self.failing_since = 0.0
        self.tried = time.monotonic()
        self.relists = 0
        self._transport = transport
        self._on_event = on_event
        self._on_change = on_change
        self._namespace = namespace
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._selectors = {name: selector for name, selector in selectors.items() if selector}
        self._only = only
        self._page_size = page_size
        self._read_deadline = read_deadline
        self._at_once = min(GOOD_SECONDS, read_deadline / 2)
        self._backoff = backoff
        self._codec = codec(kind)
        self._cache: dict[str, dict[str, Observed]] = {}
        self._count = 0
        # The progress of list and watch: all changes up to this resourceVersion are in the cache.
        self._passed = 0
        self._accepted = 0.0  # when the server accepted the last watch; 0: not yet, or it has sent something since
        # The UIDs of objects we deleted, until the watch has reported it, and when (time.monotonic); the oldest first.
        self._gone: dict[str, float] = {}

    def __len__(self) -> int:
        return self._count

    def get(self, ref: Ref) -> Observed | None:
        """The object, or None."""
        return self._cache.get(ref.namespace, {}).get(ref.name)

    def in_namespace(self, namespace: str) -> Iterable[Observed]:
        """The objects of a namespace ("" for a cluster-scoped kind); costs only their number."""
        return tuple(self._cache.get(namespace, {}).values())

    def objects(self) -> Iterable[Observed]:
        """All objects; not to be iterated across an await."""
        return chain.from_iterable(objects.values() for objects in self._cache.values())

    def store(self, observed: Observed) -> None:
        """Read your own writes: put the answer to a create, replace or patch into the cache.

        Ignored if the watch has passed it already. No event is emitted for it, nor for the watch's later event of
        the same resourceVersion.
        """
        version, old = int(observed.resource_version), self.get(observed.ref)
        if version > (int(old.resource_version) if old is not None else self._passed):
            self._put(observed)

    def forget(self, ref: Ref, uid: str) -> None:
        """The same for a delete that the server carried out immediately. No event is emitted for it."""
        self._gone.pop(uid, None)
        self._gone[uid] = time.monotonic()
        while len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        old = self.get(ref)
        if old is not None and old.uid == uid:
            self._drop(old)

    def _is_gone(self, uid: str) -> bool:
        """Whether we have deleted the object already: a delayed watch may still report earlier changes of it."""
        return uid in self._gone and time.monotonic() - self._gone[uid] < LATE

    def _put(self, observed: Observed) -> None:
        objects = self._cache.setdefault(observed.ref.namespace, {})
        old = objects.get(observed.ref.name)
        self._count += old is None
        objects[observed.ref.name] = observed
        self._on_change(old, observed)

    def _drop(self, old: Observed) -> None:
        objects = self._cache[old.ref.namespace]
        del objects[old.ref.name]
        self._count -= 1
        if not objects:
            del self._cache[old.ref.namespace]
        self._on_change(old, None)

    def doubt(self, error: ApiError) -> None:
        """Note that `run` is not running because it is unknown whether the server serves the kind."""
        self.failure, self.tried = str(error), time.monotonic()
        self.failing_since = self.failing_since or self.tried

    def empty(self) -> None:
        """Note that `run` is not running (any more) because the server does not serve the kind: the cache is empty and
        synced. Emits an event for each object that was in it."""
        for old in tuple(self.objects()):
            self._drop(old)
            self._on_event(Event("DELETED", old, old, time.monotonic()))
        self._gone.clear()
        self._passed, self.last_contact = 0, 0.0
        self.failure, self.failing_since, self.forbidden = "", 0.0, False
        self.synced.set()

    @property
    def forbidden(self) -> bool:
        return self._forbidden

    @forbidden.setter
    def forbidden(self, value: bool) -> None:
        if value != self._forbidden:
            self._forbidden = value
            self._on_forbidden()

    async def run(self) -> None:
        """List, then watch, until cancelled."""
        failures = short = 0
        must_list = True
        while True:
            self.tried = time.monotonic()
            self._accepted = watching = 0.0
            try:
                if must_list:
                    await self._list()
                    must_list = False
                watching = time.monotonic()
                await self._watch()
                error: Exception | None = None  # the server ended the watch in good order
            except (Gone, _Relist, msgspec.MsgspecError, ValueError) as problem:
                must_list, error = True, problem
            except ApiError as problem:
                error = problem
                must_list = must_list or (400 <= problem.status < 500 and problem.status not in _PASSING)
            # The watch's time alone: a list of a large kind takes long and proves nothing about the watch.
            lasted = time.monotonic() - watching if watching else 0.0
            # A watch that is repeatedly accepted and ended at once without an event: a proxy answers for the server. A
            # list shows what such a watch does not.
            short = short + 1 if self._accepted and time.monotonic() - self._accepted <= self._at_once else 0
            failures = 0 if lasted > GOOD_SECONDS and not short else failures + 1
            if short:
                at_once = ConnectionError("accepted, and ended at once")
                error = error or errors.unreachable(at_once, "WATCH", self.kind.plural)
                must_list = must_list or short > 2
            wait = self._wait(error, failures)
            self._note(error, wait, "list" if must_list else "watch", failures)
            await asyncio.sleep(wait)

    def _wait(self, error: Exception | None, failures: int) -> float:
        """Seconds until the next try; close to 0 after a first failure."""
        first, longest = self._backoff
        if isinstance(error, Forbidden):
            return FORBIDDEN_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        # Bounded, whatever Retry-After asks for: without a watch the cache is blind.
        asked = min(longest, error.retry_after) if isinstance(error, ApiError) else 0.0
        backoff = min(longest, first * 2 ** min(max(0, failures - 1), 16)) * random.uniform(0.5, 1.0)  # noqa: S311
        return max(asked, backoff if error is not None or failures > 1 else 0.0)

    def _note(self, error: Exception | None, wait: float, step: str, failures: int) -> None:
        self.failure = str(error) if error is not None else ""
        if error is None:
            self.failing_since = 0.0
            return
        self.failing_since = self.failing_since or time.monotonic()
        was_forbidden, self.forbidden = self.forbidden, isinstance(error, Forbidden)
        # A single ended connection is normal: the API server restarts, or a kind is so quiet that it gets no bookmark.
        level = logging.INFO if failures <= 1 and not self.forbidden else logging.WARNING
        if (self.forbidden and was_forbidden) or errors.is_away(error):
            level = logging.DEBUG  # the transport logs it once for all kinds
        log.log(level, "%s of %s failed, retrying in %.1f s: %s", step, self.kind.plural, wait, error)

    def _heard(self) -> float:
        """Note the contact; returns time.monotonic."""
        self.last_contact = time.time()
        if self.failure or self.forbidden:
            self.failure, self.failing_since, self.forbidden = "", 0.0, False
        return time.monotonic()

    async def _list(self) -> None:
        """Replace the cache's content with a complete list, with events for the differences.

        Pages are applied as they arrive (each is valid as of the list's resourceVersion). What is not in the list was
        deleted, unless it is newer than the list: the stored answer to a write of ours.
        """
        absent, before = {observed.ref for observed in self.objects()}, len(self)
        known_before, version, is_rewound = self._passed, 0, False
        async with contextlib.aclosing(
            self._transport.pages(self.kind, self._namespace, self._selectors, page_size=self._page_size)
        ) as pages:
            async for raw in pages:
                page = self._codec.page(raw)
                now = self._heard()
                version = int(page.metadata.resource_version)
                # Versions only grow, except when etcd is restored from a backup: then nothing in the cache is valid.
                is_rewound = version < known_before
                for wire in page.items or ():
                    if self._only is not None and wire.metadata.name not in self._only:
                        continue
                    observed = self._codec.observed(wire)
                    absent.discard(observed.ref)
                    self._listed(observed, now, is_rewound)
        if absent and (len(absent) == before or len(absent) > max(MANY, before // 2)):
            await self._confirm(absent)
        for ref in absent:
            old = self.get(ref)
            if old is not None and (is_rewound or int(old.resource_version) <= version):
                self._drop(old)
                self._on_event(Event("DELETED", old, old, time.monotonic()))
        self._passed = version
        if self.synced.is_set():
            self.relists += 1
        self.synced.set()

    async def _confirm(self, absent: set[Ref]) -> None:
        """Check whether a list lacks objects that exist: some of them are requested by name, or, where RBAC does not
        permit that, the list is repeated. Raises Malformed if an object exists; what the list contained stays applied.

        A proxy may have answered instead of the server. If such a list were trusted, everything would seem deleted, and
        each namespace and policy would be reported as drift.
        """
        for ref in sorted(absent)[:SAMPLE]:
            try:
                await self._transport.get(self.kind, ref)
            except NotFound as error:
                if error.is_uncertain:
                    raise
                continue
            except Forbidden:
                absent -= await self._names()
                return
            raise errors.malformed(f"it lacks {ref}, which exists".encode(), "whole list", "GET", self.kind.plural)

    async def _names(self) -> set[Ref]:
        """The objects in a list."""
        pages = self._transport.pages(self.kind, self._namespace, self._selectors, page_size=self._page_size)
        async with contextlib.aclosing(pages):
            return {self._codec.observed(wire).ref async for raw in pages for wire in self._codec.page(raw).items or ()}

    def _listed(self, observed: Observed, now: float, is_rewound: bool) -> None:
        old = self.get(observed.ref)
        if self._is_gone(observed.uid):
            return
        if old is None:
            self._put(observed)
            self._on_event(Event("ADDED", observed, None, now))
        elif is_rewound or int(observed.resource_version) > int(old.resource_version):
            self._put(observed)
            self._on_event(Event("MODIFIED", observed, old, now))

    async def _watch(self) -> None:
        """Watch from the cache's resourceVersion on; returns when the server ends the watch."""
        params = {
            **self._selectors,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._passed),
            "timeoutSeconds": str(random.randint(*WATCH_SECONDS)),  # noqa: S311
        }
        decode_event = self._codec.event
        stream = self._transport.stream(
            self.kind.path(self._namespace),
            params,
            kind=self.kind.name,
            form=self.kind.form,
            read_deadline=self._read_deadline,
        )
        well: asyncio.TimerHandle | None = None
        try:
            async with contextlib.aclosing(stream) as batches:
                async for lines in batches:
                    if not lines:
                        # Accepted. Whether the watch works will show soon.
                        self._accepted = time.monotonic()
                        well = asyncio.get_running_loop().call_later(self._at_once, self._heard)
                        continue
                    now, self._accepted = self._heard(), 0.0
                    for line in lines:
                        event = decode_event(line)
                        self._follow(event.type, event.object, now)
        finally:
            if well is not None:
                well.cancel()

    def _follow(self, kind_of_event: str, wire: Wire, now: float) -> None:
        """Apply one event of the watch, unless it is not newer than the cache (repeated, out of order, or our own)."""
        if kind_of_event == "BOOKMARK":
            self._passed = max(self._passed, int(wire.metadata.resource_version))
            return
        if kind_of_event == "ERROR":
            raise self._error(wire)
        if kind_of_event not in ("ADDED", "MODIFIED", "DELETED"):
            raise _Relist(f"unknown event type {kind_of_event[:40]!r}")
        version = int(wire.metadata.resource_version)
        old = self._cache.get(wire.metadata.namespace, {}).get(wire.metadata.name)
        is_news = version > (int(old.resource_version) if old is not None else self._passed)
        self._passed = max(self._passed, version)
        is_gone = self._is_gone(wire.metadata.uid)
        if kind_of_event == "DELETED":
            self._gone.pop(wire.metadata.uid, None)
        if is_gone or not is_news or (self._only is not None and wire.metadata.name not in self._only):
            return
        observed = self._codec.observed(wire)
        if kind_of_event == "DELETED":
            if old is not None:
                self._drop(old)
                self._on_event(Event("DELETED", observed, old, now))
        else:
            self._put(observed)
            self._on_event(Event("ADDED" if old is None else "MODIFIED", observed, old, now))

    def _error(self, wire: Wire) -> Exception:
        """The error in an ERROR event: 410 requires a list; after others (429, 500) it is unknown what was missed, so
        they require one too."""
        status = errors.Status(kind="Status", message=wire.message, reason=wire.reason, code=wire.code)
        error = errors.from_status(status, method="WATCH", path=self.kind.path(self._namespace))
        return error if isinstance(error, Gone) else _Relist(str(error))
