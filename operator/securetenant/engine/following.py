"""Which quotas kube-controller-manager has yet to follow: it copies spec.hard into status.hard after each change, and
what stands there until then is no tampering. Learned from the changes of the cache alone, and kept for those only
that it has yet to follow.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from securetenant.controls.control import Plan
from securetenant.controls.quota import control as quota
from securetenant.controls.quota import held
from securetenant.drift.assess import Survey
from securetenant.drift.judge import Finding
from securetenant.engine.attribution import is_newer
from securetenant.kube.transport import Transport
from securetenant.model.objects import Json, JsonValue, Observed, Ref

_UNKNOWN: Final[Json] = {"": ""}  # no status.hard
_SPEC: Final = "spec.hard"


class Following:
    """`change` hears of every change of the cache of quotas, as (old, new). Single event loop."""

    def __init__(self) -> None:
        # What status.hard was when spec.hard changed last.
        self._behind: dict[Ref, Json] = {}

    def __len__(self) -> int:
        return len(self._behind)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """A quota came (no old), changed, or went (no new)."""
        if new is None:
            if old is not None:
                self._behind.pop(old.ref, None)
            return
        in_force, hard = _hard(new.field("status")), _hard(new.field("spec"))
        if in_force == hard:
            self._behind.pop(new.ref, None)
        elif old is None or old.uid != new.uid:
            # Nobody has counted yet; or, at the start, what was done before is not known.
            self._behind[new.ref] = _UNKNOWN if in_force else {}
        elif _hard(old.field("spec")) != hard:
            self._behind[new.ref] = in_force

    def is_behind(self, quota: Observed) -> bool | None:
        """Of a quota whose limits in force are not those of its spec: whether kube-controller-manager has yet to follow
        (else somebody else wrote its status); None if that is not known."""
        was = self._behind.get(quota.ref)
        if was is _UNKNOWN:
            return None
        return was is not None and was == _hard(quota.field("status"))


def _hard(part: JsonValue) -> Json:
    hard = part.get("hard") if isinstance(part, dict) else None
    return hard if isinstance(hard, dict) else {}


async def judged(found: Survey, following: Following, transport: Transport) -> Survey:
    """The survey without the quotas that kube-controller-manager has yet to follow, and with what there is to say of
    those whose status others changed. One GET for each of which nothing is known since the start."""
    if all(finding.action != "Recount" for finding in found.findings):
        return found
    findings: list[Finding] = []
    for finding in found.findings:
        have = finding.observed
        if finding.action != "Recount" or have is None:
            findings.append(finding)
        elif (behind := following.is_behind(have)) is not True:
            # Not known: written later than the spec it is somebody's doing; else it is put right, and not counted.
            rollout = behind is None and not await is_newer(transport, have.ref, finding.path, _SPEC)
            findings.append(replace(finding, rollout=rollout))
    return replace(found, findings=findings, plans=_told(found, findings))


def _told(found: Survey, findings: Iterable[Finding]) -> dict[str, Plan]:
    tampered = [_difference(finding) for finding in findings if finding.action == "Recount" and not finding.rollout]
    if not tampered:
        return found.plans
    return {**found.plans, quota.NAME: held.tampered(found.plans[quota.NAME], tampered)}


def _difference(finding: Finding) -> str:
    have, want = finding.observed, finding.desired
    resource = finding.path.removeprefix("status.hard").removeprefix(".")
    now = _hard(have.field("status")).get(resource, "no limit") if have is not None else ""
    limit = _hard(want.body.get("spec")).get(resource, "no limit") if want is not None else ""
    return f"{resource} in {finding.ref.namespace} ({now} instead of {limit})"
