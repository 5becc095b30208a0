"""Sets of labels in fewer sets: the same labels, whatever they are."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from securetenant.sets import labels
from securetenant.sets.labels import EVERY, Labels, Values

KEYS = ("app", "tier")
VALUES = ("a", "b", "c")

values = st.builds(Values, st.frozensets(st.sampled_from(VALUES)), st.booleans(), st.booleans()).filter(
    lambda one: not one.is_empty and one != labels.ANY
)
sets = st.dictionaries(st.sampled_from(KEYS), values).map(lambda one: tuple(sorted(one.items())))


def everything() -> list[dict[str, str]]:
    """Every map that these values can tell apart, with one value that none of them names."""
    choices = product((None, *VALUES, "other"), repeat=len(KEYS))
    return [{key: value for key, value in zip(KEYS, one, strict=True) if value is not None} for one in choices]


def held(listed: tuple[Labels, ...] | list[Labels]) -> list[bool]:
    return [any(labels.matched(one, known) for one in listed) for known in everything()]


@given(st.lists(sets, max_size=5))
def test_the_same_labels_are_in_them(listed: list[Labels]) -> None:
    found = labels.simplified(listed)
    assert held(found) == held(listed)
    assert len(found) <= max(len(listed), 1)


def one(key: str, *listed: str, but: bool = False, absent: bool = False) -> Labels:
    return ((key, Values(frozenset(listed), but, absent)),)


def test_what_is_all_of_them_is_every() -> None:
    assert labels.simplified([one("app", "a"), one("app", "a", but=True, absent=True)]) == (EVERY,)
    assert labels.simplified([one("app", "a"), EVERY]) == (EVERY,)


def test_the_parts_of_a_split_are_joined_again() -> None:
    web, front = one("app", "web"), one("tier", "front")
    both = labels.both(web, front)
    assert both is not None
    parts = [both, *labels.without(EVERY, both)]
    assert labels.simplified(parts) == (EVERY,)


def test_what_differs_in_two_keys_stays_apart() -> None:
    listed = (one("app", "a"), one("tier", "a"))
    assert set(labels.simplified(listed)) == set(listed)
