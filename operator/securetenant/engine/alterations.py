"""Writes that admission changes (a webhook, a MutatingAdmissionPolicy): answered with 200, and not as asked for.

They stand as deviations until the object is as wanted. Writing them again is of no use while admission does the same,
so that is done with a back-off; at once when somebody changed the object since. Soft state: a restart costs one write.
"""

from collections.abc import Callable
from dataclasses import dataclass

from securetenant.api.objects import Observed, Ref
from securetenant.engine.writer import Altered

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0


@dataclass(slots=True)
class _Standing:
    """`content`: what the object was after our write; `tries`: writes so far; `due`: when to write again."""

    path: str
    content: int
    tries: int
    due: float


class Alterations:
    """What admission changed of each tenant's objects, and when to try again. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tenants: dict[str, dict[Ref, _Standing]] = {}

    def note(self, tenant: str, altered: Altered) -> None:
        """A write was answered with something else."""
        known = self._tenants.setdefault(tenant, {})
        before = known.get(altered.finding.ref)
        tries = before.tries + 1 if before is not None else 1
        due = self._clock() + min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(30, tries - 1))
        known[altered.finding.ref] = _Standing(altered.path, _content(altered.observed), tries, due)

    def path(self, tenant: str, have: Observed | None) -> str:
        """The field that admission changed, of an object that is still as our write left it; else ""."""
        standing = self._tenants.get(tenant, {}).get(have.ref) if have is not None else None
        return standing.path if standing is not None and have and _content(have) == standing.content else ""

    def wait(self, tenant: str, have: Observed | None) -> float:
        """Seconds until the object may be written again: 0 once somebody changed it, or when the time has come."""
        if have is None or not self.path(tenant, have):
            return 0.0
        return max(0.0, self._tenants[tenant][have.ref].due - self._clock())

    def settled(self, tenant: str, ref: Ref) -> None:
        """The object is as wanted, or wanted no more."""
        if standing := self._tenants.get(tenant):
            standing.pop(ref, None)
            if not standing:
                del self._tenants[tenant]

    def standing(self, tenant: str) -> set[Ref]:
        """The objects that admission changed, as far as is known."""
        return set(self._tenants.get(tenant, ()))

    def forget(self, tenant: str) -> None:
        self._tenants.pop(tenant, None)


def _content(have: Observed) -> int:
    """All that is known of the object but its status, which changes by itself."""
    fields = frozenset((name, bytes(raw)) for name, raw in have.fields.items() if name != "status")
    texts = frozenset(have.labels.items()), frozenset(have.annotations.items())
    return hash((have.uid, have.record, have.deleting, have.finalizers, have.owners, fields, texts))


def told(path: str) -> str:
    """What a reader has to know of it."""
    return f"admission changed it at {path}: find the webhook or MutatingAdmissionPolicy that does, and exempt it there"
