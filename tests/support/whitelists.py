"""Random tenants that whitelist each other, in whole, in part or not at all, on a cluster with subnets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import product
from random import Random
from typing import Any, Final, get_args

from hypothesis import strategies as st

from securetenant.api.network import Network
from securetenant.api.tenant import SecureTenant
from securetenant.model.kinds import NAMESPACE, SUBNET_POOL
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from tests.support.cni.addresses import CILIUM_DEFAULT, OVN_DEFAULT, NoAddressError, out_of
from tests.support.cni.reading import addresses, networks
from tests.support.cni.values import Call, Cluster, End, Plugin
from tests.support.declared import Declared, share_a_family
from tests.support.enacted import KINDS, Enacted
from tests.support.world import NOW, namespace, observed, tenant

Document = dict[str, Any]

PLUGINS: Final[tuple[Plugin, ...]] = ("KubeOVN", "Calico", "Cilium", "None")
# How a spec may say that peers in the cluster are written.
PEERS_BY: Final[tuple[str, ...]] = (
    get_args(Network.model_fields["peers_by"].annotation) if "peers_by" in Network.model_fields else ("Selector",)
)
OWNERS: Final = {"a1": "alpha", "a2": "alpha", "b1": "beta", "b2": "beta", "c1": "gamma"}
TENANTS: Final = tuple(dict.fromkeys(OWNERS.values()))
EDGE: Final = "ingress-nginx"  # of the platform, without a subnet of its own
DNS: Final = "kube-system"
LABELS: Final[tuple[dict[str, str], ...]] = ({}, {"app": "a"}, {"app": "b", "tier": "x"})
CALLS: Final = (
    *(Call("TCP", port) for port in (53, 6443, 8443, 8444)),
    *(Call("UDP", 53), Call("UDP", 8443), Call("SCTP", 9), Call("ICMP")),
)
SERVER: Final = "192.0.2.10"
NODES: Final = (
    End(addresses(SERVER), node="n1", is_host=True, join=addresses("100.64.0.2")),
    End(addresses("192.0.2.11"), node="n2", is_host=True, join=addresses("100.64.0.3")),
)
# NodeLocal DNSCache: an address that each node has.
LOCAL: Final = End(addresses("169.254.20.10"), node="n2", is_host=True, join=addresses("100.64.0.3"))
OUTSIDE: Final = tuple(
    End(addresses(text))
    for text in ("198.51.100.7", "198.51.100.200", "203.0.113.9", "203.0.113.77", "2001:db8:ffff::1", "9.9.9.9")
)
# Where pods are that have no subnet of their own.
DEFAULT: Final = ("10.16.0.0/16", "fd00:10:16::/64")
PLATFORMS: Final = (
    Platform(expires_soon=()),
    Platform(expires_soon=(), dns_cidrs=("169.254.20.10/32",)),
    Platform(expires_soon=(), dns_namespace="", dns_cidrs=("169.254.20.10/32", "192.0.2.11/32")),  # on the nodes
)

# --- specs

_KEYS: Final = {"app": ("a", "b"), "tier": ("x", "y")}
_term: Final = st.sampled_from(sorted(_KEYS)).flatmap(
    lambda key: st.one_of(
        st.fixed_dictionaries(
            {
                "key": st.just(key),
                "operator": st.sampled_from(("In", "NotIn")),
                "values": st.lists(st.sampled_from(_KEYS[key]), min_size=1, unique=True),
            }
        ),
        st.fixed_dictionaries({"key": st.just(key), "operator": st.sampled_from(("Exists", "DoesNotExist"))}),
    )
)
pods: Final[st.SearchStrategy[Document | None]] = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from(LABELS).map(lambda labels: {"matchLabels": labels}),
    st.lists(_term, min_size=1, max_size=2).map(lambda terms: {"matchExpressions": terms}),
)
ports: Final[st.SearchStrategy[list[Document]]] = st.sampled_from(
    (
        [],
        [{"port": 8443}],
        [{"port": 8443, "endPort": 8450}],
        [{"protocol": "UDP"}],
        [{"port": 53}, {"protocol": "UDP", "port": 53}],
        [{"port": 6443}, {"protocol": "SCTP", "port": 9}],
    )
)
# Outside of the cluster.
BLOCKS: Final = (
    {"cidr": "198.51.100.0/24", "except": ["198.51.100.128/25"]},
    {"cidr": "203.0.113.0/24"},
    {"cidr": "203.0.113.64/26"},
    {"cidr": "2001:db8:ffff::/48"},
    {"cidr": "9.9.9.9/32"},
)
expiries: Final = st.sampled_from((None, None, None, None, NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)))


def _mine(name: str) -> tuple[str, ...]:
    return tuple(space for space, owner in OWNERS.items() if owner == name)


def _some(names: Sequence[str]) -> st.SearchStrategy[list[str] | None]:
    return st.none() | st.none() | st.lists(st.sampled_from(names), min_size=1, unique=True)


@st.composite
def _peer(draw: st.DrawFn, name: str) -> Document:
    """A peer that means this tenant; EDGE: the platform's namespace, "": addresses."""
    if not name:
        return dict(draw(st.sampled_from(BLOCKS)))
    selected = draw(pods)
    found: Document = {"pods": selected} if selected is not None else {}
    if name == EDGE or draw(st.sampled_from((False,) * 4 + (True,))):
        return {**found, "namespace": name if name == EDGE else draw(st.sampled_from(_mine(name)))}
    named = draw(_some(_mine(name)))
    return {**found, "tenant": name, **({"namespaces": named} if named else {})}


