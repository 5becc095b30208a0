"""Who is looked at again when something changes at the other end of what a foreign policy opens."""

import pytest

from securetenant.engine.neighbours import Neighbours
from securetenant.model.kinds import CALICO_GLOBAL_NETWORK_POLICY, CALICO_NETWORK_POLICY, NETWORK_POLICY
from securetenant.model.objects import Observed
from securetenant.reach.holds import Holds
from securetenant.sets.selectors import Selector
from tests.support.world import namespace, observed

WEB = Selector((("app", "web"),))


class Stage:
    def __init__(self) -> None:
        self.found: set[str] = set()
        self.neighbours = Neighbours(self.found.update)
        self.neighbours.note("pay", Holds(others=frozenset({"web"}), selectors=frozenset({WEB})))
        self.neighbours.note(
            "ledger", Holds(others=frozenset({"db"}), selectors=frozenset({Selector((("app", "db"),))}))
        )
        self.neighbours.note("quiet", Holds())

    def changed(self, old: Observed | None, new: Observed | None) -> set[str]:
        self.found.clear()
        self.neighbours.change(old, new)
        return set(self.found)


@pytest.mark.parametrize("kind", [NETWORK_POLICY, CALICO_NETWORK_POLICY], ids=lambda kind: kind.key)
def test_a_policy_there(kind: str) -> None:
    stage = Stage()
    there, elsewhere = (observed(kind, "p", name, spec={}) for name in ("web", "other"))
    assert stage.changed(None, there) == {"pay"}
    assert stage.changed(there, None) == {"pay"}
    assert stage.changed(there, there) == {"pay"}
    assert stage.changed(None, elsewhere) == set()


def test_a_policy_of_the_whole_cluster() -> None:
    stage = Stage()
    assert stage.changed(None, observed(CALICO_GLOBAL_NETWORK_POLICY, "p", spec={})) == {"pay", "ledger"}


def test_a_namespace_that_is_selected_or_was() -> None:
    stage = Stage()
    plain, web, db = (namespace("n", labels=labels) for labels in ({}, {"app": "web"}, {"app": "db"}))
    assert stage.changed(None, plain) == set()
    assert stage.changed(None, web) == {"pay"}
    assert stage.changed(plain, web) == {"pay"}
    assert stage.changed(web, plain) == {"pay"}
    assert stage.changed(web, db) == {"pay", "ledger"}
    assert stage.changed(web, None) == {"pay"}
    assert stage.changed(web, namespace("n", labels={"app": "web"}, annotations={"a": "b"})) == set()


def test_a_tenant_that_is_edited_there() -> None:
    neighbours, tokens = Stage().neighbours, {"core": ["ns:web", "tenant:pay"], "other": ["ns:other", "role:x"]}
    assert neighbours.beside({"core"}, lambda name: tokens[name]) == {"core", "pay"}
    assert neighbours.beside({"other"}, lambda name: tokens[name]) == {"other"}
    assert neighbours.beside(set(), lambda name: tokens[name]) == set()


def test_what_is_forgotten_or_noted_anew() -> None:
    stage = Stage()
    stage.neighbours.note("pay", Holds(others=frozenset({"db"})))
    stage.neighbours.forget("ledger")
    stage.neighbours.forget("nobody")
    assert stage.changed(None, observed(NETWORK_POLICY, "p", "web", spec={})) == set()
    assert stage.changed(None, namespace("n", labels={"app": "web"})) == set()
    assert stage.changed(None, observed(NETWORK_POLICY, "p", "db", spec={})) == {"pay"}
    stage.neighbours.forget("pay")
    assert stage.changed(None, observed(CALICO_GLOBAL_NETWORK_POLICY, "p", spec={})) == set()
