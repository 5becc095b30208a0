"""The subjects of a binding, and the three names that a ServiceAccount may have among them."""

from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

from securetenant.api.tenant import SecureTenant
from securetenant.model.objects import Observed

# Every ServiceAccount is also a user of this name and a member of these groups
# (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
_SA_USER: Final = "system:serviceaccount:"
_SA_GROUP: Final = "system:serviceaccounts:"

_SHOWN: Final = 3  # how many subjects a message names
Subject: TypeAlias = tuple[str, str, str]  # kind, name, namespace


def subject_key(kind: str, name: str, namespace: str = "") -> str:
    """The key that a subject is indexed under.

    A ServiceAccount, its user name and the group of its namespace share one key per namespace; `concerns` decides
    whether they really match.
    """
    if kind == "ServiceAccount":
        return f"ServiceAccounts/{namespace}"
    if kind == "User" and name.startswith(_SA_USER):
        return f"ServiceAccounts/{name.removeprefix(_SA_USER).partition(':')[0]}"
    if kind == "Group" and name.startswith(_SA_GROUP):
        return f"ServiceAccounts/{name.removeprefix(_SA_GROUP)}"
    return f"{kind}/{name}"


def concerns(subject: Subject, asked: Collection[Subject], held: Collection[str]) -> bool:
    """Whether rights for `subject` are rights for the tenant: for one of the subjects that its bindings name, under any
    of a ServiceAccount's three names, or for a ServiceAccount in its namespaces. Both namespace and name of a
    ServiceAccount count: one of the same name in another namespace is somebody else (GHSA-6758-979h-249x).
    """
    account = _account(subject)
    if account is None:
        return (subject[0], subject[1], "") in asked  # a namespace on a User or Group is allowed and means nothing
    if account[0] in held:
        return True
    # A namespace's group (name "") includes each of its ServiceAccounts.
    return any(kind == "ServiceAccount" and account in ((where, name), (where, "")) for kind, name, where in asked)


def _account(subject: Subject) -> tuple[str, str] | None:
    """The ServiceAccount that a subject means, as (namespace, name), with name "" for all of a namespace; None if the
    subject is none."""
    kind, name, namespace = subject
    if kind == "ServiceAccount":
        return namespace, name
    if kind == "User" and name.startswith(_SA_USER):
        namespace, _, account = name.removeprefix(_SA_USER).partition(":")
        return (namespace, account) if account else None
    if kind == "Group" and name.startswith(_SA_GROUP):
        return name.removeprefix(_SA_GROUP), ""
    return None


def described(binding: Observed, subjects: Sequence[Subject]) -> str:
    """What a binding does, in words: "grants ClusterRole/edit to User alice"."""
    role = binding.field("roleRef")
    named = f"{role.get('kind')}/{role.get('name')}" if isinstance(role, dict) else "?"
    whom = [f"{kind} {f'{namespace}/' if namespace else ''}{name}" for kind, name, namespace in subjects]
    more = f" and {len(whom) - _SHOWN} more" if len(whom) > _SHOWN else ""
    return f"grants {named} to {', '.join(whom[:_SHOWN]) or 'nobody'}{more}"


def subject_keys_of_binding(binding: Observed) -> set[str]:
    """The keys that a ClusterRoleBinding is indexed under."""
    return {subject_key(*subject) for subject in subjects_of(binding)}


def subject_keys(tenant: SecureTenant, held: Sequence[str]) -> set[str]:
    """The keys by which a tenant looks up ClusterRoleBindings: its subjects and its namespaces' ServiceAccounts."""
    asked = {
        subject_key(s.kind, s.name, s.namespace) for binding in tenant.spec.access.bindings for s in binding.subjects
    }
    return asked | {subject_key("ServiceAccount", "", namespace) for namespace in held}


def subjects_of(binding: Observed) -> list[Subject]:
    """A binding's subjects as (kind, name, namespace)."""
    subjects = binding.field("subjects")
    return [
        (str(s.get("kind", "")), str(s.get("name", "")), str(s.get("namespace", "")))
        for s in (subjects if isinstance(subjects, list) else [])
        if isinstance(s, dict)
    ]
