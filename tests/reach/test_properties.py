"""Who reaches whom, against an independent model of NetworkPolicies (tests/support/cni) on clusters drawn at random."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from securetenant.reach.classes import Classes
from securetenant.reach.flows import compare, reach
from securetenant.reach.values import Flow, Group, Pod
from tests.support.cni import policies
from tests.support.cni.values import Call, Direction
from tests.support.reached import (
    ADDRESSES,
    CALLS,
    LABELS,
    NAMESPACES,
    Drawn,
    End,
    Known,
    drawn,
    has,
    is_in,
    modelled,
    of_family,
    off_host,
    pod,
    pods,
    told,
)

_of = st.sets(st.sampled_from(NAMESPACES), min_size=1, max_size=2)


def _pairs(ends: Iterable[Pod]) -> list[tuple[End, End]]:
    """Of pods with each other, and with addresses outside."""
    listed = list(ends)
    among = [(one, other) for one, other in product(listed, listed) if one is not other]
    beyond = list(product(listed, ADDRESSES))
    return [*among, *beyond, *((address, end) for end, address in beyond)]


def _calls(flows: Iterable[Flow], source: End, target: End) -> set[Call]:
    found = told(flows, source, target)
    return {call for call in CALLS if any(has(ports, call) for ports in found)}


def _judged(at: Drawn, source: End, target: End) -> set[Call]:
    return {call for call in CALLS if at.passes(source, target, call)}


@settings(max_examples=60)
@given(drawn())
def test_flows_of_known_pods_are_those_that_the_model_passes(at: Drawn) -> None:
    flows = reach(at.cluster()).flows
    for source, target in _pairs(at.pods):
        assert _calls(flows, source, target) == _judged(at, source, target), (source, target)
        assert len(told(flows, source, target)) <= 1


@settings(max_examples=60)
@given(
    drawn(named=False),
    st.lists(st.sampled_from(LABELS), min_size=len(NAMESPACES), max_size=len(NAMESPACES) + 1),
    st.sampled_from(("subnets", "subnets", "ranges", "nothing")),
)
def test_whatever_pods_there_may_be_each_is_in_one_group_and_passes_as_it_does(
    at: Drawn, chosen: list[dict[str, str]], known: Known
) -> None:
    cluster = at.symbolic(known)
    if known == "nothing":  # then blocks count for addresses outside alone
        at = replace(at, blocks_match_pods=False)
    groups = [one.group for one in Classes([cluster], NAMESPACES).classes]
    ends = [pod(NAMESPACES[number % 3], number + 1, labels) for number, labels in enumerate(chosen)]
    for one in ends:
        for address in one.addresses:
            assert sum(is_in(group, one, address) for group in groups) == 1
    flows = reach(cluster).flows
    for source, target in _pairs(ends):
        assert _calls(flows, source, target) == _judged(at, source, target), (source, target)


@settings(max_examples=60)
@given(drawn(), _of, st.booleans())
def test_flows_of_some_namespaces_are_those_of_all_with_an_end_there(at: Drawn, of: set[str], symbolic: bool) -> None:
    cluster = at.symbolic() if symbolic else at.cluster()
    ends = [off_host(one) for one in at.pods] if symbolic else at.pods
    everything, some = reach(cluster).flows, reach(cluster, of).flows
    for source, target in _pairs(ends):
        is_of = any(isinstance(end, Pod) and end.namespace in of for end in (source, target))
        assert _calls(some, source, target) == (_calls(everything, source, target) if is_of else set())


@settings(max_examples=40)
@given(drawn(names=NAMESPACES[:2]) | drawn(), drawn(names=NAMESPACES[1:]) | drawn(), pods(), st.none() | _of)
def test_what_opens_passes_after_and_not_before_and_what_closes_the_other_way_around(
    before: Drawn, after: Drawn, there: tuple[Pod, ...], of: set[str] | None
) -> None:
    matching = after.blocks_match_pods
    before, after = (replace(one, pods=there, blocks_match_pods=matching) for one in (before, after))
    found = compare(before.cluster(), after.cluster(), of)
    for source, target in _pairs(one for one in there if {*before.namespaces, *after.namespaces} >= {one.namespace}):
        was, now = _judged(before, source, target), _judged(after, source, target)
        is_of = of is None or any(isinstance(end, Pod) and end.namespace in of for end in (source, target))
        assert _calls(found.opened, source, target) == (now - was if is_of else set())
        assert _calls(found.closed, source, target) == (was - now if is_of else set())


@settings(max_examples=60)
@given(drawn(), drawn(), st.none() | _of)
def test_what_differs_without_known_pods_is_the_difference_of_both(
    before: Drawn, after: Drawn, of: set[str] | None
) -> None:
    one, other = (replace(each, blocks_match_pods=True).symbolic() for each in (before, after))
    was, now, found = reach(one, of).flows, reach(other, of).flows, compare(one, other, of)
    ends = [of_family(off_host(each), version) for each in after.pods for version in (4, 6)]  # of groups, not of pods
    for source, target in _pairs(ends):
        had, has_ = _calls(was, source, target), _calls(now, source, target)
        assert _calls(found.opened, source, target) == has_ - had
        assert _calls(found.closed, source, target) == had - has_


@settings(max_examples=60)
@given(drawn())
def test_names_of_ports_count_as_all_ports_of_their_protocol_where_pods_are_not_known(at: Drawn) -> None:
    flows = reach(at.symbolic()).flows
    for source, target in _pairs(map(off_host, at.pods)):
        assert _calls(flows, source, target) >= _judged(replace(at, pods=()), source, target)


@settings(max_examples=60)
@given(drawn())
def test_a_flow_names_the_policies_that_allow_it_and_no_others(at: Drawn) -> None:
    by_name = {f"{one.namespace}/{one.name}": one for one in at.pods}
    for flow in reach(at.cluster()).flows:
        if isinstance(flow.source, Group) and isinstance(flow.target, Group):
            source, target = (by_name[group.names[-1]] for group in (flow.source, flow.target))
            if source is not target:
                assert {ref.name for ref in flow.leaves} == _allowing(at, "egress", source, target)
                assert {ref.name for ref in flow.enters} == _allowing(at, "ingress", source, target)


def _allowing(at: Drawn, direction: Direction, source: Pod, target: Pod) -> set[str]:
    """The policies of one end that allow a call that passes."""
    own, other = (source, target) if direction == "egress" else (target, source)
    return {
        policy.name
        for policy in at.judged.policies_of.get(own.namespace, ())
        for one, call in product(other.addresses, CALLS)
        if policies.decide(replace(at.judged, policies=(policy,)), direction, modelled(own), modelled(other), one, call)
        == "Allow"
        and at.passes(of_family(source, one.version), of_family(target, one.version), call)
    }
