"""Each check with a mistake in it: the corpus has to notice. A sample here, all of them in `make test-full`."""

import contextlib
from collections.abc import Iterable
from typing import Final

import pytest

from securetenant.checks.decoding import Malformed
from tests.support import attacks, mutants, verdicts
from tests.support.mutants import Mutant

ALL: Final = tuple(mutants.all_of())
#: Every how many of them are in the sample, beside the checks that find nothing.
SAMPLE: Final = 9
#: Those that judge everything as before, and why.
EQUIVALENT: Final = {
    "nodes/tolerations: the last entry less (1)": "what is empty is absent in the form that is judged",
    "exposure/hosts: contains for startsWith (1)": "the API server takes a * at the start alone",
    "exposure/hosts: unequal for equal (3)": "what the place is called",
    "exposure/tls: unequal for equal (2)": "what the place is called",
    "images/reference: or for and (2)": "each image is matched, though all are known to match",
    "images/reference: no end (2)": "what is behind the digest does not match as a whole either",
    "variables.parents: no boundary (1)": "what the place is called",
    "variables.exempted: no start (1)": "what is before the ID makes it another ID",
    "variables.imagesMatch: equal for unequal (1)": "each image is matched, as if one did not match",
    "variables.imagesMatch: no not (1)": "each image is matched, as if one did not match",
}


def unnoticed(tried: Iterable[Mutant]) -> list[str]:
    """The mutants whose verdict on no case differs. One that CEL does not take is noticed when it is applied."""
    cases = [
        (case, form)
        for number, case in enumerate(attacks.cases())
        if case.is_judged and not isinstance(form := verdicts.form(number), Malformed)
    ]
    # Parameters are decoded once for a run of cases of the same namespace.
    cases.sort(key=lambda one: sorted(one[0].annotations.items()))
    found = []
    for mutant in tried:
        judge = verdicts.Judge(mutants.sets_with(mutant), lambda *given, bent=mutant: mutants.Bent(bent, *given))
        # Those of its own check first: most mutants are seen there.
        ordered = sorted(cases, key=lambda one: one[0].check != mutant.name)
        with contextlib.suppress(RuntimeError):  # it is no CEL
            if all(judge.fails(*one) == one[0].fails for one in ordered):
                found.append(str(mutant))
    return found


def test_the_corpus_notices_a_check_that_finds_nothing() -> None:
    assert unnoticed(mutant for mutant in ALL if mutant.text == "[]") == []


def test_the_corpus_notices_a_mistake_in_a_check() -> None:
    sample = [mutant for mutant in ALL if mutant.text != "[]"][::SAMPLE]
    assert set(unnoticed(sample)) <= EQUIVALENT.keys()


@pytest.mark.full
def test_the_corpus_notices_every_mistake_in_a_check() -> None:
    assert len(ALL) > 200
    assert set(unnoticed(ALL)) == EQUIVALENT.keys()
