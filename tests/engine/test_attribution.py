"""Who wrote a field, out of managedFields."""

import json
from typing import Any

import pytest

from securetenant.engine.attribution import last_manager, was_written_later


def entry(manager: str, time: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


OURS = entry("securetenant", "2026-01-01T00:00:01Z", {"f:spec": {"f:ingress": {}}})
KUBECTL = entry("kubectl-patch", "2026-01-01T00:00:01Z", {"f:spec": {"f:ingress": {}}})
HELM = entry("helm", "2026-01-01T00:00:03Z", {"f:metadata": {"f:labels": {"f:a.b/c": {}}}})
STATUS = entry("kubelet", "2026-01-01T00:00:09Z", {"f:spec": {"f:ingress": {}}}, subresource="status")


@pytest.mark.parametrize(
    ("path", "manager"),
    [
        pytest.param("spec.ingress[0].ports", "kubectl-patch", id="owner of the field"),
        pytest.param("labels.a.b/c", "helm", id="label with dots"),
        pytest.param("spec.egress", "helm", id="nobody owns it: the latest other"),
        pytest.param("", "helm", id="whole object: the latest other"),
    ],
)
def test_last_manager(path: str, manager: str) -> None:
    raw = json.dumps({"metadata": {"managedFields": [OURS, KUBECTL, HELM, STATUS]}}).encode()
    assert last_manager(raw, path) == manager


def test_who_wrote_before_we_did_is_not_blamed() -> None:
    """A removed field has no owner: an entry that is older than our own last write says nothing about it."""
    ours = {**OURS, "time": "2026-01-01T00:00:04Z"}
    raw = json.dumps({"metadata": {"managedFields": [ours, KUBECTL, HELM]}}).encode()
    assert last_manager(raw, "spec.egress") == ""


def test_only_ours_or_nothing_is_unknown() -> None:
    assert last_manager(json.dumps({"metadata": {"managedFields": [OURS]}}).encode(), "spec") == ""
    assert last_manager(b'{"metadata": {}}', "spec") == ""


HARD: dict[str, Any] = {"f:status": {"f:hard": {"f:requests.cpu": {}, "f:pods": {}}}}
COUNTED = entry("kube-controller-manager", "2026-01-01T00:00:05Z", HARD, subresource="status")
FORGED = entry(
    "mallory", "2026-01-01T00:00:03Z", {"f:status": {"f:hard": {"f:requests.memory": {}}}}, subresource="status"
)


@pytest.mark.parametrize(
    ("path", "manager"),
    [
        pytest.param("status.hard.requests.memory", "mallory", id="resource with a dot"),
        pytest.param("status.hard.pods", "kube-controller-manager", id="owner of the field"),
        pytest.param("status.hard.secrets", "", id="nobody owns it: Kubernetes itself writes there"),
        pytest.param("spec.hard.requests.cpu", "", id="not of the status"),
    ],
)
def test_who_wrote_a_status(path: str, manager: str) -> None:
    raw = json.dumps({"metadata": {"managedFields": [OURS, COUNTED, FORGED]}}).encode()
    assert last_manager(raw, path) == manager


@pytest.mark.parametrize(("second", "newer"), [(2, True), (3, False), (4, False)])
def test_whether_a_status_was_written_after_the_spec(second: int, newer: bool) -> None:
    spec = entry("securetenant", f"2026-01-01T00:00:0{second}Z", {"f:spec": {"f:hard": {"f:pods": {}}}})
    raw = json.dumps({"metadata": {"managedFields": [spec, FORGED]}}).encode()
    assert was_written_later(raw, "status.hard.requests.memory", "spec.hard") is newer
    assert not was_written_later(raw, "status.hard.pods", "spec.hard"), "nobody owns it"
