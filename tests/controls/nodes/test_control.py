"""The nodes control's plan: which nodes are a tenant's, what stands on them, what it says."""

import time
from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.nodes import control as nodes
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NODE
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

POOL = {"pool": "risk"}


def dedicated(name: str = "risk", **more: Any) -> SecureTenant:
    return tenant(name, **{"nodes": {"selector": {"matchLabels": POOL}}, **more})


def taint(value: str = "risk", effect: str = "NoSchedule", key: str = names.NODE_TAINT, **more: str) -> dict[str, str]:
    return {"key": key, "value": value, "effect": effect, **more}


def node(name: str, *taints: dict[str, str], of: str = "", pool: str = "risk", **more: Any) -> Observed:
    labels = {"pool": pool, **({names.NODE_LABEL_TENANT: of} if of else {})}
    return observed("Node", name, labels=labels, spec={"taints": list(taints)} if taints else {}, **more)


def look(owner: SecureTenant, *objects: Observed | SecureTenant) -> Plan:
    return nodes.plan(owner, world(owner, *objects), NOW)


def world(*items: Observed | SecureTenant) -> StaticWorld:
    made = StaticWorld()
    made.put(*items)
    return made


def told(plan: Plan) -> tuple[str, str, str]:
    condition = plan.conditions[0]
    assert condition.type == "NodesReady"
    return condition.status, condition.reason, condition.message


def given_back(owner: SecureTenant, *objects: Observed | SecureTenant) -> list[str]:
    return [found.ref.name for found in nodes.given_back(owner, world(owner, *objects))]


def test_without_a_section_there_is_nothing_to_say() -> None:
    assert look(tenant("risk"), node("n1")) == Plan(desired=[])


@pytest.mark.parametrize(
    ("section", "written"), [({}, "v1"), ({"nodes": {"selector": {"matchLabels": POOL}}}, "v1;dedicated=risk")]
)
def test_each_namespace_says_whether_there_are_dedicated_nodes(section: dict[str, Any], written: str) -> None:
    owner = tenant("risk", namespaces=["risk-a"], **section)
    plan = look(owner, *mine(owner))
    assert plan.desired == [
        Desired(Ref(NAMESPACE, "", "risk-a"), "nodes", annotations={"securetenant.dev/nodes": written})
    ]


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_selected_nodes_get_label_and_taint(effect: str) -> None:
    owner = tenant("risk", nodes={"selector": {"matchLabels": POOL}, "effect": effect})
    plan = look(owner, node("n2"), node("n1"), node("other", pool="web"))
    assert plan.desired == [
        Desired(
            Ref(NODE, "", name),
            "nodes",
            body={"taint": {"key": "securetenant.dev/tenant", "value": "risk", "effect": effect}},
            labels={"securetenant.node-restriction.kubernetes.io/tenant": "risk"},
        )
        for name in ("n1", "n2")
    ]
    assert plan.status["nodes"] == []
    assert told(plan)[:2] == ("False", "NotDedicated")
    assert not plan.blocking


def test_nodes_in_order() -> None:
    stranger = taint(key="gpu", value="yes")
    plan = look(
        dedicated(),
        node("n1", stranger, taint(), of="risk"),
        node("n2", taint(timeAdded="2026-01-01T00:00:00Z"), of="risk"),
    )
    assert plan.status["nodes"] == ["n1", "n2"]
    assert told(plan) == ("True", "Dedicated", "2 nodes dedicated")
    assert len(plan.desired) == 2


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(node("n1", taint()), id="label gone"),
        pytest.param(node("n1", of="risk"), id="taint gone"),
        pytest.param(node("n1", taint(), of="web"), id="label of another"),
        pytest.param(node("n1", taint("web"), of="risk"), id="taint of another"),
        pytest.param(node("n1", taint(effect="PreferNoSchedule"), of="risk"), id="weaker effect"),
        pytest.param(node("n1", taint(), taint("web", "NoExecute"), of="risk"), id="a second taint of our key"),
    ],
)
def test_what_is_not_in_order_is_desired_all_the_same(broken: Observed) -> None:
    plan = look(dedicated(), broken, node("n2", taint(), of="risk"))
    assert plan.status["nodes"] == ["n2"]
    assert [d.ref.name for d in plan.desired] == ["n1", "n2"]
    assert told(plan) == ("False", "NotDedicated", "Label or taint is missing or wrong on n1.")


