"""namespaces: create, label, annotate; adopt only with `adopt: true`, never a system or another tenant's namespace."""

from collections.abc import Iterator
from datetime import datetime

from securetenant.api.status import Condition
from securetenant.api.tenant import NamespaceSpec, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Claim, Control, Plan
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Observed, Ref

NAME = "namespaces"
CONDITION = "NamespacesReady"


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """One Namespace for each entry that the tenant holds; a condition says why it does not hold the others."""
    problems = [
        problem for entry in tenant.spec.namespaces if (problem := obstacle(tenant, entry.name, world)) is not None
    ]
    held = set(ownership.held(tenant, world))
    desired = [_namespace(entry) for entry in tenant.spec.namespaces if entry.name in held]
    if problems:
        reason, _ = problems[0]
        message = "; ".join(message for _, message in problems)
        condition = Condition.of(CONDITION, "False", reason, message)
    else:
        count = "1 namespace" if len(desired) == 1 else f"{len(desired)} namespaces"
        condition = Condition.of(CONDITION, "True", "Held", count)
    return Plan(
        desired=desired,
        conditions=[condition],
        blocking=[message for _, message in problems],
        passing=condition.reason == "Terminating",
    )


def obstacle(tenant: SecureTenant, namespace: str, world: World) -> tuple[str, str] | None:
    """Why the tenant may not write into a namespace that it declares: reason and message; None if it may."""
    if ownership.is_system(namespace, world):
        return "SystemNamespace", f"{namespace} is a system namespace and can never be a tenant's: choose another name"
    owner = ownership.holder(namespace, world)
    if owner is not None and owner.name != tenant.name:
        return (
            "Conflict",
            f"{namespace} belongs to SecureTenant {owner.name}: remove it from one of the two specs",
        )
    observed = world.get(Ref(NAMESPACE, "", namespace))
    if observed is None:
        return None
    if observed.deleting:
        return "Terminating", f"{namespace} is Terminating; it is recreated with all its objects once it is deleted"
    if not ownership.is_ours(tenant, observed, world):
        if observed.owners:
            return (
                "NotOwned",
                f"{namespace} has an owner reference, so that deleting the owner deletes it: remove "
                "metadata.ownerReferences, and set adopt: true on it to take it over",
            )
        return "NotOwned", f"{namespace} {_unowned(tenant, observed)}: set adopt: true on it to take it over"
    return None


def _unowned(tenant: SecureTenant, namespace: Observed) -> str:
    """What is known about a namespace that exists and is not the tenant's."""
    if namespace.tenant == tenant.name:
        return (
            "carries this tenant's mark, but nothing shows that this SecureTenant created it (restored from a backup, "
            "recreated by others, or a copied mark)"
        )
    mark = f" and carries the mark of tenant {namespace.tenant}" if namespace.tenant else ""
    if any(entry.uid for entry in tenant.status.namespaces if entry.name == namespace.ref.name):
        return f"exists{mark}, but is a new one: others deleted the namespace that this tenant held"
    return f"exists{mark}, but this tenant did not create it"


def _namespace(entry: NamespaceSpec) -> Desired:
    return Desired(
        ref=Ref(NAMESPACE, "", entry.name),
        control=NAME,
        labels=entry.labels,
        annotations=entry.annotations,
    )


def claims(tenant: SecureTenant) -> Iterator[Claim]:
    """One claim for each namespace that the tenant declares."""
    for index, entry in enumerate(tenant.spec.namespaces):
        remedy = "it can belong to one tenant only, remove it from the other"
        yield Claim(f"spec.namespaces[{index}].name", entry.name, f"namespace {entry.name} is declared", remedy)


CONTROL = Control(name=NAME, plan=plan, kinds=(NAMESPACE,), claims=claims)
