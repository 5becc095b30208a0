"""What the five shipped roles let a tenant do, asked of a real API server's authorizer.

What a tenant must never do is asked of `GROUP@everywhere` (tests/support/roles.py), so that a right that a RoleBinding
cannot carry today (nodes/proxy, webhooks) is found in the role all the same. test_roles_denied.py has every right as a
table, and requests that are refused.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
import yaml

from tests.support import roles
from tests.support.roles import RBAC, READ, ROLES, WRITE
from tests.support.sandbox import Admin

pytestmark = pytest.mark.cluster

HERE: Final = "roles-test-here"
ELSEWHERE: Final = "roles-test-elsewhere"
REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
MANIFESTS: Final = Path(__file__).parents[2] / "manifests"


class Ask(NamedTuple):
    """One question: may this be done? `resource` is `resource[/subresource][.group]`."""

    verb: str
    resource: str
    namespace: str = HERE
    name: str = ""

    def attributes(self) -> dict[str, str]:
        path, _, group = self.resource.partition(".")
        resource, _, subresource = path.partition("/")
        named = {"name": self.name, "namespace": self.namespace, "subresource": subresource}
        return {"verb": self.verb, "group": group, "resource": resource} | {k: v for k, v in named.items() if v}


def asks(verbs: str | tuple[str, ...], *resources: str, namespace: str = HERE, name: str = "") -> list[Ask]:
    verbs = tuple(verbs.split()) if isinstance(verbs, str) else verbs
    return [Ask(verb, resource, namespace, name) for verb, resource in itertools.product(verbs, resources)]


async def allowed(admin: Admin, questions: list[Ask], user: str, groups: list[str]) -> set[Ask]:
    """Those of the questions that the API server's authorizer says yes to."""
    gate = asyncio.Semaphore(16)

    async def may(ask: Ask) -> bool:
        spec = {"user": user, "groups": [*groups, "system:authenticated"], "resourceAttributes": ask.attributes()}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        async with gate:
            _, answer = await admin.request("POST", REVIEWS, review)
        assert not answer["status"].get("evaluationError"), answer
        return bool(answer["status"]["allowed"])

    answers = await asyncio.gather(*(may(ask) for ask in questions))
    return {ask for ask, yes in zip(questions, answers, strict=True) if yes}


