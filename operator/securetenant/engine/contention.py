"""Contested objects: another field manager changes them back as often as we correct them (a fight).

A correction that closes (takes access away) is made each time, at most `CLOSING_RATE` times a second per object: while
it waits, access stays open. Only other corrections (a label, a missing object that allows something) back off. Either
way the contest is reported with the manager's name, so that somebody can take away its right to write there.

In memory only, on purpose: after a restart a contest is detected again, at the cost of a few corrections.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from securetenant.model.objects import Ref

# An object is contested after this many corrections within the window (seconds).
CORRECTIONS: Final = 6
WINDOW = 60.0
# From then on the back-off of corrections that do not close doubles between these bounds (seconds).
FIRST_WAIT = 2.0
LONGEST_WAIT = 60.0
# Closing corrections of one object: per second, and in a burst. Spread evenly, since access is open between two of
# them: a burst of 20 would leave it open for the rest of the second.
CLOSING_RATE: Final = 20
CLOSING_BURST: Final = 2
# Objects that come back under ever new names are counted per place, at most once in this many seconds: many that come
# at once (a chart with ten policies) count as one.
PLACE_SECONDS = 1.0
# A contest that lasts this long (seconds) will not end by itself.
LASTING = 60.0


class Contest(NamedTuple):
    """A contest in progress. `manager`: the other field manager, "" if unknown. `lasting`: it has lasted so long that
    somebody has to end it."""

    control: str
    manager: str
    lasting: bool = False


@dataclass(slots=True)
class _Fight:
    control: str
    since: float
    times: deque[float] = field(default_factory=lambda: deque(maxlen=CORRECTIONS))
    manager: str = ""
    waits: int = 0


_Key = tuple[Ref, str]  # an object and "", or a place and the manager that makes objects there


class Contention:
    """The recent corrections of each tenant's objects."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._fights: dict[str, dict[_Key, _Fight]] = {}

    def corrected(self, tenant: str, ref: Ref, control: str, manager: str) -> None:
        """Note a correction of an object that `manager` had changed."""
        self._note(tenant, (ref, ""), control, manager)

    def removed(self, tenant: str, ref: Ref, control: str, manager: str) -> None:
        """Note the removal of an object that `manager` had created: its next one may have any name."""
        self.corrected(tenant, ref, control, manager)
        place = Ref(ref.kind, ref.namespace, "*"), manager
        known = self._fights[tenant].get(place)
        if known is None or self._clock() - known.times[-1] >= PLACE_SECONDS:
            self._note(tenant, place, control, manager)

    def _note(self, tenant: str, key: _Key, control: str, manager: str) -> None:
        now = self._clock()
        fight = self._fights.setdefault(tenant, {}).setdefault(key, _Fight(control, now))
        if not self._is_contested(fight):
            fight.since = now
        fight.times.append(now)
        fight.manager = manager or fight.manager
        if self._is_contested(fight):
            fight.waits += 1

    def wait(self, tenant: str, ref: Ref, *, closes: bool) -> float:
        """Seconds until this object may be corrected again; 0 if now. `closes`: the correction takes access away."""
        fight = self._fights.get(tenant, {}).get((ref, ""))
        if fight is None:
            return 0.0
        if closes:
            full = len(fight.times) >= CLOSING_BURST
            window = CLOSING_BURST / CLOSING_RATE
            return max(0.0, fight.times[-CLOSING_BURST] + window - self._clock()) if full else 0.0
        if not self._is_contested(fight):
            return 0.0
        return max(0.0, fight.times[-1] + _spacing(fight) - self._clock())

    def contested(self, tenant: str) -> dict[Ref, Contest]:
        """The contested objects, and places as objects with the name "*". Forgets those whose contest has ended."""
        fights = self._fights.get(tenant, {})
        now = self._clock()
        for key in [key for key, fight in fights.items() if now >= _calm(fight)]:
            del fights[key]
        if not fights:
            self._fights.pop(tenant, None)
        found: dict[Ref, Contest] = {}
        for (ref, _), fight in fights.items():
            if self._is_contested(fight):
                others = [found[ref].manager] if ref in found else []
                managers = ", ".join(filter(None, [*others, fight.manager]))
                found[ref] = Contest(fight.control, managers, now - fight.since >= LASTING)
        return found

    def calm_at(self, tenant: str) -> float:
        """Seconds until the next contest of the tenant may have ended; 0 if there is none."""
        now = self._clock()
        ends = [_calm(fight) - now for fight in self._fights.get(tenant, {}).values() if self._is_contested(fight)]
        return max(0.1, min(ends)) if ends else 0.0

    def forget(self, tenant: str) -> None:
        self._fights.pop(tenant, None)

    def _is_contested(self, fight: _Fight) -> bool:
        if fight.waits:
            return True
        return len(fight.times) >= CORRECTIONS and fight.times[-1] - fight.times[-CORRECTIONS] <= WINDOW


def _spacing(fight: _Fight) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(30, fight.waits - 1)) if fight.waits else 0.0


def _calm(fight: _Fight) -> float:
    """When the contest ends, if nothing more happens."""
    return fight.times[-1] + max(WINDOW, 2 * _spacing(fight))
