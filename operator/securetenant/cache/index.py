"""Secondary indexes over a cache, from a key to the objects that have it; updated with every change of the cache."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from securetenant.model.objects import Observed, Ref


class Index:
    """`keys` returns an object's keys; `change` is called for every change of the cache, our own writes included."""

    def __init__(self, keys: Callable[[Observed], Iterable[str]]) -> None:
        self._keys = keys
        self._members: defaultdict[str, dict[Ref, Observed]] = defaultdict(dict)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        if old is not None:
            for key in self._keys(old):
                members = self._members.get(key, {})
                members.pop(old.ref, None)
                if not members:
                    self._members.pop(key, None)
        if new is not None:
            for key in self._keys(new):
                self._members[key][new.ref] = new

    def get(self, key: str) -> Iterable[Observed]:
        """The objects that currently have this key."""
        return tuple(self._members.get(key, {}).values())
