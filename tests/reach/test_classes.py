"""Pods that no policy tells apart."""

import time
from ipaddress import ip_address, ip_network

from securetenant.reach import classes
from securetenant.reach.classes import Classes
from securetenant.reach.flows import reach
from securetenant.reach.values import Pod
from tests.support.estate import cluster, ingress


def test_policies_that_tell_too_many_kinds_of_pods_apart_are_reported() -> None:
    """Ten labels that are there or not: 1,024 kinds."""
    specs = [ingress({"ports": [{"port": number}]}, **{f"label-{number}": "yes"}) for number in range(1, 11)]
    found = Classes([cluster({"a": specs, "b": specs[:3]})], ("a", "b"))
    assert 2 ** len(specs) > classes._MOST
    assert found.unknown == {"a": ["its policies tell more than 512 kinds of pods apart: they are taken together"]}
    assert len(found.classes) == 1 + 2**3


def test_a_selector_with_many_labels_does_not_divide() -> None:
    """Neither in time that grows with the square of them, nor in what it closes: that is for some pods alone."""
    many = {f"label-{number}": "yes" for number in range(4000)}
    state = cluster({"a": [ingress(**many)], "b": []})
    start = time.process_time()
    found = Classes([state], state.namespaces)
    assert time.process_time() - start < 0.5
    assert found.together == {"a"}
    assert [one.rules for one in found.classes if "a" in one.namespaces] == [(classes.OPEN,)]


def test_what_is_taken_together_is_told_at_the_other_end_too() -> None:
    state = cluster({"a": [ingress(**{f"label-{number}": "yes" for number in range(65)})], "b": [], "c": []})
    assert list(reach(state, ["b"]).unknown) == ["a"]


def test_namespaces_of_interest_are_never_in_a_class_with_others() -> None:
    state = cluster({"a": [], "b": [], "c": []})
    assert [one.namespaces for one in Classes([state], state.namespaces).classes] == [{"a", "b", "c"}]
    assert [one.namespaces for one in Classes([state], state.namespaces, {"b"}).classes] == [{"a", "c"}, {"b"}]


def test_pods_on_their_nodes_network_do_not_have_the_addresses_of_their_namespace() -> None:
    blocks = ingress({"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]})
    pods = {"a": [Pod("a", "Pod/web"), Pod("a", "Pod/agent", is_host=True)]}
    state = cluster({"a": [], "b": [blocks]}, pods=pods, subnets={"a": [ip_network("10.1.0.0/24")]})
    found = {one.names[0]: one.peers for one in Classes([state], state.namespaces).classes}
    assert found == {"a/Pod/web": (frozenset({0}),), "a/Pod/agent": (frozenset(),)}


def test_blocks_match_them_by_address_whatever_the_plug_in_does_with_those_of_pods() -> None:
    blocks = ingress({"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]})
    pods = {"a": [Pod("a", f"Pod/{host}", addresses=(ip_address("10.1.0.1"),), is_host=host) for host in (True, False)]}
    state = cluster({"a": [], "b": [blocks]}, pods=pods, blocks_match_pods=False)
    found = {one.is_host: one.peers for one in Classes([state], state.namespaces).classes}
    assert found == {True: (frozenset({0}),), False: (frozenset(),)}