async def allowed_to(admin: Admin, questions: list[Ask], role: str, where: str = "here") -> set[Ask]:
    return await allowed(admin, questions, f"{role}-person", [f"{role}@{where}"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bound(admin: Admin, manifests: None) -> AsyncIterator[Admin]:
    async with roles.bound(admin, HERE, ELSEWHERE):
        yield admin


NEVER: Final = [
    pytest.param(asks("bind escalate", f"roles.{RBAC}", f"clusterroles.{RBAC}"), id="bind, escalate"),
    pytest.param(
        asks("impersonate", "users", "groups", "serviceaccounts", "userextras/x.authentication.k8s.io"),
        id="impersonate",
    ),
    pytest.param(
        asks(WRITE, f"roles.{RBAC}", f"rolebindings.{RBAC}", f"clusterroles.{RBAC}", f"clusterrolebindings.{RBAC}"),
        id="write rights",
    ),
    pytest.param(
        asks(WRITE, "networkpolicies.networking.k8s.io", "adminnetworkpolicies.policy.networking.k8s.io"),
        id="write network policies",
    ),
    pytest.param(
        asks(WRITE, "resourcequotas", "resourcequotas/status", "limitranges"),
        id="write quotas and limits (MTB CC-TI-1)",
    ),
    pytest.param(
        asks(WRITE, "persistentvolumes", "persistentvolumes/status", "storageclasses.storage.k8s.io"),
        id="write PersistentVolumes (CIS 5.1.9)",
    ),
    pytest.param(asks("create", "serviceaccounts/token"), id="create tokens (CIS 5.1.13)"),
    pytest.param(
        asks(WRITE, "namespaces", "namespaces/status", "namespaces/finalize", name=HERE),
        id="change its namespace: labels, owner, every subresource (CVE-2022-46167, -2024-39690, -2026-30963)",
    ),
    pytest.param(asks((*READ, *WRITE), "nodes/proxy", namespace=""), id="nodes/proxy (CIS 5.1.10)"),
    pytest.param(
        asks((*READ, *WRITE), "pods/proxy", "services/proxy"), id="reach pods by the API server, past the whitelist"
    ),
    pytest.param(
        [
            *asks(WRITE, "certificatesigningrequests.certificates.k8s.io", namespace=""),
            *asks("update patch", "certificatesigningrequests/approval.certificates.k8s.io", namespace=""),
            *asks("approve sign", "signers.certificates.k8s.io", namespace=""),
        ],
        id="CSR approval (CIS 5.1.11)",
    ),
    pytest.param(
        asks(
            WRITE,
            *(
                f"{plural}.admissionregistration.k8s.io"
                for plural in (
                    "validatingwebhookconfigurations",
                    "mutatingwebhookconfigurations",
                    "validatingadmissionpolicies",
                    "validatingadmissionpolicybindings",
                    "mutatingadmissionpolicies",
                    "mutatingadmissionpolicybindings",
                )
            ),
            namespace="",
        ),
        id="webhooks and admission policies (CIS 5.1.12)",
    ),
    pytest.param(asks((*READ, *WRITE), "pods/ephemeralcontainers"), id="ephemeral containers"),
    pytest.param(asks(WRITE, "pods/status", "pods/binding", "bindings"), id="play scheduler or kubelet"),
    pytest.param(
        asks(WRITE, "endpoints", "endpointslices.discovery.k8s.io"), id="forward by Endpoints (CVE-2021-25740)"
    ),
    pytest.param(asks(WRITE, "ingresses.networking.k8s.io"), id="publish at the edge (CVE-2021-25742)"),
    pytest.param(asks(WRITE, "events", "events.events.k8s.io"), id="write or wipe the record"),
    pytest.param(
        asks(
            WRITE,
            "securetenants.securetenant.dev",
            "securetenants/status.securetenant.dev",
            "customresourcedefinitions.apiextensions.k8s.io",
            "apiservices.apiregistration.k8s.io",
            "nodes",
            "priorityclasses.scheduling.k8s.io",
            "runtimeclasses.node.k8s.io",
            namespace="",
        ),
        id="change what the platform is (MTB PL1-CC-CPI-1)",
    ),
    pytest.param(asks("*", "*", "pods", "secrets"), id="anything by a wildcard"),
]


@pytest.mark.parametrize("questions", NEVER)
async def test_no_role_may(bound: Admin, questions: list[Ask]) -> None:
    found = {role: await allowed_to(bound, questions, role, "everywhere") for role in ROLES}
    assert found == {role: set() for role in ROLES}


BELOW_ADMIN: Final = tuple(role for role in ROLES if role != "admin")


@pytest.mark.parametrize("role", BELOW_ADMIN)
@pytest.mark.parametrize(
    "questions",
    [
        pytest.param(asks((*READ, *WRITE), "secrets"), id="Secrets (CIS 5.1.2)"),
        pytest.param(asks((*READ, *WRITE), "pods/exec", "pods/attach", "pods/portforward"), id="a hand inside pods"),
    ],
)
async def test_only_admin_may(bound: Admin, role: str, questions: list[Ask]) -> None:
    assert await allowed_to(bound, questions, role, "everywhere") == set()


@pytest.mark.parametrize("role", ["viewer", "auditor", "operator"])
async def test_nobody_below_developer_changes_what_runs(bound: Admin, role: str) -> None:
    """Not even by `patch`, with which a Deployment would mount any Secret and print it to the logs."""
    questions = asks(
        "create update patch",
        "pods",
        "configmaps",
        "services",
        "serviceaccounts",
        "persistentvolumeclaims",
        "deployments.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "replicasets.apps",
        "jobs.batch",
        "cronjobs.batch",
        "replicationcontrollers",
    )
    assert await allowed_to(bound, questions, role, "everywhere") == set()


SEEN: Final = asks(
    READ,
    "pods",
    "services",
    "configmaps",
    "serviceaccounts",
    "persistentvolumeclaims",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "ingresses.networking.k8s.io",
)
AUDITED: Final = asks(
    READ,
    f"roles.{RBAC}",
    f"rolebindings.{RBAC}",
    "networkpolicies.networking.k8s.io",
    "resourcequotas",
    "limitranges",
    "events",
    "policyreports.wgpolicyk8s.io",
)
TENDED: Final = [
    *asks("get", "pods/log"),
    *asks("get update patch", "deployments/scale.apps", "statefulsets/scale.apps"),
    *asks("delete", "pods"),
    *asks("create", "pods/eviction"),
]
DELIVERED: Final = asks(
    "create update patch delete",
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "configmaps",
    "services",
    "persistentvolumeclaims",
    "serviceaccounts",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
)
HELD: Final = [*asks("get list create update patch delete", "secrets"), *asks("get create", "pods/exec")]
MAY: Final = {
    "viewer": SEEN,
    "auditor": [*SEEN, *AUDITED],
    "operator": [*SEEN, *TENDED],
    "developer": [*SEEN, *TENDED, *DELIVERED],
    "admin": [*SEEN, *TENDED, *DELIVERED, *HELD],
}


@pytest.mark.parametrize("role", ROLES)
async def test_role_may_do_its_work_in_its_namespace_and_nothing_elsewhere(bound: Admin, role: str) -> None:
    questions = MAY[role]
    elsewhere = [ask._replace(namespace=ELSEWHERE) for ask in questions]
    cluster_wide = [ask._replace(namespace="") for ask in questions]
    assert set(questions) - await allowed_to(bound, questions, role) == set()
    assert await allowed_to(bound, [*elsewhere, *cluster_wide], role) == set()


async def test_a_service_account_is_known_by_its_full_name(bound: Admin) -> None:
    """The same name in another namespace is somebody else (GHSA-6758-979h-249x)."""
    questions = asks("create", "pods", "deployments.apps")
    ours = await allowed(bound, questions, f"system:serviceaccount:{HERE}:deployer", [])
    theirs = await allowed(bound, questions, f"system:serviceaccount:{ELSEWHERE}:deployer", [])
    assert (ours, theirs) == (set(questions), set())


async def test_roles_do_not_grow(bound: Admin) -> None:
    """What stands in the cluster is what was shipped: the controller that aggregates roles adds nothing to them, and
    they add nothing to the built-in ones."""
    for role in ROLES:
        stored = await bound.get(f"/apis/{RBAC}/v1/clusterroles/securetenant-{role}")
        shipped = yaml.safe_load((MANIFESTS / "rbac" / f"tenant-{role}.yaml").read_text())
        assert stored["rules"] == shipped["rules"]
        assert "aggregationRule" not in stored
        assert not [key for key in stored["metadata"]["labels"] if key.startswith(f"{RBAC}/")]


def rights(role: str) -> set[tuple[str, str, str]]:
    shipped = yaml.safe_load((MANIFESTS / "rbac" / f"tenant-{role}.yaml").read_text())
    return {
        right
        for rule in shipped["rules"]
        for right in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


@pytest.mark.parametrize(
    ("less", "more"), [("viewer", "auditor"), ("viewer", "operator"), ("operator", "developer"), ("developer", "admin")]
)
def test_roles_stand_on_each_other(less: str, more: str) -> None:
    """Nobody needs two roles to do the work of the lesser one."""
    assert rights(less) < rights(more)


@pytest.mark.parametrize("role", ["viewer", "auditor"])
def test_who_looks_only_reads(role: str) -> None:
    assert {verb for _, _, verb in rights(role)} == set(READ)
