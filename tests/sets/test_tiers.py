"""ClusterNetworkPolicies and their forerunners as values: all that they say, and nothing guessed."""

from typing import Any, Final

import pytest

from securetenant.sets import ports
from securetenant.sets.blocks import Block
from securetenant.sets.policy import PodPeer, Unclear
from securetenant.sets.ports import Range
from securetenant.sets.selectors import ALL, Selector
from securetenant.sets.tiers import Domain, Nodes, Rule, TierPolicy, parsed

ANYWHERE: Final[list[Any]] = [{"namespaces": {}}]
EVERYONE: Final = PodPeer(ALL)


def policy(**spec: Any) -> TierPolicy | Unclear:
    return parsed({"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **spec})


def rules(way: str, *given: Any) -> tuple[Rule | Unclear, ...]:
    found = policy(**{way: list(given)})
    assert isinstance(found, TierPolicy)
    return found.ingress if way == "ingress" else found.egress


def labelled(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


def test_a_cluster_network_policy() -> None:
    assert parsed(
        {
            "tier": "Baseline",
            "priority": 7,
            "subject": {"pods": {"namespaceSelector": labelled(env="prod"), "podSelector": labelled(app="db")}},
            "ingress": [
                {"name": "web", "action": "Accept", "from": [{"namespaces": labelled(env="web")}]},
                {"action": "Deny", "from": ANYWHERE},
            ],
            "egress": [{"action": "Pass", "to": ANYWHERE}],
        }
    ) == TierPolicy(
        "Baseline",
        7,
        PodPeer(Selector((("env", "prod"),)), Selector((("app", "db"),))),
        (Rule("Accept", (PodPeer(Selector((("env", "web"),))),)), Rule("Deny", (EVERYONE,))),
        (Rule("Pass", (EVERYONE,)),),
    )


def test_the_kinds_before_it() -> None:
    spec: dict[str, Any] = {"subject": {"namespaces": {}}, "ingress": [{"action": "Allow", "from": ANYWHERE}]}
    allowed = (Rule("Accept", (EVERYONE,)),)
    assert parsed({**spec, "priority": 3}) == TierPolicy("Admin", 3, EVERYONE, allowed)
    assert parsed(spec, baseline=True) == TierPolicy("Baseline", None, EVERYONE, allowed)


def test_peers_of_egress() -> None:
    peers = [
        {"networks": ["10.0.0.1/8", "2001:DB8::/32"]},
        {"nodes": labelled(role="edge")},
        {"domainNames": ["*.example", "example"]},
        {"pods": {"podSelector": labelled(app="db")}},
    ]
    assert rules("egress", {"action": "Deny", "to": peers}) == (
        Rule(
            "Deny",
            (
                Block("10.0.0.0/8"),
                Block("2001:db8::/32"),
                Nodes(Selector((("role", "edge"),))),
                Domain("*.example"),
                Domain("example"),
                PodPeer(ALL, Selector((("app", "db"),))),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("given", "numbers", "named"),
    [
        pytest.param({}, None, (), id="all"),
        pytest.param({"protocols": [{"tcp": {}}]}, (Range("TCP", 0, 65535),), (), id="a-protocol"),
        pytest.param(
            {"protocols": [{"udp": {"destinationPort": {"number": 53}}}, {"tcp": {"destinationPort": {"number": 53}}}]},
            (Range("TCP", 53, 53), Range("UDP", 53, 53)),
            (),
            id="numbers",
        ),
        pytest.param(
            {"protocols": [{"sctp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}]},
            (Range("SCTP", 1, 9),),
            (),
            id="a-range",
        ),
        pytest.param({"protocols": [{"destinationNamedPort": "web"}]}, ports.NONE, ("web",), id="a-name"),
        pytest.param(
            {
                "ports": [
                    {"portNumber": {"protocol": "UDP", "port": 53}},
                    {"portRange": {"start": 80, "end": 81}},
                    {"namedPort": "web"},
                ]
            },
            (Range("TCP", 80, 81), Range("UDP", 53, 53)),
            ("web",),
            id="of-the-kinds-before-it",
        ),
    ],
)
def test_ports(given: dict[str, Any], numbers: ports.Ports, named: tuple[str, ...]) -> None:
    assert rules("ingress", {"action": "Deny", "from": ANYWHERE, **given}) == (
        Rule("Deny", (EVERYONE,), numbers, named),
    )


@pytest.mark.parametrize(
    ("way", "rule"),
    [
        pytest.param("ingress", "all", id="no-object"),
        pytest.param("ingress", {"action": "Redirect", "from": ANYWHERE}, id="action"),
        pytest.param("ingress", {"action": "Deny", "from": []}, id="no-peers"),
        pytest.param("ingress", {"action": "Deny"}, id="peers-omitted"),
        pytest.param("ingress", {"action": "Deny", "to": ANYWHERE}, id="other-direction"),
        pytest.param("ingress", {"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}, id="ingress-networks"),
        pytest.param("ingress", {"action": "Deny", "from": [{}]}, id="empty-peer"),
        pytest.param(
            "ingress", {"action": "Deny", "from": [{"namespaces": {}, "pods": {"podSelector": {}}}]}, id="two"
        ),
        pytest.param("ingress", {"action": "Deny", "from": ANYWHERE, "hours": "9-17"}, id="field"),
        pytest.param("egress", {"action": "Deny", "to": [{"networks": ["10.0.0.0"]}]}, id="no-block"),
        pytest.param("egress", {"action": "Deny", "to": [{"networks": []}]}, id="no-networks"),
        pytest.param("egress", {"action": "Deny", "to": [{"accounts": ["a"]}]}, id="peer"),
        pytest.param("egress", {"action": "Deny", "to": ANYWHERE, "protocols": [{}]}, id="empty-protocol"),
        pytest.param("egress", {"action": "Deny", "to": ANYWHERE, "protocols": [{"icmp": {}}]}, id="protocol"),
        pytest.param(
            "egress",
            {"action": "Deny", "to": ANYWHERE, "protocols": [{"tcp": {"destinationPort": {}}}]},
            id="empty-port",
        ),
        pytest.param(
            "egress", {"action": "Deny", "to": ANYWHERE, "ports": [{"portRange": {"start": 9, "end": 8}}]}, id="range"
        ),
    ],
)
def test_a_rule_that_is_not_understood_is_told_as_that_beside_the_others(way: str, rule: Any) -> None:
    fine = {"action": "Deny", ("from" if way == "ingress" else "to"): ANYWHERE}
    first, second = rules(way, rule, fine)
    assert isinstance(first, Unclear)
    assert first.json() == rule
    assert second == Rule("Deny", (EVERYONE,))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"tier": "Platform"}, id="tier"),
        pytest.param({"priority": None}, id="no-priority"),
        pytest.param({"priority": 1001}, id="priority"),
        pytest.param({"subject": {}}, id="subject"),
        pytest.param({"subject": {"serviceAccounts": {}}}, id="subject-of-another-kind"),
        pytest.param({"subject": {"namespaces": {"matchFields": {}}}}, id="selector"),
        pytest.param({"except": {}}, id="field"),
    ],
)
def test_a_policy_that_is_not_understood_is_told_as_that(spec: dict[str, Any]) -> None:
    assert isinstance(policy(**spec), Unclear)
