"""A custom resource of ours as the controller handles it: how its events become keys, and what reconciles its
objects."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from securetenant.engine.workqueue import Key
from securetenant.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class Again:
    """When an object has to be reconciled again: in `after` seconds, and (`retry`) after its back-off. `missing`: a
    write to it was answered with NotFound, so the kind has to be relisted. `waiting`: not everything was tried, so the
    pass does not reset the object's failures."""

    after: float | None = None
    retry: bool = False
    missing: bool = False
    waiting: bool = False


class Reconciles(Protocol):
    """The reconciler of one kind. Its methods may raise ApiError, and LeaseLost where a write finds that this instance
    is no longer the leader."""

    async def reconcile(self, name: str, since: float, failures: int) -> Again:
        """Reconcile one object (a pass). `since`: when the event that caused it arrived (monotonic seconds);
        `failures`: failed passes in a row before this one."""

    async def unjudged(self, name: str, cause: str) -> None:
        """A pass was aborted by a bug: report that the object's state is unknown."""

    def forget(self, name: str) -> None:
        """The object is deleted: drop what is kept for it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind. `names`: the names of the known objects, a live view. `observe` takes an event and returns the keys
    that it concerns. `relist` has the kind listed, to find objects that were deleted without an event. `is_suspect`:
    whether an object is to be reconciled first after a start. `noun`: what log lines call an object, instead of its
    kind."""

    kind: Kind
    names: Collection[str]
    reconciler: Reconciles
    observe: Callable[[str | None, Mapping[str, Any]], Iterable[Key]]
    relist: Callable[[], None]
    is_suspect: Callable[[str], bool] = lambda name: False
    noun: str = ""

    def log_fields(self, name: str) -> dict[str, str]:
        """The fields that identify an object in a log line."""
        return {self.noun: name} if self.noun else {"kind": self.kind.name, "name": name}

    def __str__(self) -> str:
        return self.noun or self.kind.name


def keys(kind: Kind, names: Iterable[str]) -> list[Key]:
    return [Key(kind, name) for name in names]


def counts(resources: Iterable[Resource]) -> dict[str, int]:
    """The number of known objects of each kind, as fields of a log line."""
    return {f"{resource}s": len(resource.names) for resource in resources}
