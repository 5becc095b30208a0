"""What one kopf is doing with one kind, as its requests show. Pure: times are time.monotonic, given by the caller."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from securetenant.model.kinds import Kind

# How long (seconds) an answer may take.
ANSWER = 10.0
# The pauses of kopf's between two tries (seconds): the last for a day, for it not to give up by itself.
BACKOFFS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, *([3.0] * 28_800))
# A watch that stood this long (seconds) is one. None is opened sooner after another of its kind.
STANDS = 1.0
# kopf asks for nothing and has no watch for this long (seconds): it will not ask any more. More than its pauses.
IDLE = max(BACKOFFS) + 3.0
# What kopf may be late (seconds) with its own limit of an answer.
LATE = 3.0
# How long (seconds) a Retry-After is heeded.
PATIENCE = 8.0

Verb = Literal["list", "watch", "get"]


class Request(NamedTuple):
    """One request of kopf's. `kind`: the one that is listed or watched; None of its discovery, which is for all."""

    verb: Verb
    kind: Kind | None
    is_first_page: bool


@dataclass(slots=True)
class Asking:
    """The requests for one kind, discovery included."""

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
        """When it last surely saw the objects: now, while a watch stands."""
        return now if self.watch and now - self.watch >= STANDS else self.heard

    def stuck(self, now: float) -> str:
        """Why it will see nothing any more; "" while it watches, or asks."""
        idle = now - self.since
        if self.watch:
            return ""
        if self.under_way > 0:
            return f"no answer for {idle:.0f} s" if idle > ANSWER + LATE else ""
        return f"it asked for nothing for {idle:.0f} s" if idle > IDLE and now > self.patient + 1.0 else ""
