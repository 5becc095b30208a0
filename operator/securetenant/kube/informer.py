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

# Hears of every change of the cache as (old, new), our own stored writes included: what indexes are kept by.
OnChange = Callable[[Observed | None, Observed | None], None]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

FORBIDDEN_SECONDS: Final = 10.0  # between two tries of what RBAC does not permit
# A watch is ended by the server after this many seconds (evenly spread, so that not all come at once).
WATCH_SECONDS: Final = (240, 480)
# A connection that stood this long (seconds) was a good one: its end is no failure.
GOOD_SECONDS: Final = 1.0
# A list that lacks so many of the objects that were there (and half of them), or has none at all, is not believed
# before so many of those that it lacks were asked for one by one.
MANY: Final = 10
SAMPLE: Final = 3
# What we deleted is remembered so long (seconds), and of so many objects: a watch that cannot be had tells of it late.
LATE: Final = 120.0
MOST_GONE: Final = 4096
# Refusals after which the same may well be granted. After any other the watch's resourceVersion may be the cause.
_PASSING: Final = (401, 403, 429)


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change of the cache. `old` is what it held before; `received` is time.monotonic at its arrival."""

    type: EventType
    object: Observed
    old: Observed | None
    received: float


class _Relist(Exception):
    """The watch cannot go on from where it was."""


class Informer:
    """The cache of one kind, and the task that keeps it.

    `on_event` is called for each change, in order, at once: it must be quick (put a key on a queue). What it
    raises ends `run`. `on_change` is called before it, and for what `store` and `forget` do too.
    `read_deadline` (seconds) must exceed the interval of the server's bookmarks, about 60 s. (It sends none for a
    kind of which nothing is known to have happened; where etcd gives no progress notifications, unlike kubeadm's
    `--watch-progress-notify-interval=5s`, the watch of a quiet kind is opened anew after each deadline.)
    `backoff` is the first and the longest wait (seconds) after failures. `only`: the names of the objects to keep,
    where few of a kind matter; the others are passed over unread, and leave no event.

    A list that lacks much of what is cached is no proof that it is gone: see `_confirm`.

    Attributes to watch it by: `synced` is set after the first whole list; `last_contact` (time.time) is the last
    event, bookmark, list or accepted watch, and so never much older than `read_deadline` where all is well; `tried`
    (time.monotonic) is when it last asked for a list or a watch, and so never long ago where it fails;
    `forbidden` says that RBAC does not permit the kind; `failure` is the last error, "" when the watch is well, and
    `failing_since` (time.monotonic) when the first of a row was, 0 when it is well; `relists` counts lists after the
    first.
    """

    def __init__(
        self,
        transport: Transport,
        kind: Kind,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_change: OnChange = lambda old, new: None,
        namespace: str = "",
        label_selector: str = "",
        only: Container[str] | None = None,
        page_size: int = 500,
        read_deadline: float = 90.0,
        backoff: tuple[float, float] = (0.5, 8.0),
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.last_contact = 0.0
        self.forbidden = False
        self.failure = ""
        self.failing_since = 0.0
        self.tried = time.monotonic()
        self.relists = 0
        self._transport = transport
        self._on_event = on_event
        self._on_change = on_change
        self._namespace = namespace
        self._selectors = {"labelSelector": label_selector} if label_selector else {}
        self._only = only
        self._page_size = page_size
        self._read_deadline = read_deadline
        self._at_once = min(GOOD_SECONDS, read_deadline / 2)
        self._backoff = backoff
        self._codec = codec(kind)
        self._cache: dict[str, dict[str, Observed]] = {}
        self._count = 0
        # The list's or the watch's progress: all that happened up to this resourceVersion is in the cache.
        self._passed = 0
        self._accepted = 0.0  # when the server accepted the last watch; 0: it did not, or has told something since
        # The UIDs of what we deleted, until the watch has told of it, and when (time.monotonic); the oldest first.
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
        """The same for a delete that the server has carried out at once. No event is emitted for it."""
        self._gone.pop(uid, None)
        self._gone[uid] = time.monotonic()
        while len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        old = self.get(ref)
        if old is not None and old.uid == uid:
            self._drop(old)

    def _is_gone(self, uid: str) -> bool:
        """Whether we deleted the object already: a watch that is late tells of its life yet."""
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
        """`run` is not running, for it is not known whether the server serves the kind."""
        self.failure, self.tried = str(error), time.monotonic()
        self.failing_since = self.failing_since or self.tried

    def empty(self) -> None:
        """`run` is not running (any more), for the server does not serve the kind: so there is nothing of it, and that
        is all that there is to know. With an event for each object that there was."""
        for old in tuple(self.objects()):
            self._drop(old)
            self._on_event(Event("DELETED", old, old, time.monotonic()))
        self._gone.clear()
        self._passed, self.last_contact = 0, 0.0
        self.failure, self.failing_since, self.forbidden = "", 0.0, False
        self.synced.set()

    async def run(self) -> None:
        """List, then watch, for ever. Cancel it to stop."""
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
            # Of the watch alone: a list of a large kind takes long, and says nothing of the watch that it is for.
            lasted = time.monotonic() - watching if watching else 0.0
            # Accepted, and over at once without a word, again and again: something between answers for the server. A
            # list shows what no such watch does.
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
        """Seconds until the next try. After a first failure that is next to none."""
        first, longest = self._backoff
        if isinstance(error, Forbidden):
            return FORBIDDEN_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
        # However long the server asks to wait: who does not ask does not see.
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
        # One connection that ends is everyday: the API server restarts, or a kind is so quiet that no bookmark comes.
        level = logging.INFO if failures <= 1 and not self.forbidden else logging.WARNING
        if (self.forbidden and was_forbidden) or errors.is_away(error):
            level = logging.DEBUG  # the transport says it once for all kinds
        log.log(level, "%s %s again in %.1f s: %s", step, self.kind.plural, wait, error)

    def _heard(self) -> float:
        """Note the contact; returns time.monotonic."""
        self.last_contact = time.time()
        if self.failure or self.forbidden:
            self.failure, self.failing_since, self.forbidden = "", 0.0, False
        return time.monotonic()

    async def _list(self) -> None:
        """Bring the cache to what a whole list holds, with events for what differs.

        Pages are applied as they come (each is true as of the list's resourceVersion). What is not in the list is
        gone, unless it is newer than the list: an answer of our own, stored meanwhile.
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
                # Versions only ever grow, but for a restored backup: then nothing that we know holds.
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
        """Find out whether a list lacks what is there: some of it is asked for by name, or, where RBAC does not permit
        that, the list once more. Raises Malformed if it does; what the list did not lack stays applied.

        What stands between us and the server may answer for it, and then everything is gone: each namespace, each
        policy would be drift that nobody made.
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
            raise errors.malformed(f"it lacks {ref}, which is there".encode(), "whole list", "GET", self.kind.plural)

    async def _names(self) -> set[Ref]:
        """What a list holds."""
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
        """Follow the changes from where the cache is; returns when the server ends the watch."""
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
                        # Accepted. Whether it is well shows in a moment.
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
        """Take one event of the watch. What is not newer than the cache (repeated, out of order, our own) is not."""
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
        """An ERROR event: 410 asks for a list; of any other (429, 500) it is not known what was lost, so list too."""
        status = errors.Status(kind="Status", message=wire.message, reason=wire.reason, code=wire.code)
        error = errors.from_status(status, method="WATCH", path=self.kind.path(self._namespace))
        return error if isinstance(error, Gone) else _Relist(str(error))
