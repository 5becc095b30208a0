"""What a subnet of Kube-OVN is told to exchange packets with, where the cluster is not as usual."""

import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

import pytest

from securetenant.controls.subnets import reach
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, NODE
from securetenant.model.objects import Ref
from tests.support.cni.flows import passes
from tests.support.cni.values import Call, End, Policy
from tests.support.enacted import Enacted
from tests.support.whitelists import NODES, enacted, ends, pod, tenants_of
from tests.support.world import NOW, StaticWorld, mine, namespace, observed, tenant

CALL: Final = Call("TCP", 8443)
SUBNETS: Final[dict[str, Any]] = {
    "a1": {"subnet": {"cidr": "10.60.0.0/24"}},
    "a2": {},
    "b1": {"subnet": {"cidr": "10.60.2.0/24", "cidrV6": "2001:db8:60::/64"}, "adopt": True},
    "b2": {},
}
AGREED: Final[dict[str, Any]] = {
    "alpha": {"dns": False, "egress": [{"name": "out", "to": [{"tenant": "beta"}]}]},
    "beta": {"dns": False, "ingress": [{"name": "in", "from": [{"tenant": "alpha"}]}]},
}


def born(world: Enacted, name: str) -> End:
    found = pod(world, name, {}, 20)
    assert found is not None
    return found


def test_without_the_subnet_of_the_nodes_nothing_closes_their_way_to_pods() -> None:
    """The acl would close whatever it does not name: the probes of every kubelet."""
    world = enacted("KubeOVN", tenants_of(AGREED, SUBNETS))
    world._forget(Ref(KUBE_OVN_SUBNET, "", "join"))
    world.settle()
    assert [one.acls for one in world.subnets() if one.namespaces] == [(), ()]
    # What `join` has is known to Kube-OVN, if not by this name: its packets pass `private` and default deny.
    known = world.enforced()
    nodes = replace(known.subnets[0], name="join", blocks=tuple(_join()))
    cluster = replace(known, subnets=(*known.subnets, nodes))
    assert passes(cluster, NODES[1], born(world, "b1"), CALL)


def _join() -> Any:
    return next(one.blocks for one in enacted("KubeOVN", []).subnets() if one.name == "join")


def test_the_acls_come_when_the_subnet_of_the_nodes_does() -> None:
    world = enacted("KubeOVN", tenants_of(AGREED, SUBNETS))
    join = world.kept[KUBE_OVN_SUBNET].objects[Ref(KUBE_OVN_SUBNET, "", "join")]
    world._forget(join.ref)
    world.settle()
    world.put_objects(join)
    world.settle()
    everything = Policy("b1", {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]})
    cluster = world.enforced(everything)
    target = born(world, "b1")
    assert len([acl for one in cluster.subnets for acl in one.acls]) == 3
    assert not passes(cluster, End((ip_address("9.9.9.9"),)), target, CALL)
    assert passes(cluster, NODES[0], target, CALL)


@pytest.mark.parametrize("mode", ["Audit", "Paused"])
def test_a_peer_that_is_only_looked_at_is_reached_where_its_pods_are(mode: str) -> None:
    """Nothing moves them into the subnet that its spec wants."""
    alpha, beta = tenants_of(AGREED, SUBNETS)
    watched = beta.model_copy(update={"spec": beta.spec.model_copy(update={"mode": mode})})
    world = enacted("KubeOVN", [alpha, watched])
    world.put_objects(namespace("b1"))
    world.settle()
    cluster, source = world.enforced(), born(world, "a1")
    assert passes(cluster, source, born(world, "b1"), CALL)
    others = [end for end in ends(world, ("a2", "b1")) if not end.is_host and end.namespace not in ("a2", "b1")]
    assert not [end for end in others if passes(cluster, source, end, CALL)]


def test_much_to_leave_out_does_not_hold_up_the_others() -> None:
    """Nodes all over the addresses that a rule opens: thousands of blocks for each of many namespaces, in a process
    that renews its Lease meanwhile."""
    held = [f"n{number}" for number in range(32)]
    entries = [{"name": name, "subnet": {"pool": "prod"}} for name in held]
    rules = [{"name": "all", "from": [{"cidr": "::/0"}]}]
    of = tenant("pay", namespaces=entries, network={"dns": False, "ingress": rules})
    step = (1 << 128) // 65
    addresses = [str(ip_address(step * i + i)) for i in range(1, 65)]
    nodes = [
        observed(NODE, f"n{i}", status={"addresses": [{"type": "InternalIP", "address": one}]})
        for i, one in enumerate(addresses)
    ]
    absent = (CALICO_IP_POOL, CILIUM_POD_IP_POOL)
    world = StaticWorld([of], [*mine(of), *nodes], absent=absent)
    start = time.process_time()
    found = reach.reaches(of, held, world, NOW)
    assert time.process_time() - start < 4, "30 s where each namespace's were computed anew"
    allowed = [found[name].allowed for name in held]
    assert {len(one) for one in allowed} == {len(allowed[0])}
    assert len(allowed[0]) > 7000
