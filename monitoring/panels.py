"""The panels of the dashboards, as a table. Queries are in PromQL with Grafana's variables.

What has nothing to count is 0 only while the operator is scraped: a dead operator shows "No data", never a zero that
reads as in order.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

# Colours that colour-blind people tell apart (Okabe and Ito), on light and on dark.
GOOD: Final = "#56B4E9"
WARN: Final = "#E69F00"
BAD: Final = "#D55E00"

Unit = Literal["short", "percentunit", "s", "bytes", "reqps", "dateTimeFromNow"]


@dataclass(frozen=True, slots=True)
class Query:
    """`legend`: of a series; in a table, the column's name."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`limits`: from which value on which colour; `width` of 24, `height` in rows of the grid. `by`: in a table, the
    labels that are columns; `sort`: the column that is sorted by, largest first."""

    title: str
    kind: Literal["stat", "timeseries", "table"]
    queries: tuple[Query, ...]
    description: str
    unit: Unit = "short"
    limits: tuple[tuple[float, str], ...] = ()
    width: int = 4
    height: int = 4
    by: tuple[str, ...] = ()
    sort: str = ""
    descending: bool = True
    units: dict[str, Unit] = field(default_factory=dict)  # of single columns, as these:
    column_limits: dict[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`rows`: the panels by the title of their row."""

    uid: str
    title: str
    description: str
    has_tenant: bool
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


_S: Final = '{cluster=~"$cluster", tenant=~"$tenant"}'
_TENANTS: Final = f"count(securetenant_tenant_info{_S})"
_ANY: Final = ((1, BAD),)
_SOME: Final = ((1, WARN),)


def _of(metric: str, more: str) -> str:
    return f'{metric}{{cluster=~"$cluster", tenant=~"$tenant", {more}}}'


def _of_process(more: str = "") -> str:
    return f'{{cluster=~"$cluster"{more}}}'


def _or_zero(expr: str) -> str:
    """0 where there is nothing to count, as long as tenants are exported at all."""
    return f"({expr}) or {_TENANTS} * 0"


def _tenants_with(expr: str) -> str:
    return _or_zero(f"count(count by (cluster, tenant) ({expr}))")


def _stat(title: str, expr: str, description: str, limits: tuple[tuple[float, str], ...] = (), width: int = 4) -> Panel:
    return Panel(title, "stat", (Query(expr, title),), description, limits=limits, width=width)


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
    _stat("Tenants", _TENANTS, "How many tenants the active instance knows."),
    _stat(
        "Not Ready",
        _tenants_with(f"{_NOT_READY} == 1"),
        "Tenants whose posture is not in force. Paused tenants are among them.",
        _ANY,
    ),
    _stat("Drifted", _tenants_with(f"{_DRIFT} > 0"), "Tenants with deviations that stand now.", _ANY),
    _stat(
        "Contested",
        _tenants_with(f"securetenant_drift_contested{_S} > 0"),
        "Tenants with objects that another manager keeps rewriting.",
        _ANY,
    ),
    _stat(
        "Not judged",
        _or_zero(f"count(securetenant_tenant_info{_S} unless on (cluster, tenant) {_DRIFT})"),
        "Tenants of which nothing can be said: Paused, being deleted, or a refused spec.",
        _SOME,
    ),
    _stat(
        "Checks that fail",
        _or_zero(f"sum({_POSTURE_CHECKS_FAIL} > 0)"),
        "Checks of what runs, counted once in each namespace.",
        _SOME,
    ),
    _stat(
        "Undeclared flows",
        _or_zero(f"sum(securetenant_whitelist_unexpected_flows{_S})"),
        "Open, and declared by no SecureTenant.",
        _ANY,
    ),
    _stat(
        "Flows pending",
        _or_zero(f"sum({_WHITELIST_FLOWS_PENDING})"),
        "Declared flows that wait for the other side.",
        _SOME,
    ),
    _stat(
        "Flows expired",
        _or_zero(f"sum({_WHITELIST_FLOWS_EXPIRED})"),
        "Declared flows whose rule has ended.",
        _SOME,
    ),
    _stat(
        "Exemptions",
        _or_zero(f"sum(securetenant_exemptions_active{_S})"),
        "Exemptions that have not ended.",
        _SOME,
    ),
    _stat(
        "Intruders",
        _or_zero(f"sum(securetenant_node_intruders{_S})"),
        "Pods of others on dedicated nodes.",
        _ANY,
    ),
    _stat(
        "Cluster drift",
        f"sum(securetenant_cluster_drift_objects{_of_process()}) or sum(securetenant_leader{_of_process()}) * 0",
        "Objects that all tenants rest on (tenant roles, bindings for everyone, admission policies) and that are not as"
        " shipped.",
        _ANY,
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
    limits=_ANY,
    width=24,
    height=10,
    by=("cluster", "tenant"),
    sort="Drift",
    units={"Quota used": "percentunit"},
    column_limits={
        **dict.fromkeys(("Checks failing", "Flows pending", "Flows expired", "Exemptions"), _SOME),
        "Quota used": ((0.9, WARN),),
    },
)

