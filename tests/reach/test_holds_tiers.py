"""Whether what is open is what is declared, with policies of the tiers above NetworkPolicies."""

from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

from securetenant.controls.network import admin_tier
from securetenant.model.kinds import (
    ADMIN_NETWORK_POLICY,
    CLUSTER_NETWORK_POLICY,
    KUBE_OVN_SUBNET,
    NETWORK_POLICY,
)
from securetenant.model.objects import Ref
from securetenant.reach import report, standing
from securetenant.reach.holds import Holds
from tests.support.admin_tier import ON
from tests.support.holding import A, B, Stage, closed, egress, foreign, ingress, inward, named, space, texts, tier, wide
from tests.support.world import mine, namespace, observed, tenant

WEB: Final = {"name": "web", "from": [{"namespace": "web"}], "ports": [{"port": 80}, {"port": 443}]}
PEER: Final = "namespaces with kubernetes.io/metadata.name In (web)"


def stage(*others: Any, **more: Any) -> Stage:
    return Stage(*others, absent=[KUBE_OVN_SUBNET], **more)


def blocked(at: Stage) -> list[tuple[str, str, str, str, list[str]]]:
    found = at.look()
    assert not found.unexpected
    assert not found.unknown
    return texts(found.blocked)


def test_what_one_accepts_is_unexpected() -> None:
    at = stage(namespace("web"))
    at.world.put(tier("theirs", named(A), ingress=inward("Accept", "web", ports=[80])))
    assert at.told() == [("ingress", A, PEER, "TCP 80", ["theirs"])]
    assert "ClusterNetworkPolicy/theirs" in report.condition(at.look()).message
    at.world.drop(Ref(CLUSTER_NETWORK_POLICY, "", "theirs"))
    assert at.look() == Holds()


def test_of_several_namespaces_each_is_told() -> None:
    at = stage(namespace("web"))
    at.world.put(tier("theirs", named(A, B), ingress=inward("Accept", "web")))
    assert [(one[1], one[4]) for one in at.told()] == [(A, ["theirs"]), (B, ["theirs"])]


def test_the_other_end_may_close_it() -> None:
    at = stage(*closed("web"))
    at.world.put(tier("theirs", named(A), ingress=inward("Accept", "web")))
    assert at.told() == []
    assert at.look().others == {"web"}
    # What another opens at the other end counts.
    out = [{"action": "Accept", "to": [{"namespaces": named(A)}], "protocols": [{"tcp": {}}]}]
    at.world.put(tier("out", named("web"), egress=out))
    assert at.told() == [("ingress", A, PEER, "all TCP ports", ["theirs"])]


def test_both_ends_by_one() -> None:
    at = stage(*closed("web"))
    out = [{"action": "Accept", "to": [{"namespaces": named(A)}]}]
    at.world.put(foreign("theirs", ingress=ingress(space(named("web")), ports=[{"port": 22}])))
    assert at.told() == []
    at.world.put(tier("out", named("web"), egress=out))
    assert at.told() == [("ingress", A, PEER, "TCP 22", ["theirs"])]


def test_what_is_agreed_anyway_is_not_unexpected() -> None:
    at = stage(namespace("web"), network={"ingress": [WEB]})
    at.world.put(tier("theirs", named(A), ingress=inward("Accept", "web", ports=[80])))
    assert at.told() == []


def test_an_agreed_flow_that_one_denies_is_blocked() -> None:
    at = stage(namespace("web"), network={"ingress": [WEB]})
    at.world.put(tier("theirs", named(A), ingress=inward("Deny", "web", ports=[443])))
    assert blocked(at) == [("ingress", A, PEER, "TCP 443", ["theirs"])]
    assert at.condition == ("False", "Blocked")
    assert at.look().others == {"web"}
    # One that comes before it.
    at.world.put(tier("before", named(A), 9, ingress=inward("Pass", "web")))
    assert at.look().blocked == ()


def test_so_it_is_in_a_tenant_and_by_a_policy_for_all() -> None:
    at = stage(namespace("web"), network={"isolation": "Tenant"})
    at.world.put(tier("theirs", {}, ingress=inward("Deny")))
    assert {(one[0], one[1], one[4][0]) for one in blocked(at)} == {("ingress", A, "theirs"), ("ingress", B, "theirs")}


def test_what_denies_nothing_that_is_agreed_costs_nothing() -> None:
    at = stage(namespace("web"), namespace("other"), network={"ingress": [WEB]})
    metadata = [{"action": "Deny", "to": [{"networks": ["169.254.169.254/32"]}]}]
    at.world.put(tier("theirs", {}, ingress=inward("Deny", "other"), egress=metadata))
    assert at.look() == Holds()


def test_addresses_that_one_denies() -> None:
    out = {"name": "office", "to": [{"cidr": "192.0.2.0/24"}]}
    at = stage(network={"egress": [out], "apiServer": True})
    deny = [{"action": "Deny", "to": [{"networks": ["192.0.2.64/26"]}]}]
    at.world.put(tier("theirs", named(A), egress=deny))
    assert blocked(at) == [("egress", A, "192.0.2.64/26", "all ports", ["theirs"])]


def test_nothing_is_closed_for_sure_by_one_that_denies() -> None:
    """No object tells whether the plug-in enforces it."""
    at = stage(namespace("web"))
    at.world.put(tier("shut", named(A), ingress=inward("Deny", "web")))
    at.world.put(foreign("theirs", ingress=ingress(space(named("web")))))
    assert at.told() == [("ingress", A, PEER, "all ports", ["theirs"])]
    # But what it denies first, no other accepts after it.
    at.world.drop(Ref(NETWORK_POLICY, A, "theirs"))
    at.world.put(tier("later", named(A), 11, ingress=inward("Accept", "web")))
    assert at.told() == []


