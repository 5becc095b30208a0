"""Whose a namespace is, and when it may be written to."""

from typing import Any

import pytest

from securetenant.controls import namespaces, ownership
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant


def plan_of(world: StaticWorld, name: str) -> Any:
    known = world.tenant(name)
    assert known is not None
    return namespaces.plan(known, world, NOW)


def reason(world: StaticWorld, name: str) -> str:
    (condition,) = plan_of(world, name).conditions
    return str(condition.reason)


def test_a_namespace_that_is_not_there_is_wanted_with_its_labels() -> None:
    world = StaticWorld([tenant("pay", namespaces=[{"name": "pay", "labels": {"env": "prod"}}])])
    (want,) = plan_of(world, "pay").desired
    assert want == Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"})
    assert reason(world, "pay") == "Held"


def test_one_that_exists_is_not_taken_over_unasked() -> None:
    world = StaticWorld([tenant("pay", namespaces=["pay"])], [namespace("pay")])
    assert plan_of(world, "pay").desired == []
    assert reason(world, "pay") == "NotOwned"
    assert plan_of(world, "pay").blocking
    assert not plan_of(world, "pay").passing


def test_one_that_exists_is_adopted_when_told() -> None:
    world = StaticWorld([tenant("pay", namespaces=[{"name": "pay", "adopt": True}])], [namespace("pay")])
    assert len(plan_of(world, "pay").desired) == 1


@pytest.mark.parametrize("system", ["kube-system", "default", "securetenant-system", "openshift-dns", "ops"])
def test_a_system_namespace_is_never_adopted(system: str) -> None:
    """Capsule CVE-2024-39690, CVE-2025-55205; kube-* whatever the label says."""
    wants = tenant("pay", namespaces=["pay"])
    entry = wants.spec.namespaces[0].model_copy(update={"name": system, "adopt": True})
    wants = wants.model_copy(update={"spec": wants.spec.model_copy(update={"namespaces": [entry]})})
    marked = observe(Desired(Ref(NAMESPACE, "", system), "namespaces"), wants)
    world = StaticWorld([], [marked], Platform(operator_namespace="ops"))
    plan = namespaces.plan(wants, world, NOW)  # the models refuse most of these, too
    assert plan.desired == []
    assert [condition.reason for condition in plan.conditions] == ["SystemNamespace"]


def test_a_forged_mark_gives_nothing() -> None:
    """A label that somebody put on a namespace makes it nobody's (Capsule CVE-2025-55205)."""
    forged = namespace("pay", labels={names.LABEL_TENANT: "pay", names.LABEL_MANAGED_BY: names.MANAGED_BY})
    world = StaticWorld([tenant("pay", namespaces=["pay"])], [forged])
    assert reason(world, "pay") == "NotOwned"


def test_one_with_a_living_tenants_mark_is_not_adopted() -> None:
    other = tenant("core", namespaces=[])
    theirs = observe(Desired(Ref(NAMESPACE, "", "pay"), "namespaces"), other)
    world = StaticWorld([tenant("pay", namespaces=[{"name": "pay", "adopt": True}]), other], [theirs])
    assert reason(world, "pay") == "NotOwned"
    world.drop("core")
    assert reason(world, "pay") == "Held"


def test_one_with_an_owner_is_not_adopted() -> None:
    """Whoever deletes the owner would have the garbage collector delete the namespace, past the lock."""
    owned = observed("Namespace", "pay", owners=["ClusterRole/x"])
    wants = tenant("pay", namespaces=[{"name": "pay", "adopt": True}])
    world = StaticWorld([wants], [owned])
    assert plan_of(world, "pay").desired == []
    assert reason(world, "pay") == "NotOwned"
    assert "ownerReferences" in plan_of(world, "pay").conditions[0].message


def test_of_two_that_name_it_the_older_keeps_it() -> None:
    old = tenant("zeta", namespaces=["shared"], created="2026-01-01T00:00:00Z")
    new = tenant("alpha", namespaces=["shared"], created="2026-01-02T00:00:00Z")
    world = StaticWorld([new, old])
    assert reason(world, "zeta") == "Held"
    assert reason(world, "alpha") == "Conflict"


def test_an_older_one_cannot_take_what_a_younger_holds() -> None:
    """Never another tenant's: the record, by UID, of the one that made it counts more than age."""
    space = namespace("shared", uid="u1")
    young = tenant(
        "alpha",
        namespaces=["shared"],
        created="2026-01-02T00:00:00Z",
        status={"namespaces": [{"name": "shared", "uid": space.uid}]},
    )
    world = StaticWorld([young, tenant("zeta", namespaces=["shared"])], [space])
    assert reason(world, "alpha") == "Held"
    assert reason(world, "zeta") == "Conflict"


def test_stripping_all_labels_takes_nothing_away() -> None:
    """Capsule CVE-2022-46167."""
    bare = namespace("pay", uid="u1")
    world = StaticWorld(
        [tenant("pay", namespaces=["pay"], status={"namespaces": [{"name": "pay", "uid": "u1"}]})], [bare]
    )
    known = world.tenant("pay")
    assert known is not None
    assert ownership.held(known, world) == ["pay"]


def test_a_terminating_one_is_waited_for() -> None:
    (space,) = mine(tenant("pay", namespaces=["pay"]))
    going = namespace("pay", deleting=True, labels=space.labels, annotations=space.annotations)
    world = StaticWorld([tenant("pay", namespaces=["pay"])], [going])
    assert plan_of(world, "pay").desired == []
    assert reason(world, "pay") == "Terminating"
    assert plan_of(world, "pay").passing
