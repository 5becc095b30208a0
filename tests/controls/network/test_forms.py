"""How peers in the cluster are written: by selector, by the subnets of their namespaces, or both."""

from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.network import control as network
from securetenant.controls.network import forms
from securetenant.controls.subnets import reach
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, Kind
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from tests.support.network import admits, at, block, reaches, specs, whitelist, within
from tests.support.world import NOW, StaticWorld, mine, namespace, observed, tenant

ALL: tuple[Kind, ...] = (KUBE_OVN_SUBNET, CALICO_IP_POOL, CILIUM_POD_IP_POOL)
SWITCH = "ovn.kubernetes.io/logical_switch"


def given(**subnets: str) -> dict[str, Any]:
    """A status in which these namespaces were given subnets (a_b for a-b)."""
    return {
        "subnets": [
            {"namespace": name.replace("_", "-"), "cidrs": cidrs.split(), "provider": "KubeOVN"}
            for name, cidrs in subnets.items()
        ]
    }


def payments(by: str, *namespaces: str, status: Any = None, provider: str = "Auto", **network_: Any) -> SecureTenant:
    return tenant(
        "payments",
        namespaces=list(namespaces or ("payments-prod",)),
        network={"peersBy": by, "ingress": [admits()], **network_},
        subnets={"provider": provider},
        status=status or {},
    )


def banking(status: Any = None, *namespaces: str, **rule: Any) -> SecureTenant:
    names = list(namespaces or ("ledger-prod", "ledger-test"))
    return tenant("core-banking", namespaces=names, network={"egress": [reaches(**rule)]}, status=status or {})


def world(
    *tenants: SecureTenant, served: Kind | None = KUBE_OVN_SUBNET, more: tuple[Observed, ...] = ()
) -> StaticWorld:
    objects = [*(one for each in tenants for one in mine(each)), *more]
    return StaticWorld(tenants, objects, absent=[kind for kind in ALL if kind is not served])


def plan(first: SecureTenant, *others: SecureTenant, **more: Any) -> Plan:
    return network.CONTROL.plan(first, world(first, *others, **more), NOW)


def peers(found: Plan, rule: str = "from-ledger", at_: str = "payments-prod") -> list[Any]:
    spec = specs(found, at_).get(f"securetenant-ingress-{rule}")
    return [peer for entry in spec["ingress"] for peer in entry["from"]] if spec else []


def narrowed(found: Plan) -> tuple[str, str]:
    return next(((one.reason, one.message) for one in found.conditions if one.type == "WhitelistNarrowed"), ("", ""))


BOTH_GIVEN = given(ledger_prod="10.60.1.0/24 fd00:60:1::/64", ledger_test="10.60.2.0/24")
BLOCKS = [block("10.60.1.0/24"), block("10.60.2.0/24"), block("fd00:60:1::/64")]
SELECTED = {"namespaceSelector": within("ledger-prod", "ledger-test")}


@pytest.mark.parametrize(
    ("by", "written"), [("Selector", [SELECTED]), ("Subnet", BLOCKS), ("Both", [SELECTED, *BLOCKS])]
)
def test_whole_namespaces(by: str, written: list[Any]) -> None:
    found = plan(payments(by), banking(BOTH_GIVEN))
    assert peers(found) == written
    assert whitelist(found).agreed == 1
    assert narrowed(found) == ("", "")


APP = {"pods": {"matchLabels": {"app": "ledger"}}}


@pytest.mark.parametrize("side", ["mine", "theirs"])
@pytest.mark.parametrize("by", ["Subnet", "Both"])
def test_some_pods_are_never_written_as_a_subnet(by: str, side: str) -> None:
    """Whichever of the two names the labels: the subnet has the namespace's other pods as well."""
    rule = admits(**{"from": [{"tenant": "core-banking", **APP}]}) if side == "mine" else admits()
    theirs = banking(BOTH_GIVEN, **({"from": APP} if side == "theirs" else {}))
    found = plan(payments(by, ingress=[rule]), theirs)
    if by == "Both":
        assert peers(found) == [{**SELECTED, "podSelector": APP["pods"]}]
        return
    assert peers(found) == []
    (pending,) = whitelist(found).pending
    assert pending.reason.startswith("a subnet cannot stand for some of its pods")
    assert not found.blocking


