"""What is told of a pool, against every single address; and what becomes of subnets whose namespace is gone."""

import time
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.controls.subnets import objects, pools
from securetenant.controls.subnets.objects import Reach
from securetenant.model.kinds import CALICO_IP_POOL, NODE, SUBNET_POOL
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.sets.space import Network
from tests.support.world import NOW, StaticWorld, namespace, observe, observed, tenant

UNUSED = "securetenant.dev/unused-since"


def nth(whole: str, length: int, number: int) -> Network:
    of = ip_network(whole)
    return ip_network((int(of.network_address) + (number << (of.max_prefixlen - length)), length))


def blocks(whole: str) -> st.SearchStrategy[Network]:
    length = ip_network(whole).prefixlen
    return st.integers(0, 4).flatmap(
        lambda more: st.integers(0, 2**more - 1).map(lambda number: nth(whole, length + more, number))
    )


# What is in use beside the pool must not count.
_USED = st.lists(st.one_of(blocks("10.0.0.0/27"), blocks("10.0.0.64/28"), blocks("2001:db8::/123")), max_size=5)


def told(world: StaticWorld) -> dict[str, Any]:
    (chore,) = (one for one in pools.due(world, NOW)[0] if one.what == "Status")
    return chore.value


@given(theirs=_USED, ours=_USED, reserved=_USED, of_cluster=_USED)
def test_the_status_is_true(
    theirs: list[Network], ours: list[Network], reserved: list[Network], of_cluster: list[Network]
) -> None:
    cidrs = ["10.0.0.0/28", "10.0.0.64/28", "2001:db8::/122"]
    kept = [one for one in reserved if any(_is_part(one, ip_network(cidr)) for cidr in cidrs)]
    texts = sorted({str(one) for one in kept})
    spec = {"cidrs": cidrs, "reserved": texts, "prefixLength": 28, "prefixLengthV6": 122}
    world = StaticWorld(
        objects=[
            observed(SUBNET_POOL, "p", spec=spec),
            *(observed(CALICO_IP_POOL, f"x{i}", spec={"cidr": str(one)}) for i, one in enumerate(theirs)),
        ],
        platform=Platform(cluster_cidrs=tuple(map(str, of_cluster))),
    )
    world.addresses.reserve("pay", {f"n{i}": [one] for i, one in enumerate(ours)})
    found = told(world)
    assert found.get("subnets", 0) == len([one for one in ours if any(_meet(one, ip_network(c)) for c in cidrs)])
    for version, family in ((4, found["ipv4"]), (6, found["ipv6"])):
        every = _addresses(version, [ip_network(cidr) for cidr in cidrs])
        allocated = every & _addresses(version, ours)
        free = every - _addresses(version, [*ours, *theirs, *kept, *of_cluster])
        numbers = {name: int(family[name]) for name in ("total", "allocated", "free", "reserved")}
        assert numbers == {
            "total": len(every),
            "allocated": len(allocated),
            "free": len(free),
            "reserved": len(every - free - allocated),
        }
        bits = 32 if version == 4 else 128
        sizes = [size for size in range(7) for start in free if start % 2**size == 0 and _is_in(start, size, free)]
        assert family.get("largestFree", "") == (f"/{bits - max(sizes)}" if sizes else "")
        outside = 1 - 2 ** max(sizes) / len(free) if free else 0
        assert family.get("fragmentation", 0) == round(100 * outside)


def _is_in(start: int, size: int, free: set[int]) -> bool:
    return all(one in free for one in range(start, start + 2**size))


def _is_part(one: Network, whole: Network) -> bool:
    return _meet(one, whole) and one.prefixlen >= whole.prefixlen


def _meet(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _addresses(version: int, of: Sequence[Network]) -> set[int]:
    return {
        int(one.network_address) + number for one in of if one.version == version for number in range(one.num_addresses)
    }


def test_a_status_that_is_true_is_not_written_again() -> None:
    spec = {"cidrs": ["10.0.0.0/16"]}
    world = StaticWorld(objects=[observed(SUBNET_POOL, "p", spec=spec)])
    status = told(world)
    assert status["conditions"] == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Valid",
            "message": "blocks are given out",
            "lastTransitionTime": "2026-11-01T12:00:00Z",
        }
    ]
    world.put(observed(SUBNET_POOL, "p", spec=spec, status=status))
    assert pools.due(world, NOW + timedelta(days=1)) == ([], None)
    world.put(observed(NODE, "n", spec={"podCIDRs": ["10.0.1.0/24"]}))
    after = told(world)
    assert (after["ipv4"]["reserved"], after["ipv4"]["free"]) == ("256", "65280")
    assert after["conditions"] == status["conditions"], "nothing has changed about that"


