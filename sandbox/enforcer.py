"""kube-network-policies, SIG Network's enforcer of NetworkPolicies and ClusterNetworkPolicies: for tests with packets.

It judges the first packet of each connection, which a rule with NFQUEUE hands to it (tests/support/packets).
"""

import platform
from pathlib import Path
from typing import Final

from sandbox import build
from sandbox.build import Program
from sandbox.cni import crds
from sandbox.errors import SandboxError

MODULE: Final = "sigs.k8s.io/kube-network-policies"
VERSION: Final = "v1.1.1"
#: The program that knows ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) beside NetworkPolicy.
_PACKAGE: Final = "./cmd/kube-network-policies/npa-v1alpha2"
_NAME: Final = "kube-network-policies"


def ensure() -> Path:
    """The program in the cache; built the first time, with progress on standard error. Raises :class:`SandboxError`.

    It is built inside its own module, by the sums of its own go.sum.
    """
    if platform.system() != "Linux":
        raise SandboxError(f"{_NAME} runs on Linux alone")
    kept = build.cache_folder() / "enforcer" / f"{_NAME}-{VERSION}-{platform.system()}-{platform.machine()}"
    # Absolute: the module is the program's own, in Go's cache.
    return build.once(kept, lambda: Program(_NAME, _PACKAGE, str(crds.module(MODULE, VERSION)), flags="-s -w"))
