"""What is tampered with, as data: who does what, what must be found, and what must become of it.

Whoever tampers is in the break-glass group: the API server refuses nearly all of this to everybody else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.client import JSON_PATCH, MERGE_PATCH, Admin

_NETWORK = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"
_TENANTS = "/apis/securetenant.dev/v1alpha1/securetenants"

Check = Callable[[Admin], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One act of tampering. `object` is how the operator names it; `outcome` what must become of it."""

    title: str
    tenant: str
    control: str
    reason: Literal["Missing", "Changed", "Foreign"]
    object: str
    outcome: Literal["healed", "removed", "reported"]
    tamper: Callable[[Admin], Awaitable[None]]
    done: Check


def scenes(node: str | None) -> list[Scene]:
    """The acts in order. `node` is a dedicated node of the tenant risk; None leaves its act out."""
    acts = [
        Scene(
            "somebody deletes the default-deny policy of payments-prod",
            "payments",
            "network",
            "Missing",
            "NetworkPolicy/payments-prod/securetenant-default-deny",
            "healed",
            _delete(_NETWORK.format("payments-prod") + "/securetenant-default-deny"),
            _exists(_NETWORK.format("payments-prod") + "/securetenant-default-deny"),
        ),
        Scene(
            "a rule is added to a policy: everything may come in (an addition, which apply would not see)",
            "payments",
            "network",
            "Changed",
            "NetworkPolicy/payments-prod/securetenant-ingress-edge",
            "healed",
            _patch(
                _NETWORK.format("payments-prod") + "/securetenant-ingress-edge",
                [{"op": "add", "path": "/spec/ingress/-", "value": {}}],
                "kubectl-edit",
                JSON_PATCH,
            ),
            _value(
                _NETWORK.format("payments-prod") + "/securetenant-ingress-edge",
                lambda policy: {} not in policy["spec"]["ingress"],
            ),
        ),
        Scene(
            "a policy of somebody's own opens the ledger to everyone (the tenant says: foreign policies, Remove)",
            "core-banking",
            "network",
            "Foreign",
            "NetworkPolicy/ledger-prod/open-for-a-test",
            "removed",
            _create(_NETWORK.format("ledger-prod"), open_policy(), "helm"),
            _gone(_NETWORK.format("ledger-prod") + "/open-for-a-test"),
        ),
        Scene(
            "a RoleBinding gives a contractor `edit` in payments-prod (the tenant says: foreign bindings, Report)",
            "payments",
            "access",
            "Foreign",
            "RoleBinding/payments-prod/contractor",
            "reported",
            _create(_BINDINGS.format("payments-prod"), _binding(), "kubectl-create"),
            _reported("payments", "contractor"),
        ),
        Scene(
            "the quota of payments-prod is raised to 10,000 pods",
            "payments",
            "quota",
            "Changed",
            "ResourceQuota/payments-prod/securetenant",
            "healed",
            _patch(
                "/api/v1/namespaces/payments-prod/resourcequotas/securetenant",
                {"spec": {"hard": {"pods": "10k"}}},
                "kubectl-patch",
            ),
            _value(
                "/api/v1/namespaces/payments-prod/resourcequotas/securetenant",
                lambda quota: quota["spec"]["hard"]["pods"] != "10k",
            ),
        ),
        Scene(
            "the labels of a namespace are stripped, the mark of its tenant among them",
            "payments",
            "namespaces",
            "Changed",
            "Namespace/payments-test",
            "healed",
            _patch(
                "/api/v1/namespaces/payments-test",
                {"metadata": {"labels": {"securetenant.dev/tenant": None, "env": None}}},
                "kubectl-label",
            ),
            _value(
                "/api/v1/namespaces/payments-test",
                lambda space: {"securetenant.dev/tenant", "env"} <= space["metadata"]["labels"].keys(),
            ),
        ),
    ]
    return acts if node is None else [*acts, _taint_removed(node)]


def _taint_removed(node: str) -> Scene:
    def is_tainted(found: Any) -> bool:
        return any(taint["key"] == "securetenant.dev/tenant" for taint in found["spec"].get("taints", ()))

    return Scene(
        f"the taint that keeps others off {node} is removed",
        "risk",
        "nodes",
        "Changed",
        f"Node/{node}",
        "healed",
        _patch(f"/api/v1/nodes/{node}", {"spec": {"taints": None}}, "kubectl-taint"),
        _value(f"/api/v1/nodes/{node}", is_tainted),
    )


def open_policy() -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open-for-a-test"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }


def _binding() -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "contractor"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "contractor@elsewhere.example"}],
    }


def _delete(path: str) -> Callable[[Admin], Awaitable[None]]:
    async def act(admin: Admin) -> None:
        await admin.delete(path)

    return act


def _patch(path: str, body: Any, manager: str, kind: str = MERGE_PATCH) -> Callable[[Admin], Awaitable[None]]:
    async def act(admin: Admin) -> None:
        await admin.patch(path, body, kind, {"fieldManager": manager})

    return act


def _create(path: str, body: Any, manager: str) -> Callable[[Admin], Awaitable[None]]:
    async def act(admin: Admin) -> None:
        status, answer = await admin.request("POST", path, body, params={"fieldManager": manager})
        # Undone before we could look is fine; refused is not.
        if status not in (201, 409):
            raise AssertionError(f"POST {path}: {status}: {answer}")

    return act


def _exists(path: str) -> Check:
    async def check(admin: Admin) -> bool:
        return await admin.find(path) is not None

    return check


def _gone(path: str) -> Check:
    async def check(admin: Admin) -> bool:
        return await admin.find(path) is None

    return check


def _value(path: str, is_right: Callable[[Any], bool]) -> Check:
    async def check(admin: Admin) -> bool:
        return is_right(await admin.get(path))

    return check


def _reported(tenant: str, name: str) -> Check:
    async def check(admin: Admin) -> bool:
        found = await admin.get(f"{_TENANTS}/{tenant}")
        return any(item["name"] == name for item in found["status"]["drift"].get("items", ()))

    return check
