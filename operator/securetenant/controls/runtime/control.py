"""The Pod Security labels of each namespace, and the parameters of the runtime checks.

Pod Security knows whole levels only. Where the spec allows something that its level forbids (a host path, a host port,
a capability, an exemption from one of its checks), the namespace is labelled with the strictest level that still
admits it, and the admission policies enforce the rest of the level: they have the same rules.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from securetenant.api.load import Problem
from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import PodSecurityLevel, Runtime
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.runtime.podsecurity import (
    BASELINE_CAPABILITIES,
    RESTRICTED_CAPABILITIES,
    RESTRICTED_ONLY,
    VERSION,
)
from securetenant.controls.runtime.podsecurity import CHECKS as STANDARDS
from securetenant.controls.runtime.workloads import CHECKS, NAME
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Observed

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
    exempted = {
        one.check
        for one in tenant.spec.exemptions
        if (one.control, one.namespace) == (NAME, namespace) and one.expires > now
    }
    enforced = _admitting(tenant.spec.runtime, exempted) if tenant.spec.admission == "Deny" else "Privileged"
    levels = {"enforce": enforced, "audit": level, "warn": level}
    made = {f"{_PREFIX}{mode}": value.lower() for mode, value in levels.items()}
    return made | {f"{_PREFIX}{mode}-version": VERSION for mode in levels}


def _admitting(runtime: Runtime, exempted: Collection[str] = ()) -> PodSecurityLevel:
    """The strictest level, at most the spec's, that admits what the spec allows and what breaks the exempted checks."""
    added, beyond = set(runtime.add_capabilities), _BEYOND.intersection(exempted)
    if runtime.host_paths or runtime.host_ports or not added <= BASELINE_CAPABILITIES or beyond - RESTRICTED_ONLY:
        return "Privileged"
    if runtime.pod_security == "Restricted" and (beyond or not added <= RESTRICTED_CAPABILITIES):
        return "Baseline"
    return runtime.pod_security


def leaves(tenant: SecureTenant, have: Observed) -> dict[str, str]:
    """With a tenant's marks end the policies that enforce the rest of a lowered level: the spec's level takes its
    place."""
    key = f"{_PREFIX}enforce"
    if tenant.spec.admission != "Deny" or key not in have.labels:
        return {}
    return {key: tenant.spec.runtime.pod_security.lower()}


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    """The checks, all but those of Pod Security."""
    stays = tenant.spec.runtime.pod_security.lower() if tenant.spec.admission == "Deny" else "privileged"
    return [f"the checks of runtime (Pod Security stays, at {stays})"]


def review(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """The exemptions for which Pod Security enforces less than the spec's level."""
    runtime = tenant.spec.runtime
    without = _admitting(runtime)
    for index, one in enumerate(tenant.spec.exemptions):
        lowered = _admitting(runtime, {one.check})
        if tenant.spec.admission == "Deny" and one.control == NAME and one.expires > now and lowered != without:
            message = (
                f"while the exemption from {one.id} lasts, Pod Security enforces {lowered.lower()} instead of "
                f"{without.lower()} in {one.namespace}, and the admission policies alone enforce the rest of the level"
            )
            yield Problem(f"spec.exemptions[{index}].check", message, "warning")


CONTROL: Final = Control(NAME, plan, (NAMESPACE,), checks=CHECKS, leaves=leaves, ending=ending, review=review)
