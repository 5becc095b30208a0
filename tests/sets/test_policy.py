"""NetworkPolicies as values: what is parsed says the same, what is rendered is read back, what is not understood is
told as such."""

import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, JsonValue, Ref
from securetenant.sets import ports
from securetenant.sets.blocks import Block
from securetenant.sets.policy import NamedPort, PodPeer, Policy, Rule, Unclear, parsed, rendered
from securetenant.sets.ports import Range
from securetenant.sets.selectors import ALL, Expression, Selector
from tests.support import networkpolicies
from tests.support.networkpolicies import BAD_POLICIES, BAD_RULES, CALLS, OTHERS, OWN, defaulted
from tests.support.reachability import Reachability
from tests.support.specs import Document

words = st.text("ab", max_size=2)
expressions = st.one_of(
    st.builds(
        Expression,
        words,
        st.sampled_from(("In", "NotIn")),
        st.lists(words, min_size=1, max_size=2).map(tuple),
    ),
    st.builds(Expression, words, st.sampled_from(("Exists", "DoesNotExist")), st.just(())),
)
selectors = st.builds(
    Selector,
    st.dictionaries(words, words, max_size=2).map(lambda labels: tuple(sorted(labels.items()))),
    st.lists(expressions, max_size=2).map(tuple),
)
networks = st.one_of(
    st.builds(lambda number, length: (number, length), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda number, length: (number + 2**48, length), st.integers(0, 2**127), st.integers(0, 128)),
).map(lambda it: str(ip_network(it, strict=False)))
blocks = st.builds(Block, networks, st.lists(networks, max_size=2).map(tuple))
peers = st.one_of(blocks, st.builds(PodPeer, st.none() | selectors, selectors))
protocols = st.sampled_from(("TCP", "UDP", "SCTP"))
ranges = st.builds(lambda p, a, b: Range(p, *sorted((a, b))), protocols, st.integers(1, 65535), st.integers(1, 65535))
numbers = st.lists(ranges | protocols.map(lambda p: Range(p, 0, 65535)), max_size=3).map(ports.merged)
named = st.sets(st.builds(NamedPort, protocols, st.sampled_from(("web", "dns"))), max_size=2).map(sorted).map(tuple)
unclear = st.sampled_from([rule for spec in BAD_RULES.values() for rule in spec["ingress"]]).map(
    lambda rule: Unclear(json.dumps(rule, sort_keys=True))
)
rules = st.one_of(
    st.builds(Rule, st.none() | st.lists(peers, min_size=1, max_size=3).map(tuple)),
    st.tuples(st.none() | st.lists(peers, min_size=1, max_size=3).map(tuple), numbers, named)
    .filter(lambda it: bool(it[1] or it[2]))
    .map(lambda it: Rule(*it)),
    unclear,
)
directions = st.none() | st.lists(rules, max_size=3).map(tuple)
values = (
    st.tuples(selectors, directions, directions)
    .filter(lambda it: it[1] is not None or it[2] is not None)
    .map(lambda it: Policy(*it))
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(("TCP", "Ingress", "10.0.0.0/8", "", "In")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ("podSelector", "policyTypes", "ingress", "egress", "from", "to", "ports", "port", "protocol",
                 "endPort", "ipBlock", "cidr", "except", "namespaceSelector", "matchLabels", "matchExpressions",
                 "key", "operator", "values", "x")
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_what_is_rendered_is_read_back(policy: Policy) -> None:
    assert parsed(rendered(policy)) == policy


@given(networkpolicies.specs())
def test_what_strangers_write_is_understood_and_written_one_way(spec: Any) -> None:
    policy = parsed(spec)
    assert isinstance(policy, Policy)
    assert not [rule for rule in (*(policy.ingress or ()), *(policy.egress or ())) if isinstance(rule, Unclear)]
    assert parsed(rendered(policy)) == policy
    assert parsed(defaulted(spec)) == policy


@settings(max_examples=50)
@given(networkpolicies.specs(named=False))
def test_what_is_parsed_opens_the_same(spec: Any) -> None:
    """By the judge that knows nothing of the values."""
    judges = [
        Reachability([Desired(Ref(NETWORK_POLICY, "here", "x"), "network", {"spec": one})])
        for one in (defaulted(spec), rendered(parsed(spec)))
    ]
    for own in OWN:
        for other in OTHERS:
            before, after = ((judge.admitted(other, own, CALLS), judge.released(own, other, CALLS)) for judge in judges)
            assert before == after, (own, other)


@given(anything)
def test_whatever_stands_there_is_taken(spec: JsonValue) -> None:
    policy = parsed(spec)
    assert parsed(rendered(policy)) == policy


@pytest.mark.parametrize("spec", BAD_RULES.values(), ids=BAD_RULES)
def test_a_rule_that_is_not_understood_is_no_rule_that_opens_nothing(spec: Any) -> None:
    (bad,) = spec["ingress"]
    good: Document = {"from": [{"podSelector": {}}]}
    found = parsed({**spec, "ingress": [bad, good]})
    assert isinstance(found, Policy)
    assert found.ingress is not None
    told, understood = found.ingress
    assert isinstance(told, Unclear)
    assert told.json() == bad
    assert understood == Rule((PodPeer(None),))


@pytest.mark.parametrize("spec", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_policy_that_is_not_understood(spec: Any) -> None:
    found = parsed(spec)
    assert isinstance(found, Unclear)
    assert found.json() == spec


@pytest.mark.parametrize(
    "block",
    ["010.0.0.0/8", "::ffff:10.0.0.0/104"],
)
def test_a_block_that_not_all_read_alike_is_not_understood(block: str) -> None:
    """Older API servers take them."""
    found = parsed({"ingress": [{"from": [{"ipBlock": {"cidr": block}}]}]})
    assert isinstance(found, Policy)
    assert found.ingress is not None
    assert isinstance(found.ingress[0], Unclear)


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        pytest.param(None, Policy(ALL, ingress=()), id="left out"),
        pytest.param({}, Policy(ALL, ingress=()), id="empty"),
        pytest.param({"podSelector": None, "policyTypes": [], "egress": None}, Policy(ALL, ingress=()), id="nulls"),
        pytest.param({"egress": []}, Policy(ALL, ingress=()), id="no types, no egress rules"),
        pytest.param({"egress": [{}]}, Policy(ALL, ingress=(), egress=(Rule(),)), id="no types, egress rules"),
        pytest.param({"policyTypes": ["Egress"], "ingress": [{}]}, Policy(ALL, egress=()), id="rules not of its types"),
        pytest.param({"ingress": [{"from": [], "ports": []}]}, Policy(ALL, ingress=(Rule(),)), id="empty means all"),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"b": "1", "a": "2"}}}]}]},
            Policy(ALL, ingress=(Rule((PodPeer(ALL, Selector((("a", "2"), ("b", "1")))),)),)),
            id="both selectors are one peer",
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {}}, {"podSelector": {}}]}]},
            Policy(ALL, ingress=(Rule((PodPeer(ALL), PodPeer(None))),)),
            id="two peers",
        ),
        pytest.param(
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.2.0.0/16", "10.1.0.0/16"]}}]}]},
            Policy(ALL, ingress=(), egress=(Rule((Block("10.0.0.0/8", ("10.2.0.0/16", "10.1.0.0/16")),)),)),
            id="a block, exceptions in their order",
        ),
        pytest.param(
            {
                "ingress": [
                    {
                        "ports": [
                            {"port": "web"},
                            {"protocol": "SCTP", "port": 9, "endPort": 12},
                            {"port": 81},
                            {"port": 80},
                            {"protocol": "UDP"},
                            {"port": "web", "protocol": "TCP"},
                        ]
                    }
                ]
            },
            Policy(
                ALL,
                ingress=(
                    Rule(
                        None,
                        (Range("SCTP", 9, 12), Range("TCP", 80, 81), Range("UDP", 0, 65535)),
                        (NamedPort("TCP", "web"),),
                    ),
                ),
            ),
            id="ports",
        ),
    ],
)
def test_parsed(spec: Any, policy: Policy) -> None:
    assert parsed(spec) == policy


