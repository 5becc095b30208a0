"""Every right of the operator is one that it uses, and it asks for no other: the audit log of a short life decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from sandbox import audit, nodes
from securetenant.checks import gateway_api
from securetenant.controls.lookup import OPTIONAL
from tests.support import life
from tests.support.fault import free_lease, leads
from tests.support.life import CHILDREN, NAMESPACES
from tests.support.sandbox import MUTATING, NAMESPACE, ROOT, Admin, Operator, Plane, run_operator, wait_for
from tests.support.shortened import shortened
from tests.support.tampering import MANAGER
from tests.support.tenants import Tenant

pytestmark = pytest.mark.cluster

USER: Final = f"system:serviceaccount:{NAMESPACE}:securetenant"
NODES: Final = "/api/v1/nodes"
ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/securetenant-viewer"
# Which rights it has and who it is, every authenticated user may ask (system:basic-user).
QUESTIONS: Final = ("selfsubjectaccessreviews", "selfsubjectreviews")
CLUSTER_BINDINGS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
SHIPPED: Final = (
    ROOT / "manifests" / "rbac" / "operator.yaml",
    ROOT / "manifests" / "rbac" / "operator-namespaced.yaml",
    ROOT / "manifests" / "components" / "nodes" / "role.yaml",
    ROOT / "manifests" / "admission" / "probe.yaml",
)
# The custom resources of others, which no test here installs: test_foreign_kinds and those of subnets do.
POOLS: Final = "/apis/securetenant.dev/v1alpha1/subnetpools"
TEMPLATES: Final = "/apis/securetenant.dev/v1alpha1/networktemplates"
UNSERVED: Final = {*gateway_api.RESOURCES, *(kind.group for kind in OPTIONAL if not kind.since)}
# A repeated Event is written a minute after the first; here at once.
IMPATIENT: Final = {"telemetry.events.Events(interval)": 0.1}


@dataclass(frozen=True, order=True, slots=True)
class Request:
    """What a request asks for, in RBAC's words; `namespace` and `name` are "" where it names none."""

    group: str
    resource: str
    verb: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return _told(self.group, self.resource, self.verb, self.namespace, self.name)


@dataclass(frozen=True, order=True, slots=True)
class Right:
    """One verb on one resource: in one namespace or ("") in all, on these names or (none) on all."""

    group: str
    resource: str
    verb: str
    namespace: str
    names: tuple[str, ...]

    def covers(self, asked: Request) -> bool:
        return (
            (self.group, self.resource, self.verb) == (asked.group, asked.resource, asked.verb)
            and self.namespace in ("", asked.namespace)
            and (not self.names or asked.name in self.names)
        )

    def __str__(self) -> str:
        return _told(self.group, self.resource, self.verb, self.namespace, ", ".join(self.names))


def _told(group: str, resource: str, verb: str, namespace: str, name: str) -> str:
    where = f" in {namespace}" if namespace else ""
    return f"{verb} {resource}{f'.{group}' if group else ''}{f' {name}' if name else ''}{where}"


def granted() -> Iterator[Right]:
    """What ships, but `bind`: it is no request, and test_manifests shows what it is for."""
    documents = [document for file in SHIPPED for document in yaml.safe_load_all(file.read_text())]
    for role in documents:
        for rule in role.get("rules", ()):
            names, namespace = tuple(rule.get("resourceNames", ())), role["metadata"].get("namespace", "")
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from (Right(group, resource, v, namespace, names) for v in rule["verbs"] if v != "bind")


def asked(events: Iterable[dict[str, Any]]) -> set[Request]:
    """What the operator asked for, refused or not. What names no resource (/version) needs no right of its own."""
    found = set()
    for event in events:
        target = event.get("objectRef", {"resource": QUESTIONS[0]})
        if event["user"].get("username") == USER and target["resource"] not in QUESTIONS:
            resource = "/".join(target[key] for key in ("resource", "subresource") if key in target)
            place = target.get("namespace", ""), target.get("name", "")
            found.add(Request(target.get("apiGroup", ""), resource, event["verb"], *place))
    return found


def differences(requests: Iterable[Request], minor: int) -> list[str]:
    # What is not served is not asked for.
    rights = [
        right
        for right in granted()
        if right.group not in UNSERVED and (minor >= MUTATING or not right.resource.startswith("mutating"))
    ]
    requests = sorted(requests)
    unused = [right for right in sorted(rights) if not any(right.covers(request) for request in requests)]
    missing = [request for request in requests if not any(right.covers(request) for right in rights)]
    return [*(f"granted and never used: {r}" for r in unused), *(f"used and not granted: {r}" for r in missing)]


def last_line(log: Path) -> int:
    """Where the last whole line of a log ends."""
    with log.open("rb") as file:
        start = file.seek(max(0, log.stat().st_size - 2**17))
        return start + file.read().rfind(b"\n") + 1


@pytest_asyncio.fixture
async def node(plane: Plane, admin: Admin, node_rights: None) -> AsyncIterator[str]:
    """A node that a tenant may have, and the operator's right to it."""
    (name,) = await asyncio.to_thread(nodes.create, plane, 1, {"pool": "rights"}, prefix="rights")
    try:
        yield name
    finally:
        await admin.delete(f"{NODES}/{name}")


def spec(namespace: str, **other: Any) -> life.Json:
    """Something of every control, and what others put beside it is removed."""
    given = life.spec(namespace, **other)
    given["access"] |= {"foreign": "Remove"}
    given["network"] |= {"foreign": "Remove", "apiServer": True}
    given["quota"] |= {"tenant": {"services": "10"}}
    return given


