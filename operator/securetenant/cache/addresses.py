"""Which addresses are in use: by the objects in the caches, and by what was given to tenants."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from securetenant.cache.own import OwnRanges, own_ranges
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import Use
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed
from securetenant.sets.space import Gap, Network, Space, Summary, parsed

T = TypeVar("T")
_Blocks = tuple[Network, ...]


def ranges() -> dict[Kind, Callable[[Observed], Iterable[Network]]]:
    """By kind, the blocks of addresses that an object uses."""
    return {kind: found for control in CONTROLS for kind, found in control.ranges.items()}


#: The kinds whose changes `Addresses` has to see.
SEEN: Final = tuple(own_ranges())


class Addresses:
    """Implements `controls.world.Addresses`. `change` is to be called for every change of the caches of the kinds in
    `SEEN`, `recall` for every change of a tenant's status. `fixed`: blocks that are the cluster's own in any case.

    Two tenants are planned one after the other, but their objects are written at the same time: so what a plan gives is
    `reserved` before anything is awaited. It stays so until a status shows it, since a write without an answer may have
    succeeded. A process that dies before anything was written has given nothing. A status may name what no object has
    any more, after somebody deleted it: pods have their addresses from it all the same.
    """

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self.owned = OwnRanges(fixed)
        self._space: Space[Use] = Space()
        self._ranges = ranges()
        # By tenant and namespace: what the statuses say; and what plans gave that no status has shown, the newest last.
        self._recorded: dict[str, dict[str, _Blocks]] = {}
        self._reserved: dict[str, dict[str, list[_Blocks]]] = {}

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
        """Count these blocks as used by the tenant's namespaces from now on."""
        recorded = self._recorded.get(tenant, {})
        news = {name: tuple(found) for name, found in blocks.items() if found and recorded.get(name) != tuple(found)}
        if not news:
            return
        with self._changing(tenant):
            reserved = self._reserved.setdefault(tenant, {})
            for name, found in news.items():
                reserved[name] = [*(one for one in reserved.get(name, ()) if one != found), found]

    def recall(self, tenant: str, cidrs: Mapping[str, Iterable[str]]) -> None:
        """Count as used what the tenant's status says its namespaces were given; {} for one that is gone."""
        recorded = {name: blocks for name, texts in cidrs.items() if (blocks := tuple(parsed(texts)))}
        if recorded == self._recorded.get(tenant, {}):
            return
        self.owned.given(tenant, _all(self._recorded.get(tenant, {})), _all(recorded))
        with self._changing(tenant):
            _put(self._recorded, tenant, recorded)
            reserved = {
                name: [one for one in found if one != recorded.get(name)]
                for name, found in self._reserved.get(tenant, {}).items()
            }
            _put(self._reserved, tenant, {name: found for name, found in reserved.items() if found})

    def forget(self, tenant: str) -> None:
        """The tenant is gone: what its plans gave is not reserved any more."""
        with self._changing(tenant):
            self._reserved.pop(tenant, None)

    @contextmanager
    def _changing(self, tenant: str) -> Iterator[None]:
        before = self._of(tenant)
        yield
        now = self._of(tenant)
        for use, block in before - now:
            self._space.remove(use, block)
        for use, block in now - before:
            self._space.add(use, block)

    def _of(self, tenant: str) -> set[tuple[Use, Network]]:
        recorded, reserved = self._recorded.get(tenant, {}), self._reserved.get(tenant, {})
        pairs = [*recorded.items(), *((name, one) for name, found in reserved.items() for one in found)]
        return {(Use(None, tenant, name), block) for name, blocks in pairs for block in blocks}

    def given(self, tenant: str, namespace: str) -> Sequence[Network]:
        found = self._reserved.get(tenant, {}).get(namespace)
        return found[-1] if found else ()

    def own(self, block: Network) -> Summary:
        return self.owned.within(block)

    def overlapping(self, block: Network) -> Iterator[tuple[Use, Network]]:
        return self._space.overlapping(block)

    def free(self, within: Network, length: int, but: Iterable[Network] = ()) -> Network | None:
        return self._space.free(within, length, but)

    def gaps(self, within: Network) -> Iterator[Gap]:
        return self._space.gaps(within)


def _all(layer: Mapping[str, _Blocks]) -> Iterator[Network]:
    return (block for blocks in layer.values() for block in blocks)


def _put(layer: dict[str, dict[str, T]], tenant: str, value: dict[str, T]) -> None:
    if value:
        layer[tenant] = value
    else:
        layer.pop(tenant, None)


def _use(observed: Observed) -> Use:
    place = observed.ref.place
    return Use(observed.ref, observed.tenant if place else "", place if observed.tenant else "")
