"""At no step is a flow open that is declared neither before nor after, and no pod is born outside its subnet: every
single write of a creation, a change, a hand-over and a deletion, in the writer's order, judged after each."""

from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Ref
from tests.support.cni.addresses import out_of
from tests.support.cni.flows import passes
from tests.support.cni.reading import networks
from tests.support.cni.values import Call, Plugin, within
from tests.support.declared import Declared
from tests.support.enacted import Enacted
from tests.support.whitelists import (
    DEFAULT,
    EDGE,
    LABELS,
    OUTSIDE,
    OWNERS,
    PLUGINS,
    Document,
    declared,
    enacted,
    ends,
    expected,
    networks_of_all,
    pod,
    subnets_of_all,
    tenants_of,
)
from tests.support.world import namespace

CALLS = (Call("TCP", 8443), Call("TCP", 6443), Call("UDP", 53), Call("ICMP"))
DELETED = datetime(2026, 10, 31, tzinfo=UTC)
# As in test_flows.py.
tens = settings(max_examples=4, phases=[Phase.explicit, Phase.reuse, Phase.generate])


class Guard:
    """Looks after every write. `said`: what is, or was, declared since the change began; `owners`: now."""

    def __init__(self, world: Enacted, seed: int, owners: Mapping[str, str] = OWNERS) -> None:
        self.random, self.steps = Random(seed), 0
        self.closed: set[str] = set()
        self.said: list[Declared] = []
        self.begin(world, owners)

    def begin(self, world: Enacted, owners: Mapping[str, str] = OWNERS) -> None:
        """Something was declared anew."""
        self.said.append(declared(world, owners))

    def __call__(self, world: Enacted, step: str) -> None:
        """A pod counts from the first policy on, which is to be the one that closes its namespace: before that nobody
        may make any, since the rights come last."""
        self.steps += 1
        there = {ref.name for ref in world.bodies if ref.kind is NAMESPACE}
        self.closed = (self.closed | {ref.namespace for ref in world.bodies if ref.kind is NETWORK_POLICY}) & there
        found, cluster = list(ends(world, self.closed, LABELS[:2], OUTSIDE[:2])), world.enforced()
        ours = [end for end in found if end.namespace in self.closed]
        for _ in range(15 if ours else 0):
            source, target = self.random.choice(ours), self.random.choice(found)
            if self.random.random() < 0.5:
                source, target = target, source
            for call in CALLS if source is not target else ():
                if passes(cluster, source, target, call):
                    is_declared = any(expected(said, cluster, source, target, call) for said in self.said)
                    assert is_declared, (step, source, target, call)


def edited(world: Enacted, after: SecureTenant) -> None:
    """A new spec, with the metadata and the status of the old one."""
    before = world.tenant(after.name)
    assert before is not None
    world.put(before.model_copy(update={"spec": after.spec}))


@pytest.mark.parametrize("plugin", PLUGINS)
@tens
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_creation_opens_nothing_that_is_not_declared(plugin: Plugin, data: st.DataObject, seed: int) -> None:
    sections, subnets = data.draw(networks_of_all()), data.draw(subnets_of_all(plugin))
    world = enacted(plugin, [], seed=seed)
    guard = Guard(world, seed)
    for tenant in tenants_of(sections, subnets):
        world.put(tenant)
        guard.begin(world)
        world.settle(guard)
    assert guard.steps >= 15


@pytest.mark.parametrize("plugin", PLUGINS)
@tens
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_change_opens_nothing_that_is_declared_neither_before_nor_after(
    plugin: Plugin, data: st.DataObject, seed: int
) -> None:
    sections, subnets = data.draw(networks_of_all()), data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(sections, subnets), seed=seed)
    world.settle()
    guard = Guard(world, seed)
    for tenant in tenants_of(data.draw(networks_of_all()), subnets):
        edited(world, tenant)
        guard.begin(world)
        world.reconcile(world.order.choice(list(sections)))
    world.settle(guard)


def plain(section: Document) -> Document:
    """Without the names of namespaces: they may change hands."""
    found: Document = {**section}
    for direction, side, peers in (("ingress", "to", "from"), ("egress", "from", "to")):
        found[direction] = [
            {
                **rule,
                side: {key: value for key, value in rule[side].items() if key != "namespaces"},
                peers: [{key: value for key, value in peer.items() if key != "namespaces"} for peer in rule[peers]],
            }
            for rule in section[direction]
        ]
    return found


