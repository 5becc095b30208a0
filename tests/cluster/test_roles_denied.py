"""What the five roles give, every right of it, as the table in docs/controls/access.md; and that what a tenant must
never do is refused when somebody who holds a role asks for it.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import roles
from tests.support.markdown import ROOT, code, table
from tests.support.roles import RBAC, READ, ROLES
from tests.support.sandbox import MERGE_PATCH, Admin, Plane

pytestmark = pytest.mark.cluster

HERE: Final = "roles-denied-here"
ELSEWHERE: Final = "roles-denied-elsewhere"
RULES: Final = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
ACCESS: Final = ROOT / "docs" / "controls" / "access.md"
CORE: Final = f"/api/v1/namespaces/{HERE}"
POLICIES: Final = "/apis/admissionregistration.k8s.io/v1"
# As the table has them: `read` is these three.
SHORT: Final = {"read": READ, "write": ("create", "update", "patch", "delete")}

Rights = dict[str, frozenset[str]]


@pytest_asyncio.fixture(scope="module")
async def people(plane: Plane, admin: Admin, manifests: None) -> AsyncIterator[Mapping[str, Admin]]:
    """Somebody for each role, bound in one namespace; and `nobody`, who holds none."""
    async with roles.bound(admin, HERE, ELSEWHERE), contextlib.AsyncExitStack() as stack:
        held = {"nobody": [], **{role: [f"{role}@here"] for role in ROLES}}
        yield {
            name: await stack.enter_async_context(Admin(plane, user=f"{name}-person", groups=groups))
            for name, groups in held.items()
        }


async def rights(person: Admin) -> Rights:
    """All that this person may do in the namespace, by `resource[/subresource][.group]`: one question."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": HERE}}
    status = (await person.create(RULES, review))["status"]
    assert not status["incomplete"], status
    found: dict[str, frozenset[str]] = {}
    for rule in status["resourceRules"]:
        assert "resourceNames" not in rule, rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                key = f"{resource}.{group}" if group else resource
                found[key] = found.get(key, frozenset()) | frozenset(rule["verbs"])
    return found


def documented() -> dict[str, Rights]:
    """The table: by role, the verbs of each resource."""
    found: dict[str, Rights] = {role: {} for role in ROLES}
    for resources, *cells in table(ACCESS, "resource", *(f"`{role.capitalize()}`" for role in ROLES)):
        for role, cell in zip(ROLES, cells, strict=True):
            words = [] if cell == "–" else cell.split(", ")
            verbs = frozenset(verb for word in words for verb in SHORT.get(word, (word,)))
            found[role] |= dict.fromkeys(code(resources), verbs) if verbs else {}
    return found


async def test_the_table_of_rights_is_what_the_api_server_says(people: Mapping[str, Admin]) -> None:
    """Beside what everybody has (to ask for one's own rights)."""
    given = await rights(people["nobody"])
    told = {role: await rights(people[role]) for role in ROLES}
    assert {role: {key: told[role].pop(key) for key in given} for role in ROLES} == dict.fromkeys(ROLES, given)
    assert told == documented()


def named(kind: str, api: str = "v1", **content: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, **content}


def bindings() -> Iterable[tuple[str, str, Any]]:
    """Rights over rights."""
    role = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    for held in ("securetenant-admin", "cluster-admin", "view"):
        body = roles.binding("RoleBinding", "x", "admin", roles.group("friends"))
        body["roleRef"]["name"] = held
        yield "POST", f"/apis/{RBAC}/v1/namespaces/{HERE}/rolebindings", body
    yield "POST", f"/apis/{RBAC}/v1/clusterrolebindings", roles.binding("ClusterRoleBinding", "x", "admin", {})
    yield "POST", f"/apis/{RBAC}/v1/namespaces/{HERE}/roles", named("Role", f"{RBAC}/v1", **role)
    yield "PATCH", f"/apis/{RBAC}/v1/clusterroles/securetenant-viewer", role
    yield "PATCH", f"/apis/{RBAC}/v1/namespaces/{HERE}/rolebindings/developer", {"subjects": []}
    yield "DELETE", f"/apis/{RBAC}/v1/namespaces/{HERE}/rolebindings/viewer", None
    yield "DELETE", f"/apis/{RBAC}/v1/namespaces/{HERE}/rolebindings", None


