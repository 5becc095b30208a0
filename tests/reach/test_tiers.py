"""What stands above and below NetworkPolicies, against the independent model (tests/support/cni)."""

from hypothesis import given, settings

from tests.support.tiered import Drawn, check, drawn


@settings(max_examples=150)
@given(drawn())
def test_flows_are_those_that_the_model_passes(at: Drawn) -> None:
    check(at)
