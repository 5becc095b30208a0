"""Which flows a plan says that its changes open and close."""

import time
from typing import Any, Final

from securetenant.api.tenant import SecureTenant
from securetenant.cli.plan_flows import Flows, peers, planned
from securetenant.drift.assess import assess
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.names import ANNOTATION_CREATION
from securetenant.model.objects import Desired
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant, value

OUT: Final = {"name": "out", "to": [{"tenant": "core"}], "ports": [{"port": 80}]}
IN: Final = {"name": "in", "from": [{"tenant": "pay"}], "ports": [{"port": 80}]}
WEB: Final = {"name": "web", "from": [{"namespace": "web", "pods": {"matchLabels": {"app": "x"}}}]}


def settled(world: StaticWorld, *tenants: SecureTenant) -> None:
    """All of theirs stands as planned."""
    world.put(*(have for one in tenants for have in mine(one)))
    for one in tenants:
        world.put(*(observe(want, one, **_created(want)) for want in assess(one, world, NOW).desired))


def _created(want: Desired) -> dict[str, Any]:
    return {"annotations": {ANNOTATION_CREATION: value(want.ref.name)}} if want.ref.kind is NAMESPACE else {}


def shown(world: StaticWorld, *tenants: SecureTenant) -> dict[str, tuple[list[str], list[str]]]:
    """By tenant, what opens and what closes."""
    found = planned([assess(one, world, NOW) for one in tenants], world)
    return {name: (list(map(str, flows.opened)), list(map(str, flows.closed))) for name, flows in found.items()}


def test_an_agreement_opens_one_flow_and_its_end_closes_it() -> None:
    pay, core = tenant("pay", namespaces=["pay-a"]), tenant("core", namespaces=["core-a"])
    world = StaticWorld([pay, core])
    settled(world, pay, core)
    assert shown(world, pay, core) == {}
    edited = [tenant("pay", namespaces=["pay-a"], network={"egress": [OUT]})]
    world.put(*edited)
    assert shown(world, *edited, core) == {}  # one side alone
    edited.append(tenant("core", namespaces=["core-a"], network={"ingress": [IN]}))
    world.put(*edited)
    flow = ["pay-a -> core-a on TCP 80"]
    assert shown(world, *edited) == {"pay": (flow, []), "core": (flow, [])}
    settled(world, *edited)
    world.put(pay, core)
    assert shown(world, pay, core) == {"pay": ([], flow), "core": ([], flow)}


def test_the_other_tenant_is_planned_too_where_one_is_shown() -> None:
    pay = tenant("pay", namespaces=["pay-a"], network={"egress": [OUT]})
    core = tenant("core", namespaces=["core-a"], network={"ingress": [IN]})
    other = tenant("other", namespaces=["other-a"])
    world = StaticWorld([pay, core, other])
    assert [one.name for one in peers(pay, world)] == ["core"]
    assert [one.name for one in peers(core, world)] == ["pay"]
    assert peers(other, world) == []


def test_what_stands_open_is_closed_by_its_adoption() -> None:
    pay = tenant("pay", namespaces=[{"name": "pay-a", "adopt": True}], network={"dns": False, "ingress": [WEB]})
    world = StaticWorld([pay], [namespace("pay-a"), namespace("web")])
    opened, closed = shown(world, pay)["pay"]
    assert opened == []
    assert closed == [
        "outside of the cluster -> pay-a on all ports",
        "pay-a -> outside of the cluster on all ports",
        "pay-a -> web on all ports",
        "app not (x) of web -> pay-a on all ports",
    ]


def test_only_what_is_written_counts() -> None:
    pay = tenant("pay", namespaces=["pay-a"], mode="Audit")
    world = StaticWorld([pay], [*mine(pay)])
    assert shown(world, pay) == {}
    pay = tenant("pay", namespaces=["pay-a"])
    world.put(pay)
    settled(world, pay)
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    world.put(observed(NETWORK_POLICY, "theirs", "pay-a", spec=spec))
    assert shown(world, pay) == {}
    pay = tenant("pay", namespaces=["pay-a"], network={"foreign": "Remove"})
    world.put(pay)
    assert shown(world, pay)["pay"][1] == ["outside of the cluster -> pay-a on all ports"]


def test_addresses_are_told_by_what_they_are_not_where_that_is_shorter() -> None:
    rule = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "ports": [{"port": 80}]}
    pay = tenant("pay", namespaces=["pay-a"], network={"foreign": "Remove", "ingress": [rule]})
    world = StaticWorld([pay])
    settled(world, pay)
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    world.put(observed(NETWORK_POLICY, "theirs", "pay-a", spec=spec))
    _, closed = shown(world, pay)["pay"]
    assert closed[0] == "outside of the cluster but 10.8.0.0/16 -> pay-a on all ports"
    assert closed[1].startswith("10.8.0.0/16 -> pay-a on ")


def test_a_label_of_a_namespace_may_open() -> None:
    """A policy elsewhere selects by it."""
    before = tenant("pay", namespaces=["pay-a"], network={"dns": False})
    rules: dict[str, Any] = {"egress": [{"to": [{"namespaceSelector": {"matchLabels": {"env": "prod"}}}]}]}
    world = StaticWorld([before], [namespace("web")])
    settled(world, before)
    world.put(observed(NETWORK_POLICY, "out", "web", spec={"podSelector": {}, "policyTypes": ["Egress"], **rules}))
    world.put(
        observed(
            NETWORK_POLICY, "theirs", "pay-a", spec={"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
        )
    )
    after = tenant("pay", namespaces=[{"name": "pay-a", "labels": {"env": "prod"}}], network={"dns": False})
    world.put(after)
    assert shown(world, after)["pay"] == (["web -> pay-a on all ports"], [])


def test_what_is_not_told_apart_is_told() -> None:
    """Of the tenants that it is about alone."""
    rules = [{"name": f"r{n}", "to": {"pods": {"matchLabels": {f"k{n}-{i}": "v" for i in range(9)}}}} for n in range(3)]
    tenants = [tenant("pay", namespaces=["pay-a"]), tenant("core", namespaces=["core-a"])]
    world = StaticWorld(tenants, [namespace("web")])
    settled(world, *tenants)
    network = {"ingress": [{**rule, "from": [{"namespace": "web"}]} for rule in rules]}
    edited = [
        tenant("pay", namespaces=["pay-a"], network=network),
        tenant("core", namespaces=["core-a"], network={"ingress": [WEB]}),
    ]
    world.put(*edited)
    found = planned([assess(one, world, NOW) for one in edited], world)
    why = "pay-a: its policies tell more than 512 kinds of pods apart: they are taken together"
    assert [found[one.name].unknown for one in edited] == [[why], []]


def test_many_tenants_are_planned_in_seconds() -> None:
    world = StaticWorld()
    made = [tenant(f"t{n}", namespaces=[f"t{n}-a", f"t{n}-b"], network={"ingress": [WEB]}) for n in range(300)]
    world.put(namespace("web"), *made)
    found = [assess(one, world, NOW) for one in made]
    start = time.perf_counter()
    flows = planned(found, world)
    assert len(flows) == 300
    assert isinstance(flows["t1"], Flows)
    assert time.perf_counter() - start < 10
