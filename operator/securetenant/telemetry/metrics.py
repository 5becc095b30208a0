"""The metrics: an interface like the CRD. Names and labels are stable (docs/metrics.md).

Two kinds of series live here. The operator's own (requests, queue, histograms) are few and stand in an ordinary
`prometheus_client` registry. A tenant's are about 100 each, most of them zeros: as `prometheus_client` children they
take 75 KB of memory per tenant, and a scrape of 1,000 tenants holds the event loop for 1.5 s. So a tenant is kept as
its last `TenantReport` plus those counters that are not zero (1.3 KB), and its lines are written when asked for
(50 ms at 1,000 tenants) in pieces of about a millisecond, so that the event loop goes on between them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

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

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FLOW_STATES: Final = ("agreed", "pending", "expired")
CONDITION_STATUSES: Final = ("True", "False", "Unknown")
RESULTS: Final = ("success", "requeued", "error")

# From the time of one request on the same host to what only a broken cluster takes.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Tenants per piece of the text: about a millisecond of work and 100 KB.
_TENANTS_PER_CHUNK: Final = 50
# Stands for the tenant in the lines that are written ahead of time; no label value may hold it unescaped.
_HERE: Final = "\0"


@dataclass(frozen=True, slots=True)
class TenantReport:
    """What a pass found of one tenant. Every figure out of the one drift value and the plans of that pass.

    Mappings may leave out zeros. Quantities are in base units: cores, bytes, counts.
    """

    tenant: str
    mode: str
    deletion_policy: str
    # (control, reason) -> objects outstanding; None: not judged (Paused), so that no zero passes for compliance
    drift: Mapping[tuple[str, str], int] | None = field(default_factory=dict)
    contested: Mapping[str, int] = field(default_factory=dict)  # control -> objects that another manager rewrites
    conditions: Mapping[str, str] = field(default_factory=dict)  # type -> True | False | Unknown
    flows: Mapping[str, int] = field(default_factory=dict)  # agreed | pending | expired -> declared flows
    next_expiry: float | None = None  # seconds since the epoch
    quota_hard: Mapping[str, float] = field(default_factory=dict)
    quota_used: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 0


@dataclass(slots=True)
class _Tenant:
    """All that is kept of a tenant. It is shown once it has a report; the counters hold no zeros."""

    name: str  # as a label value
    report: TenantReport | None = None
    detected: dict[tuple[str, str], int] | None = None
    corrected: dict[tuple[str, str], int] | None = None
    rolled_out: dict[tuple[str], int] | None = None


_Key = TypeVar("_Key", bound=tuple[str, ...])
_Lines = Callable[[_Tenant, TenantReport], str]


@dataclass(frozen=True, slots=True)
class _Family:
    header: str
    lines: _Lines


class Metrics:
    """The metrics of one process. `controls` are the names of all controls: what the zeros are enumerated over."""

    def __init__(self, controls: Iterable[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # `..._created` is no part of the interface
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
        self._tenants: dict[str, _Tenant] = {}
        self._generation_lag: Callable[[str], int | None] = lambda tenant: 0
        self._families = _families(tuple(controls), lambda tenant: self._generation_lag(tenant))

    def tenant(self, report: TenantReport) -> None:
        """Replace what is shown of a tenant. Series that the report no longer has are gone with it."""
        self._tenant(report.tenant).report = report

    def detected(self, tenant: str, control: str, reason: str) -> None:
        """Count a deviation found. Shown from the tenant's first report on."""
        kept = self._tenant(tenant)
        kept.detected = _counted(kept.detected, (control, reason))

    def corrected(self, tenant: str, control: str, reason: str, seconds: float) -> None:
        """Count a deviation undone, `seconds` after the event that showed it."""
        kept = self._tenant(tenant)
        kept.corrected = _counted(kept.corrected, (control, reason))
        self._correction_seconds.observe(seconds)

    def rolled_out(self, tenant: str, control: str, objects: int) -> None:
        """Count objects written by our own change of mind."""
        kept = self._tenant(tenant)
        kept.rolled_out = _counted(kept.rolled_out, (control,), objects)

    def forget(self, tenant: str) -> None:
        """The tenant is gone, and all its series with it."""
        self._tenants.pop(tenant, None)

    def cluster(self, control: str, standing: Mapping[str, int] | None, detected: Iterable[str]) -> None:
        """Replace what is shown of the cluster: by each reason that there is, how many deviations stand, or None where
        that is not known. `detected`: the reasons of those that came."""
        if standing is None:
            self._cluster_objects.clear()
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
        """Count a request to the API server; `code` is the HTTP status, "error" where no answer came.

        `seconds` is what every transport's hook can tell; the interface has no metric for it.
        """
        self._requests.labels(verb, kind, str(code)).inc()

    def build_info(self, version: str, revision: str) -> None:
        self._build.clear()
        self._build.labels(version, revision).set(1)

    def watch_queue(self, depth: Callable[[], float], oldest: Callable[[], float]) -> None:
        """Ask for the queue's length, and for the age in seconds of its oldest entry (0: empty), at each scrape."""
        self._callbacks.depth, self._callbacks.oldest = depth, oldest

    def watch_informer(self, kind: str, count: Callable[[], int], last_contact: Callable[[], float | None]) -> None:
        """Ask for a kind's cached objects and its last event or bookmark (seconds since the epoch) at each scrape."""
        self._callbacks.informers[kind] = (count, last_contact)

    def watch_generation_lag(self, lag: Callable[[str], int | None]) -> None:
        """Ask for a tenant's edits that no status tells of yet, at each scrape: a pass that never ends reports none.
        None: nobody knows, and there is no series."""
        self._generation_lag = lag

    def watch_leader(self, leader: Callable[[], bool]) -> None:
        """Ask at each scrape whether this is the active instance."""
        self._callbacks.leader = leader

    def exposition(self) -> Iterator[bytes]:
        """The whole text, in pieces that take about a millisecond each.

        The tenants are those of the first piece: what changes while the text is read shows in the next scrape.
        """
        shown = [(tenant, tenant.report) for tenant in self._tenants.values() if tenant.report is not None]
        yield generate_latest(self.registry)
        for family in self._families:
            yield family.header.encode()
            lines = family.lines
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
    """The gauges whose values are asked for at scrape time: a collector of the registry."""

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


