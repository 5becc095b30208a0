"""The corpus of attacks on the admission policies, as manifests in files: `validate` says what the API server says of
their creation (tests/cluster/test_checks.py), and where."""

from datetime import UTC, datetime
from typing import Final

import pytest

from securetenant.cache.snapshot import world_without_cluster
from securetenant.cli.issues import Issue
from securetenant.cli.render import to_yaml
from securetenant.cli.validate_workloads import Judge, Rules
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref
from securetenant.model.platform import Platform
from tests.support import attacks
from tests.support.attacks import Case
from tests.support.reading import load, parse
from tests.support.workloads import tenant

NOW: Final = datetime(2026, 11, 27, tzinfo=UTC)
#: What depends on the default class of the cluster, which is not known.
_DEFAULT_CLASS: Final = frozenset(
    {
        "storage: no class where there is no default",
        "storage: the class null where there is no default",
        "storage: no class and no default where none is listed",
    }
)
CASES: Final = [
    case for case in attacks.cases() if case.operation in ("create", "apply") and case.is_judged and not case.user
]


@pytest.fixture(scope="module")
def judges() -> dict[bool, Judge]:
    """By whether pods are injected into. The policies on templates leave what would be to the pods."""
    world = world_without_cluster([], Platform())
    return {injection: Judge(world, NOW, injection=injection) for injection in (False, True)}


def told(judge: Judge, case: Case) -> tuple[list[Issue], int]:
    """What is told of a case, and how many lines it has."""
    text = to_yaml(case.body)
    (document,) = parse(text)
    ref = Ref(NAMESPACE, "", attacks.NAMESPACE)
    marks = Desired(ref, "admission", annotations=dict(case.annotations))
    rules = Rules(load(tenant("corpus")), attacks.NAMESPACE, marks, judge.world, NOW)
    return judge.issues([(document, rules)]), len(text.splitlines())


def test_there_are_many() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_validate_agrees_with_the_corpus(judges: dict[bool, Judge], case: Case) -> None:
    issues, lines = told(judges[case.body["kind"] != "Pod"], case)
    if case.malformed:
        assert {issue.rule for issue in issues} == {"malformed"}
    else:
        assert {issue.rule for issue in issues} == (frozenset() if case.name in _DEFAULT_CLASS else case.fails)
    for issue in issues:
        assert issue.severity == "error"
        if "cannot be evaluated" not in issue.message:
            assert 1 < issue.line <= lines, "each is told at its field, and not at the document"
