"""The CRD as it must not be: what the models refuse is let through."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.support.life import TENANTS
from tests.support.sandbox import JSON_PATCH, Admin, wait_for

CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/securetenants.securetenant.dev"
_ROOT: Final = "/spec/versions/0/schema/openAPIV3Schema"
_SPEC: Final = f"{_ROOT}/properties/spec"
_RULES: Final = "x-kubernetes-validations"
_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@contextlib.asynccontextmanager
async def without_validation(admin: Admin) -> AsyncIterator[None]:
    """Until the end of the block the API server takes any spec, as with a CRD that somebody stripped."""
    given = (await admin.get(CRD))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    await _set(admin, _ANYTHING, given[_RULES][:1], 201)  # the others read the spec
    try:
        yield
    finally:
        await _set(admin, given["properties"]["spec"], given[_RULES], 422)


async def _set(admin: Admin, schema: dict[str, Any], rules: list[dict[str, str]], expected: int) -> None:
    """And wait until it holds: `expected` is the answer to a spec that is refused by the real one."""
    changes = [
        {"op": "replace", "path": _SPEC, "value": schema},
        {"op": "replace", "path": f"{_ROOT}/{_RULES}", "value": rules},
    ]
    await admin.patch(CRD, changes, JSON_PATCH)
    header = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": "schema-probe"}}
    probe = {**header, "spec": {"mode": "Sometimes"}}

    async def holds() -> bool:
        status, _ = await admin.request("POST", TENANTS, probe, params={"dryRun": "All"})
        return status == expected

    await wait_for(holds, 20, f"the CRD's new schema to answer {expected}")
