"""Policies of every kind: packets pass as the reachability core says, and the evaluator of tests/support/cni.

Nobody's namespaces, so that what stands there is what a test wrote. Random NetworkPolicies, and ClusterNetworkPolicies
of both tiers; whose rules are tried on ports at both edges of a range, and one past each.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sandbox.cni import crds
from tests.support import networkpolicies
from tests.support.cni.reading import addresses
from tests.support.cni.values import Call
from tests.support.life import NAMESPACES, gone
from tests.support.packets import calls, judges
from tests.support.packets.calls import Place, between
from tests.support.packets.rig import Rig
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import POLICIES

pytestmark = [pytest.mark.full, pytest.mark.packets]
CLUSTER_POLICIES: Final = crds.CLUSTER_NETWORK_POLICY.collection
NAMED: Final = {"web": Call("TCP", 81), "dns": Call("UDP", 53)}
CALLS: Final = (*(Call("TCP", port) for port in (1, 2, 80, 81)), Call("UDP", 53), Call("UDP", 80))
OUTSIDE: Final = addresses("10.0.0.1", "10.1.2.3", "192.0.2.77", "203.0.113.9", "2001:db8::1", "2001:db8:1::1")
RANDOM: Final = 8
Document = dict[str, Any]


@pytest_asyncio.fixture(scope="module")
async def places(rig: Rig, admin: Admin) -> AsyncIterator[list[Place]]:
    """Pods with each of the labels, in two namespaces, and addresses outside."""
    made = []
    for namespace in networkpolicies.NAMESPACES:
        metadata = {"name": namespace, "labels": {"env": "prod"} if namespace == "there" else {}}
        await admin.create(NAMESPACES, {"metadata": metadata})
        for number, labels in enumerate(networkpolicies.LABELS):
            made.append(await rig.pod(namespace, f"pod-{number}", labels, CALLS, NAMED))
    made += rig.outside("elsewhere", OUTSIDE, CALLS)
    yield made
    rig.remove(made)
    for namespace in networkpolicies.NAMESPACES:
        await admin.delete(f"{NAMESPACES}/{namespace}")
    for namespace in networkpolicies.NAMESPACES:
        await gone(admin, f"{NAMESPACES}/{namespace}", 60)


async def stands(admin: Admin, policies: Iterable[tuple[str, Document]], above: Iterable[Document] = ()) -> None:
    """These, by namespace, and no other policies stand in the two namespaces; `above`: ClusterNetworkPolicies."""
    for namespace in networkpolicies.NAMESPACES:
        await admin.delete(POLICIES.format(namespace))
    await admin.delete(CLUSTER_POLICIES)
    for number, (namespace, spec) in enumerate(policies):
        await admin.create(POLICIES.format(namespace), {"metadata": {"name": f"policy-{number}"}, "spec": spec})
    kind = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    for number, spec in enumerate(above):
        await admin.create(CLUSTER_POLICIES, {**kind, "metadata": {"name": f"packets-{number}"}, "spec": spec})


async def agrees(admin: Admin, rig: Rig, places: list[Place], deadline: float = 12.0) -> None:
    """The readers are of one mind, and the packets are of theirs."""
    known = await judges.objects(admin)
    tried = list(between(places, CALLS))
    first, *others = (judge.open(tried) for judge in judges.judges(known, rig.places.values()))
    for other in others:
        assert sorted(map(str, first ^ other)) == [], "the readers differ"

    async def as_read() -> bool:
        assert await calls.connects(rig.control, calls.PATIENCE)
        passed = await calls.passing(tried)
        assert await calls.connects(rig.control, calls.PATIENCE)
        assert not passed - first, f"connect, and are not to: {sorted(map(str, passed - first))}"
        assert not first - passed, f"do not connect, and are to: {sorted(map(str, first - passed))}"
        return True

    await wait_for(as_read, deadline, "the packets to pass as the policies say")


def drawn(count: int) -> list[list[tuple[str, Document]]]:
    """Lists of random NetworkPolicies with their namespaces."""
    found: list[list[tuple[str, Document]]] = []
    policies = st.tuples(st.sampled_from(networkpolicies.NAMESPACES), networkpolicies.specs())

    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(policies, min_size=2, max_size=6))
    def draw(listed: list[tuple[str, Document]]) -> None:
        found.append(listed)

    draw()
    return found


async def test_random_policies(rig: Rig, admin: Admin, places: list[Place]) -> None:
    for policies in drawn(RANDOM):
        await stands(admin, policies)
        try:
            await agrees(admin, rig, places)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(policies)}") from error


# --- ClusterNetworkPolicies: what is below is closed or open by NetworkPolicies of "there" and "here"

HERE: Final = {"matchLabels": {"kubernetes.io/metadata.name": "here"}}
THERE: Final = {"matchLabels": {"kubernetes.io/metadata.name": "there"}}
WEB: Final = {"pods": {"namespaceSelector": HERE, "podSelector": {"matchLabels": {"app": "web"}}}}
CLOSED: Final = ("there", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
OPENED: Final = (
    "there",
    {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
)


def above(tier: str, priority: int, **rules: Any) -> Document:
    return {"tier": tier, "priority": priority, "subject": {"namespaces": THERE}, **rules}


def rule(action: str, *peers: Document, way: str = "from", **ports: Any) -> Document:
    protocols = [{protocol: {"destinationPort": port}} for protocol, port in ports.items()]
    return {"action": action, way: list(peers), **({"protocols": protocols} if protocols else {})}


EVERYONE: Final[Document] = {"namespaces": {}}
RANGE: Final = {"range": {"start": 2, "end": 80}}
ALL: Final = {"range": {"start": 1, "end": 65535}}
CASES: Final[Mapping[str, tuple[list[tuple[str, Document]], list[Document]]]] = {
    "Admin Deny beats what a NetworkPolicy opens": (
        [OPENED],
        [above("Admin", 10, ingress=[rule("Deny", WEB, tcp=RANGE)], egress=[rule("Deny", WEB, way="to", udp=ALL)])],
    ),
    "Admin Accept beats what a NetworkPolicy closes": (
        [CLOSED],
        [above("Admin", 10, ingress=[rule("Accept", WEB, tcp=RANGE)], egress=[rule("Accept", WEB, way="to", udp=ALL)])],
    ),
    "Admin Pass leaves some to a NetworkPolicy, then Deny": (
        [OPENED],
        [
            above("Admin", 10, ingress=[rule("Pass", WEB, tcp={"number": 80}), rule("Deny", EVERYONE)]),
            above("Admin", 20, ingress=[rule("Accept", EVERYONE)]),
        ],
    ),
    "Admin Pass to what a NetworkPolicy closes": (
        [CLOSED],
        [above("Admin", 10, ingress=[rule("Pass", WEB), rule("Accept", EVERYONE, tcp=RANGE)])],
    ),
    "the lower priority is asked first": (
        [],
        [
            above("Admin", 20, ingress=[rule("Accept", EVERYONE)]),
            above("Admin", 10, ingress=[rule("Deny", WEB)]),
        ],
    ),
    "Admin Deny of networks": (
        [],
        [
            above(
                *("Admin", 10),
                egress=[
                    rule("Accept", {"networks": ["10.1.2.0/24", "2001:db8:1::/64"]}, way="to"),
                    rule("Deny", {"networks": ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]}, way="to", tcp=RANGE),
                ],
            )
        ],
    ),
    "Admin Pass, and Baseline denies": (
        [],
        [
            above("Admin", 10, ingress=[rule("Pass", WEB)]),
            above("Baseline", 10, ingress=[rule("Accept", EVERYONE, udp=ALL), rule("Deny", EVERYONE)]),
        ],
    ),
    "Baseline yields to NetworkPolicies": (
        [OPENED],
        [above("Baseline", 10, ingress=[rule("Deny", EVERYONE)], egress=[rule("Deny", EVERYONE, way="to")])],
    ),
    "Baseline of pods": (
        [],
        [
            {
                **above("Baseline", 10, egress=[rule("Deny", {"namespaces": HERE}, way="to", tcp=RANGE)]),
                "subject": {"pods": {"namespaceSelector": THERE, "podSelector": {"matchLabels": {"app": "db"}}}},
            }
        ],
    ),
}
#: kube-network-policies takes a pod that a NetworkPolicy selects in one direction as selected in both: Baseline is not
#: asked in the other. By the API it is.
ONE_WAY: Final = (
    [("there", {"podSelector": {}, "policyTypes": ["Ingress"]})],
    [above("Baseline", 10, egress=[rule("Deny", EVERYONE, way="to")])],
)


@pytest.mark.parametrize("case", CASES)
async def test_cluster_policies(rig: Rig, admin: Admin, places: list[Place], case: str) -> None:
    await stands(admin, *CASES[case])
    await agrees(admin, rig, places)


async def test_what_the_enforcer_does_not_do(rig: Rig, admin: Admin, places: list[Place]) -> None:
    await stands(admin, *ONE_WAY)
    with pytest.raises(AssertionError, match=r"connect, and are not to: .*'there/pod-0 -> here/pod-0 TCP 1 IPv4'"):
        await agrees(admin, rig, places, 3)
    await stands(admin, [])
