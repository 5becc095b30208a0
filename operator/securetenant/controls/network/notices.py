"""Events and log lines about a tenant's rules: which expire soon, and what a rollout opened and closed."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Final

from securetenant.api.status import ExpiringRule, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import changes, whitelist
from securetenant.controls.network.changes import Change, FlowChange
from securetenant.controls.notice import Notice, Rollout, Written

REASONS: Final[Mapping[Change, str]] = {"opened": "FlowOpened", "closed": "FlowClosed", "expired": "FlowExpired"}
_SHOWN: Final = 3  # flows of a rule that an Event names; the log line has all


def warnings(tenant: SecureTenant, status: SecureTenantStatus) -> Mapping[Hashable, Notice]:
    """The rules that expire soon, the next first. A new expiry, or a smaller threshold, is another warning."""
    expiring = status.whitelist.expiring if status.whitelist is not None else []
    return {rule: _ends_soon(tenant, rule) for rule in expiring}


def rollout(tenant: SecureTenant, written: Sequence[Written], computed: SecureTenantStatus, now: datetime) -> Rollout:
    """One notice for each rule and namespace whose flows changed."""
    found = changes.flow_changes(tenant, written, computed, now)
    return Rollout([_changed(flow) for flow in found], changes.cause(found))


def temporary(tenant: SecureTenant) -> list[str]:
    """The rules that have an expiry: "ingress office"."""
    return [f"{d} {r.name}" for d in whitelist.OPPOSITE for r, _, _ in whitelist.rules(tenant, d) if r.expires]


def _ends_soon(tenant: SecureTenant, rule: ExpiringRule) -> Notice:
    ticket = next(
        (r.ticket for r, _, _ in whitelist.rules(tenant, rule.direction) if r.name == rule.rule and r.ticket), ""
    )
    end = f"{rule.expires:%Y-%m-%dT%H:%M:%SZ}"
    name = f"{rule.direction} {rule.rule}" + (f" ({ticket})" if ticket else "")
    return Notice(
        line="rule expires soon",
        fields={
            "direction": rule.direction,
            "rule": rule.rule,
            "ticket": ticket,
            "expires": end,
            "within": rule.within,
        },
        reason="ExpiresSoon",
        message=f"{name} expires at {end}, within {rule.within}: renew it or let it expire",
        about=f"{rule.direction}/{rule.rule}",
        is_warning=True,
    )


def _changed(flow: FlowChange) -> Notice:
    told_by_name = f"{flow.direction} "
    shown = "; ".join(str(opening).removeprefix(told_by_name) for opening in flow.flows[:_SHOWN])
    rest = f" and {len(flow.flows) - _SHOWN} more" if len(flow.flows) > _SHOWN else ""
    return Notice(
        line=f"flow {flow.change}",
        fields={
            "namespace": flow.namespace,
            "direction": flow.direction,
            "rule": flow.rule,
            "ticket": flow.ticket,
            "flows": [str(opening) for opening in flow.flows],
            "cause": flow.cause,
        },
        reason=REASONS[flow.change],
        message=f"{flow.name} {flow.change} in {flow.namespace}: {shown}{rest} ({flow.cause})",
        about=f"{flow.direction}/{flow.rule}/{flow.namespace}",
        verb=flow.change,
        name=f"{flow.name} in {flow.namespace}",
    )
