"""What is said of a tenant's reachability: the condition WhitelistHolds, its part of the status, the metric."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from securetenant.api.status import Condition, FlowDifference, ReachabilityStatus
from securetenant.model.metrics import Family, Samples
from securetenant.reach.holds import Difference, Holds
from securetenant.reach.standing import BOTH
from securetenant.sets.policy import PEERS

CONDITION: Final = "WhitelistHolds"
LISTED: Final = 20  # differences that the status lists; the counts include all
_NAMED: Final = 3  # that a message names
_LONGEST: Final = 160  # characters of a peer or of ports: a policy may name a megabyte of them, an object holds 1.5 MB

UNEXPECTED: Final = Family(
    "securetenant_whitelist_unexpected_flows",
    "gauge",
    "Flows that are open and not declared, counted by namespace, direction and peer; absent while unknown.",
    # No zeros: a tenant that is not judged has no series, for a 0 would look as if nothing were open.
    ("direction",),
)
FAMILIES: Final = (UNEXPECTED,)


def condition(holds: Holds) -> Condition:
    """What is known to be open comes first: that something else is not known makes it no better."""
    unknown = f"not known: {_some([_shortened(one) for one in holds.unknown])}" if holds.unknown else ""
    blocked = (
        f"{_flows(holds.blocked)} agreed and closed: {_some([_described(one) for one in holds.blocked])}"
        if holds.blocked
        else ""
    )
    if holds.unexpected:
        opened = f"{_flows(holds.unexpected)} open and not declared: "
        message = opened + _some([_described(one) for one in holds.unexpected])
        return Condition.of(CONDITION, "False", "Unexpected", _joined(message, blocked, unknown))
    if holds.unknown:
        return Condition.of(CONDITION, "Unknown", "NotUnderstood", _joined(unknown, blocked))
    if holds.blocked:
        return Condition.of(CONDITION, "False", "Blocked", blocked)
    return Condition.of(CONDITION, "True", "AsDeclared")


def not_judged(why: str) -> Condition:
    return Condition.of(CONDITION, "Unknown", "NotJudged", why)


def status(holds: Holds) -> ReachabilityStatus | None:
    """None where nothing differs."""
    if not holds.unexpected and not holds.blocked:
        return None
    return ReachabilityStatus(
        unexpected_count=len(holds.unexpected),
        blocked_count=len(holds.blocked),
        unexpected=[_listed(one) for one in holds.unexpected[:LISTED]],
        blocked=[_listed(one) for one in holds.blocked[:LISTED]],
    )


def samples(holds: Holds) -> Samples:
    """Of `FAMILIES`. Where something is not known, what is known is counted, and nothing else is told to be 0."""
    count = Counter(one.direction for one in holds.unexpected)
    return {UNEXPECTED.name: {(side,): count[side] for side in BOTH if count[side] or not holds.unknown}}


def newly(before: ReachabilityStatus | None, now: ReachabilityStatus | None) -> bool:
    """Whether something is open that was not, as far as the status lists it."""
    known = _known(before)
    return any(one not in known for one in _known(now))


def _known(status: ReachabilityStatus | None) -> Collection[FlowDifference]:
    return status.unexpected if status is not None else ()


def _listed(one: Difference) -> FlowDifference:
    return FlowDifference(
        direction=one.direction,
        namespace=one.namespace,
        peer=_shortened(one.peer),
        ports=_shortened(one.ports),
        policy=_policies(one),
    )


def _policies(one: Difference) -> str:
    return _some([f"{ref.kind.name}/{ref.name}" for ref in one.policies])


def _described(one: Difference) -> str:
    own = "to" if one.direction == "ingress" else "from"
    by = f"by {_policies(one)}" if one.policies else "no policy closes it"
    peer, ports = _shortened(one.peer), _shortened(one.ports)
    return f"{one.direction} {own} {one.namespace} {PEERS[one.direction]} {peer} on {ports} ({by})"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _flows(listed: Sequence[Difference]) -> str:
    return "1 flow is" if len(listed) == 1 else f"{len(listed)} flows are"


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
