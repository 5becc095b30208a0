"""The metrics, read back with the parser of prometheus_client: names, labels and values are an interface."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from securetenant.api.status import REASONS
from securetenant.controls import lookup
from securetenant.model.metrics import Samples
from securetenant.telemetry.metrics import Metrics, TenantReport

CONTROLS = ("namespaces", "network")
REPORT = TenantReport("payments", "Enforce", "Retain")

# Name, type and labels, as the interface has them.
FAMILIES = {
    ("securetenant_drift_objects", "gauge", ("control", "reason", "tenant")),
    ("securetenant_drift_detected", "counter", ("control", "reason", "tenant")),
    ("securetenant_drift_corrected", "counter", ("control", "reason", "tenant")),
    ("securetenant_rollout_objects", "counter", ("control", "tenant")),
    ("securetenant_drift_contested", "gauge", ("control", "tenant")),
    ("securetenant_drift_correction_duration_seconds", "histogram", ("control",)),
    ("securetenant_cluster_drift_objects", "gauge", ("control", "reason")),
    ("securetenant_cluster_drift_detected", "counter", ("control", "reason")),
    ("securetenant_tenant_info", "gauge", ("deletion_policy", "mode", "tenant")),
    ("securetenant_tenant_condition", "gauge", ("condition", "status", "tenant")),
    ("securetenant_tenant_generation_lag", "gauge", ("tenant",)),
    ("securetenant_subnets", "gauge", ("tenant",)),
    ("securetenant_whitelist_flows", "gauge", ("state", "tenant")),
    ("securetenant_whitelist_expiry_timestamp_seconds", "gauge", ("tenant",)),
    ("securetenant_quota_hard", "gauge", ("resource", "tenant")),
    ("securetenant_quota_used", "gauge", ("resource", "tenant")),
    ("securetenant_node_dedicated", "gauge", ("tenant",)),
    ("securetenant_node_intruders", "gauge", ("tenant",)),
    ("securetenant_exemptions_active", "gauge", ("control", "tenant")),
    ("securetenant_exemptions_expiry_timestamp_seconds", "gauge", ("tenant",)),
    ("securetenant_reconcile", "counter", ("result",)),
    ("securetenant_reconcile_duration_seconds", "histogram", ()),
    ("securetenant_workqueue_depth", "gauge", ()),
    ("securetenant_workqueue_oldest_seconds", "gauge", ()),
    ("securetenant_api_requests", "counter", ("code", "kind", "verb")),
    ("securetenant_informer_objects", "gauge", ("kind",)),
    ("securetenant_informer_last_contact_timestamp_seconds", "gauge", ("kind",)),
    ("securetenant_leader", "gauge", ()),
    ("securetenant_build_info", "gauge", ("revision", "version")),
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CONTROLS, lookup.FAMILIES)


def families(metrics: Metrics) -> list[Metric]:
    return [
        family for family in text_string_to_metric_families(metrics.text()) if family.name.startswith("securetenant")
    ]


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a name, by the values of their labels in the order of the labels' names."""
    found = [sample for family in families(metrics) for sample in family.samples if sample.name == name]
    values = {tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in found}
    assert len(values) == len(found), f"{name} has a series twice"
    return values


def tenants(metrics: Metrics) -> set[str]:
    return {
        sample.labels["tenant"]
        for family in families(metrics)
        for sample in family.samples
        if "tenant" in sample.labels
    }


def full(metrics: Metrics) -> None:
    """A metric of every kind."""
    metrics.tenant(
        replace(
            REPORT,
            conditions={"Ready": "True"},
            samples={
                "securetenant_whitelist_expiry_timestamp_seconds": {(): 1_800_000_000.0},
                "securetenant_quota_hard": {("pods",): 200.0},
                "securetenant_quota_used": {("pods",): 2.0},
                "securetenant_exemptions_expiry_timestamp_seconds": {(): 1_800_000_000.0},
            },
        )
    )
    metrics.cluster("access", {"Foreign": 1}, ["Foreign"])
    metrics.request("get", "Node", 200, 0.01)
    metrics.build_info("0.1.0", "abc")
    metrics.watch_informer("Node", lambda: 3, lambda: 1_700_000_000.5)


