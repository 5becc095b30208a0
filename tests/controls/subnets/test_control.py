"""Each reason of the condition, with what is desired and recorded then."""

from collections.abc import Iterable
from typing import Any

import pytest

from securetenant.controls.control import Plan
from securetenant.controls.subnets.control import CONTROL
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.model.kinds import CALICO_IP_POOL, KUBE_OVN_SUBNET, NODE, SERVICE_CIDR, SUBNET_POOL, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

POOL = observed(SUBNET_POOL, "prod", spec={"cidrs": ["10.60.0.0/22"], "prefixLength": 24, "reserved": ["10.60.0.0/24"]})
DECLARED = {"name": "a", "subnet": {"cidr": "10.61.0.0/24"}}
OUT_OF_POOL = {"name": "a", "subnet": {"pool": "prod"}}
# Kube-OVN's own, with the nodes' addresses.
JOIN = observed(KUBE_OVN_SUBNET, "join", spec={"cidrBlock": "100.64.0.0/16"})
GIVEN = {"namespace": "a", "cidrs": ["10.61.0.0/24"], "pool": "", "provider": "Calico"}


def world_of(
    *objects: Observed, entry: dict[str, Any] = DECLARED, served: Iterable[Kind] = (CALICO_IP_POOL,), **more: Any
) -> StaticWorld:
    platform = more.pop("platform", None)
    of = tenant("pay", namespaces=[entry], **more)
    absent = [kind for kind in OF_SUBNET if kind not in served]
    return StaticWorld([of], objects, platform, absent)


def plan_of(world: StaticWorld, name: str = "pay") -> Plan:
    of = world.tenant(name)
    assert of is not None
    return CONTROL.plan(of, world, NOW)


def told(plan: Plan) -> tuple[str, str, str]:
    (condition,) = plan.conditions
    assert condition.type == "SubnetsReady"
    # What is not as it should be keeps the tenant from being Ready, and is looked at again.
    is_blocked = condition.status == "False"
    assert (bool(plan.blocking), plan.wake_at is not None) == (is_blocked, is_blocked)
    return condition.status, condition.reason, condition.message


def waits(plan: Plan) -> bool:
    """Whether the namespace is not to be created yet."""
    return any(want.waits for want in plan.desired if want.ref.name == "a")


def given(plan: Plan) -> list[list[str]]:
    return [one.cidrs for one in plan.status["subnets"]]  # type: ignore[union-attr]


def settled(world: StaticWorld, name: str = "pay", **more: Any) -> Plan:
    """The plan after what it desires was written."""
    of = world.tenant(name)
    assert of is not None
    for want in plan_of(world, name).desired:
        if want.ref.kind.prefix:
            world.put(observe(want, of, **more))
    return plan_of(world, name)


def test_without_a_subnet_there_is_no_condition() -> None:
    plan = plan_of(world_of(entry={"name": "a"}))
    assert (list(plan.conditions), list(plan.desired), plan.status) == ([], [], {"subnets": []})


def test_waiting_then_given() -> None:
    world = world_of()
    plan = plan_of(world)
    assert told(plan) == ("False", "Waiting", "a waits for its subnet: IPPool securetenant-a is being written")
    assert plan.passing
    assert waits(plan)
    assert [str(want.ref) for want in plan.desired] == ["IPPool/securetenant-a", "Namespace/a"]
    plan = settled(world)
    assert told(plan) == ("True", "Given", "1 subnet by Calico")
    assert not waits(plan)
    assert [str(want.ref) for want in plan.desired] == ["IPPool/securetenant-a", "Namespace/a"]
    assert given(plan) == [["10.61.0.0/24"]]


def test_declared() -> None:
    plan = plan_of(world_of(served=()))
    assert told(plan)[:2] == ("True", "Declared")
    assert (plan.desired, given(plan)) == ([], [["10.61.0.0/24"]])


def test_out_of_a_pool_comes_the_lowest_that_is_not_reserved() -> None:
    assert given(settled(world_of(POOL, entry=OUT_OF_POOL))) == [["10.60.1.0/24"]]


@pytest.mark.parametrize(
    ("theirs", "platform", "said"),
    [
        (observed(CALICO_IP_POOL, "net", spec={"cidr": "10.0.0.0/8"}), None, "overlaps 10.0.0.0/8, IPPool/net"),
        (observed(NODE, "n", spec={"podCIDRs": ["10.61.0.128/25"]}), None, "overlaps 10.61.0.128/25, Node/n"),
        (
            observed(NODE, "n", status={"addresses": [{"type": "InternalIP", "address": "10.61.0.7"}]}),
            None,
            "overlaps 10.61.0.7/32, Node/n",
        ),
        (observed(SERVICE_CIDR, "k", spec={"cidrs": ["10.61.0.0/16"]}), None, "overlaps 10.61.0.0/16, ServiceCIDR/k"),
        (POOL, Platform(cluster_cidrs=("10.61.0.0/20",)), "overlaps 10.61.0.0/20, which the cluster uses itself"),
    ],
    ids=["plug-in", "pods of a node", "node", "services", "setting"],
)
def test_overlap(theirs: Observed, platform: Platform | None, said: str) -> None:
    plan = plan_of(world_of(theirs, platform=platform))
    status, reason, message = told(plan)
    assert (status, reason) == ("False", "Overlap")
    assert said in message
    assert not plan.passing
    assert waits(plan)
    assert (given(plan), dict(plan.reserved)) == ([], {})


