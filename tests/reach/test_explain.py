"""Why a connection passes: against the independent model, against the flows, and in words."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.explain import Call, Cause, Explanation, Labelled, Place, Reason, described, explain
from securetenant.reach.flows import reach
from securetenant.reach.values import Cluster, Pod
from securetenant.sets.ports import OTHER
from tests.support.cni import policies
from tests.support.cni.values import Direction
from tests.support.estate import CLOSED, cluster
from tests.support.reached import (
    ADDRESSES,
    CALLS,
    LABELS,
    NAMESPACES,
    Drawn,
    End,
    drawn,
    has,
    modelled,
    pod,
    told,
)

_PEERS: Final = {"ingress": "from", "egress": "to"}
_REASONS: Final[dict[str, Reason]] = {"Allow": "allowed", "Deny": "refused", "Silent": "open"}
_calls = st.sampled_from(CALLS)
_ends = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(LABELS))


def _explained(at: Drawn, source: End, target: End, protocol: str, port: int) -> Explanation:
    return explain(at.cluster(), source, target, Call(OTHER if protocol == "ICMP" else protocol, port))


@settings(max_examples=60)
@given(drawn(), _calls, st.sampled_from(ADDRESSES))
def test_it_passes_as_in_the_model_and_each_side_says_what_its_policies_do(at: Drawn, call: Any, address: Any) -> None:
    ends: list[End] = [*at.pods[:4], address]
    for source, target in product(ends, ends):
        if source is target or not (isinstance(source, Pod) or isinstance(target, Pod)):
            continue
        found = _explained(at, source, target, *call)
        assert found.passes is at.passes(source, target, call)
        for side, own, other in ((found.leaves, source, target), (found.enters, target, source)):
            if not isinstance(own, Pod) or own.is_host or side.reason == "family":
                assert side.reason in ("outside", "host", "family")
                continue
            says = {_says(at, side.direction, own, other, one, call) for one in modelled(other).addresses}
            assert side.reason in {_REASONS[one] for one in says}
            for cause in side.causes:
                alone = replace(at, specs={own.namespace: [_alone(at, side.direction, cause)]})
                allowed = [_says(alone, side.direction, own, other, one, call) for one in modelled(other).addresses]
                assert "Allow" in allowed


def _says(at: Drawn, direction: Direction, own: End, other: End, address: Any, call: Any) -> str:
    return policies.decide(at.judged, direction, modelled(own), modelled(other), address, call)


def _alone(at: Drawn, direction: str, cause: Cause) -> Any:
    """The policy with nothing but that peer of that rule."""
    spec = at.specs[cause.ref.namespace][int(cause.ref.name.removeprefix("p"))]
    assert cause.rule is not None
    rule = spec[direction][cause.rule]
    if cause.peer is not None:
        rule = {**rule, _PEERS[direction]: [rule[_PEERS[direction]][cause.peer]]}
    return {**spec, "policyTypes": [direction.capitalize()], "ingress": [], "egress": [], direction: [rule]}


@settings(max_examples=60)
@given(drawn(), _calls, _ends, _ends, st.sampled_from(ADDRESSES), st.integers(1, 5), st.integers(1, 130))
def test_of_pods_that_have_labels_it_says_what_all_flows_of_such_pods_say(
    at: Drawn, call: Any, one: Any, other: Any, address: Any, number: int, another: int
) -> None:
    state = at.symbolic()
    flows = reach(state).flows
    first, second = pod(one[0], number, one[1]), pod(other[0], another % 126, other[1])
    named: list[tuple[Place, End]] = [(Labelled(*one), first), (Labelled(*other), second), (address, address)]
    for (source, from_), (target, to) in product(named, named):
        if isinstance(source, Labelled) or isinstance(target, Labelled):
            found = explain(state, source, target, Call(OTHER if call.protocol == "ICMP" else call.protocol, call.port))
            passes = any(has(ports, call) for ports in told(flows, from_, to))
            assert found.passes in (passes, None), (source, target)


@settings(max_examples=60)
@given(drawn(), _calls)
def test_the_policies_of_causes_are_among_those_that_flows_name(at: Drawn, call: Any) -> None:
    flows = reach(at.cluster()).flows
    for source, target in product(at.pods, at.pods):
        if source is not target and (found := _explained(at, source, target, *call)).passes:
            listed = [flow for flow in flows if has(flow.ports, call) and told([flow], source, target)]
            assert {cause.ref for cause in found.leaves.causes} <= set(listed[0].leaves)
            assert {cause.ref for cause in found.enters.causes} <= set(listed[0].enters)


# --- in words

WEB: Final = Labelled("payments", {"app": "web"})
LEDGER: Final = Labelled("ledger", {"app": "db"})
TO_LEDGER: Final = {
    "podSelector": {"matchLabels": {"app": "web"}},
    "policyTypes": ["Egress"],
    "egress": [
        {"to": [{"podSelector": {}}]},
        {
            "to": [
                {"ipBlock": {"cidr": "192.0.2.0/24"}},
                {"namespaceSelector": {"matchLabels": {"name": "ledger"}}},
            ],
            "ports": [{"port": 8443}, {"port": "https"}],
        },
    ],
}


def at_bank(payments: list[Any], ledger: list[Any], **more: Any) -> Cluster:
    found = cluster({"payments": payments, "ledger": ledger}, **more)
    return replace(found, namespaces={name: {"name": name} for name in found.namespaces})


def test_what_refuses_is_told_with_the_number_of_policies_and_what_allows_by_name() -> None:
    found = explain(at_bank([CLOSED, TO_LEDGER], [CLOSED]), WEB, LEDGER, Call("TCP", 8443))
    assert found.passes is False
    assert found.leaves.causes == (Cause(Ref(NETWORK_POLICY, "payments", "p1"), 1, 1),)
    assert described(found) == (
        "egress of payments: NetworkPolicy/payments/p1 allows TCP 8443 to ledger",
        "ingress of ledger: 1 policy selects app=db, it does not allow TCP 8443 from payments",
    )
    refused = explain(at_bank([CLOSED, TO_LEDGER], []), WEB, LEDGER, Call("UDP", 53))
    assert described(refused) == (
        "egress of payments: 2 policies select app=web, none allows UDP 53 to ledger",
        "ingress of ledger: no policy selects app=db",
    )


def test_a_port_by_name_counts_as_all_of_its_protocol_where_the_pod_is_not_known() -> None:
    at = at_bank([TO_LEDGER], [])
    (cause,) = explain(at, WEB, LEDGER, Call("TCP", 9)).leaves.causes
    assert cause.named == "TCP https"
    known = Pod("ledger", "Pod/db", named={"https": ("TCP", 9443)})
    assert not explain(at, WEB, known, Call("TCP", 9)).passes
    assert explain(at, WEB, known, Call("TCP", 9443)).passes


def test_what_depends_on_a_pods_address_is_told_so() -> None:
    opening = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/25"}}]}]}
    at = at_bank([], [opening], subnets={"payments": [ip_network("10.0.0.0/24")]})
    found = explain(at, WEB, LEDGER, Call("TCP", 1))
    assert found.passes is None
    assert described(found)[1] == (
        "ingress of ledger: NetworkPolicy/ledger/p0 allows TCP 1 from payments, for some addresses"
    )
    near, far = (Pod("payments", "Pod/x", addresses=(ip_address(text),)) for text in ("10.0.0.1", "10.0.0.200"))
    assert (explain(at, near, LEDGER, Call("TCP", 1)).passes, explain(at, far, LEDGER, Call("TCP", 1)).passes) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"podSelector": {}, "priority": 1}, "NetworkPolicy/ledger/p0 is not understood"),
        (
            {"podSelector": {}, "ingress": [{"from": [{"serviceSelector": {}}]}]},
            "a rule of NetworkPolicy/ledger/p0 is not understood",
        ),
    ],
)
def test_what_is_not_understood_counts_as_open_and_is_told(spec: Any, told: str) -> None:
    found = explain(
        at_bank([], [spec], unclear={"payments": ["CiliumNetworkPolicy/payments/x"]}), WEB, LEDGER, Call("TCP", 1)
    )
    assert found.passes
    assert not found.enters.causes[0].is_clear
    assert found.unknown == ("CiliumNetworkPolicy/payments/x", told)


def test_ends_where_no_policy_is_enforced() -> None:
    at = at_bank([CLOSED], [])
    host = Pod("payments", "Pod/agent", is_host=True, addresses=(ip_address("10.9.0.1"),))
    found = explain(at, host, ip_address("192.0.2.1"), Call(OTHER))
    assert found.passes
    assert described(found) == (
        "payments is on its node's network, where no policy is enforced",
        "192.0.2.1 is outside the cluster",
    )
    other = explain(at, host, ip_address("2001:db8::1"), Call(OTHER))
    assert (other.passes, other.leaves.reason) == (False, "family")
    with pytest.raises(ValueError, match="there is no namespace gone"):
        explain(at, Labelled("gone", {}), LEDGER, Call("TCP", 1))


def test_selectors_do_not_select_pods_on_their_nodes_network() -> None:
    at = at_bank([], [{"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}])
    for is_host in (False, True):
        web = Pod("payments", "Pod/web", is_host=is_host, addresses=(ip_address("10.9.0.1"),))
        assert explain(at, web, LEDGER, Call("TCP", 1)).passes is not is_host
