"""Small clusters, drawn at random, with more than NetworkPolicies: ClusterNetworkPolicies, and Subnets of Kube-OVN. As
the operator's value, and as the independent model's (tests/support/cni), both read from the same JSON.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import permutations
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing, Tiered
from securetenant.sets import kube_ovn, labels, policy, tiers
from securetenant.sets.blocks import Address
from securetenant.sets.ports import OTHER, Ports
from tests.support.cni import reading
from tests.support.cni import values as model
from tests.support.cni.flows import passes
from tests.support.cni.values import LABEL_NAME, Call

Json: TypeAlias = dict[str, Any]
# A pod, or an address that no pod has.
End: TypeAlias = Pod | Address

NAMES: Final = ("a", "b", "c", "d")
CALLS: Final = (
    *(Call("TCP", port) for port in (80, 81, 85)),
    *(Call("UDP", 80), Call("UDP", 53), Call("SCTP", 9), Call("ICMP")),
)
ENV: Final[Mapping[str, str]] = {"a": "prod", "b": "prod", "c": "test"}
LABELS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"app": "web"},
    {"app": "db"},
    {"app": "web", "tier": "x"},
    {"tier": "y"},
)
OUTSIDE: Final = tuple(map(ip_address, ("198.51.100.7", "198.51.100.200", "10.99.0.1", "2001:db8::1")))
JOIN: Final = "100.64.0.0/16"
SUBNETS: Final[Mapping[str, tuple[str, ...]]] = {
    "a": ("10.1.0.0/24",),
    "b": ("10.2.0.0/24", "fd00:2::/64"),
    "c": ("10.3.0.0/24", "fd00:3::/64"),
    "d": ("10.16.0.0/16",),
}

_selectors: st.SearchStrategy[Json] = st.sampled_from(
    (
        {},
        {"matchLabels": {"app": "web"}},
        {"matchLabels": {"app": "db"}},
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
        {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    )
)
_places: st.SearchStrategy[Json] = st.sampled_from(
    (
        {},
        {},
        *({"matchLabels": {LABEL_NAME: name}} for name in NAMES[:3]),
        {"matchLabels": {"env": "prod"}},
        {"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": LABEL_NAME, "operator": "NotIn", "values": ["a"]}]},
    )
)
_blocks: st.SearchStrategy[str] = st.sampled_from(
    (
        *("0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/24", "10.1.0.4/30", "10.2.0.0/16", "10.2.0.2/32"),
        *("198.51.100.0/24", "198.51.100.128/25", "fd00::/8", "fd00:2::/64", "192.0.2.0/24"),
    )
)

# --- NetworkPolicies

_ports: st.SearchStrategy[Json] = st.sampled_from(
    ({"port": 80}, {"port": 80, "endPort": 85}, {"protocol": "UDP"}, {"protocol": "UDP", "port": 53})
)
_peers: st.SearchStrategy[Json] = st.one_of(
    _selectors.map(lambda pods: {"podSelector": pods}),
    st.builds(lambda places, pods: {"namespaceSelector": places, "podSelector": pods}, _places, _selectors),
    _blocks.map(lambda cidr: {"ipBlock": {"cidr": cidr}}),
)


def _rules(way: str) -> st.SearchStrategy[list[Json]]:
    fields = {way: st.lists(_peers, min_size=1, max_size=2), "ports": st.lists(_ports, min_size=1, max_size=2)}
    return st.lists(st.fixed_dictionaries({}, optional=fields), max_size=2)


_policies: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"podSelector": _selectors, "policyTypes": st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"]))},
    optional={"ingress": _rules("from"), "egress": _rules("to")},
)

# --- ClusterNetworkPolicies

_pods: st.SearchStrategy[Json] = st.one_of(
    _places.map(lambda places: {"namespaces": places}),
    st.builds(lambda places, pods: {"pods": {"namespaceSelector": places, "podSelector": pods}}, _places, _selectors),
)
_protocols: st.SearchStrategy[Json] = st.sampled_from(
    (
        {"tcp": {"destinationPort": {"number": 80}}},
        {"tcp": {"destinationPort": {"range": {"start": 80, "end": 85}}}},
        {"tcp": {}},
        {"udp": {"destinationPort": {"number": 53}}},
        {"sctp": {}},
    )
)


def _tier_rules(way: str, peers: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Json]]:
    fields = {"action": st.sampled_from(("Accept", "Deny", "Pass")), way: st.lists(peers, min_size=1, max_size=2)}
    protocols = {"protocols": st.lists(_protocols, min_size=1, max_size=2)}
    return st.lists(st.fixed_dictionaries(fields, optional=protocols), max_size=3)


_networks: st.SearchStrategy[Json] = st.lists(_blocks, min_size=1, max_size=2, unique=True).map(
    lambda listed: {"networks": listed}
)


def tier_specs() -> st.SearchStrategy[list[Json]]:
    """With a priority each, so that their order is defined."""
    spec = st.fixed_dictionaries(
        {
            "tier": st.sampled_from(("Admin", "Baseline")),
            "priority": st.integers(0, 9),
            "subject": _pods,
            "ingress": _tier_rules("from", _pods),
            "egress": _tier_rules("to", _pods | _networks),
        }
    )
    return st.lists(spec, min_size=1, max_size=4, unique_by=lambda one: one["priority"])


#: A policy that does nothing, to all.
NOTHING: Final[Json] = {"tier": "Baseline", "priority": 1000, "subject": {"namespaces": {}}}

# --- clusters


@dataclass(frozen=True)
class Drawn:
    """`specs`: of NetworkPolicies, by namespace. `subnets`: the specs of Kube-OVN's, by name; none: another plug-in."""

    specs: Sequence[tuple[str, Json]] = ()
    tiers: Sequence[Json] = ()
    pods: tuple[Pod, ...] = ()
    subnets: Mapping[str, Json] | None = None

    @cached_property
    def namespaces(self) -> dict[str, dict[str, str]]:
        return {name: {LABEL_NAME: name, **({"env": ENV[name]} if name in ENV else {})} for name in NAMES}

    def cluster(self, *, symbolic: bool = False) -> Cluster:
        """As the operator sees it; `symbolic`: without its pods."""
        standing: dict[str, list[Standing]] = {}
        for number, (name, spec) in enumerate(self.specs):
            ref = Ref(NETWORK_POLICY, name, f"p{number}")
            standing.setdefault(name, []).append(Standing(ref, policy.parsed(spec)))
        return Cluster(
            self.namespaces,
            standing,
            pods=None
            if symbolic
            else {name: [one for one in self.pods if one.namespace == name] for name in self.namespaces},
            subnets={} if self.subnets is not None else {name: tuple(map(ip_network, SUBNETS[name])) for name in NAMES},
            tiers=[
                Tiered(Ref(CLUSTER_NETWORK_POLICY, "", f"t{number}"), tiers.parsed(spec), f"{number:03}")
                for number, spec in enumerate(self.tiers)
            ],
            plugin="None" if self.subnets is None else "KubeOVN",
            switches=[kube_ovn.parsed(name, spec) for name, spec in (self.subnets or {}).items()],
        )

    @cached_property
    def judged(self) -> model.Cluster:
        """As the model sees it."""
        return model.Cluster(
            "None" if self.subnets is None else "KubeOVN",
            tuple(model.Policy(name, spec, name=f"p{number}") for number, (name, spec) in enumerate(self.specs)),
            tuple(reading.subnet(name, spec) for name, spec in (self.subnets or {}).items()),
            tuple(model.ClusterPolicy(spec, number) for number, spec in enumerate(self.tiers)),
            self.namespaces,
            has_cluster_policies=True,
        )

    def pairs(self, *, symbolic: bool = False) -> Iterator[tuple[End, End]]:
        """Of which one at least is a pod, and which have an address family in common. `symbolic`: none is a node's."""
        ends = [end for end in (*self.pods, *OUTSIDE) if not (symbolic and is_node(end))]
        for one, other in permutations(ends, 2):
            families = ({address.version for address in addresses(end)} for end in (one, other))
            if any(isinstance(end, Pod) for end in (one, other)) and set.intersection(*families):
                yield one, other

    def passing(self, source: End, target: End) -> set[Call]:
        """As the model judges."""
        return {call for call in CALLS if passes(self.judged, modelled(source), modelled(target), call)}