def test_overlap_with_another_tenant() -> None:
    world = world_of()
    world.put(tenant("risk", namespaces=[{"name": "r", "subnet": {"cidr": "10.61.0.128/25"}}]))
    world.addresses.reserve("pay", plan_of(world).reserved)
    assert told(plan_of(world, "risk"))[1:] == (
        "Overlap",
        "10.61.0.128/25 of r overlaps 10.61.0.0/24, the subnet of a, tenant pay: choose other addresses",
    )
    assert told(plan_of(world))[1] == "Waiting"


def test_overlap_within_one_tenant() -> None:
    world = StaticWorld(
        [tenant("pay", namespaces=[DECLARED, {"name": "b", "subnet": {"cidr": "10.61.0.0/25"}}])],
        absent=[kind for kind in OF_SUBNET if kind is not CALICO_IP_POOL],
    )
    assert told(plan_of(world))[1:] == (
        "Overlap",
        "10.61.0.0/25 overlaps 10.61.0.0/24 of a: choose other addresses; a waits for its subnet: IPPool "
        "securetenant-a is being written",
    )
    assert given(plan_of(world)) == [["10.61.0.0/24"]]


def test_overlap_with_a_pool_that_did_not_reserve_it() -> None:
    entry = {"name": "a", "subnet": {"cidr": "10.60.1.0/24"}}
    message = told(plan_of(world_of(POOL, entry=entry)))[2]
    assert message == (
        "10.60.1.0/24 is in SubnetPool prod, which gives it to somebody else sooner or later: write pool: prod, or "
        "have it reserved there"
    )
    assert told(plan_of(world_of(POOL, entry={"name": "a", "subnet": {"cidr": "10.60.0.0/25"}})))[1] == "Waiting"


def test_what_was_given_and_then_deleted_is_made_again_unless_somebody_has_it() -> None:
    world = world_of(status={"subnets": [GIVEN]})
    assert [str(want.ref) for want in plan_of(world).desired] == ["IPPool/securetenant-a", "Namespace/a"]
    world.put(observed(CALICO_IP_POOL, "theirs", spec={"cidr": "10.61.0.0/25"}))
    plan = plan_of(world)
    assert told(plan)[1] == "Overlap"
    assert [str(want.ref) for want in plan.desired] == ["Namespace/a"]
    assert given(plan) == [["10.61.0.0/24"]], "it stays its own"


def test_not_moved() -> None:
    world = world_of()
    settled(world)
    world.put(
        tenant("pay", namespaces=[{"name": "a", "subnet": {"cidr": "10.62.0.0/24"}}], status={"subnets": [GIVEN]})
    )
    plan = plan_of(world)
    status, reason, message = told(plan)
    assert (status, reason) == ("False", "NotMoved")
    assert message.startswith("a has 10.61.0.0/24, and its pods keep their addresses: restore it")
    assert given(plan) == [["10.61.0.0/24"]]
    assert plan.desired[0].body["spec"]["cidr"] == "10.61.0.0/24"  # type: ignore[call-overload,index]


@pytest.mark.parametrize("pool", [None, observed(SUBNET_POOL, "prod", spec={"cidrs": ["x"]})])
def test_no_pool(pool: Observed | None) -> None:
    plan = plan_of(world_of(*([pool] if pool else []), entry=OUT_OF_POOL))
    assert told(plan)[1] == "NoPool"
    assert waits(plan)


def test_exhausted_pool() -> None:
    entry = {"name": "a", "subnet": {"pool": "prod", "prefixLength": 22}}
    plan = plan_of(world_of(POOL, entry=entry))
    assert told(plan)[1:] == (
        "PoolExhausted",
        "a: SubnetPool prod has no free block of /22: add a cidr to the pool, or ask for a smaller block",
    )
    assert waits(plan)


