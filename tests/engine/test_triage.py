"""Which tenants are looked at first after a start."""

import pytest

from securetenant.engine.triage import is_suspect
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import StaticWorld, namespace, observe, observed, tenant

PAY = tenant("pay", namespaces=["pay"])
DENY = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-default-deny"), "network", body={"spec": {"podSelector": {}}})
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"})
APPLIED = {"": ["Namespace/pay"], "pay": ["NetworkPolicy/securetenant-default-deny"]}
SOUND = (observe(SPACE, PAY), observe(DENY, PAY))


def suspect(*objects: Observed) -> bool:
    world = StaticWorld([PAY], objects)
    return is_suspect(PAY.metadata.uid, APPLIED, world.get, world.in_namespace)


def test_what_stands_as_it_was_written_is_none() -> None:
    assert not suspect(*SOUND)
    assert not suspect(*SOUND, namespace("kube-system"), observed("NetworkPolicy", "theirs", "other", spec={}))
    assert not is_suspect(PAY.metadata.uid, {"": ["Gone/kind", "nonsense"]}, lambda ref: None, lambda kind, name: ())


@pytest.mark.parametrize(
    "objects",
    [
        SOUND[:1],
        SOUND[1:],
        (SOUND[0], observe(DENY, PAY, spec={"podSelector": {}, "ingress": [{}]})),
        (observe(SPACE, PAY, labels={"env": "weak"}), SOUND[1]),
        (*SOUND, observed("NetworkPolicy", "theirs", "pay", spec={"ingress": [{}]})),
        (*SOUND, observed("RoleBinding", "theirs", "pay", subjects=[])),
    ],
    ids=["missing", "namespace-missing", "widened", "label", "foreign-policy", "foreign-binding"],
)
def test_anything_that_was_changed_makes_one(objects: tuple[Observed, ...]) -> None:
    assert suspect(*objects)
