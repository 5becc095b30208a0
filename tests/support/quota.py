"""ResourceQuotas of a tenant `pay` as the operator wrote them and Kubernetes counted them, and what is planned."""

from typing import Any

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.quota import control as quota
from securetenant.model.kinds import RESOURCE_QUOTA
from securetenant.model.objects import Desired, JsonValue, Observed, Ref
from tests.support.world import NOW, StaticWorld, mine, observe, observed, tenant

A, B, C = "pay-a", "pay-b", "pay-c"
THREE = [A, B, C]


def written(owner: SecureTenant, where: str, hard: dict[str, str], /, **status: Any) -> Observed:
    """Our quota as the operator wrote it; with `used`, as kube-controller-manager has counted it."""
    spec: JsonValue = {"hard": {**hard}}
    desired = Desired(Ref(RESOURCE_QUOTA, where, "securetenant"), "quota", {"spec": spec})
    if "used" in status:
        status.setdefault("hard", hard)
    return observe(desired, owner, **({"status": status} if status else {}))


def pods(owner: SecureTenant, where: str, hard: int, used: int | None, in_force: int | None = None) -> Observed:
    if used is None:
        return written(owner, where, {"pods": str(hard)})
    return written(
        owner,
        where,
        {"pods": str(hard)},
        used={"pods": str(used)},
        hard={"pods": str(hard if in_force is None else in_force)},
    )


def tampered(was: Observed, hard: dict[str, str], **spec: Any) -> Observed:
    """The quota after somebody else wrote its spec."""
    status: dict[str, Any] = {"status": was.field("status")} if "status" in was.fields else {}
    return observed(
        was.ref.kind, was.ref.name, was.ref.namespace, labels=was.labels, annotations=was.annotations,
        spec={"hard": hard, **spec}, **status,
    )  # fmt: skip


def look(owner: SecureTenant, *objects: Observed, namespaces: bool = True) -> Plan:
    return quota.plan(owner, StaticWorld([owner], [*(mine(owner) if namespaces else []), *objects]), NOW)


def hards(plan: Plan) -> dict[str, dict[str, str]]:
    return {d.ref.namespace: d.body["spec"]["hard"] for d in plan.desired}  # type: ignore[call-overload,index,misc]


def hard_pods(plan: Plan) -> list[int]:
    return [int(hard["pods"]) for hard in hards(plan).values()]


def reason(plan: Plan) -> tuple[str, str]:
    [condition] = plan.conditions
    assert condition.type == "QuotaHeld"
    return condition.status, condition.reason


TEN = tenant("pay", namespaces=THREE, quota={"tenant": {"pods": "60"}})
