"""The CRD as it must not be: what the models refuse is let through."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.support.life import TENANTS
from tests.support.sandbox import JSON_PATCH, Admin, wait_for

CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/securetenants.securetenant.dev"
_SPEC: Final = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@contextlib.asynccontextmanager
async def without_validation(admin: Admin) -> AsyncIterator[None]:
    """Until the end of the block the API server takes any spec, as with a CRD that somebody stripped."""
    given = (await admin.get(CRD))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    await _set(admin, _ANYTHING, 201)
    try:
        yield
    finally:
        await _set(admin, given, 422)


async def _set(admin: Admin, schema: dict[str, Any], expected: int) -> None:
    """And wait until it holds: `expected` is the answer to a spec that is refused by the real one."""
    await admin.patch(CRD, [{"op": "replace", "path": _SPEC, "value": schema}], JSON_PATCH)
    header = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": "schema-probe"}}
    probe = {**header, "spec": {"mode": "Sometimes"}}

    async def holds() -> bool:
        status, _ = await admin.request("POST", TENANTS, probe, params={"dryRun": "All"})
        return status == expected

    await wait_for(holds, 20, f"the CRD's new schema to answer {expected}")
