"""The Python form of each rule against its CEL, by cel-expr-python; tests/cluster/test_crd.py has the API server's."""

from typing import Any, Final

import pytest

from securetenant.api.load import Problem, read
from tests.support import rules
from tests.support.corpus import document, entries, params
from tests.support.specs import drawn
from tests.support.wild import wild_documents

_QUANTITY: Final = 'must be a quantity, e.g. "500m", "4" or "2Gi"'


def _said(problem: Problem) -> str:
    """The rule's message, without what the models say before it."""
    if " is not a quantity" in problem.message:
        return _QUANTITY
    return problem.message.partition(" is invalid: ")[2] or problem.message


def _parent(path: str) -> str:
    return path[: path.rindex("[")] if path.endswith("]") else path.rpartition(".")[0]


def disagreements(given: dict[str, Any]) -> list[str]:
    """Rules that one form finds broken and the other does not.

    The models report the first broken rule of a value, and no rule whose inputs are invalid themselves: what CEL alone
    finds broken has to be in a value, or around one, with which the models find something wrong.
    """
    found = read(given)[1]
    judged = {(v.path, v.message): v for v in rules.verdicts(given)}
    broken = {key for key, verdict in judged.items() if not verdict.holds}
    reported = {(path, _said(p)) for p in found for path in (p.path, _parent(p.path))} & judged.keys()

    def is_explained(at: str) -> bool:
        return any(p.path.startswith(at) or at.startswith(p.path) for p in found)

    return [
        *(f"the models alone: {path}: {message}" for path, message in reported - broken),
        *(f"CEL alone: {key[0]}: {key[1]}" for key in broken - reported if not is_explained(judged[key].at)),
    ]


@pytest.mark.parametrize("entry", [*params("good"), *params("bad")])
def test_both_forms_agree_on_the_corpus(entry: dict[str, Any]) -> None:
    assert disagreements(document(entry)) == []


def test_both_forms_agree_on_documents_that_may_be_good_or_bad() -> None:
    made = [one for some in drawn(wild_documents(), 40) for one in some]
    assert len(made) > 200
    assert [(one, said) for one in made if (said := disagreements(one))] == []
    verdicts = [verdict.holds for one in made for verdict in rules.verdicts(one)]
    assert min(verdicts.count(True), verdicts.count(False)) > 30


def test_each_rule_finds_something_broken() -> None:
    """In the corpus: a rule that is never broken would agree with anything."""
    found = {v.message for entry in entries("bad") for v in rules.verdicts(document(entry)) if not v.holds}
    assert rules.messages() - found == set()
    assert len(rules.messages()) >= 40


def test_what_is_not_evaluated_cannot_be() -> None:
    assert len(rules.lacking()) >= 10
    for text in rules.lacking():
        with pytest.raises(RuntimeError, match="undeclared reference"):
            rules.compiled(text)
