"""Tenants out of files as the engine sees them, with no cluster or beside those of one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from securetenant.api.tenant import SecureTenant
from securetenant.cache.snapshot import world_of
from securetenant.cache.tenants import Tenants
from securetenant.cache.world import World
from securetenant.controls.access.roles import as_shipped
from securetenant.model.kinds import CLUSTER_ROLE
from securetenant.model.objects import Json
from securetenant.settings import Settings


def body_of(tenant: SecureTenant, standing: Mapping[str, Any] | None = None) -> Json:
    """The object as the API server would give it. `standing`: the one of that name that it has already, whose
    metadata and status stay."""
    dumped: Json = tenant.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    if standing is not None:
        return {**standing, "spec": dumped.get("spec", {})}
    metadata = dumped["metadata"]
    assert isinstance(metadata, dict)
    # Without a creation time it counts as younger than all that have one.
    return {**dumped, "metadata": {"uid": "", "resourceVersion": "0", "generation": 0, **metadata}}


def tenants_of(bodies: Iterable[Mapping[str, Any]]) -> Tenants:
    """The cache of SecureTenants that these objects make."""
    tenants = Tenants()
    for body in bodies:
        tenants.observe("ADDED", body)
    return tenants


def world_without_cluster(tenants: Iterable[SecureTenant], settings: Settings) -> World:
    """A cluster that holds nothing yet but these tenants, and the roles that come with the operator."""
    platform = replace(settings.platform(), offline=True)
    bodies = tenants_of(body_of(tenant) for tenant in tenants)
    return world_of({CLUSTER_ROLE: as_shipped()}, bodies, platform)
