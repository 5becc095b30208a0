"""The dashboard *Tenants*: what is in force, what deviates, what ends next."""

from typing import Final

from monitoring.panels import ANY, SOME, WARN, Dashboard, Panel, Query, of_process, series, stat

_S: Final = '{cluster=~"$cluster", tenant=~"$tenant"}'
_TENANTS: Final = f"count(securetenant_tenant_info{_S})"


def _of(metric: str, more: str) -> str:
    return f'{metric}{{cluster=~"$cluster", tenant=~"$tenant", {more}}}'


def _or_zero(expr: str) -> str:
    """0 where there is nothing to count, as long as tenants are exported at all."""
    return f"({expr}) or {_TENANTS} * 0"


def _tenants_with(expr: str) -> str:
    return _or_zero(f"count(count by (cluster, tenant) ({expr}))")


def _by_tenant(expr: str) -> str:
    return f"sum by (cluster, tenant) ({expr})"


def _ends(what: str, metric: str) -> str:
    """In milliseconds, as Grafana wants dates."""
    return f'label_replace(min by (cluster, tenant) ({metric}{_S}) * 1000, "what", "{what}", "", "")'


_NOT_READY: Final = _of("securetenant_tenant_condition", 'condition="Ready", status!="True"')
_POSTURE_CHECKS_FAIL: Final = _of("securetenant_posture_checks", 'outcome="fail"')
_WHITELIST_FLOWS_PENDING: Final = _of("securetenant_whitelist_flows", 'state="pending"')
_WHITELIST_FLOWS_EXPIRED: Final = _of("securetenant_whitelist_flows", 'state="expired"')
_DRIFT_OBJECTS_ACCESS: Final = _of("securetenant_drift_objects", 'control="access"')
_DRIFT_OBJECTS_NETWORK: Final = _of("securetenant_drift_objects", 'control="network"')
_DRIFT: Final = f"securetenant_drift_objects{_S}"
_FLEET: Final = (
    stat("Tenants", _TENANTS, "How many tenants the active instance knows."),
    stat(
        "Not Ready",
        _tenants_with(f"{_NOT_READY} == 1"),
        "Tenants whose posture is not in force. Paused tenants are among them.",
        ANY,
    ),
    stat("Drifted", _tenants_with(f"{_DRIFT} > 0"), "Tenants with deviations that stand now.", ANY),
    stat(
        "Contested",
        _tenants_with(f"securetenant_drift_contested{_S} > 0"),
        "Tenants with objects that another manager keeps rewriting.",
        ANY,
    ),
    stat(
        "Not judged",
        _or_zero(f"count(securetenant_tenant_info{_S} unless on (cluster, tenant) {_DRIFT})"),
        "Tenants of which nothing can be said: Paused, being deleted, or a refused spec.",
        SOME,
    ),
    stat(
        "Checks that fail",
        _or_zero(f"sum({_POSTURE_CHECKS_FAIL} > 0)"),
        "Checks of what runs, counted once in each namespace.",
        SOME,
    ),
    stat(
        "Undeclared flows",
        _or_zero(f"sum(securetenant_whitelist_unexpected_flows{_S})"),
        "Open, and declared by no SecureTenant.",
        ANY,
    ),
    stat(
        "Flows pending",
        _or_zero(f"sum({_WHITELIST_FLOWS_PENDING})"),
        "Declared flows that wait for the other side.",
        SOME,
    ),
    stat(
        "Flows expired",
        _or_zero(f"sum({_WHITELIST_FLOWS_EXPIRED})"),
        "Declared flows whose rule has ended.",
        SOME,
    ),
    stat(
        "Exemptions",
        _or_zero(f"sum(securetenant_exemptions_active{_S})"),
        "Exemptions that have not ended.",
        SOME,
    ),
    stat(
        "Intruders",
        _or_zero(f"sum(securetenant_node_intruders{_S})"),
        "Pods of others on dedicated nodes.",
        ANY,
    ),
    stat(
        "Cluster drift",
        f"sum(securetenant_cluster_drift_objects{of_process()}) or sum(securetenant_leader{of_process()}) * 0",
        "Objects that all tenants rest on (tenant roles, bindings for everyone, admission policies) and that are not as"
        " shipped.",
        ANY,
    ),
)

