"""Which addresses a namespace is given: tenants, pools, strangers and crashes at random, and the single cases.

The machine has what is stored (objects and tenants with their statuses) and, apart from it, the world of one process,
which sees late what others write. A process dies at any write; answers and statuses get lost, and so do objects.
"""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Final

import msgspec
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.subnets import allocation, pools
from securetenant.controls.subnets.control import CONTROL
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, NAMESPACE, SUBNET_POOL
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.sets.space import Network
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

TENANTS: Final = ("ann", "ben", "cy")
# So small that they overlap and run full.
POOLS: Final[dict[str, Any]] = {
    "small": {"cidrs": ["10.0.0.0/27"], "prefixLength": 29, "reserved": ["10.0.0.8/29"]},
    "both": {"cidrs": ["10.0.1.0/28", "10.0.0.128/28", "2001:db8::/120"], "prefixLength": 29, "prefixLengthV6": 122},
}
RESERVED: Final = [ip_network("10.0.0.8/29"), ip_network("10.0.1.0/30")]
PLATFORM: Final = Platform(cluster_cidrs=("10.0.1.0/30",), subnet_release_delay=60)
KINDS: Final = {"KubeOVN": KUBE_OVN_SUBNET, "Calico": CALICO_IP_POOL, "Cilium": CILIUM_POD_IP_POOL}
READY: Final = {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "Validated")]}
WANTED: Final = st.sampled_from(
    [
        {"pool": "small"},
        {"pool": "small", "prefixLength": 30},
        {"pool": "small", "prefixLength": 28},
        {"pool": "both"},
        {"pool": "none"},
        {"cidr": "10.0.0.8/29"},
        {"cidr": "10.0.2.0/29"},
        {"cidr": "10.0.2.0/28"},
        {"cidr": "10.0.2.4/30", "cidrV6": "2001:db8:1::/122"},
    ]
)
Place = tuple[str, str]


def pool(name: str, **spec: Any) -> Observed:
    return observed(SUBNET_POOL, name, spec=spec)


def overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


