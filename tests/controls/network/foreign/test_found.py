"""Which policies of other kinds are told of, to whom, and which of their events concern whom."""

from typing import Any, Final

import pytest

from securetenant.controls.control import Foreign
from securetenant.controls.lookup import KINDS as BY_KEY
from securetenant.controls.network import control as network
from securetenant.controls.network.foreign import found
from securetenant.model import names
from securetenant.model.kinds import (
    ADMIN_NETWORK_POLICY,
    BASELINE_ADMIN_NETWORK_POLICY,
    CALICO_GLOBAL_NETWORK_POLICY,
    CALICO_NETWORK_POLICY,
    CILIUM_CLUSTERWIDE_NETWORK_POLICY,
    CILIUM_NETWORK_POLICY,
    CLUSTER_NETWORK_POLICY,
    NETWORK_POLICY,
    Kind,
)
from securetenant.model.objects import Observed, Ref, marks
from tests.support.network import payments, plan, world
from tests.support.world import NOW, StaticWorld, namespace, observed, tenant

PROD: Final = "payments-prod"
OPEN: Final = {"ingress": [{"action": "Allow"}]}
NAMED: Final = {"matchLabels": {names.LABEL_NAMESPACE_NAME: PROD}}
EVERY: Final[dict[Kind, dict[str, Any]]] = {
    CALICO_NETWORK_POLICY: OPEN,
    CALICO_GLOBAL_NETWORK_POLICY: OPEN,
    CILIUM_NETWORK_POLICY: {"endpointSelector": {}, "ingress": [{"fromEntities": ["all"]}]},
    CILIUM_CLUSTERWIDE_NETWORK_POLICY: {"endpointSelector": {}, "ingress": [{"fromEntities": ["all"]}]},
    ADMIN_NETWORK_POLICY: {
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Allow", "from": [{"namespaces": {}}]}],
    },
    BASELINE_ADMIN_NETWORK_POLICY: {
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Allow", "from": [{"namespaces": {}}]}],
    },
    CLUSTER_NETWORK_POLICY: {
        "tier": "Admin",
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}],
    },
}


def policy(kind: Kind, spec: Any = None, where: str = PROD, **more: Any) -> Observed:
    spec = EVERY[kind] if spec is None else spec
    return observed(kind, "theirs", where if kind.namespaced else "", spec=spec, **more)


def test_every_kind_is_known_by_its_own_key() -> None:
    assert set(EVERY) == set(found.KINDS)
    assert all(BY_KEY[kind.key] is kind for kind in (*found.KINDS, NETWORK_POLICY))
    assert CALICO_NETWORK_POLICY.key == "NetworkPolicy.crd.projectcalico.org"


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.key)
class TestEveryKind:
    def test_by_the_spec(self, kind: Kind) -> None:
        (told,) = plan(payments(), objects=(policy(kind),)).foreign
        assert (told.control, told.remove) == ("network", False)
        assert "allows ingress from" in told.message
        assert "foreign: Remove" not in told.message
        (told,) = plan(payments(foreign="Remove"), objects=(policy(kind),)).foreign
        assert not told.remove
        assert told.message.endswith("foreign: Remove does not delete this kind: delete it yourself")
        assert not plan(payments(foreign="Ignore"), objects=(policy(kind),)).foreign

    def test_a_mark_hides_nothing(self, kind: Kind) -> None:
        """The operator writes none of these, and anybody can copy its mark."""
        assert len(plan(payments(), objects=(policy(kind, labels=marks("payments", "network")),)).foreign) == 1

    def test_not_where_it_is_not_served(self, kind: Kind) -> None:
        here = payments()
        bare = StaticWorld([here], world(here).objects(), absent=[kind])
        bare.put(policy(kind))
        assert not network.CONTROL.plan(here, bare, NOW).foreign

    def test_what_is_not_understood_is_told(self, kind: Kind) -> None:
        (told,) = plan(payments(), objects=(policy(kind, {"surprise": True}),)).foreign
        assert "not understood (" in told.message


@pytest.mark.parametrize("kind", [CALICO_NETWORK_POLICY, CILIUM_NETWORK_POLICY], ids=lambda kind: kind.key)
def test_those_of_other_namespaces_are_not_told(kind: Kind) -> None:
    assert not plan(payments(), objects=(policy(kind, where="elsewhere"),)).foreign


def wide(kind: Kind, spec: Any, *namespaces: str) -> list[Foreign]:
    return list(plan(payments(namespaces=namespaces), objects=(policy(kind, spec),)).foreign)


