"""The API server's addresses: opened where the tenant may reach it, and closed where it may not."""

from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.model.objects import Observed
from tests.support.network import ALWAYS, READY, V6, block, endpoints, payments, plan, specs, to, whitelist
from tests.support.world import tenant

# The same API servers through NAT64.
BY_NAT64 = ("64:ff9b::c000:20a/128", "64:ff9b::c000:20c/128")


class TestApiServer:
    def test_ready_endpoints_after_translation(self) -> None:
        slices = (
            endpoints("kubernetes", "10.0.0.3", "10.0.0.2", down=["10.0.0.9"]),
            endpoints("other", "10.0.0.10", service="metrics"),
            endpoints("names", "api.example", addressType="FQDN"),
        )
        found = plan(payments(apiServer=True), objects=slices)
        assert specs(found, "payments-prod")["securetenant-api-server"] == {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [
                        {"ipBlock": {"cidr": "10.0.0.2/32"}},
                        {"ipBlock": {"cidr": "10.0.0.3/32"}},
                    ],
                    "ports": [{"protocol": "TCP", "port": 6443}],
                }
            ],
        }
        assert [(c.type, c.status) for c in found.conditions] == [
            ("WhitelistAgreed", "True"),
            ("ApiServerOpen", "True"),
        ]

    def test_unknown_readiness_is_ready_and_ipv6_is_written_short(self) -> None:
        found = plan(payments(apiServer=True), objects=(endpoints("kubernetes", "2001:DB8:0::1", ready=None),))
        (entry,) = specs(found, "payments-prod")["securetenant-api-server"]["egress"]
        assert entry["to"] == [{"ipBlock": {"cidr": "2001:db8::1/128"}}]

    def test_a_second_slice_with_the_services_label_opens_nothing_and_is_named(self) -> None:
        forged = endpoints("kubernetes-x7b2k", "203.0.113.66", ports=[{"port": 4444, "protocol": "TCP"}])
        honest, both = (plan(payments(apiServer=True), objects=slices) for slices in ((READY,), (READY, forged)))
        assert both.desired == honest.desired
        (condition,) = (c for c in both.conditions if c.type == "ApiServerOpen")
        assert condition.status == "True"
        assert "kubernetes-x7b2k" in condition.message
        alone = plan(payments(apiServer=True), objects=(forged,))
        assert "securetenant-api-server" not in specs(alone, "payments-prod")
        assert len(alone.blocking) == 1

    @pytest.mark.parametrize(
        "slices",
        [
            pytest.param((), id="none"),
            pytest.param((endpoints("kubernetes", "10.0.0.2", ready=False),), id="not ready"),
            pytest.param((endpoints("kubernetes", "10.0.0.2", ports=[]),), id="without a port"),
            pytest.param((endpoints("kubernetes", "10.0.0.2", service="evil"),), id="of another service"),
        ],
    )
    def test_unknown_endpoints_keep_it_closed_and_say_so(self, slices: tuple[Observed, ...]) -> None:
        found = plan(payments(apiServer=True), objects=slices)
        assert "securetenant-api-server" not in specs(found, "payments-prod")
        (condition,) = (c for c in found.conditions if c.type == "ApiServerOpen")
        assert (condition.status, condition.reason) == ("False", "NoEndpoints")
        assert found.blocking == [condition.message]

    def test_not_asked_for(self) -> None:
        found = plan(payments(), objects=(endpoints("kubernetes", "10.0.0.2"),))
        assert "securetenant-api-server" not in specs(found, "payments-prod")
        assert [c.type for c in found.conditions] == ["WhitelistAgreed"]


OURS = "its cidr contains only the API server's addresses: set network.apiServer: true, or remove the peer"