class Allocated(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[Ref, Observed] = {}
        self.tenants: dict[str, SecureTenant] = {}
        self.specs: dict[str, dict[str, dict[str, Any]]] = {}
        self.unseen: set[Ref] = set()
        self.known: dict[Place, tuple[Network, ...]] = {}
        self.now, self.count = NOW, 0

    @initialize(
        provider=st.sampled_from(sorted(KINDS)),
        wanted=st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 2), WANTED), min_size=3, max_size=7),
    )
    def begin(self, provider: str, wanted: list[tuple[str, int, dict[str, Any]]]) -> None:
        self.kind = KINDS[provider]
        for name, spec in POOLS.items():
            self.stored[Ref(SUBNET_POOL, "", name)] = pool(name, **spec)
        self.crash()
        for of, number, subnet in wanted:
            self.declare(of, number, subnet)

    # --- what people do

    @rule(of=st.sampled_from(TENANTS), number=st.integers(0, 2), subnet=WANTED)
    def declare(self, of: str, number: int, subnet: dict[str, Any]) -> None:
        """Or edit: the CRD would refuse to move a subnet, and the operator must not depend on that."""
        self.specs.setdefault(of, {})[f"{of}-{number}"] = {"name": f"{of}-{number}", "subnet": subnet}
        self._edited(of)

    @rule(of=st.sampled_from(TENANTS), number=st.integers(0, 2))
    def undeclare(self, of: str, number: int) -> None:
        if self.specs.get(of, {}).pop(f"{of}-{number}", None):
            self._edited(of)

    @rule(of=st.sampled_from(TENANTS), number=st.integers(0, 2))
    def delete_namespace(self, of: str, number: int) -> None:
        self._store(Ref(NAMESPACE, "", f"{of}-{number}"), None)

    @rule(block=st.sampled_from(["10.0.0.0/29", "10.0.0.16/30", "10.0.1.8/29", "10.0.2.0/30", "10.9.0.0/16"]))
    def stranger(self, block: str) -> None:
        """The network plug-in has a net that no tenant of ours has."""
        if any(overlap(ip_network(block), one) for blocks in self.known.values() for one in blocks):
            return  # it would be found, and is the stranger's fault
        self.count += 1
        self._put(observed(self.kind, f"theirs-{self.count}", spec=self._spec(block)))
        self.sync()

    @rule(data=st.data())
    def delete_object(self, data: st.DataObject) -> None:
        found = sorted(ref for ref in self.stored if ref.kind is self.kind)
        if found:
            self._store(data.draw(st.sampled_from(found)), None)

    @rule(of=st.sampled_from(TENANTS))
    def lose_status(self, of: str) -> None:
        """Somebody else writes it; not at a moment when the caches are behind as well."""
        if of in self.tenants:
            self.sync()
            before = self.tenants[of]
            lost = before.status.model_copy(update={"subnets": [], "applied": {}})
            self.tenants[of] = before.model_copy(update={"status": lost})
            self.world.put(self.tenants[of])

    # --- what the operator does

    @rule(order=st.permutations(TENANTS), is_written=st.booleans())
    def work_at_once(self, order: list[str], is_written: bool) -> None:
        """They are planned one after the other, and then they all write."""
        for of, read, plan in [(of, *planned) for of in order if (planned := self._planned(of)) is not None]:
            self._written(of, read, plan, 99, is_written)

    @rule(of=st.sampled_from(TENANTS), writes=st.integers(0, 3), is_written=st.booleans(), dies=st.booleans())
    def work_a_little(self, of: str, writes: int, is_written: bool, dies: bool) -> None:
        """Only so many writes succeed, and to the last of them there is no answer."""
        if (planned := self._planned(of)) is not None:
            self._written(of, *planned, writes, is_written)
        if dies:
            self.crash()

    def _planned(self, of: str) -> tuple[SecureTenant, Plan] | None:
        read = self.world.tenant(of)
        if read is None:
            return None
        plan = CONTROL.plan(read, self.world, NOW)
        assert CONTROL.plan(read, self.world, NOW) == plan, "deterministic"
        self._is_allowed(read, {name: tuple(blocks) for name, blocks in plan.reserved.items()})
        self.world.addresses.reserve(of, plan.reserved)
        return read, plan

    def _written(self, of: str, read: SecureTenant, plan: Plan, writes: int, is_written: bool) -> None:
        more = {"status": READY} if self.kind is KUBE_OVN_SUBNET else {}
        waiting = {want.ref.name for want in plan.desired if want.waits}
        made = [
            *(observe(want, read, **more) for want in plan.desired if want.ref.kind is self.kind),
            *(mine(read, entry.name)[0] for entry in read.spec.namespaces if entry.name not in waiting),
        ]
        for left, have in zip(range(writes, 0, -1), [one for one in made if one.ref not in self.stored], strict=False):
            self._put(have)
            if left > 1:
                self.world.put(have)
        if is_written and self.tenants[of].spec == read.spec:
            self.tenants[of] = self._with(of, plan.status["subnets"])
            self.world.put(self.tenants[of])

    @rule()
    def crash(self) -> None:
        """The next process lists everything."""
        self.unseen = set()
        absent = [kind for kind in OF_SUBNET if kind is not self.kind]
        self.world = StaticWorld(self.tenants.values(), self.stored.values(), PLATFORM, absent)

    @rule()
    def sync(self) -> None:
        for ref in sorted(self.unseen):
            if ref in self.stored:
                self.world.put(self.stored[ref])
            else:
                self.world.drop(ref)
        self.unseen = set()

    @rule(seconds=st.sampled_from([0, 30, 61]))
    def keep_in_order(self, seconds: int) -> None:
        self.sync()
        self.now += timedelta(seconds=seconds)
        for chore in pools.due(self.world, self.now)[0]:
            if chore.what == "Delete":
                assert Ref(NAMESPACE, "", chore.have.ref.place) not in self.stored
                self._store(chore.have.ref, None)
            elif chore.what == "Annotate":
                annotations = {k: v for k, v in {**chore.have.annotations, **chore.value}.items() if v is not None}
                self._put(_annotated(chore.have, annotations))
        self.sync()

    # --- what must hold

    @invariant()
    def never_moved_and_never_shared(self) -> None:
        shown = dict(self._shown())
        for place, blocks in self.known.items():
            if place in shown:
                # Of Calico's two objects one may be missing, for the moment.
                is_same = _is_part(blocks, shown[place]) if self.kind is CALICO_IP_POOL else blocks == shown[place]
                assert is_same, f"{place} was moved from {blocks} to {shown[place]}"
        self.known = shown
        every = [(place, one) for place, blocks in shown.items() for one in blocks]
        shared = [(a, b) for i, a in enumerate(every) for b in every[:i] if a[0] != b[0] and overlap(a[1], b[1])]
        assert shared == []

    # --- the machine's own

    def _is_allowed(self, of: SecureTenant, given: dict[str, tuple[Network, ...]]) -> None:
        """What is new overlaps nothing that this process sees of others, and nothing reserved."""
        wanted = {entry.name: entry.subnet for entry in of.spec.namespaces}
        before = {one.namespace for one in of.status.subnets}
        theirs = [
            block
            for have in self.world.objects()
            if have.ref.kind is self.kind and not have.tenant
            for block in OF_SUBNET[self.kind](have)
        ]
        for name, blocks in given.items():
            subnet = wanted[name]
            if name in before or subnet is None or self.world.addresses.given(of.name, name):
                continue
            if allocation.objects(of, name, self.kind, self.world):
                continue
            assert not any(overlap(one, other) for one in blocks for other in theirs)
            if subnet.pool is not None:
                wholes = [ip_network(cidr) for cidr in POOLS[subnet.pool]["cidrs"]]
                assert all(any(overlap(one, whole) for whole in wholes) for one in blocks)
                assert not any(overlap(one, other) for one in blocks for other in RESERVED)
                assert len(blocks) == len({whole.version for whole in wholes})

    def _shown(self) -> Iterator[tuple[Place, tuple[Network, ...]]]:
        """What the status or else the objects say a namespace was given."""
        objects: dict[Place, list[Network]] = {}
        for have in self.stored.values():
            if have.ref.kind is self.kind and have.tenant:
                objects.setdefault((have.tenant, have.ref.place), []).extend(OF_SUBNET[self.kind](have))
        for place, blocks in objects.items():
            yield place, tuple(sorted(blocks, key=lambda one: one.version))
        for name, stored in self.tenants.items():
            for one in stored.status.subnets:
                yield (name, one.namespace), tuple(map(ip_network, one.cidrs))

    def _spec(self, block: str) -> dict[str, Any]:
        if self.kind is KUBE_OVN_SUBNET:
            return {"cidrBlock": block}
        return {"cidr": block} if self.kind is CALICO_IP_POOL else {"ipv4": {"cidrs": [block], "maskSize": 30}}

    def _edited(self, of: str) -> None:
        before = self.tenants.get(of)
        made = tenant(of, namespaces=list(self.specs[of].values()))
        self.tenants[of] = made.model_copy(update={"status": before.status}) if before is not None else made
        self.world.put(self.tenants[of])

    def _with(self, of: str, subnets: Any) -> SecureTenant:
        uids = [
            {"name": ref.name, "uid": have.uid}
            for ref, have in self.stored.items()
            if ref.kind is NAMESPACE and ref.name.startswith(f"{of}-")
        ]
        applied = sorted(f"{ref.kind.key}/{ref.name}" for ref, have in self.stored.items() if have.tenant == of)
        before = self.tenants[of]
        status = type(before.status).model_validate({"namespaces": uids, "applied": {"": applied}})
        return before.model_copy(update={"status": status.model_copy(update={"subnets": subnets})})

    def _put(self, have: Observed) -> None:
        self._store(have.ref, have)

    def _store(self, ref: Ref, have: Observed | None) -> None:
        if have is not None:
            self.stored[ref] = have
        else:
            self.stored.pop(ref, None)
        self.unseen.add(ref)


def _is_part(one: tuple[Network, ...], other: tuple[Network, ...]) -> bool:
    return set(one) <= set(other) or set(other) <= set(one)


def _annotated(have: Observed, annotations: dict[str, Any]) -> Observed:
    return msgspec.structs.replace(have, annotations=annotations)


# To shrink a failure takes minutes: it is as clear without.
Allocated.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
TestAllocated: Any = Allocated.TestCase
