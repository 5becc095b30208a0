"""When to stop fighting: objects that another manager rewrites as often as we correct them.

Soft state on purpose: after a restart the fight has to show itself again, at the cost of a few corrections.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from securetenant.api.objects import Ref

# This many corrections of one object within the window (seconds) make it contested.
CORRECTIONS = 6
WINDOW = 60.0
# Then corrections are spaced, doubling from the first to the last (seconds); a policy stays open no longer.
FIRST_WAIT = 2.0
LONGEST_WAIT = 60.0


@dataclass(slots=True)
class _Fight:
    control: str
    times: deque[float] = field(default_factory=lambda: deque(maxlen=CORRECTIONS))
    manager: str = ""
    waits: int = 0


class Contests:
    """The corrections of each tenant's objects, lately."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._fights: dict[str, dict[Ref, _Fight]] = {}

    def corrected(self, tenant: str, ref: Ref, control: str, manager: str) -> None:
        """Note a correction of what `manager` did."""
        fight = self._fights.setdefault(tenant, {}).setdefault(ref, _Fight(control))
        fight.times.append(self._clock())
        fight.manager = manager or fight.manager
        if self._is_contested(fight):
            fight.waits += 1

    def wait(self, tenant: str, ref: Ref) -> float:
        """Seconds until this object may be corrected again; 0 if it is not contested."""
        fight = self._fights.get(tenant, {}).get(ref)
        if fight is None or not self._is_contested(fight):
            return 0.0
        return max(0.0, fight.times[-1] + _spacing(fight) - self._clock())

    def contested(self, tenant: str) -> dict[Ref, tuple[str, str]]:
        """The contested objects: control and the other manager. Those that calmed down are forgotten."""
        fights = self._fights.get(tenant, {})
        now = self._clock()
        for ref in [r for r, f in fights.items() if now - f.times[-1] > max(WINDOW, 2 * _spacing(f))]:
            del fights[ref]
        if not fights:
            self._fights.pop(tenant, None)
        return {ref: (f.control, f.manager) for ref, f in fights.items() if self._is_contested(f)}

    def calm_at(self, tenant: str) -> float:
        """Seconds until the next contest of the tenant may be over; 0 if there is none."""
        now = self._clock()
        ends = [
            f.times[-1] + max(WINDOW, 2 * _spacing(f)) - now
            for f in self._fights.get(tenant, {}).values()
            if self._is_contested(f)
        ]
        return max(0.1, min(ends)) if ends else 0.0

    def forget(self, tenant: str) -> None:
        self._fights.pop(tenant, None)

    def _is_contested(self, fight: _Fight) -> bool:
        full = len(fight.times) == CORRECTIONS
        return fight.waits > 0 or (full and fight.times[-1] - fight.times[0] <= WINDOW)


def _spacing(fight: _Fight) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** max(0, fight.waits - 1)) if fight.waits else 0.0
