"""Worlds of tenants and objects that are given once."""

from securetenant.cache.snapshot import world_of, world_without_cluster
from securetenant.model.kinds import CLUSTER_ROLE, NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.model.platform import Platform
from tests.support.world import mine, namespace, tenant

PAY = tenant("pay", namespaces=["pay-prod"], nodes={"selector": {"matchLabels": {"pool": "pay", "zone": "a"}}})
RISK = tenant("risk", namespaces=["risk-prod"])


def test_tenants_are_the_models_that_were_given() -> None:
    """And none that was written out and read again."""
    world = world_without_cluster([PAY, RISK], Platform())
    assert world.tenant("pay") is PAY
    assert list(world.declaring("risk-prod")) == [RISK]
    assert world.declaring("risk-prod")[0] is RISK  # type: ignore[index]
    assert world.tenant("nobody") is None


def test_tenants_are_found_by_the_nodes_that_they_select() -> None:
    world = world_of({}, [PAY, RISK], Platform())
    assert list(world.having(["node:pool=pay", "node:zone=a"])) == [PAY]
    assert list(world.having(["node:zone=a"])) == []


def test_of_two_of_one_name_the_last_counts() -> None:
    again = tenant("pay", namespaces=["pay-test"])
    world = world_without_cluster([PAY, again], Platform())
    assert world.tenant("pay") is again
    assert list(world.declaring("pay-prod")) == []
    assert list(world.declaring("pay-test")) == [again]


def test_without_a_cluster_there_are_the_shipped_roles_and_no_namespace() -> None:
    world = world_without_cluster([PAY], Platform(dns_port=5353))
    assert world.platform == Platform(dns_port=5353, offline=True)
    assert world.get(Ref(CLUSTER_ROLE, "", "securetenant-viewer")) is not None
    assert world.get(Ref(NAMESPACE, "", "pay-prod")) is None


def test_objects_are_found_by_name_and_by_mark() -> None:
    [ours] = mine(PAY)
    world = world_of({NAMESPACE: [ours, namespace("other")]}, [PAY], Platform())
    assert world.get(ours.ref) is ours
    assert list(world.marked(NAMESPACE, "pay")) == [ours]
    assert list(world.in_namespace(NETWORK_POLICY, "pay-prod")) == []
