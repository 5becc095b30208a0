"""NetworkPolicies of a tenant: the fixed ones, the whitelist's, and those of others.

What all tenants' policies together open is test_reachability.py's.
"""

from datetime import timedelta
from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import control as network
from securetenant.model.platform import Platform
from tests.support.network import admits, at, banking, payments, plan, reaches, specs, whitelist, within, world
from tests.support.world import NOW, StaticWorld, mine, namespace

LATER = NOW + timedelta(days=30)
EARLIER = NOW - timedelta(days=1)


class TestFixed:
    def test_the_closing_policy_comes_first_and_alone_is_closing(self) -> None:
        found = plan(payments(namespaces=("a", "b")))
        assert [(d.ref.namespace, d.ref.name, d.closing) for d in found.desired] == [
            (namespace, name, name == "securetenant-default-deny")
            for namespace in ("a", "b")
            for name in ("securetenant-default-deny", "securetenant-dns", "securetenant-isolation")
        ]
        assert specs(found, "a")["securetenant-default-deny"] == {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
        }

    def test_dns_by_pods_and_addresses(self) -> None:
        platform = Platform(dns_pod_labels=(("k8s-app", "coredns"),), dns_cidrs=("169.254.20.10/32",), dns_port=5353)
        tenant_ = payments()
        found = network.CONTROL.plan(tenant_, world(tenant_, platform=platform), NOW)
        assert specs(found, "payments-prod")["securetenant-dns"] == {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [
                        {
                            "namespaceSelector": at("kube-system"),
                            "podSelector": {"matchLabels": {"k8s-app": "coredns"}},
                        },
                        {"ipBlock": {"cidr": "169.254.20.10/32"}},
                    ],
                    "ports": [{"protocol": "TCP", "port": 5353}, {"protocol": "UDP", "port": 5353}],
                }
            ],
        }

    def test_no_dns(self) -> None:
        assert "securetenant-dns" not in specs(plan(payments(dns=False)), "payments-prod")

    @pytest.mark.parametrize(
        ("isolation", "namespaces", "peer"),
        [
            pytest.param("Namespace", ("b", "a"), {"podSelector": {}}, id="each alone"),
            pytest.param("Tenant", ("b", "a"), {"namespaceSelector": within("a", "b")}, id="together"),
            pytest.param("Tenant", ("a",), {"podSelector": {}}, id="together with itself"),
        ],
    )
    def test_isolation(self, isolation: str, namespaces: tuple[str, ...], peer: dict[str, Any]) -> None:
        found = plan(payments(namespaces=namespaces, isolation=isolation))
        for name in namespaces:
            assert specs(found, name)["securetenant-isolation"] == {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [peer]}],
                "egress": [{"to": [peer]}],
            }

    def test_isolation_does_not_reach_into_a_namespace_that_another_holds(self) -> None:
        tenant_ = payments(namespaces=("a", "taken"), isolation="Tenant")
        here = StaticWorld([tenant_], [*mine(tenant_, "a"), namespace("taken")])
        found = network.CONTROL.plan(tenant_, here, NOW)
        assert {d.ref.namespace for d in found.desired} == {"a"}
        assert specs(found, "a")["securetenant-isolation"]["ingress"] == [{"from": [{"podSelector": {}}]}]


