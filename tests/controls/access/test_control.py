"""RoleBindings that a tenant gets, and the bindings of others that widen its rights."""

from typing import Any

import pytest

from securetenant.api.tenant import SecureTenant
from securetenant.controls.access import control as access
from securetenant.controls.access import roles, subjects
from securetenant.controls.control import Plan
from securetenant.model.objects import Observed
from tests.support.world import NOW, StaticWorld, cluster_role, mine, namespace, observe, observed, tenant

RBAC = "rbac.authorization.k8s.io"
ALICE = {"kind": "User", "name": "alice"}
DEVS = {"kind": "Group", "name": "devs"}
ROBOT = {"kind": "ServiceAccount", "name": "robot", "namespace": "ci"}


def plan(payments: SecureTenant, *objects: Observed) -> Plan:
    return access.CONTROL.plan(payments, StaticWorld([payments], [*mine(payments), *objects]), NOW)


def binding(name: str, namespace: str, *subjects: dict[str, str], role: str = "edit", **more: Any) -> Observed:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    role_ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    return observed(kind, name, namespace, roleRef=role_ref, subjects=list(subjects), **more)


def test_one_binding_per_namespace_and_role_with_the_subjects_of_all() -> None:
    payments = tenant(
        "payments",
        namespaces=["prod", "test"],
        access={
            "bindings": [
                {"role": "Viewer", "subjects": [DEVS]},
                {"role": "Developer", "subjects": [ROBOT, DEVS, ALICE], "namespaces": ["test"]},
                {"role": "Developer", "subjects": [DEVS, {"kind": "User", "name": "bob"}], "namespaces": ["test"]},
            ]
        },
    )
    desired = plan(payments).desired
    assert [(d.ref.namespace, d.ref.name) for d in desired] == [
        ("prod", "securetenant-viewer"),
        ("test", "securetenant-developer"),
        ("test", "securetenant-viewer"),
    ]
    assert desired[1].body == {
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "securetenant-developer"},
        "subjects": [
            {"apiGroup": RBAC, "kind": "Group", "name": "devs"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "ci"},
            {"apiGroup": RBAC, "kind": "User", "name": "alice"},
            {"apiGroup": RBAC, "kind": "User", "name": "bob"},
        ],
    }


def test_nothing_is_written_where_the_tenant_does_not_hold_the_namespace() -> None:
    payments = tenant(
        "payments", namespaces=["prod", "taken"], access={"bindings": [{"role": "Admin", "subjects": [ALICE]}]}
    )
    world = StaticWorld([payments], [*mine(payments, "prod"), namespace("taken"), binding("b", "taken", ALICE)])
    result = access.CONTROL.plan(payments, world, NOW)
    assert [d.ref.namespace for d in result.desired] == ["prod"]
    assert not result.foreign


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        pytest.param("Report", [False], id="report"),
        pytest.param("Remove", [True], id="remove"),
        pytest.param("Ignore", [], id="ignore"),
    ],
)
def test_a_binding_of_others_is_foreign(policy: str, found: list[bool]) -> None:
    payments = tenant("payments", namespaces=["prod"], access={"foreign": policy})
    result = plan(payments, binding("backdoor", "prod", ALICE, DEVS))
    assert [f.remove for f in result.foreign] == found
    assert [f.message for f in result.foreign] == ["grants ClusterRole/edit to User alice, Group devs"] * len(found)


def test_what_is_ours_is_not_foreign_but_another_tenants_mark_does_not_help() -> None:
    payments = tenant("payments", namespaces=["prod"], access={"bindings": [{"role": "Admin", "subjects": [ALICE]}]})
    rival = tenant("rival")
    ours = plan(payments).desired[0]
    widened = binding(ours.ref.name, "prod", ALICE, DEVS)  # no marks left: the engine sees it as changed
    elsewhere = binding("copy", "prod", ALICE, labels=observe(ours, rival).labels)
    assert not plan(payments, observe(ours, payments)).foreign
    assert not plan(payments, widened).foreign
    assert [f.observed.ref.name for f in plan(payments, elsewhere).foreign] == ["copy"]


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(ALICE, id="user of a binding"),
        pytest.param({**ALICE, "namespace": "ignored"}, id="user with a namespace that means nothing"),
        pytest.param(DEVS, id="group of a binding"),
        pytest.param(ROBOT, id="service account of a binding"),
        pytest.param({"kind": "User", "name": "system:serviceaccount:ci:robot"}, id="that account by its user name"),
        pytest.param({"kind": "Group", "name": "system:serviceaccounts:ci"}, id="that account by its group"),
        pytest.param({"kind": "ServiceAccount", "name": "any", "namespace": "prod"}, id="account of its namespace"),
        pytest.param({"kind": "User", "name": "system:serviceaccount:prod:any"}, id="the same by its user name"),
        pytest.param({"kind": "Group", "name": "system:serviceaccounts:prod"}, id="all accounts of its namespace"),
    ],
)
@pytest.mark.parametrize("policy", ["Report", "Remove"])
def test_a_cluster_role_binding_of_its_subjects_is_reported_and_never_removed(
    subject: dict[str, str], policy: str
) -> None:
    payments = tenant(
        "payments",
        namespaces=["prod"],
        access={"foreign": policy, "bindings": [{"role": "Viewer", "subjects": [ALICE, DEVS, ROBOT]}]},
    )
    stranger = {"kind": "User", "name": "stranger"}
    result = plan(payments, binding("wide", "", stranger, subject, role="cluster-admin"))
    (found,) = result.foreign
    assert not found.remove
    assert subject["name"] in found.message
    assert "stranger" not in found.message
    assert found.message.startswith("grants ClusterRole/cluster-admin to ")
    assert found.message.endswith(" in every namespace")


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param({"kind": "ServiceAccount", "name": "robot", "namespace": "other"}, id="same name elsewhere"),
        pytest.param({"kind": "ServiceAccount", "name": "other", "namespace": "ci"}, id="other account there"),
        pytest.param({"kind": "User", "name": "system:serviceaccount:ci:other"}, id="other account's user name"),
        pytest.param({"kind": "User", "name": "system:serviceaccount:other:robot"}, id="user name elsewhere"),
        pytest.param({"kind": "Group", "name": "system:serviceaccounts:pro"}, id="group of a prefix"),
        pytest.param({"kind": "User", "name": "system:serviceaccount:prod"}, id="no full user name"),
        pytest.param({"kind": "User", "name": "devs"}, id="user named as the group"),
        pytest.param({"kind": "Group", "name": "alice"}, id="group named as the user"),
    ],
)
def test_a_cluster_role_binding_of_somebody_else_is_not_the_tenants(subject: dict[str, str]) -> None:
    payments = tenant(
        "payments",
        namespaces=["prod"],
        access={"bindings": [{"role": "Viewer", "subjects": [ALICE, DEVS, ROBOT]}]},
    )
    assert not plan(payments, binding("wide", "", subject)).foreign


