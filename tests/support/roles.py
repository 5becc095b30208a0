"""The five shipped roles, bound for tests.

Each is bound twice: to `GROUP@here`, in one namespace, as the access control binds it; and to `GROUP@everywhere` in the
whole cluster, as nobody should.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.support.sandbox import Admin

ROLES: Final = ("viewer", "auditor", "operator", "developer", "admin")
RBAC: Final = "rbac.authorization.k8s.io"
READ: Final = ("get", "list", "watch")
WRITE: Final = ("create", "update", "patch", "delete", "deletecollection")


@contextlib.asynccontextmanager
async def bound(admin: Admin, here: str, elsewhere: str) -> AsyncIterator[None]:
    """Both namespaces, the roles bound to groups, and `developer` to the ServiceAccount `deployer` of the first."""
    bindings = f"/apis/{RBAC}/v1/namespaces/{here}/rolebindings"
    everywhere = f"/apis/{RBAC}/v1/clusterrolebindings"
    try:
        for namespace in (here, elsewhere):
            meta = {"name": namespace}
            await admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        for role in ROLES:
            await admin.create(bindings, binding("RoleBinding", role, role, group(f"{role}@here")))
            name = f"{here}-{role}"
            await admin.create(everywhere, binding("ClusterRoleBinding", name, role, group(f"{role}@everywhere")))
        deployer = {"kind": "ServiceAccount", "name": "deployer", "namespace": here}
        await admin.create(bindings, binding("RoleBinding", "deployer", "developer", deployer))
        yield
    finally:
        for role in ROLES:
            await admin.delete(f"{everywhere}/{here}-{role}")
        for namespace in (here, elsewhere):
            await admin.delete(f"/api/v1/namespaces/{namespace}")


def binding(kind: str, name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"securetenant-{role}"},
        "subjects": [subject],
    }


def group(name: str) -> dict[str, str]:
    return {"kind": "Group", "name": name, "apiGroup": RBAC}
