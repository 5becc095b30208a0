"""Label selectors on objects of which not all labels are known: an answer holds whatever the rest is."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.sets import matching
from securetenant.sets.matching import Known, Truth
from securetenant.sets.selectors import Selector

PLACE: Final = "kubernetes.io/metadata.name"
VALUES: Final = st.sampled_from(["x", "y", None])
TERM: Final = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from("ab"),
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries({"key": st.sampled_from("ab"), "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS: Final = st.fixed_dictionaries(
    {
        "matchLabels": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["x", "y"])),
        "matchExpressions": st.lists(TERM, max_size=3),
    }
)


def as_kubernetes(selector: Any, labels: dict[str, str]) -> bool:
    """By the words of the API's documentation."""
    answers = {
        "In": lambda term: labels.get(term["key"]) in term["values"],
        "NotIn": lambda term: labels.get(term["key"]) not in term["values"],
        "Exists": lambda term: term["key"] in labels,
        "DoesNotExist": lambda term: term["key"] not in labels,
    }
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items()) and all(
        answers[term["operator"]](term) for term in selector["matchExpressions"]
    )


@given(SELECTORS, VALUES, VALUES)
def test_what_is_known_is_answered_and_what_is_not_is_not_guessed(selector: Any, a: str | None, b: str | None) -> None:
    labels = {key: value for key, value in (("a", a), ("b", b)) if value is not None}
    parsed = matching.parsed(selector)
    answer = as_kubernetes(selector, labels)
    assert matching.matches(parsed, matching.of(labels)) is answer
    knowns: list[Known] = [
        lambda key: (a,) if key == "a" else None,
        lambda key: (a, None) if key == "a" else (b, "z"),
        matching.nothing,
    ]
    for known in knowns:
        assert matching.matches(parsed, known) in (answer, None)


@pytest.mark.parametrize(
    ("terms", "every", "some"),
    [
        ([], True, False),
        ([True, None], None, True),
        ([False, None], False, None),
        ([True, True], True, True),
        ([False, False], False, False),
        ([None], None, None),
    ],
)
def test_three_answers(terms: list[Truth], every: Truth, some: Truth) -> None:
    assert (matching.every(terms), matching.some(terms)) == (every, some)


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ({}, None),
        ({"matchLabels": {"env": "prod"}}, None),
        ({"matchLabels": {PLACE: "a", "env": "prod"}}, {"a"}),
        ({"matchExpressions": [{"key": PLACE, "operator": "In", "values": ["a", "b"]}]}, {"a", "b"}),
        ({"matchExpressions": [{"key": PLACE, "operator": "NotIn", "values": ["a"]}]}, None),
        (
            {
                "matchLabels": {PLACE: "a"},
                "matchExpressions": [{"key": PLACE, "operator": "In", "values": ["b", "c"]}],
            },
            set(),
        ),
    ],
)
def test_the_only_namespaces_by_name(selector: Any, named: set[str] | None) -> None:
    assert matching.named(matching.parsed(selector)) == named


@pytest.mark.parametrize(
    "selector",
    [
        {"matchFields": {}},
        {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]},
        {"matchExpressions": [{"key": "a", "operator": "In"}]},
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]},
        {"matchExpressions": [{"key": "", "operator": "Exists"}]},
        "all",
        None,
    ],
)
def test_what_is_no_label_selector_is_refused(selector: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        matching.parsed(selector)


def test_an_empty_one_selects_all() -> None:
    assert matching.parsed({}) == Selector()
    assert matching.matches(Selector(), matching.nothing) is True
