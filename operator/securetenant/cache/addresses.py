"""Which addresses are in use: by the objects in the caches, and by what was given to a tenant in this process."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from securetenant.cache.own import OwnRanges, own_ranges
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import Use
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed
from securetenant.sets.space import Gap, Network, Space, Summary


def ranges() -> dict[Kind, Callable[[Observed], Iterable[Network]]]:
    """By kind, the blocks of addresses that an object uses."""
    return {kind: found for control in CONTROLS for kind, found in control.ranges.items()}


#: The kinds whose changes `Addresses` has to see.
SEEN: Final = tuple(own_ranges())


class Addresses:
    """Implements `controls.world.Addresses`. `change` is to be called for every change of the caches of the kinds in
    `SEEN`. `fixed`: blocks that are the cluster's own in any case.

    Two tenants are planned one after the other, but their objects are written at the same time: so what a plan gives is
    `reserved` before anything is awaited. It needs no record: a process that dies before the object is written has
    given nothing.
    """

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self.owned = OwnRanges(fixed)
        self._space: Space[Use] = Space()
        self._ranges = ranges()
        self._reserved: dict[str, dict[Use, Sequence[Network]]] = {}

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        self.owned.change(old, new)
        before, after = self._used(old), self._used(new)
        if before == after:  # as with the heartbeat of a node
            return
        for use, block in before:
            self._space.remove(use, block)
        for use, block in after:
            self._space.add(use, block)

    def _used(self, observed: Observed | None) -> list[tuple[Use, Network]]:
        if observed is None or observed.ref.kind not in self._ranges:
            return []
        use = _use(observed)
        return [(use, block) for block in self._ranges[observed.ref.kind](observed)]

    def reserve(self, tenant: str, blocks: Mapping[str, Sequence[Network]]) -> None:
        """Count these blocks as used by the tenant's namespaces, instead of what was reserved for it before."""
        after: dict[Use, Sequence[Network]] = {
            Use(None, tenant, namespace): tuple(found) for namespace, found in blocks.items() if found
        }
        before = self._reserved.pop(tenant, {})
        if after:
            self._reserved[tenant] = after
        if before == after:
            return
        for use, found in before.items():
            for block in found:
                self._space.remove(use, block)
        for use, found in after.items():
            for block in found:
                self._space.add(use, block)

    def own(self, block: Network) -> Summary:
        return self.owned.within(block)

    def overlapping(self, block: Network) -> Iterator[tuple[Use, Network]]:
        return self._space.overlapping(block)

    def free(self, within: Network, length: int) -> Network | None:
        return self._space.free(within, length)

    def gaps(self, within: Network) -> Iterator[Gap]:
        return self._space.gaps(within)


def _use(observed: Observed) -> Use:
    place = observed.ref.place
    return Use(observed.ref, observed.tenant if place else "", place if observed.tenant else "")
