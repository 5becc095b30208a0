"""How a tenant's total of one resource is shared out among its namespaces. Integers in thousandths of a unit.

Kubernetes admits by `status.hard`, which kube-controller-manager copies from `spec.hard` some time later
(k8s.io/apiserver/pkg/admission/plugin/resourcequota). So what a namespace may come to use is the largest of
spec.hard, status.hard and status.used: what is *in force*. Shrinking takes effect only when the status has
followed; hence shrinks are asked for at once, and growths only out of `total - reserved - sum(in force)`.

That is safe on a world that lags behind, as long as it shows the operator's own writes: since a past state was
seen, only a growth of ours can have raised what is in force, for use is admitted up to status.hard alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# A namespace is short of headroom below this fraction of its fair part; less is not worth a write.
QUARTER = 4


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one namespace stands with one resource.

    `granted`: what we last gave it; None if nothing that can be believed is there (no quota yet, or tampered with).
    `in_force`: the most it may come to use as things stand: max(spec.hard, status.hard, used).
    `used`: None while nobody has counted.
    `cap`: more than this it never gets.
    """

    granted: int | None
    in_force: int
    used: int | None
    cap: int | None = None

    @property
    def taken(self) -> int:
        """What it uses, or may use of its grant until that is counted."""
        return self.used if self.used is not None else self.granted or 0

    @property
    def uncounted(self) -> bool:
        """Whether it may use more than anything known of it says."""
        return self.granted is None and self.used is None

    def capped(self, amount: int) -> int:
        return amount if self.cap is None else min(amount, self.cap)


@dataclass(frozen=True, slots=True)
class Pot:
    """What is to be shared out among whom. `grain`: the smallest part worth moving."""

    total: int
    stands: Sequence[Stand]
    grain: int

    @property
    def spare(self) -> int:
        """What nobody uses; negative if more is used than there is."""
        return self.total - sum(stand.taken for stand in self.stands)

    def unassigned(self, hards: Sequence[int]) -> int:
        """What is nobody's once these hards are in force."""
        return self.total - sum(max(hard, stand.taken) for hard, stand in zip(hards, self.stands, strict=True))

    def free(self, hards: Sequence[int]) -> int:
        """What is nobody's whichever of these hards have taken effect: growth may come from here alone."""
        return self.total - sum(max(hard, stand.in_force) for hard, stand in zip(hards, self.stands, strict=True))


def share_out(total: int, stands: Sequence[Stand], grain: int) -> list[int]:
    """What each namespace's hard should be now, such that neither the sum of the new hards nor, whichever of them
    have taken effect, the sum of what is in force is pushed past the total.

    One step of several: what is taken here is given there in a later pass, once it is really free. Without need
    everything stays as it is; the result is then what was granted.
    """
    pot = Pot(total, stands, grain)
    fair = fair_hards(pot)
    hards = [_kept(stand, fair[i], pot.spare) for i, stand in enumerate(stands)]
    if pot.spare < 0:
        return hards
    may_grow = _may_grow(stands)
    # With less than a grain for each, the last grains stay where they are instead of going round for ever.
    worth = pot.spare >= grain * len(stands)
    short = [i for i in may_grow if _is_short(stands[i], hards[i], fair[i], worth)]
    _take(pot, fair, hards, short)
    _give(pot, fair, hards, short, may_grow)
    return hards


def fair_hards(pot: Pot) -> list[int]:
    """What each would have if it were all shared out afresh: its use and an equal part of what is spare.

    Where more is used than there is, the total is shared max-min fairly: small users keep what they use, the
    large ones are held to a common level, and nobody has headroom.
    """
    stands, spare = pot.stands, pot.spare
    if spare < 0:
        return fill(max(pot.total, 0), [stand.capped(stand.taken) for stand in stands], pot.grain)
    rooms = [max(stand.capped(stand.taken + spare) - stand.taken, 0) for stand in stands]
    parts = fill(spare, rooms, pot.grain)
    return [stand.capped(stand.taken + part) for stand, part in zip(stands, parts, strict=True)]


def fill(amount: int, wants: Sequence[int], grain: int) -> list[int]:
    """The amount divided max-min fairly: equal parts in whole grains, none above its want, what one cannot take
    going to the others. The first ones get the odd grains, and the first with room the rest below a grain."""
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
    """What a namespace has before anything is moved: its grant, and never less than its use, which costs nothing."""
    if spare < 0:
        return min(stand.taken if stand.granted is None else stand.granted, fair)
    return stand.capped(max(stand.granted or 0, stand.taken))


def _may_grow(stands: Sequence[Stand]) -> Sequence[int]:
    """While a namespace's use is uncounted, nobody else grows: it may hold what would be given away.

    One alone may get its part blindly: what it uses beyond that would be used without a quota just as well.
    """
    uncounted = [i for i, stand in enumerate(stands) if stand.uncounted]
    if len(uncounted) > 1:
        return []
    return uncounted or range(len(stands))


def _is_short(stand: Stand, hard: int, fair: int, worth: bool) -> bool:
    """Whether a namespace must get more now."""
    if stand.granted is None:
        return fair > hard
    if stand.used is None:
        return False
    return worth and (hard - stand.used) * QUARTER < fair - stand.used


def _take(pot: Pot, fair: Sequence[int], hards: list[int], short: Sequence[int]) -> None:
    """Cuts those that have most beyond their fair part down to it, until the short ones can be served.

    For those without a grant nothing is taken from others yet: that would answer one tampered quota with writes
    to the rest. They get what is free, and if that leaves them short, the next pass takes.
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
    """Grows out of what is really free: first the short ones, then, if much is lying about, all below their part."""
    _grow(pot, fair, hards, short)
    unassigned = pot.unassigned(hards)
    if unassigned > 0 and unassigned * QUARTER >= pot.spare:
        _grow(pot, fair, hards, may_grow)
    # A raised quota that is being pulled down must not stand in the way of its own rightful part.
    for i in short:
        stand = pot.stands[i]
        if stand.granted is None and hards[i] < fair[i]:
            own = max(hards[i], stand.in_force) - max(hards[i], stand.taken)
            hards[i] += min(fair[i] - hards[i], max(pot.free(hards) + own, 0)) // pot.grain * pot.grain


def _grow(pot: Pot, fair: Sequence[int], hards: list[int], members: Sequence[int]) -> None:
    """Grows these towards their fair part, out of what is free."""
    wants = [max(fair[i] - hards[i], 0) for i in members]
    for i, part in zip(members, fill(max(pot.free(hards), 0), wants, pot.grain), strict=True):
        hards[i] += part
