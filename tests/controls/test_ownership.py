"""What is whose, and what a forged mark or record comes to (Capsule CVE-2024-39690, CVE-2025-55205)."""

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, NODE
from securetenant.model.objects import Desired, Observed, Ref, marks
from tests.support.world import StaticWorld, mine, namespace, observe, observed, tenant

POLICY = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-dns"), "network", {"spec": {"podSelector": {}}})
OWNED = {"namespaces": [{"name": "pay", "uid": "uid-Namespace/pay"}]}


def pay(**status: object) -> SecureTenant:
    return tenant("pay", namespaces=["pay"], status={**OWNED, **status})


def forged() -> Observed:
    """A stranger's namespace that looks like the tenant's: its marks, and a record that anybody can compute."""
    return observe(Desired(Ref(NAMESPACE, "", "pay"), "namespaces"), pay(), uid="theirs")


def may_release(have: Observed, space: Observed, of: SecureTenant) -> bool:
    return ownership.may_release(of, have, StaticWorld([of], [space]))


def test_a_namespace_is_owned_by_its_uid_and_no_copy_of_it() -> None:
    assert ownership.owns(pay(), namespace("pay"))
    assert not ownership.owns(pay(), forged())
    assert ownership.as_written(pay(), forged()), "its record is good, and proves nothing"


def test_one_created_by_a_commitment_is_owned_before_its_uid_is_known() -> None:
    of = tenant("pay", namespaces=["pay"])
    (made,) = mine(of)
    assert ownership.owns(of, made)
    copied = of.model_copy(update={"metadata": of.metadata.model_copy(update={"uid": "another"})})
    assert not ownership.owns(copied, made)


@pytest.mark.parametrize(
    ("have", "space", "of", "released"),
    [
        pytest.param(observe(POLICY, pay()), namespace("pay"), pay(), True, id="as-written"),
        pytest.param(
            observed("NetworkPolicy", "securetenant-dns", "pay", labels=marks("pay", "network"), spec={}),
            namespace("pay"),
            pay(applied={"pay": ["NetworkPolicy/securetenant-dns"]}),
            True,
            id="changed-and-on-record",
        ),
        pytest.param(
            observed("NetworkPolicy", "theirs", "pay", labels=marks("pay", "network"), spec={}),
            namespace("pay"),
            pay(),
            False,
            id="a-forged-mark",
        ),
        pytest.param(observe(POLICY, pay()), forged(), pay(), False, id="in-a-strangers-namespace"),
        pytest.param(observe(POLICY, pay()), namespace("other"), pay(), False, id="in-none"),
        pytest.param(namespace("pay"), namespace("pay"), pay(), True, id="its-namespace"),
        pytest.param(forged(), forged(), pay(), False, id="a-strangers-namespace"),
        pytest.param(
            observed("Node", "n1", labels={names.NODE_LABEL_TENANT: "pay"}), namespace("pay"), pay(), True, id="a-node"
        ),
    ],
)
def test_marks_are_taken_off_what_is_ours(have: Observed, space: Observed, of: SecureTenant, released: bool) -> None:
    assert may_release(have, space, of) == released


def test_a_cluster_role_is_never_released() -> None:
    """What is wholly of one writer and in no namespace was never ours."""
    role = observed("ClusterRole", "securetenant-viewer", labels=marks("pay", "access"))
    assert not may_release(role, namespace("pay"), pay())
    assert NODE.is_shared