def is_node(end: End) -> bool:
    return isinstance(end, Pod) and end.is_host


def addresses(end: End) -> tuple[Address, ...]:
    return end.addresses if isinstance(end, Pod) else (end,)


def modelled(end: End) -> model.End:
    if not isinstance(end, Pod):
        return model.End((end,))
    join = (ip_address("100.64.0.9"),) if end.is_host else ()
    return model.End(end.addresses, end.namespace, end.labels, is_host=end.is_host, join=join)


@st.composite
def pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    """Now and then one is on its node's network."""
    found = []
    for number in range(1, 1 + draw(st.integers(2, 5))):
        name = draw(st.sampled_from(NAMES))
        one = Pod(
            name,
            f"Pod/{number}",
            draw(st.sampled_from(LABELS)),
            addresses=tuple(ip_network(block)[number] for block in SUBNETS[name]),
        )
        if draw(st.integers(0, 9)) == 0:
            one = replace(one, addresses=(ip_address(f"192.0.2.{number}"),), is_host=True)
        found.append(one)
    return tuple(found)


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Of a plug-in that has nothing of its own."""
    return Drawn(
        draw(st.lists(st.tuples(st.sampled_from(NAMES), _policies), max_size=3)),
        [*draw(tier_specs()), NOTHING],
        draw(pods()),
    )


# --- Kube-OVN

_lists: st.SearchStrategy[list[str]] = st.lists(
    st.sampled_from(
        (
            *("10.1.0.0/24", "10.2.0.0/24", "fd00:2::/64", "10.3.0.0/24", "10.3.0.2/32", "10.16.0.0/16"),
            *("192.0.2.0/24", "198.51.100.0/25", "0.0.0.0/0", "10.1.0.9/23"),
        )
    ),
    max_size=3,
    unique=True,
)
_terms: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(("ip4", "ip6", "ip", "tcp", "udp", "tcp.dst == 80", "tcp.dst != {80, 81}", "udp.dst == {53}")),
    st.builds(
        lambda end, operator, listed: f"ip4.{end} {operator} {{{', '.join(listed)}}}",
        st.sampled_from(("src", "dst")),
        st.sampled_from(("==", "!=")),
        st.lists(
            st.sampled_from(("10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", JOIN, "10.16.0.0/16", "198.51.100.0/24")),
            min_size=1,
            max_size=3,
        ),
    ),
    st.sampled_from(("ip6.src == fd00:2::/64", "ip6.dst != fd00:3::/64")),
)
_acls: st.SearchStrategy[list[Json]] = st.lists(
    st.fixed_dictionaries(
        {
            "direction": st.sampled_from(("to-lport", "to-lport", "from-lport")),
            "priority": st.integers(2002, 2999),
            "match": st.lists(_terms, min_size=1, max_size=3).map(" && ".join),
            "action": st.sampled_from(("drop", "drop", "reject", "allow-related")),
        }
    ),
    max_size=2,
    unique_by=lambda one: one["priority"],
)


def _subnet(block: str, *names: str) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {
            "cidrBlock": st.just(block),
            "namespaces": st.just(list(names)),
            "private": st.booleans(),
            "allowSubnets": _lists,
            "acls": _acls,
        }
    )


@st.composite
def on_kube_ovn(draw: st.DrawFn) -> Drawn:
    """Three namespaces with subnets of their own, one of them with two families; one in the default subnet."""
    return Drawn(
        draw(st.lists(st.tuples(st.sampled_from(NAMES), _policies), max_size=2)),
        draw(tier_specs()),
        draw(pods()),
        {
            "ovn-default": {"cidrBlock": "10.16.0.0/16"},
            "join": {"cidrBlock": JOIN},
            "a": draw(_subnet("10.1.0.0/24", "a")),
            "b": draw(_subnet("10.2.0.0/24,fd00:2::/64", "b")),
            "c": draw(_subnet("10.3.0.0/24,fd00:3::/64", "c")),
        },
    )


# --- the operator's answers


def calls(flows: Sequence[Flow], source: End, target: End) -> set[Call]:
    """Those that pass by these flows."""
    met = [
        (one, other)
        for one in addresses(source)
        for other in addresses(target)
        if one.version == other.version or is_node(source)
    ]
    found = [
        flow.ports
        for flow in flows
        if any(is_in(flow.source, source, one) and is_in(flow.target, target, other) for one, other in met)
    ]
    return {call for call in CALLS if any(has(ports, call) for ports in found)}


def has(ports: Ports, call: Call) -> bool:
    protocol = OTHER if call.protocol == "ICMP" else call.protocol
    return ports is None or any(one.protocol == protocol and one.low <= call.port <= one.high for one in ports)


def is_in(group: Group | Outside, end: End, address: Address) -> bool:
    if not isinstance(end, Pod):
        return isinstance(group, Outside) and any(end in block for block in group.blocks)
    if not isinstance(group, Group) or end.namespace not in group.namespaces:
        return False
    if group.names:
        return f"{end.namespace}/{end.name}" in group.names
    is_there = not group.blocks or any(address in block for block in group.blocks)
    return is_there and any(labels.matched(one, end.labels) for one in group.pods)


def check(at: Drawn, flows: Sequence[Flow], *, of: Collection[str] = NAMES, symbolic: bool = False) -> None:
    """That these flows are those of the model, as far as they have an end in one of these namespaces. `symbolic`: pods
    on their nodes' network are not among them."""
    for source, target in at.pairs(symbolic=symbolic):
        is_of = any(isinstance(end, Pod) and end.namespace in of for end in (source, target))
        found, expected = calls(flows, source, target), at.passing(source, target) if is_of else set()
        assert found == expected, (source, target, found - expected, expected - found)