_DETAIL: Final = (
    Panel(
        "Deviations by control",
        "table",
        (Query(f"sum by (cluster, tenant, control, reason) ({_DRIFT}) > 0", "Objects"),),
        "What is not as declared now. Missing, changed, foreign or stale.",
        limits=_ANY,
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
    Panel(
        "Drift found",
        "timeseries",
        (Query(f"sum by (control) (rate(securetenant_drift_detected_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Deviations per second, those that were corrected at once included.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Drift corrected",
        "timeseries",
        (Query(f"sum by (control) (rate(securetenant_drift_corrected_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Deviations that were undone, per second.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Declared changes",
        "timeseries",
        (Query(f"sum by (control) (rate(securetenant_rollout_objects_total{_S}[$__rate_interval]))", "{{control}}"),),
        "Objects written because a spec, a peer's declaration or the time changed: no drift.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Flows",
        "timeseries",
        (Query(f"sum by (state) (securetenant_whitelist_flows{_S})", "{{state}}"),),
        "Declared flows: agreed by both sides, pending, expired.",
        width=8,
        height=7,
    ),
    Panel(
        "Checks of what runs",
        "timeseries",
        (Query(f"sum by (outcome) (securetenant_posture_checks{_S})", "{{outcome}}"),),
        "How the checks of what runs end, counted once in each namespace.",
        width=8,
        height=7,
    ),
    Panel(
        "Quota used, highest",
        "timeseries",
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
        width=8,
        height=7,
    ),
)

_P: Final = _of_process()


def _quantiles(name: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{_P}[$__rate_interval])))", f"p{round(q * 100)}")
        for q in (0.5, 0.99)
    )


_STATE: Final = (
    _stat(
        "Leaders",
        f"sum by (cluster) (securetenant_leader{_P})",
        "One, on each cluster.",
        ((0, BAD), (1, GOOD), (2, BAD)),
    ),
    _stat("Instances", f"count by (cluster) (securetenant_build_info{_P})", "The leader and its standbys."),
    _stat("Waiting tenants", f"sum by (cluster) (securetenant_workqueue_depth{_P})", "Tenants that wait for a pass."),
    Panel(
        "Oldest wait",
        "stat",
        (Query(f"max by (cluster) (securetenant_workqueue_oldest_seconds{_P})", "{{cluster}}"),),
        "How long the one that waits longest has waited.",
        unit="s",
        limits=((10, WARN), (60, BAD)),
    ),
    Panel(
        "Oldest cache",
        "stat",
        (
            Query(
                f"max by (cluster) (time() - securetenant_informer_last_contact_timestamp_seconds{_P})", "{{cluster}}"
            ),
        ),
        "How long ago the API server last said something of a kind; normally never much more than 90 s.",
        unit="s",
        limits=((120, WARN), (300, BAD)),
    ),
    _stat(
        "Edits not seen",
        f"count by (cluster) (securetenant_tenant_generation_lag{_P} > 0) or count by (cluster)"
        f" (securetenant_tenant_info{_P}) * 0",
        "Tenants with an edit that no pass has reported yet.",
        _SOME,
    ),
)

_WORK: Final = (
    Panel(
        "Correction of drift",
        "timeseries",
        _quantiles("securetenant_drift_correction_duration_seconds"),
        "From the event that showed a deviation to the write that undid it.",
        unit="s",
        limits=((1, BAD),),
        width=8,
        height=7,
    ),
    Panel(
        "Duration of a pass",
        "timeseries",
        _quantiles("securetenant_reconcile_duration_seconds"),
        "Without the time in the queue.",
        unit="s",
        width=8,
        height=7,
    ),
    Panel(
        "Passes by result",
        "timeseries",
        (Query(f"sum by (result) (rate(securetenant_reconcile_total{_P}[$__rate_interval]))", "{{result}}"),),
        "requeued: a write failed and is tried again.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Requests by code",
        "timeseries",
        (Query(f"sum by (code) (rate(securetenant_api_requests_total{_P}[$__rate_interval]))", "{{code}}"),),
        "Every request to the API server. In a quiet cluster only the Lease's renewal.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Requests by kind",
        "timeseries",
        (
            Query(
                f"topk(10, sum by (verb, kind) (rate(securetenant_api_requests_total{_P}[$__rate_interval])))",
                "{{verb}} {{kind}}",
            ),
        ),
        "The ten most frequent.",
        unit="reqps",
        width=8,
        height=7,
    ),
    Panel(
        "Age of the caches",
        "timeseries",
        (Query(f"max by (kind) (time() - securetenant_informer_last_contact_timestamp_seconds{_P})", "{{kind}}"),),
        "Since the last event or bookmark of each kind.",
        unit="s",
        limits=((300, BAD),),
        width=8,
        height=7,
    ),
    Panel(
        "Objects in the caches",
        "timeseries",
        (Query(f"max by (kind) (securetenant_informer_objects{_P})", "{{kind}}"),),
        "What the active instance knows.",
        width=8,
        height=7,
    ),
    Panel(
        "Memory",
        "timeseries",
        (
            Query(
                f"process_resident_memory_bytes{_P} and on (cluster, instance) securetenant_build_info{_P}",
                "{{instance}}",
            ),
        ),
        "Resident, by instance.",
        unit="bytes",
        width=8,
        height=7,
    ),
    Panel(
        "CPU",
        "timeseries",
        (
            Query(
                f"rate(process_cpu_seconds_total{_P}[$__rate_interval]) and on (cluster, instance)"
                f" securetenant_build_info{_P}",
                "{{instance}}",
            ),
        ),
        "Cores in use, by instance.",
        width=8,
        height=7,
    ),
)

TENANTS: Final = Dashboard(
    "securetenant-tenants",
    "SecureTenant / Tenants",
    "The posture of the tenants: what is in force, what deviates, what ends next.",
    True,
    (("Fleet", _FLEET), ("Worst first", (_WORST, *_DETAIL)), ("Over time", _TRENDS)),
)
OPERATOR: Final = Dashboard(
    "securetenant-operator",
    "SecureTenant / Operator",
    "Whether the operator itself works: leader, queue, requests, caches, memory.",
    False,
    (("State", _STATE), ("Work", _WORK)),
)
DASHBOARDS: Final = (TENANTS, OPERATOR)
