"""Reads from a cluster what decides who reaches whom, with as few rights as the caller has."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.cache import snapshot
from securetenant.cache.addresses import SEEN
from securetenant.cli.cluster import explained, read_tenants, refuse_writes
from securetenant.cli.reach_states import (
    Given,
    ReachError,
    State,
    applied,
    beside,
    json_of,
    overlaid,
    state,
)
from securetenant.controls.lookup import NAMED, ONLY
from securetenant.controls.network.foreign import found as foreign
from securetenant.kube.config import ConfigError, load
from securetenant.kube.discovery import is_served
from securetenant.kube.transport import ApiError, Forbidden, NotFound, Transport
from securetenant.kube.wire import codec
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE, NETWORK_POLICY, Kind
from securetenant.model.names import GROUP
from securetenant.model.objects import Json, Observed
from securetenant.reach import reading
from securetenant.settings import Settings

_REQUIRED: Final = (NAMESPACE, NETWORK_POLICY)
# What plans of the whitelist look at: the cluster's own addresses among it, which no rule opens.
_FOR_PLANS: Final = tuple(
    dict.fromkeys(
        (*SEEN, *(kind for name in ("namespaces", "network") for kind in (*NAMED[name].kinds, *NAMED[name].looks_at)))
    )
)
_WORKLOADS: Final = (
    Kind("Pod", "", "v1", "pods", namespaced=True),
    Kind("Deployment", "apps", "v1", "deployments", namespaced=True),
    Kind("StatefulSet", "apps", "v1", "statefulsets", namespaced=True),
    Kind("DaemonSet", "apps", "v1", "daemonsets", namespaced=True),
    Kind("Job", "batch", "v1", "jobs", namespaced=True),
    Kind("CronJob", "batch", "v1", "cronjobs", namespaced=True),
)
_SERVICES: Final = (
    Kind("Service", "", "v1", "services", namespaced=True),
    Kind("Ingress", "networking.k8s.io", "v1", "ingresses", namespaced=True),
)


@dataclass(slots=True)
class _Listed:
    objects: list[Json] = field(default_factory=list)
    observed: dict[Kind, list[Observed]] = field(default_factory=dict)
    failed: dict[Kind, ApiError] = field(default_factory=dict)


def of_cluster(settings: Settings, given: Given | None = None, *, pods: bool, services: bool) -> State:
    """The cluster as it is; with `given`, as if these files were applied and the operator had acted. `pods`,
    `services`: whether these are asked for. Raises ReachError."""
    try:
        return asyncio.run(_of_cluster(settings, given, pods, services))
    except ConfigError as error:
        raise ReachError(str(error)) from error


async def _of_cluster(settings: Settings, given: Given | None, pods: bool, services: bool) -> State:
    config = await load(settings.kubeconfig, settings.context)
    wanted = dict.fromkeys(
        (*reading.KINDS, *_FOR_PLANS, *(_WORKLOADS if pods else ()), *(_SERVICES if services else ()))
    )
    async with Transport(config, in_flight=settings.requests_in_flight, connect_timeout=5.0) as transport:
        transport.before_write = refuse_writes
        listed = await _list_all(transport, wanted)
        for kind in _REQUIRED:
            if kind in listed.failed:
                raise ReachError(
                    f"{explained(listed.failed[kind], config.server)}: "
                    "it needs list on namespaces and networkpolicies, cluster-wide"
                )
        standing, notes = await _tenants(transport, config.server)
    tenants = applied(standing, given.tenants) if given else list(standing.values())
    objects = overlaid(listed.objects, given.objects) if given else listed.objects
    for one in given.others if given else ():
        kept = [have for have in listed.observed.get(one.ref.kind, ()) if have.ref != one.ref]
        listed.observed[one.ref.kind] = [*kept, one]
    world = snapshot.world_of(listed.observed, tenants, settings.platform())
    unread = [kind for kind in listed.failed if kind in (*foreign.KINDS, KUBE_OVN_SUBNET)]
    notes += [f"no {kind.plural} were read: {_why(error)}" for kind, error in listed.failed.items()]
    return state(
        f"{config.server} with {given.title}" if given else config.server,
        objects,
        tenants,
        world,
        datetime.now(UTC),
        rendering=given is not None,
        on_cluster=beside(listed.objects, given.objects) if given else listed.objects,
        notes=notes,
        unclear=[f"{kind.plural_name} of {kind.group} could not be read" for kind in unread],
        unread=[
            f"{kind.plural} could not be read: which part of a declared cidr is the cluster's is not known"
            for kind in listed.failed
            if kind in SEEN
        ],
    )


async def _list_all(transport: Transport, kinds: Iterable[Kind]) -> _Listed:
    found, kinds = _Listed(), list(kinds)
    results = await asyncio.gather(*(_list(transport, kind) for kind in kinds), return_exceptions=True)
    for kind, result in zip(kinds, results, strict=True):
        if isinstance(result, ApiError):
            found.failed[kind] = result
        elif isinstance(result, BaseException):
            raise result
        elif result is not None:
            bodies, found.observed[kind] = result
            found.objects += bodies
    return found


async def _list(transport: Transport, kind: Kind) -> tuple[list[Json], list[Observed]] | None:
    """None if it is not served and need not be."""
    if (kind.optional or kind.group == GROUP) and not await is_served(transport, kind):
        return None
    decoders, only = codec(kind), ONLY.get(kind)
    params = {"labelSelector": kind.selector} if kind.selector else {}
    bodies: list[Json] = []
    observed: list[Observed] = []
    async with contextlib.aclosing(transport.pages(kind, kind.within, params)) as pages:
        async for page in pages:
            bodies += json_of(page, kind.api_version, kind.name)
            items = decoders.page(page).items or ()
            observed += [decoders.observed(item) for item in items if only is None or item.metadata.name in only]
    return bodies, observed


async def _tenants(transport: Transport, server: str) -> tuple[dict[str, SecureTenant], list[str]]:
    try:
        found = await read_tenants(transport)
    except NotFound:
        return {}, ["the cluster does not know SecureTenants: nothing counts as declared"]
    except ApiError as error:
        return {}, [f"no SecureTenants were read, so nothing counts as declared: {explained(error, server)}"]
    refused = [
        f"{name}: its spec is invalid and not counted: {problem}" for name, (_, problem) in found.items() if problem
    ]
    return {name: tenant for name, (tenant, problem) in found.items() if not problem}, refused


def _why(error: ApiError) -> str:
    return "no right to list them" if isinstance(error, Forbidden) else str(error)
