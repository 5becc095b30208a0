"""Which objects belong to which tenant, for controls, drift detection and deletion. Pure.

A namespace belongs to a tenant by the UID in the tenant's status, or by a commitment made before its creation. Labels
and records prove nothing: whoever may write the object can forge them.
"""

from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime

from securetenant.api.tenant import SecureTenant
from securetenant.controls import commitment
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.record import is_recorded

_NEVER = datetime.max.replace(tzinfo=UTC)


def holder(namespace: str, world: World) -> SecureTenant | None:
    """The tenant that the namespace belongs to, or None.

    Among those that declare it: the one that owns this very namespace, otherwise the oldest. A label on the namespace
    proves nothing: anybody who may patch the namespace could forge it (Capsule CVE-2024-39690, CVE-2025-55205).
    """
    if is_system(namespace, world):
        return None
    candidates = world.declaring(namespace)
    if not candidates:
        return None
    observed = world.get(Ref(NAMESPACE, "", namespace))
    return min(candidates, key=lambda tenant: (not owns(tenant, observed), *age(tenant)))


def is_system(namespace: str, world: World) -> bool:
    """Whether the namespace belongs to the cluster itself or to the operator."""
    return names.is_system_namespace(namespace) or namespace == world.platform.operator_namespace


def records(tenant: SecureTenant, namespace: Observed | None) -> bool:
    """Whether the tenant's status records that it holds this very namespace (by UID)."""
    return namespace is not None and any(
        entry.name == namespace.ref.name and entry.uid == namespace.uid for entry in tenant.status.namespaces
    )


def owns(tenant: SecureTenant, namespace: Observed | None) -> bool:
    """Whether this very namespace is proved to be the tenant's, declared or not: the status records its UID, or we
    created it and it is not recorded yet."""
    return namespace is not None and (records(tenant, namespace) or commitment.proves(tenant, namespace))


def age(tenant: SecureTenant) -> tuple[datetime, str]:
    """A sort key for tenants, the oldest first; the name decides between equals."""
    return tenant.metadata.creation_timestamp or _NEVER, tenant.name


def held(tenant: SecureTenant, world: World) -> Sequence[str]:
    """The namespaces that the tenant declares and may write to, in the spec's order.

    Not among them are Terminating ones (nothing can be created there), and existing ones that are not the tenant's and
    may not be adopted.
    """
    return [entry.name for entry in tenant.spec.namespaces if may_write(tenant, entry.name, world)]


def may_write(tenant: SecureTenant, namespace: str, world: World) -> bool:
    """Whether the tenant may write its objects into this namespace now."""
    owner = holder(namespace, world)
    if owner is None or owner.name != tenant.name:
        return False
    observed = world.get(Ref(NAMESPACE, "", namespace))
    return observed is None or (not observed.deleting and is_ours(tenant, observed, world))


def is_ours(tenant: SecureTenant, namespace: Observed, world: World) -> bool:
    """Whether an existing namespace is the tenant's own already, or may be adopted.

    Never adopted is a namespace that carries the mark of another existing tenant, and one with an owner reference:
    whoever deletes that owner has the garbage collector delete the namespace, past the lock on it.
    """
    if owns(tenant, namespace):
        return True
    if namespace.owners:
        return False
    adopt = any(entry.adopt for entry in tenant.spec.namespaces if entry.name == namespace.ref.name)
    return adopt and (namespace.tenant in ("", tenant.name) or world.tenant(namespace.tenant) is None)


def as_written(tenant: SecureTenant, have: Observed) -> bool:
    """Whether an object is as it was last written for the tenant, by the record that it carries.

    Whoever may write the object can forge the record, a digest of what everybody may read. So it only distinguishes a
    rollout from drift, and never decides to whom an object belongs.
    """
    return is_recorded(have, tenant.metadata.uid)


def may_release(tenant: SecureTenant, have: Observed, world: World) -> bool:
    """Whether the tenant's marks on an object are ours to take off when the tenant goes.

    Marks and records can be forged: in a namespace that is not the tenant's by its UID nothing is touched. An object in
    no namespace that others write too (a node) loses the mark in any case: it means nothing without the tenant.
    """
    if have.ref.kind is NAMESPACE:
        return owns(tenant, have)
    if not have.ref.place and have.ref.kind.is_shared:
        return True
    if have.ref.place and not owns(tenant, world.get(Ref(NAMESPACE, "", have.ref.place))):
        return False
    applied = f"{have.ref.kind.key}/{have.ref.name}" in tenant.status.applied.get(have.ref.namespace, ())
    return applied or as_written(tenant, have)


def made_by_others(
    kind: Kind, tenant: SecureTenant, held: Iterable[str], desired: Container[Ref], world: World
) -> list[Observed]:
    """The foreign objects of a kind in the tenant's namespaces, sorted. An object with a name that the tenant writes
    is not foreign: it is the tenant's own, changed."""
    found = (
        observed
        for namespace in held
        for observed in world.in_namespace(kind, namespace)
        if observed.tenant != tenant.name and observed.ref not in desired
    )
    return sorted(found, key=lambda observed: observed.ref)
