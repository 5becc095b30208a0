"""The comparison that looks at a few namespaces alone agrees with one of the whole cluster."""

from typing import Any, Final
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from securetenant.controls.network.control import plan
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach import costs, standing
from securetenant.reach.flows import compare
from securetenant.reach.values import Cluster, Flow, Group, Standing
from securetenant.sets import policy
from tests.support.holding import A, B, Stage, foreign, named
from tests.support.world import NOW, mine, namespace, tenant

ENVS: Final = ("prod", "test")
PODS: Final = st.sampled_from([{}, {"app": "a"}, {"app": "b"}, {"tier": "x"}]).map(lambda one: {"matchLabels": one})
SPACES: Final = st.one_of(
    st.lists(st.sampled_from((A, B, "web", "core-a")), min_size=1, max_size=2, unique=True).map(lambda ns: named(*ns)),
    st.sampled_from(ENVS).map(lambda env: {"matchLabels": {"env": env}}),
    st.just({}),
)
PORTS: Final = st.sampled_from([[], [{"port": 80}], [{"port": 80, "endPort": 90}], [{"protocol": "UDP", "port": 53}]])
PODS_OF: Final = st.builds(lambda where, pods: {"namespaceSelector": where, "podSelector": pods}, SPACES, PODS)
OF_THIS: Final = PODS.map(lambda pods: {"podSelector": pods})
BLOCKS: Final = st.sampled_from(["192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24"]).map(
    lambda c: {"ipBlock": {"cidr": c}}
)


def rules(side: str, peers: Any) -> Any:
    key = {"ingress": "from", "egress": "to"}[side]
    one = st.builds(lambda listed, ports: {key: listed, "ports": ports}, st.lists(peers, min_size=1, max_size=2), PORTS)
    return st.lists(one, max_size=2)


def policies(where: Any, peers: Any) -> Any:
    sides = st.sampled_from([("ingress",), ("egress",), ("ingress", "egress")])
    given_ = st.tuples(where, PODS, sides, rules("ingress", peers), rules("egress", peers))
    return given_.map(lambda one: (one[0], one[1], {side: one[3 + (side == "egress")] for side in one[2]}))


OURS: Final = st.lists(policies(st.sampled_from((A, B)), st.one_of(PODS_OF, OF_THIS, BLOCKS)), max_size=3)
# At the other end, addresses count for everyone: that is wider than the whole comparison, on purpose.
THEIRS: Final = st.lists(policies(st.sampled_from(("web", "core-a")), st.one_of(PODS_OF, OF_THIS)), max_size=3)
LOST: Final = st.sets(st.sampled_from(("dns", "ingress-web", "egress-core", "ingress-office")), max_size=2)
WEB: Final = {
    "name": "web",
    "from": [{"namespace": "web", "pods": {"matchLabels": {"app": "a"}}}],
    "ports": [{"port": 80}],
}
OFFICE: Final = {"name": "office", "to": {"pods": {"matchLabels": {"app": "b"}}}, "from": [{"cidr": "192.0.2.0/24"}]}
CORE: Final = {"name": "core", "to": [{"tenant": "core"}], "ports": [{"port": 80, "endPort": 85}]}
BACK: Final = {"name": "pay", "from": [{"tenant": "pay"}], "ports": [{"port": 80}]}


def made(ours: Any, theirs: Any, lost: Any, **more: Any) -> Stage:
    core = tenant("core", namespaces=["core-a"], network={"ingress": [BACK]})
    spaces = [namespace("web", labels={"env": "prod"}), namespace("kube-system")]
    stage = Stage(core, *mine(core), *spaces, network={"ingress": [WEB, OFFICE], "egress": [CORE]}, **more)
    stage.settle(core)
    for number, (where, pods, sides) in enumerate((*ours, *theirs)):
        stage.world.put(foreign(f"theirs-{number}", where, pods=pods, **sides))
    for name in lost:
        stage.world.drop(Ref(NETWORK_POLICY, A, f"securetenant-{name}"))
    return stage


def whole(stage: Stage) -> tuple[Cluster, Cluster]:
    """What is declared and what stands, of all namespaces."""
    after = standing.everything(stage.world)
    before: dict[str, list[Standing]] = {A: [], B: []}
    for want in plan(stage.tenant, stage.world, NOW).desired:
        before[want.ref.namespace].append(Standing(want.ref, policy.parsed(want.body["spec"])))
    return Cluster(after.namespaces, {**after.policies, **before}), after


def ends(flow: Flow) -> set[tuple[str, str]]:
    """Directions and namespaces of the tenant's that a flow is of."""
    found = set[tuple[str, str]]()
    for side, end in (("ingress", flow.target), ("egress", flow.source)):
        if isinstance(end, Group):
            found |= {(side, name) for name in end.namespaces if name in (A, B)}
    return found


@settings(
    max_examples=150,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(OURS, THEIRS, LOST)
def test_it_agrees_with_the_whole(ours: Any, theirs: Any, lost: Any) -> None:
    stage = made(ours, theirs, lost)
    with patch.object(costs, "PAIRS", 10**9), patch.object(costs, "MET", 10**9):  # however long it takes
        found = stage.look()
    difference = compare(*whole(stage), of=[A, B])
    assert bool(found.unexpected) == bool(difference.opened), difference.opened
    assert bool(found.blocked) == bool(difference.closed), difference.closed
    for told, flows in ((found.unexpected, difference.opened), (found.blocked, difference.closed)):
        every = {end for flow in flows for end in ends(flow)}
        assert {(one.direction, one.namespace) for one in told} <= every
        assert all(ends(flow) & {(one.direction, one.namespace) for one in told} for flow in flows)
    # Whoever changes something that makes a difference is looked at again.
    there = {
        name
        for flow in difference.opened
        for end in (flow.source, flow.target)
        if isinstance(end, Group)
        for name in end.namespaces
    }
    assert there - {A, B} <= set(found.others)
