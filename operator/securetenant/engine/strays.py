"""Objects of ours that landed in a namespace that was replaced by another one of the same name.

A request cannot name the UID of the namespace it is meant for. So where somebody deletes and recreates a namespace
between our reading it and our writing, an object of ours (a RoleBinding, for example) lands in a namespace that is not
the tenant's. Such an object is recognized by its UID in the answer to our write: marks and records can be forged.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from securetenant.controls.world import World
from securetenant.drift.judge import Finding
from securetenant.engine.writer import Outcome
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref

# How late a cache may learn that a namespace was replaced (seconds): as long as a cache is trusted.
LATE: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Made:
    uid: str
    control: str
    place: str  # UID of the namespace it was meant for


class Strays:
    """What each tenant's last writes created in its namespaces; kept for at least `LATE` seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._made: dict[str, tuple[float, dict[Ref, _Made]]] = {}

    def note(self, tenant: str, outcome: Outcome, uids: Mapping[str, str]) -> None:
        """Remember what a pass created. `uids`: by name, those of the namespaces it was meant for."""
        made = {
            finding.ref: _Made(answer.uid, finding.control, uids.get(finding.ref.namespace, ""))
            for finding, answer in outcome.created
            if finding.ref.namespace
        }
        now = self._monotonic()
        # The oldest come first: a tenant that is noted again moves to the end.
        late = itertools.takewhile(lambda name: now - self._made[name][0] > LATE, self._made)
        for name in tuple(late):
            del self._made[name]
        if made:
            _, before = self._made.pop(tenant, (0.0, {}))
            self._made[tenant] = now, {**before, **made}

    def findings(self, tenant: str, world: World, own: Collection[str]) -> list[Finding]:
        """Findings to delete the objects that are in another namespace than they were meant for. `own`: namespaces
        that are the tenant's all the same, where these objects are judged like all others."""
        _, made = self._made.get(tenant, (0.0, {}))
        return [
            Finding(ref, each.control, "Stale", "Delete", rollout=True, message=_MESSAGE, observed=have)
            for ref, each in made.items()
            if ref.namespace not in own
            and (place := world.get(Ref(NAMESPACE, "", ref.namespace))) is not None
            and place.uid != each.place
            and (have := world.get(ref)) is not None
            and have.uid == each.uid
        ]

    def forget(self, tenant: str) -> None:
        self._made.pop(tenant, None)


_MESSAGE: Final = "was written just when somebody deleted and recreated its namespace"
