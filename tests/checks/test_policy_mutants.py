"""Each policy that tells accounts apart with a mistake in it: the requests have to notice. A sample here, all of
them in `make test-full`. On the API server: tests/cluster/test_posture_lock.py, test_subnet_lock.py,
test_stolen_token.py."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pytest

from securetenant.checks.targets import Document
from securetenant.controls.admission import posture, restraint, subnets
from tests.support import locked_requests, mutants, restrained_requests
from tests.support.locked_requests import Case
from tests.support.mutants import Mutant
from tests.support.policed import Policy

POLICIES: Final[Mapping[str, tuple[Document, tuple[Case, ...]]]] = {
    "posture": (posture.objects()[0], tuple(locked_requests.of_posture())),
    "operator": (restraint.account()[0], tuple(restrained_requests.restrained())),
    "subnets": (subnets.objects()[0], tuple(locked_requests.of_subnets())),
}
#: Every how many of them are in the sample.
SAMPLE: Final = 9
#: Those that judge everything as before, and why.
EQUIVALENT: Final[Mapping[str, str]] = {
    "operator: probes: true for false (1)": "the API server always says whether it is a dry run",
    "operator: place: contains for startsWith (1)": "the name is compared as a whole as well",
    **dict.fromkeys(
        (
            "operator: ofSubnets: one entry less (5)",
            "operator: ofSubnets: one entry less (12)",
            "operator: ofSubnets: one entry less (13)",
            "operator: ofSubnets: the last entry less (3)",
        ),
        "what draws in others' pods is refused by a rule of its own; what may be taken off is in the old object",
    ),
}


def unnoticed(policy: Document, cases: Iterable[Case], tried: Iterable[Mutant]) -> Iterator[str]:
    """The mutants whose verdict on no request differs. One that CEL does not take is noticed when it is applied."""
    name = policy["metadata"]["name"].split(".")[0]
    for mutant in tried:
        try:
            made = Policy(policy, {mutant.name: mutant.text})
        except RuntimeError:
            continue
        if all(case.fits(made.verdict(case.request)) for case in cases):
            yield f"{name}: {mutant}"


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_judge_as_the_requests_say(name: str) -> None:
    policy, cases = POLICIES[name]
    made = Policy(policy)
    assert len({case.name for case in cases}) == len(cases)
    assert [case.name for case in cases if not case.fits(made.verdict(case.request))] == []


@pytest.mark.parametrize("name", POLICIES)
def test_the_requests_notice_a_mistake_in_a_policy(name: str) -> None:
    policy, cases = POLICIES[name]
    sample = list(mutants.of_policy(policy))[::SAMPLE]
    assert set(unnoticed(policy, cases, sample)) <= EQUIVALENT.keys()


@pytest.mark.full
def test_the_requests_notice_every_mistake_in_a_policy() -> None:
    tried = {name: list(mutants.of_policy(policy)) for name, (policy, _) in POLICIES.items()}
    found = {one for name, (policy, cases) in POLICIES.items() for one in unnoticed(policy, cases, tried[name])}
    assert sum(map(len, tried.values())) > 400
    assert found == EQUIVALENT.keys()