def test_pools_that_share_addresses_say_so_both() -> None:
    world = StaticWorld(
        objects=[
            observed(SUBNET_POOL, "p", spec={"cidrs": ["10.0.0.0/16"]}),
            observed(SUBNET_POOL, "q", spec={"cidrs": ["10.1.0.0/16", "10.0.4.0/22"]}),
            observed(SUBNET_POOL, "r", spec={"cidrs": ["10.2.0.0/16", "2001:db8::/48"]}),
            observed(SUBNET_POOL, "invalid", spec={"cidrs": ["10.0.0.0/99"]}),
        ]
    )
    values: dict[str, Any] = {chore.have.ref.name: chore.value for chore in pools.due(world, NOW)[0]}
    found = {name: value["conditions"][0] for name, value in values.items()}
    assert {name: one["reason"] for name, one in found.items()} == {"p": "Overlap", "q": "Overlap", "r": "Valid"}
    assert found["p"]["message"].startswith("10.0.0.0/16 is in SubnetPool q as well (10.0.4.0/22)")


def test_many_pools_do_not_hold_up_the_others() -> None:
    """They are compared at every round, in a process that renews its Lease meanwhile."""
    specs = [{"cidrs": [f"10.{n}.{m}.0/24" for m in range(16)]} for n in range(100)]
    world = StaticWorld(objects=[observed(SUBNET_POOL, f"p{n}", spec=spec) for n, spec in enumerate(specs)])
    start = time.process_time()
    assert len(pools.due(world, NOW)[0]) == 100
    assert time.process_time() - start < 3, "50 s where each was compared with each other"


# --- subnets without a namespace


def subnet(**more: Any) -> Observed:
    (want,) = objects.desired(CALICO_IP_POOL, "a", [ip_network("10.0.0.0/24")], Reach())
    return observe(want, tenant("pay", namespaces=["a"]), **more)


def due(*items: Any, after: float = 0, delay: int = 60) -> tuple[list[tuple[str, Any]], float | None]:
    world = StaticWorld(platform=Platform(subnet_release_delay=delay))
    world.put(*items)
    chores, wake_at = pools.due(world, NOW + timedelta(seconds=after))
    return [(one.what, one.value) for one in chores], (wake_at - NOW).total_seconds() if wake_at else None


def test_it_is_kept_for_a_while_and_then_deleted() -> None:
    stamp = {UNUSED: "2026-11-01T12:00:00Z"}
    assert due(subnet()) == ([("Annotate", stamp)], 60)
    assert due(subnet(annotations=stamp)) == ([], 60)
    assert due(subnet(annotations=stamp), after=59.9) == ([], 60)
    assert due(subnet(annotations=stamp), after=60) == ([("Delete", {})], None)
    assert due(subnet(), delay=0) == ([("Delete", {})], None)


@pytest.mark.parametrize(
    "stamp", ["yesterday", "2026-11-01T00:00:00", "", "2026-11-01T12:00:01Z", "9999-12-31T23:59:59Z"]
)
def test_a_time_that_is_none_begins_anew(stamp: str) -> None:
    assert due(subnet(annotations={UNUSED: stamp}))[0] == [("Annotate", {UNUSED: "2026-11-01T12:00:00Z"})]


OVER = {UNUSED: "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "user",
    [
        namespace("a"),
        namespace("a", deleting=True),
        tenant("pay", namespaces=["a"]),
        tenant("pay", namespaces=["a"], mode="Paused"),
    ],
    ids=["namespace", "terminating", "declared", "paused"],
)
def test_it_is_never_deleted_while_its_namespace_exists_or_will_exist(user: Any) -> None:
    """And the time in which it was unused before does not count."""
    assert due(subnet(annotations=OVER), user, delay=0) == ([("Annotate", {UNUSED: None})], None)
    assert due(subnet(), user, delay=0) == ([], None)


def test_a_tenant_that_is_being_deleted_makes_no_namespace() -> None:
    gone = tenant("pay", namespaces=["a"], deleting=True)
    assert due(subnet(annotations=OVER), gone) == ([("Delete", {})], None)
    assert due(subnet(annotations=OVER), gone, namespace("a", deleting=True))[0] == [("Annotate", {UNUSED: None})]


def test_only_what_is_ours_is_deleted() -> None:
    bare = observed(CALICO_IP_POOL, "securetenant-a", spec={"cidr": "10.0.0.0/24"}, annotations=OVER)
    marked = msgspec.structs.replace(subnet(annotations=OVER), ref=Ref(CALICO_IP_POOL, "", "default-pool"))
    copied = msgspec.structs.replace(subnet(annotations=OVER), ref=Ref(CALICO_IP_POOL, "", "securetenant-a.bak"))
    assert due(bare, marked, copied) == ([], None)
    assert due(subnet(annotations=OVER, deleting=True)) == ([], None)


def test_what_concerns_it() -> None:
    pool = observed(SUBNET_POOL, "p", spec={"cidrs": ["10.0.0.0/16"]})
    assert pools.concerns(pool, None)
    assert not pools.concerns(observed(SUBNET_POOL, "p", spec={"cidrs": ["10.0.0.0/16"]}, status={"x": 1}), pool)
    assert pools.concerns(observed(SUBNET_POOL, "p", spec={"cidrs": ["10.0.0.0/15"]}), pool)
    assert pools.concerns(subnet(), subnet())
    assert pools.concerns(namespace("a"), None)
    assert not pools.concerns(namespace("a"), namespace("a"))
    assert not pools.concerns(observed(NODE, "n"), observed(NODE, "n"))