def test_a_namespace_without_a_subnet_stays_closed_and_is_named() -> None:
    found = plan(payments("Subnet"), banking(given(ledger_prod="10.60.1.0/24")))
    assert peers(found) == [block("10.60.1.0/24")]
    said = "ledger-test of tenant core-banking has no subnet: give it one, or set network.peersBy: Selector"
    assert narrowed(found) == ("NoSubnet", f"ingress from-ledger (tenant/core-banking): {said}")
    found = plan(payments("Subnet"), banking(None, "ledger-test"))
    assert peers(found) == []
    assert whitelist(found).pending[0].reason == said
    found = plan(payments("Both"), banking(given(ledger_prod="10.60.1.0/24")))
    assert peers(found) == [SELECTED, block("10.60.1.0/24")]


def test_a_subnet_that_others_share_stands_for_nobody() -> None:
    shared = observed(KUBE_OVN_SUBNET, "other", spec={"cidrBlock": "10.60.1.128/25"})
    found = plan(payments("Subnet"), banking(given(ledger_prod="10.60.1.0/24"), "ledger-prod"), more=(shared,))
    assert peers(found) == []
    assert "overlaps 10.60.1.128/25, Subnet/other" in whitelist(found).pending[0].reason


EDGE = {"name": "edge", "from": [{"namespace": "ingress-nginx"}]}


@pytest.mark.parametrize(
    ("spec", "switch", "written"),
    [
        pytest.param({"namespaces": ["ingress-nginx"]}, "edge", [block("10.70.0.0/24")], id="its own"),
        pytest.param({"namespaces": ["ingress-nginx", "monitoring"]}, "edge", [], id="shared"),
        pytest.param({"default": True, "namespaces": ["ingress-nginx"]}, "edge", [], id="everybody's"),
        pytest.param({"namespaces": ["ingress-nginx"], "namespaceSelectors": [{}]}, "edge", [], id="selected"),
        pytest.param({"namespaces": ["ingress-nginx"]}, "edge,other", [], id="one of two"),
        pytest.param({"namespaces": ["ingress-nginx"]}, "nosuch", [], id="there is none"),
    ],
)
def test_a_platform_namespace_with_a_subnet_of_its_own(spec: Any, switch: str, written: list[Any]) -> None:
    subnet = observed(KUBE_OVN_SUBNET, "edge", spec={"cidrBlock": "10.70.0.0/24", **spec})
    place = namespace("ingress-nginx", annotations={SWITCH: switch})
    found = plan(payments("Subnet", ingress=[EDGE]), more=(subnet, place))
    assert peers(found, "edge") == written
    if not written:
        assert "ingress-nginx has no subnet that it shares with nobody" in whitelist(found).pending[0].reason


@pytest.mark.parametrize(
    ("cidr", "written"),
    [
        ("10.60.7.0/24", []),
        ("10.60.0.0/16", []),
        ("0.0.0.0/0", []),
        ("10.70.0.0/24,10.60.7.128/25", []),
        ("10.60.8.0/24", [block("10.60.8.0/24")]),
    ],
)
def test_a_subnet_of_a_platform_namespace_gives_nobody_elses_addresses(cidr: str, written: list[Any]) -> None:
    """Kube-OVN accepts a Subnet that overlaps another, and whoever may write one could open any addresses."""
    edge = observed(KUBE_OVN_SUBNET, "edge", spec={"cidrBlock": cidr, "namespaces": ["ingress-nginx"]})
    place = namespace("ingress-nginx", annotations={SWITCH: "edge"})
    other = tenant("risk", namespaces=["risk-prod"], status=given(risk_prod="10.60.7.0/24"))
    found = plan(payments("Subnet", ingress=[EDGE]), other, more=(edge, place))
    assert peers(found, "edge") == written
    assert ("overlaps 10.60.7.0/24, the subnet of risk-prod, tenant risk" in told_of(found)) == (not written)


def told_of(found: Plan) -> str:
    return " ".join(one.reason for one in whitelist(found).pending)


