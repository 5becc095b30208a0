"""What was written into a namespace that is another by now.

No request can say into which namespace, by UID, it is to go. So where somebody deletes a namespace and makes it anew
between our look at it and a write, an object of ours (a RoleBinding, say) lands in a namespace that is not the
tenant's. It is known by its UID, out of the answer to our own write: marks and records can be forged.
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

# How long the news that a namespace is another may take (seconds): as long as a cache is trusted.
LATE: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Made:
    uid: str
    control: str
    place: str  # UID of the namespace that it was meant for


class Strays:
    """What each tenant's last writes created in its namespaces, for `LATE` seconds, or until the next look at it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._made: dict[str, tuple[float, dict[Ref, _Made]]] = {}

    def note(self, tenant: str, outcome: Outcome, uids: Mapping[str, str]) -> None:
        """Remember what a pass created. `uids`: of the namespaces that it was meant for."""
        made = {
            finding.ref: _Made(answer.uid, finding.control, uids.get(finding.ref.namespace, ""))
            for finding, answer in outcome.created
            if finding.ref.namespace
        }
        now = self._monotonic()
        # The oldest come first: who is noted again goes to the end.
        late = itertools.takewhile(lambda name: now - self._made[name][0] > LATE, self._made)
        for name in tuple(late):
            del self._made[name]
        if made:
            _, before = self._made.pop(tenant, (0.0, {}))
            self._made[tenant] = now, {**before, **made}

    def findings(self, tenant: str, world: World, own: Collection[str]) -> list[Finding]:
        """Those that stand in another namespace than they were meant for, to be deleted. `own`: namespaces that are
        the tenant's all the same, where they are judged like all else."""
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


_MESSAGE: Final = "was written in the moment in which others made its namespace anew"
