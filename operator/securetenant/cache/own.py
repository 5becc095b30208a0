"""Which addresses are the cluster's own: what objects, tenants and the settings declare as such, used or not."""

from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from ipaddress import ip_network
from typing import Final

from securetenant.controls.registry import CONTROLS
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed
from securetenant.sets.space import Network, Space, Summary

# In how many parts an answer is at most: each is an exception of a NetworkPolicy's block, whose number is what network
# plug-ins are slow with.
MOST: Final = 64
# The prefix of the tokens of tenants that declare a block.
_DECLARED: Final = "own:"


def own_ranges() -> dict[Kind, list[Callable[[Observed], Iterable[Network]]]]:
    """By kind, the blocks of addresses that an object declares as the cluster's own."""
    found: dict[Kind, list[Callable[[Observed], Iterable[Network]]]] = {}
    for control in CONTROLS:
        for kind, ranges in (*control.ranges.items(), *control.own.items()):
            found.setdefault(kind, []).append(ranges)
    return found


class OwnRanges:
    """Answers `controls.world.Addresses.own`, and knows which answers have changed since.

    What lies in a block that is there already changes nothing: of a thousand subnets out of a pool none is noticed.
    `on_doubt` is called when an answer may have changed.
    """

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self.on_doubt: Callable[[], None] = lambda: None
        self._space: Space[Hashable] = Space()
        self._ranges = own_ranges()
        self._answers: dict[Network, Summary] = {}
        self._doubtful: set[Network] = set()
        self._changed: set[Network] = set()
        for text in fixed:
            self._space.add(text, ip_network(text))

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        before, after = self._of(old), self._of(new)
        for block in after - before:
            self._add(new.ref if new is not None else "", block)
        for block in before - after:
            self._remove(old.ref if old is not None else "", block)

    def _of(self, observed: Observed | None) -> set[Network]:
        if observed is None:
            return set()
        return {block for ranges in self._ranges.get(observed.ref.kind, ()) for block in ranges(observed)}

    def declared(self, token: str, is_there: bool) -> None:
        """The first tenant has a token, or the last one has it no more."""
        if token.startswith(_DECLARED):
            with suppress(ValueError):  # of a spec that the models refuse
                (self._add if is_there else self._remove)(token, ip_network(token.removeprefix(_DECLARED)))

    def given(self, tenant: str, before: Iterable[Network], after: Iterable[Network]) -> None:
        """What a tenant's status says it was given has changed."""
        old, new = set(before), set(after)
        for block in new - old:
            self._add(("given", tenant, block), block)
        for block in old - new:
            self._remove(("given", tenant, block), block)

    def within(self, block: Network) -> Summary:
        """The cluster's own addresses in a block."""
        before = self._answers.get(block)
        if before is not None and block not in self._doubtful:
            return before
        answer = self._space.summary(block, MOST)
        self._doubtful.discard(block)
        self._answers[block] = answer
        if before is not None and answer != before:
            self._changed.add(block)
        return answer

    def changed(self) -> set[Network]:
        """The blocks whose answers have changed since the last call."""
        for block in tuple(self._doubtful):
            self.within(block)
        found, self._changed = self._changed, set()
        return found

    def forget(self, block: Network) -> None:
        """Nobody asks for it any more."""
        self._answers.pop(block, None)
        self._doubtful.discard(block)
        self._changed.discard(block)

    def _add(self, user: Hashable, block: Network) -> None:
        is_new = not self._space.covers(block)
        self._space.add(user, block)
        if is_new:
            self._doubt(block)

    def _remove(self, user: Hashable, block: Network) -> None:
        self._space.remove(user, block)
        if not self._space.covers(block):
            self._doubt(block)

    def _doubt(self, block: Network) -> None:
        found = [one for one in self._answers if one.version == block.version and one.overlaps(block)]
        if found:
            self._doubtful.update(found)
            self.on_doubt()