_WORST: Final = Panel(
    "Tenants, worst first",
    "table",
    (
        Query(_by_tenant(_DRIFT), "Drift"),
        Query(_by_tenant(_NOT_READY), "Not Ready"),
        Query(_by_tenant(f"{_DRIFT_OBJECTS_ACCESS}"), "Access"),
        Query(_by_tenant(f"{_DRIFT_OBJECTS_NETWORK}"), "Network"),
        Query(_by_tenant(f"securetenant_drift_contested{_S}"), "Contested"),
        Query(_by_tenant(f"{_POSTURE_CHECKS_FAIL}"), "Checks failing"),
        Query(_by_tenant(f"securetenant_whitelist_unexpected_flows{_S}"), "Undeclared flows"),
        Query(_by_tenant(f"{_WHITELIST_FLOWS_PENDING}"), "Flows pending"),
        Query(_by_tenant(f"{_WHITELIST_FLOWS_EXPIRED}"), "Flows expired"),
        Query(_by_tenant(f"securetenant_exemptions_active{_S}"), "Exemptions"),
        Query(
            f"max by (cluster, tenant) (securetenant_quota_used{_S} / (securetenant_quota_hard{_S} > 0))",
            "Quota used",
        ),
    ),
    "One line for each tenant; the most deviations first.",
    limits=ANY,
    width=24,
    height=10,
    by=("cluster", "tenant"),
    sort="Drift",
    units={"Quota used": "percentunit"},
    column_limits={
        **dict.fromkeys(("Checks failing", "Flows pending", "Flows expired", "Exemptions"), SOME),
        "Quota used": ((0.9, WARN),),
    },
)

_DETAIL: Final = (
    Panel(
        "Deviations by control",
        "table",
        (Query(f"sum by (cluster, tenant, control, reason) ({_DRIFT}) > 0", "Objects"),),
        "What is not as declared now. Missing, changed, foreign or stale.",
        limits=ANY,
        width=12,
        height=8,
        by=("cluster", "tenant", "control", "reason"),
        sort="Objects",
    ),
    Panel(
        "What ends next",
        "table",
        (
            Query(
                f"{_ends('rule', 'securetenant_whitelist_expiry_timestamp_seconds')}"
                f" or {_ends('exemption', 'securetenant_exemptions_expiry_timestamp_seconds')}",
                "Ends",
            ),
        ),
        "Of each tenant the next end of a rule and of an exemption, the first of all on top.",
        unit="dateTimeFromNow",
        width=12,
        height=8,
        by=("cluster", "tenant", "what"),
        sort="Ends",
        descending=False,
    ),
)

_TRENDS: Final = (
    series(
        "Drift found",
        (Query(f"sum by (control) (rate(securetenant_drift_detected_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Deviations per second, those that were corrected at once included.",
        unit="reqps",
    ),
    series(
        "Drift corrected",
        (Query(f"sum by (control) (rate(securetenant_drift_corrected_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Deviations that were undone, per second.",
        unit="reqps",
    ),
    series(
        "Declared changes",
        (Query(f"sum by (control) (rate(securetenant_rollout_objects_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Objects written because a spec, a peer's declaration or the time changed: no drift.",
        unit="reqps",
    ),
    series(
        "Flows",
        (Query(f"sum by (state) (securetenant_whitelist_flows{_S})", "{{state}}"),),
        "Declared flows: agreed by both sides, pending, expired.",
    ),
    series(
        "Checks of what runs",
        (Query(f"sum by (outcome) (securetenant_posture_checks{_S})", "{{outcome}}"),),
        "How the checks of what runs end, counted once in each namespace.",
    ),
    series(
        "Quota used, highest",
        (
            Query(
                "topk(10, max by (tenant, resource)"
                f" (securetenant_quota_used{_S} / (securetenant_quota_hard{_S} > 0)))",
                "{{tenant}} {{resource}}",
            ),
        ),
        "The ten tenants and resources that are nearest to their quota.",
        unit="percentunit",
        limits=((0.9, WARN),),
    ),
)

TENANTS: Final = Dashboard(
    "securetenant-tenants",
    "SecureTenant / Tenants",
    "The posture of the tenants: what is in force, what deviates, what ends next.",
    True,
    (("Fleet", _FLEET), ("Worst first", (_WORST, *_DETAIL)), ("Over time", _TRENDS)),
)
