"""Where the analysers do otherwise than Kubernetes: a case of each, so that it is seen when one of them changes. What
is compared elsewhere is drawn, or put, so that none of it matters."""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from securetenant.reach.flows import reach
from securetenant.reach.values import Pod
from securetenant.sets import ports
from tests.support.oracles import analysers
from tests.support.oracles.analysers import Refused
from tests.support.oracles.answers import NUMBERED, Answer, ours
from tests.support.oracles.clusters import Given
from tests.support.specs import Document

pytestmark = pytest.mark.full

Analyse: TypeAlias = Callable[[Path, Given, Path], Answer]
PODS: Final = (
    Pod("a", "p", {"app": "a"}, {}, (ip_address("10.1.0.1"), ip_address("fd00:1::1"))),
    Pod("b", "q", {"app": "b"}, {"web": ("TCP", 8080)}, (ip_address("10.2.0.1"), ip_address("fd00:2::1"))),
)
ALL: Final = ports.described(NUMBERED)


def given(**policies: Document) -> Given:
    """Namespaces a and b, with a policy or none, and a pod each."""
    specs = [(space, "policy", {"podSelector": {}, **spec}) for space, spec in policies.items()]
    return Given({"a": {}, "b": {}}, PODS, specs)


def to(*peers: Document, **more: object) -> Document:
    return {"policyTypes": ["Egress"], "egress": [{"to": [*peers], **more}]}


def elsewhere(key: str, operator: str) -> Document:
    return {"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": key, "operator": operator}]}}


def passing(answer: Answer) -> str:
    """From a to b, in words."""
    return ports.described(answer.pods.get(("a/p", "b/q"), ()))


def to_ipv6(answer: Answer) -> bool:
    return any(span.version == 6 for span, _ in answer.leaving.get("a/p", ()))


@pytest.mark.parametrize(
    ("cluster", "theirs", "truth"),
    [
        pytest.param(given(a={"egress": []}), "", ALL, id="an empty egress without types closes"),
        pytest.param(given(a=to(elsewhere("app", "Exists"))), "", ALL, id="no pod elsewhere has a key"),
        pytest.param(given(a=to(elsewhere("tier", "DoesNotExist"))), "", ALL, id="no pod elsewhere has it not"),
    ],
)
def test_network_config_analyzer_differs(nca: Path, tmp_path: Path, cluster: Given, theirs: str, truth: str) -> None:
    assert passing(analysers.nca_as_it_is(nca, cluster, tmp_path)) == theirs
    assert passing(ours(reach(cluster.cluster(blocks_match_pods=False)))) == truth
    assert passing(analysers.nca(nca, cluster, tmp_path)) == truth


@pytest.mark.parametrize(
    ("cluster", "why", "truth"),
    [
        pytest.param(
            given(a={"policyTypes": ["Ingress"], "egress": [], "ingress": []}),
            'egress field but no "Egress" in its policyTypes',
            ALL,
            id="idle rules",
        ),
        pytest.param(
            given(a={"policyTypes": ["Egress", "Ingress"]}),
            "policyTypes has invalid value",
            "",
            id="types turned",
        ),
    ],
)
def test_network_config_analyzer_refuses(nca: Path, tmp_path: Path, cluster: Given, why: str, truth: str) -> None:
    with pytest.raises(Refused, match=why):
        analysers.nca_as_it_is(nca, cluster, tmp_path)
    assert passing(ours(reach(cluster.cluster(blocks_match_pods=False)))) == truth
    assert passing(analysers.nca(nca, cluster, tmp_path)) == truth


def test_netpol_analyzer_misses_ranges_of_ports_that_overlap(netpolicy: Path, tmp_path: Path) -> None:
    """If the one that egress allows begins within the other; not the other way round."""
    low, high = [{"port": 80, "endPort": 443}], [{"port": 400, "endPort": 500}]
    for out, in_, theirs in ((high, low, ""), (low, high, "TCP 400-443")):
        cluster = given(a=to(ports=out), b={"ingress": [{"ports": in_}]})
        assert passing(analysers.netpolicy(netpolicy, cluster, tmp_path)) == theirs
        assert passing(ours(reach(cluster.cluster(blocks_match_pods=False)))) == "TCP 400-443"


def test_netpol_analyzer_refuses_ports_by_name_at_addresses(netpolicy: Path, tmp_path: Path) -> None:
    cluster = given(a=to(ports=[{"port": "web"}]))
    with pytest.raises(Refused, match="cannot convert named port for an IP destination"):
        analysers.netpolicy(netpolicy, cluster, tmp_path)
    assert passing(ours(reach(cluster.cluster(blocks_match_pods=False)))) == "TCP 8080"


def test_netpol_analyzer_knows_no_ipv6(netpolicy: Path, tmp_path: Path) -> None:
    cluster = given(a=to({"ipBlock": {"cidr": "2001:db8::/32"}}))
    assert not to_ipv6(analysers.netpolicy(netpolicy, cluster, tmp_path))
    assert to_ipv6(ours(reach(cluster.cluster(blocks_match_pods=False))))


@pytest.mark.parametrize("name", ["nca", "netpolicy"])
def test_pods_match_no_block_for_either(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Kubernetes leaves it to the network plug-in. Elsewhere reachability is asked for one that does as they do."""
    analyse: Analyse = getattr(analysers, name)
    cluster = given(a=to({"ipBlock": {"cidr": "10.2.0.0/16"}}))
    assert passing(analyse(request.getfixturevalue(name), cluster, tmp_path)) == ""
    assert passing(ours(reach(cluster.cluster(blocks_match_pods=False)))) == ""
    assert passing(ours(reach(cluster.cluster(blocks_match_pods=True)))) == ALL
