"""What the API server must refuse by itself, as data: who tries what, and what it must say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.scenes import open_policy
from sandbox.client import MERGE_PATCH

WORKLOADS = Path(__file__).resolve().parents[1] / "examples" / "workloads"
PODS = "/api/v1/namespaces/{}/pods"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a request impersonates."""

    name: str
    groups: Sequence[str]


@dataclass(frozen=True, slots=True)
class Attack:
    """One request. `rule` must stand in the answer: without it something else refused, and nothing is shown."""

    title: str
    who: Person
    method: str
    path: str
    body: Any
    content_type: str
    rule: str


# The Developer that examples/bank/payments.yaml binds in payments-test.
DEVELOPER = Person("ana", ("payments-dev",))
# Every right of RBAC, but not in the group securetenant:break-glass.
CLUSTER_ADMIN = Person("root", ("system:masters",))


def attacks() -> list[Attack]:
    """In order."""
    return [
        _create("privileged", "a developer of payments creates a privileged pod", 'PodSecurity "restricted'),
        _create(
            "other-registry",
            "a pod's image comes from registry.bank.example.evil, which begins like the bank's registry",
            "images/registries",
        ),
        _create("other-tenants-nodes", "a pod of payments tolerates the taint of risk's nodes", "nodes/tolerations"),
        Attack(
            "a cluster-admin takes the tenant's mark off the namespace payments-prod",
            CLUSTER_ADMIN,
            "PATCH",
            "/api/v1/namespaces/payments-prod",
            {"metadata": {"labels": {"securetenant.dev/tenant": None}}},
            MERGE_PATCH,
            "locked: label securetenant.dev/tenant",
        ),
        Attack(
            "a cluster-admin deletes the default-deny policy of payments-prod",
            CLUSTER_ADMIN,
            "DELETE",
            "/apis/networking.k8s.io/v1/namespaces/payments-prod/networkpolicies/securetenant-default-deny",
            None,
            "",
            "locked: deletion of NetworkPolicy securetenant-default-deny",
        ),
        Attack(
            "a cluster-admin opens the ledger to everyone (the tenant says: foreign policies, Remove)",
            CLUSTER_ADMIN,
            "POST",
            "/apis/networking.k8s.io/v1/namespaces/ledger-prod/networkpolicies",
            open_policy(),
            "application/json",
            "foreign: creation of NetworkPolicy open-for-a-test",
        ),
    ]


def _create(file: str, title: str, rule: str) -> Attack:
    pod = yaml.safe_load(manifest(file).read_text())
    path = PODS.format(pod["metadata"]["namespace"])
    return Attack(title, DEVELOPER, "POST", path, pod, "application/json", rule)


def manifest(name: str) -> Path:
    """The file in examples/workloads."""
    return WORKLOADS / f"{name}.yaml"


def exempted_pod(name: str) -> dict[str, Any]:
    """The pod of examples/workloads/vendor-batch.yaml, whose root filesystem is writable, with the label of the demo's
    own exemption."""
    job = yaml.safe_load(manifest("vendor-batch").read_text())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "hotfix"}},
        "spec": job["spec"]["template"]["spec"],
    }


def exemption(expires: str) -> dict[str, Any]:
    """What lets `exempted_pod` in until `expires`."""
    return {
        "control": "runtime",
        "check": "readOnlyRootFilesystem",
        "namespace": "payments-test",
        "pods": {"app": "hotfix"},
        "reason": "a repair that cannot wait for the next image",
        "ticket": "INC-4711",
        "approvedBy": "ciso",
        "expires": expires,
    }


def intruder(node: str) -> dict[str, Any]:
    """A pod that names its node, so that no scheduler asks whether it tolerates the node's taint."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "debug", "namespace": "ingress-nginx"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "debug", "image": "registry.bank.example/platform/debug:1"}],
        },
    }
