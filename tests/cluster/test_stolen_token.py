"""Somebody holds the token of the operator's account, with all its rights, and tries.

Where RBAC lets it through, the policy `operator.securetenant.dev` refuses; where RBAC refuses, nothing else is asked.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.cni import crds
from securetenant.checks import accounts
from tests.support import life, plugins
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.locked import BREAK_GLASS, MASTERS, TENANT
from tests.support.posture import PLAIN
from tests.support.sandbox import JSON_PATCH, MERGE_PATCH, ROOT, Admin, Plane, operator_token, wait_for
from tests.support.tenants import BINDINGS, POLICIES, QUOTAS, RANGES, Stage

pytestmark = pytest.mark.cluster

POLICY: Final = "operator.securetenant.dev"
OWN: Final = "securetenant-system"
USER: Final = f"system:serviceaccount:{OWN}:securetenant"
SHOP, VICTIM, NODE = "token-shop-a", "token-victim", "token-node-0"
EVENTS: Final = "/api/v1/namespaces/{}/events"
MARKS: Final = {"app.kubernetes.io/managed-by": "securetenant", TENANT: "token-shop"}
GROUP: Final = "securetenant.dev/v1alpha1"
GLASS: Final = (MASTERS, BREAK_GLASS)
SUBNET_RIGHTS: Final = ROOT / "manifests" / "components" / "subnets" / "role.yaml"
TIER_RIGHTS: Final = ROOT / "manifests" / "components" / "admin-tier" / "role.yaml"
OF_TIER: Final = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
TIER: Final = crds.CLUSTER_NETWORK_POLICY.collection
RBAC: Final = "rbac.authorization.k8s.io"
MALLORY: Final = {"kind": "User", "name": "mallory", "apiGroup": RBAC}
ITSELF: Final = {"kind": "ServiceAccount", "name": "securetenant", "namespace": OWN}


@dataclass(frozen=True)
class Attempt:
    """One request. `by`: who refuses it, the policy or RBAC (or what else is named)."""

    name: str
    method: str
    path: str
    body: Any = None
    by: str = "restrained: "
    content_type: str = "application/json"


def group(name: str) -> Json:
    return {"kind": "Group", "name": name, "apiGroup": RBAC}


def bound(*subjects: Json, role: str = "securetenant-admin", kind: str = "ClusterRole", name: str = "evil") -> Json:
    reference = {"apiGroup": RBAC, "kind": kind, "name": role}
    return {"metadata": {"name": name, "labels": MARKS}, "roleRef": reference, "subjects": list(subjects)}


def made(kind: str, name: str = "evil") -> Json:
    return {"metadata": {"name": name, "labels": MARKS}, **PLAIN[kind]}


def event(namespace: str) -> Json:
    about = {"kind": "Pod", "name": "x", "namespace": namespace}
    return {"metadata": {"name": "evil", "namespace": namespace}, "involvedObject": about, "reason": "Healthy"}


def patched(name: str, path: str, body: Json, by: str = "restrained: ") -> Attempt:
    return Attempt(name, "PATCH", path, body, by, MERGE_PATCH)


def metadata(**fields: Any) -> Json:
    return {"metadata": fields}


OWNERS: Final = [{"apiVersion": "v1", "kind": "Node", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"}]
SYSTEM: Final = ("kube-system", "kube-public", "default", OWN, "securetenant-probe-deny")


def attempts() -> Iterator[Attempt]:
    for place in (*SYSTEM, VICTIM):
        yield Attempt(f"bind-admin-in-{place}", "POST", BINDINGS.format(place), bound(MALLORY))
    for number, subject in enumerate(
        (
            ITSELF,
            {"kind": "User", "name": USER, "apiGroup": RBAC},
            group("system:serviceaccounts"),
            group(f"system:serviceaccounts:{OWN}"),
            group("system:authenticated"),
        )
    ):
        yield Attempt(f"bind-itself-{number}", "POST", BINDINGS.format(SHOP), bound(MALLORY, subject))
        path = f"{BINDINGS.format(SHOP)}/securetenant-developer"
        body = bound(MALLORY, subject, role="securetenant-developer", name="securetenant-developer")
        yield Attempt(f"join-a-binding-{number}", "PUT", path, body)
    yield Attempt("bind-its-own-role", "POST", BINDINGS.format(SHOP), bound(MALLORY, role="securetenant-controller"))
    yield Attempt("bind-a-role-of-the-namespace", "POST", BINDINGS.format(SHOP), bound(MALLORY, role="no", kind="Role"))
    yield Attempt(
        "bind-cluster-admin", "POST", BINDINGS.format(SHOP), bound(MALLORY, role="cluster-admin"), "attempting"
    )
    scheduler = f"{BINDINGS.format('kube-system')}/system::leader-locking-kube-scheduler"
    yield Attempt("unbind-the-scheduler", "DELETE", scheduler)

    yield Attempt("open-kube-system", "POST", POLICIES.format("kube-system"), made("policy"))
    yield Attempt("open-the-victim", "POST", POLICIES.format(VICTIM), made("policy"))
    yield Attempt("take-the-victims-policy", "DELETE", f"{POLICIES.format(VICTIM)}/theirs")
    yield Attempt("widen-the-victims-policy", "PUT", f"{POLICIES.format(VICTIM)}/theirs", made("policy", "theirs"))
    yield Attempt("open-its-own-namespace", "DELETE", f"{POLICIES.format(OWN)}/securetenant")
    yield Attempt("stop-kube-system", "POST", QUOTAS.format("kube-system"), made("quota"))
    yield Attempt("limit-kube-system", "POST", RANGES.format("kube-system"), made("range"))
    yield Attempt("limit-the-victim", "POST", RANGES.format(VICTIM), made("range"))
    probe = f"{QUOTAS.format('securetenant-probe-deny')}/nothing"
    yield Attempt("room-for-pods-in-the-probe", "DELETE", probe)
    yield Attempt("more-room-for-pods-in-the-probe", "PUT", probe, made("quota", "nothing"))

    for place in SYSTEM:
        yield patched(f"take-over-{place}", f"{NAMESPACES}/{place}", metadata(labels=MARKS))
    privileged = metadata(labels={"pod-security.kubernetes.io/enforce": "privileged"})
    yield patched("no-pod-security-for-itself", f"{NAMESPACES}/{OWN}", privileged)
    yield patched("no-pod-security-for-the-victim", f"{NAMESPACES}/{VICTIM}", privileged)
    yield Attempt("delete-the-victim", "DELETE", f"{NAMESPACES}/{VICTIM}")
    yield Attempt("delete-the-probe", "DELETE", f"{NAMESPACES}/securetenant-probe-deny")
    yield Attempt("delete-itself", "DELETE", f"{NAMESPACES}/{OWN}")
    yield Attempt("a-namespace-like-the-systems", "POST", NAMESPACES, metadata(name="kube-evil", labels=MARKS))
    yield Attempt("a-namespace-like-openshifts", "POST", NAMESPACES, metadata(name="openshift-evil", labels=MARKS))
    yield Attempt("a-namespace-of-nobody", "POST", NAMESPACES, metadata(name="token-evil"))
    yield patched("own-a-tenants-namespace", f"{NAMESPACES}/{SHOP}", metadata(ownerReferences=OWNERS))
    yield patched("hold-a-tenants-namespace", f"{NAMESPACES}/{SHOP}", metadata(finalizers=["example.com/x"]))
    yield patched("by-the-status", f"{NAMESPACES}/{SHOP}/status", metadata(labels={"a": "b"}), "cannot patch")

    tenant = f"{TENANTS}/token-shop"
    yield patched("change-a-spec", tenant, {"spec": {"network": {"isolation": "Tenant"}}})
    yield patched("adopt-by-a-spec", tenant, {"spec": {"namespaces": [{"name": VICTIM, "adopt": True}]}})
    yield patched("label-a-tenant", tenant, metadata(labels={"a": "b"}))
    yield patched("annotate-a-tenant", tenant, metadata(annotations={"a": "b"}))
    yield patched("own-a-tenant", tenant, metadata(ownerReferences=OWNERS))
    yield patched("hold-a-tenant", tenant, metadata(finalizers=["securetenant.dev/cleanup", "example.com/x"]))
    yield Attempt("delete-a-tenant", "DELETE", tenant, by="cannot delete")

    node = f"/api/v1/nodes/{NODE}"
    yield patched("label-a-node", node, metadata(labels={"pool": "mallory"}))
    yield patched("annotate-a-node", node, metadata(annotations={"a": "b"}))
    yield patched("own-a-node", node, metadata(ownerReferences=OWNERS))
    yield patched("cordon-a-node", node, {"spec": {"unschedulable": True}})
    yield patched("taint-a-node", node, {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})
    yield Attempt("address-a-node", "PATCH", node, [{"op": "add", "path": "/spec/providerID", "value": "x"}],
                  content_type=JSON_PATCH)  # fmt: skip

    yield from of_subnets()
    yield from of_the_admin_tier()

    for place in ("kube-system", VICTIM):
        yield Attempt(f"event-in-{place}", "POST", EVENTS.format(place), event(place))

    cannot = "cannot create"
    group_path = f"/apis/{RBAC}/v1"
    yield Attempt("read-secrets", "GET", "/api/v1/secrets", by="cannot list")
    yield Attempt("token-of-another", "POST", f"{NAMESPACES}/kube-system/serviceaccounts/default/token", {}, cannot)
    yield Attempt("a-pod", "POST", f"{NAMESPACES}/{SHOP}/pods", metadata(name="x"), cannot)
    yield Attempt("a-cluster-role", "POST", f"{group_path}/clusterroles", metadata(name="x"), cannot)
    binding = {**bound(ITSELF, role="cluster-admin"), **metadata(name="x")}
    yield Attempt("a-binding-everywhere", "POST", f"{group_path}/clusterrolebindings", binding, cannot)
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    yield Attempt("no-policy-any-more", "DELETE", f"{policies}/{POLICY}", by="cannot delete")
    yield Attempt(
        "no-binding-any-more", "DELETE", f"{policies[:-3]}ybindings/operator-deny.securetenant.dev", by="cannot"
    )
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    yield Attempt("anothers-lease", "POST", lease, metadata(name="x"), cannot)


def of_subnets() -> Iterator[Attempt]:
    """The objects of network plug-ins."""
    subnets, pools, cilium = (plugins.collection(kind) for kind in ("subnet", "pool", "cilium"))
    own = f"{subnets}/{plugins.name(SHOP)}"

    def subnet(
        namespace: str = VICTIM, kind: str = "subnet", labels: Json = MARKS, name: str = "", **spec: Any
    ) -> Json:
        made = plugins.body(kind, namespace, **spec)
        made["metadata"] = {"name": name or plugins.name(namespace), "labels": labels}
        return made

    yield patched("move-the-default-subnet", f"{subnets}/ovn-default", {"spec": {"cidrBlock": "10.79.0.0/24"}})
    yield patched("open-the-default-subnet", f"{subnets}/ovn-default", {"spec": {"private": False}})
    yield Attempt("take-the-nodes-subnet", "DELETE", f"{subnets}/join")
    yield patched("mark-the-nodes-subnet", f"{subnets}/join", metadata(labels=MARKS))
    yield patched("mark-a-foreign-subnet", f"{subnets}/{plugins.name('token-foreign')}", metadata(labels=MARKS))
    yield Attempt("take-a-foreign-subnet", "DELETE", f"{subnets}/{plugins.name('token-foreign')}")
    unmarked = metadata(labels=dict.fromkeys(MARKS))
    yield patched("unmark-what-is-no-tenants", f"{subnets}/token-marked", unmarked)
    yield patched("half-unmark-a-subnet", own, metadata(labels={TENANT: None}))
    yield patched("unmark-and-open-a-subnet", own, {**unmarked, "spec": {"allowSubnets": ["0.0.0.0/0"]}})
    yield Attempt("an-unmarked-subnet", "POST", subnets, subnet(labels={}))
    for number, key in enumerate(MARKS):
        yield Attempt(f"a-half-marked-subnet-{number}", "POST", subnets, subnet(labels={key: MARKS[key]}))
    for number, name in enumerate(("evil", "securetenant", f"securetenant-{VICTIM}.evil", "join2")):
        yield Attempt(f"a-subnet-of-another-name-{number}", "POST", subnets, subnet(name=name))
    for place in ("kube-system", "default", OWN):
        yield Attempt(f"a-subnet-for-{place}", "POST", subnets, subnet(place))
    yield Attempt("a-subnet-for-others", "POST", subnets, subnet(namespaces=["kube-system"]))
    yield Attempt("a-subnet-for-others-as-well", "POST", subnets, subnet(namespaces=[VICTIM, "kube-system"]))
    yield Attempt("a-subnet-for-all", "POST", subnets, subnet(namespaceSelectors=[{}]))
    yield Attempt("a-subnet-by-default", "POST", subnets, subnet(default=True))
    yield patched("a-tenants-subnet-for-others", own, {"spec": {"namespaces": ["kube-system"]}})
    yield patched("a-tenants-subnet-for-all", own, {"spec": {"namespaceSelectors": [{}]}})
    yield patched("another-router-for-a-tenants-subnet", own, {"spec": {"vpc": "evil"}})
    yield patched("move-a-tenants-subnet", own, {"spec": {"cidrBlock": "10.79.0.0/24"}}, "fixed: ")
    yield patched("hold-a-tenants-subnet", own, metadata(finalizers=["example.com/x"]))
    yield patched("own-a-tenants-subnet", own, metadata(ownerReferences=OWNERS))
    yield patched("a-tenants-subnet-ready", f"{own}/status", {"status": {}}, "cannot patch")
    held = subnet()
    held["metadata"] |= {"finalizers": ["example.com/x"]}
    yield Attempt("a-held-subnet", "POST", subnets, held)
    owned = subnet()
    owned["metadata"] |= {"ownerReferences": OWNERS}
    yield Attempt("an-owned-subnet", "POST", subnets, owned)

    yield Attempt("a-pool-for-all", "POST", pools, subnet(kind="pool", nodeSelector="all()"))
    yield Attempt("a-pool-for-others", "POST", pools, subnet(kind="pool", namespaceSelector="all()"))
    yield Attempt("take-the-default-pool", "DELETE", f"{pools}/default-ipv4-ippool")
    yield patched("close-the-default-pool", f"{pools}/default-ipv4-ippool", {"spec": {"disabled": True}})
    yield Attempt("a-cilium-pool-for-all", "POST", cilium, subnet(kind="cilium", podSelector={}))
    yield Attempt("take-the-default-cilium-pool", "DELETE", f"{cilium}/default")

    ranges = f"/apis/{GROUP}/subnetpools"
    yield patched("change-a-pool", f"{ranges}/token-pool", {"spec": {"reserved": []}}, "cannot patch")
    yield Attempt("take-a-pool", "DELETE", f"{ranges}/token-pool", by="cannot delete")
    yield Attempt("a-pool", "POST", ranges, metadata(name="x"), "cannot create")
    templates = f"/apis/{GROUP}/networktemplates"
    yield patched("change-a-template", f"{templates}/token-template", {"spec": {"ingress": []}}, "cannot patch")
    yield Attempt("take-a-template", "DELETE", f"{templates}/token-template", by="cannot delete")
    yield Attempt("a-template", "POST", templates, metadata(name="x"), "cannot create")


def of_the_admin_tier() -> Iterator[Attempt]:
    """ClusterNetworkPolicies, where the component `admin-tier` is applied."""

    def policy(namespace: str = SHOP, name: str = "", labels: Json = MARKS, **spec: Any) -> Json:
        there = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        deny = [{"action": "Deny", "from": [{"namespaces": {}}]}]
        return {
            **OF_TIER,
            **metadata(name=name or f"securetenant-{namespace}", labels=labels),
            "spec": {"tier": "Admin", "priority": 1, "subject": there, "ingress": deny, **spec},
        }

    accept = [{"action": "Accept", "from": [{"namespaces": {}}]}]
    yield Attempt("accept-in-the-admin-tier", "POST", TIER, policy(ingress=accept))
    yield Attempt("open-all-in-the-admin-tier", "POST", TIER, policy(subject={"namespaces": {}}))
    yield Attempt("the-baseline", "POST", TIER, policy(tier="Baseline"))
    yield Attempt("close-another-namespace", "POST", TIER, policy(VICTIM, f"securetenant-{SHOP}"))
    for place in ("kube-system", "default", OWN):
        yield Attempt(f"close-{place}", "POST", TIER, policy(place))
    yield Attempt("a-policy-of-another-name", "POST", TIER, policy(name="evil"))
    yield Attempt("an-unmarked-policy", "POST", TIER, policy(labels={}))
    yield Attempt("take-the-platforms-policy", "DELETE", f"{TIER}/platform")


@pytest_asyncio.fixture(scope="module")
async def plugged_in(admin: Admin, manifests: None) -> AsyncIterator[None]:
    """The kinds of three network plug-ins with nets of their own, and the operator's right over them."""
    await admin.apply(SUBNET_RIGHTS)
    await admin.apply(TIER_RIGHTS)
    async with (
        plugins.served(admin, "subnet", "pool", "cilium"),
        crds.served(admin, crds.CLUSTER_NETWORK_POLICY),
        Admin(admin.plane, user="x", groups=GLASS) as glass,
    ):
        subject = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
        spec = {"tier": "Admin", "priority": 1, "subject": subject}
        await glass.create(TIER, {**OF_TIER, **metadata(name="platform"), "spec": spec})
        for kind, names in {
            "subnet": ("ovn-default", "join", plugins.name("token-foreign")),
            "pool": ("default-ipv4-ippool",),
            "cilium": ("default",),
        }.items():
            for name in names:
                await glass.create(plugins.collection(kind), {**plugins.body(kind, "x"), "metadata": {"name": name}})
        marked = {**plugins.body("subnet", "x"), "metadata": {"name": "token-marked", "labels": MARKS}}
        await glass.create(plugins.collection("subnet"), marked)
        yield
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(SUBNET_RIGHTS), "-f", str(TIER_RIGHTS))


