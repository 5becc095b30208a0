"""What is to pass by the objects that the API server has, by two readers that share no code.

The evaluator of tests/support/cni, on the API server's JSON; and the reachability core, which is what packets prove.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.flows import reach
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing, Tiered
from securetenant.sets import policy, ports, tiers
from securetenant.sets.ports import Range
from tests.support.cni import values
from tests.support.cni.flows import passes
from tests.support.cni.values import End
from tests.support.packets.calls import Attempt, Place
from tests.support.sandbox import Admin

_NAMESPACES: Final = "/api/v1/namespaces"
_POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
_CLUSTER_POLICIES: Final = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"


@dataclass(frozen=True)
class Objects:
    """What decides, as the API server has it."""

    namespaces: Mapping[str, Mapping[str, str]]
    policies: tuple[Mapping[str, Any], ...]
    cluster_policies: tuple[Mapping[str, Any], ...] = ()


async def objects(admin: Admin) -> Objects:
    namespaces = (await admin.get(_NAMESPACES))["items"]
    status, told = await admin.request("GET", _CLUSTER_POLICIES)
    return Objects(
        {one["metadata"]["name"]: one["metadata"].get("labels", {}) for one in namespaces},
        tuple((await admin.get(_POLICIES))["items"]),
        tuple(told["items"]) if status == 200 else (),
    )


@asynccontextmanager
async def recording(admin: Admin, namespace: str) -> AsyncIterator[list[Objects]]:
    """Every state that the policies of a namespace are in during the block, and those of the others as they were."""
    listed = await admin.get(_POLICIES)
    known = await objects(admin)
    standing = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in listed["items"]}
    states = [replace(known, policies=tuple(standing.values()))]

    async def read() -> None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        async for kind, one in admin.watch(path, listed["metadata"]["resourceVersion"]):
            key = (namespace, one["metadata"]["name"])
            if kind == "DELETED":
                standing.pop(key, None)
            else:
                standing[key] = one
            states.append(replace(known, policies=tuple(standing.values())))

    task = asyncio.create_task(read())
    try:
        yield states
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Judge(Protocol):
    def open(self, attempts: Iterable[Attempt]) -> set[Attempt]:
        """Those that are to connect."""


def judges(known: Objects, places: Iterable[Place]) -> list[Judge]:
    return [Evaluator(known), Core(known, places)]


class Evaluator:
    """By tests/support/cni."""

    def __init__(self, known: Objects) -> None:
        self.cluster = values.Cluster(
            plugin="None",
            policies=tuple(
                values.Policy(one["metadata"]["namespace"], one["spec"], {}, one["metadata"]["name"])
                for one in known.policies
            ),
            cluster_policies=tuple(values.ClusterPolicy(one["spec"]) for one in known.cluster_policies),
            namespaces=known.namespaces,
            has_cluster_policies=True,
        )

    def open(self, attempts: Iterable[Attempt]) -> set[Attempt]:
        return {one for one in attempts if passes(self.cluster, _one(one, one.source), _one(one, one.target), one.call)}


def _one(attempt: Attempt, place: Place) -> End:
    """The end with the address of that family alone."""
    return replace(place.end, addresses=(place.address(attempt.version),))


class Core:
    """By the reachability core, once for each address family: it takes a pod with two addresses as one that is reached
    where either is."""

    def __init__(self, known: Objects, places: Iterable[Place]) -> None:
        standing: dict[str, list[Standing]] = {}
        for one in known.policies:
            namespace, name = one["metadata"]["namespace"], one["metadata"]["name"]
            ref = Ref(NETWORK_POLICY, namespace, name)
            standing.setdefault(namespace, []).append(Standing(ref, policy.parsed(one["spec"])))
        above = [
            Tiered(Ref(CLUSTER_NETWORK_POLICY, "", one["metadata"]["name"]), tiers.parsed(one["spec"]))
            for one in known.cluster_policies
        ]
        inside = [place for place in places if place.end.namespace]
        self.flows = {}
        for version in (4, 6):
            found = reach(Cluster(known.namespaces, standing, pods=_pods(inside, version), tiers=above))
            assert not found.unknown, found.unknown
            self.flows[version] = found.flows

    def open(self, attempts: Iterable[Attempt]) -> set[Attempt]:
        return {one for one in attempts if any(_passes(flow, one) for flow in self.flows[one.version])}


def _pods(places: Iterable[Place], version: int) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for place in places:
        end, name = place.end, place.name.rpartition("/")[2]
        named = {port: (call.protocol, call.port) for port, call in end.named.items()}
        one = Pod(end.namespace, name, end.labels, named, addresses=(place.address(version),))
        found.setdefault(end.namespace, []).append(one)
    return found


def _passes(flow: Flow, attempt: Attempt) -> bool:
    asked = (Range(attempt.call.protocol, attempt.call.port, attempt.call.port),)
    return (
        _is(attempt, attempt.source, flow.source)
        and _is(attempt, attempt.target, flow.target)
        and ports.intersection(flow.ports, asked) != ports.NONE
    )


def _is(attempt: Attempt, place: Place, end: Group | Outside) -> bool:
    address = place.address(attempt.version)
    if isinstance(end, Outside):
        return not place.end.namespace and any(address in block for block in end.blocks)
    is_there = not end.blocks or any(address in block for block in end.blocks)
    return place.name in end.names and is_there
