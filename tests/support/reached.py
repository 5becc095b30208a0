"""Small clusters, drawn at random, as the operator's value and as the independent model's (tests/support/cni).

Names, labels and addresses come from small pools, so that policies meet. Policies are plain JSON: each side reads it by
its own code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final, Literal, TypeAlias

from hypothesis import strategies as st

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing
from securetenant.sets import labels, policy
from securetenant.sets.blocks import Address, Network
from securetenant.sets.ports import OTHER, Ports
from tests.support.cni import flows as judge
from tests.support.cni import values as model
from tests.support.cni.values import Call

Json: TypeAlias = dict[str, Any]
End: TypeAlias = Pod | Address
Known: TypeAlias = Literal["subnets", "ranges", "nothing"]

NAMESPACES: Final = ("a", "b", "c")
CALLS: Final = (
    *(Call("TCP", 80), Call("TCP", 81), Call("TCP", 85), Call("TCP", 8080), Call("UDP", 80), Call("UDP", 53)),
    *(Call("SCTP", 9), Call("ICMP")),
)
CLOSED: Final[Json] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
#: No pod has these.
ADDRESSES: Final = tuple(map(ip_address, ("192.0.2.1", "198.51.100.7", "10.9.0.1", "2001:db8::1", "fd00:9::1")))
#: With a value that no policy names.
LABELS: Final[tuple[dict[str, str], ...]] = (
    *({}, {"app": "web"}, {"app": "db"}, {"app": "other"}, {"app": ""}, {"tier": "1"}, {"app": "web", "tier": "1"}),
    *({"app": "db", "tier": "2"}, {"app": "web", "tier": "2", "old": "yes"}, {"old": "yes"}),
)
SUBNETS: Final[Mapping[str, tuple[Network, ...]]] = {
    "a": (ip_network("10.0.1.0/24"), ip_network("fd00:1::/64")),
    "b": (ip_network("10.0.2.0/24"),),
    "c": (ip_network("10.0.3.0/25"), ip_network("fd00:3::/64")),
}


def _term(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


_PODS: Final[tuple[Json, ...]] = (
    {},
    {"matchLabels": {"app": "web"}},
    {"matchLabels": {"app": "db"}},
    {"matchLabels": {"app": "web", "tier": "1"}},
    {"matchLabels": {"app": ""}},
    {"matchExpressions": [_term("app", "In", "web", "db")]},
    {"matchExpressions": [_term("app", "NotIn", "web")]},
    {"matchExpressions": [_term("tier", "Exists")]},
    {"matchExpressions": [_term("tier", "DoesNotExist"), _term("app", "NotIn", "db", "")]},
    {"matchLabels": {"tier": "2"}, "matchExpressions": [_term("old", "DoesNotExist")]},
    {"matchLabels": {"app": "web"}, "matchExpressions": [_term("app", "NotIn", "web")]},  # nothing
)
_PLACES: Final[tuple[Json, ...]] = (
    {},
    {"matchLabels": {"kubernetes.io/metadata.name": "a"}},
    {"matchLabels": {"kubernetes.io/metadata.name": "b"}},
    {"matchLabels": {"env": "prod"}},
    {"matchExpressions": [_term("kubernetes.io/metadata.name", "In", "a", "c")]},
    {"matchExpressions": [_term("kubernetes.io/metadata.name", "NotIn", "b")]},
    {"matchExpressions": [_term("env", "NotIn", "prod")]},
    {"matchExpressions": [_term("env", "DoesNotExist")]},
    {"matchLabels": {"env": "test"}, "matchExpressions": [_term("env", "Exists")]},
)
_BLOCKS: Final[tuple[Json, ...]] = (
    {"cidr": "0.0.0.0/0"},
    {"cidr": "::/0"},
    {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]},
    {"cidr": "10.0.0.0/8"},
    {"cidr": "10.0.0.0/8", "except": ["10.0.1.0/24", "10.0.2.4/30"]},
    {"cidr": "10.0.1.0/24"},
    {"cidr": "10.0.1.1/32"},
    {"cidr": "10.0.2.0/30"},
    {"cidr": "10.0.3.0/26", "except": ["10.0.3.1/32"]},
    {"cidr": "10.0.0.77/32"},
    {"cidr": "fd00::/8", "except": ["fd00:1::/64"]},
    {"cidr": "fd00:1::/126"},
    {"cidr": "FD00:3:0:0::/64"},
    {"cidr": "192.0.2.0/24"},
    {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]},
    {"cidr": "172.16.0.0/24"},
)
_PORTS: Final[tuple[Json, ...]] = (
    {"port": 80},
    {"port": 80, "protocol": "UDP"},
    {"protocol": "TCP"},
    {"protocol": "UDP"},
    {"protocol": "SCTP"},
    {"port": 80, "endPort": 85},
    {"protocol": "UDP", "port": 50, "endPort": 60},
    {"port": 81, "endPort": 81, "protocol": "TCP"},
)
_NAMED: Final[tuple[Json, ...]] = ({"port": "web"}, {"port": "dns", "protocol": "UDP"}, {"port": "dns"})

_peers: st.SearchStrategy[Json] = st.one_of(
    st.sampled_from(_PODS).map(lambda pods: {"podSelector": pods}),
    st.sampled_from(_PLACES).map(lambda places: {"namespaceSelector": places}),
    st.sampled_from(_PLACES).map(lambda places: {"namespaceSelector": places, "podSelector": {}}),
    st.tuples(st.sampled_from(_PLACES), st.sampled_from(_PODS)).map(
        lambda both: {"namespaceSelector": both[0], "podSelector": both[1]}
    ),
    st.sampled_from(_BLOCKS).map(lambda block: {"ipBlock": block}),
    st.sampled_from(_BLOCKS[:11]).map(lambda block: {"ipBlock": block}),  # those that meet pods
)


@dataclass(frozen=True)
class Drawn:
    """`namespaces`: their labels. `specs`: of the policies, by namespace."""

    namespaces: Mapping[str, Mapping[str, str]]
    specs: Mapping[str, Sequence[Json]]
    pods: tuple[Pod, ...] = ()
    blocks_match_pods: bool = True

    def cluster(self) -> Cluster:
        """As the operator sees it."""
        found = self.symbolic("nothing")
        return replace(found, pods={name: [p for p in self.pods if p.namespace == name] for name in self.namespaces})

    def symbolic(self, known: Known = "subnets") -> Cluster:
        """Without the pods. `known`: of their addresses."""
        standing = {
            name: [
                Standing(Ref(NETWORK_POLICY, name, f"p{number}"), policy.parsed(spec))
                for number, spec in enumerate(listed)
            ]
            for name, listed in self.specs.items()
        }
        found = Cluster(self.namespaces, standing, blocks_match_pods=self.blocks_match_pods)
        if known == "subnets":
            return replace(found, subnets=SUBNETS)
        ranges = () if known == "nothing" else tuple(net for listed in SUBNETS.values() for net in listed)
        return replace(found, ranges=ranges)

    @cached_property
    def judged(self) -> model.Cluster:
        """As the model sees it."""
        policies = tuple(
            model.Policy(name, spec, name=f"p{number}")
            for name, listed in self.specs.items()
            for number, spec in enumerate(listed)
        )
        return model.Cluster("None", policies, namespaces=self.namespaces, blocks_match_pods=self.blocks_match_pods)

    def passes(self, source: End, target: End, call: Call) -> bool:
        """As the model judges. Pods of namespaces that are not there reach nothing."""
        if any(isinstance(end, Pod) and end.namespace not in self.namespaces for end in (source, target)):
            return False
        return judge.passes(self.judged, modelled(source), modelled(target), call)


def modelled(end: End) -> model.End:
    if not isinstance(end, Pod):
        return model.End((end,))
    named = {name: Call(*port) for name, port in end.named.items()}
    return model.End(end.addresses, end.namespace, end.labels, is_host=end.is_host, named=named)


def pod(namespace: str, at: int, labels: Mapping[str, str], **more: Any) -> Pod:
    """With the address of that number in each subnet of its namespace."""
    return Pod(namespace, f"Pod/{at}", labels, addresses=tuple(net[at] for net in SUBNETS[namespace]), **more)


def off_host(one: Pod) -> Pod:
    """The pod with addresses of its own."""
    return pod(one.namespace, int(one.name.removeprefix("Pod/")), one.labels, named=one.named) if one.is_host else one


def of_family(one: Pod, version: int) -> Pod:
    return replace(one, addresses=tuple(a for a in one.addresses if a.version == version))


_named: st.SearchStrategy[dict[str, tuple[str, int]]] = st.sampled_from(
    ({}, {"web": ("TCP", 80)}, {"web": ("TCP", 8080), "dns": ("UDP", 53)}, {"dns": ("TCP", 81)}, {"web": ("UDP", 80)})
)


_pods: st.SearchStrategy[list[tuple[Mapping[str, str], dict[str, tuple[str, int]], str]]] = st.lists(
    st.tuples(st.sampled_from(LABELS), _named, st.sampled_from("=====46h")), min_size=1, max_size=2
)
_all_pods: st.SearchStrategy[tuple[Pod, ...]] = st.tuples(*(_pods for _ in NAMESPACES)).map(
    lambda found: tuple(
        _shaped(pod(name, at, labels, named=named), shape)
        for name, listed in zip(NAMESPACES, found, strict=True)
        for at, (labels, named, shape) in enumerate(listed, 1)
    )
)


def _shaped(one: Pod, shape: str) -> Pod:
    if shape == "h":
        return replace(one, is_host=True, addresses=(ip_address("10.0.0.77"), ip_address("fd00:77::1")))
    narrowed = of_family(one, int(shape)) if shape in "46" else one
    return narrowed if narrowed.addresses else one


def pods() -> st.SearchStrategy[tuple[Pod, ...]]:
    """One or two in each namespace, some of one address family, and now and then one on its node's network."""
    return _all_pods


