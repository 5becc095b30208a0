"""NetworkPolicies of others in a tenant's namespaces: which are told of, and what is said."""

from typing import Any

import pytest

from tests.support.network import payments, plan, within
from tests.support.world import observe, observed, tenant


class TestForeign:
    @pytest.mark.parametrize(
        ("policy", "remove"),
        [
            pytest.param("Report", [False], id="report"),
            pytest.param("Remove", [True], id="remove"),
            pytest.param("Ignore", [], id="ignore"),
        ],
    )
    def test_by_the_spec(self, policy: str, remove: list[bool]) -> None:
        open_all = observed("NetworkPolicy", "open", "payments-prod", spec={"podSelector": {}, "ingress": [{}]})
        found = plan(payments(foreign=policy), objects=(open_all,)).foreign
        assert [f.remove for f in found] == remove

    def test_not_ours_and_not_elsewhere(self) -> None:
        here = payments()
        ours = [observe(d, here) for d in plan(here).desired]
        rivals = observe(plan(here).desired[0], tenant("rival"))
        other = observed("NetworkPolicy", "open", "elsewhere", spec={})
        assert not plan(here, objects=(*ours, other)).foreign
        assert not plan(here, objects=(rivals,)).foreign  # at a name that we write: the engine sees it as changed
        copy = observed("NetworkPolicy", "copy", "payments-prod", labels=rivals.labels, spec={})
        assert len(plan(here, objects=(copy,)).foreign) == 1

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            pytest.param(
                {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
                "admits ingress from everywhere to all pods",
                id="all",
            ),
            pytest.param(
                {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
                "admits egress to everywhere of all pods",
                id="any address, types left out",
            ),
            pytest.param(
                {
                    "podSelector": {"matchLabels": {"app": "db"}},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [
                        {
                            "from": [
                                {"namespaceSelector": {}},
                                {"podSelector": {"matchLabels": {"role": "x"}}},
                                {"podSelector": {}},
                                {"namespaceSelector": within("a", "b"), "podSelector": {"matchLabels": {"c": "d"}}},
                            ]
                        }
                    ],
                    "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}],
                },
                "admits ingress from all namespaces, pods with role=x in this namespace, this namespace and 1 more "
                "to pods with app=db; admits egress to 0.0.0.0/0 of pods with app=db",
                id="peers",
            ),
            pytest.param(
                {"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]},
                "opens nothing, selects all pods",
                id="closing, egress not in its types",
            ),
            pytest.param(
                {"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": x}}}]} for x in "bcde"] + [{"deny": 1}]},
                "admits ingress from unknown peers, pods with a=b in this namespace, pods with a=c in this "
                "namespace and 2 more to all pods",
                id="a rule that is not understood, and not hidden behind others",
            ),
            pytest.param(
                {"podSelector": {}, "policyTypes": ["Audit"]},
                "may open anything: it has fields or values that this version of SecureTenant does not know",
                id="not understood",
            ),
        ],
    )
    def test_message(self, spec: dict[str, Any], message: str) -> None:
        foreign = observed("NetworkPolicy", "f", "payments-prod", spec=spec)
        assert [f.message for f in plan(payments(), objects=(foreign,)).foreign] == [message]
