"""Sets of labels, exactly: what a label selector matches, and what it does not.

A set of label maps is a conjunction: by key, the values that it may have. What a selector does not match is several of
them, apart from each other. Ours, and no library: none computes the complement of a label selector.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from securetenant.sets.selectors import Expression, Selector


class Values(NamedTuple):
    """What a label may be: one of `listed`, or with `but` any value except these; `absent`: it may also be absent."""

    listed: frozenset[str]
    but: bool
    absent: bool

    @property
    def is_empty(self) -> bool:
        return not (self.listed or self.but or self.absent)


ANY: Final = Values(frozenset(), but=True, absent=True)

# By key, in order; a key that may be anything does not stand in it.
Labels: TypeAlias = tuple[tuple[str, Values], ...]
EVERY: Final[Labels] = ()


def common(one: Values, other: Values) -> Values:
    """What is in both."""
    absent = one.absent and other.absent
    if one.but and other.but:
        return Values(one.listed | other.listed, but=True, absent=absent)
    if one.but:
        return Values(other.listed - one.listed, but=False, absent=absent)
    if other.but:
        return Values(one.listed - other.listed, but=False, absent=absent)
    return Values(one.listed & other.listed, but=False, absent=absent)


def negated(one: Values) -> Values:
    """All that is not in it."""
    return Values(one.listed, but=not one.but, absent=not one.absent)


@lru_cache(maxsize=16384)
def terms(selected: Selector) -> Labels | None:
    """The labels that a selector matches; None if there are none."""
    found: dict[str, Values] = {}
    for key, value in selected.labels:
        found[key] = common(found.get(key, ANY), Values(frozenset((value,)), but=False, absent=False))
    for term in selected.expressions:
        found[term.key] = common(found.get(term.key, ANY), _values(term))
    if any(one.is_empty for one in found.values()):
        return None
    return tuple(sorted((key, one) for key, one in found.items() if one != ANY))


def _values(term: Expression) -> Values:
    if term.operator == "Exists":
        return Values(frozenset(), but=True, absent=False)
    if term.operator == "DoesNotExist":
        return Values(frozenset(), but=False, absent=True)
    is_not = term.operator == "NotIn"
    return Values(frozenset(term.values), but=is_not, absent=is_not)


def both(one: Labels, other: Labels) -> Labels | None:
    """What is in both; None if nothing is."""
    if not one or not other:
        return one or other
    found = dict(one)
    for key, values in other:
        narrowed = common(found[key], values) if key in found else values
        if narrowed.is_empty:
            return None
        found[key] = narrowed
    return tuple(sorted(found.items()))


def without(one: Labels, other: Labels) -> Iterator[Labels]:
    """What is in the first and not in the second, in parts that are apart from each other."""
    left: Labels | None = one
    for key, values in other:
        if left is None:
            return
        outside = both(left, ((key, negated(values)),))
        if outside is not None:
            yield outside
        left = both(left, ((key, values),))


def simplified(listed: Iterable[Labels]) -> tuple[Labels, ...]:
    """The same labels in fewer sets, where two differ in one key alone; (EVERY,) where they are all there are."""
    found = list(dict.fromkeys(listed))
    at = 0
    while at < len(found):
        for other in range(at):
            together = _together(found[other], found[at])
            if together is not None:
                del found[at], found[other]
                found.append(together)
                at = 0
                break
        else:
            at += 1
    return (EVERY,) if EVERY in found else tuple(found)


def _together(one: Labels, other: Labels) -> Labels | None:
    """What is in either, if that is one set."""
    differing = {key for key, _ in {*one} ^ {*other}}
    if len(differing) > 1:
        return None
    found, theirs = dict(one), dict(other)
    for key in differing:
        found[key] = negated(common(negated(found.get(key, ANY)), negated(theirs.get(key, ANY))))
    return tuple(sorted((key, values) for key, values in found.items() if values != ANY))


def matched(one: Labels, known: Mapping[str, str]) -> bool:
    """Whether these labels are in it."""
    for key, values in one:
        have = known.get(key)
        if (values.absent if have is None else (have in values.listed) != values.but) is False:
            return False
    return True


def described(one: Labels) -> str:
    """As text: "app=web, tier not (db, cache), no old"."""
    return ", ".join(_described(key, values) for key, values in one)


def _described(key: str, values: Values) -> str:
    listed = ", ".join(sorted(values.listed))
    if not values.but:
        if not values.listed:
            return f"no {key}"
        found = f"{key}={listed}" if len(values.listed) == 1 else f"{key} in ({listed})"
        return f"{found} or no {key}" if values.absent else found
    if not values.listed:
        return f"with {key}"
    return f"{key} not ({listed})" if values.absent else f"with {key} not ({listed})"