async def tampered_with(admin: Admin, tenant: Tenant, namespace: str, node: str) -> None:
    """Every kind changed, some deleted, some of others' own beside them."""
    at = {plural: path.format(namespace) for plural, path in CHILDREN.items()}
    policy = f"{at['networkpolicies']}/securetenant-default-deny"
    ours = {
        policy: ("network", {"metadata": {"labels": {"example.com/mine": "1"}}}),
        f"{at['rolebindings']}/securetenant-developer": ("access", {"subjects": None}),
        f"{at['resourcequotas']}/securetenant": ("quota", {"spec": {"hard": {"pods": "1000"}}}),
        f"{at['limitranges']}/securetenant": ("limits", {"spec": {"limits": []}}),
        f"{NAMESPACES}/{namespace}": ("namespaces", {"metadata": {"labels": {"env": "mine"}}}),
        f"{NODES}/{node}": ("nodes", {"spec": {"taints": None}}),
    }
    for path, (_, change) in ours.items():
        await admin.patch(path, change, params={"fieldManager": MANAGER})
    await tenant.healed(*((control, "Changed") for control, _ in ours.values()))
    # Once more the same: its Event is counted up.
    await admin.patch(policy, ours[policy][1], params={"fieldManager": MANAGER})
    await tenant.healed(("network", "Changed"))
    await admin.delete(policy)
    await tenant.healed(("network", "Missing"))
    await admin.create(at["networkpolicies"], {"metadata": {"name": "mine"}, "spec": {"podSelector": {}}})
    await admin.create(at["rolebindings"], binding("mine"))
    await tenant.healed(("network", "Foreign"), ("access", "Foreign"))


def binding(name: str) -> life.Json:
    """A binding of the tenant's own people to a role that it did not ask for."""
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "dev"}],
    }


@contextlib.asynccontextmanager
async def bound_everywhere(admin: Admin, name: str) -> AsyncIterator[None]:
    await admin.create(CLUSTER_BINDINGS, binding(name))
    try:
        yield
    finally:
        await admin.delete(f"{CLUSTER_BINDINGS}/{name}")


async def role_changed(admin: Admin, operator: Operator) -> None:
    """A tenant role gives more for a while, and the operator looks up who did it."""
    rules = (await admin.get(ROLE))["rules"]
    added = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    await admin.patch(ROLE, {"rules": [*rules, added]}, params={"fieldManager": MANAGER})
    try:
        shown = partial(operator.metric, "securetenant_cluster_drift_objects", control="access", reason="Changed")
        await wait_for(shown, 10, "the changed role to be found")
    finally:
        await admin.patch(ROLE, {"rules": rules})


async def told(admin: Admin) -> None:
    """What is the platform team's gets its status."""
    rule = {"name": "scrape", "from": [{"namespace": "monitoring"}], "ports": [{"port": 9090}]}
    for kind, path, body in (
        ("SubnetPool", POOLS, {"cidrs": ["10.94.0.0/16"]}),
        ("NetworkTemplate", TEMPLATES, {"ingress": [rule]}),
    ):
        made = {"apiVersion": "securetenant.dev/v1alpha1", "kind": kind, "metadata": {"name": "rights"}, "spec": body}
        await admin.create(path, made)

        async def is_told(path: str = path) -> bool:
            return "status" in await admin.get(f"{path}/rights")

        await wait_for(is_told, 20, f"the status of the {kind}")
        await admin.delete(f"{path}/rights")


async def lives(admin: Admin, operator: Operator, node: str) -> None:
    """All that a tenant can go through."""
    selector = {"matchLabels": {"kubernetes.io/hostname": node}}
    await life.create(admin, "rights", spec("rights-a", nodes={"selector": selector}))
    await life.create(admin, "rights-gone", spec("rights-gone-a", deletionPolicy="Delete"))
    tenant = Tenant(admin, operator, "rights")
    await life.ready(admin, "rights")
    await life.ready(admin, "rights-gone")
    await tenant.agrees("the creation to be no drift")
    await told(admin)
    await tampered_with(admin, tenant, "rights-a", node)
    async with bound_everywhere(admin, "rights-everywhere"):
        await tenant.reported(("access", "Foreign"))
    await tenant.cleared(("access", "Foreign"))
    await role_changed(admin, operator)
    sections = ("access", "network", "quota", "limits", "nodes")
    await tenant.edit(dict.fromkeys(sections))


async def test_each_right_is_used_and_no_other_is_asked_for(
    plane: Plane, admin: Admin, node: str, tmp_path: Path, minor: int
) -> None:
    log = plane.audit_log
    if log is None:
        pytest.skip("this cluster writes no audit log that can be read here")
    await free_lease(admin)
    offset = last_line(log)
    try:
        async with run_operator(plane, tmp_path, name="first", env=shortened(tmp_path, IMPATIENT)) as first:
            await wait_for(lambda: leads(first), 30, "the operator to lead")
            async with run_operator(plane, tmp_path, name="standby") as standby:
                await lives(admin, first, node)
                await first.stop()
                await wait_for(lambda: leads(standby), 10, "the standby to lead")
                for name in ("rights", "rights-gone"):
                    await Tenant(admin, standby, name).delete()
        # A request is logged after it was answered.
        with contextlib.suppress(AssertionError):
            await wait_for(lambda: not differences(asked(audit.read(log, offset)[0]), minor), 5)
        found = differences(asked(audit.read(log, offset)[0]), minor)
        assert not found, "\n".join(found)
    finally:
        await life.remove(admin, "rights", "rights-gone")
