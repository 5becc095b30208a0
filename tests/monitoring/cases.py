"""For each alert, series that make it fire and series that do not; promtool runs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Case:
    """`series`: their samples, one a minute, in promtool's notation. `at`: when it is looked, as a duration. `fires`:
    the labels of what fires then, but for severity; empty: nothing does."""

    alert: str
    series: Mapping[str, str]
    at: str
    fires: Mapping[str, str] = field(default_factory=dict)


def _both(
    alert: str, fires: Mapping[str, str], bad: Mapping[str, str], good: Mapping[str, str], at: str, before: str = ""
) -> list[Case]:
    """Firing, not firing, and, with `before`, not firing yet."""
    found = [Case(alert, bad, at, fires), Case(alert, good, at)]
    return [*found, Case(alert, bad, before)] if before else found


_C: Final = 'cluster="c"'
_T: Final = 'cluster="c", tenant="a"'
_TENANT: Final = {"cluster": "c", "tenant": "a"}
_DAY: Final = 86400


def _one(metric: str, labels: str, values: str) -> dict[str, str]:
    return {f"{metric}{{{labels}}}": values}


def _tenant(metric: str, values: str, more: str = "") -> dict[str, str]:
    return _one(metric, f"{_T}, {more}" if more else _T, values)


CASES: Final = (
    *_both(
        "SecureTenantNoLeader",
        {"cluster": "c"},
        _one("securetenant_leader", f'{_C}, instance="1"', "0x10")
        | _one("securetenant_leader", f'{_C}, instance="2"', "0x10"),
        _one("securetenant_leader", f'{_C}, instance="1"', "1x10"),
        "5m",
        "1m",
    ),
    # One of several clusters is not scraped any more.
    Case(
        "SecureTenantNoLeader",
        _one("securetenant_leader", f'{_C}, instance="1"', "1x70 stale")
        | _one("securetenant_leader", 'cluster="d", instance="1"', "1x120"),
        "80m",
        {"cluster": "c"},
    ),
    # Nothing is scraped any more.
    Case("SecureTenantNoLeader", {}, "5m", {"": ""}),
    *_both(
        "SecureTenantTwoLeaders",
        {"cluster": "c"},
        _one("securetenant_leader", f'{_C}, instance="1"', "1x10")
        | _one("securetenant_leader", f'{_C}, instance="2"', "1x10"),
        _one("securetenant_leader", f'{_C}, instance="1"', "1x10") | _one("securetenant_leader", 'cluster="d"', "1x10"),
        "5m",
        "1m",
    ),
    *_both(
        "SecureTenantStale",
        {"cluster": "c", "kind": "Pod"},
        _one("securetenant_informer_last_contact_timestamp_seconds", f'{_C}, instance="1", kind="Pod"', "0x20")
        | _one("securetenant_leader", f'{_C}, instance="1"', "1x20"),
        _one("securetenant_informer_last_contact_timestamp_seconds", f'{_C}, instance="1", kind="Pod"', "0+60x20")
        | _one("securetenant_leader", f'{_C}, instance="1"', "1x20"),
        "10m",
        "5m",
    ),
    # A standby that has lost touch judges nothing.
    Case(
        "SecureTenantStale",
        _one("securetenant_informer_last_contact_timestamp_seconds", f'{_C}, instance="2", kind="Pod"', "0x20")
        | _one("securetenant_leader", f'{_C}, instance="2"', "0x20"),
        "10m",
    ),
    *_both(
        "SecureTenantBlind",
        {"cluster": "c"},
        _tenant("securetenant_tenant_info", "1x10", 'mode="Enforce"'),
        _tenant("securetenant_tenant_info", "1x10", 'mode="Enforce"')
        | _tenant("securetenant_tenant_generation_lag", "0x10"),
        "3m",
    ),
    *_both(
        "SecureTenantRestarts",
        {"cluster": "c", "namespace": "securetenant-system", "pod": "p"},
        _one("kube_pod_container_status_restarts_total", f'{_C}, namespace="securetenant-system", pod="p"', "0+1x20"),
        _one("kube_pod_container_status_restarts_total", f'{_C}, namespace="shop", pod="p"', "0+1x20"),
        "16m",
    ),
    *_both(
        "SecureTenantQueueStuck",
        {"cluster": "c"},
        _one("securetenant_workqueue_oldest_seconds", _C, "90x20"),
        _one("securetenant_workqueue_oldest_seconds", _C, "30x20"),
        "10m",
        "3m",
    ),
    *_both(
        "SecureTenantPassesFail",
        {"cluster": "c"},
        _one("securetenant_reconcile_total", f'{_C}, result="error"', "0+1x60"),
        _one("securetenant_reconcile_total", f'{_C}, result="requeued"', "0+1x60"),
        "40m",
        "10m",
    ),
    *_both(
        "SecureTenantRequestsRefused",
        {"cluster": "c", "verb": "POST", "kind": "NetworkPolicy"},
        _one("securetenant_api_requests_total", f'{_C}, verb="POST", kind="NetworkPolicy", code="403"', "0+1x60"),
        _one("securetenant_api_requests_total", f'{_C}, verb="POST", kind="NetworkPolicy", code="409"', "0+1x60"),
        "30m",
        "5m",
    ),
    *_both(
        "SecureTenantCorrectsSlowly",
        {"cluster": "c"},
        _one("securetenant_drift_correction_duration_seconds_bucket", f'{_C}, le="1"', "0x60")
        | _one("securetenant_drift_correction_duration_seconds_bucket", f'{_C}, le="5"', "0+1x60")
        | _one("securetenant_drift_correction_duration_seconds_bucket", f'{_C}, le="+Inf"', "0+1x60"),
        _one("securetenant_drift_correction_duration_seconds_bucket", f'{_C}, le="0.01"', "0+1x60")
        | _one("securetenant_drift_correction_duration_seconds_bucket", f'{_C}, le="+Inf"', "0+1x60"),
        "40m",
        "5m",
    ),
    *_both(
        "SecureTenantClusterDrift",
        {"cluster": "c", "control": "access", "reason": "Changed"},
        _one("securetenant_cluster_drift_objects", f'{_C}, control="access", reason="Changed"', "1x5"),
        _one("securetenant_cluster_drift_objects", f'{_C}, control="access", reason="Changed"', "0x5"),
        "1m",
    ),
    *_both(
        "SecureTenantClusterDriftCame",
        {"cluster": "c", "control": "admission", "reason": "Missing"},
        _one("securetenant_cluster_drift_detected_total", f'{_C}, control="admission", reason="Missing"', "0 0 1x20"),
        _one("securetenant_cluster_drift_detected_total", f'{_C}, control="admission", reason="Missing"', "4x20"),
        "5m",
    ),
    *_both(
        "SecureTenantAdmissionNotInForce",
        {"cluster": "c"},
        _tenant("securetenant_tenant_condition", "1x20", 'condition="AdmissionReady", status="Unknown"'),
        _tenant("securetenant_tenant_condition", "1x20", 'condition="AdmissionReady", status="True"')
        | _tenant("securetenant_tenant_condition", "0x20", 'condition="AdmissionReady", status="False"'),
        "5m",
        "1m",
    ),
    *_both(
        "SecureTenantNotReady",
        _TENANT,
        _tenant("securetenant_tenant_condition", "1x30", 'condition="Ready", status="False"'),
        _tenant("securetenant_tenant_condition", "1x30", 'condition="Ready", status="True"')
        | _tenant("securetenant_tenant_condition", "0x30", 'condition="Ready", status="False"'),
        "20m",
        "5m",
    ),
    # Somebody paused it on purpose.
    Case(
        "SecureTenantNotReady",
        _tenant("securetenant_tenant_condition", "1x30", 'condition="Ready", status="Unknown"')
        | _tenant("securetenant_tenant_info", "1x30", 'mode="Paused"'),
        "20m",
    ),
    *_both(
        "SecureTenantDriftOfAccess",
        {**_TENANT, "control": "access"},
        _tenant("securetenant_drift_detected_total", "0 0 1x20", 'control="access", reason="Changed"'),
        _tenant("securetenant_drift_detected_total", "0 0 1x20", 'control="quota", reason="Changed"'),
        "5m",
    ),
    *_both(
        "SecureTenantDriftStands",
        {**_TENANT, "control": "quota", "reason": "Changed"},
        _tenant("securetenant_drift_objects", "2x120", 'control="quota", reason="Changed"'),
        _tenant("securetenant_drift_objects", "2x120", 'control="quota", reason="Changed"')
        | _tenant("securetenant_tenant_info", "1x120", 'mode="Audit"'),
        "90m",
        "30m",
    ),
    *_both(
        "SecureTenantForeignPolicy",
        _TENANT,
        _tenant("securetenant_drift_objects", "1x20", 'control="network", reason="Foreign"'),
        _tenant("securetenant_drift_objects", "1x20", 'control="network", reason="Changed"'),
        "10m",
        "3m",
    ),
    *_both(
        "SecureTenantUndeclaredFlow",
        {**_TENANT, "direction": "ingress"},
        _tenant("securetenant_whitelist_unexpected_flows", "1x10", 'direction="ingress"'),
        _tenant("securetenant_whitelist_unexpected_flows", "0x10", 'direction="ingress"'),
        "5m",
        "0m",
    ),
    *_both(
        "SecureTenantContested",
        {**_TENANT, "control": "network"},
        _tenant("securetenant_drift_contested", "1x20", 'control="network"'),
        _tenant("securetenant_drift_contested", "0x20", 'control="network"'),
        "10m",
        "3m",
    ),
    *_both(
        "SecureTenantRuleExpires",
        _TENANT,
        _tenant("securetenant_whitelist_expiry_timestamp_seconds", f"{10 * _DAY}x5"),
        _tenant("securetenant_whitelist_expiry_timestamp_seconds", f"{20 * _DAY}x5"),
        "1m",
    ),
    *_both(
        "SecureTenantRuleExpired",
        _TENANT,
        _tenant("securetenant_whitelist_flows", "1x5", 'state="expired"'),
        _tenant("securetenant_whitelist_flows", "1x5", 'state="pending"'),
        "1m",
    ),
    *_both(
        "SecureTenantQuotaNearlyUsed",
        {**_TENANT, "resource": "pods"},
        _tenant("securetenant_quota_used", "95x30", 'resource="pods"')
        | _tenant("securetenant_quota_hard", "100x30", 'resource="pods"'),
        _tenant("securetenant_quota_used", "0x30", 'resource="pods"')
        | _tenant("securetenant_quota_hard", "0x30", 'resource="pods"'),
        "25m",
        "5m",
    ),
    *_both(
        "SecureTenantIntruder",
        _TENANT,
        _tenant("securetenant_node_intruders", "1x20"),
        _tenant("securetenant_node_intruders", "0x20"),
        "10m",
        "3m",
    ),
    *_both(
        "SecureTenantChecksFail",
        {**_TENANT, "control": "runtime"},
        _tenant("securetenant_posture_checks", "2x120", 'control="runtime", outcome="fail"'),
        _tenant("securetenant_posture_checks", "2x120", 'control="runtime", outcome="exempted"'),
        "90m",
        "30m",
    ),
    *_both(
        "SecureTenantExemptionEnds",
        _TENANT,
        _tenant("securetenant_exemptions_expiry_timestamp_seconds", f"{2 * _DAY}x5"),
        _tenant("securetenant_exemptions_expiry_timestamp_seconds", f"{9 * _DAY}x5"),
        "1m",
    ),
)
