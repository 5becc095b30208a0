"""Why something was rolled out, and what it opened and closed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securetenant.api.status import PendingFlow, SecureTenantStatus, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.lookup import KINDS
from securetenant.controls.network import control as network
from securetenant.drift.assess import survey
from securetenant.drift.judge import Action, Finding
from securetenant.engine import rollout
from securetenant.engine.rollout import FlowChange
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Observed, Ref
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant

OFFICE = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "ports": [{"port": 8443}], "ticket": "CHG-2"}
SEEN = {"observedGeneration": 1, "mode": "Enforce", "namespaces": [{"name": "pay", "uid": "uid-Namespace/pay"}]}


def pay(*rules: dict[str, Any], status: dict[str, Any] | None = None, **network_: Any) -> SecureTenant:
    given = {"ingress": list(rules), **network_}
    return tenant("pay", namespaces=["pay"], status=SEEN if status is None else status, network=given)


def policies(of: SecureTenant, *others: SecureTenant, now: Any = NOW) -> list[Desired]:
    return list(network.plan(of, StaticWorld([of, *others], mine(of)), now).desired)


def written(before: SecureTenant, after: SecureTenant, *, now: Any = NOW) -> list[Finding]:
    """The findings of a pass over `after` where what `before` wants stands, as the survey finds them."""
    stand = [*mine(before), *(observe(want, before) for want in policies(before))]
    world = StaticWorld([after], stand)
    # What stands was written by the tenant of that name and UID.
    return [f for f in survey(after, world, now).findings if f.rollout]


def changes(before: SecureTenant, after: SecureTenant, *, now: Any = NOW) -> list[FlowChange]:
    computed = SecureTenantStatus(whitelist=network.plan(after, StaticWorld([after], mine(after)), now).whitelist)
    return rollout.flow_changes(after, written(before, after, now=now), computed, now)


def told(found: list[FlowChange]) -> list[tuple[str, str, list[str], str]]:
    return [(flow.change, flow.name, [str(opening) for opening in flow.flows], flow.cause) for flow in found]


FLOW = "ingress to all pods from 10.8.0.0/16 on TCP 8443"


def test_a_new_rule_opens_and_one_that_left_the_spec_closes() -> None:
    assert told(changes(pay(), pay(OFFICE, status={}))) == [("opened", "ingress office (CHG-2)", [FLOW], "declared")]
    assert told(changes(pay(OFFICE), pay())) == [("closed", "ingress office", [FLOW], "the rule left the spec")]


def test_only_what_differs_is_told() -> None:
    wider = {**OFFICE, "from": [*OFFICE["from"], {"cidr": "10.9.0.0/16"}]}
    (opened,) = changes(pay(OFFICE), pay(wider))
    assert [str(opening) for opening in opened.flows] == ["ingress to all pods from 10.9.0.0/16 on TCP 8443"]
    (closed,) = changes(pay(wider), pay(OFFICE))
    assert (closed.change, [str(opening) for opening in closed.flows]) == ("closed", [str(opened.flows[0])])
    assert changes(pay(OFFICE), pay({**OFFICE, "ticket": "CHG-3"})) == []
    both = changes(pay(OFFICE), pay({**OFFICE, "ports": [{"port": 9443}]}))
    assert [flow.change for flow in both] == ["opened", "closed"]


def test_a_rule_that_ended_is_expired_with_its_ticket() -> None:
    end = NOW + timedelta(hours=1)
    rule = {**OFFICE, "expires": end.isoformat()}
    found = changes(pay(rule), pay(rule), now=end)
    assert told(found) == [("expired", "ingress office (CHG-2)", [FLOW], f"the rule ended at {end:%Y-%m-%dT%H:%M:%SZ}")]
    assert rollout.why(pay(rule), written(pay(rule), pay(rule), now=end), found, first=False) == (
        "expiry of ingress office (CHG-2)"
    )


def test_what_a_peer_no_longer_declares_is_closed_for_the_reason_that_the_status_gives() -> None:
    have = observed("NetworkPolicy", "securetenant-ingress-office", "pay", spec=policies(pay(OFFICE))[-1].body["spec"])
    gone = Finding(have.ref, "network", "Stale", "Delete", rollout=True, observed=have)
    pending = PendingFlow(direction="ingress", rule="office", peer="tenant/x", reason="x declares no egress")
    computed = SecureTenantStatus(whitelist=WhitelistStatus(pending_count=1, pending=[pending]))
    (closed,) = rollout.flow_changes(pay(OFFICE), [gone], computed, NOW)
    assert (closed.change, closed.ticket, closed.cause) == ("closed", "CHG-2", "x declares no egress")
    assert rollout.why(pay(OFFICE), [gone], [closed], first=False) == "what tenant/x declares"


def test_what_was_pending_is_agreed() -> None:
    pending = {"direction": "ingress", "rule": "office", "peer": "tenant/x"}
    status = {**SEEN, "whitelist": {"declared": 1, "pendingCount": 1, "pending": [pending]}}
    want = policies(pay(OFFICE))[-1]
    made = Finding(want.ref, "network", "Missing", "Create", rollout=True, desired=want)
    (opened,) = rollout.flow_changes(pay(OFFICE, status=status), [made], SecureTenantStatus(), NOW)
    assert opened.cause == "agreed: tenant/x declares it too"
    assert rollout.why(pay(OFFICE, status=status), [made], [opened], first=True) == "what tenant/x declares"


def test_what_is_released_or_of_no_rule_opens_and_closes_nothing() -> None:
    have = observe(policies(pay(OFFICE))[-1], pay(OFFICE))
    release = Finding(have.ref, "network", "Stale", "Release", rollout=True, observed=have)
    deny = policies(pay())[0]
    create = Finding(deny.ref, "network", "Missing", "Create", rollout=True, desired=deny)
    assert rollout.flow_changes(pay(), [release, create], SecureTenantStatus(), NOW) == []


def test_a_policy_that_an_upgrade_renames_neither_opens_nor_closes() -> None:
    """Up to 0.1 the policy of a rule narrowed by its peer was called with a dash before the fingerprint."""
    body = policies(pay(OFFICE))[-1].body
    old = observed("NetworkPolicy", "securetenant-ingress-office-2bcb8533", "pay", spec=body["spec"])
    new = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-ingress-office.2bcb853301234567"), "network", body)
    findings = [
        Finding(new.ref, "network", "Missing", "Create", rollout=True, desired=new),
        Finding(old.ref, "network", "Stale", "Delete", rollout=True, observed=old),
    ]
    assert rollout.flow_changes(pay(OFFICE), findings, SecureTenantStatus(), NOW) == []
    rule = {**OFFICE, "name": "office-2bcb8533"}
    assert [f.change for f in rollout.flow_changes(pay(OFFICE, rule), findings, SecureTenantStatus(), NOW)] == [
        "opened",
        "closed",
    ], "a rule of just that name is another rule"


def one(kind: str, name: str, control: str, action: Action, have: Observed | None = None) -> Finding:
    place = "" if kind in ("Namespace", "Node") else "pay"
    return Finding(Ref(KINDS[kind], place, name), control, "Changed", action, rollout=True, observed=have)


POLICY = one("NetworkPolicy", "securetenant-dns", "network", "Replace")


@pytest.mark.parametrize(
    ("status", "generation", "findings", "first", "said"),
    [
        ({}, 1, [POLICY], True, "created, generation 1"),
        (SEEN, 2, [POLICY], True, "generation 2"),
        (SEEN, 1, [one("Namespace", "pay", "namespaces", "Create"), POLICY], False, "namespace pay made anew"),
        (
            {**SEEN, "conditions": [{"type": "Reconciling", "status": "True", "reason": "Retrying"}]},
            1,
            [POLICY],
            False,
            "what could not be written before",
        ),
        (SEEN, 1, [POLICY], True, "start of this instance: another version of it, or a change while none ran"),
        (SEEN, 1, [one("ResourceQuota", "securetenant", "quota", "Replace")], False, "the use of the quota"),
        (SEEN, 1, [one("Node", "n1", "nodes", "Patch")], False, "nodes came or went"),
        (SEEN, 1, [POLICY], False, "a peer's declaration, or the cluster, changed"),
    ],
)
def test_why(status: dict[str, Any], generation: int, findings: list[Finding], first: bool, said: str) -> None:
    of = pay(status=status)
    of = of.model_copy(update={"metadata": of.metadata.model_copy(update={"generation": generation})})
    assert rollout.why(of, findings, [], first=first) == said


def test_adopted_is_what_existed_was_told_and_was_not_known() -> None:
    given = [{"name": name, "adopt": name != "own"} for name in ("new", "known", "own")]
    of = tenant("pay", namespaces=given, status={"namespaces": [{"name": "known", "uid": "uid-Namespace/known"}]})
    found = [one("Namespace", name, "namespaces", "Patch", namespace(name)) for name in ("new", "known", "own")]
    assert [f.ref.name for f in rollout.adopted(of, found)] == ["new"]
    again = [replace(found[1], observed=namespace("known", uid="another"))]
    assert [f.ref.name for f in rollout.adopted(of, again)] == ["known"], "made anew by others, and taken over again"


def test_counts_and_names_of_what_was_done() -> None:
    found = [POLICY, one("RoleBinding", "b", "access", "Recreate"), one("Node", "n", "nodes", "Release")]
    assert rollout.counts(found) == {"replaced": 2, "released": 1}
    assert rollout.by_control(found) == {"network": 1, "access": 1, "nodes": 1}
    assert [f.ref.name for f in rollout.released(found)] == ["n"]


def test_what_the_settings_change_is_the_instances_doing() -> None:
    """Another DNS port, as a rollout of a restarted operator: no flow of a rule is touched."""
    world = StaticWorld(
        [pay(OFFICE)], [*mine(pay()), *(observe(w, pay()) for w in policies(pay(OFFICE)))], Platform(dns_port=5353)
    )
    findings = [f for f in survey(pay(OFFICE), world, NOW).findings if f.rollout]
    assert [f.ref.name for f in findings] == ["securetenant-dns"]
    assert rollout.flow_changes(pay(OFFICE), findings, SecureTenantStatus(), NOW) == []