def _lag(tenant: str, lag: int | None) -> str:
    return _line("securetenant_tenant_generation_lag", tenant, "", lag) if lag is not None else ""


def _families(controls: Sequence[str], lag: Callable[[str], int | None]) -> tuple[_Family, ...]:
    """The families of the tenants' series, in the order of the text."""
    by_reason: list[tuple[str, str]] = [(control, reason) for control in controls for reason in REASONS]
    drift = _enumerated("securetenant_drift_objects", ("control", "reason"), by_reason)
    detected = _enumerated("securetenant_drift_detected_total", ("control", "reason"), by_reason)
    corrected = _enumerated("securetenant_drift_corrected_total", ("control", "reason"), by_reason)
    by_control: list[tuple[str]] = [(control,) for control in controls]
    rolled_out = _enumerated("securetenant_rollout_objects_total", ("control",), by_control)
    contested = _enumerated("securetenant_drift_contested", ("control",), by_control)
    flows = _enumerated("securetenant_whitelist_flows", ("state",), [(state,) for state in FLOW_STATES])
    return (
        _family(
            "securetenant_drift_objects",
            "gauge",
            "Deviations outstanding now: in Audit all, in Enforce those not yet or not to be corrected.",
            lambda tenant, report: drift(tenant.name, report.drift) if report.drift is not None else "",
        ),
        _family(
            "securetenant_drift_detected_total",
            "counter",
            "Deviations found, those healed at once included.",
            lambda tenant, _: detected(tenant.name, tenant.detected),
        ),
        _family(
            "securetenant_drift_corrected_total",
            "counter",
            "Deviations undone.",
            lambda tenant, _: corrected(tenant.name, tenant.corrected),
        ),
        _family(
            "securetenant_rollout_objects_total",
            "counter",
            "Objects written by a change of mind: a spec, a peer's declaration, an expiry, an upgrade.",
            lambda tenant, _: rolled_out(tenant.name, tenant.rolled_out),
        ),
        _family(
            "securetenant_drift_contested",
            "gauge",
            "Objects that another manager keeps rewriting.",
            lambda tenant, report: contested(
                tenant.name, {(control,): count for control, count in report.contested.items()}
            ),
        ),
        _family("securetenant_tenant_info", "gauge", "A tenant, its mode and what its deletion does.", _info),
        _family(
            "securetenant_tenant_condition",
            "gauge",
            "The tenant's conditions: of the statuses True, False and Unknown one is 1.",
            _conditions,
        ),
        _family(
            "securetenant_tenant_generation_lag",
            "gauge",
            "metadata.generation minus status.observedGeneration: edits not told of yet. Absent while unknown.",
            lambda tenant, report: _lag(tenant.name, lag(report.tenant)),
        ),
        _family(
            "securetenant_whitelist_flows",
            "gauge",
            "Declared flows (rule times peer) by state.",
            lambda tenant, report: flows(tenant.name, {(state,): count for state, count in report.flows.items()}),
        ),
        _family(
            "securetenant_whitelist_expiry_timestamp_seconds",
            "gauge",
            "The next expiry of a rule; absent if none expires.",
            _expiry,
        ),
        _family(
            "securetenant_quota_hard",
            "gauge",
            "The tenant's sum for a resource, in base units.",
            lambda tenant, report: _by_resource("securetenant_quota_hard", tenant.name, report.quota_hard),
        ),
        _family(
            "securetenant_quota_used",
            "gauge",
            "What the tenant uses of a resource, in base units.",
            lambda tenant, report: _by_resource("securetenant_quota_used", tenant.name, report.quota_used),
        ),
        _family(
            "securetenant_node_dedicated",
            "gauge",
            "Nodes dedicated to the tenant and in order.",
            lambda tenant, report: _line("securetenant_node_dedicated", tenant.name, "", report.nodes),
        ),
    )