@pytest_asyncio.fixture(scope="module")
async def thief(plane: Plane, stage: Stage, node_rights: None, plugged_in: None) -> AsyncIterator[Admin]:
    """Who has the token. The operator works on meanwhile."""
    await stage.tenant("token-shop", life.spec(SHOP))
    await stage.namespace(VICTIM)
    await stage.admin.create(POLICIES.format(VICTIM), {**made("policy", "theirs"), **metadata(name="theirs")})
    await stage.admin.create(f"/apis/{RBAC}/v1/namespaces/{SHOP}/roles", {"metadata": {"name": "no"}, "rules": []})
    nodes.create(plane, 1, prefix="token-node")
    async with Admin(plane, token=await operator_token(plane)) as client:
        for kind in ("subnet", "pool", "cilium"):
            await client.create(plugins.collection(kind), plugins.body(kind, SHOP, "token-shop"))
        yield client
    await stage.admin.delete(f"/api/v1/nodes/{NODE}")


def test_there_are_more_than_eighty() -> None:
    names = [attempt.name for attempt in attempts()]
    assert len(set(names)) == len(names) > 80
    assert sum(attempt.by == "restrained: " for attempt in attempts()) > 80


@pytest.mark.parametrize("attempt", list(attempts()), ids=lambda attempt: attempt.name)
async def test_is_refused(thief: Admin, attempt: Attempt) -> None:
    status, answer = await thief.request(attempt.method, attempt.path, attempt.body, content_type=attempt.content_type)
    assert status == 403, answer
    assert attempt.by in answer["message"], answer
    if attempt.by == "restrained: ":
        assert f"ValidatingAdmissionPolicy '{POLICY}'" in answer["message"]