def test_the_families_are_exactly_those_of_the_interface(metrics: Metrics) -> None:
    full(metrics)
    found = set()
    for family in families(metrics):
        labels = {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples}
        assert len(labels) == 1, f"{family.name}: {labels}"
        found.add((family.name, family.type, labels.pop()))
    assert found == FAMILIES


def test_each_family_stands_once_with_help_and_type(metrics: Metrics) -> None:
    full(metrics)
    for kind in ("HELP", "TYPE"):
        named = [line.split()[2] for line in metrics.text().splitlines() if line.startswith(f"# {kind} securetenant")]
        assert sorted(named) == sorted(name + ("_total" if type_ == "counter" else "") for name, type_, _ in FAMILIES)


def test_everything_that_can_be_enumerated_starts_at_zero(metrics: Metrics) -> None:
    metrics.tenant(REPORT)
    by_reason = {(control, reason, "payments"): 0.0 for control in CONTROLS for reason in REASONS}
    assert series(metrics, "securetenant_drift_objects") == by_reason
    assert series(metrics, "securetenant_drift_detected_total") == by_reason
    assert series(metrics, "securetenant_drift_corrected_total") == by_reason
    by_control = {(control, "payments"): 0.0 for control in CONTROLS}
    assert series(metrics, "securetenant_drift_contested") == by_control
    assert series(metrics, "securetenant_rollout_objects_total") == by_control
    assert series(metrics, "securetenant_whitelist_flows") == {
        (state, "payments"): 0.0 for state in ("agreed", "pending", "expired")
    }
    assert series(metrics, "securetenant_node_dedicated") == {("payments",): 0.0}
    assert series(metrics, "securetenant_reconcile_total") == {
        (result,): 0.0 for result in ("success", "requeued", "error")
    }
    corrections = series(metrics, "securetenant_drift_correction_duration_seconds_count")
    assert corrections == {("namespaces",): 0.0, ("network",): 0.0}


def test_what_is_the_clusters_is_shown_once_it_is_known(metrics: Metrics) -> None:
    shown, counted = "securetenant_cluster_drift_objects", "securetenant_cluster_drift_detected_total"
    assert series(metrics, shown) == series(metrics, counted) == {}
    metrics.cluster("access", {"Changed": 1, "Foreign": 0}, ())
    assert series(metrics, shown) == {("access", "Changed"): 1.0, ("access", "Foreign"): 0.0}
    assert series(metrics, counted) == {("access", "Changed"): 0.0, ("access", "Foreign"): 0.0}
    metrics.cluster("access", {"Changed": 0, "Foreign": 2}, ["Foreign", "Foreign"])
    assert series(metrics, shown) == {("access", "Changed"): 0.0, ("access", "Foreign"): 2.0}
    assert series(metrics, counted) == {("access", "Changed"): 0.0, ("access", "Foreign"): 2.0}
    metrics.cluster("access", None, ())
    assert series(metrics, shown) == {}
    assert series(metrics, counted) == {("access", "Changed"): 0.0, ("access", "Foreign"): 2.0}


def test_a_report_is_told_in_full(metrics: Metrics) -> None:
    metrics.tenant(
        TenantReport(
            "payments",
            "Audit",
            "Delete",
            drift={("network", "Foreign"): 2},
            contested={"network": 1},
            conditions={"Ready": "False", "Drifted": "Unknown"},
            samples={
                "securetenant_whitelist_flows": {("agreed",): 3, ("expired",): 1},
                "securetenant_whitelist_expiry_timestamp_seconds": {(): 1_800_000_000.25},
                "securetenant_quota_hard": {("requests.cpu",): 40.5, ("requests.memory",): float(160 * 2**30)},
                "securetenant_quota_used": {("requests.cpu",): 0.25},
                "securetenant_node_dedicated": {(): 2},
            },
        )
    )
    drift = series(metrics, "securetenant_drift_objects")
    assert drift.pop(("network", "Foreign", "payments")) == 2
    assert set(drift.values()) == {0.0}
    assert len(drift) == len(CONTROLS) * len(REASONS) - 1
    assert series(metrics, "securetenant_drift_contested") == {
        ("namespaces", "payments"): 0,
        ("network", "payments"): 1,
    }
    assert series(metrics, "securetenant_tenant_info") == {("Delete", "Audit", "payments"): 1}
    assert series(metrics, "securetenant_tenant_condition") == {
        ("Ready", "True", "payments"): 0,
        ("Ready", "False", "payments"): 1,
        ("Ready", "Unknown", "payments"): 0,
        ("Drifted", "True", "payments"): 0,
        ("Drifted", "False", "payments"): 0,
        ("Drifted", "Unknown", "payments"): 1,
    }
    assert series(metrics, "securetenant_whitelist_flows") == {
        ("agreed", "payments"): 3,
        ("pending", "payments"): 0,
        ("expired", "payments"): 1,
    }
    assert series(metrics, "securetenant_whitelist_expiry_timestamp_seconds") == {("payments",): 1_800_000_000.25}
    assert series(metrics, "securetenant_quota_hard") == {
        ("requests.cpu", "payments"): 40.5,
        ("requests.memory", "payments"): 160 * 2**30,
    }
    assert series(metrics, "securetenant_quota_used") == {("requests.cpu", "payments"): 0.25}
    assert series(metrics, "securetenant_node_dedicated") == {("payments",): 2}


