"""How a tenant's total of one resource is divided among its namespaces. Integers in thousandths of a unit.

Kubernetes admits by `status.hard`, which kube-controller-manager copies from `spec.hard` some time later
(k8s.io/apiserver/pkg/admission/plugin/resourcequota). So the most that a namespace may come to use is the largest of
spec.hard, status.hard and status.used: what is *in force*. Shrinking takes effect only when the status has followed;
hence shrinks are written at once, and growth comes only out of `total - sum(in force)`. (The caller has subtracted from
the total what is committed in namespaces that the tenant no longer writes to.)

That is safe on caches that lag behind, as long as they show the operator's own writes: since the state in the cache,
only a growth of ours can have raised what is in force, because use is admitted only up to status.hard. It may have
fallen, though: so a hard limit above spec.hard is a growth even if it is below what the cache shows as in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# A namespace is short if its unused quota is below its fair part divided by this; a smaller lack is not worth a write.
QUARTER = 4


@dataclass(frozen=True, slots=True)
class Stand:
    """The state of one namespace for one resource.

    `granted`: what we last gave it; None if that is not known (no quota yet, or tampered with).
    `in_force`: the most that it may use: max(spec.hard, status.hard, used).
    `used`: None while not counted.
    `cap`: the most it ever gets; None for no cap.
    `foreign`: spec.hard where that is not `granted`; 0 without a quota.
    """

    granted: int | None
    in_force: int
    used: int | None
    cap: int | None = None
    foreign: int = 0

    @property
    def hard(self) -> int:
        """spec.hard, whoever wrote it."""
        return self.foreign if self.granted is None else self.granted

    @property
    def taken(self) -> int:
        """What it uses; its whole grant while that is not counted."""
        return self.used if self.used is not None else self.granted or 0

    @property
    def uncounted(self) -> bool:
        """Whether nothing is known of its use: neither a count nor a grant that bounds it."""
        return self.granted is None and self.used is None

    def capped(self, amount: int) -> int:
        return amount if self.cap is None else min(amount, self.cap)


@dataclass(frozen=True, slots=True)
class Pot:
    """What is divided among which namespaces. `grain`: the smallest amount worth moving."""

    total: int
    stands: Sequence[Stand]
    grain: int

    @property
    def spare(self) -> int:
        """What is not used; negative if more is used than the total."""
        return self.total - sum(stand.taken for stand in self.stands)

    def unassigned(self, hards: Sequence[int]) -> int:
        """What is left of the total once these hards are in force."""
        return self.total - sum(max(hard, stand.taken) for hard, stand in zip(hards, self.stands, strict=True))

    def free(self, hards: Sequence[int]) -> int:
        """What is left of the total whichever of these hards have taken effect: growth may only come from here."""
        return self.total - sum(max(hard, stand.in_force) for hard, stand in zip(hards, self.stands, strict=True))


def share_out(total: int, stands: Sequence[Stand], grain: int) -> list[int]:
    """The hard limit that each namespace should have now, such that neither the sum of the new limits nor the sum of
    what is in force (whichever of them have taken effect) is raised above the total.

    This is one step of several: what is taken from one namespace is given to another in a later pass, once it is really
    free. Without need nothing changes: the result is what was granted.
    """
    pot = Pot(total, stands, grain)
    hards = _wanted(pot)
    free = pot.free(hards)
    return [
        min(hard, max(stand.hard, free + max(hard, stand.in_force))) for hard, stand in zip(hards, stands, strict=True)
    ]


def _wanted(pot: Pot) -> list[int]:
    """Like `share_out`, but some may be raised to their use although more than the total is in force. That use may be
    in the past, so the raise would be a growth."""
    stands, grain = pot.stands, pot.grain
    fair = fair_hards(pot)
    hards = [_kept(stand, fair[i], pot.spare) for i, stand in enumerate(stands)]
    if pot.spare < 0:
        return hards
    may_grow = _may_grow(stands)
    # With less than a grain for each, the last grains stay where they are instead of moving around for ever.
    worth = pot.spare >= grain * len(stands)
    short = [i for i in may_grow if _is_short(stands[i], hards[i], fair[i], worth)]
    _take(pot, fair, hards, short)
    _give(pot, fair, hards, short, may_grow)
    return hards


def fair_hards(pot: Pot) -> list[int]:
    """What each would have if everything were divided again: its use and an equal part of what is not used.

    Where more is used than the total, the total is divided max-min fairly: small users keep what they use, the large
    ones are limited to a common level, and no namespace has unused quota.
    """
    stands, spare = pot.stands, pot.spare
    if spare < 0:
        return fill(max(pot.total, 0), [stand.capped(stand.taken) for stand in stands], pot.grain)
    rooms = [max(stand.capped(stand.taken + spare) - stand.taken, 0) for stand in stands]
    parts = fill(spare, rooms, pot.grain)
    return [stand.capped(stand.taken + part) for stand, part in zip(stands, parts, strict=True)]


def fill(amount: int, wants: Sequence[int], grain: int) -> list[int]:
    """The amount divided max-min fairly: equal parts in whole grains, none above its want; what one does not want goes
    to the others. The first ones get the remaining grains, and the first with room the rest below a grain."""
    parts = [0] * len(wants)
    left = amount
    order = sorted(range(len(wants)), key=lambda i: (wants[i], -i))
    for done, i in enumerate(order):
        parts[i] = min(wants[i], left // (len(wants) - done) // grain * grain)
        left -= parts[i]
    for i, want in enumerate(wants):
        more = min(left, want - parts[i])
        parts[i] += more
        left -= more
    return parts


def _kept(stand: Stand, fair: int, spare: int) -> int:
    """What a namespace has before anything is moved: its grant, but at least its use, which takes nothing from others;
    where more is used than the total, at most its fair part."""
    if spare < 0:
        return min(stand.taken if stand.granted is None else stand.granted, fair)
    return stand.capped(max(stand.granted or 0, stand.taken))


def _may_grow(stands: Sequence[Stand]) -> Sequence[int]:
    """The namespaces that may grow. While one's use is unknown, no other grows: it may be using what would be given
    away.

    If it is the only one of that kind, it may get its part without a count: what it uses beyond that it would use
    without a quota as well.
    """
    uncounted = [i for i, stand in enumerate(stands) if stand.uncounted]
    if len(uncounted) > 1:
        return []
    return uncounted or range(len(stands))


def _is_short(stand: Stand, hard: int, fair: int, worth: bool) -> bool:
    """Whether a namespace needs more now."""
    if stand.granted is None:
        return fair > hard
    if stand.used is None:
        return False
    return worth and (hard - stand.used) * QUARTER < fair - stand.used


def _take(pot: Pot, fair: Sequence[int], hards: list[int], short: Sequence[int]) -> None:
    """Cuts the namespaces with the largest excess over their fair part down to it, until the short ones can be served.

    Nothing is taken from others yet for namespaces without a grant: otherwise one tampered quota would cause writes to
    all the others. They get what is free, and if that is not enough, the next pass takes from the others.
    """
    wanted = sum(fair[i] - hards[i] for i in short if pot.stands[i].granted is not None)
    missing = wanted - pot.unassigned(hards)
    donors = sorted((i for i in range(len(hards)) if hards[i] > fair[i]), key=lambda i: fair[i] - hards[i])
    for i in donors:
        if missing <= 0:
            return
        missing -= hards[i] - max(fair[i], pot.stands[i].taken)
        hards[i] = fair[i]


def _give(pot: Pot, fair: Sequence[int], hards: list[int], short: Sequence[int], may_grow: Sequence[int]) -> None:
    """Grows namespaces out of what is really free: first the short ones, then, if much is free, all that are below
    their part."""
    _grow(pot, fair, hards, short)
    unassigned = pot.unassigned(hards)
    if unassigned > 0 and unassigned * QUARTER >= pot.spare:
        _grow(pot, fair, hards, may_grow)
    # A quota that somebody raised and that is being lowered must not prevent its own namespace's rightful part.
    for i in short:
        stand = pot.stands[i]
        if stand.granted is None and hards[i] < fair[i]:
            own = max(hards[i], stand.in_force) - max(hards[i], stand.taken)
            hards[i] += min(fair[i] - hards[i], max(pot.free(hards) + own, 0)) // pot.grain * pot.grain


def _grow(pot: Pot, fair: Sequence[int], hards: list[int], members: Sequence[int]) -> None:
    """Grows these namespaces towards their fair part, out of what is free."""
    wants = [max(fair[i] - hards[i], 0) for i in members]
    for i, part in zip(members, fill(max(pot.free(hards), 0), wants, pot.grain), strict=True):
        hards[i] += part