def _rules(peers: str, ports: Sequence[Json]) -> st.SearchStrategy[list[Json]]:
    rule = st.fixed_dictionaries(
        {peers: st.lists(_peers, min_size=1, max_size=2) | st.just([])},
        optional={"ports": st.lists(st.sampled_from(ports), max_size=2)},
    )
    return st.lists(rule, min_size=1, max_size=2) | st.just([])


def _specs(ports: Sequence[Json]) -> st.SearchStrategy[Json]:
    types = st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return st.fixed_dictionaries(
        {"podSelector": st.just({}) | st.sampled_from(_PODS), "ingress": _rules("from", ports)},
        optional={"policyTypes": types, "egress": _rules("to", ports)},
    )


_labels: st.SearchStrategy[Mapping[str, str]] = st.sampled_from(({}, {"env": "prod"}, {"env": "test"}))


@lru_cache
def drawn(*, named: bool = True, names: tuple[str, ...] = NAMESPACES) -> st.SearchStrategy[Drawn]:
    """Two to four policies besides those that close a whole namespace. `named`: with ports by name."""
    specs = _specs((*_PORTS, *_NAMED, *_NAMED) if named else _PORTS)
    return st.builds(
        _drawn,
        st.tuples(*(st.tuples(st.just(name), _labels, st.booleans()) for name in names)),
        st.lists(st.tuples(st.sampled_from(names), specs), min_size=2, max_size=4),
        _all_pods,
        st.sampled_from((True, True, True, False)),
    )


