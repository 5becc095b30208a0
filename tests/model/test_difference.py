"""Where two JSON values differ."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.model.difference import Field, differences
from securetenant.model.objects import JsonValue


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, [Field("a.b", 1, 2)], id="changed"),
        pytest.param({"a": 1}, {}, [Field("a", 1, None)], id="added-by-others"),
        pytest.param({}, {"a": {"b": 1}}, [Field("a", None, {"b": 1})], id="taken-away-by-others"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3, 4]}, [Field("a[1]", 2, 3), Field("a[2]", None, 4)], id="list"),
        pytest.param({"a": True}, {"a": 1}, [Field("a", True, 1)], id="another-type"),
    ],
)
def test_differences(old: JsonValue, new: JsonValue, fields: list[Field]) -> None:
    assert list(differences(old, new)) == fields


_JSON: Any = st.recursive(
    st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON, _JSON)
def test_there_are_differences_exactly_where_values_differ(old: JsonValue, new: JsonValue) -> None:
    same = repr(old) == repr(new) or (isinstance(old, dict) and old == new and str(old) == str(new))
    found = list(differences(old, new))
    if same:
        assert found == []
    if not found:
        assert old == new
