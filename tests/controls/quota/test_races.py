"""The tenant's total against everything that may happen at once: pods come and go, kube-controller-manager lags, the
operator sees an old world, writes get lost, quotas are tampered with, the total changes.

The cluster here is a model of what Kubernetes does with a quota (admission by status.hard, compare-and-set on its
status, status.hard copied later); tests/cluster/test_quota_admission.py has the real one.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from securetenant.api.tenant import SecureTenant
from securetenant.controls.quota import control as quota
from securetenant.model import names
from securetenant.model.kinds import RESOURCE_QUOTA
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

NAMES = ["ns-a", "ns-b", "ns-c", "ns-d"]


@dataclass(frozen=True)
class Version:
    """One state of a ResourceQuota, as any reader may have it. `spec`, `status`: hard; None: not there yet."""

    spec: int
    status: int | None = None
    used: int | None = None
    recorded: bool = True

    @property
    def committed(self) -> int:
        return max(self.spec, self.status or 0, self.used or 0)


@dataclass
class Place:
    """A namespace: every state that its quota had, how far the operator's cache is, and what really runs."""

    versions: list[Version] = field(default_factory=list)
    cached: int = 0
    pods: int = 0

    @property
    def now(self) -> Version:
        return self.versions[-1]

    def add(self, version: Version) -> None:
        if version != self.now:
            self.versions.append(version)


def seen(owner: SecureTenant, name: str, version: Version) -> Observed:
    ref = Ref(RESOURCE_QUOTA, name, "securetenant")
    ours = observe(Desired(ref, "quota", {"spec": {"hard": {"pods": str(version.spec)}}}), owner)
    counted = {"hard": {"pods": str(version.status)}, "used": {"pods": str(version.used)}}
    status: dict[str, Any] = {"status": counted} if version.status is not None else {}
    return observed(
        "ResourceQuota",
        "securetenant",
        name,
        labels=ours.labels,
        annotations={names.ANNOTATION_APPLIED: ours.record or ""} if version.recorded else {},
        spec={"hard": {"pods": str(version.spec)}},
        **status,
    )


class Races(RuleBasedStateMachine):
    """Invariant: what is used, and what may come to be used, never passes the total. Where it is above because the
    total was lowered or a quota raised by another hand, it never grows further by our doing."""

    @initialize(total=st.integers(0, 40), count=st.integers(1, 4))
    def start(self, total: int, count: int) -> None:
        self.total, self.bound = total, total
        self.places: dict[str, Place] = {name: Place() for name in NAMES[:count]}

    def tenant(self) -> SecureTenant:
        return tenant("pay", namespaces=list(self.places), quota={"tenant": {"pods": str(self.total)}})

    def committed(self) -> int:
        return sum(place.now.committed for place in self.places.values() if place.versions)

    @rule(data=st.data(), count=st.integers(1, 8))
    def create_pods(self, data: st.DataObject, count: int) -> None:
        place = self.places[data.draw(st.sampled_from(sorted(self.places)))]
        for _ in range(count):
            if place.versions and place.now.used is not None and place.now.used < (place.now.status or 0):
                place.pods += 1
                place.add(replace(place.now, used=place.now.used + 1))

    @rule(data=st.data(), count=st.integers(1, 8))
    def delete_pods(self, data: st.DataObject, count: int) -> None:
        """The count in the status follows later, as do pods."""
        place = self.places[data.draw(st.sampled_from(sorted(self.places)))]
        place.pods = max(place.pods - count, 0)

    @rule(data=st.data())
    def controller_follows(self, data: st.DataObject) -> None:
        place = self.places[data.draw(st.sampled_from(sorted(self.places)))]
        if place.versions:
            place.add(replace(place.now, status=place.now.spec, used=place.pods))

    @rule(data=st.data(), lost=st.sets(st.sampled_from(NAMES)))
    def operator_passes(self, data: st.DataObject, lost: set[str]) -> None:
        """On caches that lag, each quota by itself, but never behind the operator's own last write."""
        for place in self.places.values():
            if place.versions:
                place.cached = data.draw(st.integers(place.cached, len(place.versions) - 1))
        self.passes(lost)

    def passes(self, lost: Collection[str] = ()) -> None:
        owner = self.tenant()
        world = StaticWorld([owner])
        for name, place in self.places.items():
            if place.versions:
                world.put(seen(owner, name, place.versions[place.cached]), *mine(owner, name))
        for desired in quota.plan(owner, world, NOW).desired:
            if desired.ref.namespace not in lost:
                self.write(desired)
        self.check_bound()

    def write(self, desired: Desired) -> None:
        spec = desired.body["spec"]
        assert isinstance(spec, dict)
        hard = int(spec["hard"]["pods"])  # type: ignore[call-overload,index,arg-type]
        place = self.places[desired.ref.namespace]
        if not place.versions:
            place.versions.append(Version(hard))
        elif hard != place.versions[place.cached].spec or not place.versions[place.cached].recorded:
            place.add(replace(place.now, spec=hard, recorded=True))
            place.cached = len(place.versions) - 1

    @rule()
    def settles(self) -> None:
        """Left alone, it comes to rest within a few passes; then nobody is full while there is one for each."""
        for _ in range(8):
            before = {name: place.now if place.versions else None for name, place in self.places.items()}
            for place in self.places.values():
                place.cached = max(len(place.versions) - 1, 0)
            self.passes()
            for place in self.places.values():
                place.add(replace(place.now, status=place.now.spec, used=place.pods))
            if before == {name: place.now for name, place in self.places.items()}:
                break
        else:
            raise AssertionError(f"still moving: {self.places}")
        spare = self.total - sum(place.pods for place in self.places.values())
        assert sum(place.now.spec for place in self.places.values()) <= self.total
        if spare >= len(self.places):
            assert all(place.now.spec > place.pods for place in self.places.values())
            assert self.committed() <= self.total
        self.check_bound()

    @invariant()
    def check_bound(self) -> None:
        if hasattr(self, "places"):
            self.bound = max(self.total, min(self.bound, self.committed()))
            assert self.committed() <= self.bound, (self.total, self.bound, self.places)


