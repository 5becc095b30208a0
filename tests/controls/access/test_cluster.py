"""What deviates in the cluster as a whole, and is no one tenant's: the tenant roles, and rights for everyone."""

from typing import Any, Final

import pytest

from securetenant.controls.access import cluster, roles
from securetenant.controls.access import control as access
from securetenant.controls.access.cluster import deviations
from securetenant.controls.access.shipped import DISCOVERERS, DISCOVERY
from securetenant.controls.control import Deviation
from securetenant.model.objects import Observed
from tests.support.world import NOW, StaticWorld, cluster_role, mine, observed, tenant

RBAC: Final = "rbac.authorization.k8s.io"
AUTHENTICATED: Final = {"kind": "Group", "name": "system:authenticated"}
ACCOUNTS: Final = {"kind": "Group", "name": "system:serviceaccounts"}
NOBODY: Final = {"kind": "Group", "name": "system:unauthenticated"}
ANONYMOUS: Final = {"kind": "User", "name": "system:anonymous"}


def binding(name: str, role: str, *subjects: dict[str, str], kind: str = "ClusterRole", **more: Any) -> Observed:
    ref = {"apiGroup": RBAC, "kind": kind, "name": role}
    return observed("ClusterRoleBinding", name, roleRef=ref, subjects=list(subjects), **more)


def everyones(name: str, *urls: str) -> Observed:
    """One of Kubernetes' own roles for everyone, as it ships, with URLs added."""
    rules = [
        {"verbs": [right.verb], "nonResourceURLs": [right.url]}
        if right.url
        else {"verbs": [right.verb], "apiGroups": [right.group], "resources": [right.resource]}
        for right in sorted(DISCOVERY[name])
    ]
    return observed("ClusterRole", name, rules=[*rules, *({"verbs": ["get"], "nonResourceURLs": [u]} for u in urls)])


def found(*objects: Observed) -> list[Deviation]:
    """With the tenant roles as they ship, unless given."""
    return deviations(StaticWorld(objects=[*roles.as_shipped(), *objects]))


def test_as_kubernetes_and_the_manifests_have_it_nothing_deviates() -> None:
    standing = [everyones(name) for name in DISCOVERY]
    standing += [
        binding(
            *(name, name),
            *({"kind": "User" if who == "system:anonymous" else "Group", "name": who} for who in sorted(allowed)),
        )
        for name, allowed in DISCOVERERS.items()
    ]
    assert found(*standing) == []


@pytest.mark.parametrize("subject", [AUTHENTICATED, ACCOUNTS, NOBODY, ANONYMOUS], ids=lambda subject: subject["name"])
@pytest.mark.parametrize("role", ["view", "securetenant-viewer", "anything"])
def test_a_role_for_everyone_is_foreign(subject: dict[str, str], role: str) -> None:
    (deviation,) = found(binding("wide", role, {"kind": "User", "name": "alice"}, subject))
    assert (str(deviation.ref), deviation.reason, deviation.widens) == ("ClusterRoleBinding/wide", "Foreign", True)
    given = f"grants ClusterRole/{role} to {subject['kind']} {subject['name']} in every namespace"
    assert deviation.message.startswith(given)


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param({"kind": "Group", "name": "system:masters"}, id="administrators"),
        pytest.param({"kind": "Group", "name": "system:serviceaccounts:ci"}, id="accounts of one namespace"),
        pytest.param({"kind": "User", "name": "system:authenticated"}, id="a user of the group's name"),
        pytest.param({"kind": "Group", "name": "system:anonymous"}, id="a group of the user's name"),
        pytest.param({"kind": "ServiceAccount", "name": "system:authenticated", "namespace": "ci"}, id="account"),
    ],
)
def test_what_is_not_for_everyone_is_not_the_clusters(subject: dict[str, str]) -> None:
    bound = binding("narrow", "cluster-admin", subject)
    assert found(bound) == []
    assert cluster.concerns(bound) is False


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        ("system:discovery", NOBODY),
        ("system:discovery", ANONYMOUS),
        ("system:basic-user", NOBODY),
        ("system:service-account-issuer-discovery", AUTHENTICATED),
        ("system:service-account-issuer-discovery", NOBODY),
    ],
)
def test_kubernetes_own_roles_are_not_for_others_than_it_gives_them_to(role: str, subject: dict[str, str]) -> None:
    (deviation,) = found(everyones(role), binding(role, role, subject, AUTHENTICATED, ACCOUNTS))
    assert deviation.reason == "Foreign"
    assert subject["name"] in deviation.message


