"""Missing, changed, foreign, stale; and what is a rollout instead."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from securetenant.drift import judge
from securetenant.drift.judge import Finding, Owner
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, NODE, RESOURCE_QUOTA, ROLE_BINDING
from securetenant.model.objects import Desired, Foreign, Observed, Ref
from tests.support.world import observe, observed, tenant

PAY = tenant("pay", namespaces=["pay"])
DENY = Desired(
    Ref(NETWORK_POLICY, "pay", "securetenant-default-deny"),
    "network",
    body={"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}},
    closing=True,
)
BINDING = Desired(
    Ref(ROLE_BINDING, "pay", "securetenant-viewer"),
    "access",
    body={"roleRef": {"name": "securetenant-viewer"}, "subjects": [{"name": "a"}]},
)
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"env": "prod"})


def everywhere(namespace: str) -> bool:
    return True


def nowhere(namespace: str) -> bool:
    return False


def owner(applied: Iterable[Ref] = (), reconciled: bool = True) -> Owner:
    return Owner(
        "pay", PAY.metadata.uid, frozenset(applied).__contains__, lambda namespace: reconciled or not namespace
    )


def lookup(*objects: Observed) -> Callable[[Ref], Observed | None]:
    return {o.ref: o for o in objects}.get


def of_network(*objects: Observed) -> list[tuple[str, Observed]]:
    return [("network", o) for o in objects]


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_nothing_to_say_when_all_is_as_wanted() -> None:
    objects = [observe(want, PAY) for want in (SPACE, DENY, BINDING)]
    assert not list(judge.wanted(owner(), [SPACE, DENY, BINDING], lookup(*objects)))


def test_what_was_never_there_is_a_rollout() -> None:
    found = only(judge.wanted(owner(), [DENY], lookup()))
    assert (found.reason, found.action, found.rollout) == ("Missing", "Create", True)


def test_what_was_applied_and_is_gone_is_drift() -> None:
    found = only(judge.wanted(owner([DENY.ref]), [DENY], lookup()))
    assert (found.reason, found.action, found.rollout) == ("Missing", "Create", False)


def test_an_addition_is_drift() -> None:
    widened = observe(DENY, PAY, spec={**_spec(DENY), "ingress": [{}]})
    found = only(judge.wanted(owner(), [DENY], lookup(widened)))
    assert (found.reason, found.action, found.rollout, found.path) == ("Changed", "Replace", False, "spec.ingress")


def test_our_own_change_of_mind_is_a_rollout() -> None:
    before = Desired(DENY.ref, "network", body={"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    found = only(judge.wanted(owner([DENY.ref]), [DENY], lookup(observe(before, PAY))))
    assert (found.reason, found.action, found.rollout) == ("Changed", "Replace", True)


def test_tampering_during_a_change_of_mind_is_drift() -> None:
    before = Desired(DENY.ref, "network", body={"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    tampered = observe(before, PAY, spec={"podSelector": {}, "ingress": [{}]})
    assert not only(judge.wanted(owner([DENY.ref]), [DENY], lookup(tampered))).rollout


def test_a_stripped_record_is_drift() -> None:
    stripped = observe(DENY, PAY, annotations={names.ANNOTATION_APPLIED: "0" * 32})
    found = only(judge.wanted(owner(), [DENY], lookup(stripped)))
    assert not found.rollout
    assert found.path == f"annotations.{names.ANNOTATION_APPLIED}"


def test_what_stands_in_a_namespace_at_its_adoption_is_no_drift() -> None:
    theirs = observed("NetworkPolicy", DENY.ref.name, "pay", spec={})
    assert only(judge.wanted(owner(reconciled=False), [DENY], lookup(theirs))).rollout
    assert not only(judge.wanted(owner([DENY.ref]), [DENY], lookup(theirs))).rollout
    # It was given up by a write of which no answer came, and is wanted again.
    doubtful = replace(owner([DENY.ref]), last=lambda ref: ("", "a-record"))
    assert only(judge.wanted(doubtful, [DENY], lookup(theirs))).rollout
    # The same after a pass that could not write it.
    assert only(judge.wanted(owner(), [DENY], lookup(theirs))).rollout


def test_another_role_needs_a_new_binding() -> None:
    other = observe(BINDING, PAY, roleRef={"name": "cluster-admin"})
    found = only(judge.wanted(owner(), [BINDING], lookup(other)))
    assert (found.action, found.path) == ("Recreate", "roleRef.name")


def test_a_role_replaced_by_hand_needs_a_new_binding_whatever_differs_before_it() -> None:
    """The labels differ first; a PUT that changes roleRef would be refused for ever."""
    theirs = observed("RoleBinding", BINDING.ref.name, "pay", roleRef={"name": "edit"}, subjects=[{"name": "mallory"}])
    assert only(judge.wanted(owner([BINDING.ref]), [BINDING], lookup(theirs))).action == "Recreate"


def test_a_quota_with_scopes_is_made_anew() -> None:
    want = Desired(Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", body={"spec": {"hard": {"pods": "1"}}})
    scoped = observe(want, PAY, spec={"hard": {"pods": "1"}, "scopes": ["Terminating"]})
    assert only(judge.wanted(owner([want.ref]), [want], lookup(scoped))).action == "Recreate"


def test_added_subjects_are_replaced() -> None:
    other = observe(BINDING, PAY, subjects=[{"name": "a"}, {"name": "b"}])
    assert only(judge.wanted(owner(), [BINDING], lookup(other))).action == "Replace"


def test_others_labels_on_a_namespace_are_theirs() -> None:
    space = observe(SPACE, PAY, labels={"team": "x"})
    assert not list(judge.wanted(owner([SPACE.ref]), [SPACE], lookup(space)))


def test_stripped_ownership_marks_are_drift() -> None:
    """Capsule CVE-2022-46167: enforcement ended when the mark was stripped."""
    space = observed("Namespace", "pay", labels={"env": "prod"})
    found = only(judge.wanted(owner([SPACE.ref]), [SPACE], lookup(space)))
    assert (found.action, found.rollout) == ("Patch", False)


def test_a_new_label_in_the_spec_is_a_rollout() -> None:
    space = observe(Desired(SPACE.ref, "namespaces"), PAY)
    found = only(judge.wanted(owner([SPACE.ref]), [SPACE], lookup(space)))
    assert (found.path, found.rollout) == ("labels.env", True)


def test_what_our_change_of_mind_left_is_deleted_as_a_rollout() -> None:
    found = only(judge.unwanted(owner(), of_network(observe(DENY, PAY)), [], everywhere, nowhere))
    assert (found.reason, found.action, found.rollout, found.control) == ("Stale", "Delete", True, "network")


def test_a_forged_mark_is_stale_drift() -> None:
    forged = observed("NetworkPolicy", "allow-all", "pay", labels=observe(DENY, PAY).labels, spec={"ingress": [{}]})
    found = only(judge.unwanted(owner(), of_network(forged), [], everywhere, nowhere))
    assert (found.reason, found.action, found.rollout) == ("Stale", "Delete", False)


def test_in_a_namespace_given_up_only_our_own_mark_is_taken_off() -> None:
    ours, forged = observe(DENY, PAY), observed("NetworkPolicy", "x", "pay", labels=observe(DENY, PAY).labels)
    found = only(judge.unwanted(owner(), of_network(ours, forged), [], nowhere, everywhere))
    assert (found.ref, found.action, found.rollout) == (ours.ref, "Release", True)


def test_in_a_namespace_of_others_nothing_is_touched() -> None:
    """Mark and record can be made by whoever may write there."""
    space = ("namespaces", observe(SPACE, PAY))
    applied = owner([DENY.ref, SPACE.ref])
    assert not list(judge.unwanted(applied, [space, *of_network(observe(DENY, PAY))], [], nowhere, nowhere))


def test_what_is_found_in_a_namespace_that_was_just_adopted_is_no_drift() -> None:
    left = observed("NetworkPolicy", "securetenant-old", "pay", labels=observe(DENY, PAY).labels, spec={})
    found = only(judge.unwanted(owner(reconciled=False), of_network(left), [], everywhere, nowhere))
    assert (found.reason, found.action, found.rollout) == ("Stale", "Delete", True)


def test_what_is_going_already_is_left_alone() -> None:
    assert not list(judge.unwanted(owner(), of_network(observe(DENY, PAY, deleting=True)), [], everywhere, nowhere))


def test_what_a_finalizer_holds_is_not_gone() -> None:
    """Terminating policies and bindings stay in force: a forged one could hide so for ever."""
    held = observe(DENY, PAY, deleting=True, finalizers=("a.example/hold",))
    found = only(judge.unwanted(owner(), of_network(held), [], everywhere, nowhere))
    assert (found.reason, found.action, found.rollout) == ("Stale", "Delete", False)


def test_the_control_is_the_kinds_whatever_the_label_says() -> None:
    labels = {**observe(DENY, PAY).labels, names.LABEL_CONTROL: "a-name-of-my-own"}
    forged = observed("NetworkPolicy", "allow-all", "pay", labels=labels, spec={})
    assert only(judge.unwanted(owner(), of_network(forged), [], everywhere, nowhere)).control == "network"


def test_an_old_state_of_ours_that_comes_back_is_drift() -> None:
    """A copy kept from before the rule was tightened, or a restored backup, has a good record of its own."""
    older = Desired(DENY.ref, "network", body={"spec": {"podSelector": {}, "ingress": [{}]}})
    replayed, record = observe(older, PAY), observe(DENY, PAY).record or ""
    known = replace(owner([DENY.ref]), last=lambda ref: (record,) if ref == DENY.ref else ())
    found = only(judge.wanted(known, [DENY], lookup(replayed)))
    assert (found.reason, found.action, found.rollout) == ("Changed", "Replace", False)
    # After a restart nothing is known of it, and a rollout that was interrupted looks the same.
    assert only(judge.wanted(owner([DENY.ref]), [DENY], lookup(replayed))).rollout
    gone = replace(owner(), last=lambda ref: ("",) if ref == DENY.ref else ())
    assert not only(judge.unwanted(gone, of_network(replayed), [], everywhere, nowhere)).rollout


@pytest.mark.parametrize(("remove", "action"), [(True, "Delete"), (False, "Keep")])
def test_foreign_objects_are_drift(remove: bool, action: str) -> None:
    theirs = observed("NetworkPolicy", "allow-all", "pay", spec={})
    found = only(judge.foreign([Foreign(theirs, "network", "opens all", remove)]))
    assert (found.reason, found.action, found.rollout) == ("Foreign", action, False)


def _spec(want: Desired) -> dict[str, object]:
    spec = want.body["spec"]
    assert isinstance(spec, dict)
    return dict(spec)


QUOTA = Desired(Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", body={"spec": {"hard": {"pods": "2"}}})
N1 = Desired(
    Ref(NODE, "", "n1"),
    "nodes",
    body={"taint": {"key": names.NODE_TAINT, "value": "pay", "effect": "NoSchedule"}},
    labels={names.NODE_LABEL_TENANT: "pay"},
)
LEVEL = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"pod-security.kubernetes.io/enforce": "restricted"})


def changed(want: Desired, have: Observed | None = None) -> Finding:
    reason, action = ("Missing", "Create") if have is None else ("Changed", "Replace")
    return Finding(want.ref, want.control, reason, action, False, desired=want, observed=have)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finding", "is_closing"),
    [
        (changed(DENY), True),
        (changed(QUOTA), True),
        (changed(BINDING), False),
        (changed(SPACE), False),
        (changed(DENY, observed("NetworkPolicy", DENY.ref.name, "pay", spec={"ingress": [{}]})), True),
        (changed(DENY, observe(DENY, PAY)), False),
        (changed(BINDING, observe(BINDING, PAY)), False),
        (changed(BINDING, observed("RoleBinding", BINDING.ref.name, "pay", subjects=[{"name": "b"}])), True),
        (changed(SPACE, observed("Namespace", "pay", labels={"env": "test"})), False),
        (changed(LEVEL, observed("Namespace", "pay", labels={"pod-security.kubernetes.io/enforce": "baseline"})), True),
        (changed(N1, observed("Node", "n1", labels=dict(N1.labels), spec={})), True),
        (changed(N1, observed("Node", "n1", spec={"taints": [N1.body["taint"]]})), False),
        (Finding(DENY.ref, "network", "Foreign", "Delete", False), True),
    ],
)
def test_what_closes_is_told_from_what_may_wait(finding: Finding, is_closing: bool) -> None:
    assert judge.closes(finding) is is_closing


def test_an_answer_that_is_not_what_was_asked_for_is_told_by_its_first_field() -> None:
    stands = observe(DENY, PAY)
    assert judge.difference(DENY, stands, "pay", stands.record or "") == ""
    opened = replace(DENY, body={"spec": {**DENY.body["spec"], "ingress": [{}]}})  # type: ignore[dict-item]
    assert judge.difference(DENY, observe(opened, PAY), "pay", stands.record or "") == "spec.ingress"


def test_what_may_have_been_deleted_by_ourselves_is_no_drift() -> None:
    doubtful = replace(owner([DENY.ref]), last=lambda ref: ("", "a-record"))
    assert only(judge.wanted(doubtful, [DENY], lookup())).rollout
    assert not only(judge.wanted(owner([DENY.ref]), [DENY], lookup())).rollout


def test_a_namespace_that_we_gave_up_and_take_in_again_is_no_drift() -> None:
    """Before the status is known to lack it: its last write had no answer."""
    bare = observed(SPACE.ref.kind, SPACE.ref.name)
    gave_up = replace(owner([SPACE.ref]), last=lambda ref: {""})
    assert only(judge.wanted(gave_up, [SPACE], lookup(bare))).rollout
    assert not only(judge.wanted(owner([SPACE.ref]), [SPACE], lookup(bare))).rollout


@pytest.mark.parametrize("is_ours", [True, False])
def test_only_what_we_gave_up_ourselves_may_wait_for_what_supersedes_it(is_ours: bool) -> None:
    have = observe(DENY, PAY) if is_ours else observe(DENY, PAY, spec={"podSelector": {}, "ingress": [{}]})
    found = only(judge.unwanted(owner(), of_network(have), [], everywhere, nowhere, {have.ref: "Wholly"}))
    assert (found.action, found.rollout, found.superseded) == ("Delete", is_ours, "Wholly" if is_ours else "")


# --- a quota's status ------------------------------------------------------------------------------------------

QUOTA = Desired(
    Ref(RESOURCE_QUOTA, "pay", "securetenant"), "quota", body={"spec": {"hard": {"pods": "2", "requests.cpu": "1"}}}
)


@pytest.mark.parametrize(
    ("hard", "path"),
    [
        pytest.param({"pods": "100", "requests.cpu": "1"}, "status.hard.pods", id="raised"),
        pytest.param({"pods": "2"}, "status.hard.requests.cpu", id="taken out"),
        pytest.param({"pods": "2", "requests.cpu": "1", "secrets": "0"}, "status.hard.secrets", id="put in"),
        pytest.param(None, "status.hard.pods", id="no status"),
    ],
)
def test_limits_in_force_that_are_not_those_of_the_spec(hard: dict[str, str] | None, path: str) -> None:
    have = observe(QUOTA, PAY, **({"status": {"hard": hard, "used": {}}} if hard is not None else {}))
    found = only(judge.wanted(owner([QUOTA.ref]), [QUOTA], lookup(have)))
    assert (found.reason, found.action, found.rollout, found.path) == ("Changed", "Recount", False, path)
    assert judge.closes(found)


def test_a_quota_in_force_is_as_wanted() -> None:
    have = observe(QUOTA, PAY, status={"hard": {"requests.cpu": "1", "pods": "2"}, "used": {"pods": "9"}})
    assert not list(judge.wanted(owner([QUOTA.ref]), [QUOTA], lookup(have)))


def test_of_a_changed_spec_the_status_says_nothing() -> None:
    """Writing the spec makes it counted anew."""
    have = observe(QUOTA, PAY, status={"hard": {"pods": "100"}})
    more = replace(QUOTA, body={"spec": {"hard": {"pods": "3"}}})
    assert only(judge.wanted(owner([QUOTA.ref]), [more], lookup(have))).action == "Replace"
