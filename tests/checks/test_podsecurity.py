"""Kubernetes' own fixtures of the Pod Security Standards, from the module that the API server is built from."""

import json

import pytest

from sandbox import apitypes
from securetenant.checks.server_form import judged
from tests.support import attacks, verdicts
from tests.support.world import NOW


def test_the_fixtures_are_judged_as_pod_security_judges_them() -> None:
    try:
        fixtures = list(verdicts.fixtures())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    judge = verdicts.Judge()
    parameters = {level: attacks.annotations(sections) for level, sections in verdicts.LEVELS.items()}
    assert len(fixtures) > 140
    differing = [
        f"{name}: {sorted(fails)}"
        for level, name, passes, pod in fixtures
        if passes != (not (fails := judge.of(pod, parameters[level])))
    ]
    assert not differing


def test_the_types_are_those_that_the_api_server_decodes() -> None:
    try:
        text = apitypes.text()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert apitypes.FILE.read_text() == text, "run `python -m sandbox.apitypes`"


def test_types_are_whole() -> None:
    types = json.loads(apitypes.FILE.read_text())
    plain = {"string", "bool", "int32", "int64", "time", "quantity", "int-or-string", "any"}
    assert {kind.strip("*[]{}!") for fields in types.values() for kind in fields.values()} - types.keys() == plain
    assert judged(attacks.pod(), NOW)["spec"]["containers"]
