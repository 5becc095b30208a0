"""Writes that admission changes (a webhook, a MutatingAdmissionPolicy): answered with 200, but not stored as sent.

They are reported as deviations until the object is as wanted. Writing again is useless while admission does the same,
so it is retried with a back-off, or at once when somebody changed the object since. In memory only: a restart costs one
write.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from securetenant.drift.judge import Finding
from securetenant.engine.writer import Altered, Outcome
from securetenant.model.objects import Observed, Ref

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0


@dataclass(slots=True)
class _Standing:
    """`path`: the altered field; `content`: a hash of the object after our write; `tries`: writes so far; `due`: when
    to write again (monotonic seconds)."""

    path: str
    content: int
    tries: int
    due: float


class Alterations:
    """What admission changed in each tenant's objects, and when to retry. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tenants: dict[str, dict[Ref, _Standing]] = {}

    def note(self, tenant: str, altered: Altered) -> None:
        """Note a write that admission changed."""
        known = self._tenants.setdefault(tenant, {})
        before = known.get(altered.finding.ref)
        tries = before.tries + 1 if before is not None else 1
        due = self._clock() + min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(30, tries - 1))
        known[altered.finding.ref] = _Standing(altered.path, _content(altered.observed), tries, due)

    def path(self, tenant: str, have: Observed | None) -> str:
        """The field that admission changed, if the object is still as our write left it; else ""."""
        standing = self._tenants.get(tenant, {}).get(have.ref) if have is not None else None
        return standing.path if standing is not None and have and _content(have) == standing.content else ""

    def wait(self, tenant: str, have: Observed | None) -> float:
        """Seconds until the object may be written again: 0 once somebody changed it or the back-off has passed."""
        if have is None or not self.path(tenant, have):
            return 0.0
        return max(0.0, self._tenants[tenant][have.ref].due - self._clock())

    def clear(self, tenant: str, ref: Ref) -> None:
        """The object is as wanted, or no longer wanted: forget it."""
        if standing := self._tenants.get(tenant):
            standing.pop(ref, None)
            if not standing:
                del self._tenants[tenant]

    def outstanding(self, tenant: str, findings: Iterable[Finding], outcome: Outcome) -> list[Finding]:
        """Take in a pass. Returns what to report of all objects that are as admission changed them, those written in an
        earlier pass and not retried now included: each is a deviation, even where the finding was a rollout."""
        for one in outcome.altered:
            self.note(tenant, one)
        news = {one.finding.ref: one for one in outcome.altered}
        written = {finding.ref for finding in outcome.done} | news.keys()
        kept = {f.ref: f for f in findings if f.ref not in written and self.path(tenant, f.observed)}
        for ref in self._tenants.get(tenant, {}).keys() - news.keys() - kept.keys():
            self.clear(tenant, ref)
        items = [(one.finding, one.observed, one.path) for one in news.values()]
        items += [(f, f.observed, self.path(tenant, f.observed)) for f in kept.values() if f.observed]
        return [_as_it_stands(finding, have, path) for finding, have, path in items]

    def forget(self, tenant: str) -> None:
        self._tenants.pop(tenant, None)


def _as_it_stands(finding: Finding, have: Observed, path: str) -> Finding:
    reason = "Changed" if finding.desired is not None else finding.reason
    manager = "" if finding.rollout else finding.manager
    remedy = "find the webhook or MutatingAdmissionPolicy that does, and exempt it there"
    text = f"admission changed it at {path}: {remedy}"
    return replace(finding, reason=reason, rollout=False, path=path, message=text, observed=have, manager=manager)


def _content(have: Observed) -> int:
    """A hash of all that is known of the object except its status, which changes by itself."""
    fields = frozenset((name, bytes(raw)) for name, raw in have.fields.items() if name != "status")
    texts = frozenset(have.labels.items()), frozenset(have.annotations.items())
    return hash((have.uid, have.record, have.deleting, have.finalizers, have.owners, fields, texts))
