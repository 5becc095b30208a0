"""Admission policies that stand in the operator's way, or in the control plane's own."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.support.sandbox import Admin, wait_for

_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_KINDS: Final = ("validatingadmissionpolicybindings", "validatingadmissionpolicies")


@contextlib.asynccontextmanager
async def refused(admin: Admin, collection: str, name: str, **content: Any) -> AsyncIterator[None]:
    """No object of that name can be created in the collection, such as
    /apis/networking.k8s.io/v1/namespaces/a/networkpolicies, by whomever. `content`: what a valid one cannot lack."""
    _, _, group, version, _, namespace, plural = collection.split("/")
    guard = f"refuse-{plural}-{namespace}-{name}"
    rule = {"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE"], "resources": [plural]}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"object.metadata.name != '{name}'", "message": f"not {name}"}],
    }
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": guard, "validationActions": ["Deny"], "matchResources": where}

    async def is_in_force() -> bool:
        probe = {"metadata": {"name": name}, **content}
        status, answer = await admin.request("POST", collection, probe, params={"dryRun": "All"})
        return status == 422 and guard in str(answer)

    try:
        for plural, spec in zip(_KINDS, (binding, policy), strict=True):
            await admin.create(f"{_ADMISSION}/{plural}", {"metadata": {"name": guard}, "spec": spec})
        await wait_for(is_in_force, 20, f"the admission policy {guard} to be in force")
        yield
    finally:
        for plural in _KINDS:
            await admin.delete(f"{_ADMISSION}/{plural}/{guard}")
