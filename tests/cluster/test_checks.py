"""The checks on a real API server: every case of the corpus, the fixtures of Pod Security and random pods are judged
there as they are by `checks.evaluator`. The operator does not run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import pytest
import pytest_asyncio

from tests.support import attacks, judging, largest
from tests.support.attacks import Case
from tests.support.judging import Verdict
from tests.support.sandbox import Admin

pytestmark = pytest.mark.cluster

AT_ONCE: Final = 8
_CLASSES: Final = {
    "/apis/node.k8s.io/v1/runtimeclasses": {
        name: {"metadata": {"name": name}, "handler": "runc"} for name in ("gvisor", "gvisor-off", "runc")
    },
    "/apis/scheduling.k8s.io/v1/priorityclasses": {
        name: {"metadata": {"name": name}, "value": 1000} for name in ("tenant-high", "tenant-higher")
    },
}


@pytest_asyncio.fixture(scope="module")
async def judge(admin: Admin) -> AsyncIterator[Admin]:
    """An API server with the policies in force, and the classes that cases name."""
    made = [(path, name, body) for path, bodies in _CLASSES.items() for name, body in bodies.items()]
    for path, _, body in made:
        await admin.create(path, body)
    async with judging.policies(admin):
        yield admin
    for path, name, _ in made:
        await admin.delete(f"{path}/{name}")


async def verdicts(admin: Admin, prefix: str, cases: Iterable[Case]) -> list[tuple[Case, Verdict]]:
    """The API server's verdict on each case, in a namespace for each set of parameters."""
    spaces: dict[frozenset[tuple[str, str]], str] = {}
    made: list[tuple[Case, str]] = []
    for case in cases:
        key = frozenset(case.annotations.items())
        made.append((case, spaces.setdefault(key, f"{prefix}-{len(spaces)}")))
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Case, space: str) -> tuple[Case, Verdict]:
        async with at_once:
            return case, await judging.judged(admin, case, space, number)

    async with contextlib.AsyncExitStack() as stack:
        contexts = (judging.namespace(admin, name, dict(key)) for key, name in spaces.items())
        await asyncio.gather(*(stack.enter_async_context(context) for context in contexts))
        return await asyncio.gather(*(one(number, case, space) for number, (case, space) in enumerate(made)))


def wrong(case: Case, verdict: Verdict) -> str:
    """What is wrong with a verdict; "" if nothing is."""
    statuses: Mapping[bool, tuple[int, ...]] = {True: (403, 422), False: (200, 201)}
    refused = bool(case.fails) and case.is_judged and case.body["kind"] == "Pod"
    expected = (int(case.status),) if case.status.isdigit() else statuses[refused]
    fails = case.fails if case.is_judged and not case.malformed and not case.status.isdigit() else frozenset()
    if (case.status == "any" or verdict.status in expected) and verdict.fails == fails:
        return ""
    return f"{case.name}: {verdict.status}, fails {sorted(verdict.fails)}, not {sorted(fails)}: {verdict.message[:600]}"


async def test_every_case_of_the_corpus_is_judged_as_it_says(judge: Admin) -> None:
    found = await verdicts(judge, "corpus", attacks.cases())
    differing = [text for case, verdict in found if (text := wrong(case, verdict))]
    assert not differing, "\n".join(differing)


async def test_the_largest_spec_is_judged_within_the_budget(judge: Admin) -> None:
    """And the last of many containers that breaks a rule is still found, as the only one."""
    body = largest.pod()
    annotations = attacks.annotations(largest.sections())
    async with judging.namespace(judge, "largest", annotations):
        for made in (body, attacks.workload("Deployment", body)):
            verdict = await judging.verdict(judge, "POST", judging.path(made, "largest"), made)
            assert (verdict.status, verdict.fails) == (201, frozenset()), verdict.message[:3000]
        body["spec"]["containers"][-1]["image"] = f"evil.example/x@{attacks.DIGEST}"
        verdict = await judging.verdict(judge, "POST", judging.path(body, "largest"), body)
        assert verdict.fails == {"images/registries"}, verdict.message[:3000]
