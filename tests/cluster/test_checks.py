"""The checks on a real API server: every case of the corpus, the fixtures of Pod Security and random pods are judged
there as they are by `checks.evaluator`. The operator does not run."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from securetenant.checks.decoding import Malformed
from securetenant.checks.server_form import target_of
from securetenant.controls.runtime.podsecurity import CHECKS as STANDARDS
from securetenant.controls.runtime.podsecurity import VERSION
from tests.support import attacks, judging, largest, randompods, verdicts
from tests.support.attacks import Case
from tests.support.judging import Verdict
from tests.support.sandbox import Admin

pytestmark = pytest.mark.cluster

#: What Pod Security forbids, and we judge by lists of the spec; what we forbid and Pod Security does not.
BY_LISTS: Final = {"runtime/hostPaths", "runtime/hostPorts", "runtime/addCapabilities"}
BEYOND: Final = {"runtime: a seccomp profile of the node without its name"}
#: What Pod Security admits from this minor on only, beside what is in a user namespace (from 35 on): docs tell it.
LATER: Final = {"runtime: all safe sysctls": 37}


def _refuses(case: Case) -> bool:
    target = target_of(case.body)
    return target is not None and target.refuses


def wrong(case: Case, verdict: Verdict) -> str:
    """What is wrong with a verdict; "" if nothing is."""
    statuses: Mapping[bool, tuple[int, ...]] = {True: (403, 422), False: (200, 201)}
    refused = bool(case.fails) and case.is_judged and _refuses(case)
    expected = (int(case.status),) if case.status.isdigit() else statuses[refused]
    fails = case.fails if case.is_judged and not case.malformed and not case.status.isdigit() else frozenset()
    if (case.status == "any" or verdict.status in expected) and verdict.fails == fails:
        return ""
    return f"{case.name}: {verdict.status}, fails {sorted(verdict.fails)}, not {sorted(fails)}: {verdict.message[:600]}"


async def test_every_case_of_the_corpus_is_judged_as_it_says(judge: Admin, minor: int) -> None:
    found = await judging.verdicts(judge, "corpus", [case.read_by(minor) for case in attacks.cases()])
    differing = [text for case, verdict in found if (text := wrong(case, verdict))]
    assert not differing, "\n".join(differing)


def _unlike(evaluator: verdicts.Judge, found: Iterable[tuple[Case, Verdict]]) -> tuple[list[str], int]:
    """The verdicts that are not those of the evaluator, and how many policies gave. What the API server refuses for
    another reason is passed over, but that it cannot decode it has to be known."""
    differing, count = [], 0
    for case, verdict in found:
        try:
            expected = evaluator.of(case.body, case.annotations)
        except Malformed as error:
            # Also 403: a PriorityClass that does not exist is refused before the object is validated.
            if verdict.status not in (400, 403, 422) or verdict.fails:
                differing.append(f"{case.name}: {verdict.status}, though malformed: {error}")
            continue
        if verdict.status == 400:
            differing.append(f"{case.name}: not known to be malformed: {verdict.message[:600]}")
        elif verdict.status in (200, 201) or "ValidatingAdmissionPolicy" in verdict.message:
            count += 1
            alike = verdict.fails <= expected if verdict.is_cut else verdict.fails == expected
            if not alike:
                differing.append(
                    f"{case.name}: {sorted(verdict.fails)}, not {sorted(expected)}: {verdict.message[:600]}"
                )
    return differing, count


async def test_templates_are_judged_as_the_pods_are(judge: Admin, minor: int) -> None:
    cases = [
        replace(case, name=f"{case.name} as a Deployment", body=attacks.workload("Deployment", case.body))
        for case in attacks.cases()
        if case.body["kind"] == "Pod" and case.operation == "create" and case.since <= minor
    ]
    differing, count = _unlike(verdicts.Judge(), await judging.verdicts(judge, "template", cases))
    assert not differing, "\n".join(differing)
    assert count > len(cases) * 0.8


def _fixtures() -> list[tuple[str, str, bool, dict[str, object]]]:
    try:
        return list(verdicts.fixtures())
    except FileNotFoundError as error:
        pytest.skip(str(error))


async def test_the_fixtures_of_pod_security_are_judged_as_it_judges_them(judge: Admin) -> None:
    fixtures = _fixtures()
    parameters = {level: attacks.annotations(sections) for level, sections in verdicts.LEVELS.items()}
    cases = [
        _case(name, {**pod, "metadata": {**pod["metadata"], "name": "fixture"}}, parameters[level])  # type: ignore[dict-item]
        for level, name, _, pod in fixtures
    ]
    passes = {name: good for _, name, good, _ in fixtures}
    found = await judging.verdicts(judge, "fixture", cases)
    # A few are what the API server itself refuses, in any namespace.
    judged = [(case, verdict) for case, verdict in found if verdict.status == 201 or verdict.fails]
    assert len(judged) > 140
    assert not [case.name for case, verdict in judged if passes[case.name] != (verdict.status == 201)]
    assert _unlike(verdicts.Judge(), found)[0] == []


@pytest.mark.parametrize("level", verdicts.LEVELS)
async def test_the_pods_of_the_corpus_are_judged_as_pod_security_judges_them(
    judge: Admin, level: str, minor: int
) -> None:
    """In a namespace with its label alone. What goes beyond it is told apart by name."""
    cases = [case for case in attacks.cases() if case.body["kind"] == "Pod" and case.operation == "create"]
    if minor >= int(VERSION.removeprefix("v1.")):
        cases += [_case(f"seed {seed}", randompods.pod(seed)[0], {}) for seed in range(2000, 2060)]
    labels = {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": VERSION}
    evaluator, annotations = verdicts.Judge(), attacks.annotations(verdicts.LEVELS[level])
    standards = {f"runtime/{check.name}" for check in STANDARDS} | BY_LISTS
    differing, count = [], 0
    async with judging.namespace(judge, f"level-{level}", {}, None, labels):
        found = await judging.in_namespace(judge, f"level-{level}", cases)
    for case, verdict in found:
        if verdict.status == 201 or "violates PodSecurity" in verdict.message:
            count += 1
            if minor < LATER.get(case.name, 35 if case.body["spec"].get("hostUsers") is False else 0):
                continue
            fails = evaluator.of(case.body, annotations) & standards
            if bool(fails) != (verdict.status == 403) and not (case.name in BEYOND or _is_nameless(case, fails)):
                differing.append(f"{case.name}: {sorted(fails)}: {verdict.message[:400]}")
    assert not differing, "\n".join(differing)
    assert count > len(cases) * 0.7


def _is_nameless(case: Case, fails: frozenset[str]) -> bool:
    """Whether all that is wrong is a seccomp profile of the node without its name (`BEYOND`), of a random pod."""
    spec = case.body["spec"]
    holders = [spec, *(one for key, some in spec.items() if key.lower().endswith("containers") for one in some)]
    profiles = [((one.get("securityContext") or {}).get("seccompProfile")) or {} for one in holders]
    return fails == {"runtime/seccomp"} and any(
        one.get("type") == "Localhost" and not one.get("localhostProfile") for one in profiles
    )


def _case(name: str, body: dict[str, object], annotations: Mapping[str, str]) -> Case:
    return Case(name, "", annotations, "create", body, frozenset(), "", "", is_judged=True)


async def _random(judge: Admin, seeds: Iterable[int]) -> None:
    cases = [_case(f"seed {seed}", *randompods.pod(seed)) for seed in seeds]
    differing, count = _unlike(verdicts.Judge(), await judging.verdicts(judge, "random", cases))
    assert not differing, "\n".join(differing)
    assert count > len(cases) * 0.4


@pytest.mark.usefixtures("all_fields")
async def test_random_pods_are_judged_alike(judge: Admin) -> None:
    await _random(judge, range(150))


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("all_fields")
async def test_many_random_pods_are_judged_alike(judge: Admin) -> None:
    await _random(judge, range(1000, 6000))


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
        edge = largest.ingress()
        verdict = await judging.verdict(judge, "POST", judging.path(edge, "largest"), edge)
        assert (verdict.status, verdict.fails) == (201, frozenset()), verdict.message[:3000]
        edge["spec"]["rules"][-1]["host"] = "portal.bank.example"
        verdict = await judging.verdict(judge, "POST", judging.path(edge, "largest"), edge)
        assert verdict.fails == {"exposure/hosts", "exposure/tls"}, verdict.message[:3000]