async def test_a_dry_run_is_no_way_around(thief: Admin) -> None:
    """The probe's annotation is for objects that are never stored; without `dryRun` it refuses by itself."""
    body = bound(MALLORY)
    body["metadata"] = {**body["metadata"], "annotations": {"securetenant.dev/probe": ""}}
    for params in ({}, {"dryRun": "All"}):
        status, answer = await thief.request("POST", BINDINGS.format("kube-system"), body, params=params)
        assert (status, params != {}) == ((201, True) if params else (403, False)), answer
    assert await thief.find(f"{BINDINGS.format('kube-system')}/evil") is None


async def test_what_it_still_can_do(stage: Stage, thief: Admin) -> None:
    """As docs/security.md says: take over a namespace that is nobody's, as for `adopt: true`, and bind others there."""
    await stage.namespace("token-nobodys")
    path = f"{NAMESPACES}/token-nobodys"
    await thief.patch(path, metadata(labels=MARKS))

    async def is_bound() -> bool:
        status, _ = await thief.request("POST", BINDINGS.format("token-nobodys"), bound(MALLORY))
        return status == 201

    await wait_for(is_bound, 5, "the mark to be seen by the API server")
    await thief.delete(path)


async def test_what_it_does_with_a_subnet_goes_on(thief: Admin) -> None:
    """Made, changed in what is ours though the plug-in filled in the rest, kept for a while, released, deleted."""
    for kind, change in {"subnet": {"allowSubnets": []}, "pool": {"nodeSelector": "!all()"}, "cilium": {}}.items():
        where = plugins.collection(kind)
        for name in (plugins.name("token-later"), f"{plugins.name('token-later')}.v6"):
            made = plugins.body(kind, "token-later", "token-shop", allowFirstIP=False, namespaceSelectors=[])
            made["metadata"]["name"] = name
            await thief.create(where, made)
            path = f"{where}/{name}"
            async with Admin(thief.plane, user=accounts.DEFAULT.cni[0], groups=[MASTERS]) as plugin:
                filled = {"spec": plugins.FILLED[kind], "metadata": {"finalizers": ["kubeovn.io/x"]}}
                await plugin.patch(path, filled)
                await thief.patch(path, {"spec": change, **metadata(labels=MARKS)})
                await thief.patch(path, metadata(annotations={"securetenant.dev/unused-since": "x"}))
                gone = dict.fromkeys(("securetenant.dev/unused-since", "securetenant.dev/locks"))
                labels = dict.fromkeys(plugins.marks("token-shop"))
                if name.endswith(".v6"):
                    await thief.patch(path, metadata(labels=labels, annotations=gone))
                    await plugin.patch(path, metadata(finalizers=None))
                    await plugin.delete(path)
                else:
                    await thief.delete(path)
                    await plugin.patch(path, metadata(finalizers=None))
            assert await thief.find(path) is None


async def test_everybody_else_is_let_through(stage: Stage, mallory: Admin) -> None:
    """The policy is about one account."""
    for attempt in attempts():
        if attempt.by != "restrained: " or SHOP in attempt.path or attempt.path.startswith(TENANTS):
            continue
        params = {"dryRun": "All"}
        _, answer = await mallory.request(
            attempt.method, attempt.path, attempt.body, content_type=attempt.content_type, params=params
        )
        assert "restrained" not in str(answer.get("message", ""))
