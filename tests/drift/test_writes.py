"""What is sent for a finding, exactly."""

import json
from typing import Any

import pytest

from securetenant.drift import writes
from securetenant.drift.judge import Action, Finding
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, NODE, RESOURCE_QUOTA, ROLE_BINDING
from securetenant.model.objects import Desired, JsonValue, Observed, Ref
from securetenant.model.record import annotation
from tests.support.world import observe, observed, tenant

PAY = tenant("pay", namespaces=["pay"])
UID = PAY.metadata.uid
DENY = Desired(Ref(NETWORK_POLICY, "pay", "deny"), "network", body={"spec": {"podSelector": {}}})
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"}, annotations={"who": "x"})
TAINT = {"key": names.NODE_TAINT, "value": "pay", "effect": "NoSchedule"}
N1 = Desired(Ref(NODE, "", "n1"), "nodes", labels={names.NODE_LABEL_TENANT: "pay"}, body={"taint": dict(TAINT)})


def sent(request: writes.Request) -> Any:
    return request.body


def finding(action: Action, desired: Desired | None, have: Observed | None) -> Finding:
    ref = desired.ref if desired else have.ref if have else Ref(NODE, "", "")
    record = annotation(desired, "pay", UID) if desired else ""
    return Finding(ref, "x", "Changed", action, rollout=False, desired=desired, record=record, observed=have)


def test_create_holds_marks_and_record() -> None:
    (request,) = writes.of(finding("Create", DENY, None), "pay", UID)
    assert (request.verb, request.ref) == ("create", DENY.ref)
    metadata = sent(request)["metadata"]
    assert metadata["labels"] == {
        names.LABEL_MANAGED_BY: "securetenant",
        names.LABEL_TENANT: "pay",
        names.LABEL_CONTROL: "network",
    }
    assert list(metadata["annotations"]) == [names.ANNOTATION_APPLIED]
    assert "resourceVersion" not in metadata
    assert sent(request)["spec"] == {"podSelector": {}}


def test_replace_is_of_the_version_that_was_seen() -> None:
    (request,) = writes.of(finding("Replace", DENY, observe(DENY, PAY)), "pay", UID)
    assert request.verb == "replace"
    assert sent(request)["metadata"]["resourceVersion"] == "1"


