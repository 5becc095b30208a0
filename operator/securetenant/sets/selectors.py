"""Label selectors as values: intersected, and checked for whether anything can match."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from securetenant.api.tenant import PodSelector
from securetenant.model import names
from securetenant.model.objects import Json, JsonValue


class Expression(NamedTuple):
    key: str
    operator: str
    values: tuple[str, ...]


class Selector(NamedTuple):
    """A LabelSelector with sorted labels. An empty one selects everything.

    From a spec it is canonical: expressions are sorted too, without duplicates. From a policy (policy.py) it keeps the
    policy's order of expressions.
    """

    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Expression, ...] = ()


ALL: Final = Selector()


def selector(pods: PodSelector | None) -> Selector | None:
    """The selector of a spec; None if no pod can ever match it."""
    if pods is None:
        return ALL
    labels = tuple(sorted(pods.match_labels.items()))
    if not pods.match_expressions:
        return Selector(labels)
    terms = {Expression(e.key, e.operator, tuple(sorted(set(e.values)))) for e in pods.match_expressions}
    return _possible(labels, terms)


def both(one: Selector | None, other: Selector | None) -> Selector | None:
    """The intersection of two selectors; None if nothing can match both."""
    if one is None or other is None:
        return None
    if one == other or other == ALL:
        return one
    if one == ALL:
        return other
    labels = {*one.labels, *other.labels}
    if len({key for key, _ in labels}) != len(labels):
        return None  # one key cannot have two values
    return _possible(tuple(sorted(labels)), {*one.expressions, *other.expressions})


def _possible(labels: tuple[tuple[str, str], ...], terms: set[Expression]) -> Selector | None:
    expressions = tuple(sorted(terms))
    if expressions and not _satisfiable(labels, expressions):
        return None
    return Selector(labels, expressions)


def _satisfiable(labels: Iterable[tuple[str, str]], expressions: Iterable[Expression]) -> bool:
    """Whether any set of labels can match all terms. Keys are independent, so each is checked by itself."""
    allowed: dict[str, set[str]] = {key: {value} for key, value in labels}
    present, absent = set(allowed), set()
    refused: dict[str, set[str]] = {}
    for key, operator, values in expressions:
        if operator == "In":
            allowed[key] = allowed[key] & set(values) if key in allowed else set(values)
            present.add(key)
        elif operator == "NotIn":
            refused.setdefault(key, set()).update(values)
        elif operator == "Exists":
            present.add(key)
        else:
            absent.add(key)
    return not present & absent and all(values - refused.get(key, set()) for key, values in allowed.items())


def of_namespaces(namespaces: Sequence[str]) -> Selector:
    """A selector for namespaces by name: by the label that the API server sets, which nobody can forge."""
    if len(namespaces) == 1:
        return Selector(((names.LABEL_NAMESPACE_NAME, namespaces[0]),))
    return Selector((), (Expression(names.LABEL_NAMESPACE_NAME, "In", tuple(sorted(namespaces))),))


def namespaces_of(selected: Selector) -> tuple[str, ...]:
    """The namespaces that a selector from `of_namespaces` selects; empty for any other selector."""
    match selected:
        case Selector(((names.LABEL_NAMESPACE_NAME, namespace),), ()):
            return (namespace,)
        case Selector((), (Expression(names.LABEL_NAMESPACE_NAME, "In", namespaces),)):
            return namespaces
    return ()


def rendered(selected: Selector) -> Json:
    """As the API server returns it: without empty fields."""
    result: Json = {}
    if selected.labels:
        result["matchLabels"] = dict(selected.labels)
    if selected.expressions:
        result["matchExpressions"] = [_expression(term) for term in selected.expressions]
    return result


def _expression(term: Expression) -> JsonValue:
    rendered_: Json = {"key": term.key, "operator": term.operator}
    if term.values:
        rendered_["values"] = list(term.values)
    return rendered_


def described(selected: Selector) -> str:
    """As text: "app=ledger, tier In (a, b)"."""
    labels = (f"{key}={value}" for key, value in selected.labels)
    terms = (f"{key} {operator}" + (f" ({', '.join(v)})" if v else "") for key, operator, v in selected.expressions)
    return ", ".join((*labels, *terms))


def fingerprint(selected: Selector) -> str:
    """Sixteen hexadecimal digits that identify a selector in the name of a policy."""
    return hashlib.sha256(json.dumps(selected).encode()).hexdigest()[:16]
