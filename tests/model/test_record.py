"""The record on an object: what it proves, and what it does not let pass."""

import msgspec
import pytest

from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.model.record import entry, is_recorded, shared_record
from tests.support.world import observe, observed, tenant

POLICY = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-default-deny"), "network", body={"spec": {"podSelector": {}}})
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"})
PAY = tenant("pay", namespaces=["pay"])


def test_what_we_wrote_is_recorded() -> None:
    assert is_recorded(observe(POLICY, PAY), PAY.metadata.uid)
    assert is_recorded(observe(SPACE, PAY), PAY.metadata.uid)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": {"extra": "1"}}, id="label added"),
        pytest.param({"annotations": {"extra": "1"}}, id="annotation added"),
        pytest.param({"finalizers": ["x/y"]}, id="finalizer added"),
        pytest.param({"owners": ["uid-of-a-pod"]}, id="owner added"),
        pytest.param({"spec": {"podSelector": {}, "ingress": [{}]}}, id="policy widened"),
    ],
)
def test_any_change_of_an_object_of_ours_breaks_the_record(change: dict[str, object]) -> None:
    assert not is_recorded(observe(POLICY, PAY, **change), PAY.metadata.uid)


def test_others_fields_on_a_shared_object_do_not_break_the_record() -> None:
    assert is_recorded(observe(SPACE, PAY, labels={"theirs": "1"}, annotations={"theirs": "2"}), PAY.metadata.uid)


def test_our_field_on_a_shared_object_breaks_it() -> None:
    assert not is_recorded(observe(SPACE, PAY, labels={"env": "test"}), PAY.metadata.uid)


def test_a_record_does_not_hold_for_another_tenant_of_the_same_name() -> None:
    assert not is_recorded(observe(POLICY, PAY), "uid-of-the-next-pay")


def test_a_copy_under_another_name_is_not_recorded() -> None:
    original = observe(POLICY, PAY)
    copy = msgspec.structs.replace(original, ref=Ref(NETWORK_POLICY, "pay", "copy"))
    assert not is_recorded(copy, PAY.metadata.uid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest":1}', "null"])
def test_a_mangled_record_on_a_shared_object_is_none(text: str) -> None:
    space = observed("Namespace", "pay", annotations={names.ANNOTATION_APPLIED: text})
    assert shared_record(space) is None
    assert not is_recorded(space, PAY.metadata.uid)


def test_the_time_that_the_server_adds_to_a_taint_does_not_count() -> None:
    taint = {"key": names.NODE_TAINT, "value": "pay", "effect": "NoExecute"}
    node = observed("Node", "n1", spec={"taints": [{**taint, "timeAdded": "2026-01-01T00:00:00Z"}]})
    assert entry(node) == taint


def test_two_taints_of_our_key_are_not_one() -> None:
    taints = [{"key": names.NODE_TAINT, "value": value, "effect": "NoSchedule"} for value in ("pay", "risk")]
    assert entry(observed("Node", "n1", spec={"taints": taints})) == taints
