"""access: RoleBindings to the shipped ClusterRoles, and foreign bindings.

The roles are fixed and not aggregated (`manifests/`): the built-in `edit` and `admin` grow with every CRD that somebody
installs.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.access import cluster, roles
from securetenant.controls.access.shipped import LOOKED_AT, cluster_role
from securetenant.controls.access.subjects import (
    Subject,
    concerns,
    described,
    subject_key,
    subject_keys,
    subject_keys_of_binding,
    subjects_of,
)
from securetenant.controls.control import Control, Foreign, Plan, Triggers
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE_BINDING
from securetenant.model.objects import Desired, JsonValue, Observed, Ref

NAME: Final = "access"
CONDITION: Final = "RolesAsShipped"
RBAC_GROUP: Final = "rbac.authorization.k8s.io"


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    held = ownership.held(tenant, world)
    desired = [
        _binding(namespace, role, subjects)
        for namespace in held
        for role, subjects in sorted(_granted(tenant, namespace).items())
    ]
    condition = _as_shipped(tenant, world)
    return Plan(
        desired=desired,
        foreign=_foreign(tenant, held, {item.ref for item in desired}, world),
        conditions=[condition] if condition is not None else [],
        blocking=[condition.message] if condition is not None and condition.status == "False" else [],
    )


def bound_roles(tenant: SecureTenant) -> list[str]:
    """The ClusterRoles that the tenant's subjects hold."""
    return sorted({cluster_role(binding.role) for binding in tenant.spec.access.bindings if binding.subjects})


def _as_shipped(tenant: SecureTenant, world: World) -> Condition | None:
    """Whether the roles grant what they ship with, since a RoleBinding grants whatever its role does. The roles belong
    to the cluster, and cluster.py reports their deviations; this condition only reports what they mean for the
    tenant."""
    bound = bound_roles(tenant)
    if not bound:
        return None
    wrong = {name: verdict for name in bound if (verdict := roles.judged(name, world)) is not None}
    if not wrong:
        return Condition.of(CONDITION, "True", "AsShipped", "")
    worst = min(wrong.values(), key=lambda verdict: _GRAVITY.index(verdict.problem)).problem
    message = "; ".join(roles.told(name, verdict) for name, verdict in wrong.items())
    return Condition.of(CONDITION, "False", worst, message)


_GRAVITY: Final[Sequence[roles.Problem]] = ("Widened", "Aggregated", "Missing", "Narrowed")


def _granted(tenant: SecureTenant, namespace: str) -> dict[str, set[Subject]]:
    """The subjects of each role in a namespace, over all bindings. Roles without subjects are left out."""
    granted: dict[str, set[Subject]] = {}
    for binding in tenant.spec.access.bindings:
        if binding.subjects and (binding.namespaces is None or namespace in binding.namespaces):
            granted.setdefault(binding.role, set()).update((s.kind, s.name, s.namespace) for s in binding.subjects)
    return granted


def _binding(namespace: str, role: str, subjects: Iterable[Subject]) -> Desired:
    name = cluster_role(role)
    return Desired(
        Ref(ROLE_BINDING, namespace, name),
        NAME,
        {
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [_rendered(*subject) for subject in sorted(subjects)],
        },
    )


def _rendered(kind: str, name: str, namespace: str) -> JsonValue:
    """A subject as the API server returns it: an API group for users and groups, a namespace for ServiceAccounts."""
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}


def _foreign(tenant: SecureTenant, held: Sequence[str], desired: Collection[Ref], world: World) -> list[Foreign]:
    """Foreign bindings that grant rights in the tenant's namespaces, or rights everywhere to the tenant's subjects.

    A ClusterRoleBinding affects more than the tenant, so it is never removed, whatever the spec says.
    """
    wanted = tenant.spec.access.foreign
    if wanted == "Ignore":
        return []
    found = [
        Foreign(observed, NAME, described(observed, subjects_of(observed)), remove=wanted == "Remove")
        for observed in ownership.made_by_others(ROLE_BINDING, tenant, held, desired, world)
    ]
    wide = {o.ref: o for o in world.indexed(CLUSTER_ROLE_BINDING, subject_keys(tenant, held))}
    asked = {(s.kind, s.name, s.namespace) for binding in tenant.spec.access.bindings for s in binding.subjects}
    for observed in wide.values():
        concerned = [s for s in subjects_of(observed) if concerns(s, asked, held)]
        if concerned:
            found.append(Foreign(observed, NAME, f"{described(observed, concerned)} in every namespace"))
    return sorted(found, key=lambda item: item.observed.ref)


def is_replaced(binding: Observed) -> bool:
    """Whether a RoleBinding of ours was replaced by one to another role. The API server would not let us write it, not
    even to remove our marks, and it must not be left behind."""
    role = binding.field("roleRef")
    return not isinstance(role, dict) or (role.get("kind"), role.get("name")) != ("ClusterRole", binding.ref.name)


# --- which events concern whom


class _Subjected(Struct):
    kind: str
    name: str
    namespace: str = ""


class _Bound(Struct):
    role: str
    subjects: list[_Subjected]


class _Section(Struct):
    bindings: list[_Bound] = []


def _listens(namespaces: Sequence[str], section: _Section) -> Iterator[str]:
    """A tenant's tokens: its subjects and its namespaces' ServiceAccounts, which ClusterRoleBindings may name, and the
    roles that they hold."""
    for binding in section.bindings:
        yield from (f"subject:{subject_key(s.kind, s.name, s.namespace)}" for s in binding.subjects)
        if binding.subjects:
            yield f"role:{cluster_role(binding.role)}"
    yield from (f"subject:{subject_key('ServiceAccount', '', namespace)}" for namespace in namespaces)


def _bound(new: Observed, old: Observed | None) -> Iterator[str]:
    return (f"subject:{key}" for binding in (new, old) if binding for key in subject_keys_of_binding(binding))


def _role(new: Observed, old: Observed | None) -> list[str]:
    return [f"role:{new.ref.name}"]


CONTROL: Final = Control(
    NAME,
    plan,
    (ROLE_BINDING,),
    looks_at=(CLUSTER_ROLE_BINDING, CLUSTER_ROLE),
    # Only a few of the hundreds of ClusterRoles matter, and each has up to 50 KB of rules. RBAC can grant a watch by
    # name only for one object per watch, and a label to select them by could be removed by a stranger.
    only={CLUSTER_ROLE: LOOKED_AT},
    triggers=Triggers("access", _Section, _listens, {CLUSTER_ROLE_BINDING: _bound, CLUSTER_ROLE: _role}),
    indexes={CLUSTER_ROLE_BINDING: subject_keys_of_binding},
    replaced=is_replaced,
    cluster=cluster.JUDGED,
    shipped=roles.as_shipped,
)