def test_what_the_next_report_no_longer_has_vanishes(metrics: Metrics) -> None:
    full(metrics)
    metrics.tenant(replace(REPORT, mode="Audit"))
    assert series(metrics, "securetenant_tenant_info") == {("Retain", "Audit", "payments"): 1}
    for name in (
        "securetenant_tenant_condition",
        "securetenant_quota_hard",
        "securetenant_quota_used",
        "securetenant_whitelist_expiry_timestamp_seconds",
    ):
        assert series(metrics, name) == {}, name


def test_generation_lag_is_asked_for_at_each_scrape(metrics: Metrics) -> None:
    """A pass that never gets through reports nothing: the lag has to grow without it."""
    lags = {"payments": 0}
    metrics.watch_generation_lag(lags.__getitem__)
    metrics.tenant(REPORT)
    assert series(metrics, "securetenant_tenant_generation_lag") == {("payments",): 0}
    lags["payments"] = 2
    assert series(metrics, "securetenant_tenant_generation_lag") == {("payments",): 2}


def test_counters_count_and_outlive_a_report(metrics: Metrics) -> None:
    metrics.detected("payments", "network", "Missing")
    assert tenants(metrics) == set(), "no series before the first report"
    metrics.detected("payments", "network", "Missing")
    metrics.corrected("payments", "network", "Missing", 0.004)
    metrics.rolled_out("payments", "network", 3)
    metrics.rolled_out("payments", "network", 1)
    metrics.tenant(REPORT)
    metrics.tenant(replace(REPORT, mode="Audit"))
    key = ("network", "Missing", "payments")
    detected = series(metrics, "securetenant_drift_detected_total")
    assert (detected.pop(key), set(detected.values())) == (2.0, {0.0})
    corrected = series(metrics, "securetenant_drift_corrected_total")
    assert (corrected.pop(key), set(corrected.values())) == (1.0, {0.0})
    rolled_out = series(metrics, "securetenant_rollout_objects_total")
    assert (rolled_out.pop(("network", "payments")), set(rolled_out.values())) == (4.0, {0.0})


def test_the_correction_histogram_reaches_from_a_millisecond_to_a_minute(metrics: Metrics) -> None:
    for seconds in (0.0005, 0.004, 59.0, 61.0):
        metrics.corrected("payments", "network", "Missing", seconds)
    buckets = series(metrics, "securetenant_drift_correction_duration_seconds_bucket")
    found = [buckets["network", bound] for bound in ("0.001", "0.005", "30.0", "60.0", "+Inf")]
    assert found == [1, 2, 2, 3, 4]
    sums = series(metrics, "securetenant_drift_correction_duration_seconds_sum")
    assert sums == {("namespaces",): 0.0, ("network",): pytest.approx(120.0045)}


def test_a_control_that_is_not_known_is_shown_all_the_same(metrics: Metrics) -> None:
    metrics.tenant(replace(REPORT, drift={("storage", "Missing"): 1}))
    assert series(metrics, "securetenant_drift_objects")[("storage", "Missing", "payments")] == 1


def test_a_forgotten_tenant_leaves_no_series(metrics: Metrics) -> None:
    full(metrics)
    metrics.detected("payments", "network", "Missing")
    metrics.rolled_out("payments", "network", 3)
    metrics.tenant(replace(REPORT, tenant="ledger"))
    metrics.forget("payments")
    metrics.forget("payments")
    assert tenants(metrics) == {"ledger"}
    metrics.tenant(REPORT)
    for counter in ("drift_detected", "rollout_objects"):
        assert set(series(metrics, f"securetenant_{counter}_total").values()) == {0.0}, "a new tenant starts at 0"


