"""From the answer to a tampering request to the watch event that shows it undone, one after the other."""

import asyncio
import math
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bench.client import MERGE_PATCH, BenchError, Client, Event, Watch, decode, encode, watching
from bench.tenants import POLICIES, Template, namespace_name
from securetenant.engine.contention import CORRECTIONS, WINDOW

Tampering = Literal["deleted", "widened"]
TAMPERINGS: Final[tuple[Tampering, ...]] = ("deleted", "widened")
#: An ingress rule that admits everything.
_OPEN: Final = encode({"spec": {"ingress": [{}], "policyTypes": ["Ingress", "Egress"]}})
_HEAL_SECONDS: Final = 60.0
#: Between two tamperings: what the operator does after a correction (status, Event) is not a part of the next.
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"/apis/networking.k8s.io/v1/namespaces/{self.namespace}/networkpolicies/{self.name}"


def policies(template: Template, tenants: int, namespaces: int) -> list[Policy]:
    """Every policy of every measured tenant, in an order in which neighbours are of different tenants."""
    names = sorted(
        {
            write.body.split(b'"name":"', 1)[1].split(b'"', 1)[0].decode()
            for step in template.steps
            for write in step
            if "networkpolicies" in write.path
        }
    )
    found = [
        Policy(namespace_name(number, index), name)
        for index in range(namespaces)
        for name in names
        for number in range(1, tenants + 1)
    ]
    random.Random(7).shuffle(found)  # noqa: S311  the same order in each run
    return found


@dataclass(slots=True)
class Observer:
    """Sees by a watch how the policies stand, and tells when the one that was tampered with stands as before."""

    wanted: dict[Policy, Any] = field(default_factory=dict)
    _policy: Policy | None = None
    _undone: asyncio.Event = field(default_factory=asyncio.Event)
    _tampered: bool = False
    _when: float = 0.0

    def expect(self, policy: Policy) -> None:
        self._policy, self._tampered = policy, False
        self._undone.clear()

    def see(self, event: Event) -> None:
        meta = event.object.metadata
        if self._policy is None or (meta.namespace, meta.name) != (self._policy.namespace, self._policy.name):
            return
        if event.type == "DELETED" or event.object.spec != self.wanted[self._policy]:
            self._tampered = True
        elif self._tampered:
            self._when, self._policy = time.perf_counter(), None
            self._undone.set()

    async def when_undone(self, watch: Watch, what: str) -> float:
        """When (perf_counter) the tampering was seen undone."""
        await watch.until(self._undone.wait(), _HEAL_SECONDS, what)
        return self._when


@asynccontextmanager
async def observing(admin: Client) -> AsyncIterator[tuple[Observer, Watch]]:
    observer = Observer()
    async with watching(admin, POLICIES, observer.see) as watch:
        yield observer, watch


async def tamper(admin: Client, observer: Observer, policy: Policy, how: Tampering) -> float:
    """Delete or widen it, and let ``observer`` wait for it; when (perf_counter) the request was answered."""
    observer.wanted[policy] = (await admin.get(policy.path)).spec
    observer.expect(policy)
    if how == "deleted":
        await admin.send("DELETE", policy.path)
    else:
        await admin.send("PATCH", f"{policy.path}?fieldManager=kubectl-edit", _OPEN, MERGE_PATCH)
    return time.perf_counter()


async def heals(
    admin: Client, found: Sequence[Policy], how: Tampering, count: int, spacing: "Spacing | None"
) -> list[float]:
    """Milliseconds of ``count`` corrections, one after the other over ``found``."""
    taken: list[float] = []
    async with observing(admin) as (observer, watch):
        for number in range(count):
            policy = found[number % len(found)]
            if spacing is not None:
                await spacing.wait(policy)
            answered = await tamper(admin, observer, policy, how)
            undone = await observer.when_undone(watch, f"{policy.path}, {how}, to be as it was")
            taken.append(max(0.0, undone - answered) * 1000)  # the event may come before the answer
            await asyncio.sleep(_PAUSE_SECONDS)
    return taken


@dataclass(slots=True)
class Spacing:
    """Keeps the measurement from looking like another manager that fights: the operator would back off."""

    times: defaultdict[Policy, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=CORRECTIONS - 1))
    )

    async def wait(self, policy: Policy) -> None:
        """Until one more correction of this policy is no fight, and count it."""
        times = self.times[policy]
        if len(times) == times.maxlen:
            await asyncio.sleep(max(0.0, times[0] + WINDOW + 1 - time.monotonic()))
        times.append(time.monotonic())


@asynccontextmanager
async def bare_healer(writer: Client) -> AsyncIterator[None]:
    """The floor: a watch, and a rewrite of what it shows deleted or changed. No attribution, status, metrics, Event."""
    stored = decode(await writer.send("GET", POLICIES))["items"]
    good = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in stored}
    for item in stored:
        item["metadata"] = {key: item["metadata"][key] for key in ("name", "labels", "annotations")}
    async with asyncio.TaskGroup() as group:

        def see(event: Event) -> None:
            meta = event.object.metadata
            body = good[meta.namespace, meta.name]
            collection = f"/apis/networking.k8s.io/v1/namespaces/{meta.namespace}/networkpolicies"
            if event.type == "DELETED":
                group.create_task(_write(writer, "POST", collection, body))
            elif event.object.spec != body["spec"]:
                body = {**body, "metadata": {**body["metadata"], "resourceVersion": meta.resource_version}}
                group.create_task(_write(writer, "PUT", f"{collection}/{meta.name}", body))

        async with watching(writer, POLICIES, see):
            yield


async def _write(writer: Client, method: str, path: str, body: dict[str, Any]) -> None:
    await writer.send(method, path, encode({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **body}))


def quantiles(values: list[float]) -> dict[str, float]:
    """p50 and p99 by nearest rank, and the extremes."""
    if not values:
        raise BenchError("nothing was measured")
    ordered = sorted(values)

    def rank(percent: int) -> float:
        return round(ordered[math.ceil(percent * len(ordered) / 100) - 1], 2)

    return {"p50": rank(50), "p99": rank(99), "least": round(ordered[0], 2), "most": round(ordered[-1], 2)}
