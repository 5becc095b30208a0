"""What a policy opens, read back: flow by flow of ours. (In short, of others': test_foreign.py.)"""

from typing import Any

import pytest

from securetenant.controls.network import openings, policies
from securetenant.controls.network.openings import Opening
from securetenant.controls.network.policies import Within
from securetenant.sets.blocks import Block
from securetenant.sets.policy import parsed
from securetenant.sets.ports import Range
from securetenant.sets.selectors import ALL, Expression, Selector

GATEWAY = Selector((("app", "gateway"),))
LEDGER = Selector((("app", "ledger"),), (Expression("tier", "In", ("a", "b")),))
HTTPS = (Range("TCP", 8443, 8443),)


def told(body: dict[str, Any]) -> set[str]:
    return {str(opening) for opening in openings.openings(parsed(body["spec"]))}


def test_each_namespace_and_each_block_is_one() -> None:
    body = policies.opening(
        "ingress",
        GATEWAY,
        {
            Within("ledger-prod", LEDGER): HTTPS,
            Within("ledger-test", LEDGER): HTTPS,
            Within("edge", ALL): (*HTTPS, Range("TCP", 9000, 9010), Range("UDP", 0, 65535)),
            Block("10.8.0.0/16", ("10.8.9.0/24", "10.8.10.0/24")): None,
        },
    )
    assert told(body) == {
        "ingress to pods app=gateway from pods app=ledger, tier In (a, b) of namespace ledger-prod on TCP 8443",
        "ingress to pods app=gateway from pods app=ledger, tier In (a, b) of namespace ledger-test on TCP 8443",
        "ingress to pods app=gateway from namespace edge on TCP 8443, TCP 9000-9010, all UDP ports",
        "ingress to pods app=gateway from 10.8.0.0/16 except 10.8.9.0/24, 10.8.10.0/24 on all ports",
    }


def test_the_parts_are_values() -> None:
    body = policies.opening("egress", ALL, {Within("ledger", GATEWAY): HTTPS})
    (found,) = openings.openings(parsed(body["spec"]))
    assert found == Opening("egress", "all pods", "pods app=gateway of namespace ledger", "TCP 8443")
    assert str(found) == "egress from all pods to pods app=gateway of namespace ledger on TCP 8443"


def test_what_one_end_more_changes_is_that_end() -> None:
    before = policies.opening("egress", ALL, {Within("a", ALL): HTTPS})
    after = policies.opening("egress", ALL, {Within("a", ALL): HTTPS, Within("b", ALL): HTTPS})
    opened = openings.openings(parsed(after["spec"])) - openings.openings(parsed(before["spec"]))
    assert {str(opening) for opening in opened} == {"egress from all pods to namespace b on TCP 8443"}
    assert openings.openings(parsed(before["spec"])) <= openings.openings(parsed(after["spec"]))


def test_the_fixed_policies() -> None:
    assert told(policies.default_deny()) == set()
    assert told(policies.among(())) == {
        "ingress to all pods from this namespace on all ports",
        "egress from all pods to this namespace on all ports",
    }
    assert told(policies.among(("a", "b"))) == {
        f"{direction} {own} all pods {end} namespace {name} on all ports"
        for direction, own, end in (("ingress", "to", "from"), ("egress", "from", "to"))
        for name in ("a", "b")
    }


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        pytest.param(None, set(), id="no spec"),
        pytest.param(
            {"podSelector": {}, "ingress": [{}]}, {"ingress to all pods from everywhere on all ports"}, id="all"
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}], "egress": []}, set(), id="not its type"
        ),
        pytest.param(
            {"egress": [{"to": [], "ports": []}]},
            {"egress from all pods to everywhere on all ports"},
            id="egress, untyped",
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}]}]},
            {"ingress to all pods from pods a=b of all namespaces on all ports"},
            id="everybody's pods",
        ),
        pytest.param(
            {
                "ingress": [
                    {"from": [{"namespaceSelector": {"matchLabels": {"env": "prod"}}}], "ports": [{"port": "web"}]}
                ]
            },
            {"ingress to all pods from namespaces with env=prod on TCP web"},
            id="by a label, to a named port",
        ),
        pytest.param(
            {
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {
                                    "matchLabels": {"kubernetes.io/metadata.name": "a"},
                                    "matchExpressions": [{"key": "b", "operator": "Exists"}],
                                }
                            }
                        ]
                    }
                ]
            },
            {"ingress to all pods from namespaces with kubernetes.io/metadata.name=a, b Exists on all ports"},
            id="by its name and more",
        ),
        pytest.param(
            {"ingress": ["?", {"from": ["?"], "ports": ["?"]}, {"from": [{"podSelector": {}}]}]},
            {
                'ingress to all pods from unknown peers ("?") on unknown ports',
                'ingress to all pods from unknown peers ({"from": ["?"], "ports": ["?"]}) on unknown ports',
                "ingress to all pods from this namespace on all ports",
            },
            id="nonsense among rules",
        ),
        pytest.param(
            {"egress": "?"},
            {
                'ingress to unknown pods from unknown peers ({"egress": "?"}) on unknown ports',
                'egress from unknown pods to unknown peers ({"egress": "?"}) on unknown ports',
            },
            id="nonsense",
        ),
    ],
)
def test_others_forms(spec: Any, found: set[str]) -> None:
    assert {str(opening) for opening in openings.openings(parsed(spec))} == found


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (policies.name("ingress", "edge"), ("ingress", "edge")),
        (policies.name("egress", "edge", GATEWAY), ("egress", "edge")),
        (policies.name("egress", "ingress-edge"), ("egress", "ingress-edge")),
        ("securetenant-default-deny", None),
        ("securetenant-isolation", None),
        ("their-ingress-edge", None),
    ],
)
def test_whose_rule_a_policy_is_for(name: str, rule: tuple[str, str] | None) -> None:
    assert policies.rule_of(name) == rule
