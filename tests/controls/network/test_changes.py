"""Which flows a rollout opened and closed, and why."""

from datetime import timedelta
from typing import Any

from securetenant.api.status import PendingFlow, SecureTenantStatus, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import control as network
from securetenant.controls.network.changes import FlowChange, cause, flow_changes
from securetenant.controls.notice import Written
from securetenant.drift.assess import assess
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.model.platform import Platform
from tests.support.network import whitelist
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

OFFICE = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "ports": [{"port": 8443}], "ticket": "CHG-2"}
SEEN = {"observedGeneration": 1, "mode": "Enforce", "namespaces": [{"name": "pay", "uid": "uid-Namespace/pay"}]}


def pay(*rules: dict[str, Any], status: dict[str, Any] | None = None, **network_: Any) -> SecureTenant:
    given = {"ingress": list(rules), **network_}
    return tenant("pay", namespaces=["pay"], status=SEEN if status is None else status, network=given)


def policies(of: SecureTenant, *others: SecureTenant, now: Any = NOW) -> list[Desired]:
    return list(network.plan(of, StaticWorld([of, *others], mine(of)), now).desired)


def rolled_out(after: SecureTenant, world: StaticWorld, now: Any = NOW) -> list[Written]:
    """The policies that a pass over `after` writes, as the assessment finds them."""
    found = [f for f in assess(after, world, now).findings if f.rollout and f.control == network.NAME]
    return [Written(f.ref, f.observed, f.desired) for f in found]


def changes(before: SecureTenant, after: SecureTenant, *, now: Any = NOW) -> list[FlowChange]:
    """What a pass over `after` changes where what `before` wants stands."""
    # What stands was written by the tenant of that name and UID.
    stand = [*mine(before), *(observe(want, before) for want in policies(before))]
    computed = SecureTenantStatus(whitelist=whitelist(network.plan(after, StaticWorld([after], mine(after)), now)))
    return flow_changes(after, rolled_out(after, StaticWorld([after], stand), now), computed, now)


def told(found: list[FlowChange]) -> list[tuple[str, str, list[str], str]]:
    return [(flow.change, flow.name, [str(opening) for opening in flow.flows], flow.cause) for flow in found]


FLOW = "ingress to all pods from 10.8.0.0/16 on TCP 8443"


def test_a_new_rule_opens_and_one_that_left_the_spec_closes() -> None:
    assert told(changes(pay(), pay(OFFICE, status={}))) == [("opened", "ingress office (CHG-2)", [FLOW], "declared")]
    assert told(changes(pay(OFFICE), pay())) == [("closed", "ingress office", [FLOW], "the rule was removed")]


def test_only_what_differs_is_told() -> None:
    wider = {**OFFICE, "from": [*OFFICE["from"], {"cidr": "10.9.0.0/16"}]}
    (opened,) = changes(pay(OFFICE), pay(wider))
    assert [str(opening) for opening in opened.flows] == ["ingress to all pods from 10.9.0.0/16 on TCP 8443"]
    (closed,) = changes(pay(wider), pay(OFFICE))
    assert (closed.change, [str(opening) for opening in closed.flows]) == ("closed", [str(opened.flows[0])])
    assert changes(pay(OFFICE), pay({**OFFICE, "ticket": "CHG-3"})) == []
    both = changes(pay(OFFICE), pay({**OFFICE, "ports": [{"port": 9443}]}))
    assert [flow.change for flow in both] == ["opened", "closed"]
    assert cause(both) == "", "nothing in them says why"


def test_a_rule_that_ended_is_expired_with_its_ticket() -> None:
    end = NOW + timedelta(hours=1)
    rule = {**OFFICE, "expires": end.isoformat()}
    found = changes(pay(rule), pay(rule), now=end)
    assert told(found) == [
        ("expired", "ingress office (CHG-2)", [FLOW], f"the rule expired at {end:%Y-%m-%dT%H:%M:%SZ}")
    ]
    assert cause(found) == "expiry of ingress office (CHG-2)"


def test_what_a_peer_no_longer_declares_is_closed_for_the_reason_that_the_status_gives() -> None:
    have = observed("NetworkPolicy", "securetenant-ingress-office", "pay", spec=policies(pay(OFFICE))[-1].body["spec"])
    pending = PendingFlow(direction="ingress", rule="office", peer="tenant/x", reason="x declares no egress")
    computed = SecureTenantStatus(whitelist=WhitelistStatus(pending_count=1, pending=[pending]))
    (closed,) = flow_changes(pay(OFFICE), [Written(have.ref, have, None)], computed, NOW)
    assert (closed.change, closed.ticket, closed.cause) == ("closed", "CHG-2", "x declares no egress")
    assert cause([closed]) == "what tenant/x declares"


def test_what_was_pending_is_agreed() -> None:
    pending = {"direction": "ingress", "rule": "office", "peer": "tenant/x"}
    status = {**SEEN, "whitelist": {"declared": 1, "pendingCount": 1, "pending": [pending]}}
    want = policies(pay(OFFICE))[-1]
    made = Written(want.ref, None, want)
    (opened,) = flow_changes(pay(OFFICE, status=status), [made], SecureTenantStatus(), NOW)
    assert opened.cause == "agreed: tenant/x declares it too"
    assert cause([opened]) == "what tenant/x declares"


def test_what_stands_as_it_stood_or_is_of_no_rule_opens_and_closes_nothing() -> None:
    have = observe(policies(pay(OFFICE))[-1], pay(OFFICE))
    deny = policies(pay())[0]
    written = [Written(have.ref, have, have), Written(deny.ref, None, deny)]
    assert flow_changes(pay(), written, SecureTenantStatus(), NOW) == []


def test_a_policy_that_an_upgrade_renames_neither_opens_nor_closes() -> None:
    """Up to 0.1 the policy of a rule narrowed by its peer was called with a dash before the fingerprint."""
    body = policies(pay(OFFICE))[-1].body
    old = observed("NetworkPolicy", "securetenant-ingress-office-2bcb8533", "pay", spec=body["spec"])
    new = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-ingress-office.2bcb853301234567"), "network", body)
    written = [Written(new.ref, None, new), Written(old.ref, old, None)]
    assert flow_changes(pay(OFFICE), written, SecureTenantStatus(), NOW) == []
    rule = {**OFFICE, "name": "office-2bcb8533"}
    assert [f.change for f in flow_changes(pay(OFFICE, rule), written, SecureTenantStatus(), NOW)] == [
        "opened",
        "closed",
    ], "a rule of just that name is another rule"


def test_what_the_settings_change_opens_no_flow_of_a_rule() -> None:
    """Another DNS port, as a rollout of a restarted operator."""
    standing = [*mine(pay()), *(observe(w, pay()) for w in policies(pay(OFFICE)))]
    world = StaticWorld([pay(OFFICE)], standing, Platform(dns_port=5353))
    written = rolled_out(pay(OFFICE), world)
    assert [policy.ref.name for policy in written] == ["securetenant-dns"]
    assert flow_changes(pay(OFFICE), written, SecureTenantStatus(), NOW) == []
