"""Whether selectors match objects of which not all labels are known: yes, no, or it depends.

Ours, and no library: those for label selectors (client-go's, in Python `kubernetes`) know no third answer, and a policy
that may select a pod must not pass for one that does not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from securetenant.model import names
from securetenant.model.objects import JsonValue
from securetenant.sets.selectors import Expression, Selector

# None: it depends on what is not known.
Truth: TypeAlias = bool | None
# By a label's key: the values that it may have, None among them where it may be absent. None: any.
Known: TypeAlias = Callable[[str], tuple[str | None, ...] | None]
# The names that a namespace must have one of to be selected; None: any name.
Names: TypeAlias = frozenset[str] | None


def negated(one: Truth) -> Truth:
    return None if one is None else not one


def every(found: Iterable[Truth]) -> Truth:
    """Whether all hold."""
    listed = list(found)
    return False if False in listed else None if None in listed else True


def some(found: Iterable[Truth]) -> Truth:
    """Whether one holds."""
    return negated(every(negated(one) for one in found))


def tested(known: Known, key: str, test: Callable[[str | None], bool]) -> Truth:
    """Whether a label passes a test, which gets None for an absent one."""
    values = known(key)
    if values is None:
        return None
    answers = {test(value) for value in values}
    return answers.pop() if len(answers) == 1 else None


def of(labels: Mapping[str, str]) -> Known:
    """Of an object whose labels are all known."""
    return lambda key: (labels.get(key),)


def nothing(key: str) -> None:
    """Of an object of which nothing is known."""
    return


def matches(selected: Selector, known: Known) -> Truth:
    """Whether a label selector matches."""
    return every(
        [
            *(tested(known, key, lambda have, value=value: have == value) for key, value in selected.labels),  # type: ignore[misc]
            *(_holds(term, known) for term in selected.expressions),
        ]
    )


def _holds(term: Expression, known: Known) -> Truth:
    key, operator, values = term
    if operator == "Exists":
        return tested(known, key, lambda have: have is not None)
    if operator == "DoesNotExist":
        return tested(known, key, lambda have: have is None)
    found = tested(known, key, lambda have: have in values)
    return negated(found) if operator == "NotIn" else found


def named(selected: Selector, keys: Iterable[str] = (names.LABEL_NAMESPACE_NAME,)) -> Names:
    """The names of the only namespaces that a selector can match, by labels that hold a namespace's name."""
    found: Names = None
    for key in keys:
        for term in (
            *(frozenset({value}) for label, value in selected.labels if label == key),
            *(
                frozenset(values)
                for label, operator, values in selected.expressions
                if (label, operator) == (key, "In")
            ),
        ):
            found = common(found, term)
    return found


def common(one: Names, other: Names) -> Names:
    """The names that are among both."""
    return other if one is None else one if other is None else one & other


class _Expression(msgspec.Struct, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] | None = None

    def __post_init__(self) -> None:
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            raise ValueError("In and NotIn need values, other operators have none")


class LabelSelector(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A LabelSelector as JSON, strictly."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None

    @property
    def value(self) -> Selector:
        terms = (Expression(e.key, e.operator, tuple(e.values or ())) for e in self.match_expressions or ())
        return Selector(tuple(sorted((self.match_labels or {}).items())), tuple(terms))


EVERYTHING: Final = LabelSelector()


def parsed(value: JsonValue) -> Selector:
    """A LabelSelector. Raises ValueError."""
    return msgspec.convert(value, LabelSelector).value