@pytest.mark.parametrize("plugin", PLUGINS)
@tens
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_hand_over_opens_nothing_that_is_declared_neither_before_nor_after(
    plugin: Plugin, data: st.DataObject, seed: int
) -> None:
    """Of a2, from alpha to gamma: gone from the one spec first, or in the other first."""
    sections = {name: plain(section) for name, section in data.draw(networks_of_all()).items()}
    subnets = data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(sections, subnets), seed=seed)
    world.settle()
    guard = Guard(world, seed)
    taken = {**subnets, "a2": {"adopt": True}}
    edits = {one.name: one for one in tenants_of(sections, taken, {**OWNERS, "a2": "gamma"})}
    between = {name: owner for name, owner in OWNERS.items() if name != "a2"}
    for name in data.draw(st.permutations(["alpha", "gamma"])):
        edited(world, edits[name])
        guard.begin(world, between)
        guard.begin(world, {**OWNERS, "a2": "gamma"})
        for _ in range(2):
            world.watch = guard
            world.reconcile(name)
    world.settle(guard)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("plugin", PLUGINS)
@tens
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_deletion_opens_nothing_that_is_declared_neither_before_nor_after(
    plugin: Plugin, policy: str, data: st.DataObject, seed: int
) -> None:
    sections, subnets = data.draw(networks_of_all()), data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(sections, subnets), seed=seed)
    world.settle()
    guard = Guard(world, seed)
    going = world.tenant("alpha")
    assert going is not None
    ends_ = {"deletion_timestamp": DELETED, "finalizers": [names.FINALIZER]}
    spec = going.spec.model_copy(update={"deletion_policy": policy})
    world.put(going.model_copy(update={"spec": spec, "metadata": going.metadata.model_copy(update=ends_)}))
    guard.begin(world)
    guard.begin(world, {name: owner for name, owner in OWNERS.items() if owner != "alpha"})
    world.settle(guard)
    assert (Ref(NAMESPACE, "", "a1") in world.bodies) == (policy == "Retain")


# --- addresses


@pytest.mark.parametrize("plugin", [plugin for plugin in PLUGINS if plugin != "None"])
@tens
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_pod_is_born_outside_its_subnet_from_the_moment_its_namespace_exists(
    plugin: Plugin, data: st.DataObject, seed: int
) -> None:
    subnets = data.draw(subnets_of_all(plugin))
    world = enacted(plugin, tenants_of(data.draw(networks_of_all()), subnets), seed=seed)
    born: dict[str, set[Any]] = {}

    def watch(world: Enacted, step: str) -> None:
        for name in OWNERS:
            if Ref(NAMESPACE, "", name) in world.bodies and (one := pod(world, name, {}, 20)) is not None:
                born.setdefault(name, set()).update(one.addresses)

    world.settle(watch)
    # Who has no subnet draws from none of the tenants'.
    for name in (EDGE, *(name for name, entry in subnets.items() if not entry)):
        for version in (4, 6):
            drawn = out_of(plugin, version, {}, world.annotations_of(name), world.pools())
            assert drawn == [block for block in networks(DEFAULT) if block.version == version], name
    given_ = {one.namespace: one for tenant in world.known.names() for one in _status(world, tenant)}
    for name, entry in subnets.items():
        blocks = networks(given_[name].cidrs) if "subnet" in entry else ()
        assert bool(blocks) == bool(entry)
        # Of a family of which it has no block, Calico gives it an address of an open pool.
        outside = {one for one in born[name] if blocks and not within(one, blocks)}
        assert not {one for one in outside if plugin != "Calico" or one.version in {b.version for b in blocks}}, name


def _status(world: Enacted, name: str) -> Any:
    tenant = world.tenant(name)
    assert tenant is not None
    return tenant.status.subnets


@pytest.mark.parametrize("plugin", [plugin for plugin in PLUGINS if plugin != "None"])
def test_a_namespace_that_is_older_keeps_its_pods_where_they_are_and_new_ones_are_in_the_subnet(plugin: Plugin) -> None:
    world = enacted(plugin, tenants_of(*_adopting()))
    world.put_objects(namespace("a1"))
    before = pod(world, "a1", {}, 20)
    world.settle()
    after = pod(world, "a1", {}, 20)
    assert before is not None
    assert after is not None
    assert not within(before.addresses[0], networks(["10.60.0.0/24"]))
    assert within(after.addresses[0], networks(["10.60.0.0/24"]))


def _adopting() -> tuple[dict[str, Document], dict[str, Document]]:
    return {"alpha": {}}, {"a1": {"adopt": True, "subnet": {"cidr": "10.60.0.0/24"}}, "a2": {}}
