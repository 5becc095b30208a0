"""The metrics: an interface like the CRD. Names and labels are stable (docs/metrics.md).

There are two kinds of series. The operator's own (requests, queue, histograms) are few, and are in an ordinary
`prometheus_client` registry. A tenant has about 120, most of them zeros. A tenant is kept as its last `TenantReport`
plus the counters that are not zero (1 to 2 KB), and its lines are written at each scrape, in pieces of about a
millisecond, so that other tasks run between them.

Why not `prometheus_client` for all? Its children take 75 KB of memory per tenant. A custom collector over the same
reports takes 30 times the CPU of this text: 1.4 s instead of 0.05 s for a scrape of 1,000 tenants, 7.3 s instead of
0.21 s for 5,000. `generate_latest` blocks the event loop all that time, and takes 40 MB at 1,000 tenants; called for 50
tenants of a family at a time it takes as long in total, and blocks the loop for 30 to 40 ms each time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from securetenant.api.status import REASONS
from securetenant.model.metrics import Family, Labels, Samples

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CONDITION_STATUSES: Final = ("True", "False", "Unknown")
RESULTS: Final = ("success", "requeued", "error")

# From the duration of one request on the same host to what only a broken cluster takes.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Tenants per piece of the text: about a millisecond of work and 100 KB.
_TENANTS_PER_CHUNK: Final = 50
# A placeholder for the tenant in prepared lines; no label value may contain it unescaped.
_HERE: Final = "\0"


@dataclass(frozen=True, slots=True)
class TenantReport:
    """What a pass found for one tenant: all figures come from the drift and the plans of that pass.

    Mappings may omit zeros. Quantities are in base units: cores, bytes, counts.
    """

    tenant: str
    mode: str
    deletion_policy: str
    # (control, reason) -> objects outstanding; None: not judged (Paused), so that no zero passes for compliance
    drift: Mapping[Labels, int] | None = field(default_factory=dict)
    contested: Mapping[str, int] = field(default_factory=dict)  # control -> objects that another manager rewrites
    conditions: Mapping[str, str] = field(default_factory=dict)  # type -> True | False | Unknown
    samples: Samples = field(default_factory=dict)  # of the controls' own metric families


@dataclass(slots=True)
class _Tenant:
    """All that is kept for a tenant. It is exposed once it has a report; the counters hold no zeros."""

    name: str  # as a label value
    report: TenantReport | None = None
    detected: dict[Labels, int] | None = None
    corrected: dict[Labels, int] | None = None
    rolled_out: dict[Labels, int] | None = None


# A tenant's samples of a family; None: no series at all, not even zeros.
_Values = Callable[[_Tenant, TenantReport], Mapping[Labels, float] | None]
_Lines = Callable[[_Tenant, TenantReport], str]


class Metrics:
    """The metrics of one process. `controls`: the names of all controls, for which zeros are exposed; `families`: the
    controls' own metric families, in the order of the text."""

    def __init__(self, controls: Iterable[str], families: Iterable[Family]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # `..._created` is not part of the interface
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Counter(
            "securetenant_reconcile", "Passes over a tenant, by result.", ["result"], registry=self.registry
        )
        self._reconcile_seconds = Histogram(
            "securetenant_reconcile_duration_seconds",
            "Duration of a pass over a tenant, from the queue to done, without waiting.",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._correction_seconds = Histogram(
            "securetenant_drift_correction_duration_seconds",
            "From the event that showed a deviation to the write that undid it.",
            ["control"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._requests = Counter(
            "securetenant_api_requests",
            "Requests to the API server; code `error` is a request without an answer.",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self._cluster_objects = Gauge(
            "securetenant_cluster_drift_objects",
            "Deviations outstanding now that are the cluster's, and no one tenant's.",
            ["control", "reason"],
            registry=self.registry,
        )
        self._cluster_detected = Counter(
            "securetenant_cluster_drift_detected",
            "Deviations of the cluster that came while this instance was active; those that it met are not counted.",
            ["control", "reason"],
            registry=self.registry,
        )
        self._build = Gauge(
            "securetenant_build_info", "Version of the operator.", ["version", "revision"], registry=self.registry
        )
        self._callbacks = _Callbacks()
        self.registry.register(self._callbacks)
        for result in RESULTS:
            self._reconciles.labels(result)
        controls = tuple(controls)
        for control in controls:
            self._correction_seconds.labels(control)
        self._tenants: dict[str, _Tenant] = {}
        self._generation_lag: Callable[[str], int | None] = lambda tenant: 0
        shown = _shown(controls, lambda tenant: self._generation_lag(tenant))
        self._families = [
            (f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n", _writer(family, values))
            for family, values in (*shown, *map(_of_control, families))
        ]

    def tenant(self, report: TenantReport) -> None:
        """Replace what is exposed for a tenant. Series that the new report does not have disappear."""
        self._tenant(report.tenant).report = report

    def detected(self, tenant: str, control: str, reason: str) -> None:
        """Count a deviation that was found. Exposed from the tenant's first report on."""
        kept = self._tenant(tenant)
        kept.detected = _counted(kept.detected, (control, reason))

    def corrected(self, tenant: str, control: str, reason: str, seconds: float) -> None:
        """Count a deviation that was corrected `seconds` after the event that showed it."""
        kept = self._tenant(tenant)
        kept.corrected = _counted(kept.corrected, (control, reason))
        self._correction_seconds.labels(control).observe(seconds)

    def rolled_out(self, tenant: str, control: str, objects: int) -> None:
        """Count objects written by a rollout."""
        kept = self._tenant(tenant)
        kept.rolled_out = _counted(kept.rolled_out, (control,), objects)

    def forget(self, tenant: str) -> None:
        """The tenant is deleted: remove all its series."""
        self._tenants.pop(tenant, None)

    def cluster(self, control: str, standing: Mapping[str, int] | None, detected: Iterable[str]) -> None:
        """Replace what is exposed for the cluster. `standing`: by each possible reason, the number of deviations; None
        if unknown. `detected`: the reasons of the new ones."""
        if standing is None:
            self._cluster_objects.remove_by_labels({"control": control})
        for reason, number in (standing or {}).items():
            self._cluster_objects.labels(control, reason).set(number)
            self._cluster_detected.labels(control, reason)
        for reason in detected:
            self._cluster_detected.labels(control, reason).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a pass that took `seconds`; `result` is one of RESULTS."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def request(self, verb: str, kind: str, code: int | str, seconds: float) -> None:
        """Count a request to the API server; `code`: the HTTP status, "error" without an answer.

        `seconds` is part of the transport's hook; there is no metric for it.
        """
        self._requests.labels(verb, kind, str(code)).inc()

    def build_info(self, version: str, revision: str) -> None:
        self._build.clear()
        self._build.labels(version, revision).set(1)

    def watch_queue(self, depth: Callable[[], float], oldest: Callable[[], float]) -> None:
        """Read the queue's length, and the age of its oldest entry in seconds (0: empty), at each scrape."""
        self._callbacks.depth, self._callbacks.oldest = depth, oldest

    def watch_informer(self, kind: str, count: Callable[[], int], last_contact: Callable[[], float | None]) -> None:
        """Read a kind's cached objects and its last event or bookmark (seconds since the epoch) at each scrape."""
        self._callbacks.informers[kind] = (count, last_contact)

    def watch_generation_lag(self, lag: Callable[[str], int | None]) -> None:
        """Read by how many generations a tenant's status lags behind, at each scrape, since a pass that never ends
        would not report it. None: unknown, and there is no series."""
        self._generation_lag = lag

    def watch_leader(self, leader: Callable[[], bool]) -> None:
        """Read at each scrape whether this is the active instance."""
        self._callbacks.leader = leader

    def exposition(self) -> Iterator[bytes]:
        """The whole text, in pieces that take about a millisecond each.

        The set of tenants is taken with the first piece: later changes appear in the next scrape.
        """
        shown = [(tenant, tenant.report) for tenant in self._tenants.values() if tenant.report is not None]
        yield generate_latest(self.registry)
        for header, lines in self._families:
            yield header.encode()
            for start in range(0, len(shown), _TENANTS_PER_CHUNK):
                chunk = shown[start : start + _TENANTS_PER_CHUNK]
                yield "".join([lines(tenant, report) for tenant, report in chunk]).encode()

    def text(self) -> str:
        """The whole text at once, for tests and small clusters."""
        return b"".join(self.exposition()).decode()

    def _tenant(self, name: str) -> _Tenant:
        kept = self._tenants.get(name)
        if kept is None:
            kept = self._tenants[name] = _Tenant(_escape(name))
        return kept


@dataclass(slots=True, eq=False)
class _Callbacks:
    """The gauges whose values are read at scrape time: a collector of the registry."""

    depth: Callable[[], float] = lambda: 0
    oldest: Callable[[], float] = lambda: 0
    leader: Callable[[], bool] = lambda: False
    informers: dict[str, tuple[Callable[[], int], Callable[[], float | None]]] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "securetenant_workqueue_depth", "Tenants that wait for a pass.", value=float(self.depth())
        )
        yield GaugeMetricFamily(
            "securetenant_workqueue_oldest_seconds",
            "Age of the tenant that has waited longest for a pass; 0 if none waits.",
            value=float(self.oldest()),
        )
        yield GaugeMetricFamily(
            "securetenant_leader", "1 on the active instance, 0 on a standby.", value=float(self.leader())
        )
        objects = GaugeMetricFamily("securetenant_informer_objects", "Objects in a kind's cache.", labels=["kind"])
        contact = GaugeMetricFamily(
            "securetenant_informer_last_contact_timestamp_seconds",
            "Time of a kind's last event or bookmark; alert when it is old.",
            labels=["kind"],
        )
        for kind, (count, last_contact) in self.informers.items():
            objects.add_metric([kind], float(count()))
            if (last := last_contact()) is not None:
                contact.add_metric([kind], last)
        yield objects
        yield contact


def _shown(controls: Sequence[str], lag: Callable[[str], int | None]) -> Iterator[tuple[Family, _Values]]:
    """The families that every tenant has, in the order of the text, each with a function for a tenant's samples."""
    by_reason = tuple((control, reason) for control in controls for reason in REASONS)
    by_control = tuple((control,) for control in controls)
    yield (
        Family(
            "securetenant_drift_objects",
            "gauge",
            "Deviations outstanding now: in Audit all, in Enforce those not yet or not to be corrected.",
            ("control", "reason"),
            by_reason,
        ),
        lambda _, report: report.drift,
    )
    yield (
        Family(
            "securetenant_drift_detected_total",
            "counter",
            "Deviations found, those healed at once included.",
            ("control", "reason"),
            by_reason,
        ),
        lambda tenant, _: tenant.detected or {},
    )
    yield (
        Family("securetenant_drift_corrected_total", "counter", "Deviations undone.", ("control", "reason"), by_reason),
        lambda tenant, _: tenant.corrected or {},
    )
    yield (
        Family(
            "securetenant_rollout_objects_total",
            "counter",
            "Objects written by a rollout: an edit, a peer's declaration, an expiry, an upgrade.",
            ("control",),
            by_control,
        ),
        lambda tenant, _: tenant.rolled_out or {},
    )
    yield (
        Family(
            "securetenant_drift_contested",
            "gauge",
            "Objects that another manager keeps rewriting.",
            ("control",),
            by_control,
        ),
        lambda _, report: {(control,): count for control, count in report.contested.items()},
    )
    yield (
        Family(
            "securetenant_tenant_info",
            "gauge",
            "A tenant, its mode and what its deletion does.",
            ("mode", "deletion_policy"),
        ),
        lambda _, report: {(report.mode, report.deletion_policy): 1},
    )
    yield (
        Family(
            "securetenant_tenant_condition",
            "gauge",
            "The tenant's conditions: of the statuses True, False and Unknown one is 1.",
            ("condition", "status"),
        ),
        lambda _, report: {
            (condition, status): int(status == current)
            for condition, current in report.conditions.items()
            for status in CONDITION_STATUSES
        },
    )
    yield (
        Family(
            "securetenant_tenant_generation_lag",
            "gauge",
            "metadata.generation minus status.observedGeneration: edits not reported yet. Absent while unknown.",
        ),
        lambda _, report: {(): edits} if (edits := lag(report.tenant)) is not None else None,
    )


def _of_control(family: Family) -> tuple[Family, _Values]:
    return family, lambda _, report: report.samples.get(family.name, {})


def _writer(family: Family, values: _Values) -> _Lines:
    """A function that writes one line per sample, and those of `zeros` without a value as 0.

    For a tenant with zeros only, which is nearly every one, it replaces the placeholder in a prepared text.
    """
    name = family.name

    @lru_cache(maxsize=1024)
    def suffix(key: Labels) -> str:
        return "".join(f',{label}="{_escape(part)}"' for label, part in zip(family.labels, key, strict=True))

    none = dict.fromkeys(family.zeros, 0)
    zeros = "".join(_line(name, _HERE, suffix(key), 0) for key in none)

    def lines(tenant: _Tenant, report: TenantReport) -> str:
        found = values(tenant, report)
        if not found:
            return zeros.replace(_HERE, tenant.name) if found is not None else ""
        # A control that is not in `controls` has no zeros: that is a bug, but no reason to hide what it found.
        shown = {**none, **found} if none else found
        return "".join([_line(name, tenant.name, suffix(key), value) for key, value in shown.items()])

    return lines


def _line(name: str, tenant: str, suffix: str, value: float) -> str:
    """A sample. `tenant` and the labels in `suffix` are escaped already."""
    number = str(value) if type(value) is int else floatToGoString(value)  # type: ignore[no-untyped-call]
    return f'{name}{{tenant="{tenant}"{suffix}}} {number}\n'


def _counted(counts: dict[Labels, int] | None, key: Labels, more: int = 1) -> dict[Labels, int]:
    counts = {} if counts is None else counts
    counts[key] = counts.get(key, 0) + more
    return counts


def _escape(value: str) -> str:
    """Escape a label value for the text format."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