def posture() -> Iterable[tuple[str, str, Any]]:
    """What holds the tenant: its policies, quotas, limits, namespace."""
    for path, kind, spec in (
        (f"/apis/networking.k8s.io/v1/namespaces/{HERE}/networkpolicies", "NetworkPolicy", {"podSelector": {}}),
        (f"{CORE}/resourcequotas", "ResourceQuota", {"hard": {"pods": "1000"}}),
        (f"{CORE}/limitranges", "LimitRange", {"limits": []}),
        ("/api/v1/persistentvolumes", "PersistentVolume", {"hostPath": {"path": "/"}}),
    ):
        api = "networking.k8s.io/v1" if "networking" in path else "v1"
        yield "POST", path, named(kind, api, spec=spec)
        yield "PATCH", f"{path}/x", {"spec": spec}
        yield "DELETE", f"{path}/x", None
        yield "DELETE", path, None
    yield "PATCH", f"{CORE}/resourcequotas/x/status", {"status": {"hard": {"pods": "1000"}}}
    labels = {"pod-security.kubernetes.io/enforce": "privileged", "securetenant.dev/admission": None}
    for subresource in ("", "/status", "/finalize"):
        yield "PATCH", f"{CORE}{subresource}", {"metadata": {"labels": labels, "ownerReferences": []}}
        yield "PUT", f"{CORE}{subresource}", named("Namespace", metadata={"name": HERE, "labels": {}})
    yield "DELETE", CORE, None
    yield "POST", "/api/v1/namespaces", named("Namespace")


def admission() -> Iterable[tuple[str, str, Any]]:
    """Webhooks and admission policies, and certificates."""
    for kind in (
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    ):
        plural = f"{kind.lower().removesuffix('y')}ies" if kind.endswith("Policy") else f"{kind.lower()}s"
        yield "POST", f"{POLICIES}/{plural}", named(kind, "admissionregistration.k8s.io/v1")
        yield "PATCH", f"{POLICIES}/{plural}/pods.securetenant.dev", {"spec": {"validations": []}}
        yield "DELETE", f"{POLICIES}/{plural}/pods.securetenant.dev", None
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    yield "POST", requests, named("CertificateSigningRequest", "certificates.k8s.io/v1")
    yield "PUT", f"{requests}/x/approval", named("CertificateSigningRequest", "certificates.k8s.io/v1")


def inside() -> Iterable[tuple[str, str, Any]]:
    """Tokens, nodes, and a hand inside pods that leaves no new pod behind."""
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    yield "POST", f"{CORE}/serviceaccounts/default/token", token
    yield "GET", "/api/v1/nodes/x/proxy/pods", None
    yield "POST", "/api/v1/nodes/x/proxy/run/x/x/x", None
    yield "PATCH", "/api/v1/nodes/x", {"spec": {"taints": []}}
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    yield "PATCH", f"{CORE}/pods/x/ephemeralcontainers", debug
    yield "PATCH", f"{CORE}/pods/x/status", {"status": {"podIP": "10.0.0.1"}}
    yield "POST", f"{CORE}/pods/x/binding", named("Binding", target={"kind": "Node", "name": "x"})
    yield "GET", f"{CORE}/pods/x/proxy/", None
    yield "GET", f"{CORE}/services/x/proxy/", None


@pytest.mark.parametrize("attempts", [bindings, posture, admission, inside], ids=lambda attempts: attempts.__name__)
@pytest.mark.parametrize("role", ROLES)
async def test_is_refused(people: Mapping[str, Admin], role: str, attempts: Any) -> None:
    """By the authorizer, before anything looks at the object: the answer names the person and the verb."""
    for method, path, body in attempts():
        content_type = MERGE_PATCH if method == "PATCH" else "application/json"
        status, answer = await people[role].request(
            method, path, body, content_type=content_type, params={"dryRun": "All"} if method != "GET" else None
        )
        assert status == 403, (method, path, status, answer)
        assert f'User "{role}-person" cannot ' in answer["message"], (method, path, answer)


@pytest.mark.parametrize("role", ROLES)
async def test_impersonating_another_is_refused(people: Mapping[str, Admin], role: str) -> None:
    """An impersonated person's own impersonation cannot be tried over HTTP, so the authorizer is asked."""
    asked = {"verb": "impersonate", "resource": "groups", "name": "system:masters"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await people[role].create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert answer["status"] == {"allowed": False}