class TestWhitelist:
    def test_both_sides_are_rendered_as_one_intersection(self) -> None:
        gateway, ledger = {"matchLabels": {"app": "gateway"}}, {"matchLabels": {"app": "ledger"}}
        here = payments(
            ingress=[
                admits(
                    to={"pods": gateway},
                    **{"from": [{"tenant": "core-banking", "namespaces": ["ledger-prod"], "pods": ledger}]},
                    ports=[{"port": 8000, "endPort": 9000}],
                )
            ]
        )
        there = banking(
            namespaces=("ledger-prod", "ledger-test"),
            egress=[
                reaches(ports=[{"port": 8443}, {"protocol": "UDP", "port": 8443}, {"port": 9000, "endPort": 9100}])
            ],
        )
        ports = [{"protocol": "TCP", "port": 8443}, {"protocol": "TCP", "port": 9000}]
        assert specs(plan(here, there), "payments-prod")["securetenant-ingress-from-ledger"] == {
            "podSelector": gateway,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"namespaceSelector": at("ledger-prod"), "podSelector": ledger}], "ports": ports},
            ],
        }
        mirrored = specs(plan(there, here), "ledger-prod")
        (name,) = (name for name in mirrored if name.startswith("securetenant-egress-to-payments."))
        assert mirrored[name] == {
            "podSelector": ledger,
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"namespaceSelector": at("payments-prod"), "podSelector": gateway}], "ports": ports},
            ],
        }
        assert not any("to-payments" in name for name in specs(plan(there, here), "ledger-test"))

    def test_platform_and_cidr_peers_need_no_counterpart(self) -> None:
        here = payments(
            ingress=[
                {
                    "name": "edge",
                    "from": [
                        {"cidr": "10.8.0.0/16", "except": ["10.8.9.0/24", "10.8.10.0/24"]},
                        {"cidr": "2001:db8::/32"},
                        {"namespace": "ingress-nginx", "pods": {"matchLabels": {"app": "controller"}}},
                        {"namespace": "monitoring"},
                        {"namespace": "logging"},
                    ],
                }
            ]
        )
        there = tuple(namespace(name) for name in ("ingress-nginx", "monitoring", "logging"))
        found = plan(here, objects=there)
        assert specs(found, "payments-prod")["securetenant-ingress-edge"]["ingress"] == [
            {
                "from": [
                    {
                        "namespaceSelector": at("ingress-nginx"),
                        "podSelector": {"matchLabels": {"app": "controller"}},
                    },
                    {"namespaceSelector": within("logging", "monitoring")},
                    {"ipBlock": {"cidr": "10.8.0.0/16", "except": ["10.8.10.0/24", "10.8.9.0/24"]}},
                    {"ipBlock": {"cidr": "2001:db8::/32"}},
                ]
            }
        ]
        assert (whitelist(found).declared, whitelist(found).agreed) == (5, 5)

    def test_what_the_peer_writes_first_makes_no_difference(self) -> None:
        rules = [reaches(ports=[{"port": port}], name=f"to-{port}") for port in (1, 2, 4)]
        here = payments(ingress=[admits()])
        assert plan(here, banking(egress=rules)).desired == plan(here, banking(egress=rules[::-1])).desired

    def test_a_selection_that_differs_from_the_rules_own_gets_a_name_of_its_own(self) -> None:
        here = payments(ingress=[admits()])
        there = banking(
            egress=[
                reaches(),
                {"name": "narrow", "to": [{"tenant": "payments", "pods": {"matchLabels": {"app": "a"}}}]},
            ]
        )
        found = specs(plan(here, there), "payments-prod")
        assert found["securetenant-ingress-from-ledger"]["podSelector"] == {}
        assert found["securetenant-ingress-from-ledger.42c6098a050e0fab"]["podSelector"] == {
            "matchLabels": {"app": "a"}
        }

    def test_a_tenants_own_other_namespace_needs_both_rules_too(self) -> None:
        admitting = {"name": "in", "to": {"namespaces": ["a"]}, "from": [{"tenant": "payments", "namespaces": ["b"]}]}
        reaching = {"name": "out", "from": {"namespaces": ["b"]}, "to": [{"tenant": "payments", "namespaces": ["a"]}]}
        alone = plan(payments(namespaces=("a", "b"), ingress=[admitting]))
        agreed = plan(payments(namespaces=("a", "b"), ingress=[admitting], egress=[reaching]))
        assert whitelist(alone).pending[0].reason == (
            "this tenant itself declares no egress to a on all ports: add one"
        )
        assert specs(agreed, "a")["securetenant-ingress-in"]["ingress"] == [{"from": [{"namespaceSelector": at("b")}]}]
        assert specs(agreed, "b")["securetenant-egress-out"]["egress"] == [{"to": [{"namespaceSelector": at("a")}]}]


