"""What people are told of rules: which end soon, what a rollout opened, and what nobody ends any more."""

from datetime import timedelta
from typing import Any

from securetenant.api.status import ExpiringRule, SecureTenantStatus, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import notices
from securetenant.controls.network.policies import End, opening
from securetenant.controls.notice import Written
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Ref
from securetenant.sets import selectors
from securetenant.sets.blocks import Block
from securetenant.sets.ports import Ports
from tests.support.world import NOW, tenant

END = NOW + timedelta(hours=2)
RULE = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "ticket": "CHG-2", "expires": END.isoformat()}


def pay(*rules: dict[str, Any]) -> SecureTenant:
    return tenant("pay", namespaces=["pay"], network={"ingress": list(rules)})


def saying(*rules: ExpiringRule) -> SecureTenantStatus:
    return SecureTenantStatus(whitelist=WhitelistStatus(expiring=list(rules)))


def test_each_rule_that_ends_soon_is_a_warning_by_its_end_and_its_threshold() -> None:
    weeks = ExpiringRule(direction="ingress", rule="office", expires=END, within="14d")
    day = weeks.model_copy(update={"within": "1d"})
    before, now = notices.warnings(pay(RULE), saying(weeks)), notices.warnings(pay(RULE), saying(day))
    assert not before.keys() & now.keys(), "a narrower threshold is told anew"
    reworded = notices.warnings(pay({**RULE, "ticket": "CHG-9"}), saying(day))
    assert reworded.keys() == now.keys(), "another ticket is not"
    (notice,) = now.values()
    assert (notice.line, notice.reason, notice.is_warning) == ("rule expires soon", "ExpiresSoon", True)
    assert notice.fields == {
        "direction": "ingress",
        "rule": "office",
        "ticket": "CHG-2",
        "expires": "2026-11-01T14:00:00Z",
        "within": "1d",
    }
    assert notice.message == (
        "ingress office (CHG-2) expires at 2026-11-01T14:00:00Z, within 1d: renew it or let it expire"
    )
    assert notices.warnings(pay(RULE), SecureTenantStatus()) == {}


def test_a_flow_that_opens_is_told_with_the_first_of_its_ends() -> None:
    ends: dict[End, Ports] = {Block(f"10.{number}.0.0/16"): None for number in range(5)}
    body = opening("ingress", selectors.ALL, ends)
    want = Desired(Ref(NETWORK_POLICY, "pay", "securetenant-ingress-office"), "network", body)
    told = notices.rollout(pay(RULE), [Written(want.ref, None, want)], SecureTenantStatus(), NOW)
    (notice,) = told.notices
    assert told.cause == ""
    assert (notice.line, notice.reason, notice.is_warning) == ("flow opened", "FlowOpened", False)
    assert notice.message == (
        "ingress office (CHG-2) opened in pay: to all pods from 10.0.0.0/16 on all ports; to all pods from 10.1.0.0/16 "
        "on all ports; to all pods from 10.2.0.0/16 on all ports and 2 more (declared)"
    )
    assert (notice.about, notice.verb, notice.name) == (
        "ingress/office/pay",
        "opened",
        "ingress office (CHG-2) in pay",
    )
    flows = notice.fields["flows"]
    assert isinstance(flows, list)
    assert len(flows) == 5, "the line has all"


def test_what_is_temporary_has_an_end() -> None:
    endless = {key: value for key, value in RULE.items() if key != "expires"} | {"name": "always"}
    assert notices.temporary(pay(RULE, endless)) == ["ingress office"]
