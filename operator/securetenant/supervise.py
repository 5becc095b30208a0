"""The watch of SecureTenants, kept whatever the API server answers: kopf does it, and is started anew when it stops to.

kopf ends, or goes on without its watch, after many an answer that is not as it should be (a 404 or 410, an ERROR
event, a line that is no JSON), and tells nobody. So what it does is read off its requests: there is a watch, or one
is about to be asked for. Where neither is so, that kopf is given up, and another one started.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from securetenant.cache.roster import Blind
from securetenant.engine.controller import UNSEEN, Operator
from securetenant.engine.informers import SILENT
from securetenant.kube.config import ClientConfig
from securetenant.model import names
from securetenant.telemetry.metrics import Metrics
from securetenant.watch import ANSWER, BACKOFFS, STANDS, WATCH_SILENT, Kopf, Verb

log = structlog.get_logger("securetenant.watch")

# How long kopf waits for the caches (seconds): thousands of tenants take seconds to list, and more beside kopf.
CACHES = 15.0
# And then for the first look at all tenants, which a standby has none of; how much longer where it is under way.
FIRST_LOOK = 1.0
MORE_TO_LOAD = 5.0
# kopf asks for nothing and has no watch for this long (seconds): it will not ask any more. More than its pauses.
IDLE = max(BACKOFFS) + 3.0
# What kopf may be late (seconds) with its own limit of an answer.
LATE = 3.0
# How long (seconds) a Retry-After is heeded.
PATIENCE = 8.0
# The pauses before kopf is started anew (seconds), the last again and again.
RESTARTS: Final = (0.1, 0.5, 1.0, 2.0, 3.0)
# How often (seconds) it is looked at, and how many that were given up may live on before the process has to end.
LOOK = 0.5
LEFTOVERS = 8
# Asking for nothing for this long (seconds) is no pause: then nothing starts kopf anew.
UNASKED = 45.0


@dataclass(slots=True)
class Asking:
    """What one kopf is doing, as its requests show. Times are time.monotonic."""

    since: float  # when a request last began, was answered or ended
    under_way: int = 0
    watch: float = 0.0  # since when a watch stands; 0: none does
    heard: float = 0.0  # when a watch was last known to be well; 0: none has been
    patient: float = 0.0  # until when the server asked to wait

    def began(self, now: float) -> None:
        self.since = now
        self.under_way += 1

    def answered(self, verb: Verb, code: str, now: float, retry_after: float = 0.0) -> None:
        """`code`: as in `securetenant_api_requests_total`."""
        self.since = now
        self.patient = now + min(retry_after, PATIENCE) if retry_after else 0.0
        if code == "200" and verb != "watch":
            return  # until it is read
        self.under_way -= 1
        if code == "200":
            self.watch = now

    def over(self, verb: Verb, now: float) -> None:
        """An answer was read, or given up."""
        self.since = now
        if verb != "watch":
            self.under_way -= 1
            return
        self.heard, self.watch = self.sees(now), 0.0

    def event(self, now: float) -> None:
        """An event came, of a list or a watch."""
        if self.watch:
            self.heard = now

    def sees(self, now: float) -> float:
        """When it last surely saw the SecureTenants: now, while a watch stands."""
        return now if self.watch and now - self.watch >= STANDS else self.heard

    def stuck(self, now: float) -> str:
        """Why it will see nothing any more; "" while it watches, or asks."""
        idle = now - self.since
        if self.watch:
            return ""
        if self.under_way > 0:
            return f"no answer for {idle:.0f} s" if idle > ANSWER + LATE else ""
        return f"it asked for nothing for {idle:.0f} s" if idle > IDLE and now > self.patient + 1.0 else ""


class TenantWatcher:
    """kopf, watching SecureTenants. What it sees goes to the operator, in the loop that this was made in."""

    def __init__(self, config: ClientConfig, operator: Operator, metrics: Metrics) -> None:
        self._config = config
        self._operator = operator
        self._metrics = metrics
        self._kopf: Kopf | None = None
        self._asking = Asking(time.monotonic())  # of that one
        self._left: list[Kopf] = []  # given up, and not ended yet
        self._seen = time.monotonic()  # when the last one before it saw the SecureTenants
        self._given = config.generation  # of the credentials that kopf has
        self._listed = False
        self._failure = ""  # of the last request, or of the last kopf
        self._contact = 0.0  # time.time of the last list, accepted watch or event
        self._blind = False  # as the log says
        metrics.watch_informer(names.KIND, operator.tenants.__len__, lambda: self._contact or None)
        operator.blind_for = self.blind_for

    async def run(self) -> None:
        """Keep a kopf running until cancelled. Raises Blind if that cannot be done: a process that sees nothing must
        not live on.

        The first starts when the first look at all tenants is over, which lists them itself: what was tampered with
        while no operator ran is corrected half a second sooner without kopf's listing beside it. A standby does not
        wait long.
        """
        await _within(CACHES, self._operator.synced())
        await _within(FIRST_LOOK, self._operator.caught_up())
        if self._operator.is_loading:
            await _within(MORE_TO_LOAD, self._operator.caught_up())
        self._seen = time.monotonic()  # by the operator's own list
        failures = 0
        try:
            while True:
                self._asking = Asking(time.monotonic())
                self._kopf = Kopf(self._config, self)
                cause = await self._until_stuck(self._kopf)
                failures = 0 if self._asking.heard else failures + 1
                self._give_up(self._kopf, cause, failures)
                await asyncio.sleep(RESTARTS[min(failures, len(RESTARTS) - 1)])
        finally:
            for each in self._left:
                each.stop()
            if self._kopf is not None:
                self._kopf.stop()
                await asyncio.to_thread(self._kopf.thread.join, 5.0)

    async def _until_stuck(self, kopf: Kopf) -> str:
        """Return when this kopf has failed, or will not ask any more, and why."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await kopf.failed.wait()
            self._say_whether_blind()
            silent = time.time() - self._contact
            if kopf.failed.is_set():
                return kopf.failure
            if stuck := self._asking.stuck(time.monotonic()):
                return stuck
            if self._asking.watch and silent > WATCH_SILENT + ANSWER:
                return f"its watch has been silent for {silent:.0f} s"

    def _give_up(self, kopf: Kopf, cause: str, failures: int) -> None:
        """Raises Blind if there are too many of them by now."""
        self._seen = max(self._seen, self._asking.sees(time.monotonic()))
        self._failure = self._failure or cause
        self._kopf = None
        kopf.stop()
        self._left = [each for each in [*self._left, kopf] if each.thread.is_alive()]
        if len(self._left) > LEFTOVERS:
            raise Blind(f"SecureTenants cannot be watched: {len(self._left)} of kopf do not end; the last: {cause}")
        report = log.info if failures <= 1 else log.debug
        report("the watch of SecureTenants is begun anew", cause=cause, request=self._failure)

    def _say_whether_blind(self) -> None:
        """Once when it begins, once when it ends."""
        blind = self.blind_for()
        if self._blind != (blind > UNSEEN):
            self._blind = blind > UNSEEN
            if self._blind:
                log.warning("SecureTenants are not watched, tried again", cause=self._failure, seconds=round(blind))
            else:
                log.info("SecureTenants are watched again")

    def blind_for(self) -> float:
        """For how many seconds nobody has seen the SecureTenants; 0 while they are watched."""
        now = time.monotonic()
        return max(0.0, now - max(self._seen, self._asking.sees(now)))

    def unready(self) -> list[str]:
        """What keeps the SecureTenants from being seen, if they are not."""
        if not self._listed:
            return [f"SecureTenant: {self._failure or 'not listed yet'}"]
        blind = self.blind_for()
        return [f"SecureTenant: not watched for {blind:.0f} s: {self._failure}"] if blind > UNSEEN else []

    def unhealthy(self) -> list[str]:
        """Neither watched nor asked for, or a watch that is silent: each would have been mended long ago."""
        idle, silent = time.monotonic() - self._asking.since, time.time() - self._contact
        if self._asking.watch:
            return [f"SecureTenant: silent for {silent:.0f} s"] if silent > SILENT else []
        return [f"SecureTenant: neither watched nor asked for, for {idle:.0f} s"] if idle > UNASKED else []

    # What kopf's thread tells, called in our loop. One that was given up is heard no more, but for the count.

    def began(self, by: Kopf) -> None:
        if by is self._kopf:
            self._asking.began(time.monotonic())

    def answered(self, by: Kopf, verb: Verb, is_first_page: bool, code: str, retry_after: float) -> None:
        self._metrics.request(verb, names.KIND if verb != "get" else "", code, 0.0)
        if by is not self._kopf:
            return
        self._asking.answered(verb, code, time.monotonic(), retry_after)
        if code != "200":
            self._failure = f"{verb}: {code}"
        elif verb == "watch":
            self._failure = ""
            self._contact = time.time()
            if not self._listed:
                # Of what went between our own first list and kopf's it has no event either.
                self._operator.relisted()
            self._listed = True  # it watches from where its list, the whole of it, ended
        elif verb == "list":
            self._contact = time.time()
            if is_first_page and self._listed:
                # After a 410, or by a new kopf: it has no event for what is gone.
                self._operator.relisted()

    def over(self, by: Kopf, verb: Verb) -> None:
        if by is self._kopf:
            self._asking.over(verb, time.monotonic())

    def observe(self, by: Kopf, event_type: str | None, body: dict[str, Any]) -> None:
        if by is not self._kopf:
            return
        self._asking.event(time.monotonic())
        self._contact = time.time()
        try:
            self._operator.observe(event_type, body)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            name = (body.get("metadata") or {}).get("name", "")
            log.warning("an event of a SecureTenant cannot be read, listing them all", tenant=name, cause=repr(error))
            self._operator.relisted()

    async def credentials(self, *, are_refused: bool) -> str:
        if are_refused:
            await self._config.renew(self._given)
        self._given = self._config.generation
        return await self._config.authorization()


async def _within(seconds: float, waiting: Awaitable[None]) -> None:
    """Wait for it, but no longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
