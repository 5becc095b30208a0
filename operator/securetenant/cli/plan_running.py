"""What runs and would be refused by rules that are not in force yet, for `plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from securetenant.checks.policies import ADMISSION
from securetenant.checks.targets import Target
from securetenant.controls.world import World
from securetenant.drift.assess import Assessment
from securetenant.engine.inspection import inspect, served
from securetenant.kube.transport import Transport
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.posture.judging import Judge, Verdict
from securetenant.posture.rules import Rules, of_plans, read_by_checks
from securetenant.posture.tally import Broken, Tally, together


@dataclass(frozen=True, slots=True)
class Running:
    """`refused`: what would be refused, by the check's ID, the gravest first. `objects`: how many objects that are.
    `unknown`: what could not be judged, and why. `consequence`: what happens to such an object when it is created."""

    consequence: str = ""
    objects: int = 0
    refused: Mapping[str, Broken] = field(default_factory=dict)
    unknown: Sequence[str] = ()


async def running(transport: Transport, found: Assessment, world: World, now: datetime) -> Running:
    """Judge what runs in the tenant's namespaces whose rules would change. Left out is what breaks the rules that are
    in force. Raises ApiError where the API server is away."""
    actions = {want.ref.name: want.labels.get(ADMISSION) for want in found.desired if want.ref.kind is NAMESPACE}
    changed = [
        (rules, before)
        for rules in of_plans(found.desired, found.held)
        if (before := world.get(Ref(NAMESPACE, "", rules.namespace))) is not None
        and _differs(rules, actions[rules.namespace], before)
    ]
    kinds = await served(transport) if changed else {}
    judges = Judge(), Judge()  # by the new rules and the old: each keeps the parameters that it judged by last
    tallies = [await _changed(transport, judges, rules, before, now, kinds) for rules, before in changed]
    unknown = {why for tally in tallies for why in (*tally.unjudged.values(), *tally.unknown.values())}
    return Running(
        consequence=_consequence(found.tenant.spec.mode, refuses="Warn" not in actions.values()),
        objects=sum(tally.breaking for tally in tallies),
        refused=together(tallies),
        unknown=sorted(unknown),
    )


def _differs(rules: Rules, action: str | None, before: Observed) -> bool:
    return before.labels.get(ADMISSION) != action or read_by_checks(before.annotations) != rules.annotations


async def _changed(
    transport: Transport,
    judges: tuple[Judge, Judge],
    rules: Rules,
    before: Observed,
    now: datetime,
    kinds: Mapping[Target, Sequence[Kind]],
) -> Tally:
    new, old = judges
    # Where admission does not refuse by the rules as they are, nothing that stands there is known to its owners.
    standing = read_by_checks(before.annotations) if before.labels.get(ADMISSION) == "Deny" else None

    def verdict(target: Target, kind: Kind, raw: msgspec.Raw, by: Mapping[str, str], now: datetime) -> Verdict:
        judged = new.verdict(target, kind, raw, by, now)
        if standing is None or not judged.failures:
            return judged
        known = {one.identifier for one in old.verdict(target, kind, raw, standing, now).failures if not one.exempted}
        return judged._replace(failures=[one for one in judged.failures if one.identifier not in known])

    return await inspect(transport, verdict, rules, now, kinds)


def _consequence(mode: str, *, refuses: bool) -> str:
    would = "would be refused" if refuses else "would be admitted with a warning"
    return f"{would} in Enforce" if mode == "Audit" else would
