"""Calico's selector language: what matches, what does not, and what depends on labels that are not known."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.sets import calico, matching
from securetenant.sets.calico import NAME
from securetenant.sets.matching import Known, Truth

LABELS: Final = {"app": "db", "tier": "a", "empty": "", "pre/fix.x": "v"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        (" \t ", True),
        ("all()", True),
        ("all( )", True),
        ("!all()", False),
        ("app == 'db'", True),
        ('app=="db"', True),
        ("app == 'd'", False),
        ("gone == ''", False),
        ("empty == ''", True),
        ("app != 'db'", False),
        ("gone != 'db'", True),
        ("has(app)", True),
        ("has( pre/fix.x )", True),
        ("!has(gone)", True),
        ("!!has(app)", True),
        ("! ! !has(app)", False),
        ("app in {'db', 'web'}", True),
        ("app in {'web'}", False),
        ("app in {}", False),
        ("app in {'db',}", True),
        ("gone in {'db'}", False),
        ("app not in {'db'}", False),
        ("app notin {'web'}", True),
        ("gone not in {'db'}", True),
        ("app contains 'b'", True),
        ("gone contains ''", False),
        ("app starts with 'd'", True),
        ("app startswith 'b'", False),
        ("app ends with 'b'", True),
        ("app == 'db' && tier == 'b'", False),
        ("app == 'web' || tier == 'a'", True),
        ("app == 'web' && has(gone) || tier == 'a'", True),  # && binds closer
        ("tier == 'a' || app == 'web' && has(gone)", True),
        ("(tier == 'a' || app == 'web') && has(gone)", False),
        ("!(app == 'web' || tier == 'b')", True),
        ("((((app == 'db'))))", True),
        ("not == 'x'", False),  # a label may be called so
        ("in == 'x' || has == 'x'", False),
    ],
)
def test_it_matches_as_calico_does(text: str, matches: bool) -> None:
    assert calico.parsed(text).matches(matching.of(LABELS)) is matches


@pytest.mark.parametrize(
    "text",
    [
        "app",
        "app =",
        "app = 'db'",
        "app == db",
        "app == 'db",
        "'db' == app",
        "app == 'db' &&",
        "&& app == 'db'",
        "app == 'db' & tier == 'a'",
        "app == 'db' tier == 'a'",
        "app == 'db')",
        "(app == 'db'",
        "app in 'db'",
        "app in {'db'",
        "app in {'db' 'web'}",
        "app in {,}",
        "has()",
        "has(app",
        "!",
        "any()",
        "app matches 'd.*'",
        "app == 'db' # why",
        "{'db'}",
        "(" * 200 + "all()" + ")" * 200,
        "all() || " * 1000 + "all()",
        "app 'db'",
        "app == 'db';",
        "ä == 'db'",
        "\n",
        "all()\n",
    ],
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        calico.parsed(text)


def some_known(key: str) -> tuple[str | None, ...] | None:
    return {"space": ("a",), "either": ("x", None), "absent": (None,)}.get(key)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("pod == 'x'", None),
        ("!(pod == 'x')", None),
        ("space == 'a' && pod == 'x'", None),
        ("space == 'b' && pod == 'x'", False),
        ("space == 'a' || pod == 'x'", True),
        ("space == 'b' || pod == 'x'", None),
        ("!(space == 'b' && pod == 'x')", True),
        ("has(either)", None),
        ("either != 'z'", True),
        ("either == 'z'", False),
        ("!has(absent)", True),
        ("global()", None),
        ("!global()", None),
        ("pod == 'x' || !has(pod)", None),
    ],
)
def test_what_is_not_known_is_not_guessed(text: str, matches: Truth) -> None:
    assert calico.parsed(text).matches(some_known) is matches


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{NAME} == 'a'", {"a"}),
        (f"{NAME} in {{'a', 'b'}} && env == 'prod'", {"a", "b"}),
        (f"{NAME} in {{'a', 'b'}} && {NAME} == 'b'", {"b"}),
        (f"{NAME} == 'a' || {NAME} == 'b'", {"a", "b"}),
        (f"{NAME} == 'a' || env == 'prod'", None),
        (f"{NAME} != 'a'", None),
        (f"!({NAME} == 'a')", None),
        (f"{NAME} not in {{'a'}}", None),
        (f"{NAME} starts with 'a'", None),
        ("all()", None),
        ("", None),
    ],
)
def test_the_only_namespaces_by_name(text: str, named: set[str] | None) -> None:
    assert calico.parsed(text).named(frozenset({NAME})) == named


TERMS: Final = st.sampled_from(["a == 'x'", "a != 'x'", "has(b)", "b in {'x', 'y'}", "b not in {'x'}", "all()"])
SELECTORS: Final = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda three: f"({' '.join(three)})"),
    ),
    max_leaves=6,
)
VALUES: Final = st.sampled_from(["x", "y", None])


def with_labels(a: str | None, b: str | None) -> Known:
    return lambda key: ({"a": a, "b": b}[key],)


@given(SELECTORS, VALUES, VALUES)
def test_an_answer_holds_whatever_the_unknown_is(text: str, a: str | None, b: str | None) -> None:
    term = calico.parsed(text)
    told = term.matches(lambda key: (a,) if key == "a" else None)
    if told is not None:
        assert term.matches(with_labels(a, b)) is told
    assert term.matches(with_labels(a, b)) is not None


@given(st.text(alphabet="ab()!&|='{}, inothascgl", max_size=24))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        term = calico.parsed(text)
    except ValueError:
        return
    assert term.matches(matching.of(LABELS)) in (True, False, None)