@pytest.mark.parametrize(
    ("policy", "spec"),
    [
        pytest.param(
            Policy(ingress=(), egress=()), {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, id="closes all"
        ),
        pytest.param(
            Policy(egress=(Rule(),)), {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, id="opens all"
        ),
        pytest.param(
            Policy(
                Selector((("a", "b"),)),
                ingress=(
                    Rule(
                        (PodPeer(ALL), PodPeer(None), PodPeer(ALL, Selector((("c", "d"),))), Block("::/0", ("::/1",))),
                        (Range("TCP", 80, 80), Range("UDP", 0, 65535)),
                        (NamedPort("TCP", "web"),),
                    ),
                ),
            ),
            {
                "podSelector": {"matchLabels": {"a": "b"}},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [
                            {"namespaceSelector": {}},
                            {"podSelector": {}},
                            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"c": "d"}}},
                            {"ipBlock": {"cidr": "::/0", "except": ["::/1"]}},
                        ],
                        "ports": [
                            {"protocol": "TCP", "port": 80},
                            {"protocol": "UDP"},
                            {"protocol": "TCP", "port": "web"},
                        ],
                    }
                ],
            },
            id="peers and ports",
        ),
    ],
)  # fmt: skip
def test_rendered(policy: Policy, spec: Any) -> None:
    assert rendered(policy) == spec


def test_what_json_cannot_say_is_no_value() -> None:
    """An empty list would open to all what is meant to open nothing."""
    with pytest.raises(ValueError, match="opens nothing"):
        Rule(())
    with pytest.raises(ValueError, match="opens nothing"):
        Rule(None, ports.NONE)
    with pytest.raises(ValueError, match="opens nothing"):
        Rule(None, None, (NamedPort("TCP", "web"),))
    with pytest.raises(ValueError, match="ingress, egress or both"):
        Policy(ALL)
