"""What is understood of the kinds of the network-policy-api; and that nothing is guessed."""

from typing import Any

import pytest

from securetenant.controls.network.foreign import upstream
from securetenant.controls.network.foreign.reading import Reading
from securetenant.sets.matching import Truth
from tests.support.readings import PLACE, selects, told


def admin(**spec: Any) -> Reading:
    return upstream.read({"priority": 10, "subject": {"namespaces": {}}, **spec})


def rule(action: str = "Allow", way: str = "from", **fields: Any) -> dict[str, Any]:
    return {"action": action, way: [{"namespaces": {}}], **fields}


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        pytest.param({}, "priority 10 | all pods | allows nothing", id="no-rules"),
        pytest.param(
            {"ingress": [rule()]}, "priority 10 | all pods | allows ingress from all namespaces", id="ingress"
        ),
        pytest.param(
            {"tier": "Admin", "egress": [rule("Accept", "to"), rule("Deny", "to")]},
            "tier Admin, priority 10 | all pods | allows egress to all namespaces; denies egress to all namespaces",
            id="a-tier",
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "to": [{"networks": ["0.0.0.0/0", "10.0.0.1/8"]}]}]},
            "priority 10 | all pods | allows egress to everywhere, 10.0.0.0/8",
            id="networks",
        ),
        pytest.param(
            {"egress": [{"action": "Pass", "to": [{"nodes": {}}, {"domainNames": ["*.example"]}]}]},
            "priority 10 | all pods | leaves to NetworkPolicies egress to all nodes, the name *.example",
            id="nodes-and-names",
        ),
        pytest.param(
            {
                "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}},
                "ingress": [
                    {
                        "action": "Deny",
                        "from": [
                            {
                                "pods": {
                                    "namespaceSelector": {"matchLabels": {PLACE: "b"}},
                                    "podSelector": {"matchLabels": {"app": "web"}},
                                }
                            }
                        ],
                        "ports": [
                            {"portNumber": {"protocol": "TCP", "port": 80}},
                            {"portRange": {"protocol": "UDP", "start": 1, "end": 9}},
                            {"namedPort": "web"},
                        ],
                    }
                ],
            },
            "priority 10 | pods with app=db | denies ingress from pods with app=web in namespace b "
            "on TCP 80, UDP 1-9, port web",
            id="pods-and-ports",
        ),
        pytest.param(
            {
                "ingress": [
                    rule(
                        "Accept",
                        protocols=[
                            {"tcp": {"destinationPort": {"number": 80}}},
                            {"udp": {"destinationPort": {"range": {"start": 1, "end": 2}}}},
                            {"sctp": {}},
                            {"destinationNamedPort": "web"},
                        ],
                    )
                ]
            },
            "priority 10 | all pods | allows ingress from all namespaces on TCP 80, UDP 1-2, all SCTP ports, port web",
            id="protocols",
        ),
        pytest.param(
            {"ingress": [rule(), rule(only="on Sundays"), rule("Deny", protocols=[{}])]},
            "priority 10 | all pods | allows ingress from not understood, all namespaces; "
            "denies ingress from not understood",
            id="unknown-in-a-rule",
        ),
        pytest.param(
            {"ingress": [rule("Redirect"), {"action": "Allow"}, "all"]},
            "priority 10 | all pods | does something to ingress from not understood; "
            "allows ingress from not understood",
            id="unknown-action",
        ),
    ],
)
def test_it_is_told(spec: dict[str, Any], what: str) -> None:
    assert told(admin(**spec)) == what


@pytest.mark.parametrize(
    ("subject", "truth", "named"),
    [
        ({"namespaces": {}}, True, None),
        ({"namespaces": {"matchLabels": {"env": "prod"}}}, True, None),
        ({"namespaces": {"matchLabels": {"env": "test"}}}, False, None),
        ({"namespaces": {"matchLabels": {PLACE: "a"}}}, True, {"a"}),
        ({"namespaces": {"matchLabels": {PLACE: "b"}}}, False, {"b"}),
        (
            {"namespaces": {"matchExpressions": [{"key": PLACE, "operator": "In", "values": ["a", "b"]}]}},
            True,
            {"a", "b"},
        ),
        ({"namespaces": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}}, False, None),
        ({"namespaces": {"matchExpressions": [{"key": "gone", "operator": "DoesNotExist"}]}}, True, None),
        ({"pods": {"namespaceSelector": {"matchLabels": {"env": "test"}}, "podSelector": {}}}, False, None),
        ({"pods": {"podSelector": {"matchLabels": {"app": "db"}}}}, True, None),
    ],
)
def test_its_subject(subject: dict[str, Any], truth: Truth, named: set[str] | None) -> None:
    found = admin(subject=subject)
    assert (selects(found), found.named) == (truth, named)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"subject": {"namespaces": {"matchFields": {}}}}, id="a-selector"),
        pytest.param({"subject": {"serviceAccounts": {}}}, id="a-subject"),
        pytest.param({"subject": {}}, id="none"),
        pytest.param({"subject": {"namespaces": {"matchLabels": {"env": "test"}}}, "tier": "Platform"}, id="a-tier"),
        pytest.param({"subject": {"namespaces": {"matchLabels": {"env": "test"}}}, "except": {}}, id="a-field"),
    ],
)
def test_what_is_not_understood_may_select_any_pod(spec: dict[str, Any]) -> None:
    found = admin(**spec)
    assert (selects(found), found.named) == (None, None)
    assert "not understood (" in told(found)


def test_which_decide_after_network_policies() -> None:
    assert not admin().last
    assert not admin(tier="Admin").last
    assert admin(tier="Baseline").last
    assert upstream.read({"subject": {"namespaces": {}}}, baseline=True).last
    assert upstream.read("nonsense", baseline=True).last
