"""What kopf is doing for one kind, derived from its requests. Pure: times are time.monotonic, given by the caller."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from securetenant.model.kinds import Kind

# How long (seconds) an answer may take.
ANSWER = 10.0
# kopf's pauses between retries (seconds); the last one is repeated for a day, so that kopf does not give up by itself.
BACKOFFS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, *([3.0] * 28_800))
# A watch that lasted this long (seconds) counts as working. No watch of a kind is opened sooner after the last one.
STANDS = 1.0
# After this long (seconds) without a request or a watch, kopf will send none any more. Longer than its pauses.
IDLE = max(BACKOFFS) + 3.0
# How much later (seconds) than its own time limit kopf may end a request.
LATE = 3.0
# The longest Retry-After that is respected (seconds).
PATIENCE = 8.0

Verb = Literal["list", "watch", "get"]


class Request(NamedTuple):
    """One request of kopf's. `kind`: the one that is listed or watched; None for discovery, which concerns all."""

    verb: Verb
    kind: Kind | None
    is_first_page: bool


@dataclass(slots=True)
class Asking:
    """The state of the requests for one kind, including discovery."""

    since: float  # when a request last began, was answered or ended
    under_way: int = 0
    watch: float = 0.0  # since when a watch is open; 0: none is
    heard: float = 0.0  # when a watch was last known to work; 0: never
    patient: float = 0.0  # until when the server asked us to wait

    def began(self, now: float) -> None:
        self.since = now
        self.under_way += 1

    def answered(self, verb: Verb, code: str, now: float, retry_after: float = 0.0) -> None:
        """`code`: as in `securetenant_api_requests_total`."""
        self.since = now
        self.patient = now + min(retry_after, PATIENCE) if retry_after else 0.0
        if code == "200" and verb != "watch":
            return  # not finished until it is read
        self.under_way -= 1
        if code == "200":
            self.watch = now

    def over(self, verb: Verb, now: float) -> None:
        """An answer was read or abandoned."""
        self.since = now
        if verb != "watch":
            self.under_way -= 1
            return
        self.heard, self.watch = self.sees(now), 0.0

    def event(self, now: float) -> None:
        """An event arrived, from a list or a watch."""
        if self.watch:
            self.heard = now

    def sees(self, now: float) -> float:
        """When kopf last certainly saw the objects: now, while a watch is open."""
        return now if self.watch and now - self.watch >= STANDS else self.heard

    def stuck(self, now: float) -> str:
        """Why kopf will see nothing any more; "" while it watches or sends requests."""
        idle = now - self.since
        if self.watch:
            return ""
        if self.under_way > 0:
            return f"no answer for {idle:.0f} s" if idle > ANSWER + LATE else ""
        return f"it asked for nothing for {idle:.0f} s" if idle > IDLE and now > self.patient + 1.0 else ""
