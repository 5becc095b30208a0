"""Exactly the declared flows pass: everything that the controls write for whole whitelists, judged by what the network
plug-in does with it (tests/support/cni), against what the specs say (tests/support/declared.py)."""

from collections.abc import Iterable, Sequence
from itertools import product
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.cni.flows import passes, stopped
from tests.support.cni.values import Cluster, End, Plugin, Policy
from tests.support.declared import Declared
from tests.support.whitelists import (
    CALLS,
    OWNERS,
    PEERS_BY,
    PLATFORMS,
    PLUGINS,
    declared,
    enacted,
    ends,
    expected,
    networks_of_all,
    subnets_of_all,
    tenants_of,
)

# Provider None: what an ipBlock does to pods is unknown there, so it must not matter.
BLOCKS = {"KubeOVN": (True,), "Calico": (True,), "Cilium": (False,), "None": (True, False)}
WAYS = [
    pytest.param(plugin, way, id=f"{plugin}-{way}")
    for plugin, way in product(PLUGINS, PEERS_BY)
    if way == "Selector" or plugin != "Cilium"
]


def pairs(found: Iterable[End]) -> list[tuple[End, End]]:
    """Those of which one is a tenant's pod."""
    found = list(found)
    return [(a, b) for a, b in product(found, found) if a != b and OWNERS.keys() & {a.namespace, b.namespace}]


def check(said: Declared, cluster: Cluster, chosen: Sequence[tuple[End, End]]) -> int:
    """Fails where something passes that is not declared, or the other way round. How many calls between tenants pass."""
    opened = 0
    for source, target in chosen:
        for call in CALLS:
            wanted = expected(said, cluster, source, target, call)
            reason = stopped(cluster, source, target, call)
            assert wanted == (not reason), (source, target, call, reason or "it passes")
            opened += wanted and OWNERS.keys() >= {source.namespace, target.namespace}
    return opened


@pytest.mark.parametrize(("plugin", "way"), WAYS)
@settings(max_examples=120)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_exactly_the_declared_flows_pass(plugin: Plugin, way: str, data: st.DataObject, seed: int) -> None:
    sections, subnets = data.draw(networks_of_all(way)), data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(sections, subnets), data.draw(st.sampled_from(PLATFORMS)), seed)
    world.settle()
    chosen = Random(seed).sample(pairs(ends(world)), 250)
    for blocks in BLOCKS[plugin]:
        opened = check(declared(world), world.enforced(blocks_match_pods=blocks), chosen)
    event(f"calls between tenants' pods: {'none' if not opened else 'few' if opened < 100 else 'many'}")
