"""Clusters as plain JSON, for programs that read manifests, and the same as reachability takes them; and random ones.

A random cluster is drawn so that much of it meets: few labels, few ports, most selectors match something.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random
from typing import Any, Final, NamedTuple

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.values import Cluster, Pod, Standing
from securetenant.sets import policy
from tests.support.cni.values import LABEL_NAME
from tests.support.specs import Document


@dataclass(frozen=True)
class Given:
    """`policies`: namespace, name and `spec`. Each namespace has the label that the API server sets."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Sequence[Pod]
    policies: Sequence[tuple[str, str, Document]] = field(default=())

    def documents(self) -> list[Document]:
        return [
            *(_document("v1", "Namespace", "", name, labels=self.labels(name)) for name in self.namespaces),
            *map(_pod, self.pods),
            *(
                _document("networking.k8s.io/v1", "NetworkPolicy", space, name, spec=spec)
                for space, name, spec in self.policies
            ),
        ]

    def cluster(self, *, blocks_match_pods: bool) -> Cluster:
        policies: dict[str, list[Standing]] = {}
        for space, name, spec in self.policies:
            policies.setdefault(space, []).append(Standing(Ref(NETWORK_POLICY, space, name), policy.parsed(spec)))
        pods: dict[str, list[Pod]] = {}
        for pod in self.pods:
            pods.setdefault(pod.namespace, []).append(pod)
        namespaces = {name: self.labels(name) for name in self.namespaces}
        return Cluster(namespaces, policies, pods, blocks_match_pods=blocks_match_pods)

    def labels(self, namespace: str) -> dict[str, str]:
        return {LABEL_NAME: namespace, **self.namespaces[namespace]}

    def policies_at(self, *ends: str) -> list[tuple[str, str, Document]]:
        """The policies of the namespaces of these pods."""
        spaces = {end.partition("/")[0] for end in ends}
        return [one for one in self.policies if one[0] in spaces]


def together(given: Iterable[Given]) -> Given:
    """One cluster of several whose namespaces differ."""
    listed = list(given)
    return Given(
        {name: labels for one in listed for name, labels in one.namespaces.items()},
        [pod for one in listed for pod in one.pods],
        [found for one in listed for found in one.policies],
    )


def _document(version: str, kind: str, space: str, name: str, **content: Any) -> Document:
    labels = {"labels": content.pop("labels")} if "labels" in content else {}
    where = {"namespace": space} if space else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, **labels}, **content}


def _pod(pod: Pod) -> Document:
    ports = [
        {"name": name, "protocol": protocol, "containerPort": number} for name, (protocol, number) in pod.named.items()
    ]
    addresses = list(map(str, pod.addresses))
    return _document(
        *("v1", "Pod", pod.namespace, pod.name),
        labels=dict(pod.labels),
        spec={"containers": [{"name": "c", "image": "registry.example/c", **({"ports": ports} if ports else {})}]},
        status={
            "phase": "Running",
            "hostIP": "192.0.2.1",
            "podIP": addresses[0],
            "podIPs": [{"ip": one} for one in addresses],
        },
    )


# --- random ones

_LABELS: Final = {"app": ("a", "b", "c"), "tier": ("x", "z", "")}
_TEAMS: Final[tuple[dict[str, str], ...]] = ({}, {"team": "red"}, {"team": "blue"}, {"team": "blue", "env": "prod"})
_NAMED: Final = (("web", ("TCP", 80)), ("web", ("TCP", 8080)), ("web", ("UDP", 80)), ("dns", ("UDP", 53)))
_V4: Final = (
    {"cidr": "0.0.0.0/0"},
    {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "198.51.100.0/25"]},
    {"cidr": "198.51.100.0/24", "except": ["198.51.100.64/26"]},
    {"cidr": "198.51.100.7/32"},
    {"cidr": "10.0.0.0/8"},  # of the pods, among others
)
_V6: Final = (
    {"cidr": "::/0", "except": ["2001:db8::/32"]},
    {"cidr": "2001:db8::/48", "except": ["2001:db8::/64"]},
    {"cidr": "2001:db8:0:1::/64"},
)
_NUMBERS: Final[tuple[Document, ...]] = (
    *({}, {"port": 80}, {"port": 443}, {"port": 53}, {"port": 1}, {"port": 65535}),
    *({"port": 80, "endPort": 443}, {"port": 81, "endPort": 81}, {"port": 1, "endPort": 65535}),
)
_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")
_OVERLAPPING: Final = {"port": 400, "endPort": 500}


