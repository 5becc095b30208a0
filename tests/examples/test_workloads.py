"""examples/workloads: what their comments say of what is let in and of what is refused is true."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from securetenant.api.tenant import SecureTenant
from securetenant.checks.evaluator import Evaluator
from securetenant.checks.server_form import judged, target_of
from securetenant.controls.registry import CHECKS, CONTROLS
from securetenant.model.objects import Desired
from tests.support.sandbox import Admin
from tests.support.world import StaticWorld, mine

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
AFTER: Final = datetime(2031, 2, 1, tzinfo=UTC)


def workload(name: str = "vendor-batch") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((EXAMPLES / "workloads" / f"{name}.yaml").read_text())
    return loaded


def parts(namespace: str) -> list[Desired]:
    """What the controls write on the namespace of the bank's tenant."""
    given = yaml.safe_load((EXAMPLES / "bank" / "payments.yaml").read_text())
    given["metadata"]["uid"] = "uid-payments"
    of = SecureTenant.model_validate(given)
    held = of.model_copy(update={"status": of.status.model_validate({"namespaces": _held(of)})})
    world = StaticWorld([held], mine(held))
    return [want for c in CONTROLS for want in c.plan(held, world, NOW).desired if want.ref.name == namespace]


def _held(of: SecureTenant) -> list[dict[str, str]]:
    uids = {have.ref.name: have.uid for have in mine(of)}
    return [{"name": name, "uid": uid} for name, uid in uids.items()]


def failures(body: dict[str, Any], namespace: str, now: datetime) -> set[str]:
    annotations = {key: value for want in parts(namespace) for key, value in want.annotations.items()}
    target = target_of(body)
    assert target is not None
    return {one.identifier for one in Evaluator(target, CHECKS).failures(judged(body, now), annotations)}


def test_the_exemption_lets_it_in_there_until_its_end() -> None:
    writes = {"runtime/readOnlyRootFilesystem"}
    assert failures(workload(), "payments-test", NOW) == set()
    assert failures(workload(), "payments-prod", NOW) == writes
    assert failures(workload(), "payments-test", AFTER) == writes


def test_all_other_rules_hold_for_it() -> None:
    body = workload()
    body["spec"]["template"]["spec"] |= {"hostNetwork": True, "automountServiceAccountToken": True}
    assert failures(body, "payments-test", NOW) == {"runtime/hostNamespaces", "runtime/serviceAccountTokens"}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("privileged", {"runtime/privileged", "runtime/privilegeEscalation"}),
        ("other-registry", {"images/registries"}),
        ("other-tenants-nodes", {"nodes/tolerations"}),
        ("other-tenants-host", {"exposure/hosts"}),
    ],
)
def test_an_attack_breaks_only_the_rule_that_it_shows(name: str, broken: set[str]) -> None:
    body = workload(name)
    assert failures(body, body["metadata"]["namespace"], NOW) == broken


@pytest.mark.cluster
async def test_the_api_server_takes_it(admin: Admin) -> None:
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    body = workload()
    body["metadata"]["namespace"] = "default"
    status, answer = await admin.request("POST", "/apis/batch/v1/namespaces/default/jobs", body, params=strict)
    assert status == 201, answer