class TestClosedToTheApiServer:
    """Egress by addresses does not open the API server's, but with apiServer: true."""

    @pytest.mark.parametrize(
        ("peer", "slices", "rendered"),
        [
            pytest.param(
                {"cidr": "0.0.0.0/0"},
                (READY, V6),
                block("0.0.0.0/0", "192.0.2.10/32", "192.0.2.12/32"),
                id="all of IPv4, several endpoints",
            ),
            pytest.param({"cidr": "::/0"}, (READY, V6), block("::/0", "2001:db8::a/128", *BY_NAT64), id="all of IPv6"),
            pytest.param(
                {"cidr": "192.0.2.8/30", "except": ["192.0.2.8/32"]},
                (READY,),
                block("192.0.2.8/30", "192.0.2.10/32", "192.0.2.8/32"),
                id="one of two lies inside",
            ),
            pytest.param(
                {"cidr": "192.0.0.0/16", "except": ["192.0.2.8/30"]},
                (READY,),
                block("192.0.0.0/16", "192.0.2.12/32", "192.0.2.8/30"),
                id="one of two is excepted already, by a wider one",
            ),
            pytest.param(
                {"cidr": "192.0.0.0/16", "except": ["192.0.2.12/32", "192.0.2.10/32"]},
                (READY,),
                block("192.0.0.0/16", "192.0.2.10/32", "192.0.2.12/32"),
                id="both are excepted already, exactly",
            ),
            pytest.param({"cidr": "198.51.100.0/24"}, (READY, V6), block("198.51.100.0/24"), id="outside"),
            pytest.param({"cidr": "192.0.2.11/32"}, (READY,), block("192.0.2.11/32"), id="their neighbour alone"),
            pytest.param(
                {"cidr": "10.0.0.0/8"},
                (endpoints("kubernetes", "10.0.0.9", ready=False),),
                block("10.0.0.0/8", "10.0.0.9/32"),
                id="not ready",
            ),
            pytest.param(
                {"cidr": "10.0.0.0/8"},
                (endpoints("kubernetes", "10.0.0.9", ports=[]),),
                block("10.0.0.0/8", "10.0.0.9/32"),
                id="without a port",
            ),
            pytest.param(
                {"cidr": "10.0.0.0/8"},
                (
                    READY,
                    endpoints("other", "10.0.0.9", service="metrics"),
                    endpoints("names", "api.example", addressType="FQDN"),
                ),
                block("10.0.0.0/8"),
                id="of another service, or a name",
            ),
            pytest.param(
                {"cidr": "10.0.0.0/8"},
                (READY, endpoints("forged", "10.0.0.7", ready=False)),
                block("10.0.0.0/8", "10.0.0.7/32"),
                id="of a second slice",
            ),
        ],
    )
    def test_its_addresses_are_excepted(
        self, peer: dict[str, Any], slices: tuple[Observed, ...], rendered: dict[str, Any]
    ) -> None:
        found = plan(payments(egress=[to(peer)]), objects=slices)
        assert specs(found, "payments-prod")["securetenant-egress-out"]["egress"] == [{"to": [rendered]}]
        assert (whitelist(found).agreed, whitelist(found).pending_count) == (1, 0)

    def test_not_with_api_server(self) -> None:
        everything, itself = {"cidr": "0.0.0.0/0"}, {"cidr": "192.0.2.10/32"}
        found = plan(payments(apiServer=True, egress=[to(everything, itself)]), objects=(READY, V6))
        assert specs(found, "payments-prod")["securetenant-egress-out"]["egress"] == [
            {"to": [block("0.0.0.0/0"), block("192.0.2.10/32")]}
        ]

    def test_ingress_is_not_concerned(self) -> None:
        rule = {"name": "in", "from": [{"cidr": "0.0.0.0/0"}, {"cidr": "192.0.2.10/32"}]}
        found = plan(payments(ingress=[rule], egress=[to({"cidr": "0.0.0.0/0"})]), objects=(READY,))
        assert specs(found, "payments-prod")["securetenant-ingress-in"]["ingress"] == [
            {"from": [block("0.0.0.0/0"), block("192.0.2.10/32")]}
        ]

    @pytest.mark.parametrize(
        "peer",
        [
            pytest.param({"cidr": "192.0.2.10/32"}, id="the address"),
            pytest.param({"cidr": "2001:db8::a/128"}, id="the address of IPv6"),
            pytest.param({"cidr": "192.0.2.12/31", "except": ["192.0.2.13/32"]}, id="all else is excepted"),
            pytest.param({"cidr": "10.0.0.8/31"}, id="two of its addresses"),
        ],
    )
    def test_what_names_nothing_else_is_pending(self, peer: dict[str, Any]) -> None:
        down = endpoints("down", "10.0.0.8", "10.0.0.9", ready=False)
        found = plan(payments(egress=[to(peer)]), objects=(READY, V6, down))
        assert "securetenant-egress-out" not in specs(found, "payments-prod")
        assert [(p.direction, p.rule, p.peer, p.reason) for p in whitelist(found).pending] == [
            ("egress", "out", f"cidr/{peer['cidr']}", OURS)
        ]
        condition = found.conditions[0]
        assert (condition.type, condition.status, condition.reason) == ("WhitelistAgreed", "False", "Pending")
        assert not found.blocking

    def test_no_rule_opens_what_another_closes(self) -> None:
        rules = [to({"cidr": "0.0.0.0/0"}), to({"cidr": "192.0.2.0/24"}, {"cidr": "192.0.2.10/32"}, name="more")]
        found = specs(plan(payments(egress=rules), objects=(READY,)), "payments-prod")
        excepts = ("192.0.2.10/32", "192.0.2.12/32")
        assert found["securetenant-egress-out"]["egress"] == [{"to": [block("0.0.0.0/0", *excepts)]}]
        assert found["securetenant-egress-more"]["egress"] == [{"to": [block("192.0.2.0/24", *excepts)]}]

    def test_the_order_of_the_endpoints_makes_no_difference(self) -> None:
        here = payments(egress=[to({"cidr": "0.0.0.0/0"})])
        turned = endpoints("kubernetes", "192.0.2.10", "192.0.2.12")
        assert plan(here, objects=(READY,)).desired == plan(here, objects=(turned,)).desired


