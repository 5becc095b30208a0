"""Pods of others on a tenant's dedicated nodes: who is one, and what is told."""

from typing import Any

import msgspec

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.nodes import control, intruders
from securetenant.controls.world import Pods
from securetenant.model import names
from securetenant.model.kinds import POD
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

POOL = {"pool": "risk"}
TAINT = {"key": names.NODE_TAINT, "value": "risk", "effect": "NoSchedule"}


def owner(**more: Any) -> SecureTenant:
    return tenant("risk", namespaces=["risk-a"], nodes={"selector": {"matchLabels": POOL}}, **more)


def node(name: str, of: str = "risk") -> Observed:
    labels = {**POOL, **({names.NODE_LABEL_TENANT: of} if of else {})}
    return observed("Node", name, labels=labels, spec={"taints": [TAINT]})


def pod(name: str, namespace: str, controller: str = "", **more: Any) -> Observed:
    return msgspec.structs.replace(observed(POD, name, namespace, **more), controller=controller)


def look(pods: dict[str, Pods], of: SecureTenant | None = None, *nodes: Observed, **platform: Any) -> Plan:
    one = of or owner()
    world = StaticWorld([one], [*mine(one), *(nodes or [node("n1"), node("n2")])], Platform(**platform))
    world.pods = pods
    return control.plan(one, world, NOW)


def told(plan: Plan) -> tuple[str, str, str] | None:
    found = [c for c in plan.conditions if c.type == "NodesExclusive"]
    return (found[0].status, found[0].reason, found[0].message) if found else None


def test_the_tenants_own_pods_are_none() -> None:
    plan = look({"n1": Pods([pod("a", "risk-a"), pod("b", "risk-a", "ReplicaSet/b")])})
    assert told(plan) == ("True", "Exclusive", "no pods of others on the tenant's nodes")
    assert plan.status["intruders"] == []
    assert plan.status["intruder_count"] == 0


def test_pods_of_others_are_named_with_node_and_controller() -> None:
    plan = look(
        {"n1": Pods([pod("db-0", "legacy", "StatefulSet/db")]), "n2": Pods([pod("b", "web-a"), pod("a", "web-a")])}
    )
    assert told(plan) == (
        "False",
        "Intruders",
        "3 pods of others on the tenant's nodes: legacy/db-0 (StatefulSet/db) on n1, web-a/a on n2, web-a/b on n2. "
        "Delete each where it is declared, or set spec.nodes.effect to NoExecute, which evicts what does not tolerate "
        "the taint.",
    )
    assert plan.status["intruder_count"] == 3
    assert not plan.blocking


def test_a_namespace_that_another_tenant_holds_is_anothers() -> None:
    """The spec may declare it; whose it is decides."""
    older = tenant("web", namespaces=["risk-a"], created="2020-01-01T00:00:00Z")
    one = owner()
    world = StaticWorld([older, one], [*mine(older), node("n1")])
    world.pods = {"n1": Pods([pod("a", "risk-a")])}
    found = intruders.look(one, ["n1"], world)
    assert [item.pod for item in found.intruders] == ["a"]


def test_daemonsets_of_the_platform_and_static_pods_are_allowed() -> None:
    mirror = {"kubernetes.io/config.mirror": "0123"}
    pods = [
        pod("proxy-x", "kube-system", "DaemonSet/proxy"),
        pod("proxy-y", "kube-system", "DaemonSet/proxy"),
        pod("agent-x", "securetenant-system", "DaemonSet/agent"),
        pod("kube-vip-n1", "kube-system", "Node/n1", annotations=mirror),
    ]
    assert told(look({"n1": Pods(pods)})) == (
        "True",
        "Exclusive",
        "no pods of others on the tenant's nodes; allowed there: DaemonSet kube-system/proxy, "
        "DaemonSet securetenant-system/agent, static pods",
    )
    for intruder in (
        pod("coredns", "kube-system", "ReplicaSet/coredns"),  # not a DaemonSet's
        pod("by-hand", "kube-system"),
        pod("agent-x", "monitoring", "DaemonSet/agent"),  # not the platform's namespace
    ):
        plan = look({"n1": Pods([*pods, intruder])})
        assert plan.status["intruder_count"] == 1, intruder
    more = look({"n1": Pods([pod("agent-x", "monitoring", "DaemonSet/agent")])}, daemonset_namespaces=("monitoring",))
    assert more.status["intruder_count"] == 0


def test_what_is_not_known_yet_stays_as_it_was_told() -> None:
    before = {
        "conditions": [{"type": "NodesExclusive", "status": "False", "reason": "Intruders", "message": "m"}],
        "intruders": [{"node": "n1", "namespace": "web-a", "pod": "a"}],
        "intruderCount": 7,
    }
    plan = look({"n1": Pods(), "n2": Pods(is_known=False)}, owner(status=before))
    assert told(plan) == ("False", "Intruders", "m")
    assert plan.status["intruder_count"] == 7
    assert told(look({"n1": Pods(is_known=False)})) is None


def test_pods_that_cannot_be_read_are_told_with_what_to_do() -> None:
    plan = look({"n1": Pods(is_known=False, failure="pods is forbidden"), "n2": Pods([pod("a", "web-a")])})
    assert told(plan) == (
        "Unknown",
        "NotWatched",
        "The pods on n1 cannot be read (pods is forbidden): apply manifests/components/nodes, which has the right to "
        "list and watch pods.",
    )


def test_only_nodes_that_are_the_tenants_by_now_are_looked_at() -> None:
    plan = look({"n1": Pods([pod("a", "web-a")])}, None, node("n1", of=""))
    assert told(plan) is None
    assert plan.status["intruder_count"] == 0


def test_the_status_is_bounded_and_each_in_it_is_warned_of_once() -> None:
    one = owner()
    plan = look({"n1": Pods([pod(f"p{number:02}", "web-a") for number in range(30)])}, one)
    assert plan.status["intruder_count"] == 30
    status = one.status.model_copy(update=dict(plan.status))
    assert len(status.intruders) == 20
    given = intruders.warnings(one, status)
    assert list(given) == [("n1", "web-a", f"p{number:02}") for number in range(20)]
    notice = given["n1", "web-a", "p00"]
    assert (notice.reason, notice.about, notice.is_warning) == ("IntruderFound", "Pod/web-a/p00", True)
    assert intruders.figures(status) == {"securetenant_node_intruders": {(): 30}}


def test_an_event_on_a_node_concerns_its_tenant_unless_the_pod_is_its_own() -> None:
    one = owner()
    world = StaticWorld([one], [*mine(one), node("n1"), node("n2", of="")])
    assert world.concerned_on("n1") == {"risk"}
    assert world.concerned_on("n1", pod("a", "web-a")) == {"risk"}
    assert world.concerned_on("n1", pod("a", "risk-a")) == set()
    assert world.concerned_on("n2", pod("a", "web-a")) == set()
    assert world.concerned_on("n3") == set()