def test_no_node_says_what_to_do() -> None:
    plan = look(dedicated(), node("n1", pool="web"))
    status, reason, message = told(plan)
    assert (status, reason) == ("False", "NoNodes")
    assert message == "No node has the labels pool=risk: label the nodes to dedicate, or correct spec.nodes.selector."
    assert plan.blocking == [message]


def test_a_node_that_is_being_deleted_is_left_alone() -> None:
    plan = look(dedicated(), node("n1", deleting=True), node("n2", taint(), of="risk"))
    assert [d.ref.name for d in plan.desired] == ["n2"]
    assert told(plan)[1] == "Dedicated"
    assert given_back(tenant("risk"), node("n1", taint(), of="risk", deleting=True)) == []


@pytest.mark.parametrize("deleting", [False, True])
def test_a_node_that_two_tenants_select_is_the_older_ones(deleting: bool) -> None:
    older = dedicated("web", created="2020-01-01T00:00:00Z", deleting=deleting)
    younger = tenant("risk", nodes={"selector": {"matchLabels": {**POOL}}})
    items: list[Observed | SecureTenant] = [older, younger, node("n1")]
    lost = nodes.plan(younger, world(*items), NOW)
    assert lost.desired == []
    assert told(lost)[:2] == ("False", "Conflict")
    assert "n1 (SecureTenant web)" in lost.blocking[0]
    assert [d.ref.name for d in nodes.plan(older, world(*items), NOW).desired] == ["n1"]


def test_a_conflict_about_some_nodes_leaves_the_others() -> None:
    older = tenant("web", created="2020-01-01T00:00:00Z", nodes={"selector": {"matchLabels": {"zone": "a"}}})
    shared = observed("Node", "n1", labels={**POOL, "zone": "a"}, spec={})
    plan = look(dedicated(), older, shared, node("n2", taint(), of="risk"))
    assert [d.ref.name for d in plan.desired] == ["n2"]
    assert plan.status["nodes"] == ["n2"]
    assert told(plan)[2].startswith("Of 2 nodes that spec.nodes.selector matches, 1 belong to an older tenant")


def test_many_names_are_cut_short() -> None:
    plan = look(dedicated(), *(node(f"n{i}") for i in range(9)))
    assert told(plan)[2] == "Label or taint is missing or wrong on n0, n1, n2, n3, n4 and 4 more."


# --- given back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param(node("n1", taint(), of="risk", pool="web"), ["n1"], id="no longer selected"),
        pytest.param(node("n1", of="risk", pool="web"), ["n1"], id="label alone"),
        pytest.param(node("n1", taint(), pool="web"), ["n1"], id="taint alone"),
        pytest.param(node("n1", taint(), of="risk"), [], id="selected"),
        pytest.param(node("n1", taint("web"), of="web", pool="web"), [], id="another tenant's"),
        pytest.param(node("n1", taint(key="dedicated"), pool="web"), [], id="a taint that is not ours"),
    ],
)
def test_what_is_given_back(left: Observed, expected: list[str]) -> None:
    assert given_back(dedicated(), left) == expected


def test_all_is_given_back_when_the_section_goes() -> None:
    left = [node("n1", taint(), of="risk"), node("n2", taint(), of="risk")]
    assert given_back(tenant("risk"), *left) == ["n1", "n2"]


def test_all_is_given_back_when_the_tenant_goes() -> None:
    assert given_back(dedicated(deleting=True), node("n1", taint(), of="risk")) == ["n1"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [pytest.param("Enforce", [], id="another writes its own"), pytest.param("Audit", ["n1"], id="another only looks")],
)
def test_between_two_tenants_a_node_stays_closed(mode: str, expected: list[str]) -> None:
    other = dedicated("web", mode=mode)
    assert given_back(tenant("risk"), other, node("n1", taint(), of="risk")) == expected


def test_a_plan_is_cheap() -> None:
    owner = dedicated()
    made = world(owner, *(node(f"n{i}", taint(), of="risk") for i in range(3)))
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        nodes.plan(owner, made, NOW)
        best = min(best, time.perf_counter() - start)
    print(f"{best * 1e6:.0f} µs")
    assert best < 2e-3