class Dialect(NamedTuple):
    """What a program takes of the API. `ports_by_name_outside`: in rules that may match addresses.
    `ranges_that_overlap`: of ports, of which neither contains the other."""

    ipv6: bool = True
    ports_by_name_outside: bool = True
    ranges_that_overlap: bool = True


def random_cluster(seed: int, prefix: str, dialect: Dialect) -> Given:
    chance = Random(seed)
    spaces = [f"{prefix}-{name}" for name in "mno"[: chance.choice((2, 2, 3))]]
    pods: list[Pod] = []
    for space in spaces:
        for name in "pqr"[: chance.randint(1, 3)]:
            labels = {key: chance.choice(values) for key, values in _LABELS.items() if chance.random() < 0.7}
            named = dict(chance.sample(_NAMED, chance.randint(0, 2)))
            number = f"{chance.randrange(1, 200)}.{chance.randrange(250)}.{len(pods) + 1}"
            addresses = ip_address(f"10.{number}"), ip_address(f"fd00::{number.replace('.', ':')}")
            pods.append(Pod(space, name, labels, named, addresses))
    drawn = _Draw(chance, spaces, dialect)
    policies = [(space, f"policy{n}", drawn.spec()) for space in spaces for n in range(chance.choice((0, 1, 2, 2, 3)))]
    return Given({space: chance.choice(_TEAMS) for space in spaces}, pods, policies)


@dataclass(frozen=True)
class _Draw:
    chance: Random
    spaces: Sequence[str]
    dialect: Dialect

    def spec(self) -> Document:
        chance = self.chance
        found: Document = {"podSelector": self.pods()}
        if types := chance.choice(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"], ["Egress", "Ingress"])):
            found["policyTypes"] = types
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            if chance.random() < 0.8:
                found[direction] = [self.rule(peers) for _ in range(chance.choice((0, 1, 1, 2)))]
        return found

    def rule(self, peers: str) -> Document:
        chance = self.chance
        found: Document = {}
        if chance.random() < 0.85:
            found[peers] = [self.peer() for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        if chance.random() < 0.7:
            is_at_pods = peers == "from" or (found.get(peers) and all("ipBlock" not in one for one in found[peers]))
            named = bool(is_at_pods) or self.dialect.ports_by_name_outside
            found["ports"] = [self.port(named=named) for _ in range(chance.choice((0, 1, 1, 2)))]
        return found

    def peer(self) -> Document:
        chance = self.chance
        match chance.randrange(5):
            case 0:
                return {"ipBlock": chance.choice(_V4 + _V6 if self.dialect.ipv6 else _V4)}
            case 1:
                return {"podSelector": self.pods()}
            case 2:
                return {"namespaceSelector": self.namespaces()}
            case _:
                return {"namespaceSelector": self.namespaces(), "podSelector": self.pods()}

    def port(self, *, named: bool) -> Document:
        chance = self.chance
        protocol = chance.choice((None, "TCP", "TCP", "UDP", "SCTP"))
        found = {} if protocol is None else {"protocol": protocol}
        if named and chance.random() < 0.3:
            return {**found, "port": chance.choice(("web", "dns", "absent"))}
        return {**found, **chance.choice((*_NUMBERS, _OVERLAPPING) if self.dialect.ranges_that_overlap else _NUMBERS)}

    def pods(self) -> Document:
        return self.selector(_LABELS)

    def namespaces(self) -> Document:
        return self.selector({LABEL_NAME: self.spaces, "team": ("red", "blue"), "env": ("prod",)})

    def selector(self, known: Mapping[str, Sequence[str]]) -> Document:
        chance = self.chance
        key = chance.choice([*known])
        match chance.randrange(6):
            case 0 | 1:
                return {}
            case 2 | 3:
                return {"matchLabels": {key: chance.choice(known[key])}}
            case 4:
                return {"matchExpressions": [self.term(known)]}
            case _:
                return {"matchLabels": {key: chance.choice(known[key])}, "matchExpressions": [self.term(known)]}

    def term(self, known: Mapping[str, Sequence[str]]) -> Document:
        chance = self.chance
        key, operator = chance.choice([*known]), chance.choice(_OPERATORS)
        if operator not in _OPERATORS[:2]:
            return {"key": key, "operator": operator}
        values = chance.sample(known[key], chance.randint(1, min(2, len(known[key]))))
        return {"key": key, "operator": operator, "values": values}
