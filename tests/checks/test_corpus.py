"""Every case of the corpus of attacks, judged in Python. tests/cluster/test_checks.py asks the API server."""

from collections import Counter

import pytest

from securetenant.checks.decoding import Malformed
from securetenant.controls.registry import CHECKS
from tests.support import attacks, verdicts
from tests.support.attacks import Case

IDS = [checks.identifier(check) for checks in CHECKS for check in checks.checks]
JUDGE = verdicts.Judge()


@pytest.mark.parametrize(
    ("number", "case"), [pytest.param(number, case, id=case.name) for number, case in enumerate(attacks.cases())]
)
def test_a_case_is_judged_as_it_says(number: int, case: Case) -> None:
    form = verdicts.form(number)
    if isinstance(form, Malformed):
        assert form.path == case.malformed, form
        return
    assert not case.malformed
    assert not case.is_judged or JUDGE.fails(case, form) == case.fails


def test_the_corpus_is_large_and_each_case_has_a_name_of_its_own() -> None:
    names = Counter(case.name for case in attacks.cases())
    assert len(names) > 350
    assert not [name for name, count in names.items() if count > 1]
    assert {case.check for case in attacks.cases()} <= {"", *IDS}
    assert {identifier for case in attacks.cases() for identifier in case.fails} <= set(IDS)


@pytest.mark.parametrize("check", IDS)
def test_a_check_has_cases_that_pass_and_attacks(check: str) -> None:
    of_check = [case for case in attacks.cases() if case.check == check]
    assert any(check in case.fails for case in of_check), "an attack"
    assert any(not case.fails and not case.malformed for case in of_check), "a case that must pass"
