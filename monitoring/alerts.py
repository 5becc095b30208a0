"""Alerts and recording rules. Each alert has a page in docs/runbooks and a case in tests/monitoring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

# Which page of docs/runbooks answers an alert; whoever serves the docs elsewhere replaces this prefix.
RUNBOOKS: Final = "https://securetenant.dev/runbooks/"

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule; `name` is level:metric:operation."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """`lasts`: how long it holds before it fires ("" at once). Every expression groups by `cluster`, which is empty
    where one Prometheus has one cluster."""

    name: str
    expr: str
    lasts: str
    severity: Severity
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        return f"{RUNBOOKS}{self.name}"


RECORDS: Final = (
    Record(
        "cluster_tenant_control:securetenant_drift_objects:sum",
        "sum by (cluster, tenant, control) (securetenant_drift_objects)",
    ),
    Record(
        "cluster_control:securetenant_drift_detected:rate5m",
        "sum by (cluster, control) (rate(securetenant_drift_detected_total[5m]))",
    ),
    Record(
        "cluster_control:securetenant_drift_corrected:rate5m",
        "sum by (cluster, control) (rate(securetenant_drift_corrected_total[5m]))",
    ),
    Record(
        "cluster_tenant_resource:securetenant_quota_used:ratio",
        "max by (cluster, tenant, resource) (securetenant_quota_used)"
        " / (max by (cluster, tenant, resource) (securetenant_quota_hard) > 0)",
    ),
    Record(
        "cluster:securetenant_drift_correction_seconds:p99_10m",
        "histogram_quantile(0.99, sum by (cluster, le)"
        " (rate(securetenant_drift_correction_duration_seconds_bucket[10m])))",
    ),
)

OPERATOR: Final = (
    Alert(
        "SecureTenantNoLeader",
        # Of a cluster that was scraped an hour ago and is not any more, nothing is left to sum.
        "(sum by (cluster) (securetenant_leader) < 1) or absent(securetenant_leader) or"
        " (count by (cluster) (securetenant_leader offset 1h) unless on (cluster) securetenant_leader)",
        "2m",
        "critical",
        "No instance of SecureTenant is active",
        "Nothing finds or corrects drift{{ with $labels.cluster }} in cluster {{ . }}{{ end }}: no instance is"
        " scraped, or"
        " none holds the Lease. What is in force stays in force.",
    ),
    Alert(
        "SecureTenantTwoLeaders",
        "sum by (cluster) (securetenant_leader) > 1",
        "2m",
        "critical",
        "Two instances of SecureTenant are active",
        "{{ $value }} instances say that they are the leader{{ with $labels.cluster }} in cluster {{ . }}{{ end }}:"
        " there"
        " are two installations, each with a Lease of its own.",
    ),
    Alert(
        "SecureTenantStale",
        "max by (cluster, kind) (time() - (securetenant_informer_last_contact_timestamp_seconds"
        " and on (cluster, instance) securetenant_leader == 1)) > 300",
        "2m",
        "critical",
        "A cache of SecureTenant is stale",
        "The active instance has heard nothing of {{ $labels.kind }} for {{ $value | humanizeDuration }}: it judges"
        " what"
        " it knew then.",
    ),
    Alert(
        "SecureTenantBlind",
        "count by (cluster) (securetenant_tenant_info unless on (cluster, tenant)"
        " securetenant_tenant_generation_lag) > 0",
        "20s",
        "critical",
        "SecureTenant does not see its tenants",
        "The active instance does not watch SecureTenants{{ with $labels.cluster }} in cluster {{ . }}{{ end }}:"
        " edits of"
        " {{ $value }} tenants would not be seen. It exits after a minute, and another one takes over.",
    ),
    Alert(
        "SecureTenantRestarts",
        "max by (cluster, namespace, pod)"
        ' (increase(kube_pod_container_status_restarts_total{namespace="securetenant-system"}[15m])) > 2',
        "",
        "critical",
        "SecureTenant exits again and again",
        "{{ $labels.pod }} has restarted {{ $value | humanize }} times within 15 minutes (needs kube-state-metrics).",
    ),
    Alert(
        "SecureTenantQueueStuck",
        "max by (cluster) (securetenant_workqueue_oldest_seconds) > 60",
        "5m",
        "warning",
        "Tenants wait for a pass of SecureTenant",
        "One has waited for {{ $value | humanizeDuration }}: what changed since then is not judged.",
    ),
    Alert(
        "SecureTenantPassesFail",
        'sum by (cluster) (rate(securetenant_reconcile_total{result="error"}[10m])) > 0',
        "15m",
        "warning",
        "Passes of SecureTenant end in errors",
        "Passes{{ with $labels.cluster }} in cluster {{ . }}{{ end }} have ended in errors for 15 minutes: the log"
        " names"
        " tenant and cause.",
    ),
    Alert(
        "SecureTenantRequestsRefused",
        'sum by (cluster, verb, kind) (increase(securetenant_api_requests_total{code="403"}[10m])) > 0',
        "10m",
        "warning",
        "The API server refuses requests of SecureTenant",
        "{{ $labels.verb }} of {{ $labels.kind }} is forbidden: a right is missing, or an admission policy refuses it.",
    ),
    Alert(
        "SecureTenantCorrectsSlowly",
        "cluster:securetenant_drift_correction_seconds:p99_10m > 1",
        "10m",
        "warning",
        "Drift is corrected slowly",
        "One correction in a hundred took more than {{ $value | humanizeDuration }} over the last 10 minutes.",
    ),
)

CLUSTER: Final = (
    Alert(
        "SecureTenantClusterDrift",
        "sum by (cluster, control, reason) (securetenant_cluster_drift_objects) > 0",
        "",
        "critical",
        "What all tenants rest on was changed",
        "{{ $value }} objects of the cluster ({{ $labels.control }}, {{ $labels.reason }}): a tenant role, a binding"
        " for"
        " everyone, or an admission policy is not as shipped.",
    ),
    Alert(
        "SecureTenantClusterDriftCame",
        "sum by (cluster, control, reason) (increase(securetenant_cluster_drift_detected_total[10m])) > 0",
        "",
        "critical",
        "What all tenants rest on was changed, if only for a while",
        "Within 10 minutes {{ $labels.control }} found objects of the cluster that were {{ $labels.reason }}.",
    ),
    Alert(
        "SecureTenantAdmissionNotInForce",
        'count by (cluster) (securetenant_tenant_condition{condition="AdmissionReady", status!="True"} == 1) > 0',
        "2m",
        "critical",
        "The API server does not refuse what tenants may not do",
        "The admission policies are not in force for {{ $value }} tenants: one is missing or changed, or the API server"
        " does not act by it.",
    ),
)

TENANTS: Final = (
    Alert(
        "SecureTenantNotReady",
        'max by (cluster, tenant) (securetenant_tenant_condition{condition="Ready", status!="True"}) == 1'
        ' unless on (cluster, tenant) securetenant_tenant_info{mode="Paused"}',
        "10m",
        "warning",
        "The posture of a tenant is not in force",
        "Tenant {{ $labels.tenant }} has not been Ready for 10 minutes.",
    ),
    Alert(
        "SecureTenantDriftOfAccess",
        "sum by (cluster, tenant, control)"
        ' (increase(securetenant_drift_detected_total{control=~"access|network"}[10m])) > 0',
        "",
        "warning",
        "Somebody changed who may do what, or who reaches whom",
        "Within 10 minutes {{ $value | humanize }} deviations of {{ $labels.control }} were found in tenant"
        " {{ $labels.tenant }}, those that were corrected at once included.",
    ),
    Alert(
        "SecureTenantDriftStands",
        "sum by (cluster, tenant, control, reason) (securetenant_drift_objects) > 0"
        ' unless on (cluster, tenant) securetenant_tenant_info{mode="Audit"}',
        "1h",
        "warning",
        "A deviation is not corrected",
        "{{ $value }} objects of tenant {{ $labels.tenant }} ({{ $labels.control }}, {{ $labels.reason }}) have not"
        " been"
        " as declared for an hour.",
    ),
    Alert(
        "SecureTenantForeignPolicy",
        'sum by (cluster, tenant) (securetenant_drift_objects{control="network", reason="Foreign"}) > 0',
        "5m",
        "warning",
        "Others made network policies for a tenant's pods",
        "{{ $value }} policies that are not the operator's select pods of tenant {{ $labels.tenant }}: they may open"
        " what"
        " is not declared.",
    ),
    Alert(
        "SecureTenantUndeclaredFlow",
        "sum by (cluster, tenant, direction) (securetenant_whitelist_unexpected_flows) > 0"
        ' unless on (cluster, tenant) securetenant_tenant_info{mode="Audit"}',
        "1m",
        "critical",
        "Something is open that nobody declared",
        "{{ $value }} {{ $labels.direction }} flows of tenant {{ $labels.tenant }} are open and not declared: the"
        " condition WhitelistHolds names the flow and the policy that opens it.",
    ),
    Alert(
        "SecureTenantContested",
        "max by (cluster, tenant, control) (securetenant_drift_contested) > 0",
        "5m",
        "warning",
        "Another manager keeps rewriting objects of a tenant",
        "{{ $value }} objects of tenant {{ $labels.tenant }} ({{ $labels.control }}) are fought over: the condition"
        " Ready"
        " names the manager.",
    ),
    Alert(
        "SecureTenantRuleExpires",
        "0 < min by (cluster, tenant) (securetenant_whitelist_expiry_timestamp_seconds) - time() < 14 * 86400",
        "",
        "info",
        "A rule of a whitelist ends within 14 days",
        "A rule of tenant {{ $labels.tenant }} ends in {{ $value | humanizeDuration }}: its flows close then.",
    ),
    Alert(
        "SecureTenantRuleExpired",
        'max by (cluster, tenant) (securetenant_whitelist_flows{state="expired"}) > 0',
        "",
        "info",
        "A rule of a whitelist has ended",
        "{{ $value }} declared flows of tenant {{ $labels.tenant }} are closed because their rules have ended.",
    ),
    Alert(
        "SecureTenantQuotaNearlyUsed",
        "cluster_tenant_resource:securetenant_quota_used:ratio > 0.9",
        "15m",
        "warning",
        "A tenant has nearly used its quota",
        "Tenant {{ $labels.tenant }} uses {{ $value | humanizePercentage }} of its {{ $labels.resource }}.",
    ),
    Alert(
        "SecureTenantIntruder",
        "max by (cluster, tenant) (securetenant_node_intruders) > 0",
        "5m",
        "critical",
        "Pods of others run on dedicated nodes",
        "{{ $value }} pods of others run on nodes of tenant {{ $labels.tenant }}.",
    ),
    Alert(
        "SecureTenantChecksFail",
        'sum by (cluster, tenant, control) (securetenant_posture_checks{outcome="fail"}) > 0',
        "1h",
        "warning",
        "What runs breaks a tenant's rules",
        "{{ $value }} checks of {{ $labels.control }} fail in tenant {{ $labels.tenant }}: pods that were there"
        " before the"
        " rules, or that came by an exemption.",
    ),
    Alert(
        "SecureTenantExemptionEnds",
        "0 < min by (cluster, tenant) (securetenant_exemptions_expiry_timestamp_seconds) - time() < 3 * 86400",
        "",
        "info",
        "An exemption ends within 3 days",
        "An exemption of tenant {{ $labels.tenant }} ends in {{ $value | humanizeDuration }}: what it allows is refused"
        " from then on.",
    ),
)

GROUPS: Final[dict[str, Sequence[Alert | Record]]] = {
    "securetenant.records": RECORDS,
    "securetenant.operator": OPERATOR,
    "securetenant.cluster": CLUSTER,
    "securetenant.tenants": TENANTS,
}
ALERTS: Final = (*OPERATOR, *CLUSTER, *TENANTS)
