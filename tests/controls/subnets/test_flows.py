"""Exactly the declared flows pass: everything that the controls write for whole whitelists, judged by what the network
plug-in does with it (tests/support/cni), against what the specs say (tests/support/declared.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.model.platform import Platform
from tests.support.cni.flows import passes, stopped
from tests.support.cni.reading import addresses
from tests.support.cni.values import Call, Cluster, End, Plugin, Policy
from tests.support.declared import Declared, share_a_family
from tests.support.whitelists import (
    CALLS,
    EDGE,
    OUTSIDE,
    OWNERS,
    PEERS_BY,
    PLATFORMS,
    PLUGINS,
    Document,
    declared,
    enacted,
    ends,
    expected,
    networks_of_all,
    subnets_of_all,
    tenants_of,
)
from tests.support.world import namespace, tenant

BANK = Path(__file__).parents[3] / "examples" / "bank"
# Provider None: what an ipBlock does to pods is unknown there, so it must not matter.
MATCHES = {"KubeOVN": (True,), "Calico": (True,), "Cilium": (False,), "None": (True, False)}
WAYS = [
    pytest.param(plugin, way, id=f"{plugin}-{way}")
    for plugin, way in product(PLUGINS, PEERS_BY)
    if way == "Selector" or plugin != "Cilium"
]
# An example is a whole cluster: to make it smaller takes minutes, and what fails names the connection.
hundreds = settings(max_examples=100, phases=[Phase.explicit, Phase.reuse, Phase.generate])
few = settings(hundreds, max_examples=6)


def pairs(found: Iterable[End], owners: Iterable[str] = OWNERS) -> list[tuple[End, End]]:
    """Those of which one is a pod in one of these namespaces."""
    found, inside = list(found), set(owners)
    return [(a, b) for a, b in product(found, found) if a != b and inside & {a.namespace, b.namespace}]


def check(said: Declared, cluster: Cluster, chosen: Sequence[tuple[End, End]]) -> int:
    """Fails where what passes is not what is declared. How many calls between tenants' pods pass."""
    opened = 0
    for source, target in chosen:
        for call in CALLS:
            wanted = expected(said, cluster, source, target, call)
            reason = stopped(cluster, source, target, call)
            assert wanted == (not reason), (source, target, call, reason or "it passes")
            opened += wanted and said.owners.keys() >= {source.namespace, target.namespace}
    return opened


@pytest.mark.parametrize(("plugin", "way"), WAYS)
@few
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_exactly_the_declared_flows_pass(plugin: Plugin, way: str, data: st.DataObject, seed: int) -> None:
    exactly(plugin, way, data, seed)


@pytest.mark.full
@pytest.mark.parametrize(("plugin", "way"), WAYS)
@hundreds
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_exactly_the_declared_flows_of_hundreds_pass(plugin: Plugin, way: str, data: st.DataObject, seed: int) -> None:
    exactly(plugin, way, data, seed)


def exactly(plugin: Plugin, way: str, data: st.DataObject, seed: int) -> None:
    """Of one random cluster."""
    sections, subnets = data.draw(networks_of_all(way)), data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(sections, subnets), data.draw(st.sampled_from(PLATFORMS)), seed)
    world.settle()
    chosen = Random(seed).sample(pairs(ends(world)), 80)
    # Who names peers by address says by it that they match.
    for matches in MATCHES[plugin] if way != "Subnet" else (True,):
        opened = check(declared(world), world.enforced(blocks_match_pods=matches), chosen)
    event(f"calls between tenants' pods: {'none' if not opened else 'few' if opened < 50 else 'many'}")


# --- what the subnets of Kube-OVN do by themselves

KINDS_OF_PODS = [
    {key: value for key, value in (("app", app), ("tier", tier)) if value}
    for app, tier in product(("", "a", "b"), ("", "x", "y"))
]
EVERYTHING = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}


def is_anything_declared(said: Declared, one: Iterable[End], other: Iterable[End]) -> bool:
    """Between any pods of two subnets, on any port, in any direction: that is all that a subnet can tell apart."""
    every = [
        [replace(end, labels=labels) for end in side for labels in (*KINDS_OF_PODS, end.labels)]
        for side in (one, other)
    ]
    ways = [way for a, b in product(*every) for way in ((a, b), (b, a))]
    return any(said.opens(source, target, call) for source, target in ways for call in CALLS)


