"""What a namespace is left with when a tenant gives it up. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Control
from securetenant.drift.judge import Finding
from securetenant.model.kinds import NAMESPACE


def left(finding: Finding, tenant: SecureTenant, controls: Iterable[Control]) -> Finding:
    """The finding; for the release of a namespace, with the labels that the controls leave on it."""
    have = finding.observed
    if finding.action != "Release" or finding.ref.kind is not NAMESPACE or have is None:
        return finding
    return replace(finding, leaves={k: v for control in controls for k, v in control.leaves(tenant, have).items()})