def test_no_provider() -> None:
    plan = plan_of(world_of(POOL, entry=OUT_OF_POOL, served=()))
    assert told(plan)[1] == "NoProvider"
    assert told(plan)[2].endswith("is installed: install it, or declare the cidr that its pods have")
    assert waits(plan)
    plan = plan_of(world_of(POOL, entry=OUT_OF_POOL, subnets={"provider": "None"}))
    assert told(plan)[1] == "NoProvider"
    assert "since subnets.provider is None: declare the cidr" in told(plan)[2]
    assert waits(plan)
    plan = plan_of(world_of(subnets={"provider": "Cilium"}))
    assert told(plan)[1:] == (
        "NoProvider",
        "ciliumpodippools.cilium.io is not served: install Cilium, or set subnets.provider",
    )
    assert waits(plan)


def test_several_providers_and_another_than_before() -> None:
    assert told(plan_of(world_of(served=OF_SUBNET)))[1] == "SeveralProviders"
    plan = plan_of(world_of(served=OF_SUBNET, subnets={"provider": "KubeOVN"}, status={"subnets": [GIVEN]}))
    assert told(plan)[1] == "ProviderChanged"
    assert given(plan) == [["10.61.0.0/24"]], "nothing is forgotten"


def test_a_name_that_is_taken() -> None:
    plan = plan_of(world_of(observed(CALICO_IP_POOL, "securetenant-a", spec={"cidr": "10.99.0.0/24"})))
    assert told(plan)[1:] == (
        "NameTaken",
        "IPPool/securetenant-a is not of this tenant, and has the name that its own needs: delete or rename it",
    )
    assert [str(want.ref) for want in plan.desired] == ["Namespace/a"]
    assert waits(plan)


def test_changed_addresses_are_told_and_not_taken_over() -> None:
    world = world_of(status={"subnets": [GIVEN]})
    of = world.tenant("pay")
    assert of is not None
    (want, _) = plan_of(world).desired
    world.put(observe(want, of, spec={**want.body["spec"], "cidr": "10.99.0.0/24"}))  # type: ignore[dict-item]
    applied = {"subnets": [GIVEN], "applied": {"": [f"{CALICO_IP_POOL.key}/securetenant-a"]}}
    world.put(tenant("pay", namespaces=[DECLARED], status=applied))
    plan = plan_of(world)
    assert told(plan)[1] == "Moved"
    assert "IPPool/securetenant-a was given 10.61.0.0/24 and has 10.99.0.0/24 now" in told(plan)[2]
    assert given(plan) == [["10.61.0.0/24"]]


def test_half_of_a_pair_is_completed() -> None:
    """A process died between the two writes for a dual-stack subnet of Calico, before the status."""
    pool = observed(SUBNET_POOL, "both", spec={"cidrs": ["10.60.0.0/24", "2001:db8::/64"]})
    for subnet, blocks in (
        ({"pool": "both"}, ["10.60.0.0/24", "2001:db8::/64"]),
        ({"cidr": "10.62.0.0/24", "cidrV6": "2001:db9::/64"}, ["10.62.0.0/24", "2001:db9::/64"]),
    ):
        world = world_of(pool, entry={"name": "a", "subnet": subnet})
        of = world.tenant("pay")
        assert of is not None
        first, second, _ = plan_of(world).desired
        for half in (first, second):
            world = world_of(pool, observe(half, of), entry={"name": "a", "subnet": subnet})
            plan = plan_of(world)
            assert (told(plan)[1], given(plan)) == ("Waiting", [blocks])


def test_lost_status_is_read_back_from_the_object() -> None:
    world = world_of(POOL, entry=OUT_OF_POOL)
    settled(world)
    world.put(observed(SUBNET_POOL, "prod", spec={"cidrs": ["10.70.0.0/22"]}))
    after = world_of(*(have for have in world.objects() if have.ref.kind.prefix), entry=OUT_OF_POOL)
    assert given(plan_of(after)) == [["10.60.1.0/24"]]


def test_what_was_promised_is_kept_though_nothing_shows_it() -> None:
    """The answer to the write was lost, and the status could not be written."""
    world = world_of(POOL, entry=OUT_OF_POOL)
    for _ in range(2):
        plan = plan_of(world)
        assert given(plan) == [["10.60.1.0/24"]]
        world.addresses.reserve("pay", plan.reserved)
    world.put(tenant("risk", namespaces=[{"name": "r", "subnet": {"pool": "prod"}}]))
    assert given(plan_of(world, "risk")) == [["10.60.2.0/24"]]


def test_one_that_carries_only_the_mark_is_not_its_own() -> None:
    """Anybody who may write the kind can copy a mark."""
    marked = {"app.kubernetes.io/managed-by": "securetenant", "securetenant.dev/tenant": "pay"}
    forged = observed(CALICO_IP_POOL, "securetenant-a", labels=marked, spec={"cidr": "10.99.0.0/24"})
    assert told(plan_of(world_of(forged)))[1] == "Waiting", "until it goes by itself"
    (own,) = mine(tenant("pay", namespaces=["a"]))
    assert told(plan_of(world_of(forged, own)))[1] == "NameTaken"
    elsewhere = observed(CALICO_IP_POOL, "theirs", labels=marked, spec={"cidr": "10.61.0.0/24"})
    assert told(plan_of(world_of(elsewhere)))[1] == "Overlap"