def test_on_kube_ovn_it_is_not_known_whether_one_closes() -> None:
    at = Stage(namespace("web"), network={"ingress": [WEB]})
    at.world.put(tier("theirs", named(A), ingress=inward("Deny", "web")))
    (told,) = at.look().unknown
    assert "ClusterNetworkPolicy/theirs closes ingress of pay-a" in told
    assert "ENABLE_ANP" in told
    assert at.condition == ("Unknown", "NotUnderstood")
    at.world.put(tier("theirs", named(A), ingress=inward("Accept", "web")))
    assert at.condition == ("False", "Unexpected")


def test_baseline_decides_nothing_here() -> None:
    at = stage(namespace("web"), network={"ingress": [WEB]})
    spec = {"tier": "Baseline", "priority": 1, "subject": {"namespaces": {}}, "ingress": inward("Deny", "web")}
    at.world.put(observed(CLUSTER_NETWORK_POLICY, "last", spec=spec))
    assert at.look() == Holds()


@pytest.mark.parametrize(
    "rules",
    [
        {"news": []},
        {"ingress": [{"action": "Accept", "from": [{"galaxies": {}}]}]},
        {"egress": [{"action": "Accept", "to": [{"nodes": {}}]}]},
        {"egress": [{"action": "Accept", "to": [{"domainNames": ["example.com"]}]}]},
    ],
)
def test_what_is_not_understood_is_unknown(rules: Any) -> None:
    at = stage()
    at.world.put(tier("odd", named(A), **rules))
    assert at.condition == ("Unknown", "NotUnderstood")
    assert "odd" in report.condition(at.look()).message


def test_everyone_and_what_is_too_much_count_as_open() -> None:
    at = stage(*(namespace(f"n{n}") for n in range(standing.NAMESPACES)))
    at.world.put(tier("theirs", named(A), ingress=inward("Accept")))
    assert at.told() == [("ingress", A, "all namespaces", "all ports", ["theirs"])]


def test_whether_too_much_is_closed_is_unknown() -> None:
    rule = {"name": "web", "from": [{"namespace": "web"}]}
    at = stage(namespace("web"), network={"ingress": [rule]})
    wide(at.world, 200)
    for n in range(standing.POLICIES + 1):
        at.world.put(foreign(f"p{n}", "web", ingress=[]))
    at.world.put(tier("theirs", named(A), ingress=inward("Deny", "web")))
    found = at.look()
    assert not found.blocked
    assert any("theirs may close" in one for one in found.unknown)


# --- the operator's own


def test_ours_as_planned_cost_nothing() -> None:
    at = stage(namespace("web"), platform=ON, network={"ingress": [WEB]})
    assert at.world.get(Ref(CLUSTER_NETWORK_POLICY, "", admin_tier.name(A))) is not None
    assert at.look() == Holds()


def test_ours_do_not_close_what_a_network_policy_opens() -> None:
    at = stage(namespace("web"), platform=ON)
    at.world.put(foreign("theirs", ingress=ingress(space(named("web")))))
    assert at.told() == [("ingress", A, PEER, "all ports", ["theirs"])]


def test_ours_come_before_what_has_a_later_priority() -> None:
    """Whoever enforces theirs enforces ours."""
    priority = 500
    platform = replace(ON, admin_tier_priority=priority)
    at = stage(namespace("web"), platform=platform, network={"ingress": [WEB]})
    at.world.put(tier("theirs", named(A), priority + 1, ingress=inward("Accept", "web")))
    assert at.told() == []
    at.world.put(tier("theirs", named(A), priority + 1, ingress=inward("Deny", "web")))
    assert at.look() == Holds(others=frozenset({"web"}), selectors=at.look().selectors)
    at.world.put(tier("theirs", named(A), priority - 1, ingress=inward("Accept", "web")))
    assert [one[4] for one in at.told()] == [["theirs"]]
    at.world.drop(Ref(CLUSTER_NETWORK_POLICY, "", "theirs"))
    # Of a kind before nobody knows which comes first.
    rule = [{"name": "r", "action": "Allow", "from": [{"namespaces": named("web")}]}]
    spec = {"priority": priority + 1, "subject": {"namespaces": named(A)}, "ingress": rule}
    at.world.put(observed(ADMIN_NETWORK_POLICY, "old", spec=spec))
    assert [one[4] for one in at.told()] == [["old"]]


def test_a_changed_one_of_ours_counts_as_any_other() -> None:
    at = stage(namespace("web"), platform=ON)
    have = at.world.get(Ref(CLUSTER_NETWORK_POLICY, "", admin_tier.name(A)))
    assert have is not None
    changed = tier("theirs", named(A), ingress=inward("Accept", "web"))
    at.world.put(msgspec.structs.replace(have, fields=changed.fields))
    assert [one[4] for one in at.told()] == [[admin_tier.name(A)]]


def test_a_tenant_at_the_other_end() -> None:
    """Its own policies of the tier are not of others: they close nothing that the network policies do not."""
    reaches = {"name": "l", "to": [{"tenant": "core"}], "ports": [{"port": 80}]}
    back = {"name": "p", "from": [{"tenant": "pay"}], "ports": [{"port": 80}]}
    core = tenant("core", namespaces=["core-a"], network={"ingress": [back]})
    at = stage(core, *mine(core), platform=ON, network={"egress": [reaches]})
    at.settle(core)
    at.world.put(foreign("wider", egress=egress(space(named("core-a")))))
    assert at.told() == []
