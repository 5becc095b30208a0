"""Deviations of the cluster as a whole: changed tenant roles, and rights for everyone. Pure.

A ClusterRoleBinding grants rights to everyone if it names a group of all users or all ServiceAccounts. What Kubernetes
itself grants these groups (discovery, and reviews of one's own rights) is no deviation, unless it was extended.
"""

from collections.abc import Iterator
from typing import Final

from securetenant.controls.access import roles
from securetenant.controls.access.shipped import DISCOVERERS, DISCOVERY, ROLES
from securetenant.controls.access.subjects import described, subject_key, subject_keys_of_binding, subjects_of
from securetenant.controls.control import ClusterWide, Deviation
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING
from securetenant.model.objects import Observed, Ref

_EVERYONE: Final = frozenset(
    {
        ("Group", "system:authenticated"),
        ("Group", "system:unauthenticated"),
        ("Group", "system:serviceaccounts"),
        ("User", "system:anonymous"),
    }
)
_KEYS: Final = frozenset(subject_key(kind, name) for kind, name in _EVERYONE)


def concerns(observed: Observed) -> bool:
    """Whether a change of this object may change the deviations."""
    if observed.ref.kind is CLUSTER_ROLE_BINDING:
        return not _KEYS.isdisjoint(subject_keys_of_binding(observed))
    return observed.ref.kind is CLUSTER_ROLE


def deviations(world: World) -> list[Deviation]:
    """All deviations, in a fixed order."""
    found = {deviation.ref: deviation for deviation in (*_roles(world), *_for_everyone(world))}
    return [found[ref] for ref in sorted(found)]


def _roles(world: World) -> Iterator[Deviation]:
    for name in ROLES:
        verdict = roles.judged(name, world)
        if verdict is None:
            continue
        ref = Ref(CLUSTER_ROLE, "", name)
        observed = world.get(ref)
        yield Deviation(
            ref,
            observed.uid if observed is not None else "",
            "Missing" if observed is None else "Changed",
            roles.told(name, verdict),
            path="" if observed is None else "aggregationRule" if verdict.problem == "Aggregated" else "rules",
            widens=verdict.problem in ("Widened", "Aggregated"),
            details=verdict.added | verdict.removed,
        )


def _for_everyone(world: World) -> Iterator[Deviation]:
    """Bindings that grant everyone rights that Kubernetes does not, and Kubernetes' own roles for everyone that grant
    more than as shipped."""
    for binding in world.indexed(CLUSTER_ROLE_BINDING, _KEYS):
        role = _role(binding)
        everyone = [subject for subject in subjects_of(binding) if subject[:2] in _EVERYONE]
        more = [subject for subject in everyone if subject[1] not in DISCOVERERS.get(role, ())]
        if more:
            message = f"{described(binding, more)} in every namespace: it applies to everyone, not to one tenant"
            yield Deviation(binding.ref, binding.uid, "Foreign", message, widens=True)
        elif everyone:
            yield from _discovery(role, described(binding, everyone), binding, world)


def _discovery(role: str, given: str, binding: Observed, world: World) -> Iterator[Deviation]:
    observed = world.get(Ref(CLUSTER_ROLE, "", role))
    verdict = roles.compared(observed, DISCOVERY[role]) if observed is not None else None
    if observed is None or verdict is None or verdict.problem == "Narrowed":
        return
    more = roles.listed(verdict.added) or "the rules of other roles, by its aggregationRule"
    message = f"grants more than Kubernetes ships it with: {more}; {binding.ref} {given} in every namespace"
    yield Deviation(observed.ref, observed.uid, "Changed", message, "rules", widens=True, details=verdict.added)


def _role(binding: Observed) -> str:
    """The name of the ClusterRole that it binds."""
    role = binding.field("roleRef")
    return str(role.get("name", "")) if isinstance(role, dict) and role.get("kind") == "ClusterRole" else ""


JUDGED: Final = ClusterWide(deviations, concerns, ("Missing", "Changed", "Foreign"))
