"""What stands above and below NetworkPolicies: against the independent model (tests/support/cni), and what that does
not know: names of ports, nodes, names of hosts, and what is not understood."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

import pytest
from hypothesis import given, settings

from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.classes import Classes
from securetenant.reach.flows import compare, reach
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing, Tiered
from securetenant.sets import policy, ports, tiers
from securetenant.sets.ports import Ports, Range
from tests.support.cni.values import LABEL_NAME
from tests.support.tiered import Drawn, calls, check, drawn


@settings(max_examples=60)
@given(drawn())
def test_flows_of_known_pods_are_those_that_the_model_passes(at: Drawn) -> None:
    check(at, reach(at.cluster()).flows)


@settings(max_examples=40)
@given(drawn())
def test_flows_of_whatever_pods_there_may_be_are_too(at: Drawn) -> None:
    check(at, reach(at.cluster(symbolic=True)).flows, symbolic=True)


@settings(max_examples=30)
@given(drawn())
def test_flows_of_some_namespaces_are_those_of_all_with_an_end_there(at: Drawn) -> None:
    check(at, reach(at.cluster(), ["a", "d"]).flows, of=["a", "d"])


@settings(max_examples=30)
@given(drawn(), drawn())
def test_what_opens_passes_after_and_not_before(before: Drawn, after: Drawn) -> None:
    before = Drawn(before.specs, before.tiers, after.pods)
    found = compare(before.cluster(), after.cluster())
    for source, target in after.pairs():
        was, now = before.passing(source, target), after.passing(source, target)
        assert calls(found.opened, source, target) == now - was
        assert calls(found.closed, source, target) == was - now


# --- what the model does not know

NAMES: Final = ("a", "b", "c")
EVERYTHING: Final[list[Any]] = [{"namespaces": {}}]
OUTSIDE: Final = ip_address("198.51.100.7")
WEB: Final = Range("TCP", 80, 80)


def place(name: str) -> dict[str, Any]:
    return {"namespaces": {"matchLabels": {LABEL_NAME: name}}}


def rule(action: str, *peers: Any, way: str = "from", **more: Any) -> dict[str, Any]:
    return {"action": action, way: list(peers) or EVERYTHING, **more}


def tiered(name: str = "t", priority: int = 10, tier: str = "Admin", created: str = "", **spec: Any) -> Tiered:
    given_ = {"tier": tier, "priority": priority, "subject": place("b"), **spec}
    return Tiered(Ref(CLUSTER_NETWORK_POLICY, "", name), tiers.parsed(given_), created)


def cluster(*above: Tiered, policies: Mapping[str, Any] | None = None, **more: Any) -> Cluster:
    standing = {
        name: [Standing(Ref(NETWORK_POLICY, name, "p"), policy.parsed(spec))] for name, spec in (policies or {}).items()
    }
    return Cluster({name: {LABEL_NAME: name} for name in NAMES}, standing, tiers=above, **more)


def between(found: Sequence[Flow], source: str, target: str) -> Ports:
    """The ports that pass from one namespace ("": outside) to another."""
    passing: Ports = ports.NONE
    for flow in found:
        if _has(flow.source, source) and _has(flow.target, target):
            passing = ports.union(passing, flow.ports)
    return passing


def _has(end: Group | Outside, name: str) -> bool:
    if isinstance(end, Outside):
        return not name and any(OUTSIDE in block for block in end.blocks)
    return name in end.namespaces


CLOSED: Final = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_admin_tier_accepts_what_a_network_policy_closes_and_is_named_for_it() -> None:
    found = reach(cluster(tiered(ingress=[rule("Accept", place("a"))]), policies={"b": CLOSED})).flows
    (flow,) = (flow for flow in found if _has(flow.source, "a") and _has(flow.target, "b"))
    assert flow.ports is None
    assert [ref.name for ref in flow.enters] == ["t"]
    assert between(found, "c", "b") == ports.NONE


def test_pass_leaves_to_network_policies_and_skips_the_rest_of_the_tier() -> None:
    above = tiered(ingress=[rule("Pass", place("a")), rule("Deny")])
    found = reach(cluster(above)).flows
    assert between(found, "a", "b") is None
    assert between(found, "c", "b") == ports.NONE
    assert between(reach(cluster(above, policies={"b": CLOSED})).flows, "a", "b") == ports.NONE


def test_the_baseline_tier_decides_only_where_no_network_policy_isolates() -> None:
    below = tiered(tier="Baseline", ingress=[rule("Deny")])
    assert between(reach(cluster(below)).flows, "a", "b") == ports.NONE
    opened: dict[str, Any] = {"podSelector": {}, "ingress": [{}]}
    assert between(reach(cluster(below, policies={"b": opened})).flows, "a", "b") is None


def test_of_equal_priority_the_first_by_name_decides() -> None:
    accepts, denies = (rule("Accept"), rule("Deny"))
    for first, second, passing in (("x", "y", None), ("y", "x", ports.NONE)):
        found = reach(cluster(tiered(first, ingress=[accepts]), tiered(second, ingress=[denies])))
        assert between(found.flows, "a", "b") == passing


@pytest.mark.parametrize("named", [{"web": ("TCP", 80)}, {"web": ("UDP", 80)}, {}])
def test_a_port_s_name_has_the_number_that_the_target_gives_it(named: dict[str, tuple[str, int]]) -> None:
    pods = {"a": [Pod("a", "Pod/a")], "b": [Pod("b", "Pod/b", named=named)]}
    on_web = [{"destinationNamedPort": "web"}]
    numbers = tuple(Range(protocol, number, number) for protocol, number in named.values())
    closing = tiered(ingress=[rule("Deny", protocols=on_web)])
    assert between(reach(cluster(closing, pods=pods)).flows, "a", "b") == ports.difference(None, numbers)
    opening = tiered(ingress=[rule("Accept", protocols=on_web), rule("Deny")])
    assert between(reach(cluster(opening, pods=pods)).flows, "a", "b") == numbers


def test_a_port_s_name_closes_nothing_and_opens_all_where_pods_are_not_known() -> None:
    on_web = [{"destinationNamedPort": "web"}]
    closing = tiered(ingress=[rule("Deny", protocols=on_web)])
    assert between(reach(cluster(closing)).flows, "a", "b") is None
    opening = tiered(ingress=[rule("Accept", protocols=on_web), rule("Deny")])
    found = reach(cluster(opening)).flows
    assert between(found, "a", "b") == tuple(Range(one, 0, 65535) for one in ("SCTP", "TCP", "UDP"))
    assert {name for flow in found for name in flow.named} == {"web"}


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ({"nodes": {}}, "a rule of ClusterNetworkPolicy/t is about nodes, whose addresses are not known here"),
        (
            {"domainNames": ["*.example"]},
            "a rule of ClusterNetworkPolicy/t is about the name *.example, whose addresses are not known here",
        ),
    ],
)
def test_nodes_and_names_may_open_what_is_outside_and_never_close_it(peer: Any, told: str) -> None:
    on_web = [{"tcp": {"destinationPort": {"number": 80}}}]
    opening = [rule("Accept", peer, way="to", protocols=on_web), rule("Deny", {"networks": ["0.0.0.0/0"]}, way="to")]
    found = reach(cluster(tiered(egress=opening)))
    assert between(found.flows, "b", "") == (WEB,)
    assert found.unknown == {"b": (told,)}
    closing = reach(cluster(tiered(egress=[rule("Deny", peer, way="to")])))
    assert between(closing.flows, "b", "") is None
    assert between(closing.flows, "b", "a") is None


def test_a_rule_that_is_not_understood_opens_unless_it_says_that_it_denies() -> None:
    for action, passing in (("Accept", None), ("Redirect", None), ("Deny", ports.NONE), ("Pass", ports.NONE)):
        strange = rule(action, {"planets": {}})
        found = reach(cluster(tiered(ingress=[strange, rule("Deny")]), policies={"b": CLOSED}))
        assert between(found.flows, "a", "b") == passing, action
        assert found.unknown == {"b": ("a rule of ClusterNetworkPolicy/t is not understood",)}


def test_a_policy_that_is_not_understood_is_told_of_every_namespace() -> None:
    strange = tiered(except_={})
    everywhere = dict.fromkeys(NAMES, ("ClusterNetworkPolicy/t is not understood",))
    assert reach(cluster(strange)).unknown == everywhere
    assert reach(cluster(strange), ["a"]).unknown == {"a": everywhere["a"]}


def test_a_policy_that_selects_nothing_tells_no_pods_apart() -> None:
    nobody = {"pods": {"namespaceSelector": {"matchLabels": {"env": "gone"}}, "podSelector": {}}}
    somebody = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}}
    counted = [
        len(Classes([cluster(*above)], NAMES).classes)
        for above in ((), (tiered(subject=nobody, ingress=[rule("Deny", somebody)]),))
    ]
    assert counted == [1, 1]


def test_networks_count_for_the_addresses_of_pods_only_where_the_plug_in_matches_them() -> None:
    above = tiered(egress=[rule("Deny", {"networks": ["10.0.0.0/8"]}, way="to")])
    for matches, passing in ((True, ports.NONE), (False, None)):
        given_ = cluster(above, ranges=[ip_network("10.1.0.0/16")], blocks_match_pods=matches)
        assert between(reach(given_).flows, "b", "a") == passing


def test_pods_on_their_node_s_network_are_neither_subject_nor_peer() -> None:
    host = Pod("b", "Pod/host", addresses=(ip_address("192.0.2.1"),), is_host=True)
    pods = {"a": [Pod("a", "Pod/a")], "b": [host]}
    assert between(reach(cluster(tiered(ingress=[rule("Deny")]), pods=pods)).flows, "a", "b") is None
    above = tiered(subject=place("a"), egress=[rule("Deny", way="to")])
    assert between(reach(cluster(above, pods=pods)).flows, "a", "b") is None
    above = tiered(subject=place("a"), egress=[rule("Deny", {"networks": ["192.0.2.0/24"]}, way="to")])
    assert between(reach(cluster(above, pods=pods)).flows, "a", "b") == ports.NONE


def test_what_kube_ovn_does_not_enforce_is_told() -> None:
    denies = [rule("Deny")]
    above = [
        tiered("late", 7, created="2026-02-01T00:00:00Z", ingress=denies),
        tiered("early", 7, created="2026-01-01T00:00:00Z", ingress=[rule("Accept", place("a"))]),
        tiered("high", 400, ingress=denies),
    ]
    elsewhere = reach(cluster(*above))
    assert between(elsewhere.flows, "c", "b") == ports.NONE
    assert elsewhere.unknown == {}
    found = reach(cluster(*above, plugin="KubeOVN"))
    assert between(found.flows, "c", "b") is None
    assert found.unknown == {
        "b": (
            "ClusterNetworkPolicy/late has a priority that another of tier Admin has: Kube-OVN does not enforce it",
            "ClusterNetworkPolicy/high has a priority above 399: Kube-OVN does not enforce it",
        )
    }