def knows(tenant_: SecureTenant, *addresses: str) -> SecureTenant:
    """The tenant after a pass in which these were the API server's addresses."""
    found = whitelist(plan(tenant_, objects=(endpoints("kubernetes", *addresses),) if addresses else ()))
    return tenant_.model_copy(update={"status": tenant_.status.model_copy(update={"whitelist": found})})


class TestUnknown:
    """Where no endpoint is known, what was closed stays closed."""

    EVERYWHERE = to({"cidr": "0.0.0.0/0"}, {"cidr": "198.51.100.0/24"})

    @pytest.mark.parametrize(
        "slices",
        [
            pytest.param((), id="none"),
            pytest.param((endpoints("kubernetes", "10.0.0.1", endpoints=[]),), id="empty"),
            pytest.param((endpoints("kubernetes", "10.0.0.1", service="other"),), id="of another service"),
        ],
    )
    def test_the_last_known_addresses_stay_left_out(self, slices: tuple[Observed, ...]) -> None:
        here = payments(egress=[self.EVERYWHERE])
        before = knows(here, "192.0.2.12", "192.0.2.10")
        found = plan(before, objects=slices)
        assert found.desired == plan(here, objects=(READY,)).desired
        assert whitelist(found) == before.status.whitelist
        condition = found.conditions[1]
        assert (condition.type, condition.status, condition.reason) == ("ApiServerKnown", "False", "LastKnown")
        assert "excludes the last known ones, 192.0.2.10, 192.0.2.12" in condition.message
        assert found.blocking == [condition.message]

    def test_a_forged_slice_does_not_stand_for_the_missing_one(self) -> None:
        decoy = endpoints("kubernetes-x7b2k", "203.0.113.66")
        here = payments(egress=[self.EVERYWHERE])
        found = plan(knows(here, "192.0.2.10"), objects=(decoy,))
        (entry,) = specs(found, "payments-prod")["securetenant-egress-out"]["egress"]
        assert entry["to"][0] == block("0.0.0.0/0", "192.0.2.10/32", "203.0.113.66/32")
        assert whitelist(found).api_server == ["192.0.2.10"]  # and does not get onto the record
        assert specs(plan(here, objects=(decoy,)), "payments-prod").keys() == ALWAYS

    @pytest.mark.parametrize("recorded", [[], ["no address"]])
    def test_never_known_closes_egress_to_addresses_alone(self, recorded: list[str]) -> None:
        here = tenant(
            "payments",
            namespaces=["payments-prod"],
            network={"egress": [self.EVERYWHERE], "ingress": [{"name": "in", "from": [{"cidr": "0.0.0.0/0"}]}]},
            status={"whitelist": {"apiServer": recorded}},
        )
        found = plan(here)
        assert specs(found, "payments-prod").keys() == {*ALWAYS, "securetenant-ingress-in"}
        assert (whitelist(found).agreed, whitelist(found).pending_count) == (1, 2)
        condition = found.conditions[1]
        assert (condition.type, condition.status, condition.reason) == ("ApiServerKnown", "False", "NoEndpoints")
        assert found.blocking == [condition.message]

    def test_what_is_edited_meanwhile_leaves_them_out_too(self) -> None:
        """A rule that is new, and one that had no exceptions as long as apiServer was true."""
        before = knows(payments(egress=[self.EVERYWHERE], apiServer=True), "192.0.2.10")
        edited = payments(egress=[self.EVERYWHERE, to({"cidr": "192.0.2.0/24"}, {"cidr": "192.0.2.10/32"}, name="new")])
        after = edited.model_copy(update={"status": before.status})
        found = specs(plan(after), "payments-prod")
        assert block("0.0.0.0/0", "192.0.2.10/32") in found["securetenant-egress-out"]["egress"][0]["to"]
        assert found["securetenant-egress-new"]["egress"] == [{"to": [block("192.0.2.0/24", "192.0.2.10/32")]}]

    def test_known_again(self) -> None:
        found = plan(knows(payments(egress=[self.EVERYWHERE]), "192.0.2.10"), objects=(READY,))
        assert whitelist(found).api_server == ["192.0.2.10", "192.0.2.12"]
        assert not found.blocking
        assert [(c.type, c.status) for c in found.conditions] == [
            ("WhitelistAgreed", "True"),
            ("ApiServerKnown", "True"),
        ]

    @pytest.mark.parametrize(
        "sections",
        [{}, {"ingress": [{"name": "in", "from": [{"cidr": "0.0.0.0/0"}]}]}, {"egress": [to({"tenant": "b"})]}],
    )
    def test_without_egress_to_addresses_it_is_no_matter(self, sections: dict[str, Any]) -> None:
        for slices in ((), (READY,)):
            found = plan(payments(**sections), objects=slices)
            assert [c.type for c in found.conditions] == ["WhitelistAgreed"]
            assert whitelist(found).api_server == []
            assert not found.blocking
