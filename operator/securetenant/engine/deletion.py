"""What happens to a tenant's objects when its SecureTenant is deleted.

Retain: the objects stay in force and lose our marks. Delete: the namespaces are deleted with all their contents. In
both cases nodes are given back, after the namespaces, and what is wholly ours and in no namespace is deleted: who has
the namespaces then could neither see nor change it.
"""

from collections.abc import Sequence

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.drift import writes
from securetenant.drift.assess import marked
from securetenant.drift.judge import Action, Finding
from securetenant.drift.release import left
from securetenant.drift.writes import Request
from securetenant.model import kinds, names
from securetenant.model.objects import Observed, Ref


def is_pending(tenant: SecureTenant) -> bool:
    """Whether we still have work to do for a tenant that is being deleted."""
    return names.FINALIZER in tenant.metadata.finalizers


def others(tenant: SecureTenant) -> list[str]:
    """Other finalizers, which still hold the SecureTenant when we are done with it."""
    return [finalizer for finalizer in tenant.metadata.finalizers if finalizer != names.FINALIZER]


def releases(tenant: SecureTenant, world: World) -> list[Finding]:
    """Findings that take our marks off every object of ours that is left: with Retain all of them, with Delete the
    nodes and what is no longer declared. Nothing is touched in namespaces that are not the tenant's."""
    return [
        left(Finding(have.ref, control, "Stale", _end(have), rollout=True, observed=have), tenant, CONTROLS)
        for control, have in marked(tenant, world)
        if not have.deleting and ownership.may_release(tenant, have, world)
    ]


def _end(have: Observed) -> Action:
    return "Release" if have.ref.kind.namespaced or have.ref.kind.is_shared else "Delete"


def doomed(tenant: SecureTenant, world: World) -> list[Observed]:
    """Delete: the declared namespaces that this tenant owns and that still exist, Terminating ones included.

    A namespace that was removed from the spec is kept: it is released, even if that has not happened yet.
    """
    declared = sorted(entry.name for entry in tenant.spec.namespaces)
    found = (world.get(Ref(kinds.NAMESPACE, "", name)) for name in declared)
    return [
        have
        for have in found
        if have is not None and ownership.owns(tenant, have) and not ownership.is_system(have.ref.name, world)
    ]


def deletions(namespaces: Sequence[Observed]) -> list[Request]:
    return [writes.delete_namespace(have) for have in namespaces]


def waiting(namespaces: Sequence[Observed]) -> Condition:
    """The condition for a deletion that waits, with the messages of the namespaces' own conditions."""
    message = "; ".join(f"{have.ref.name}: {_why(have)}" for have in namespaces)
    return Condition.of("Ready", "False", "Deleting", f"waiting for namespaces to be deleted: {message}")


def failed(errors: list[str]) -> Condition:
    return Condition.of("Ready", "False", "DeletionBlocked", "; ".join(errors))


def released(holders: Sequence[str]) -> Condition:
    """The condition of a SecureTenant that only other finalizers hold."""
    message = (
        "nothing of this tenant is enforced any more; the SecureTenant itself is held by the finalizers: "
        f"{', '.join(holders)}"
    )
    return Condition.of("Ready", "False", "Released", message)


def _why(have: Observed) -> str:
    status = have.field("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    messages = [
        str(condition.get("message", ""))
        for condition in (conditions if isinstance(conditions, list) else [])
        if isinstance(condition, dict) and condition.get("status") == "True"
    ]
    return ", ".join(messages) or "Terminating"
