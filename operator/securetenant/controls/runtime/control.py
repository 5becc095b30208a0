"""The Pod Security labels of each namespace, and the parameters of the runtime checks.

Pod Security knows whole levels only. Where the spec allows something that its level forbids (a host path, a host port,
a capability, an exemption from one of its checks), the namespace is labelled with the strictest level that still
admits it, and the admission policies enforce the rest of the level: they have the same rules.
"""

from datetime import datetime
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import PodSecurityLevel
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.runtime.podsecurity import BASELINE_CAPABILITIES, RESTRICTED_CAPABILITIES, VERSION
from securetenant.controls.runtime.podsecurity import CHECKS as STANDARDS
from securetenant.controls.runtime.workloads import CHECKS, NAME
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE

_PREFIX: Final = "pod-security.kubernetes.io/"
# Exemptions from these checks go beyond the level, as those from the Pod Security Standards do.
_BEYOND: Final = frozenset({*(check.name for check in STANDARDS), "hostPaths", "hostPorts", "addCapabilities"})


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    held = ownership.held(tenant, world)
    return Plan(
        desired=[
            part for name in held for part in on_namespaces(CHECKS, tenant, [name], labels(tenant, name, now))
        ],
    )  # fmt: skip


def labels(tenant: SecureTenant, namespace: str, now: datetime) -> dict[str, str]:
    """The Pod Security labels of a namespace (KEP-2579): `enforce` only where the tenant's admission is Deny."""
    level = tenant.spec.runtime.pod_security
    enforced = _enforced(tenant, namespace, now) if tenant.spec.admission == "Deny" else "Privileged"
    levels = {"enforce": enforced, "audit": level, "warn": level}
    made = {f"{_PREFIX}{mode}": value.lower() for mode, value in levels.items()}
    return made | {f"{_PREFIX}{mode}-version": VERSION for mode in levels}


def _enforced(tenant: SecureTenant, namespace: str, now: datetime) -> PodSecurityLevel:
    """The strictest level that admits what the spec allows in this namespace."""
    runtime = tenant.spec.runtime
    added = set(runtime.add_capabilities)
    exempted = any(
        one.control == NAME and one.namespace == namespace and one.check in _BEYOND and one.expires > now
        for one in tenant.spec.exemptions
    )
    if runtime.host_paths or runtime.host_ports or exempted or not added <= BASELINE_CAPABILITIES:
        return "Privileged"
    if runtime.pod_security == "Restricted" and not added <= RESTRICTED_CAPABILITIES:
        return "Baseline"
    return runtime.pod_security


CONTROL: Final = Control(NAME, plan, (NAMESPACE,), checks=CHECKS)
