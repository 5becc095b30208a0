"""For which objects a Kubernetes controller has not yet copied the spec into the status (`Kind.mirror`: a quota's
`hard`). Until it has, a status that differs from the spec is no tampering.

This is learned only from changes of the cache, and kept only for the objects where the copy is outstanding.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from securetenant.controls.control import Plan
from securetenant.controls.lookup import NAMED
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.engine.attribution import is_newer
from securetenant.kube.transport import Transport
from securetenant.model.kinds import Mirror
from securetenant.model.objects import Json, JsonValue, Observed, Ref, at

_UNKNOWN: Final[Json] = {"": ""}  # equal to no real status


class Following:
    """`change` is called for every change in the caches of kinds with a mirror, as (old, new). Single event loop."""

    def __init__(self) -> None:
        # What the status was when the spec last changed.
        self._behind: dict[Ref, Json] = {}

    def __len__(self) -> int:
        return len(self._behind)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        if new is None:
            if old is not None:
                self._behind.pop(old.ref, None)
            return
        in_force, hard = _status(new), _spec(new)
        if in_force == hard:
            self._behind.pop(new.ref, None)
        elif old is None or old.uid != new.uid:
            # A new object whose status is not set yet; or, with a status, one from before our start: unknown.
            self._behind[new.ref] = _UNKNOWN if in_force else {}
        elif _spec(old) != hard:
            self._behind[new.ref] = in_force

    def is_behind(self, have: Observed) -> bool | None:
        """For an object whose status differs from its spec: whether the Kubernetes controller has yet to copy it
        (otherwise somebody else wrote the status); None if unknown."""
        was = self._behind.get(have.ref)
        if was is _UNKNOWN:
            return None
        return was is not None and was == _status(have)


def _mirror(have: Observed) -> Mirror:
    mirror = have.ref.kind.mirror
    assert mirror is not None
    return mirror


def _status(have: Observed) -> Json:
    return _mapping(have.at(_mirror(have).status))


def _spec(have: Observed) -> Json:
    return _mapping(have.at(_mirror(have).spec))


def _mapping(value: JsonValue) -> Json:
    return value if isinstance(value, dict) else {}


async def judged(found: Assessment, following: Following, transport: Transport) -> Assessment:
    """The assessment without the objects whose status Kubernetes has yet to update; where others changed the status,
    the control's plan reports it. One GET for each object of which nothing is known since the start."""
    if all(finding.action != "Recount" for finding in found.findings):
        return found
    findings: list[Finding] = []
    for finding in found.findings:
        have = finding.observed
        if finding.action != "Recount" or have is None:
            findings.append(finding)
        elif (behind := following.is_behind(have)) is not True:
            # Unknown: a status written later than the spec is drift; otherwise it is corrected, but not counted.
            spec = ".".join(_mirror(have).spec)
            rollout = behind is None and not await is_newer(transport, have.ref, finding.path, spec)
            findings.append(replace(finding, rollout=rollout))
    return replace(found, findings=findings, plans=_with_tampering(found, findings))


def _with_tampering(found: Assessment, findings: Iterable[Finding]) -> dict[str, Plan]:
    tampered: dict[str, list[str]] = {}
    for finding in findings:
        if finding.action == "Recount" and not finding.rollout:
            tampered.setdefault(finding.control, []).append(_difference(finding))
    plans = dict(found.plans)
    for name, changes in tampered.items():
        if (report := NAMED[name].tampered) is not None:
            plans[name] = report(plans[name], changes)
    return plans


def _difference(finding: Finding) -> str:
    have, want = finding.observed, finding.desired
    assert have is not None
    assert want is not None
    mirror = _mirror(have)
    key = finding.path.removeprefix(".".join(mirror.status)).removeprefix(".")
    now, wanted = _status(have).get(key, "no limit"), _mapping(at(want.body, mirror.spec)).get(key, "no limit")
    return f"{key} in {finding.ref.namespace} ({now} instead of {wanted})"
