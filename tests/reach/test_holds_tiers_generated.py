"""With policies of tiers too, the comparison of a few namespaces agrees with one of the whole cluster, once with all
tiers and once with none."""

from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET
from securetenant.reach import costs, standing, tiers
from securetenant.reach.flows import compare
from securetenant.reach.values import Flow
from tests.reach.test_holds_generated import LOST, OURS, PODS, SPACES, THEIRS, ends, made, whole
from tests.support.holding import A, B, Stage
from tests.support.world import observed

PORTS: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [None, [{"tcp": {"destinationPort": {"number": 80}}}], [{"udp": {}}]]
)
PEER: Final = st.one_of(
    SPACES.map(lambda where: {"namespaces": where}),
    st.builds(lambda where, pods: {"pods": {"namespaceSelector": where, "podSelector": pods}}, SPACES, PODS),
)
BEYOND: Final = st.sampled_from(["192.0.2.0/25", "192.0.2.7/32"]).map(lambda cidr: {"networks": [cidr]})


def rules(key: str, peers: Any) -> Any:
    def rule(action: str, listed: Any, ports: Any) -> dict[str, Any]:
        return {"action": action, key: listed, **({"protocols": ports} if ports else {})}

    one = st.builds(rule, st.sampled_from(("Accept", "Deny", "Pass")), st.lists(peers, min_size=1, max_size=2), PORTS)
    return st.lists(one, max_size=2)


TIERS: Final = st.lists(
    st.builds(
        lambda tier, subject, ingress, egress: {"tier": tier, "subject": subject, "ingress": ingress, "egress": egress},
        st.sampled_from(("Admin", "Admin", "Baseline")),
        PEER,
        rules("from", PEER),
        rules("to", st.one_of(PEER, BEYOND)),
    ),
    max_size=3,
)


def worlds(stage: Stage) -> tuple[list[Flow], list[Flow]]:
    """What opens and what closes, with tiers or without."""
    before, after = whole(stage)
    listed = [standing.tiered(one) for one in stage.world.in_namespace(CLUSTER_NETWORK_POLICY, "")]
    declared = [left for one in listed if (left := tiers.elsewhere(one, (A, B))) is not None]
    found = [
        compare(before, after, of=[A, B]),
        compare(replace(before, tiers=declared), replace(after, tiers=listed), of=[A, B]),
    ]
    return [flow for one in found for flow in one.opened], [flow for one in found for flow in one.closed]


@settings(
    max_examples=150,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(OURS, THEIRS, LOST, TIERS)
def test_it_agrees_with_the_whole(ours: Any, theirs: Any, lost: Any, above: Any) -> None:
    stage = made(ours, theirs, lost, absent=[KUBE_OVN_SUBNET])
    for number, spec in enumerate(above):
        stage.world.put(observed(CLUSTER_NETWORK_POLICY, f"above-{number}", spec={"priority": number, **spec}))
    with patch.multiple(costs, PAIRS=10**9, MET=10**9, PARTS=10**9):  # however long it takes
        found = stage.look()
    assert not found.unknown
    opened, closed = worlds(stage)
    assert bool(found.unexpected) == bool(opened), opened
    assert bool(found.blocked) == bool(closed), closed
    for told, flows in ((found.unexpected, opened), (found.blocked, closed)):
        every = {end for flow in flows for end in ends(flow)}
        assert {(one.direction, one.namespace) for one in told} <= every
        assert all(ends(flow) & {(one.direction, one.namespace) for one in told} for flow in flows)
