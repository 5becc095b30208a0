"""The dashboard *Operator*: whether the operator itself works."""

from typing import Final

from monitoring.panels import BAD, GOOD, SOME, WARN, Dashboard, Panel, Query, of_process, series, stat

_P: Final = of_process()


def _quantiles(name: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{_P}[$__rate_interval])))", f"p{round(q * 100)}")
        for q in (0.5, 0.99)
    )


_STATE: Final = (
    stat(
        "Leaders",
        f"sum by (cluster) (securetenant_leader{_P})",
        "One, on each cluster.",
        ((0, BAD), (1, GOOD), (2, BAD)),
    ),
    stat("Instances", f"count by (cluster) (securetenant_build_info{_P})", "The leader and its standbys."),
    stat("Waiting tenants", f"sum by (cluster) (securetenant_workqueue_depth{_P})", "Tenants that wait for a pass."),
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
    stat(
        "Edits not seen",
        f"count by (cluster) (securetenant_tenant_generation_lag{_P} > 0) or count by (cluster)"
        f" (securetenant_tenant_info{_P}) * 0",
        "Tenants with an edit that no pass has reported yet.",
        SOME,
    ),
)

_WORK: Final = (
    series(
        "Correction of drift",
        _quantiles("securetenant_drift_correction_duration_seconds"),
        "From the event that showed a deviation to the write that undid it.",
        unit="s",
        limits=((1, BAD),),
    ),
    series(
        "Duration of a pass",
        _quantiles("securetenant_reconcile_duration_seconds"),
        "Without the time in the queue.",
        unit="s",
    ),
    series(
        "Passes by result",
        (Query(f"sum by (result) (rate(securetenant_reconcile_total{_P}[$__rate_interval]))", "{{result}}"),),
        "requeued: a write failed and is tried again.",
        unit="reqps",
    ),
    series(
        "Requests by code",
        (Query(f"sum by (code) (rate(securetenant_api_requests_total{_P}[$__rate_interval]))", "{{code}}"),),
        "Every request to the API server. In a quiet cluster only the Lease's renewal.",
        unit="reqps",
    ),
    series(
        "Requests by kind",
        (
            Query(
                f"topk(10, sum by (verb, kind) (rate(securetenant_api_requests_total{_P}[$__rate_interval])))",
                "{{verb}} {{kind}}",
            ),
        ),
        "The ten most frequent.",
        unit="reqps",
    ),
    series(
        "Age of the caches",
        (Query(f"max by (kind) (time() - securetenant_informer_last_contact_timestamp_seconds{_P})", "{{kind}}"),),
        "Since the last event or bookmark of each kind.",
        unit="s",
        limits=((300, BAD),),
    ),
    series(
        "Objects in the caches",
        (Query(f"max by (kind) (securetenant_informer_objects{_P})", "{{kind}}"),),
        "What the active instance knows.",
    ),
    series(
        "Memory",
        (
            Query(
                f"process_resident_memory_bytes{_P} and on (cluster, instance) securetenant_build_info{_P}",
                "{{instance}}",
            ),
        ),
        "Resident, by instance.",
        unit="bytes",
    ),
    series(
        "CPU",
        (
            Query(
                f"rate(process_cpu_seconds_total{_P}[$__rate_interval]) and on (cluster, instance)"
                f" securetenant_build_info{_P}",
                "{{instance}}",
            ),
        ),
        "Cores in use, by instance.",
    ),
)

OPERATOR: Final = Dashboard(
    "securetenant-operator",
    "SecureTenant / Operator",
    "Whether the operator itself works: leader, queue, requests, caches, memory.",
    False,
    (("State", _STATE), ("Work", _WORK)),
)
