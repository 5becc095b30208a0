"""A custom resource of ours, as the controller handles it: whose events it hears, and who reconciles its objects."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from securetenant.engine.workqueue import Key
from securetenant.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class Again:
    """When an object has to be reconciled again: in `after` seconds, and (`retry`) after its back-off. `missing`: a
    write of it was answered that there is none, and so it is to be looked for. `waiting`: not all was tried, so that
    it is no success after failures."""

    after: float | None = None
    retry: bool = False
    missing: bool = False
    waiting: bool = False


class Reconciles(Protocol):
    """The reconciler of one kind. Each may raise ApiError, and LeaseLost where a write finds that this instance does
    not lead any more."""

    async def reconcile(self, name: str, since: float, failures: int) -> Again:
        """One pass over one object. `since`: when the event behind it arrived (monotonic seconds); `failures`: how
        often it failed in a row."""

    async def unjudged(self, name: str, cause: str) -> None:
        """A pass was broken off by a defect: report that nothing is known of the object."""

    def forget(self, name: str) -> None:
        """The object is gone."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind. `names`: of the objects that are known, a live view. `observe` takes an event, and returns the keys
    that it concerns. `relist` has the kind listed, to find what went without an event. `is_suspect`: whether an object
    is to be looked at first after a start. `noun`: what a log line calls one, in place of its kind."""

    kind: Kind
    names: Collection[str]
    reconciler: Reconciles
    observe: Callable[[str | None, Mapping[str, Any]], Iterable[Key]]
    relist: Callable[[], None]
    is_suspect: Callable[[str], bool] = lambda name: False
    noun: str = ""

    def log_fields(self, name: str) -> dict[str, str]:
        """What names an object in a log line."""
        return {self.noun: name} if self.noun else {"kind": self.kind.name, "name": name}

    def __str__(self) -> str:
        return self.noun or self.kind.name


def keys(kind: Kind, names: Iterable[str]) -> list[Key]:
    return [Key(kind, name) for name in names]


def counts(resources: Iterable[Resource]) -> dict[str, int]:
    """How many objects of each are known, as fields of a log line."""
    return {f"{resource}s": len(resource.names) for resource in resources}
