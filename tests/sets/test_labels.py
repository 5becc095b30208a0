"""Sets of labels against the pods that they have, and against what selectors select."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.api.tenant import PodSelector
from securetenant.sets import labels, matching, selectors
from securetenant.sets.labels import ANY, EVERY, Labels, Values
from tests.sets.test_selectors import POD_LABELS, specs
from tests.support.cni.policies import selects

VALUES: Final = ("a", "b", "c", "other", None)

values = st.builds(
    Values, st.frozensets(st.sampled_from(("a", "b", "c")), max_size=3), but=st.booleans(), absent=st.booleans()
)
#: What selectors match, and what is left of it without others.
sets = st.dictionaries(
    st.sampled_from(("app", "tier")), values.filter(lambda one: not one.is_empty and one != ANY)
).map(lambda found: tuple(sorted(found.items())))


def members(one: Values) -> set[str | None]:
    return {value for value in VALUES if labels.matched((("key", one),), {} if value is None else {"key": value})}


def pods(one: Labels | None) -> list[dict[str, str]]:
    return [] if one is None else [known for known in POD_LABELS if labels.matched(one, known)]


@given(values, values)
def test_values_are_sets(one: Values, other: Values) -> None:
    assert members(labels.common(one, other)) == members(one) & members(other)
    assert members(labels.negated(one)) == set(VALUES) - members(one)
    assert (members(one) == set()) == one.is_empty
    assert members(ANY) == set(VALUES)


@given(specs)
def test_terms_match_what_the_selector_does_and_are_none_only_if_that_is_nothing(spec: dict[str, Any]) -> None:
    found = labels.terms(matching.parsed(spec))
    wanted = [known for known in POD_LABELS if selects(spec, known)]
    assert pods(found) == wanted
    assert (found is None) == (not wanted)


@given(specs, specs)
def test_selectors_that_say_the_same_are_equal_values(one: dict[str, Any], other: dict[str, Any]) -> None:
    """So that they are one part of a namespace's pods, and not two."""
    found = [labels.terms(matching.parsed(spec)) for spec in (one, other)]
    assert (pods(found[0]) == pods(found[1])) == (found[0] == found[1])


@given(sets, sets)
def test_both_is_what_is_in_both(one: Labels, other: Labels) -> None:
    found = labels.both(one, other)
    assert pods(found) == [known for known in pods(one) if known in pods(other)]
    assert (found is None) == (not pods(found))
    assert labels.both(other, one) == found


@given(sets, sets)
def test_without_is_the_rest_in_parts_that_are_apart(one: Labels, other: Labels) -> None:
    parts = list(labels.without(one, other))
    assert None not in parts
    assert all(pods(part) for part in parts)
    for known in POD_LABELS:
        is_left = labels.matched(one, known) and not labels.matched(other, known)
        assert sum(labels.matched(part, known) for part in parts) == is_left


def test_every_has_all_pods_and_nothing_is_left_without_it() -> None:
    assert pods(EVERY) == POD_LABELS
    assert labels.terms(selectors.ALL) == EVERY
    assert list(labels.without(EVERY, EVERY)) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"matchLabels": {"tier": "1", "app": "web"}}, "app=web, tier=1"),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, "app in (db, web)"),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, "app not (web)"),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "with app"),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "no app"),
        (
            {
                "matchExpressions": [
                    {"key": "app", "operator": "Exists"},
                    {"key": "app", "operator": "NotIn", "values": ["web", "db"]},
                ]
            },
            "with app not (db, web)",
        ),
        ({}, ""),
    ],
)
def test_described(spec: dict[str, Any], told: str) -> None:
    found = labels.terms(selectors.selector(PodSelector.model_validate(spec)) or selectors.ALL)
    assert found is not None
    assert labels.described(found) == told


def test_what_is_left_of_one_value_is_described() -> None:
    (rest,) = labels.without(EVERY, (("app", Values(frozenset({"web"}), but=True, absent=False)),))
    assert labels.described((rest[0],)) == "app=web or no app"
