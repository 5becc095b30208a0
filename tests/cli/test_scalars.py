"""What plain YAML scalars mean. tests/cluster/test_cli.py holds the same against the real kubectl."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.cli.render import to_yaml
from securetenant.cli.scalars import is_safe_unquoted, value_of
from tests.support.reading import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("2027-03-31", "2027-03-31", id="a-date-stays-text"),
        pytest.param("2027-03-31T00:00:00Z", "2027-03-31T00:00:00Z", id="a-time-stays-text"),
        pytest.param("on", True, id="on"),
        pytest.param("No", False, id="no"),
        pytest.param("y", True, id="y"),
        pytest.param("~", None, id="tilde"),
        pytest.param("8443", 8443, id="integer"),
        pytest.param("-1", -1, id="negative"),
        pytest.param("0", 0, id="zero"),
        pytest.param("010", 8, id="octal"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("12:30", "12:30", id="not-sexagesimal"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("1.5", 1.5, id="float"),
        pytest.param("500m", "500m", id="quantity"),
        pytest.param("10.8.0.0/16", "10.8.0.0/16", id="cidr"),
        pytest.param("1.2.3", "1.2.3", id="version"),
        pytest.param("9" * 5000, "9" * 5000, id="longer-than-any-number"),
    ],
)
def test_value(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize("text", ["y", "N", ".inf", "-.Inf", ".NaN", "1e3", "", "null", "0o7", "<<"])
def test_doubtful_words_are_quoted(text: str) -> None:
    assert not is_safe_unquoted(text)
    assert f'"{text}"' in to_yaml({"key": text})


_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["yes", "1e3", "- x", "# no", "a: b", "{", "2027-03-31", "\x1b[31m", "\u2028", "<<", " x ", "a\n"]),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _JSON, min_size=1, max_size=3))
def test_what_is_rendered_is_read_back(value: dict[str, object]) -> None:
    (document,) = parse(to_yaml({"kind": "x", "value": value}), "test")
    assert document.body == {"kind": "x", "value": value}
