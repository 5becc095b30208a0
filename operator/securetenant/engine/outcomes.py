"""Writes that failed or were changed by admission: what to report, and what to retry silently. Pure."""

from collections.abc import Iterable

from securetenant.drift.judge import Finding
from securetenant.engine.writer import Outcome
from securetenant.kube.transport import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound

# How often a conflict with a change that the caches have not seen yet is retried before it is reported.
SILENT_RETRIES = 4


def unwritten(
    todo: Iterable[Finding], outcome: Outcome, altered: Iterable[Finding], failures: int
) -> dict[str, list[str]]:
    """By control, the writes that failed, that wait for a failed one, or that admission changed; without those that are
    retried at once."""
    found: dict[str, list[str]] = {}
    errors, over = dict(outcome.failed), {*outcome.done, *(one.finding for one in outcome.altered)}
    for finding in todo:
        error = errors.get(finding)
        if finding in over or (error is not None and not is_news(error, failures)):
            continue
        ref = finding.ref
        why = (
            failure(finding, error) if error is not None else f"{finding.action} {ref}: waits for what failed before it"
        )
        found.setdefault(finding.control, []).append(why)
    for item in altered:
        found.setdefault(item.control, []).append(f"{item.ref}: {item.message}")
    return found


def is_beaten(error: ApiError) -> bool:
    return isinstance(error, Conflict | AlreadyExists)


def is_news(error: ApiError, failures: int) -> bool:
    """Whether to report a failed write: a conflict with a change that the caches have not seen yet is not reported,
    unless it persists."""
    passing = (
        isinstance(error, Conflict | AlreadyExists | NotFound)
        or (isinstance(error, Forbidden) and error.is_namespace_terminating)
        or (isinstance(error, Invalid) and error.method == "PATCH")
    )
    return not passing or failures >= SILENT_RETRIES


def failure(finding: Finding, error: ApiError) -> str:
    """The message about a failed write."""
    hint = ""
    kind = finding.ref.kind
    if isinstance(error, Forbidden) and kind.component:
        hint = f" (the right over {kind.plural} is opt-in: apply manifests/components/{kind.component})"
    return f"{finding.action} {finding.ref}: {error.reason}: {error.message}{hint}"