def test_the_bindings_name_means_nothing() -> None:
    assert found(everyones("system:discovery"), binding("mine", "system:discovery", AUTHENTICATED)) == []
    assert len(found(binding("system:discovery", "edit", AUTHENTICATED))) == 1
    # A ClusterRoleBinding cannot refer to a Role; of what it may be, nothing is known.
    assert len(found(binding("system:discovery", "system:discovery", AUTHENTICATED, kind="Role"))) == 1


def test_kubernetes_own_role_that_gives_everyone_more() -> None:
    wide = everyones("system:discovery", "/debug/*")
    own = binding("system:discovery", "system:discovery", AUTHENTICATED)
    other = binding("another", "system:discovery", ACCOUNTS)
    (deviation,) = found(wide, own, other)
    assert (str(deviation.ref), deviation.reason, deviation.path) == (
        "ClusterRole/system:discovery",
        "Changed",
        "rules",
    )
    assert deviation.message.startswith("grants more than Kubernetes ships it with: get /debug/*;")
    assert "Group system:authenticated" in deviation.message or "Group system:serviceaccounts" in deviation.message
    assert found(wide) == []  # nobody has it
    less = observed("ClusterRole", "system:discovery", rules=[])
    assert found(less, own) == []
    assert found(own) == []


def test_a_role_of_kubernetes_that_others_flow_into() -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    open_ = observed("ClusterRole", "system:basic-user", rules=[], aggregationRule=rule)
    (deviation,) = found(open_, binding("x", "system:basic-user", AUTHENTICATED))
    assert "by its aggregationRule" in deviation.message


def test_tenant_roles_are_the_clusters() -> None:
    world = StaticWorld(objects=roles.as_shipped())
    world.put(cluster_role("securetenant-viewer", "get core secrets"), cluster_role("securetenant-admin"))
    world.put(observed("ClusterRole", "securetenant-operator", rules=[], aggregationRule={}))
    world.drop(roles.as_shipped()[1].ref)
    assert [(d.ref.name, d.reason, d.path, d.widens) for d in deviations(world)] == [
        ("securetenant-admin", "Changed", "rules", False),
        ("securetenant-auditor", "Missing", "", False),
        ("securetenant-operator", "Changed", "aggregationRule", True),
        ("securetenant-viewer", "Changed", "rules", True),
    ]
    assert {d.reason for d in deviations(world)} <= set(cluster.JUDGED.reasons)


def test_a_role_that_is_widened_again_is_another_deviation() -> None:
    (once,) = found(cluster_role("securetenant-viewer", "get core secrets,a,b,c,d"))
    (same,) = found(cluster_role("securetenant-viewer", "get core a,b,c,d,secrets"))
    (more,) = found(cluster_role("securetenant-viewer", "get core secrets,a,b,c,x"))
    assert once == same
    assert once != more
    (bound,) = found(binding("wide", "view", AUTHENTICATED))
    assert bound == found(binding("wide", "view", AUTHENTICATED))[0]
    assert bound != found(binding("wide", "edit", AUTHENTICATED))[0]
    assert bound != found(binding("wide", "view", AUTHENTICATED, uid="another"))[0]


def test_what_is_for_everyone_is_no_tenants() -> None:
    people = {"kind": "Group", "name": "devs"}
    payments = tenant("payments", namespaces=["prod"], access={"bindings": [{"role": "Viewer", "subjects": [people]}]})
    wide = binding("wide", "edit", AUTHENTICATED, ACCOUNTS, NOBODY, ANONYMOUS)
    world = StaticWorld([payments], [*mine(payments), *roles.as_shipped(), wide])
    assert not access.CONTROL.plan(payments, world, NOW).foreign
    (deviation,) = deviations(world)
    assert deviation.ref == wide.ref
    # One that names the tenant's people beside everyone is both.
    world.put(binding("wide", "edit", AUTHENTICATED, people))
    (foreign,) = access.CONTROL.plan(payments, world, NOW).foreign
    assert foreign.message == "grants ClusterRole/edit to Group devs in every namespace"
    assert len(deviations(world)) == 1


def test_only_roles_and_bindings_for_everyone_concern_the_cluster() -> None:
    assert cluster.concerns(cluster_role("securetenant-viewer"))
    assert cluster.concerns(binding("wide", "view", AUTHENTICATED))
    assert not cluster.concerns(observed("RoleBinding", "wide", "prod", subjects=[AUTHENTICATED]))
    assert not cluster.concerns(observed("Node", "n"))
