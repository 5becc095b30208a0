"""Contested objects: another field manager changes them back as often as we correct them.

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


class ManagerConflict(NamedTuple):
    """A contest in progress. `manager`: the other field manager, "" if unknown. `lasting`: it has lasted so long that
    somebody has to end it."""

    control: str
    manager: str
    lasting: bool = False


@dataclass(slots=True)
class _Corrections:
    """The recent corrections of one object."""

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
        self._corrections: dict[str, dict[_Key, _Corrections]] = {}

    def corrected(self, tenant: str, ref: Ref, control: str, manager: str) -> None:
        """Note a correction of an object that `manager` had changed."""
        self._note(tenant, (ref, ""), control, manager)

    def removed(self, tenant: str, ref: Ref, control: str, manager: str) -> None:
        """Note the removal of an object that `manager` had created: its next one may have any name."""
        self.corrected(tenant, ref, control, manager)
        place = Ref(ref.kind, ref.namespace, "*"), manager
        known = self._corrections[tenant].get(place)
        if known is None or self._clock() - known.times[-1] >= PLACE_SECONDS:
            self._note(tenant, place, control, manager)

    def _note(self, tenant: str, key: _Key, control: str, manager: str) -> None:
        now = self._clock()
        recent = self._corrections.setdefault(tenant, {}).setdefault(key, _Corrections(control, now))
        if not self._is_contested(recent):
            recent.since = now
        recent.times.append(now)
        recent.manager = manager or recent.manager
        if self._is_contested(recent):
            recent.waits += 1

    def wait(self, tenant: str, ref: Ref, *, closes: bool) -> float:
        """Seconds until this object may be corrected again; 0 if now. `closes`: the correction takes access away."""
        recent = self._corrections.get(tenant, {}).get((ref, ""))
        if recent is None:
            return 0.0
        if closes:
            full = len(recent.times) >= CLOSING_BURST
            window = CLOSING_BURST / CLOSING_RATE
            return max(0.0, recent.times[-CLOSING_BURST] + window - self._clock()) if full else 0.0
        if not self._is_contested(recent):
            return 0.0
        return max(0.0, recent.times[-1] + _spacing(recent) - self._clock())

    def contested(self, tenant: str) -> dict[Ref, ManagerConflict]:
        """The contested objects, and places as objects with the name "*". Forgets those whose contest has ended."""
        known = self._corrections.get(tenant, {})
        now = self._clock()
        for key in [key for key, recent in known.items() if now >= _calm(recent)]:
            del known[key]
        if not known:
            self._corrections.pop(tenant, None)
        found: dict[Ref, ManagerConflict] = {}
        for (ref, _), recent in known.items():
            if self._is_contested(recent):
                others = [found[ref].manager] if ref in found else []
                managers = ", ".join(filter(None, [*others, recent.manager]))
                found[ref] = ManagerConflict(recent.control, managers, now - recent.since >= LASTING)
        return found

    def calm_at(self, tenant: str) -> float:
        """Seconds until the next contest of the tenant may have ended; 0 if there is none."""
        now = self._clock()
        known = self._corrections.get(tenant, {}).values()
        ends = [_calm(recent) - now for recent in known if self._is_contested(recent)]
        return max(0.1, min(ends)) if ends else 0.0

    def forget(self, tenant: str) -> None:
        self._corrections.pop(tenant, None)

    def _is_contested(self, recent: _Corrections) -> bool:
        if recent.waits:
            return True
        return len(recent.times) >= CORRECTIONS and recent.times[-1] - recent.times[-CORRECTIONS] <= WINDOW


def _spacing(recent: _Corrections) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(30, recent.waits - 1)) if recent.waits else 0.0


def _calm(recent: _Corrections) -> float:
    """When the contest ends, if nothing more happens."""
    return recent.times[-1] + max(WINDOW, 2 * _spacing(recent))
