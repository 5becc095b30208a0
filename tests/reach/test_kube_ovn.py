"""Kube-OVN's own rules, against the independent model of what it was seen to do (tests/support/cni)."""

from hypothesis import given, settings

from tests.support.tiered import Drawn, check, on_kube_ovn


@settings(max_examples=150)
@given(on_kube_ovn())
def test_flows_are_those_that_the_model_passes(at: Drawn) -> None:
    check(at)
