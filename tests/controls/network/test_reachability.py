"""The promise of the network control, against a model: the rendered policies of all tenants together open what
the declarations say, and no more. The model reads the specs, the evaluator the policies; neither knows the code.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address, ip_network
from itertools import product
from random import Random
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from securetenant.api.tenant import Peer, PodSelector, Port, SecureTenant, Side
from securetenant.controls.network import control as network
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET
from securetenant.model.objects import Desired, Observed
from tests.support.reachability import Endpoint, Reachability
from tests.support.specs import cidr_peers
from tests.support.world import NOW, StaticWorld, mine, namespace, observed, tenant

TENANTS = ("alpha", "beta", "gamma")
NAMESPACES = ("n0", "n1", "n2", "n3", "n4")
PACTS = [(a, b) for a, b in product(TENANTS, TENANTS) if a != b or a == "alpha"]
# Of nobody; declared by a tenant that may not have it; not there.
PLATFORM, LIMBO, ABSENT = "-platform", "-limbo", "-absent"
LABELS: tuple[dict[str, str], ...] = ({}, {"app": "a"}, {"app": "b", "tier": "x"}, {"tier": "y"})
CALLS = (("TCP", 1), ("TCP", 2), ("TCP", 4), ("UDP", 2), ("SCTP", 9), ("UDP", 53))
API_SERVER = {"10.8.1.2": True, "10.8.9.1": True, "10.9.0.2": False}  # its addresses, and which are ready
API_CALL = ("TCP", 4)
# Of a node and of a Service: closed whatever block a rule names.
NODE_IP, SERVICE_IP = "10.8.1.1", "10.8.2.7"
OUTSIDE = ("10.8.1.3", "10.8.9.9", "10.9.0.1", NODE_IP, SERVICE_IP, *API_SERVER)
# Of the pods, all in blocks that rules name: of a namespace with a subnet, and of one without.
SUBNETS = {name: f"10.8.64.{16 * number}/28" for number, name in enumerate(NAMESPACES)}
OTHER_PODS = "10.8.128.0/24"
# What specs.cidr_peers draws lies at, or next to it.
ADDRESSES = ("10.0.0.0", "10.0.0.1", "10.0.0.2", "192.168.0.0", "192.168.0.1", "2001:db8::", "2001:db8::1")
FORMS = ("Selector", "Subnet", "Both")
EXPIRIES = (None, NOW - timedelta(days=1), NOW, NOW + timedelta(days=1))

pods: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "matchLabels": st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from("abxy"), max_size=2),
            "matchExpressions": st.lists(
                st.one_of(
                    st.fixed_dictionaries(
                        {
                            "key": st.sampled_from(("app", "tier")),
                            "operator": st.sampled_from(("In", "NotIn")),
                            "values": st.lists(st.sampled_from("abxy"), min_size=1, max_size=3, unique=True),
                        }
                    ),
                    st.fixed_dictionaries(
                        {
                            "key": st.sampled_from(("app", "tier")),
                            "operator": st.sampled_from(("Exists", "DoesNotExist")),
                        }
                    ),
                ),
                max_size=2,
            ),
        },
    ),
)
some_namespaces = st.one_of(st.none(), st.none(), st.lists(st.sampled_from(NAMESPACES), min_size=1, unique=True))
peers = st.one_of(
    st.fixed_dictionaries(
        {"tenant": st.sampled_from((*TENANTS, "nobody")), "namespaces": some_namespaces, "pods": pods}
    ),
    st.fixed_dictionaries({"tenant": st.sampled_from(TENANTS)}),
    st.fixed_dictionaries({"namespace": st.sampled_from((*NAMESPACES, "kube-system")), "pods": pods}),
    st.sampled_from(
        (
            {"cidr": "10.8.0.0/16", "except": ["10.8.9.0/24"]},
            {"cidr": "10.8.0.0/15"},
            {"cidr": "10.8.1.0/30"},
            {"cidr": "10.8.1.2/32"},
        )
    ),
)
port_lists = st.lists(
    st.one_of(
        st.fixed_dictionaries({"protocol": st.sampled_from(("TCP", "UDP"))}),
        st.fixed_dictionaries({"protocol": st.sampled_from(("TCP", "UDP", "SCTP")), "port": st.integers(1, 4)}),
        st.fixed_dictionaries({"port": st.integers(1, 2), "endPort": st.integers(2, 5)}),
    ),
    max_size=2,
)


@st.composite
def rule(
    draw: st.DrawFn, direction: str, namespaces: list[str], ends: st.SearchStrategy[list[dict[str, Any]]]
) -> dict[str, Any]:
    """A rule of a tenant with these namespaces, in YAML's words but for its name."""
    own, others = ("to", "from") if direction == "ingress" else ("from", "to")
    some = st.lists(st.sampled_from(namespaces), min_size=1, unique=True) if namespaces else st.none()
    expires = draw(st.sampled_from((None, None, None, *EXPIRIES)))
    return {
        own: {"namespaces": draw(st.none() | some), "pods": draw(st.none() | pods)},
        others: draw(ends),
        "ports": draw(st.just([]) | port_lists),
        **({"expires": expires} if expires else {}),
    }


