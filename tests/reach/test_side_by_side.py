"""Several states side by side say the same as each by itself, and as two of them compared."""

from typing import Any

from securetenant.reach import reading
from securetenant.reach.flows import compare, reach, side_by_side
from securetenant.reach.values import Cluster, Flow, Group
from securetenant.sets import ports
from securetenant.sets.ports import Ports


def policy(name: str, namespace: str, app: str = "", **spec: Any) -> dict[str, Any]:
    pods = {"matchLabels": {"app": app}} if app else {}
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {"podSelector": pods, **spec},
    }


def cluster(*policies: dict[str, Any]) -> Cluster:
    spaces: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("a", "b", "c")
    ]
    return reading.read([*spaces, *policies]).cluster


CLOSED = [policy("deny", name, policyTypes=["Ingress", "Egress"]) for name in ("a", "b")]
OUT = policy("out", "a", "web", policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {}}]}])
FROM_A = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}


def into(*numbers: int) -> dict[str, Any]:
    listed = [{"protocol": "TCP", "port": number} for number in numbers]
    return policy("in", "b", "db", ingress=[{"from": [FROM_A], "ports": listed}])


BEFORE = cluster(*CLOSED, OUT, into(1, 2))
AFTER = cluster(*CLOSED, OUT, into(2, 3))


def known(flow: Flow) -> tuple[object, object, Ports]:
    return flow.source, flow.target, flow.ports


def test_one_state_is_what_reach_says() -> None:
    found = side_by_side([BEFORE])
    assert sorted(map(str, map(known, (pair.flow(0) for pair in found.pairs)))) == sorted(
        map(str, map(known, reach(BEFORE).flows))
    )


def test_two_states_are_what_compare_says() -> None:
    pairs = side_by_side([BEFORE, AFTER]).pairs
    difference = compare(BEFORE, AFTER)
    for have, less, expected in ((1, 0, difference.opened), (0, 1, difference.closed)):
        left = [pair.flow(have, ports.difference(pair.passing[have].ports, pair.passing[less].ports)) for pair in pairs]
        assert [known(one) for one in left if one.ports != ports.NONE] == [known(one) for one in expected]
    assert [ports.described(flow.ports) for flow in difference.opened] == ["TCP 3"]


def test_three_states_are_cut_alike() -> None:
    (pair,) = (
        pair
        for pair in side_by_side([BEFORE, AFTER, cluster(*CLOSED)], ["b"]).pairs
        if isinstance(pair.source, Group) and pair.source.namespaces == ("a",)
    )
    assert [ports.described(one.ports) for one in pair.passing] == ["TCP 1-2", "TCP 2-3", ""]
    assert [ref.name for ref in pair.flow(0).enters] == ["in"]
    assert pair.flow(2) == Flow(pair.source, pair.target, ports.NONE)


def test_namespaces_are_one_group_only_with_the_same_pods() -> None:
    """Otherwise a group would seem to have pods in a namespace that are not of it."""
    state = cluster(policy("in", "b", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "x"}}}]}]))
    for pair in side_by_side([state]).pairs:
        for end in (pair.source, pair.target):
            if isinstance(end, Group) and "b" in end.namespaces:
                assert end.namespaces == ("b",)