def test_index_keys_meet_whatever_a_service_account_is_called() -> None:
    keys = {
        subjects.subject_key("ServiceAccount", "robot", "ci"),
        subjects.subject_key("User", "system:serviceaccount:ci:robot"),
        subjects.subject_key("Group", "system:serviceaccounts:ci"),
    }
    assert keys == {"ServiceAccounts/ci"}
    assert subjects.subject_keys_of_binding(binding("wide", "", ALICE, DEVS, ROBOT)) == {
        "User/alice",
        "Group/devs",
        "ServiceAccounts/ci",
    }
    payments = tenant("payments", namespaces=["prod"], access={"bindings": [{"role": "Viewer", "subjects": [ALICE]}]})
    assert subjects.subject_keys(payments, ["prod"]) == {"User/alice", "ServiceAccounts/prod"}


def test_a_binding_without_subjects_is_described_too() -> None:
    bare = observed("RoleBinding", "bare", "prod", roleRef={"kind": "Role", "name": "reader"})
    assert [f.message for f in plan(tenant("payments", namespaces=["prod"]), bare).foreign] == [
        "grants Role/reader to nobody"
    ]


@pytest.mark.parametrize(
    ("objects", "status", "reason"),
    [
        pytest.param(roles.as_shipped(), "True", "AsShipped", id="as shipped"),
        pytest.param([], "False", "Missing", id="missing"),
        pytest.param([cluster_role("securetenant-viewer")], "False", "Narrowed", id="narrowed"),
        pytest.param([cluster_role("securetenant-viewer", "get core secrets")], "False", "Widened", id="widened"),
    ],
)
def test_a_tenant_is_told_of_the_roles_that_its_people_hold(objects: list[Observed], status: str, reason: str) -> None:
    payments = tenant("payments", namespaces=["prod"], access={"bindings": [{"role": "Viewer", "subjects": [ALICE]}]})
    result = plan(payments, *objects)
    (condition,) = result.conditions
    assert (condition.type, condition.status, condition.reason) == ("RolesAsShipped", status, reason)
    assert list(result.blocking) == ([condition.message] if status == "False" else [])
    assert not condition.message or "securetenant-viewer" in condition.message
    assert [d.ref.name for d in result.desired] == ["securetenant-viewer"]  # the binding stands whatever the role is
    assert not result.foreign  # the deviation is the cluster's, and counted there


def test_the_worst_of_several_roles_is_the_reason_and_all_are_told() -> None:
    bindings = [{"role": role, "subjects": [ALICE]} for role in ("Viewer", "Admin", "Auditor")]
    payments = tenant("payments", namespaces=["prod"], access={"bindings": bindings})
    standing = {role.ref.name: role for role in roles.as_shipped()}
    standing["securetenant-viewer"] = cluster_role("securetenant-viewer", "get core secrets")
    del standing["securetenant-admin"]
    standing["securetenant-developer"] = cluster_role("securetenant-developer")  # nobody here holds it
    (condition,) = plan(payments, *standing.values()).conditions
    assert condition.reason == "Widened"
    assert "securetenant-viewer grants more" in condition.message
    assert "securetenant-admin is missing" in condition.message
    assert "developer" not in condition.message


def test_a_tenant_whose_people_hold_no_role_is_told_of_none() -> None:
    assert not plan(tenant("payments", namespaces=["prod"])).conditions
    assert access.bound_roles(tenant("payments", namespaces=["prod"])) == []
