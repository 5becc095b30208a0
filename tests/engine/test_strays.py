"""What landed in a namespace of others is found by its UID, and nothing else is."""

from collections.abc import Collection

from securetenant.drift.judge import Finding
from securetenant.engine.strays import LATE, Strays
from securetenant.engine.writer import Outcome
from securetenant.model.kinds import ROLE_BINDING
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import StaticWorld, namespace, observed, tenant

REF = Ref(ROLE_BINDING, "a", "securetenant-viewer")
MADE = observed(*("RoleBinding", "securetenant-viewer", "a"), uid="ours")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def noted(clock: Clock) -> Strays:
    strays = Strays(clock)
    finding = Finding(REF, "access", "Missing", "Create", rollout=True, desired=Desired(REF, "access"))
    strays.note("pay", Outcome(done=[finding], answers={REF: MADE}), {"a": "u1"})
    return strays


def found(strays: Strays, *objects: Observed, own: Collection[str] = ()) -> list[tuple[Ref, str]]:
    world = StaticWorld([tenant("pay", namespaces=["a"])], objects)
    return [(finding.ref, finding.action) for finding in strays.findings("pay", world, own)]


def test_it_is_taken_back_from_a_namespace_that_is_another() -> None:
    assert found(noted(Clock()), namespace("a", uid="u2"), MADE) == [(REF, "Delete")]


def test_where_it_was_meant_for_it_stays() -> None:
    assert found(noted(Clock()), namespace("a", uid="u1"), MADE) == []
    assert found(noted(Clock()), MADE) == []


def test_in_an_adopted_one_it_is_judged_like_all_else() -> None:
    assert found(noted(Clock()), namespace("a", uid="u2"), MADE, own=["a"]) == []


def test_another_of_its_name_is_not_ours() -> None:
    theirs = observed(*("RoleBinding", "securetenant-viewer", "a"), uid="theirs", labels=MADE.labels)
    assert found(noted(Clock()), namespace("a", uid="u2"), theirs) == []


def test_it_is_forgotten_in_time() -> None:
    clock = Clock()
    strays = noted(clock)
    clock.now += LATE + 1
    strays.note("pay", Outcome(), {})
    assert found(strays, namespace("a", uid="u2"), MADE) == []
