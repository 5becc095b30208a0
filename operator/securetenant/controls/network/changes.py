"""Which flows a rollout opened and closed, and why. Pure.

All of it is derived from the objects that were written, not from the plan.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant
from securetenant.controls.network import policies, templates, whitelist
from securetenant.controls.network.openings import Opening, openings
from securetenant.controls.notice import Written
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, JsonValue, Observed
from securetenant.sets.policy import Direction, parsed

Change = Literal["opened", "closed", "expired"]
Rules = Mapping[tuple[Direction, str], IngressRule | EgressRule]

# How versions up to 0.1 named the policy of a narrowed rule.
_OLD_NAME: Final = re.compile(r"(.+)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class FlowChange:
    """A change of a rule's flows in one namespace. `ticket`: "" if the rule is no longer in the spec. `peers`: the
    tenants whose declaration opened or closed the flows, if it was not this tenant's own."""

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
        """The rule, with its ticket: "ingress from-ledger (CHG-20931)"."""
        return f"{self.direction} {self.rule}" + (f" ({self.ticket})" if self.ticket else "")


def flow_changes(
    tenant: SecureTenant, written: Iterable[Written], computed: SecureTenantStatus, now: datetime
) -> list[FlowChange]:
    """What the written policies opened and closed, by rule and namespace. `computed`: the status of the same pass, with
    the reason for each flow that is declared but closed."""
    declared = _rules(tenant)
    before: dict[tuple[str, Direction, str], set[Opening]] = {}
    after: dict[tuple[str, Direction, str], set[Opening]] = {}
    for policy in written:
        rule = _rule_of(policy.ref.name, declared) if policy.ref.kind is NETWORK_POLICY else None
        if rule is None:
            continue
        place = (policy.ref.namespace, *rule)
        before.setdefault(place, set()).update(openings(parsed(_spec(policy.before))))
        after.setdefault(place, set()).update(openings(parsed(_spec(policy.now))))
    found = []
    for place in sorted(before):
        namespace, direction, name = place
        rule_ = declared.get((direction, name))
        ticket = rule_.ticket if rule_ is not None else ""
        template = templates.template_of(tenant, name)
        opened, closed = after[place] - before[place], before[place] - after[place]
        if opened:
            cause, peers = _why_opened(tenant, direction, name, template)
            found.append(FlowChange("opened", namespace, direction, name, ticket, tuple(sorted(opened)), cause, peers))
        if closed:
            change, cause, peers = _why_closed(rule_, direction, template, computed, now)
            found.append(FlowChange(change, namespace, direction, name, ticket, tuple(sorted(closed)), cause, peers))
    return found


def cause(changes: Iterable[FlowChange]) -> str:
    """Why policies were written, if their flows show it: an expiry, or what peers declare; otherwise ""."""
    changes = list(changes)
    if expired := list(dict.fromkeys(flow.name for flow in changes if flow.change == "expired")):
        return f"expiry of {', '.join(expired)}"
    if peers := sorted({peer for flow in changes for peer in flow.peers}):
        return f"what {', '.join(peers)} declares"
    return ""


def _spec(policy: Desired | Observed | None) -> JsonValue:
    if isinstance(policy, Observed):
        return policy.field("spec")
    return policy.body.get("spec") if policy is not None else None


def _rules(tenant: SecureTenant) -> Rules:
    return {
        (direction, rule.name): rule
        for direction in whitelist.OPPOSITE
        for rule, _, _ in whitelist.rules(tenant, direction)
    }


def _rule_of(policy: str, declared: Rules) -> tuple[Direction, str] | None:
    """The rule that the policy of this name implements, if any."""
    named = policies.rule_of(policy)
    if named is None or named in declared:
        return named
    direction, rule = named
    old = _OLD_NAME.fullmatch(rule)
    return (direction, old[1]) if old and (direction, old[1]) in declared else named


def _why_opened(tenant: SecureTenant, direction: Direction, rule: str, template: str) -> tuple[str, tuple[str, ...]]:
    if tenant.status.whitelist is None or tenant.is_edited:
        return "declared", ()
    pending = tenant.status.whitelist.pending
    peers = tuple(sorted({flow.peer for flow in pending if (flow.direction, flow.rule) == (direction, rule)}))
    if peers:
        return f"agreed: {', '.join(peers)} declares it too", peers
    if tenant.is_retried:
        return "could not be written before", ()
    return f"NetworkTemplate {template}, or the cluster, changed" if template else "the cluster changed", ()


def _why_closed(
    rule: IngressRule | EgressRule | None,
    direction: Direction,
    template: str,
    computed: SecureTenantStatus,
    now: datetime,
) -> tuple[Change, str, tuple[str, ...]]:
    if rule is None:
        return "closed", f"NetworkTemplate {template} makes it no more" if template else "the rule was removed", ()
    if whitelist.has_expired(rule.expires, now):
        return "expired", f"the rule expired at {rule.expires:%Y-%m-%dT%H:%M:%SZ}", ()
    listed = computed.whitelist.pending if computed.whitelist is not None else []
    pending = [flow for flow in listed if (flow.direction, flow.rule) == (direction, rule.name)]
    cause = "; ".join(flow.reason for flow in pending) or "the rule or its peer now allows less"
    return "closed", cause, tuple(sorted({flow.peer for flow in pending}))