@few
@given(networks_of_all(), subnets_of_all("KubeOVN"), st.sampled_from(PLATFORMS), st.booleans())
def test_a_subnet_is_open_to_those_with_whom_anything_is_declared_whatever_policies_others_make(
    sections: dict[str, Document], subnets: dict[str, Document], platform: Platform, has_policies: bool
) -> None:
    """`private` and `allowSubnets` without any NetworkPolicy; and the acls, where somebody's policies admit all."""
    world = enacted("KubeOVN", tenants_of(sections, subnets), platform)
    world.settle()
    said, wide = declared(world), tuple(Policy(name, EVERYTHING) for name in OWNERS)
    cluster = replace(world.enforced(), policies=wide if has_policies else ())
    groups: dict[str, dict[str, End]] = {}  # by subnet or address outside, one pod of each namespace
    for end in [*ends(world, labels=({},)), *OUTSIDE]:
        if not end.is_host and end.labels != {"app": "a"}:
            subnet = cluster.subnet_of(end.addresses[0])
            groups.setdefault(subnet.name if subnet else str(end), {})[end.namespace] = end
    ours = {subnet.name for subnet in cluster.subnets if subnet.namespaces}
    for one, other in permutations(groups, 2):
        source, target = next(iter(groups[one].values())), next(iter(groups[other].values()))
        if ours & {one, other} and share_a_family(source, target):
            wanted = is_anything_declared(said, groups[one].values(), groups[other].values())
            assert passes(cluster, source, target, CALLS[0]) == wanted, (source, target)


# --- the bank

_APPS = ("gateway", "ledger", "teller", "clearing")
BANK_LABELS = [{}, *({"app": app} for app in _APPS), {"app.kubernetes.io/name": "ingress-nginx"}]
BANK_CALLS = [*CALLS, *(Call("TCP", port) for port in (9443, 5000, 5010, 5011))]
# A branch office, its guests, the card scheme, and somebody.
BANK_OUTSIDE = [End(addresses(text)) for text in ("10.8.1.1", "10.8.9.9", "203.0.113.7", "198.51.100.7")]


def bank() -> list[SecureTenant]:
    """The tenants of the example, each namespace with a subnet of its own."""
    found: list[SecureTenant] = []
    for file in sorted(BANK.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] == "SecureTenant":
                spec = document["spec"]
                for number, entry in enumerate(spec["namespaces"]):
                    entry["subnet"] = {"cidr": f"10.{60 + len(found)}.{number}.0/24"}
                found.append(tenant(document["metadata"]["name"], **spec))
    return found


@pytest.mark.parametrize(("plugin", "way"), WAYS)
def test_exactly_the_flows_of_the_bank_pass(plugin: Plugin, way: str) -> None:
    tenants = [with_peers(one, way) for one in bank()]
    world = enacted(plugin, tenants)
    world.put_objects(namespace("treasury-legacy"))  # older than its tenant, which only looks (Audit)
    world.settle()
    owners = {entry.name: one.name for one in tenants for entry in one.spec.namespaces}
    enforced_ = [space for space, owner in owners.items() if owner != "treasury"]
    found = pairs(ends(world, owners, BANK_LABELS, BANK_OUTSIDE), enforced_)
    said, cluster = declared(world, owners), world.enforced()
    between = set()
    for source, target in found:
        for call in BANK_CALLS:
            wanted = expected(said, cluster, source, target, call)
            assert wanted == passes(cluster, source, target, call), (source, target, call)
            if wanted and source.is_pod and source.namespace != target.namespace and call.port != 53:
                between.add((source.namespace, target.namespace or str(target.addresses[0]), call.port))
    # In words, so that not the judge alone says so.
    free = {(a, b, call.port) for a, b in permutations(("risk-engine", "risk-lab"), 2) for call in BANK_CALLS}
    outside = {("payments-prod", "203.0.113.7", 5000), ("payments-prod", "203.0.113.7", 5010)}
    named = {
        ("payments-prod", "ledger-prod", 8443),
        ("risk-engine", "ledger-prod", 8443),
        (EDGE, "payments-prod", 8443),
    }
    # These name pods, or a namespace without a subnet of its own: no subnet can stand for them.
    assert between - free == outside | (named if way != "Subnet" else set())


def with_peers(one: SecureTenant, way: str) -> SecureTenant:
    if way == "Selector":
        return one
    network = one.spec.network.model_copy(update={"peers_by": way})
    return one.model_copy(update={"spec": one.spec.model_copy(update={"network": network})})
