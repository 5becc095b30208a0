"""What several controls want of one object is one object."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from securetenant.api.refused import parse
from securetenant.drift import writes
from securetenant.drift.assess import assess
from securetenant.drift.judge import Finding, Owner, wanted
from securetenant.drift.merge import control_at, merged
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Observed, Ref, marks
from tests.support.specs import documents
from tests.support.world import NOW, StaticWorld, observe, tenant

SPACE = Ref(NAMESPACE, "", "pay")
LEVEL = "pod-security.kubernetes.io/enforce"
PAY = tenant("pay", namespaces=["pay"])
LABELLED = Desired(SPACE, "namespaces", labels={"env": "prod"})
RESTRICTED = Desired(SPACE, "runtime", labels={LEVEL: "restricted"}, annotations={"why": "bank"})


def found(want: Desired, have: Observed, reserved: tuple[str, ...] = ()) -> Finding:
    owner = Owner("pay", PAY.metadata.uid, lambda ref: True, lambda place: True, reserved=lambda ref: reserved)
    (finding,) = wanted(owner, [want], lambda ref: have)
    return finding


def test_disjoint_parts_join_under_the_first() -> None:
    (both,) = merged([LABELLED, RESTRICTED])
    assert (both.labels, both.annotations) == ({"env": "prod", LEVEL: "restricted"}, {"why": "bank"})
    assert (both.control, [part.control for part in both.parts]) == ("namespaces", ["namespaces", "runtime"])


@pytest.mark.parametrize(
    "other",
    [
        Desired(SPACE, "runtime", labels={"env": "prod"}),
        Desired(SPACE, "runtime", labels={"env": "test"}),
    ],
    ids=["the-same", "another"],
)
def test_two_that_want_one_field_are_a_defect(other: Desired) -> None:
    with pytest.raises(ValueError, match="namespaces and runtime both want env"):
        merged([LABELLED, other])


def test_an_object_of_our_own_is_one_controls() -> None:
    deny = Desired(Ref(NETWORK_POLICY, "pay", "deny"), "network", {"spec": {}})
    with pytest.raises(ValueError, match="network and runtime both want it"):
        merged([deny, Desired(deny.ref, "runtime", {"spec": {}})])


@given(documents())
def test_the_controls_never_want_the_same(document: dict[str, Any]) -> None:
    pay, problem = parse(document)
    assert problem == ""
    refs = [want.ref for want in assess(pay, StaticWorld([pay]), NOW).desired]
    assert len(refs) == len(set(refs))


@pytest.mark.parametrize(("key", "control"), [("env", "namespaces"), (LEVEL, "runtime")])
def test_a_finding_names_the_control_whose_part_differs(key: str, control: str) -> None:
    (both,) = merged([LABELLED, RESTRICTED])
    finding = found(both, observe(both, PAY, labels={key: "other"}))
    assert (finding.path, finding.control) == (f"labels.{key}", control)


def test_the_path_of_an_annotation_is_its_controls_too() -> None:
    (both,) = merged([LABELLED, RESTRICTED])
    assert control_at(both, "annotations.why") == "runtime"
    assert control_at(both, f"annotations.{names.ANNOTATION_APPLIED}") == "namespaces"


@pytest.mark.parametrize("ours", [True, False], ids=["ours-by-the-status", "ours-by-the-record-alone"])
def test_a_reserved_label_is_taken_back_only_where_the_status_says_that_it_is_ours(ours: bool) -> None:
    """The record is anybody's to make who may patch the namespace, and it would lower a level that is not ours."""
    (both,) = merged([LABELLED, RESTRICTED])
    finding = found(LABELLED, observe(both, PAY), reserved=(LEVEL,) if ours else ())
    (request,) = writes.of(finding, "pay", PAY.metadata.uid)
    assert isinstance(request.body, dict)
    assert isinstance(metadata := request.body["metadata"], dict)
    assert isinstance(labels := metadata["labels"], dict)
    assert (labels.get(LEVEL, "kept") is None) == ours
    assert isinstance(annotations := metadata["annotations"], dict)
    assert annotations["why"] is None, "what a spec can set is taken back in any case"


def test_a_reserved_label_is_taken_back_though_its_record_was_removed() -> None:
    """The status is the stronger witness: nobody else can write it."""
    (both,) = merged([LABELLED, RESTRICTED])
    have = msgspec.structs.replace(observe(both, PAY), record=None)
    (request,) = writes.of(found(LABELLED, have, reserved=(LEVEL,)), "pay", PAY.metadata.uid)
    assert isinstance(request.body, dict)
    assert isinstance(metadata := request.body["metadata"], dict)
    assert metadata["labels"] == {LEVEL: None, "env": "prod", **marks("pay", "namespaces")}
    assert LEVEL not in dict(metadata["annotations"])  # type: ignore[arg-type]


@pytest.mark.parametrize("uid", ["uid-Namespace/pay", "another"], ids=["this-very-one", "made-anew-since"])
def test_what_was_written_to_one_namespace_is_not_taken_from_another(uid: str) -> None:
    (both,) = merged([LABELLED, RESTRICTED])
    status = {"namespaces": [{"name": "pay", "uid": "uid-Namespace/pay", "reserved": [LEVEL]}]}
    pay = tenant("pay", namespaces=[{"name": "pay", "adopt": True}], status=status)
    (finding,) = (
        f for f in assess(pay, StaticWorld([pay], [observe(both, pay, uid=uid)]), NOW).findings if f.ref == SPACE
    )
    assert tuple(finding.reserved) == ((LEVEL,) if uid == "uid-Namespace/pay" else ())