def test_a_quota_is_replaced_whatever_its_status_became_meanwhile() -> None:
    quota = Desired(Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", body={"spec": {"hard": {"pods": "1"}}})
    have = observe(quota, PAY)
    (replaced,) = writes.of(finding("Replace", quota, have), "pay", UID)
    metadata = sent(replaced)["metadata"]
    assert metadata["uid"] == have.uid
    assert "resourceVersion" not in metadata
    assert sent(writes.delete(have)) == {"uid": have.uid}


def test_a_recount_changes_the_spec_and_back_and_limits_the_same() -> None:
    quota = Desired(Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", body={"spec": {"hard": {"pods": "1"}}})
    have = observe(quota, PAY)
    there, back = writes.of(finding("Recount", quota, have), "pay", UID)
    assert (there.verb, back.verb) == ("replace", "replace")
    marker = "count/securetenants.securetenant.dev"  # cluster-scoped: no namespace has one
    assert sent(there)["spec"] == {"hard": {"pods": "1", marker: "0"}}
    assert sent(back)["spec"] == {"hard": {"pods": "1"}}
    # Each with a record of its own: killed in between, it is a rollout and no drift.
    records = [sent(one)["metadata"]["annotations"][names.ANNOTATION_APPLIED] for one in (there, back)]
    assert records[0] != records[1] == have.record


def test_recreate_deletes_what_was_seen_first() -> None:
    have = observe(DENY, PAY)
    first, second = writes.of(finding("Recreate", DENY, have), "pay", UID)
    assert (first.verb, sent(first)) == ("delete", {"uid": have.uid, "resourceVersion": "1"})
    assert second.verb == "create"


def test_keep_sends_nothing() -> None:
    assert writes.of(finding("Keep", None, observe(DENY, PAY)), "pay", UID) == []


def test_a_namespace_is_patched_in_our_keys_and_those_that_we_gave_up() -> None:
    before = Desired(SPACE.ref, "namespaces", labels={"old": "1"}, annotations={"gone": "1"})
    have = observe(before, PAY, labels={"theirs": "1"}, annotations={"theirs": "1"})
    (request,) = writes.of(finding("Patch", SPACE, have), "pay", UID)
    metadata = sent(request)["metadata"]
    assert request.verb == "merge"
    assert (metadata["uid"], metadata["resourceVersion"]) == (have.uid, "1")
    assert metadata["labels"]["old"] is None
    assert metadata["labels"]["env"] == "prod"
    assert "theirs" not in metadata["labels"]
    assert metadata["annotations"]["gone"] is None
    assert metadata["annotations"]["who"] == "x"
    assert json.loads(metadata["annotations"][names.ANNOTATION_APPLIED])["annotations"] == ["who"]


def test_a_node_keeps_others_taints() -> None:
    others = [
        {"key": "gpu", "effect": "NoSchedule"},
        {"key": names.NODE_TAINT, "value": "risk", "effect": "NoSchedule"},
    ]
    node = observed("Node", "n1", labels={"a/b~c": "1"}, spec={"taints": others})
    (request,) = writes.of(finding("Patch", N1, node), "pay", UID)
    operations = {op["path"]: op for op in sent(request)}
    assert operations["/metadata/resourceVersion"] == {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}
    assert operations["/spec/taints"]["value"] == [others[0], TAINT]
    assert operations[f"/metadata/labels/{names.NODE_LABEL_TENANT.replace('/', '~1')}"]["value"] == "pay"
    assert names.ANNOTATION_APPLIED in operations["/metadata/annotations"]["value"]


def test_a_node_is_given_back_without_a_trace() -> None:
    gpu = {"key": "gpu", "effect": "NoSchedule"}
    node = observed(
        "Node", "n1", labels=N1.labels, annotations={names.ANNOTATION_APPLIED: "x"}, spec={"taints": [gpu, TAINT]}
    )
    request = writes.release(node)
    removed = [op["path"] for op in sent(request) if op["op"] == "remove"]
    assert removed == [
        f"/metadata/labels/{names.NODE_LABEL_TENANT.replace('/', '~1')}",
        "/metadata/annotations/securetenant.dev~1applied",
    ]
    assert sent(request)[-1]["value"] == [gpu]


def test_a_released_object_stays_but_for_our_marks() -> None:
    request = writes.release(observe(DENY, PAY, labels={"theirs": "1"}))
    assert request.verb == "replace"
    assert sent(request)["metadata"]["labels"] == {"theirs": "1"}
    assert sent(request)["metadata"]["annotations"] == {}
    assert sent(request)["spec"] == {"podSelector": {}}


@pytest.mark.parametrize("label", [names.LABEL_MANAGED_BY, names.LABEL_TENANT, names.LABEL_CONTROL])
def test_a_released_namespace_loses_each_mark_and_keeps_its_labels(label: str) -> None:
    request = writes.release(observe(SPACE, PAY))
    labels = sent(request)["metadata"]["labels"]
    assert labels[label] is None
    assert "env" not in labels


def test_what_finalizers_hold_is_freed_before_it_is_deleted() -> None:
    """Terminating, a policy or binding stays in force for as long as they stand."""
    have = observe(DENY, PAY, finalizers=("a.example/hold",))
    free, gone = writes.of(finding("Delete", None, have), "pay", UID)
    assert [(request.verb, sent(request)) for request in (free, gone)] == [
        ("free", {"uid": have.uid}),
        ("delete", {"uid": have.uid}),
    ]
    going = observe(DENY, PAY, finalizers=("a.example/hold",), deleting=True)
    assert [request.verb for request in writes.of(finding("Delete", None, going), "pay", UID)] == ["free"]


def test_a_replaced_binding_is_deleted_instead_of_released() -> None:
    """The API server would not let us write it, and the deletion of the tenant would never end."""
    role: dict[str, JsonValue] = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "securetenant-viewer",
    }
    want = Desired(Ref(ROLE_BINDING, "pay", "securetenant-viewer"), "access", body={"roleRef": role, "subjects": []})
    verbs = [request.verb for request in writes.of(finding("Release", None, observe(want, PAY)), "pay", UID)]
    assert verbs == ["replace"]
    replaced = observe(want, PAY, roleRef={**role, "name": "cluster-admin"})
    assert [r.verb for r in writes.of(finding("Release", None, replaced), "pay", UID)] == ["delete"]


def test_a_forged_record_takes_no_label_of_the_clusters_away() -> None:
    level = "pod-security.kubernetes.io/enforce"
    record = json.dumps({"digest": "x", "labels": [level, "team"], "annotations": []})
    have = observe(
        SPACE, PAY, labels={level: "restricted", "team": "a"}, annotations={names.ANNOTATION_APPLIED: record}
    )
    (request,) = writes.of(finding("Patch", SPACE, have), "pay", UID)
    labels = sent(request)["metadata"]["labels"]
    assert level not in labels
    assert labels["team"] is None
