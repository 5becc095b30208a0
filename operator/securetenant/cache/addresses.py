"""Which addresses are in use: by the objects in the caches, and by what was given to a tenant in this process."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import Use
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed
from securetenant.sets.space import Gap, Network, Space


def ranges() -> dict[Kind, Callable[[Observed], Iterable[Network]]]:
    """By kind, the blocks of addresses that an object uses."""
    return {kind: found for control in CONTROLS for kind, found in control.ranges.items()}


class Addresses:
    """Implements `controls.world.Addresses`. `change` is to be called for every change of the caches of the kinds in
    `ranges`.

    Two tenants are planned one after the other, but their objects are written at the same time: so what a plan gives is
    `reserved` before anything is awaited. It needs no record: a process that dies before the object is written has
    given nothing.
    """

    def __init__(self) -> None:
        self._space: Space[Use] = Space()
        self._ranges = ranges()
        self._reserved: dict[str, dict[Use, Sequence[Network]]] = {}

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        if old is not None:
            for block in self._ranges[old.ref.kind](old):
                self._space.remove(_use(old), block)
        if new is not None:
            for block in self._ranges[new.ref.kind](new):
                self._space.add(_use(new), block)

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

    def overlapping(self, block: Network) -> Iterator[tuple[Use, Network]]:
        return self._space.overlapping(block)

    def free(self, within: Network, length: int) -> Network | None:
        return self._space.free(within, length)

    def gaps(self, within: Network) -> Iterator[Gap]:
        return self._space.gaps(within)


def _use(observed: Observed) -> Use:
    place = observed.ref.place
    return Use(observed.ref, observed.tenant if place else "", place if observed.tenant else "")
