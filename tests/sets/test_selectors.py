"""Selectors against the label sets that they select."""

from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securetenant.api.tenant import PodSelector
from securetenant.sets import selectors
from tests.support.reachability import selects

KEYS, VALUES = ("app", "tier"), ("a", "b", "c")
# Every pod that a selector over these keys and values can tell from another.
POD_LABELS = [
    {key: value for key, value in zip(KEYS, chosen, strict=True) if value is not None}
    for chosen in product((*VALUES, "other", None), repeat=2)
]

terms = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(KEYS),
            "operator": st.sampled_from(("In", "NotIn")),
            "values": st.lists(st.sampled_from(VALUES), min_size=1, unique=True),
        }
    ),
    st.fixed_dictionaries({"key": st.sampled_from(KEYS), "operator": st.sampled_from(("Exists", "DoesNotExist"))}),
)
specs = st.fixed_dictionaries(
    {
        "matchLabels": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)),
        "matchExpressions": st.lists(terms, max_size=3),
    }
)


def pods(selected: selectors.Selector | None) -> list[dict[str, str]]:
    if selected is None:
        return []
    rendered: dict[str, Any] = selectors.rendered(selected)
    return [labels for labels in POD_LABELS if selects(rendered, labels)]


@given(specs)
@example({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]})
def test_a_selector_selects_what_its_spec_does_and_is_none_only_if_that_is_nothing(spec: dict[str, Any]) -> None:
    wanted = [labels for labels in POD_LABELS if selects(spec, labels)]
    found = selectors.selector(PodSelector.model_validate(spec))
    assert pods(found) == wanted
    assert (found is None) == (not wanted)


@given(specs, specs)
def test_both_is_the_intersection(one: dict[str, Any], other: dict[str, Any]) -> None:
    joined = selectors.both(*(selectors.selector(PodSelector.model_validate(spec)) for spec in (one, other)))
    wanted = [labels for labels in POD_LABELS if selects(one, labels) and selects(other, labels)]
    assert pods(joined) == wanted
    assert (joined is None) == (not wanted)


@given(specs, specs)
def test_both_does_not_depend_on_the_order(one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = (selectors.selector(PodSelector.model_validate(spec)) for spec in (one, other))
    assert selectors.both(a, b) == selectors.both(b, a)
    assert selectors.both(a, a) == a


def test_rendered_is_canonical() -> None:
    spec = PodSelector.model_validate(
        {
            "matchLabels": {"b": "1", "a": "2"},
            "matchExpressions": [
                {"key": "z", "operator": "Exists"},
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "z", "operator": "Exists"},
            ],
        }
    )
    found = selectors.selector(spec)
    assert found is not None
    assert selectors.rendered(found) == {
        "matchLabels": {"a": "2", "b": "1"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["x", "y"]},
            {"key": "z", "operator": "Exists"},
        ],
    }
    assert selectors.rendered(selectors.ALL) == {}


def test_namespaces_by_name() -> None:
    one, two = selectors.of_namespaces(["a"]), selectors.of_namespaces(["b", "a"])
    assert selectors.rendered(one) == {"matchLabels": {"kubernetes.io/metadata.name": "a"}}
    assert selectors.rendered(two) == {
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}]
    }
    assert selectors.namespaces_of(one) == ("a",)
    assert selectors.namespaces_of(two) == ("a", "b")


@pytest.mark.parametrize(
    "other",
    [
        selectors.ALL,
        selectors.Selector((("env", "a"),)),
        selectors.Selector((("env", "a"), ("kubernetes.io/metadata.name", "a"))),
        selectors.Selector((), (selectors.Expression("kubernetes.io/metadata.name", "NotIn", ("a",)),)),
        selectors.Selector((), (selectors.Expression("env", "In", ("a",)),)),
        selectors.Selector((("kubernetes.io/metadata.name", "a"),), (selectors.Expression("env", "Exists", ()),)),
    ],
    ids=str,
)
def test_a_selector_by_anything_else_names_no_namespace(other: selectors.Selector) -> None:
    assert selectors.namespaces_of(other) == ()


def test_described() -> None:
    terms = (selectors.Expression("tier", "In", ("b", "a")), selectors.Expression("old", "DoesNotExist", ()))
    assert selectors.described(selectors.Selector((("a", "1"), ("b", "2")), terms)) == (
        "a=1, b=2, tier In (b, a), old DoesNotExist"
    )
    assert selectors.described(selectors.ALL) == ""


def test_fingerprint_is_stable() -> None:
    """It stands in the names of objects: another value would replace them all."""
    assert selectors.fingerprint(selectors.Selector((("app", "a"),))) == "42c6098a050e0fab"