PENDING = [
    pytest.param(
        [],
        "there is no tenant core-banking: create it, or remove the peer",
        id="nobody",
    ),
    pytest.param(
        [banking(deleting=True, egress=[reaches()])],
        "tenant core-banking is being deleted: remove the peer",
        id="being deleted",
    ),
    pytest.param(
        [banking(namespaces=())],
        "tenant core-banking does not hold any namespace: correct the peer, or see that tenant's conditions",
        id="holds nothing",
    ),
    pytest.param(
        [banking()],
        "core-banking declares no egress to payments-prod on TCP 8443: ask its owner to add one",
        id="nothing declared",
    ),
    pytest.param(
        [banking(egress=[reaches(ports=[{"port": 9000}])])],
        "core-banking declares no egress to payments-prod on TCP 8443 (its rule to-payments names other ports): "
        "ask its owner to add one",
        id="other ports",
    ),
    pytest.param(
        [banking(egress=[reaches(to=[{"tenant": "payments", "pods": {"matchLabels": {"app": "x"}}}])])],
        "core-banking declares no egress to payments-prod on TCP 8443 (its rule to-payments names other pods): "
        "ask its owner to add one",
        id="other pods",
    ),
    pytest.param(
        [banking(egress=[reaches(expires=NOW)])],
        "core-banking declares egress to payments-prod on TCP 8443 in rule to-payments, which expired: "
        "ask its owner to renew it",
        id="expired there",
    ),
]


