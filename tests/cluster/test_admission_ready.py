"""Whether admission is in force, as the operator says it: the policies and bindings of manifests/admission are removed,
changed and put back under it, and the probe runs with its own rights on the real API server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from securetenant.engine import probe
from tests.support import life
from tests.support.sandbox import JSON_PATCH, ROOT, Admin, Operator, wait_for
from tests.support.tampering import MANAGER
from tests.support.tenants import Stage, Tenant, counted

pytestmark = pytest.mark.cluster

GROUP: Final = "/apis/admissionregistration.k8s.io/v1"
POLICIES: Final = f"{GROUP}/validatingadmissionpolicies"
BINDINGS: Final = f"{GROUP}/validatingadmissionpolicybindings"
PODS: Final = f"{POLICIES}/pods.securetenant.dev"
LOCK: Final = f"{POLICIES}/namespaces.securetenant.dev"
DENY: Final = f"{BINDINGS}/pods-deny.securetenant.dev"
ADMISSION: Final = ROOT / "manifests" / "admission"
INJECTION: Final = ROOT / "manifests" / "components" / "injection" / "policy.yaml"
MINE: Final = {"fieldManager": MANAGER}


async def put_right(admin: Admin, added_to: str = "") -> None:
    """As docs/operations.md says: kubectl apply leaves standing what somebody added."""
    if added_to:
        await admin.delete(added_to)
    await admin.kubectl("apply", "-k", str(ADMISSION))


async def says(tenant: Tenant, status: str, reason: str, *, deadline: float = 10.0) -> life.Json:
    """Wait until the tenant says that of admission, and is Ready or blocked as that demands."""

    async def does() -> life.Json:
        found = await tenant.get()
        admission, ready = (life.condition(found, kind) for kind in ("AdmissionReady", "Ready"))
        assert (admission.get("status"), admission.get("reason")) == (status, reason), admission
        expected = ("True", "Enforced") if status == "True" else ("False", "Blocked")
        assert (ready["status"], ready["reason"]) == expected, ready
        return admission

    return await wait_for(does, deadline, f"{tenant.name} to say {reason}")


async def deviations(operator: Operator, kind: str) -> dict[str, float]:
    metric = f"securetenant_cluster_drift_{kind}"
    found = counted(await operator.metrics(), metric, "reason", control="admission")
    return {reason: number for (reason,), number in found.items()}


@pytest_asyncio.fixture(scope="module")
async def tenants(stage: Stage) -> AsyncIterator[list[Tenant]]:
    """One whose workloads are refused, one whose are warned about, and one that is in Audit."""
    spec = {"namespaces": [{"name": "ready-deny-a"}]}
    made = [await stage.tenant("ready-deny", spec)]
    made.append(await stage.tenant("ready-warn", {"namespaces": [{"name": "ready-warn-a"}], "admission": "Warn"}))
    made.append(await stage.create("ready-audit", {"namespaces": [{"name": "ready-audit-a"}], "mode": "Audit"}))
    yield made
    await put_right(stage.admin)


async def test_installed_it_is_in_force(stage: Stage, tenants: list[Tenant]) -> None:
    deny, warn, audit = tenants
    message = (await says(deny, "True", "Enforced"))["message"]
    assert message == "injection.securetenant.dev is not applied, so pods are judged as their authors wrote them"
    assert "refuses nothing" in (await says(warn, "True", "Warned"))["message"]
    await wait_for(partial(audit.condition, "Ready"), 10, "the tenant in Audit to be judged")
    assert await audit.condition("AdmissionReady") == {}
    assert await deviations(stage.operator, "objects") == {"Missing": 0, "Changed": 0}


def replaced(field: str, value: Any) -> Callable[[Admin, str], Awaitable[Any]]:
    change = [{"op": "add", "path": field, "value": value}]
    return lambda admin, path: admin.patch(path, change, JSON_PATCH, params=MINE)


def removed(field: str) -> Callable[[Admin, str], Awaitable[Any]]:
    change = [{"op": "remove", "path": field}]
    return lambda admin, path: admin.patch(path, change, JSON_PATCH, params=MINE)


async def deleted(admin: Admin, path: str) -> None:
    await admin.delete(path)


#: Cases in which something was added that manifests/ do not name.
ADDED: Final = ("binding-narrowed", "lock-conditioned")
SOME: Final = {"matchLabels": {"team": "a"}}
#: What is done to which object; what the condition says, and the field that it names.
TAMPERING: Final[dict[str, tuple[str, Callable[[Admin, str], Awaitable[Any]], str]]] = {
    "policy-deleted": (PODS, deleted, ""),
    "binding-deleted": (DENY, deleted, ""),
    "binding-narrowed": (DENY, replaced("/spec/matchResources/objectSelector", SOME), "spec.matchResources.object"),
    "binding-warns": (DENY, replaced("/spec/validationActions", ["Warn"]), "spec.validationActions"),
    "failures-ignored": (PODS, replaced("/spec/failurePolicy", "Ignore"), "spec.failurePolicy"),
    "validation-removed": (PODS, removed("/spec/validations/1"), "spec.validations"),
    "lock-conditioned": (
        LOCK,
        replaced("/spec/matchConditions", [{"name": "never", "expression": "false"}]),
        "spec.matchConditions",
    ),
}


@pytest.mark.parametrize("kind", TAMPERING)
async def test_what_is_not_as_shipped_is_told_and_counted(stage: Stage, tenants: list[Tenant], kind: str) -> None:
    path, tampered, field = TAMPERING[kind]
    before = await deviations(stage.operator, "detected_total")
    await tampered(stage.admin, path)
    name = path.rpartition("/")[2]
    reason, counted_as = ("PolicyChanged", "Changed") if field else ("PolicyMissing", "Missing")
    try:
        for tenant in tenants[:2]:
            message = (await says(tenant, "False", reason))["message"]
            assert name in message
            assert field in message
            assert "kubectl apply -k manifests" in message

        async def is_counted() -> bool:
            expected = {"Missing": 0.0, "Changed": 0.0} | {counted_as: 1.0}
            assert await deviations(stage.operator, "objects") == expected
            after = await deviations(stage.operator, "detected_total")
            assert after == {**before, counted_as: before[counted_as] + 1}
            return True

        await wait_for(is_counted, 10, "the deviation to be counted")
    finally:
        await put_right(stage.admin, path if kind in ADDED else "")
    for tenant in tenants[:2]:
        await says(tenant, "True", "Enforced" if tenant is tenants[0] else "Warned")
        await tenant.agrees()  # no drift of its own
    assert await deviations(stage.operator, "objects") == {"Missing": 0, "Changed": 0}


async def test_what_is_injected_is_tried_as_well(stage: Stage, tenants: list[Tenant]) -> None:
    """A MutatingAdmissionPolicy has no status: its version shows in what it wrote into the probe."""
    mutating = f"{GROUP}/mutatingadmissionpolicies/injection.securetenant.dev"
    binding = f"{GROUP}/mutatingadmissionpolicybindings/injection.securetenant.dev"
    await stage.admin.apply(INJECTION)
    try:

        async def is_in_force() -> bool:
            return "message" not in await says(tenants[0], "True", "Enforced")

        await wait_for(is_in_force, 10, "the injection to be in force")
        await stage.admin.delete(binding)
        assert "injection" in (await says(tenants[0], "False", "PolicyMissing"))["message"]
        await stage.admin.apply(INJECTION)
        await says(tenants[0], "True", "Enforced")
        await replaced("/spec/mutations/0/jsonPatch/expression", "[JSONPatch{op: 'test', path: '/spec', value: 1}]")(
            stage.admin, mutating
        )
        assert "spec.mutations[0]" in (await says(tenants[0], "False", "PolicyChanged"))["message"]
    finally:
        await stage.admin.delete(binding)
        await stage.admin.delete(mutating)
    message = (await says(tenants[0], "True", "Enforced"))["message"]
    assert "is not applied" in message


async def test_a_label_taken_off_changes_nothing(stage: Stage, tenants: list[Tenant]) -> None:
    """Ours are found by their names: otherwise this would make one invisible."""
    await removed("/metadata/labels")(stage.admin, DENY)
    await replaced("/spec/validationActions", ["Audit"])(stage.admin, DENY)
    try:
        await says(tenants[0], "False", "PolicyChanged")
    finally:
        await put_right(stage.admin)
    await says(tenants[0], "True", "Enforced")


async def test_another_account_in_the_policies_is_named(stage: Stage, tenants: list[Tenant]) -> None:
    """As after the operator's ServiceAccount was renamed, and the policies were not."""
    documents = list(yaml.safe_load_all((ADMISSION / "namespaces.yaml").read_text()))
    text = yaml.safe_dump_all(documents).replace("securetenant-system:securetenant", "ops:other")
    assert "ops:other" in text
    await stage.admin.apply(text)
    try:
        message = (await says(tenants[0], "False", "WrongAccount"))["message"]
        assert "system:serviceaccount:securetenant-system:securetenant" in message
        assert "system:serviceaccount:ops:other" in message
        # That is the platform's own, and no deviation.
        assert await deviations(stage.operator, "objects") == {"Missing": 0, "Changed": 0}
    finally:
        await put_right(stage.admin)
    await says(tenants[0], "True", "Enforced")


