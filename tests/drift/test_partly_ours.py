"""Objects that a network plug-in writes too: which of their fields are judged, which are put right, and which never."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from securetenant.drift import judge, writes
from securetenant.drift.judge import Finding, Owner
from securetenant.drift.merge import merged
from securetenant.model import names
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE
from securetenant.model.objects import Desired, Observed, Ref
from securetenant.model.record import annotation
from tests.support.world import observe, tenant

PAY = tenant("pay", namespaces=["pay"])
UID = PAY.metadata.uid
SWITCH = "ovn.kubernetes.io/logical_switch"
SUBNET = Desired(
    Ref(KUBE_OVN_SUBNET, "", "securetenant-pay"),
    "subnets",
    body={"spec": {"cidrBlock": "10.60.0.0/24", "private": True, "acls": []}},
)
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"})
BOUND = Desired(Ref(NAMESPACE, "", "pay"), "subnets", absent={SWITCH: "securetenant-pay", "never": ""})
(WHOLE,) = merged([SPACE, BOUND])


def found(want: Desired, have: Observed, applied: Iterable[Ref] = (SUBNET.ref, SPACE.ref)) -> list[Finding]:
    owner = Owner("pay", UID, frozenset(applied).__contains__, lambda namespace: True)
    return list(judge.wanted(owner, [want], {have.ref: have}.get))


def subnet(**spec: Any) -> Observed:
    """As the plug-in fills it in."""
    filled = {"gateway": "10.60.0.1", "protocol": "IPv4", "excludeIps": ["10.60.0.1"]}
    finalizers = ("kubeovn.io/kube-ovn-controller",)
    body = SUBNET.body["spec"]
    assert isinstance(body, dict)
    return observe(SUBNET, PAY, spec={**filled, **body, **spec}, finalizers=finalizers)


def test_what_the_plug_in_fills_in_is_not_judged() -> None:
    assert found(SUBNET, subnet()) == []


@pytest.mark.parametrize(("spec", "path"), [({"private": False}, "spec.private"), ({"acls": [{}]}, "spec.acls")])
def test_what_is_ours_is_put_right(spec: dict[str, Any], path: str) -> None:
    (one,) = found(SUBNET, subnet(**spec))
    assert (one.action, one.path, one.rollout) == ("Patch", path, False)
    (request,) = writes.of(one, "pay", UID)
    assert isinstance(request.body, dict)
    assert request.body["spec"] == SUBNET.body["spec"]


def test_what_is_fixed_is_reported_and_the_rest_is_put_right() -> None:
    moved = {"cidrBlock": "10.61.0.0/24"}
    (kept,) = found(SUBNET, subnet(**moved))
    assert (kept.action, kept.path, kept.rollout) == ("Keep", "spec.cidrBlock", False)
    assert writes.of(kept, "pay", UID) == []

    kept, healed = found(SUBNET, subnet(**moved, private=False))
    assert (kept.action, healed.action, healed.path) == ("Keep", "Patch", "spec.private")
    (request,) = writes.of(healed, "pay", UID)
    assert isinstance(request.body, dict)
    assert request.body["spec"] == {"cidrBlock": "10.61.0.0/24", "private": True, "acls": []}
    # The record does not make the move ours.
    assert healed.record == annotation(SUBNET, "pay", UID)
    (after,) = found(SUBNET, subnet(**moved))
    assert not after.rollout


def test_an_edit_reaches_one_whose_addresses_were_moved() -> None:
    wider = replace(SUBNET, body={"spec": {"cidrBlock": "10.60.0.0/24", "private": False, "acls": []}})
    kept, edited = found(wider, subnet(cidrBlock="10.61.0.0/24"))
    assert (kept.action, edited.action, edited.path) == ("Keep", "Patch", "spec.private")


@pytest.mark.parametrize("value", [None, "securetenant-pay"])
def test_an_annotation_may_be_missing_or_have_its_only_value(value: str | None) -> None:
    assert found(WHOLE, observe(WHOLE, PAY, annotations={SWITCH: value} if value else {})) == []


@pytest.mark.parametrize("others", [{SWITCH: "ovn-default"}, {"never": ""}, {"never": "x", SWITCH: "securetenant-pay"}])
def test_another_value_is_drift_of_the_control_that_forbids_it_and_taken_off(others: dict[str, str]) -> None:
    have = observe(WHOLE, PAY, annotations=others)
    (one,) = found(WHOLE, have)
    assert (one.control, one.action, one.rollout) == ("subnets", "Patch", False)
    assert judge.closes(one)
    (request,) = writes.of(one, "pay", UID)
    assert isinstance(request.body, dict)
    metadata = request.body["metadata"]
    assert isinstance(metadata, dict)
    taken = {key: None for key, value in others.items() if value != "securetenant-pay"}
    assert metadata["annotations"] == {**taken, names.ANNOTATION_APPLIED: one.record}


def test_to_forbid_what_stands_is_a_rollout() -> None:
    (one,) = found(WHOLE, observe(SPACE, PAY, annotations={SWITCH: "ovn-default"}))
    assert one.rollout


def test_the_record_names_what_is_forbidden_only_where_something_is() -> None:
    assert "absent" not in json.loads(annotation(SPACE, "pay", UID))
    assert json.loads(annotation(WHOLE, "pay", UID))["absent"] == dict(BOUND.absent)
