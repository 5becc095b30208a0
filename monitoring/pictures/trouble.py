"""What the pictures show: the tenants of examples/bank, others beside them, and what is wrong with some of them."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from demo import stage
from demo.attacks import PODS, intruder
from demo.scenes import open_policy
from sandbox.client import JSON_PATCH, Admin, wait_for

_POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
#: How many pods run in some namespaces, of 20 that may.
_PODS: Final = {"lending": 19, "custody": 13, "savings": 6}
#: The acts of tampering (demo/scenes.py) in this order: few of some kinds and many of others.
ACTS: Final = (0, 1, 2, 3, 0, 1, 4, 5, 6, 0, 1, 1, 4, 0, 6, 5, 1, 0, 2, 4)
_WAIT: Final = 30.0  # seconds, for one step


def tenants(now: datetime) -> list[dict[str, Any]]:
    """Beside those of the bank: some are in order, the others are not."""
    soon, later, past = (_time(now + timedelta(days=days)) for days in (2, 9, -3))
    feed = {"cidr": "203.0.113.0/24"}
    core = {"tenant": "core-banking", "namespaces": ["ledger-prod"]}
    exemption = {
        "control": "runtime",
        "check": "readOnlyRootFilesystem",
        "namespace": "statements-prod",
        "reason": "a vendor's image",
        "ticket": "CHG-22001",
        "approvedBy": "ciso",
        "expires": soon,
    }
    return [
        _tenant("fx", network={"egress": [_rule("rates", feed, expires=later)]}),
        _tenant("hr"),
        *(_tenant(name, quota={"tenant": {"pods": "20"}}) for name in _PODS),  # lending has nearly used it
        _tenant("mobile"),  # somebody keeps rewriting a policy of its
        _tenant("cards"),  # a policy of somebody's own opens it
        _tenant("insurance", network={"egress": [_rule("ledger", core)]}),  # the other side says nothing of it
        _tenant("archive", network={"egress": [_rule("old-ledger", core, expires=past)]}),
        _tenant("statements", exemptions=[exemption]),
        _tenant("branches"),  # its namespace is somebody else's
        _tenant("leasing", mode="Paused"),
    ]


async def before(admin: Admin) -> None:
    """What was there before the tenants: a namespace of others, and a pod of a namespace that is only audited."""
    for name in ("branches-prod", "treasury-legacy"):
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await _created(admin, "treasury-legacy", _pod("old", {"privileged": True}))


async def after(admin: Admin, node: str) -> None:
    """What is done to the tenants and stands."""
    for name, place in (("open-for-a-test", "cards-prod"), ("old-monitoring", "payments-prod")):
        policy = open_policy()
        policy["metadata"]["name"] = name
        await admin.create(_POLICIES.format(place), policy)
    await _created(admin, "ingress-nginx", intruder(node))
    for name, count in _PODS.items():
        for number in range(count):
            await _created(admin, f"{name}-prod", _pod(f"batch-{number}", {}))


async def rewritten(admin: Admin) -> None:
    """Somebody's controller opens a policy of mobile again, once it was put right."""
    path = _POLICIES.format("mobile-prod") + "/securetenant-dns"

    async def is_right() -> bool:
        return {} not in (await admin.get(path))["spec"]["egress"]

    with contextlib.suppress(AssertionError):  # contested: it is put right ever later
        await wait_for(is_right, 1.0, "the policy to be put right")
        await admin.patch(
            path, [{"op": "add", "path": "/spec/egress/-", "value": {}}], JSON_PATCH, {"fieldManager": "mesh-installer"}
        )


async def edited(admin: Admin, number: int) -> None:
    """Now and then people change what they declare: no drift."""
    if number % 5 == 3:
        change = {"spec": {"quota": {"namespace": {"services": str(20 + number)}}}}
        await admin.patch(f"{stage.TENANTS}/fx", change)
        await admin.patch(f"{stage.TENANTS}/hr", {"spec": {"network": {"dns": number % 2 == 0}}})


async def _created(admin: Admin, place: str, pod: dict[str, Any]) -> None:
    async def created() -> bool:
        status, answer = await admin.request("POST", PODS.format(place), pod)
        assert status in (201, 409), f"{status}: {answer}"  # until its namespace has a ServiceAccount and a quota
        return True

    await wait_for(created, _WAIT, f"pod {pod['metadata']['name']} of {place} to be created")


def _tenant(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "securetenant.dev/v1alpha1",
        "kind": "SecureTenant",
        "metadata": {"name": name},
        "spec": {"namespaces": [{"name": f"{name}-prod"}], "mode": "Enforce", "deletionPolicy": "Retain"} | spec,
    }


def _rule(name: str, peer: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"name": name, "to": [peer], "ports": [{"protocol": "TCP", "port": 8443}], "ticket": "CHG-22002"} | more


def _pod(name: str, more: dict[str, Any]) -> dict[str, Any]:
    """One that strict rules admit, as long as `more` is nothing else."""
    strict = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    image = "registry.bank.example/batch@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Always",
        "securityContext": more or strict,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "nodeSelector": {"pool": "general"},
        },
    }


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