class Tampered(Races):
    """The same while the total is edited and others write our quotas."""

    @rule(total=st.integers(0, 40))
    def edit_total(self, total: int) -> None:
        self.total = total
        self.bound = max(total, self.committed())

    @rule(data=st.data(), hard=st.integers(0, 60))
    def tamper(self, data: st.DataObject, hard: int) -> None:
        place = self.places[data.draw(st.sampled_from(sorted(self.places)))]
        if place.versions:
            place.add(replace(place.now, spec=hard, recorded=False))
            place.cached = len(place.versions) - 1  # what is not known of cannot be answered for
            self.bound = max(self.bound, self.committed())


_SETTINGS = settings(max_examples=100, stateful_step_count=40)
TestRaces = Races.TestCase
TestRaces.settings = _SETTINGS
TestTampered = Tampered.TestCase
TestTampered.settings = _SETTINGS


@pytest.mark.parametrize(
    ("total", "places"),
    [
        pytest.param(
            3,
            [
                [Version(1, 3, 0)],
                [Version(1, 3, 3), Version(1, 1, 2)],
                [Version(1, 2, 0)],
                [Version(0, 2, 0)],
            ],
            id="the lowered total is not kept yet",
        ),
        pytest.param(
            3,
            [
                [Version(1, 3, 0), Version(1, 1, 0)],
                [Version(1, 3, 3), Version(1, 1, 0)],
                [Version(1, 2, 0), Version(1, 1, 0)],
                [Version(0, 2, 0), Version(0, 0, 0)],
            ],
            id="the lowered total is kept again",
        ),
        pytest.param(
            10,
            [
                [Version(10, 10, 10)],
                [Version(0, 5, 5, recorded=False), Version(0, 0, 0, recorded=False)],
            ],
            id="another hand lowered one while more was used than the total",
        ),
    ],
)
def test_use_in_the_past_is_not_granted_again(total: int, places: list[list[Version]]) -> None:
    """The cache shows the first version of each quota, where more than the total is in force; the cluster has the last.
    In ns-b pods have ended, and what is in force has fallen below what the cache shows as used."""
    races = Tampered()
    races.start(total, len(places))
    for place, versions in zip(races.places.values(), places, strict=True):
        place.versions = [*versions]
    races.bound = max(total, races.committed())
    races.passes()
