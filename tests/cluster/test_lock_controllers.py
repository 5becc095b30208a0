"""Kubernetes' own controllers under the lock on namespaces: with an account for each of them, and with one for all."""

import pytest

from tests.support.life import NAMESPACES, Json, gone
from tests.support.sandbox import Admin

pytestmark = pytest.mark.cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"


async def marked(admin: Admin, name: str, owner: Json | None = None) -> str:
    """A namespace as the operator makes it, with something in it."""
    labels = {"securetenant.dev/tenant": "lock", "app.kubernetes.io/managed-by": "securetenant"}
    owners = {"ownerReferences": [owner]} if owner else {}
    await admin.create(NAMESPACES, {"metadata": {"name": name, "labels": labels, **owners}})
    await admin.create(f"{NAMESPACES}/{name}/configmaps", {"metadata": {"name": "left"}})
    return f"{NAMESPACES}/{name}"


async def owner_of(admin: Admin, name: str) -> tuple[str, Json]:
    made = await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}})
    uid = made["metadata"]["uid"]
    reference = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": name, "uid": uid}
    return f"{RBAC}/clusterroles/{name}", reference


async def test_a_namespace_that_is_deleted_ends(cluster: Admin) -> None:
    """Its contents are deleted, its status and its finalizers written. The controller waits 5 s by itself."""
    path = await marked(cluster, "lock-ends")
    await cluster.delete(path)
    await gone(cluster, path, 15)


async def test_an_owner_that_goes_takes_the_namespace_with_it(cluster: Admin) -> None:
    owner, reference = await owner_of(cluster, "lock-owner")
    path = await marked(cluster, "lock-owned", reference)
    await cluster.delete(owner, params={"propagationPolicy": "Background"})
    await gone(cluster, path, 20)


async def test_an_owner_that_leaves_it_behind_goes(cluster: Admin) -> None:
    """The garbage collector takes the reference off the namespace, and only then lets the owner go."""
    owner, reference = await owner_of(cluster, "lock-leaves")
    path = await marked(cluster, "lock-orphan", reference)
    await cluster.delete(owner, params={"propagationPolicy": "Orphan"})
    await gone(cluster, owner, 15)
    assert "ownerReferences" not in (await cluster.get(path))["metadata"]
    await cluster.delete(path)
    await gone(cluster, path, 15)