@pytest.mark.parametrize(
    ("provider", "served", "says"),
    [
        pytest.param("Auto", CILIUM_POD_IP_POOL, forms.CILIUM, id="Cilium is installed"),
        pytest.param("None", CILIUM_POD_IP_POOL, forms.CILIUM, id="and not declared"),
        pytest.param("Calico", KUBE_OVN_SUBNET, "needs to know the network plug-in", id="what is declared is not"),
    ],
)
def test_where_a_plug_in_does_not_match_pods_by_address_it_is_refused(provider: str, served: Kind, says: str) -> None:
    stand = {"served": served}
    of = payments("Subnet", "payments-prod", "payments-test", provider=provider, isolation="Tenant")
    found = plan(of, banking(BOTH_GIVEN), **stand)
    assert peers(found) == []
    assert says in whitelist(found).pending[0].reason
    assert [says in message for message in found.blocking] == [True]
    assert specs(found, "payments-prod")["securetenant-isolation"]["egress"] == [{"to": [{"podSelector": {}}]}]
    assert "securetenant-dns" in specs(found, "payments-prod")
    assert plan(payments("Both", provider=provider), banking(BOTH_GIVEN), **stand).blocking == []


@pytest.mark.parametrize("served", [None, CALICO_IP_POOL])
def test_elsewhere_it_is_not(served: Kind | None) -> None:
    assert peers(plan(payments("Subnet"), banking(BOTH_GIVEN), served=served)) == BLOCKS


@pytest.mark.parametrize(
    ("by", "written"),
    [
        ("Selector", [{"namespaceSelector": within("a", "b", "c")}]),
        ("Subnet", [{"podSelector": {}}, block("10.60.0.0/24"), block("10.60.1.0/24")]),
        ("Both", [{"namespaceSelector": within("a", "b", "c")}, block("10.60.0.0/24"), block("10.60.1.0/24")]),
    ],
)
def test_isolation_follows_and_dns_does_not(by: str, written: list[Any]) -> None:
    of = payments(by, "a", "b", "c", status=given(a="10.60.0.0/24", b="10.60.1.0/24"), isolation="Tenant", ingress=[])
    found = plan(of)
    for name in ("a", "c"):
        isolation = specs(found, name)["securetenant-isolation"]
        assert isolation["ingress"] == [{"from": written}]
        assert isolation["egress"] == [{"to": written}]
        (rule,) = specs(found, name)["securetenant-dns"]["egress"]
        assert rule["to"] == [
            {"namespaceSelector": at("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
        ]
    assert ("c of tenant payments has no subnet" in narrowed(found)[1]) == (by == "Subnet")


def test_each_side_writes_its_own_way_and_both_stand_in_the_subnet() -> None:
    mine_, theirs = payments("Subnet", status=given(payments_prod="10.60.9.0/24")), banking(BOTH_GIVEN)
    stand = world(mine_, theirs)
    found = network.CONTROL.plan(theirs, stand, NOW)
    (rule,) = specs(found, "ledger-prod")["securetenant-egress-to-payments"]["egress"]
    assert rule["to"] == [{"namespaceSelector": at("payments-prod")}]
    for one, name, others in (
        (mine_, "payments-prod", ["10.60.1.0/24", "10.60.2.0/24", "fd00:60:1::/64"]),
        (theirs, "ledger-prod", ["10.60.9.0/24"]),
    ):
        held = [entry.name for entry in one.spec.namespaces]
        assert list(map(str, reach.reaches(one, held, stand, NOW)[name].allowed)) == others


def test_what_stays_closed_is_not_in_the_subnet_either() -> None:
    """As blocks of addresses are carved there too."""
    away = {"name": "out", "to": [{"cidr": "10.60.0.0/22"}]}
    of = payments("Subnet", egress=[away])
    pool = observed("SubnetPool", "prod", spec={"cidrs": ["10.60.0.0/23"]})
    slice_ = observed(
        *("EndpointSlice", "kubernetes", "default"),
        labels={"kubernetes.io/service-name": "kubernetes"},
        addressType="IPv4",
        endpoints=[{"addresses": ["192.0.2.1"]}],
        ports=[{"protocol": "TCP", "port": 6443}],
    )
    stand = world(of, banking(), more=(pool, slice_))
    assert list(map(str, reach.reaches(of, ["payments-prod"], stand, NOW)["payments-prod"].allowed)) == ["10.60.2.0/23"]


def test_without_a_cluster_by_selector() -> None:
    first, other = payments("Subnet"), banking(BOTH_GIVEN)
    stand = StaticWorld([first, other], [*mine(first), *mine(other)], Platform(offline=True))
    found = network.CONTROL.plan(first, stand, NOW)
    assert peers(found) == [SELECTED]
    assert narrowed(found) == ("NoCluster", "peers are rendered by selector: their subnets are the cluster's")