@st.composite
def _rule(draw: st.DrawFn, direction: str, own: str, other: str) -> Document:
    side, peers = ("to", "from") if direction == "ingress" else ("from", "to")
    named, selected, expires = draw(_some(_mine(own))), draw(pods), draw(expiries)
    return {
        side: {key: value for key, value in (("namespaces", named), ("pods", selected)) if value is not None},
        peers: [draw(_peer(other)), *(draw(_peer(other)) for _ in range(draw(st.sampled_from((0, 0, 0, 1)))))],
        "ports": draw(ports),
        **({"expires": expires} if expires is not None else {}),
    }


@st.composite
def networks_of_all(draw: st.DrawFn, peers_by: str = "Selector") -> dict[str, Document]:
    """The network section of each tenant: agreed, half agreed, and to the platform and outside."""
    rules: dict[tuple[str, str], list[Document]] = {key: [] for key in product(TENANTS, ("ingress", "egress"))}
    pacts = st.sampled_from(list(product(TENANTS, TENANTS)))
    for source, target in draw(st.lists(pacts, min_size=1, max_size=5)):
        sides = draw(st.sampled_from(("both", "both", "both", "source", "target")))
        if sides != "target":
            rules[source, "egress"].append(draw(_rule("egress", source, target)))
        if sides != "source":
            rules[target, "ingress"].append(draw(_rule("ingress", target, source)))
    alone = st.tuples(st.sampled_from(TENANTS), st.sampled_from(("ingress", "egress")), st.sampled_from((EDGE, "")))
    for own, direction, other in draw(st.lists(alone, max_size=3)):
        rules[own, direction].append(draw(_rule(direction, own, other)))
    return {
        name: {
            "isolation": draw(st.sampled_from(("Namespace", "Namespace", "Tenant"))),
            "dns": draw(st.sampled_from((True, True, False))),
            "apiServer": draw(st.sampled_from((False, False, True))),
            **({"peersBy": peers_by} if peers_by != "Selector" else {}),
            **{
                direction: [{"name": f"r{n}", **rule} for n, rule in enumerate(rules[name, direction])]
                for direction in ("ingress", "egress")
            },
        }
        for name in TENANTS
    }


@st.composite
def subnets_of_all(draw: st.DrawFn, plugin: Plugin) -> dict[str, Document]:
    """What the entry of each namespace has: a subnet of one or two families, one out of a pool, or none."""
    found: dict[str, Document] = {}
    for number, name in enumerate(OWNERS):
        single = {"subnet": {"cidr": f"10.60.{number}.0/24"}}
        double = {"subnet": {"cidr": f"10.60.{number}.0/24", "cidrV6": f"2001:db8:60:{number}::/64"}}
        pooled = [{"subnet": {"pool": "bank"}}] if plugin != "None" else []
        found[name] = draw(st.sampled_from((single, single, double, *pooled, {})))
    return found


def tenants_of(
    sections: Mapping[str, Document], subnets: Mapping[str, Document], names: Mapping[str, str] = OWNERS
) -> list[SecureTenant]:
    return [
        tenant(
            name,
            created=f"2026-01-0{age + 1}T00:00:00Z",
            namespaces=[{"name": space, **subnets[space]} for space, owner in names.items() if owner == name],
            network=sections[name],
        )
        for age, name in enumerate(sections)
    ]


# --- the cluster


