"""The models against the corpus; tests/cluster/test_crd.py puts the same to the API server."""

from typing import Any

import pytest

from securetenant.api.load import read
from tests.support.corpus import document, params


@pytest.mark.parametrize("entry", params("good"))
def test_good(entry: dict[str, Any]) -> None:
    tenant, found = read(document(entry))
    assert [str(problem) for problem in found if problem.severity == "error"] == []
    assert tenant is not None


@pytest.mark.parametrize("entry", params("bad"))
def test_bad(entry: dict[str, Any]) -> None:
    tenant, found = read(document(entry))
    assert [(problem.path, problem.severity) for problem in found] == [(entry["path"], "error")], found
    assert entry["says"] in found[0].message
    assert tenant is None