def test_label_values_are_escaped(metrics: Metrics) -> None:
    odd = 'a"b\\nc\nd\\'
    samples: Samples = {"securetenant_quota_hard": {(odd,): 1.0}}
    metrics.tenant(replace(REPORT, tenant=odd, conditions={odd: "True"}, samples=samples))
    assert tenants(metrics) == {odd}
    assert series(metrics, "securetenant_quota_hard") == {(odd, odd): 1}
    assert series(metrics, "securetenant_tenant_condition")[(odd, "True", odd)] == 1
    assert ("network", "Missing", odd) in series(metrics, "securetenant_drift_objects")


def test_passes_and_requests_are_counted(metrics: Metrics) -> None:
    metrics.reconciled("success", 0.01)
    metrics.reconciled("error", 2.0)
    metrics.request("get", "Namespace", 200, 0.01)
    metrics.request("get", "Namespace", "200", 0.01)
    metrics.request("post", "NetworkPolicy", 0, 10.0)
    assert series(metrics, "securetenant_reconcile_total") == {("success",): 1, ("error",): 1, ("requeued",): 0}
    assert series(metrics, "securetenant_reconcile_duration_seconds_sum") == {(): 2.01}
    assert series(metrics, "securetenant_api_requests_total") == {
        ("200", "Namespace", "get"): 2,
        ("0", "NetworkPolicy", "post"): 1,
    }


def test_what_is_watched_is_asked_for_at_each_scrape(metrics: Metrics) -> None:
    assert series(metrics, "securetenant_workqueue_depth") == {(): 0}
    assert series(metrics, "securetenant_leader") == {(): 0}
    depth = 1
    contact: float | None = None
    leader = False
    metrics.watch_queue(lambda: depth, lambda: depth / 2)
    metrics.watch_informer("Node", lambda: depth, lambda: contact)
    metrics.watch_leader(lambda: leader)
    assert series(metrics, "securetenant_informer_last_contact_timestamp_seconds") == {}, "never heard of"
    depth, contact, leader = 5, 1_700_000_000.5, True
    assert series(metrics, "securetenant_workqueue_depth") == {(): 5}
    assert series(metrics, "securetenant_workqueue_oldest_seconds") == {(): 2.5}
    assert series(metrics, "securetenant_informer_objects") == {("Node",): 5}
    assert series(metrics, "securetenant_informer_last_contact_timestamp_seconds") == {("Node",): 1_700_000_000.5}
    assert series(metrics, "securetenant_leader") == {(): 1}


def test_the_build_is_one_series(metrics: Metrics) -> None:
    metrics.build_info("0.1.0", "abc")
    metrics.build_info("0.2.0", "def")
    assert series(metrics, "securetenant_build_info") == {("def", "0.2.0"): 1}


def test_the_text_comes_in_pieces_that_are_small_and_whole_lines(metrics: Metrics) -> None:
    """A thousand tenants with the zeros of ten controls: no piece may hold the event loop for long."""
    metrics = Metrics([f"control-{number}" for number in range(10)], lookup.FAMILIES)
    for number in range(1000):
        metrics.tenant(replace(REPORT, tenant=f"tenant-{number}"))
    pieces = list(metrics.exposition())
    assert max(len(piece) for piece in pieces) < 250_000
    assert all(piece.endswith(b"\n") for piece in pieces if piece)
    assert b"".join(pieces).count(b"\nsecuretenant_node_dedicated{") == 1000


def test_a_tenant_that_goes_while_the_text_is_read_is_whole_in_it(metrics: Metrics) -> None:
    metrics.tenant(REPORT)
    metrics.detected("payments", "network", "Missing")

    def read() -> Iterator[bytes]:
        pieces = metrics.exposition()
        yield next(pieces)
        metrics.forget("payments")
        metrics.tenant(replace(REPORT, tenant="ledger"))
        yield from pieces

    text = b"".join(read()).decode()
    assert 'securetenant_drift_detected_total{tenant="payments",control="network",reason="Missing"} 1\n' in text
    assert 'securetenant_node_dedicated{tenant="payments"} 0\n' in text
    assert "ledger" not in text