async def test_without_the_right_to_probe_nothing_is_claimed(stage: Stage, tenants: list[Tenant]) -> None:
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/securetenant-probe-deny/rolebindings/securetenant-probe"
    await stage.admin.delete(role)
    try:
        # Changed and put right, so that it is probed again.
        await replaced("/spec/validationActions", ["Audit"])(stage.admin, DENY)
        await says(tenants[0], "False", "PolicyChanged")
        await stage.admin.apply(ADMISSION / "pods.yaml")
        message = (await says(tenants[0], "Unknown", "NotProbed"))["message"]
        assert "cannot create resource" in message
    finally:
        await put_right(stage.admin)
    await says(tenants[0], "True", "Enforced", deadline=2 * probe.LONGEST)


async def test_while_nothing_changes_nothing_is_probed(stage: Stage, tenants: list[Tenant]) -> None:
    await says(tenants[0], "True", "Enforced")

    async def probes() -> float:
        metrics = await stage.operator.metrics()
        verbs = counted(metrics, "securetenant_api_requests_total", "kind", verb="create")
        return sum(number for (kind,), number in verbs.items() if kind in ("Pod", "Deployment"))

    before = await probes()
    assert before >= 4
    # Passes over all tenants are no reason to probe.
    for number in range(3):
        await tenants[0].edit({"namespaces": [{"name": "ready-deny-a", "labels": {"number": str(number)}}]})
    assert await probes() == before
