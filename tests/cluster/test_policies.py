"""The admission policies as the API server holds them: without warnings, where they look and where not, and changed."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest

from securetenant.checks import policies, targets
from securetenant.controls.admission.manifests import documents
from securetenant.controls.registry import CHECKS
from tests.support import attacks, judging
from tests.support.sandbox import Admin, wait_for

pytestmark = pytest.mark.cluster

PODS: Final = "/api/v1/namespaces/{}/pods"


def bad() -> dict[str, Any]:
    body = attacks.pod()
    body["spec"]["hostPID"] = True
    return body


async def test_the_api_server_has_no_doubt_about_any_expression(judge: Admin) -> None:
    for made in documents().values():
        path = f"{judging.POLICIES}/{made[0]['metadata']['name']}"

        async def checked(path: str = path) -> Any:
            policy = await judge.get(path)
            status = policy.get("status", {})
            return status if status.get("observedGeneration") == policy["metadata"]["generation"] else None

        # kube-controller-manager checks each expression against each kind: 10 s and more of CPU.
        status = await wait_for(checked, 90, "the type check of the policy")
        assert status["typeChecking"] == {}, status


async def test_a_namespace_without_the_mark_is_never_judged(judge: Admin) -> None:
    annotations = attacks.annotations({})
    for number, mode in enumerate((None, "", "Off", "deny")):
        space = f"unmarked-{number}"
        async with judging.namespace(judge, space, annotations, mode):
            for body in (bad(), attacks.workload("Deployment", bad())):
                verdict = await judging.verdict(judge, "POST", judging.path(body, space), body)
                assert (verdict.status, verdict.message) == (201, " []")


async def test_warn_admits_with_a_warning(judge: Admin) -> None:
    async with judging.namespace(judge, "warned", attacks.annotations({}), "Warn"):
        for body in (bad(), attacks.workload("Deployment", bad())):
            verdict = await judging.verdict(judge, "POST", judging.path(body, "warned"), body)
            assert (verdict.status, *verdict.fails) == (201, "runtime/hostNamespaces")


async def test_a_refusal_says_what_where_and_what_to_write(judge: Admin) -> None:
    body = bad()
    body["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    async with judging.namespace(judge, "told", attacks.annotations({})):
        status, answer, warnings = await judge.warned("POST", PODS.format("told"), body)
    assert status == 403
    assert warnings == []
    told = answer["message"].partition(" denied request: ")[2].split("; ")
    assert told[0] == (
        "runtime/hostNamespaces at spec.hostPID: the namespaces of the host are not for tenants: remove the field"
    )
    assert [one.partition(":")[0] for one in told] == [
        "runtime/hostNamespaces at spec.hostPID",
        "runtime/readOnlyRootFilesystem at container app",
    ]


@pytest.mark.parametrize("identifier", ["runtime/privileged", "runtime/hostPaths", "images/registries"])
async def test_the_corpus_notices_on_the_api_server_a_check_that_finds_nothing(judge: Admin, identifier: str) -> None:
    cases = [
        case
        for case in attacks.cases()
        if identifier in case.fails and case.operation == "create" and not case.status and case.body["kind"] == "Pod"
    ]
    async with changed(judge, identifier, "[]"):
        found = await judging.verdicts(judge, f"without-{identifier.partition('/')[2].lower()}", cases)
    assert len(cases) > 2
    assert not [case.name for case, verdict in found if verdict.fails != case.fails - {identifier}]


async def test_a_check_that_cannot_be_evaluated_refuses(judge: Admin) -> None:
    broken = changed(judge, "runtime/hostNamespaces", "[variables.containers[99].name]")
    async with broken, judging.namespace(judge, "failing", attacks.annotations({})):
        verdict = await judging.verdict(judge, "POST", PODS.format("failing"), attacks.pod())
    assert verdict.status == 422
    assert 'variable "found_runtime_hostNamespaces" fails to evaluate: index out of bounds' in verdict.message


@contextlib.asynccontextmanager
async def changed(admin: Admin, identifier: str, found: str) -> AsyncIterator[None]:
    """The policy on pods, with a check of which the expression is another."""
    sets = [
        replace(one, checks=[replace(c, found=found) if one.identifier(c) == identifier else c for c in one.checks])
        for one in CHECKS
    ]
    path = f"{judging.POLICIES}/{policies.policy_name('pods')}"

    space = f"weakened-{identifier.replace('/', '-').lower()}"

    async def put(policy: dict[str, Any]) -> None:
        version = (await admin.get(path))["metadata"]["resourceVersion"]
        await admin.replace(path, {**policy, "metadata": {**policy["metadata"], "resourceVersion": version}})
        await wait_for(lambda: judging.in_force(admin, space, policy), 20, "the policy to be in force")

    async with judging.namespace(admin, space, {}):
        try:
            await put(policies.judging(targets.PODS, sets)[0])
            yield
        finally:
            await put(policies.judging(targets.PODS, CHECKS)[0])
