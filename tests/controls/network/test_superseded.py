"""What the policies of rules are called, and what becomes of those that go."""

import re
from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import policies
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.sets.selectors import Selector
from tests.support.network import ALWAYS, READY, banking, payments, plan, specs, to, whitelist
from tests.support.world import observe


class TestNames:
    """No two rules, and no two selections of one, write the same policy."""

    def test_a_rule_named_like_anothers_narrowed_policy(self) -> None:
        client, server = {"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}
        narrowed = {"name": "x", "from": {"pods": client}, "to": [{"tenant": "core-banking"}], "ports": [{"port": 80}]}
        there = banking(ingress=[{"name": "x", "from": [{"tenant": "payments", "pods": server}]}])
        (name,) = specs(plan(payments(egress=[narrowed]), there), "payments-prod").keys() - ALWAYS
        rival = to({"cidr": "10.0.0.0/8"}, name="x-2bcb8533")  # what the narrowed one of version 0.1 was called
        assert name.startswith("securetenant-egress-x.2bcb8533")
        found = plan(payments(egress=[narrowed, rival]), there, objects=(READY,))
        assert whitelist(found).agreed == 2
        assert len(specs(found, "payments-prod").keys() - ALWAYS) == 2

    def test_a_rule_named_like_a_fixed_policy(self) -> None:
        names = ("isolation", "dns", "api-server", "default-deny", "ingress-x", "egress-x", "x")
        here = payments(
            apiServer=True,
            ingress=[{"name": name, "from": [{"cidr": "10.0.0.0/8"}]} for name in names],
            egress=[to({"cidr": "10.0.0.0/8"}, name=name) for name in names],
        )
        found = plan(here, objects=(READY,)).desired
        assert len({want.ref for want in found}) == len(found) == 4 + 2 * len(names)

    def test_the_longest_fits(self) -> None:
        name = policies.name("ingress", "r" * 40, Selector((("a", "b"),)))
        assert len(name) <= 253
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", name)


class TestSuperseded:
    """What stands and is given up, while others open it, or something of it."""

    def superseded(self, before: SecureTenant, after: SecureTenant, *others: SecureTenant) -> dict[str, str]:
        standing = [observe(want, before) for want in plan(before, *others, objects=(READY,)).desired]
        found = plan(after, *others, objects=(READY, *standing)).superseded
        assert all(ref.namespace == "payments-prod" for ref in found)
        return {ref.name: how for ref, how in found.items()}

    def test_nothing_in_a_steady_state(self) -> None:
        here = payments(egress=[to({"cidr": "10.0.0.0/8"})])
        assert self.superseded(here, here) == {}

    @pytest.mark.parametrize(
        ("after", "found"),
        [
            pytest.param([to({"cidr": "10.0.0.0/8"}, {"cidr": "10.9.0.0/16"}, name="new")], "Wholly", id="renamed"),
            pytest.param([], None, id="removed"),
            pytest.param([to({"cidr": "10.7.0.0/16"}, name="new")], None, id="another"),
            pytest.param([to({"cidr": "10.9.0.0/16"}, name="new")], "Partly", id="some of it, under another name"),
            pytest.param(
                [to({"cidr": "10.0.0.0/8"}, {"cidr": "10.9.0.0/16"}, name="new", ports=[{"port": 80}])],
                None,
                id="renamed, with less ports",
            ),
        ],
    )
    def test_rules_of_addresses(self, after: list[dict[str, Any]], found: str | None) -> None:
        before = payments(egress=[to({"cidr": "10.0.0.0/8"}, {"cidr": "10.9.0.0/16"})])
        expected = {} if found is None else {"securetenant-egress-out": found}
        assert self.superseded(before, payments(egress=after)) == expected

    def test_narrowed_and_wide_again(self) -> None:
        peer = {"tenant": "core-banking"}
        here, out = payments(egress=[to(peer)]), "securetenant-egress-out"
        wide, narrow = (
            banking(ingress=[{"name": "in", "from": [{"tenant": "payments", **pods}]}])
            for pods in ({}, {"pods": {"matchLabels": {"app": "a"}}})
        )
        name = policies.name("egress", "out", Selector((("app", "a"),)))
        standing = {d.ref.name: observe(d, here) for there in (wide, narrow) for d in plan(here, there).desired}
        assert plan(here, narrow, objects=tuple(standing.values())).superseded == {
            Ref(NETWORK_POLICY, "payments-prod", out): "Partly"
        }
        assert plan(here, wide, objects=tuple(standing.values())).superseded == {
            Ref(NETWORK_POLICY, "payments-prod", name): "Wholly"
        }

    def test_not_what_others_widened(self) -> None:
        before, after = (payments(egress=[to({"cidr": "10.0.0.0/8"}, name=name)]) for name in ("out", "new"))
        (old,) = (d for d in plan(before, objects=(READY,)).desired if d.ref.name == "securetenant-egress-out")
        others: list[Any] = [[{}], [{"deny": True}], "?"]  # the last two are not understood
        for egress in others:
            changed = observe(old, before, spec={"podSelector": {}, "policyTypes": ["Egress"], "egress": egress})
            assert plan(after, objects=(READY, changed)).superseded == {}
