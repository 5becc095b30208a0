"""Where two JSON values differ."""

from typing import Any

import pytest

from securetenant.model.objects import first_difference


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        pytest.param({"a": 1}, {"a": 1}, "", id="equal"),
        pytest.param({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]", id="in a list"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, "a[1]", id="longer list"),
        pytest.param({"a": {}}, {"a": {"x": None}}, "a.x", id="added null"),
        pytest.param({"a": 1}, {"a": True}, "a", id="type"),
        pytest.param({"a": 1}, {}, "a", id="missing"),
    ],
)
def test_first_difference(left: Any, right: Any, path: str) -> None:
    assert first_difference(left, right) == path