def _drawn(
    spaces: Sequence[tuple[str, Mapping[str, str], bool]],
    listed: Sequence[tuple[str, Json]],
    there: tuple[Pod, ...],
    blocks_match_pods: bool,
) -> Drawn:
    known = {name: {"kubernetes.io/metadata.name": name, **more} for name, more, _ in spaces}
    by_name = {
        name: [*([CLOSED] if is_closed else []), *(spec for at, spec in listed if at == name)]
        for name, _, is_closed in spaces
    }
    return Drawn(known, by_name, there, blocks_match_pods)


# --- the operator's answers


def has(ports: Ports, call: Call) -> bool:
    protocol = OTHER if call.protocol == "ICMP" else call.protocol
    return ports is None or any(one.protocol == protocol and one.low <= call.port <= one.high for one in ports)


def is_in(group: Group | Outside, end: End, address: Address | None = None) -> bool:
    """Whether a group has a pod; `address`: the one that is used."""
    if not isinstance(end, Pod):
        return isinstance(group, Outside) and any(end in block for block in group.blocks)
    if not isinstance(group, Group) or end.namespace not in group.namespaces:
        return False
    if group.names:
        return f"{end.namespace}/{end.name}" in group.names
    is_there = not group.blocks or (address is not None and any(address in block for block in group.blocks))
    return is_there and any(labels.matched(one, end.labels) for one in group.pods)


def told(flows: Iterable[Flow], source: End, target: End) -> list[Ports]:
    """The ports of the flows between two ends. Of groups of pods that are not known, by each pair of their addresses:
    each address may be in another one."""
    return [
        flow.ports
        for flow in flows
        if any(
            is_in(flow.source, source, one) and is_in(flow.target, target, other)
            for one in _addresses(source)
            for other in _addresses(target)
            if one.version == other.version or _is_known(flow)
        )
    ]


def _is_known(flow: Flow) -> bool:
    return all(end.names for end in (flow.source, flow.target) if isinstance(end, Group))


def _addresses(end: End) -> tuple[Address, ...]:
    return end.addresses if isinstance(end, Pod) else (end,)