def platform_objects(plugin: Plugin) -> list[Observed]:
    """What is there before any tenant: nodes, the API server's addresses, the plug-in's own pools, a SubnetPool."""
    ends = [{"addresses": [SERVER], "conditions": {"ready": True}}]
    found = [
        namespace(DNS),
        namespace(EDGE),
        observed(SUBNET_POOL, "bank", spec={"cidrs": ["10.70.0.0/20", "2001:db8:70::/56"], "prefixLength": 24}),
        observed(
            *("EndpointSlice", "kubernetes", "default"),
            labels={"kubernetes.io/service-name": "kubernetes"},
            addressType="IPv4",
            endpoints=ends,
            ports=[{"name": "https", "protocol": "TCP", "port": 6443}],
        ),
        observed("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]}),
        *(_node(node, DEFAULT if plugin == "None" and node is NODES[0] else ()) for node in NODES),
    ]
    match plugin:
        case "KubeOVN":
            cidrs = {OVN_DEFAULT: ",".join(DEFAULT), "join": "100.64.0.0/16,fd00:100:64::/112"}
            found += [observed(KINDS[plugin], name, spec={"cidrBlock": cidr}) for name, cidr in cidrs.items()]
        case "Calico":
            found += [observed(KINDS[plugin], f"open{n}", spec={"cidr": cidr}) for n, cidr in enumerate(DEFAULT)]
        case "Cilium":
            spec = {f"ipv{version}": {"cidrs": [cidr]} for version, cidr in zip((4, 6), DEFAULT, strict=True)}
            found.append(observed(KINDS[plugin], CILIUM_DEFAULT, spec=spec))
    return found


def _node(node: End, pods: Sequence[str]) -> Observed:
    """`pods`: the blocks that the cluster itself gives the node for its pods."""
    known = [{"type": "InternalIP", "address": str(one)} for one in node.addresses]
    return observed("Node", node.node, spec={"podCIDRs": [*pods]}, status={"addresses": known})


def enacted(
    plugin: Plugin, tenants: Sequence[SecureTenant], platform: Platform = PLATFORMS[0], seed: int = 0
) -> Enacted:
    return Enacted(plugin, tenants, platform_objects(plugin), platform, Random(seed))


def declared(cluster: Enacted, owners: Mapping[str, str] = OWNERS) -> Declared:
    tenants = {name: found for name in cluster.known.names() if (found := cluster.tenant(name)) is not None}
    return Declared(
        *(tenants, owners, cluster.platform, cluster.now, frozenset({SERVER})),
        by_subnet=any(getattr(one.spec.network, "peers_by", "") == "Subnet" for one in tenants.values()),
        with_subnet=frozenset(one.namespace for found in tenants.values() for one in found.status.subnets),
    )


def pod(cluster: Enacted, space: str, labels: Mapping[str, str], number: int) -> End | None:
    """A pod that is born now, with the addresses that the plug-in gives it; None if it gives none."""
    annotations = cluster.annotations_of(space)
    given = []
    for version in (4, 6):
        try:
            blocks = list(out_of(cluster.plugin, version, {}, annotations, cluster.pools()))
        except NoAddressError:
            return None
        if cluster.plugin == "None":
            blocks = [block for block in _stated(cluster, space) if block.version == version]
        given += [block[number] for block in blocks[:1]]
    return End(tuple(given), space, labels, node="n2")


def _stated(cluster: Enacted, space: str) -> tuple[Any, ...]:
    """Where no plug-in is told, pods have the addresses that the spec states."""
    for owner in cluster.declaring(space):
        for entry in owner.spec.namespaces:
            if entry.name == space and entry.subnet is not None:
                return networks(entry.subnet.cidrs)
    return networks(DEFAULT)


def ends(
    cluster: Enacted,
    spaces: Iterable[str] = OWNERS,
    labels: Sequence[Mapping[str, str]] = LABELS,
    outside: Iterable[End] = OUTSIDE,
) -> Iterator[End]:
    """Pods with each of these labels in each namespace that exists, nodes, and addresses outside."""
    there = [space for space in spaces if Ref(NAMESPACE, "", space) in cluster.bodies]
    placed = [*product((*there, EDGE), labels), (DNS, {"k8s-app": "kube-dns"}), (DNS, {"app": "a"})]
    for number, (space, labels_) in enumerate(placed, 10):
        if (born := pod(cluster, space, labels_, number)) is not None:
            yield born
    yield from NODES
    yield LOCAL
    # On the network of its node: nothing tells it from the node.
    yield End(NODES[1].addresses, EDGE, {"app": "a"}, "n2", is_host=True, join=NODES[1].join)
    yield from outside


def expected(said: Declared, cluster: Cluster, source: End, target: End, call: Call) -> bool:
    """What is to pass: what is declared, over a family that both have, and what a node sends to its own pods (in
    Kube-OVN to all pods), which no plug-in stops."""
    if source.is_host and target.is_pod and (cluster.plugin == "KubeOVN" or source.node == target.node):
        reached = source.join if cluster.plugin == "KubeOVN" else source.addresses
        return bool({one.version for one in reached} & {one.version for one in target.addresses})
    return share_a_family(source, target) and said.opens(source, target, call)
