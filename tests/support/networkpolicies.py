"""NetworkPolicies as strangers write them: a Hypothesis strategy for specs that the API server takes, and a list of
specs that it refuses. Names, labels and addresses come from small pools, so that policies meet.
"""

from typing import Any, Final

from hypothesis import strategies as st

from tests.support.reachability import Endpoint
from tests.support.specs import Document, pod_selectors

NAMESPACES: Final = ("here", "there")
LABELS: Final[tuple[dict[str, str], ...]] = ({}, {"app": "web"}, {"app": "db", "tier": "1"}, {"env": ""})
ADDRESSES: Final = ("10.0.0.1", "10.1.2.3", "192.0.2.1", "2001:db8::1")
CALLS: Final = (("TCP", 80), ("TCP", 81), ("UDP", 53), ("SCTP", 9), ("TCP", 65535))
#: All that a policy in the namespace "here" can tell apart: its own pods, and the other ends.
OWN: Final = tuple(Endpoint("here", labels) for labels in LABELS)
OTHERS: Final = (
    *(Endpoint(namespace, labels) for namespace in NAMESPACES for labels in LABELS),
    *(Endpoint("", {}, address) for address in ADDRESSES),
)

_blocks: st.SearchStrategy[Document] = st.sampled_from(
    (
        {"cidr": "0.0.0.0/0"},
        {"cidr": "::/0"},
        {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24", "10.0.0.0/8"]},
        {"cidr": "2001:DB8:0:0::/32", "except": ["2001:db8::/64"]},
        {"cidr": "10.0.0.1/32"},
    )
)
_namespaces: st.SearchStrategy[Document] = st.sampled_from(
    (
        {},
        {"matchLabels": {"kubernetes.io/metadata.name": "there"}},
        {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["there", "here"]}]},
        {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["here"]}]},
        {"matchLabels": {"env": "prod"}},
    )
)
_peers: st.SearchStrategy[Document] = st.one_of(
    st.fixed_dictionaries({"ipBlock": _blocks}),
    st.fixed_dictionaries({"podSelector": pod_selectors()}),
    st.fixed_dictionaries({"namespaceSelector": _namespaces}, optional={"podSelector": pod_selectors()}),
)
_protocols: st.SearchStrategy[Document] = st.fixed_dictionaries(
    {}, optional={"protocol": st.sampled_from(("TCP", "UDP", "SCTP"))}
)
_numbers: st.SearchStrategy[Document] = st.sampled_from(
    ({}, {"port": 80}, {"port": 81}, {"port": 53}, {"port": 9, "endPort": 9}, {"port": 2, "endPort": 80}, {"port": 1})
)


_names: st.SearchStrategy[Document] = st.sampled_from(({"port": "web"}, {"port": "dns"}))


def _rules(peers: str, *, named: bool) -> st.SearchStrategy[list[Document]]:
    port = st.tuples(_protocols, _numbers | _names if named else _numbers).map(lambda both: {**both[0], **both[1]})
    rule = st.fixed_dictionaries(
        {}, optional={peers: st.lists(_peers, max_size=3), "ports": st.lists(port, max_size=3)}
    )
    return st.lists(rule, max_size=2)


def specs(*, named: bool = True) -> st.SearchStrategy[Document]:
    """Any `spec` that the API server takes, with `named` ports or by numbers alone."""
    types = st.lists(st.sampled_from(("Ingress", "Egress")), unique=True, max_size=2)
    rules = {"ingress": _rules("from", named=named), "egress": _rules("to", named=named)}
    return st.fixed_dictionaries({"podSelector": pod_selectors()}, optional={"policyTypes": types, **rules})


def defaulted(spec: Document) -> Document:
    """As the API server keeps it: `policyTypes` and protocols written out
    (https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/networking/v1/defaults.go)."""
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    rules: Document = {
        direction: [
            {**rule, "ports": [{"protocol": "TCP", **port} for port in rule["ports"]]} if "ports" in rule else rule
            for rule in spec[direction]
        ]
        for direction in ("ingress", "egress")
        if direction in spec
    }
    return {**spec, "policyTypes": types, **rules}


def _ingress(rule: Any) -> Document:
    return {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]}


def _from(peer: Any) -> Document:
    return _ingress({"from": [peer]})


def _on(port: Any) -> Document:
    return _ingress({"ports": [port]})


def _where(term: Any) -> Document:
    return _from({"podSelector": {"matchExpressions": [term]}})


#: One rule of each cannot be understood; the API server refuses each (with strict validation of fields).
BAD_RULES: Final[dict[str, Document]] = {
    "a rule that is no object": _ingress("?"),
    "a field of a rule": _ingress({"from": [], "deny": True}),
    "the peers of both directions": _ingress({"from": [], "to": []}),
    "peers that are no list": _ingress({"from": {}}),
    "an empty peer": _from({}),
    "a kind of peer": _from({"serviceSelector": {}}),
    "a field beside a selector": _from({"podSelector": {}, "serviceSelector": {}}),
    "a block and a selector": _from({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
    "a block that is no text": _from({"ipBlock": {"cidr": 10}}),
    "a block without a CIDR": _from({"ipBlock": {"except": ["10.0.0.0/8"]}}),
    "an address without a prefix": _from({"ipBlock": {"cidr": "10.0.0.1"}}),
    "a netmask": _from({"ipBlock": {"cidr": "10.0.0.0/255.0.0.0"}}),
    "a zone": _from({"ipBlock": {"cidr": "fe80::1%eth0/64"}}),
    "an exception that is no CIDR": _from({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["nowhere"]}}),
    "a field of a selector": _from({"podSelector": {"matchNames": ["a"]}}),
    "a label that is no text": _from({"podSelector": {"matchLabels": {"a": 1}}}),
    "an operator": _where({"key": "a", "operator": "Gt", "values": ["1"]}),
    "In without values": _where({"key": "a", "operator": "In"}),
    "Exists with values": _where({"key": "a", "operator": "Exists", "values": ["b"]}),
    "an expression without a key": _where({"operator": "Exists"}),
    "a port that is no object": _on("?"),
    "a field of a port": _on({"port": 80, "appProtocol": "http"}),
    "a protocol": _on({"protocol": "ICMP"}),
    "an empty protocol": _on({"protocol": "", "port": 80}),
    "a port that is too high": _on({"port": 65536}),
    "a port that is true": _on({"port": True}),
    "a port without a name": _on({"port": ""}),
    "an end without a begin": _on({"endPort": 80}),
    "an end before the begin": _on({"port": 80, "endPort": 79}),
    "an end of a name": _on({"port": "web", "endPort": 80}),
}
#: The same of the whole policy.
BAD_POLICIES: Final[dict[str, Any]] = {
    "text": "?",
    "a list": [],
    "a field": {"podSelector": {}, "priority": 1},
    "a type": {"podSelector": {}, "policyTypes": ["Ingress", "Audit"]},
    "types that are no list": {"podSelector": {}, "policyTypes": "Ingress"},
    "rules that are no list": {"podSelector": {}, "ingress": {}},
    "a selector that is no object": {"podSelector": "?"},
    "a field of the selector": {"podSelector": {"matchNames": ["a"]}},
}
