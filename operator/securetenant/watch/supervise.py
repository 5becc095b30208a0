"""The watch of our custom resources, kept up whatever the API server answers: kopf watches, and is restarted when it
stops watching.

After many unusual answers (a 404 or 410, an ERROR event, a line that is no JSON) kopf ends, or continues without one of
its watches, and reports nothing. So its state is derived from its requests: for each kind there must be a watch, or one
must be about to be requested. If neither is the case, that kopf is abandoned and another one is started.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from securetenant.cache.roster import Blind
from securetenant.engine.controller import Controller
from securetenant.engine.health import UNSEEN
from securetenant.engine.informers import SILENT
from securetenant.kube.config import ClientConfig
from securetenant.model.kinds import Kind
from securetenant.telemetry.metrics import Metrics
from securetenant.watch.kopf_thread import WATCH_SILENT, Kopf
from securetenant.watch.requests import ANSWER, Asking, Request

log = structlog.get_logger("securetenant.watch")

# How long kopf's start waits for the caches (seconds): listing thousands of tenants takes seconds, and longer beside
# kopf.
CACHES = 15.0
# Then for the first pass over all tenants, which a standby does not make; and how much longer if it is in progress.
INITIAL_RECONCILE = 1.0
MORE_TO_LOAD = 5.0
# The pauses before kopf is restarted (seconds); the last one is repeated.
RESTARTS: Final = (0.1, 0.5, 1.0, 2.0, 3.0)
# How often kopf is checked (seconds), and how many abandoned ones may still run before the process has to exit.
CHECK = 0.5
LEFTOVERS = 8
# No request for this long (seconds) is more than a pause: nothing restarts kopf any more.
UNASKED = 45.0


@dataclass(slots=True)
class Watched:
    """The state of the watch of one kind, whichever kopf does it."""

    kind: Kind
    asking: Asking  # of the current kopf
    seen: float  # time.monotonic: when the kopf before it last saw the objects
    is_listed: bool = False
    failure: str = ""  # the last request's, or the last kopf's
    contact: float = 0.0  # time.time of the last list, accepted watch or event
    is_logged_blind: bool = False

    def blind_for(self, now: float) -> float:
        return max(0.0, now - max(self.seen, self.asking.sees(now)))

    def stuck(self) -> str:
        """Why the current kopf will not see this kind any more, or ""."""
        if stuck := self.asking.stuck(time.monotonic()):
            return stuck
        silent = time.time() - self.contact
        return f"its watch has been silent for {silent:.0f} s" if self._is_silent(WATCH_SILENT + ANSWER) else ""

    def _is_silent(self, seconds: float) -> bool:
        return bool(self.asking.watch) and time.time() - self.contact > seconds

    def unready(self) -> str:
        if not self.is_listed:
            return f"{self.kind}: {self.failure or 'not listed yet'}"
        blind = self.blind_for(time.monotonic())
        return f"{self.kind}: not watched for {blind:.0f} s: {self.failure}" if blind > UNSEEN else ""

    def unhealthy(self) -> str:
        if self.asking.watch:
            silent = time.time() - self.contact
            return f"{self.kind}: silent for {silent:.0f} s" if self._is_silent(SILENT) else ""
        idle = time.monotonic() - self.asking.since
        return f"{self.kind}: neither watched nor asked for, for {idle:.0f} s" if idle > UNASKED else ""


class Watcher:
    """Keeps kopf watching the kinds. What it sees goes to the controller, in the loop that this was made in."""

    def __init__(self, config: ClientConfig, kinds: Sequence[Kind], controller: Controller, metrics: Metrics) -> None:
        self._config = config
        self._kinds = kinds
        self._controller = controller
        self._metrics = metrics
        self._kopf: Kopf | None = None
        self._left: list[Kopf] = []  # abandoned, but still running
        now = time.monotonic()
        self._watched = {kind: Watched(kind, Asking(now), now) for kind in kinds}
        for kind, watched in self._watched.items():
            metrics.watch_informer(kind.name, partial(controller.count, kind), partial(_contact, watched))
        controller.blind_for = self.blind_for

    async def run(self) -> None:
        """Keep a kopf running until cancelled. Raises Blind if that is impossible: a process that sees nothing must not
        continue.

        The first kopf starts after the first pass over all tenants, for which the controller lists them itself: without
        kopf's list at the same time, tampering from before the start is corrected half a second sooner. A standby does
        not wait long.
        """
        await _within(CACHES, self._controller.synced())
        await _within(INITIAL_RECONCILE, self._controller.caught_up())
        if self._controller.is_loading:
            await _within(MORE_TO_LOAD, self._controller.caught_up())
        for watched in self._watched.values():
            watched.seen = time.monotonic()  # by the controller's own list
        failures = 0
        try:
            while True:
                for watched in self._watched.values():
                    watched.asking = Asking(time.monotonic())
                self._kopf = Kopf(self._config, self._kinds, self)
                stuck, cause = await self._until_stuck(self._kopf)
                failures = 0 if all(watched.asking.heard for watched in self._watched.values()) else failures + 1
                self._give_up(self._kopf, stuck, cause, failures)
                await asyncio.sleep(RESTARTS[min(failures, len(RESTARTS) - 1)])
        finally:
            for each in self._left:
                each.stop()
            if self._kopf is not None:
                self._kopf.stop()
                await asyncio.to_thread(self._kopf.thread.join, 5.0)

    async def _until_stuck(self, kopf: Kopf) -> tuple[list[Watched], str]:
        """Wait until this kopf has failed or has stopped requesting some kinds; returns those kinds, and why."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK):
                    await kopf.failed.wait()
            self._log_blindness()
            if kopf.failed.is_set():
                return list(self._watched.values()), kopf.failure
            causes = [(watched, cause) for watched in self._watched.values() if (cause := watched.stuck())]
            if causes:
                return [watched for watched, _ in causes], causes[0][1]

    def _give_up(self, kopf: Kopf, stuck: Sequence[Watched], cause: str, failures: int) -> None:
        """Abandon a kopf. `stuck`: the kinds that it does not see any more. Raises Blind if too many abandoned ones
        still run."""
        now, kinds = time.monotonic(), " and ".join(watched.kind.plural_name for watched in stuck)
        for watched in self._watched.values():
            watched.seen = max(watched.seen, watched.asking.sees(now))
            watched.failure = watched.failure or (cause if watched in stuck else f"restarted for {kinds}: {cause}")
        self._kopf = None
        kopf.stop()
        self._left = [each for each in [*self._left, kopf] if each.thread.is_alive()]
        if len(self._left) > LEFTOVERS:
            raise Blind(
                f"{kinds} cannot be watched: {len(self._left)} stopped kopf threads still run; the last: {cause}"
            )
        report = log.info if failures <= 1 else log.debug
        report(f"the watch of {kinds} is restarted", cause=cause, request=stuck[0].failure)

    def _log_blindness(self) -> None:
        """Log once when a kind is no longer watched, and once when it is again."""
        now = time.monotonic()
        for watched in self._watched.values():
            blind, kinds = watched.blind_for(now), watched.kind.plural_name
            if watched.is_logged_blind == (blind > UNSEEN):
                continue
            watched.is_logged_blind = blind > UNSEEN
            if watched.is_logged_blind:
                log.warning(f"{kinds} are not watched, retrying", cause=watched.failure, seconds=round(blind))
            else:
                log.info(f"{kinds} are watched again")

    def blind_for(self, kind: Kind) -> float:
        """For how many seconds the objects of this kind have not been seen; 0 while they are watched."""
        return self._watched[kind].blind_for(time.monotonic())

    def unready(self) -> list[str]:
        """Which kinds are not watched, and why."""
        return [problem for watched in self._watched.values() if (problem := watched.unready())]

    def unhealthy(self) -> list[str]:
        """Which kinds are neither watched nor requested, or have a silent watch: a restart of kopf should have repaired
        that long ago."""
        return [problem for watched in self._watched.values() if (problem := watched.unhealthy())]

    # Notifications from kopf's thread, called in our loop. Those of an abandoned kopf are only counted in the metrics.

    def _concerned(self, by: Kopf, request: Request) -> Iterable[Watched]:
        """The kinds that a request concerns: discovery concerns all."""
        if by is not self._kopf:
            return ()
        return self._watched.values() if request.kind is None else (self._watched[request.kind],)

    def began(self, by: Kopf, request: Request) -> None:
        for watched in self._concerned(by, request):
            watched.asking.began(time.monotonic())

    def answered(self, by: Kopf, request: Request, code: str, retry_after: float) -> None:
        verb, kind, is_first_page = request
        self._metrics.request(verb, kind.name if kind is not None else "", code, 0.0)
        for watched in self._concerned(by, request):
            watched.asking.answered(verb, code, time.monotonic(), retry_after)
            if code != "200":
                watched.failure = f"{verb}: {code}"
            elif verb == "watch":
                watched.failure = ""
                watched.contact = time.time()
                if not watched.is_listed:
                    # kopf has no event for objects that were deleted between our own first list and kopf's.
                    self._controller.relisted(watched.kind)
                watched.is_listed = True  # it watches from the end of its complete list
            elif verb == "list":
                watched.contact = time.time()
                if is_first_page and watched.is_listed:
                    # After a 410, or with a new kopf: there is no event for objects that were deleted meanwhile.
                    self._controller.relisted(watched.kind)

    def over(self, by: Kopf, request: Request) -> None:
        for watched in self._concerned(by, request):
            watched.asking.over(request.verb, time.monotonic())

    def observe(self, by: Kopf, kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        if by is not self._kopf:
            return
        watched = self._watched[kind]
        watched.asking.event(time.monotonic())
        watched.contact = time.time()
        try:
            self._controller.observe(kind, event_type, body)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            name = (body.get("metadata") or {}).get("name", "")
            named = self._controller.log_fields(kind, name)
            log.warning(f"an event of a {kind} cannot be read, listing them all", **named, cause=repr(error))
            self._controller.relisted(kind)


def _contact(watched: Watched) -> float | None:
    return watched.contact or None


async def _within(seconds: float, waiting: Awaitable[None]) -> None:
    """Wait, but no longer than this."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
