"""What a pass rolled out: why, how much, and which flows opened and closed by it. Pure.

All of it is read off the findings that were carried out, never off what was meant to be: what is told was written.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant
from securetenant.controls.network import policies, whitelist
from securetenant.controls.network.openings import Opening, openings
from securetenant.controls.network.whitelist import Direction
from securetenant.controls.quota import control as quota
from securetenant.drift.judge import Action, Finding
from securetenant.engine.writer import Outcome
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, NODE, Kind
from securetenant.model.objects import Ref

Change = Literal["opened", "closed", "expired"]
Rules = Mapping[tuple[Direction, str], IngressRule | EgressRule]

_DONE: Final[Mapping[Action, str]] = {
    "Create": "created",
    "Replace": "replaced",
    "Recreate": "replaced",
    "Patch": "changed",
    "Delete": "deleted",
    "Release": "released",
}
# A narrowed rule's policy was called so by versions up to 0.1.
_OLD_NAME: Final = re.compile(r"(.+)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class FlowChange:
    """What changed of a rule's flows in one namespace. `ticket` is "" where the rule is not in the spec any more;
    `peers` are those whose declaration opened or closed them, where it was not the tenant's own."""

    change: Change
    namespace: str
    direction: Direction
    rule: str
    ticket: str
    flows: tuple[Opening, ...]
    cause: str
    peers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The rule, with the ticket that it rests on: "ingress from-ledger (CHG-20931)"."""
        return f"{self.direction} {self.rule}" + (f" ({self.ticket})" if self.ticket else "")


def written(outcome: Outcome, late: Iterable[Finding]) -> list[Finding]:
    """What a pass wrote by our own change of mind, as it stands now: with what admission made of it, and with the
    `late` ones, of which no answer came and which are seen to be carried out."""
    altered = (
        replace(one.finding, desired=replace(one.finding.desired, body={"spec": one.observed.field("spec")}))
        for one in outcome.altered
        if one.finding.desired is not None
    )
    return [finding for finding in (*outcome.done, *altered, *late) if finding.rollout]


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """What was done, how often: "created" -> 9."""
    return dict(Counter(_DONE[finding.action] for finding in findings if finding.action in _DONE))


def by_control(findings: Iterable[Finding]) -> dict[str, int]:
    return dict(Counter(finding.control for finding in findings))


def done(action: Action) -> str:
    """An action as what was done: "created"."""
    return _DONE.get(action, action)


def flow_changes(
    tenant: SecureTenant, findings: Iterable[Finding], computed: SecureTenantStatus, now: datetime
) -> list[FlowChange]:
    """What the findings that were carried out opened and closed, by rule and namespace. `computed`: the status of the
    same pass, which says of what is declared and closed why it is."""
    declared = _rules(tenant)
    before: dict[tuple[str, Direction, str], set[Opening]] = {}
    after: dict[tuple[str, Direction, str], set[Opening]] = {}
    for finding in findings:
        rule = _rule_of(finding.ref, declared)
        if rule is None:
            continue
        place = (finding.ref.namespace, *rule)
        had = finding.observed.field("spec") if finding.observed is not None else None
        has = finding.desired.body.get("spec") if finding.desired is not None else None
        if finding.action == "Release":
            has = had  # it stays in force
        before.setdefault(place, set()).update(openings(had))
        after.setdefault(place, set()).update(openings(has))
    found = []
    for place in sorted(before):
        namespace, direction, name = place
        rule_ = declared.get((direction, name))
        ticket = rule_.ticket if rule_ is not None else ""
        opened, closed = after[place] - before[place], before[place] - after[place]
        if opened:
            cause, peers = _why_opened(tenant, direction, name)
            found.append(FlowChange("opened", namespace, direction, name, ticket, tuple(sorted(opened)), cause, peers))
        if closed:
            change, cause, peers = _why_closed(rule_, direction, computed, now)
            found.append(FlowChange(change, namespace, direction, name, ticket, tuple(sorted(closed)), cause, peers))
    return found


def _rules(tenant: SecureTenant) -> Rules:
    return {
        (direction, rule.name): rule
        for direction in whitelist.OPPOSITE
        for rule, _, _ in whitelist.rules(tenant, direction)
    }


def _rule_of(ref: Ref, declared: Rules) -> tuple[Direction, str] | None:
    """The rule that an object is the policy of, if it is one."""
    named = policies.rule_of(ref.name) if ref.kind is NETWORK_POLICY else None
    if named is None or named in declared:
        return named
    direction, rule = named
    old = _OLD_NAME.fullmatch(rule)
    return (direction, old[1]) if old and (direction, old[1]) in declared else named


def _why_opened(tenant: SecureTenant, direction: Direction, rule: str) -> tuple[str, tuple[str, ...]]:
    if tenant.status.whitelist is None or _is_news(tenant):
        return "declared", ()
    pending = tenant.status.whitelist.pending
    peers = tuple(sorted({flow.peer for flow in pending if (flow.direction, flow.rule) == (direction, rule)}))
    if peers:
        return f"agreed: {', '.join(peers)} declares it too", peers
    return "could not be written before" if _is_retried(tenant) else "what it rests on changed", ()


def _why_closed(
    rule: IngressRule | EgressRule | None, direction: Direction, computed: SecureTenantStatus, now: datetime
) -> tuple[Change, str, tuple[str, ...]]:
    if rule is None:
        return "closed", "the rule left the spec", ()
    if whitelist.has_expired(rule.expires, now):
        return "expired", f"the rule ended at {rule.expires:%Y-%m-%dT%H:%M:%SZ}", ()
    listed = computed.whitelist.pending if computed.whitelist is not None else []
    pending = [flow for flow in listed if (flow.direction, flow.rule) == (direction, rule.name)]
    cause = "; ".join(flow.reason for flow in pending) or "the rule, or what it rests on, is narrower now"
    return "closed", cause, tuple(sorted({flow.peer for flow in pending}))


def why(tenant: SecureTenant, written: Sequence[Finding], flows: Sequence[FlowChange], *, first: bool) -> str:
    """Why anything was rolled out. `first`: this instance did not look at the tenant before."""
    status = tenant.status
    if status.observed_generation is None:
        return f"created, generation {tenant.metadata.generation}"
    if _is_news(tenant):
        return f"generation {tenant.metadata.generation}"
    if made := sorted(f.ref.name for f in written if f.ref.kind is NAMESPACE and f.action == "Create"):
        return f"namespace {', '.join(made)} made anew"
    if expired := list(dict.fromkeys(flow.name for flow in flows if flow.change == "expired")):
        return f"expiry of {', '.join(expired)}"
    if peers := sorted({peer for flow in flows for peer in flow.peers}):
        return f"what {', '.join(peers)} declares"
    if _is_retried(tenant):
        return "what could not be written before"
    if first:
        return "start of this instance: another version of it, or a change while none ran"
    controls = {finding.control for finding in written}
    if controls == {quota.NAME}:
        return "the use of the quota"
    if all(finding.ref.kind is NODE for finding in written):
        return "nodes came or went"
    return "a peer's declaration, or the cluster, changed"


def _is_news(tenant: SecureTenant) -> bool:
    return tenant.metadata.generation > (tenant.status.observed_generation or 0)


def _is_retried(tenant: SecureTenant) -> bool:
    return any(condition.type == "Reconciling" for condition in tenant.status.conditions)


def adopted(tenant: SecureTenant, written: Iterable[Finding]) -> Iterator[Finding]:
    """The existing namespaces that were taken over: told to, and not known before by their UID."""
    known = {entry.name: entry.uid for entry in tenant.status.namespaces}
    taken = {entry.name for entry in tenant.spec.namespaces if entry.adopt}
    for finding in written:
        if finding.ref.kind is NAMESPACE and finding.action == "Patch" and finding.ref.name in taken:
            uid = finding.observed.uid if finding.observed is not None else ""
            if known.get(finding.ref.name) != uid:
                yield finding


def released(written: Iterable[Finding], kinds: Collection[Kind] = (NAMESPACE, NODE)) -> Iterator[Finding]:
    """What the tenant gave up; the contents of a namespace go with it."""
    return (finding for finding in written if finding.action == "Release" and finding.ref.kind in kinds)