def test_in_audit_nothing_new_is_recorded() -> None:
    assert given(plan_of(world_of(mode="Audit"))) == []
    assert given(plan_of(world_of(mode="Audit", status={"subnets": [GIVEN]}))) == [["10.61.0.0/24"]]


def test_what_was_given_is_kept_for_as_long_as_the_namespace_is_the_tenants() -> None:
    of = tenant("pay", namespaces=["a"])
    (own,) = mine(of)
    held = {"subnets": [GIVEN], "namespaces": [{"name": "a", "uid": own.uid}]}
    assert given(plan_of(world_of(own, entry={"name": "b"}, status=held))) == [["10.61.0.0/24"]]
    assert given(plan_of(world_of(entry={"name": "b"}, status=held))) == []
    assert given(plan_of(world_of(own, entry={"name": "a"}, status=held))) == [["10.61.0.0/24"]]


def test_kube_ovn_is_waited_for() -> None:
    world = world_of(JOIN, served=(KUBE_OVN_SUBNET,))
    assert told(settled(world))[1:] == (
        "Waiting",
        "a waits for its subnet: Kube-OVN does not say Validated of Subnet securetenant-a yet",
    )
    ready = {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "Validated")]}
    assert told(settled(world, status=ready)) == ("True", "Given", "1 subnet by KubeOVN")
    assert world.get(Ref(KUBE_OVN_SUBNET, "", "securetenant-a")) is not None


def test_one_family_of_two_is_not_the_subnet() -> None:
    """The process died between the writes of two objects, and the pool has no more addresses of the second family."""
    both = observed(SUBNET_POOL, "prod", spec={"cidrs": ["10.60.0.0/24", "2001:db8::/64"]})
    theirs = observed(CALICO_IP_POOL, "theirs", spec={"cidr": "2001:db8::/64"})
    world = world_of(both, entry=OUT_OF_POOL)
    of = world.tenant("pay")
    assert of is not None
    world.put(observe(plan_of(world).desired[0], of), theirs)
    for _ in range(2):
        plan = plan_of(world)
        assert told(plan)[1] == "PoolExhausted"
        assert waits(plan)
        assert (given(plan), dict(plan.reserved)) == ([], {})
        assert [str(want.ref) for want in plan.desired] == ["IPPool/securetenant-a", "Namespace/a"]
        world.addresses.reserve("pay", plan.reserved)
    world.drop(theirs.ref)
    assert given(settled(world)) == [["10.60.0.0/24", "2001:db8::/64"]]
    assert told(settled(world))[1] == "Given"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_namespace_that_another_subnet_binds_too_is_not_in_its_own(is_there: bool) -> None:
    """Kube-OVN says nothing of it, and gives its pods addresses of either."""
    world = world_of(JOIN, served=(KUBE_OVN_SUBNET,))
    of = world.tenant("pay")
    assert of is not None
    if is_there:
        world.put(*mine(of))
    ready = {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "Validated")]}
    assert told(settled(world, status=ready))[1] == "Given"
    theirs = observed(KUBE_OVN_SUBNET, "theirs", spec={"cidrBlock": "10.9.0.0/24", "namespaces": ["a"]})
    world.put(theirs)
    plan = plan_of(world)
    status, reason, message = told(plan)
    assert (status, reason) == ("False", "Shared")
    assert message.startswith("Subnet/theirs binds a as well")
    assert waits(plan)
    assert given(plan) == [["10.61.0.0/24"]]
    assert not any(want.absent for want in plan.desired if want.ref.name == "a")
    world.drop(theirs.ref)
    assert told(plan_of(world))[1] == "Given"
    assert not waits(plan_of(world))


@pytest.mark.parametrize("cidr", ["nonsense", "10.61.0.1/24", ""])
def test_a_status_that_cannot_be_read_gives_nothing(cidr: str) -> None:
    """Somebody else wrote it: the pass goes on, by the object."""
    world = world_of(status={"subnets": [{**GIVEN, "cidrs": [cidr]}]})
    assert told(settled(world))[:2] == ("True", "Given")
    assert given(plan_of(world)) == [["10.61.0.0/24"]]


def test_without_the_nodes_subnet_no_acl_closes() -> None:
    """All Kube-OVNs have it. Its absence is told: nothing else says that a policy of others opens what it names."""
    ready = {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "Validated")]}
    plan = settled(world_of(served=(KUBE_OVN_SUBNET,)), status=ready)
    assert told(plan)[:2] == ("False", "NoJoin")
    assert given(plan) == [["10.61.0.0/24"]]
