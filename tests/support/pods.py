"""Pods that break no rule of a tenant with the strictest runtime."""

from collections.abc import Mapping
from typing import Any, Final

IMAGE: Final = "registry.example/none"
CONTAINER: Final[Mapping[str, Any]] = {
    "name": "c",
    "image": IMAGE,
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
}


def spec(**fields: Any) -> dict[str, Any]:
    """A pod's spec that Restricted admits, with a read-only root filesystem."""
    return {
        "containers": [dict(CONTAINER)],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        **fields,
    }
