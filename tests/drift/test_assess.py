"""What is found of a tenant whose spec is refused, with nothing known of what it asked for before."""

from typing import Any

from securetenant.api.refused import Refusal
from securetenant.api.tenant import SecureTenant
from securetenant.drift.applied import grouped
from securetenant.drift.assess import assess
from securetenant.model import names
from securetenant.model.kinds import LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, NODE, Kind
from securetenant.model.objects import Desired, Json, Observed, Ref
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant

DENY = Ref(NETWORK_POLICY, "pay-a", "securetenant-default-deny")
OFFICE = Ref(NETWORK_POLICY, "pay-a", "securetenant-ingress-office")
SPACE = Ref(NAMESPACE, "", "pay-a")
N1 = Ref(NODE, "", "node-0")


def bare(*applied: Ref) -> SecureTenant:
    """A tenant as `tenants.parse` gives it, that held pay-a and wrote these objects."""
    status = {"namespaces": [{"name": "pay-a", "uid": "uid-Namespace/pay-a"}], "applied": grouped(applied)}
    return tenant("pay", namespaces=["pay-a", "pay-new"], status=status)


def look(one: SecureTenant, *objects: Observed) -> list[tuple[str, str, str, bool]]:
    found = assess(one, StaticWorld([one], objects), NOW, refusal=Refusal("spec.x: no", 0))
    return sorted((f.reason, str(f.ref), f.action, f.rollout) for f in found.findings)


def deny(one: SecureTenant) -> Observed:
    body: Json = {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    return observe(Desired(DENY, "network", body, closing=True), one)


def office(one: SecureTenant, **more: Any) -> Observed:
    return observe(Desired(OFFICE, "network", {"spec": {"podSelector": {"a": "b"}}}), one, **more)


def node(one: SecureTenant) -> Observed:
    body: Json = {"taint": {"key": names.NODE_TAINT, "value": "pay", "effect": "NoSchedule"}}
    return observe(Desired(N1, "nodes", body, labels={names.NODE_LABEL_TENANT: "pay"}), one)


def test_what_stands_as_it_was_written_is_left() -> None:
    one = bare(SPACE, DENY, OFFICE, N1)
    assert look(one, *mine(one, "pay-a"), deny(one), office(one), node(one)) == []


def test_the_closing_policy_is_made_and_healed() -> None:
    one = bare(SPACE, DENY)
    assert look(one, *mine(one, "pay-a")) == [("Missing", str(DENY), "Create", False)]
    assert look(bare(SPACE), *mine(one, "pay-a")) == [("Missing", str(DENY), "Create", True)]
    opened = observed("NetworkPolicy", DENY.name, "pay-a", spec={"podSelector": {}, "ingress": [{}]})
    assert look(one, *mine(one, "pay-a"), opened) == [("Changed", str(DENY), "Replace", False)]


def test_what_is_gone_or_another_is_told_and_left() -> None:
    one = bare(SPACE, DENY, OFFICE, N1)
    changed = office(one, labels={"more": "x"})
    undone = observed("Node", "node-0", labels={names.NODE_LABEL_TENANT: "pay"})
    assert look(one, *mine(one, "pay-a"), deny(one), changed, undone) == [
        ("Changed", str(OFFICE), "Keep", False),
        ("Changed", str(N1), "Keep", False),
    ]
    assert look(one, *mine(one, "pay-a"), deny(one)) == [("Missing", str(OFFICE), "Keep", False)]


def test_a_namespace_that_is_gone_is_told_and_not_made() -> None:
    assert look(bare(SPACE, DENY, OFFICE)) == [("Missing", str(SPACE), "Keep", False)]


def test_a_mark_on_what_was_never_written_is_told() -> None:
    one = bare(SPACE, DENY)
    assert look(one, *mine(one, "pay-a"), deny(one), office(one)) == [("Stale", str(OFFICE), "Keep", False)]


def test_what_others_made_is_told() -> None:
    one = bare(SPACE, DENY)
    theirs = observed("NetworkPolicy", "open", "pay-a", spec={"podSelector": {}, "ingress": [{}]})
    assert look(one, *mine(one, "pay-a"), deny(one), theirs) == [("Foreign", str(theirs.ref), "Keep", False)]


def test_a_strangers_namespace_is_not_closed() -> None:
    assert look(bare(), namespace("pay-new")) == []


def test_of_a_kind_that_is_not_served_nothing_is_missing() -> None:
    """Its objects went with it: neither what a control wants of it nor what was written is drift."""
    limits, written = {"container": {"max": {"cpu": "2"}}}, Ref(LIMIT_RANGE, "pay-a", "securetenant")
    status = {"namespaces": [{"name": "pay-a", "uid": "uid-Namespace/pay-a"}], "applied": grouped([SPACE, written])}
    one = tenant("pay", namespaces=["pay-a"], limits=limits, status=status)

    def missing(refusal: Refusal | None, *absent: Kind) -> list[Ref]:
        found = assess(one, StaticWorld([one], mine(one), absent=absent), NOW, refusal=refusal)
        return [f.ref for f in found.findings if f.ref.kind is LIMIT_RANGE]

    for refusal in (None, Refusal("spec.x: no", 0)):
        assert missing(refusal) == [written]
        assert missing(refusal, LIMIT_RANGE) == []


def test_a_namespace_with_a_copied_mark_is_no_drift_of_a_refused_tenant() -> None:
    """Nor is its own that a pass made which broke off: whose a namespace is no mark tells."""
    one = bare(SPACE, DENY)
    copied = observe(Desired(Ref(NAMESPACE, "", "sandbox-of-eve"), "namespaces"), one)
    assert look(one, *mine(one, "pay-a"), deny(one), copied) == []
    assert look(one, *mine(one, "pay-a", "pay-new"), deny(one)) == [
        ("Missing", "NetworkPolicy/pay-new/securetenant-default-deny", "Create", True)
    ]