def _family(name: str, kind: str, help_: str, lines: _Lines) -> _Family:
    return _Family(f"# HELP {name} {help_}\n# TYPE {name} {kind}\n", lines)


def _enumerated(
    name: str, labels: Sequence[str], keys: Sequence[_Key]
) -> Callable[[str, Mapping[_Key, int] | None], str]:
    """A writer of one line per key, those that have no value at 0.

    The lines of a tenant that has nothing to tell, which is nearly every one, are one replacement in a text written
    ahead of time.
    """

    def suffix(key: _Key) -> str:
        return "".join(f',{label}="{_escape(part)}"' for label, part in zip(labels, key, strict=True))

    suffixes = {key: suffix(key) for key in keys}
    zeros = "".join(_line(name, _HERE, text, 0) for text in suffixes.values())

    def lines(tenant: str, values: Mapping[_Key, int] | None) -> str:
        if not values:
            return zeros.replace(_HERE, tenant)
        known = [_line(name, tenant, text, values.get(key, 0)) for key, text in suffixes.items()]
        # A control that nobody told us of is a defect, but never a reason to hide what it found.
        unknown = [_line(name, tenant, suffix(key), value) for key, value in values.items() if key not in suffixes]
        return "".join(known + unknown)

    return lines


def _info(tenant: _Tenant, report: TenantReport) -> str:
    suffix = f',mode="{_escape(report.mode)}",deletion_policy="{_escape(report.deletion_policy)}"'
    return _line("securetenant_tenant_info", tenant.name, suffix, 1)


def _conditions(tenant: _Tenant, report: TenantReport) -> str:
    return "".join(
        _line(
            "securetenant_tenant_condition",
            tenant.name,
            f',condition="{_escape(condition)}",status="{status}"',
            int(status == current),
        )
        for condition, current in report.conditions.items()
        for status in CONDITION_STATUSES
    )


def _expiry(tenant: _Tenant, report: TenantReport) -> str:
    if report.next_expiry is None:
        return ""
    return _line("securetenant_whitelist_expiry_timestamp_seconds", tenant.name, "", report.next_expiry)


def _by_resource(name: str, tenant: str, values: Mapping[str, float]) -> str:
    return "".join(_line(name, tenant, f',resource="{_escape(resource)}"', value) for resource, value in values.items())


def _line(name: str, tenant: str, suffix: str, value: float) -> str:
    """A sample. `tenant` and the labels in `suffix` are escaped already."""
    number = str(value) if type(value) is int else floatToGoString(value)  # type: ignore[no-untyped-call]
    return f'{name}{{tenant="{tenant}"{suffix}}} {number}\n'


def _counted(counts: dict[_Key, int] | None, key: _Key, more: int = 1) -> dict[_Key, int]:
    counts = {} if counts is None else counts
    counts[key] = counts.get(key, 0) + more
    return counts


def _escape(value: str) -> str:
    """A label value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