def meant_for(name: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One peer, that tenant: rules of both sides that are drawn with it often agree, at least in part."""
    whole = st.fixed_dictionaries({"tenant": st.just(name)})
    return st.lists(
        whole | whole.flatmap(lambda p: some_namespaces.map(lambda n: {**p, "namespaces": n})), min_size=1, max_size=1
    )


def endpoints(ready: dict[str, bool]) -> list[Observed]:
    """The EndpointSlices of the API server at these addresses: its own, and a further one for the other family."""
    families: dict[int, list[dict[str, Any]]] = {}
    for address, is_ready in ready.items():
        end = {"addresses": [address], "conditions": {"ready": is_ready}}
        families.setdefault(ip_address(address).version, []).append(end)
    return [
        observed(
            *("EndpointSlice", name, "default"),
            labels={"kubernetes.io/service-name": "kubernetes"},
            addressType=f"IPv{version}",
            endpoints=ends,
            ports=[{"name": "https", "protocol": API_CALL[0], "port": API_CALL[1]}],
        )
        for name, (version, ends) in zip(("kubernetes", "further"), families.items(), strict=False)
    ]


OWN = (
    observed("Node", "node-1", status={"addresses": [{"type": "InternalIP", "address": NODE_IP}]}),
    observed("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.8.2.0/24"]}),
    observed(KUBE_OVN_SUBNET, "ovn-default", spec={"cidrBlock": OTHER_PODS, "default": True}),
    observed("SubnetPool", "prod", spec={"cidrs": ["10.8.64.0/24"]}),
)


@dataclass
class Cluster:
    """A generated world, and who really has which namespace."""

    tenants: dict[str, SecureTenant]
    owners: dict[str, str]
    subnets: set[str]
    world: StaticWorld
    desired: list[Desired] = field(default_factory=list)

    def owner(self, name: str) -> str:
        return self.owners.get(name, PLATFORM)

    def pod(self, name: str, labels: dict[str, str]) -> Endpoint:
        block = ip_network(SUBNETS[name] if name in self.subnets else OTHER_PODS)
        return Endpoint(name, labels, str(block[3 + len(labels)]))

    def form(self, name: str) -> str:
        return self.tenants[name].spec.network.peers_by


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    owners = dict(zip(NAMESPACES, TENANTS, strict=False))  # one each, and the rest by chance
    owners |= {name: draw(st.sampled_from((*TENANTS, PLATFORM, LIMBO, ABSENT))) for name in NAMESPACES[len(TENANTS) :]}
    contested = draw(st.sampled_from((None, None, *NAMESPACES)))  # also in the youngest tenant's spec, in vain
    declared = {
        name: [n for n, owner in owners.items() if owner == name or (owner == LIMBO and name == "alpha")]
        for name in TENANTS
    }
    if contested is not None and owners[contested] not in (PLATFORM, ABSENT, "gamma"):
        declared["gamma"].append(contested)
    rules: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in product(TENANTS, ("ingress", "egress"))}
    for source, target in draw(st.lists(st.sampled_from(PACTS), min_size=2, max_size=5)):
        rules[source, "egress"].append(draw(rule("egress", declared[source], meant_for(target))))
        rules[target, "ingress"].append(draw(rule("ingress", declared[target], meant_for(source))))
    for name, direction in draw(st.lists(st.sampled_from(list(rules)), max_size=4)):
        rules[name, direction].append(draw(rule(direction, declared[name], st.lists(peers, min_size=1, max_size=2))))
    # What a namespace was given stands in its tenant's status; which others it lies beside is the plug-in's to say.
    subnets = {name for name in NAMESPACES if owners[name] in TENANTS and draw(st.sampled_from((True, True, False)))}
    tenants = {
        name: tenant(
            name,
            status={
                "subnets": [
                    {"namespace": n, "cidrs": [SUBNETS[n]], "provider": "KubeOVN"}
                    for n in sorted(subnets)
                    if owners[n] == name
                ]
            },
            created=f"2026-01-0{age + 1}T00:00:00Z",
            deleting=draw(st.sampled_from((False,) * 15 + (True,))),
            mode=draw(st.sampled_from(("Enforce", "Audit", "Paused"))),
            namespaces=declared[name],
            network={
                "isolation": draw(st.sampled_from(("Namespace", "Tenant"))),
                "peersBy": draw(st.sampled_from(FORMS)),
                "apiServer": draw(st.sampled_from((False, False, True))),
                "ingress": [{"name": f"rule{n}", **r} for n, r in enumerate(rules[name, "ingress"])],
                "egress": [{"name": f"rule{n}", **r} for n, r in enumerate(rules[name, "egress"])],
            },
        )
        for age, name in enumerate(TENANTS)
    }
    world = StaticWorld(
        tenants.values(),
        [*endpoints(API_SERVER), namespace("kube-system"), *OWN],
        absent=(CALICO_IP_POOL, CILIUM_POD_IP_POOL),
    )
    for name, owner in owners.items():
        if owner != ABSENT:
            world.put(*(mine(tenants[owner], name) if owner in tenants else [namespace(name)]))
    cluster = Cluster(tenants, owners, subnets, world)
    for item in tenants.values():
        cluster.desired += network.CONTROL.plan(item, world, NOW).desired
    return cluster


def chosen(selector: PodSelector | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return True
    verdicts = [labels.get(key) == value for key, value in selector.match_labels.items()]
    for term in selector.match_expressions:
        value = labels.get(term.key)
        verdicts.append(
            {
                "In": value in term.values,
                "NotIn": value not in term.values,
                "Exists": value is not None,
                "DoesNotExist": value is None,
            }[term.operator]
        )
    return all(verdicts)


def on_port(listed: list[Port], protocol: str, number: int) -> bool:
    return not listed or any(
        p.protocol == protocol and (p.port is None or p.port <= number <= (p.end_port or p.port)) for p in listed
    )


def own_end(side: Side, pod: Endpoint) -> bool:
    return (side.namespaces is None or pod.namespace in side.namespaces) and chosen(side.pods, dict(pod.labels))


def names(peer: Peer, other: Endpoint, owner: str) -> bool:
    """Whether a peer of a rule means this endpoint, which `owner` has."""
    if peer.cidr is not None:
        excepted = any(ip_address(other.ip) in ip_network(part) for part in peer.except_)
        is_own = other.namespace or other.ip in (NODE_IP, SERVICE_IP)
        return not is_own and ip_address(other.ip) in ip_network(peer.cidr) and not excepted
    if not other.namespace or owner in (LIMBO, ABSENT) or not chosen(peer.pods, dict(other.labels)):
        return False
    if peer.namespace is not None:
        return peer.namespace == other.namespace
    return peer.tenant == owner and (peer.namespaces is None or other.namespace in peer.namespaces)


def is_all(selector: PodSelector | None) -> bool:
    return selector is None or not (selector.match_labels or selector.match_expressions)


def declares(
    cluster: Cluster,
    direction: str,
    pod: Endpoint,
    other: Endpoint,
    call: tuple[str, int],
    *,
    own_whole: bool = False,
    other_whole: bool = False,
) -> bool:
    """Whether the tenant of `pod` has a rule in force for this call in this direction; one that names all pods of an
    end where that is asked for."""
    own = cluster.tenants[cluster.owner(pod.namespace)]
    owner = cluster.owner(other.namespace)
    listed = (
        [(r, r.to, r.from_) for r in own.spec.network.ingress]
        if direction == "ingress"
        else [(r, r.from_, r.to) for r in own.spec.network.egress]
    )
    return any(
        (rule.expires is None or rule.expires > NOW)
        and own_end(side, pod)
        and on_port(rule.ports, *call)
        and (not own_whole or is_all(side.pods))
        and any(names(peer, other, owner) and (not other_whole or is_all(peer.pods)) for peer in ends)
        for rule, side, ends in listed
    )


def opens(cluster: Cluster, direction: str, pod: Endpoint, other: Endpoint, call: tuple[str, int]) -> bool:
    """Whether the policies of the tenant of `pod` are to let this call through: each side by itself, since what one
    opens must not rest on the other's being closed."""
    own, owner = cluster.owner(pod.namespace), cluster.owner(other.namespace)
    network_ = cluster.tenants[own].spec.network
    by_subnet = network_.peers_by == "Subnet"
    if pod.namespace == other.namespace:
        return True
    if own == owner and network_.isolation == "Tenant" and (not by_subnet or other.namespace in cluster.subnets):
        return True
    is_declared = declares(cluster, direction, pod, other, call, other_whole=by_subnet)
    if owner in cluster.tenants:
        if any(cluster.tenants[name].metadata.deletion_timestamp for name in (own, owner)):
            return False
        opposite = "ingress" if direction == "egress" else "egress"
        is_declared &= declares(cluster, opposite, other, pod, call, own_whole=by_subnet)
        return is_declared and (not by_subnet or other.namespace in cluster.subnets)
    if direction == "egress" and not other.namespace and other.ip in API_SERVER:
        return network_.api_server and (is_declared or (API_SERVER[other.ip] and call == API_CALL))
    dns = other.namespace == "kube-system" and other.labels.get("k8s-app") == "kube-dns" and call[1] == 53
    if direction == "egress" and dns and call[0] in ("TCP", "UDP"):
        return True
    return is_declared and not (other.namespace and by_subnet)  # a platform namespace shares its subnet


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(clusters(), st.integers(0, 2**32))
def test_rendered_policies_open_what_is_declared_by_both_and_no_more(cluster: Cluster, seed: int) -> None:
    reachability = Reachability(cluster.desired)
    inside = [cluster.pod(name, labels) for name, labels in product(NAMESPACES, LABELS)]
    system = ({"k8s-app": "kube-dns"}, {"app": "a"})
    inside += [cluster.pod("kube-system", labels) for labels in system]
    hosts = [Endpoint("", {}, ip) for ip in OUTSIDE]
    pairs = [*product(inside, inside), *product(inside, hosts), *product(hosts, inside)]
    opened = dict.fromkeys(FORMS, 0)
    for source, target in Random(seed).sample(pairs, 200):
        if cluster.owner(source.namespace) in TENANTS:
            wanted = {call for call in CALLS if opens(cluster, "egress", source, target, call)}
            assert reachability.released(source, target, CALLS) == wanted, (source, target)
            if source.namespace != target.namespace and cluster.owner(target.namespace) in TENANTS:
                opened[cluster.form(cluster.owner(source.namespace))] += len(wanted)
        if cluster.owner(target.namespace) in TENANTS:
            wanted = {call for call in CALLS if opens(cluster, "ingress", target, source, call)}
            assert reachability.admitted(source, target, CALLS) == wanted, (source, target)
    for form, count in opened.items():
        event(f"calls between tenants by {form}: {'none' if not count else 'some' if count < 100 else 'many'}")


@st.composite
def open_to_addresses(draw: st.DrawFn) -> SecureTenant:
    """A tenant that may not reach the API server, with rules of any addresses."""
    rules = draw(st.lists(st.tuples(st.lists(cidr_peers(), min_size=1, max_size=3), port_lists), max_size=3))
    network = {
        "egress": [{"name": f"rule{n}", "to": ends, "ports": ports} for n, (ends, ports) in enumerate(rules)],
        "ingress": [{"name": f"rule{n}", "from": ends, "ports": ports} for n, (ends, ports) in enumerate(rules)],
    }
    return tenant("alpha", namespaces=["n0"], network=network)


@settings(max_examples=300)
@given(open_to_addresses(), st.dictionaries(st.sampled_from(ADDRESSES), st.booleans(), min_size=1, max_size=4))
def test_no_rule_of_addresses_opens_the_api_server_or_closes_more(
    alpha: SecureTenant, servers: dict[str, bool]
) -> None:
    elsewhere, known = (
        network.CONTROL.plan(alpha, StaticWorld([alpha], [*mine(alpha), *endpoints(at)]), NOW).desired
        for at in ({"203.0.113.1": True}, servers)
    )
    pod, hosts = Endpoint("n0", LABELS[0]), [Endpoint("", {}, ip) for ip in ADDRESSES]
    before, after = Reachability(elsewhere), Reachability(known)
    opened = 0
    for host in hosts:
        calls = before.released(pod, host, CALLS)
        assert after.released(pod, host, CALLS) == (set() if host.ip in servers else calls), host
        assert after.admitted(host, pod, CALLS) == calls, host  # as far as the same peers let it in
        opened += host.ip in servers and len(calls)
    event(f"calls to the API server that its addresses close: {'some' if opened else 'none'}")
    for whole, part in after.excepted():
        assert ip_network(part) != ip_network(whole)  # the API server refuses it
        assert ip_address(part.partition("/")[0]) in ip_network(whole)
