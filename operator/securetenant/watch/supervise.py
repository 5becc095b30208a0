"""The watch of our custom resources, kept whatever the API server answers: kopf does it, and is started anew when it
stops to.

kopf ends, or goes on without one of its watches, after many an answer that is not as it should be (a 404 or 410, an
ERROR event, a line that is no JSON), and tells nobody. So what it does is read off its requests: of each kind there is
a watch, or one is about to be asked for. Where neither is so, that kopf is given up, and another one started.
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

# How long kopf waits for the caches (seconds): thousands of tenants take seconds to list, and more beside kopf.
CACHES = 15.0
# And then for the first look at all tenants, which a standby has none of; how much longer where it is under way.
FIRST_LOOK = 1.0
MORE_TO_LOAD = 5.0
# The pauses before kopf is started anew (seconds), the last again and again.
RESTARTS: Final = (0.1, 0.5, 1.0, 2.0, 3.0)
# How often (seconds) it is looked at, and how many that were given up may live on before the process has to end.
LOOK = 0.5
LEFTOVERS = 8
# Asking for nothing for this long (seconds) is no pause: then nothing starts kopf anew.
UNASKED = 45.0


@dataclass(slots=True)
class Watched:
    """What is known of the watch of one kind, whichever kopf does it."""

    kind: Kind
    asking: Asking  # of the kopf that runs
    seen: float  # time.monotonic: when the kopf before it last saw the objects
    is_listed: bool = False
    failure: str = ""  # of the last request, or of the last kopf
    contact: float = 0.0  # time.time of the last list, accepted watch or event
    is_said_blind: bool = False  # in the log

    def blind_for(self, now: float) -> float:
        return max(0.0, now - max(self.seen, self.asking.sees(now)))

    def stuck(self) -> str:
        """Why this kind will not be seen any more by the kopf that runs, or ""."""
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
    """kopf, watching the kinds. What it sees goes to the controller, in the loop that this was made in."""

    def __init__(self, config: ClientConfig, kinds: Sequence[Kind], controller: Controller, metrics: Metrics) -> None:
        self._config = config
        self._kinds = kinds
        self._controller = controller
        self._metrics = metrics
        self._kopf: Kopf | None = None
        self._left: list[Kopf] = []  # given up, and not ended yet
        now = time.monotonic()
        self._watched = {kind: Watched(kind, Asking(now), now) for kind in kinds}
        for kind, watched in self._watched.items():
            metrics.watch_informer(kind.name, partial(controller.count, kind), partial(_contact, watched))
        controller.blind_for = self.blind_for

    async def run(self) -> None:
        """Keep a kopf running until cancelled. Raises Blind if that cannot be done: a process that sees nothing must
        not live on.

        The first starts when the first look at all tenants is over, which lists them itself: what was tampered with
        while no operator ran is corrected half a second sooner without kopf's listing beside it. A standby does not
        wait long.
        """
        await _within(CACHES, self._controller.synced())
        await _within(FIRST_LOOK, self._controller.caught_up())
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
        """Return when this kopf has failed, or will not ask for some of the kinds any more: those, and why."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await kopf.failed.wait()
            self._say_whether_blind()
            if kopf.failed.is_set():
                return list(self._watched.values()), kopf.failure
            causes = [(watched, cause) for watched in self._watched.values() if (cause := watched.stuck())]
            if causes:
                return [watched for watched, _ in causes], causes[0][1]

    def _give_up(self, kopf: Kopf, stuck: Sequence[Watched], cause: str, failures: int) -> None:
        """`stuck`: the kinds that are not seen any more. Raises Blind if too many were given up that do not end."""
        now, kinds = time.monotonic(), " and ".join(watched.kind.plural_name for watched in stuck)
        for watched in self._watched.values():
            watched.seen = max(watched.seen, watched.asking.sees(now))
            watched.failure = watched.failure or (cause if watched in stuck else f"begun anew for {kinds}: {cause}")
        self._kopf = None
        kopf.stop()
        self._left = [each for each in [*self._left, kopf] if each.thread.is_alive()]
        if len(self._left) > LEFTOVERS:
            raise Blind(f"{kinds} cannot be watched: {len(self._left)} of kopf do not end; the last: {cause}")
        report = log.info if failures <= 1 else log.debug
        report(f"the watch of {kinds} is begun anew", cause=cause, request=stuck[0].failure)

    def _say_whether_blind(self) -> None:
        """Once when it begins, once when it ends."""
        now = time.monotonic()
        for watched in self._watched.values():
            blind, kinds = watched.blind_for(now), watched.kind.plural_name
            if watched.is_said_blind == (blind > UNSEEN):
                continue
            watched.is_said_blind = blind > UNSEEN
            if watched.is_said_blind:
                log.warning(f"{kinds} are not watched, tried again", cause=watched.failure, seconds=round(blind))
            else:
                log.info(f"{kinds} are watched again")

    def blind_for(self, kind: Kind) -> float:
        """For how many seconds nobody has seen the objects of this kind; 0 while they are watched."""
        return self._watched[kind].blind_for(time.monotonic())

    def unready(self) -> list[str]:
        """Which kinds are not seen, and what keeps them from it."""
        return [said for watched in self._watched.values() if (said := watched.unready())]

    def unhealthy(self) -> list[str]:
        """Which kinds are neither watched nor asked for, or have a watch that is silent: each would have been mended
        long ago."""
        return [said for watched in self._watched.values() if (said := watched.unhealthy())]

    # What kopf's thread tells, called in our loop. One that was given up is heard no more, but for the count.

    def _concerned(self, by: Kopf, request: Request) -> Iterable[Watched]:
        """The kinds that a request is for: discovery is for all."""
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
                    # Of what went between our own first list and kopf's it has no event either.
                    self._controller.relisted(watched.kind)
                watched.is_listed = True  # it watches from where its list, the whole of it, ended
            elif verb == "list":
                watched.contact = time.time()
                if is_first_page and watched.is_listed:
                    # After a 410, or by a new kopf: it has no event for what is gone.
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
    """Wait for it, but no longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