class TestClusterScoped:
    def test_it_is_told_once_with_the_namespaces(self) -> None:
        (told,) = wide(CALICO_GLOBAL_NETWORK_POLICY, {"order": 1, **OPEN}, "a", "b", "c", "d")
        assert told.message == "Calico, order 1: selects all pods of a, b, c and 1 more: allows ingress from everywhere"

    def test_only_the_selected_namespaces(self) -> None:
        spec = {**EVERY[ADMIN_NETWORK_POLICY], "subject": {"namespaces": NAMED}}
        (told,) = wide(ADMIN_NETWORK_POLICY, spec, "a", PROD)
        assert told.message == "priority 1: selects all pods of payments-prod: allows ingress from all namespaces"
        assert not wide(ADMIN_NETWORK_POLICY, spec, "a", "b")

    def test_by_the_labels_that_a_namespace_has(self) -> None:
        """Whoever gave it the label: it decides what the plug-in does."""
        here = payments()
        spec = {"namespaceSelector": "env == 'prod'", **OPEN}
        look = world(here, objects=(policy(CALICO_GLOBAL_NETWORK_POLICY, spec),))
        assert not network.CONTROL.plan(here, look, NOW).foreign
        have = look.get(Ref(BY_KEY["Namespace"], "", PROD))
        assert have is not None
        labels = {**have.labels, "env": "prod"}
        look.put(namespace(PROD, labels=labels, uid=have.uid, annotations=have.annotations))
        assert len(network.CONTROL.plan(here, look, NOW).foreign) == 1

    def test_a_namespace_that_is_not_there_yet_has_no_pods(self) -> None:
        here = payments()
        look = StaticWorld([here], [policy(CALICO_GLOBAL_NETWORK_POLICY)])
        assert not network.CONTROL.plan(here, look, NOW).foreign

    @pytest.mark.parametrize("kind", [BASELINE_ADMIN_NETWORK_POLICY, CLUSTER_NETWORK_POLICY], ids=str)
    def test_a_baseline_never_decides_behind_default_deny(self, kind: Kind) -> None:
        spec = {**EVERY[kind], **({"tier": "Baseline"} if kind is CLUSTER_NETWORK_POLICY else {})}
        deny = observed("NetworkPolicy", network.DENY, PROD, labels=marks("payments", "network"), spec={})
        assert len(plan(payments(), objects=(policy(kind, spec),)).foreign) == 1
        assert not plan(payments(), objects=(policy(kind, spec), deny)).foreign
        if kind is CLUSTER_NETWORK_POLICY:
            assert len(plan(payments(), objects=(policy(kind), deny)).foreign) == 1


def concerned(kind: Kind, old: Any, new: Any, absent: tuple[Kind, ...] = ()) -> set[str]:
    """Of the tenants a, b (with the label env=prod on its namespace) and c: those that the change of a policy
    concerns."""
    tenants = [tenant(name, namespaces=[f"{name}-1"]) for name in "abc"]
    spaces = [namespace("a-1"), namespace("b-1", labels={"env": "prod"}), namespace("c-1"), namespace("free")]
    look = StaticWorld(tenants, spaces, absent=absent)
    before, after = (policy(kind, spec, "a-1") if spec is not None else None for spec in (old, new))
    event = after or before
    assert event is not None
    return look.concerned(event, before if after is not None else event)


def subject(**labels: str) -> dict[str, Any]:
    return {**EVERY[ADMIN_NETWORK_POLICY], "subject": {"namespaces": {"matchLabels": labels}}}


A: Final = subject(**{names.LABEL_NAMESPACE_NAME: "a-1"})
B: Final = subject(**{names.LABEL_NAMESPACE_NAME: "b-1"})


class TestEvents:
    @pytest.mark.parametrize(
        ("old", "new", "whom"),
        [
            pytest.param(None, A, {"a"}, id="by-name"),
            pytest.param(A, B, {"a", "b"}, id="as-it-was-too"),
            pytest.param(B, None, {"b"}, id="deleted"),
            pytest.param(None, subject(env="prod"), {"b"}, id="by-label"),
            pytest.param(subject(env="prod"), A, {"a", "b"}, id="by-label-and-by-name"),
            pytest.param(None, subject(env="test"), set(), id="nobody"),
            pytest.param(None, subject(), {"a", "b", "c"}, id="all"),
            pytest.param(A, A, set(), id="nothing-changed"),
            pytest.param(A, {"surprise": 1}, {"a", "b", "c"}, id="not-understood-any-more"),
        ],
    )
    def test_whom_a_policy_concerns(self, old: Any, new: Any, whom: set[str]) -> None:
        assert concerned(ADMIN_NETWORK_POLICY, old, new) == whom

    def test_one_in_a_namespace_concerns_its_tenant(self) -> None:
        assert concerned(CALICO_NETWORK_POLICY, None, OPEN) == {"a"}

    def test_not_before_the_kind_is_listed(self) -> None:
        """All tenants are judged once it is."""
        assert concerned(ADMIN_NETWORK_POLICY, None, subject(), (ADMIN_NETWORK_POLICY,)) == set()

    def test_by_name_no_namespace_is_looked_at(self) -> None:
        assert found.selection(policy(ADMIN_NETWORK_POLICY, A)).named == frozenset({"a-1"})
        assert found.keys(policy(ADMIN_NETWORK_POLICY, A)) == ["selects:a-1"]
        assert found.keys(policy(ADMIN_NETWORK_POLICY, subject(env="prod"))) == ["selects:"]