class TestStatus:
    @pytest.mark.parametrize(("others", "reason"), PENDING)
    def test_what_is_pending_says_what_to_do(self, others: list[SecureTenant], reason: str) -> None:
        here = payments(ingress=[admits(to={"pods": {"matchLabels": {"app": "gateway"}}}, ports=[{"port": 8443}])])
        found = plan(here, *others)
        assert (whitelist(found).declared, whitelist(found).agreed, whitelist(found).pending_count) == (1, 0, 1)
        (flow,) = whitelist(found).pending
        assert (flow.direction, flow.rule, flow.peer) == ("ingress", "from-ledger", "tenant/core-banking")
        assert flow.reason == reason
        (condition,) = found.conditions
        assert (condition.type, condition.status, condition.reason) == ("WhitelistAgreed", "False", "Pending")
        assert reason in condition.message
        assert not found.blocking
        assert not any("from-ledger" in d.ref.name for d in found.desired)

    @pytest.mark.parametrize("name", ["ingress-ngnix", "kube-sytem"])
    def test_a_platform_namespace_that_does_not_exist(self, name: str) -> None:
        here = payments(ingress=[admits(**{"from": [{"namespace": name}, {"namespace": "ingress-nginx"}]})])
        found = plan(here, objects=(namespace("ingress-nginx"),))
        assert specs(found, "payments-prod")["securetenant-ingress-from-ledger"]["ingress"] == [
            {"from": [{"namespaceSelector": at("ingress-nginx")}]}
        ]
        assert (whitelist(found).agreed, whitelist(found).pending_count) == (1, 1)
        (flow,) = whitelist(found).pending
        assert (flow.peer, flow.reason) == (
            f"namespace/{name}",
            f"there is no namespace {name}: create it, or correct the peer",
        )
        (condition,) = found.conditions
        assert (condition.status, condition.reason) == ("False", "Pending")
        assert not found.blocking
        assert plan(here, objects=(namespace("ingress-nginx"), namespace(name))).conditions[0].status == "True"

    def test_a_platform_namespace_that_became_a_tenants(self) -> None:
        found = plan(payments(ingress=[admits(**{"from": [{"namespace": "ledger-prod"}]})]), banking())
        assert whitelist(found).pending[0].peer == "namespace/ledger-prod"
        assert whitelist(found).pending[0].reason == (
            "namespace ledger-prod belongs to tenant core-banking; "
            "core-banking declares no egress to payments-prod on all ports: ask its owner to add one"
        )

    def test_a_namespace_that_a_tenant_declares_but_may_not_have_stays_closed(self) -> None:
        here, there = (
            payments(ingress=[admits(**{"from": [{"namespace": "ledger-prod"}]})]),
            banking(egress=[reaches()]),
        )
        limbo = StaticWorld([here, there], [*mine(here), namespace("ledger-prod")])
        found = network.CONTROL.plan(here, limbo, NOW)
        assert whitelist(found).pending[0].reason.startswith("namespace ledger-prod belongs to tenant core-banking;")
        assert "securetenant-ingress-from-ledger" not in specs(found, "payments-prod")

    def test_own_side_that_is_not_held(self) -> None:
        here = payments(ingress=[admits()])
        found = network.CONTROL.plan(
            here, StaticWorld([here, banking(egress=[reaches()])], [namespace("payments-prod")]), NOW
        )
        assert not found.desired
        assert whitelist(found).pending[0].reason.startswith("this tenant does not hold any namespace")

    def test_a_tenant_that_is_being_deleted_opens_no_flow_with_others(self) -> None:
        found = plan(banking(deleting=True, egress=[reaches()]), payments(ingress=[admits()]))
        assert whitelist(found).pending[0].reason.startswith("this tenant is being deleted")
        assert set(specs(found, "ledger-prod")) == {network.DENY, network.DNS, network.ISOLATION}

    def test_nothing_declared(self) -> None:
        (condition,) = plan(payments()).conditions
        assert (condition.status, condition.reason) == ("True", "NoRules")

    def test_lists_are_capped_and_counts_whole(self) -> None:
        rules = [admits(name=f"r{n}", **({"expires": EARLIER} if n % 2 else {})) for n in range(60)]
        found = whitelist(plan(payments(ingress=rules)))
        assert found is not None
        assert (found.declared, found.agreed, found.pending_count, found.expired_count) == (60, 0, 30, 30)
        assert (len(found.pending), len(found.expired)) == (20, 20)

    def test_expired_rules_are_told_and_not_rendered(self) -> None:
        found = plan(payments(ingress=[admits(expires=NOW)]), banking(egress=[reaches()]))
        assert (whitelist(found).expired_count, whitelist(found).pending_count) == (1, 0)
        assert whitelist(found).expired[0].reason == "expired at 2026-11-01T12:00:00Z"
        assert found.wake_at is None
        assert not any("from-ledger" in d.ref.name for d in found.desired)


class TestWaking:
    def test_at_the_first_expiry_of_its_own_or_of_what_it_rests_on(self) -> None:
        sooner = LATER - timedelta(days=2)
        here = payments(ingress=[admits(expires=LATER)])
        assert plan(here).wake_at == LATER
        assert plan(here, banking(egress=[reaches(expires=sooner)])).wake_at == sooner
        assert plan(here, banking(egress=[reaches(expires=sooner, ports=[{"port": 1}])])).wake_at == sooner
        found = plan(payments(ingress=[admits()]), banking(egress=[reaches(expires=sooner)]))
        assert whitelist(found).next_expiry == sooner

    def test_not_at_an_expiry_that_changes_nothing(self) -> None:
        pods = {"to": [{"tenant": "payments", "namespaces": ["elsewhere"]}]}
        assert plan(payments(ingress=[admits()]), banking(egress=[reaches(expires=LATER, **pods)])).wake_at is None

    def test_and_then_the_flow_is_closed(self) -> None:
        here, there = payments(ingress=[admits()]), banking(egress=[reaches(expires=LATER)])
        both = world(here, there)
        names = [
            {d.ref.name for d in network.CONTROL.plan(here, both, now).desired}
            for now in (LATER - timedelta(microseconds=1), LATER)
        ]
        assert names[0] - names[1] == {"securetenant-ingress-from-ledger"}
