"""The rules of the CRD as its CEL says them, evaluated by cel-expr-python on a document as users write it.

A third reading of each rule, beside its Python form (the models) and the API server's (tests/cluster/test_crd.py). Not
evaluated: what the library lacks (`LACKED`), and rules on a time, which the API server hands to CEL as a timestamp.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from securetenant.api import crd
from securetenant.api.constraints import RULES_KEY
from securetenant.api.definitions import DEFINITIONS, of_kind
from securetenant.api.load import Path, dotted

#: Functions of Kubernetes' CEL libraries. A rule that calls one keeps its Python form in any case.
LACKED: Final = ("quantity(", "isQuantity(", "cidr(", "isCIDR(", "format.")
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "": (str, int),  # int-or-string
}


class Verdict(NamedTuple):
    """A rule on a value. `at`: the value; `path`: the same, or the field of it that the rule names. A rule that cannot
    be evaluated does not hold."""

    at: str
    path: str
    message: str
    holds: bool


def messages() -> set[str]:
    """The messages of all rules that are evaluated here."""
    return {rule["message"] for schema in _every() for rule in _rules(schema)}


def lacking() -> set[str]:
    """The texts of the rules that are not, for what the library lacks."""
    texts = {rule["rule"] for schema in _every() for rule in schema.get(RULES_KEY, ())}
    return {text for text in texts if _lacks(text)}


def verdicts(document: Mapping[str, Any]) -> list[Verdict]:
    """Each rule on each value of the spec that is of the type and length that the schema demands."""
    definition = of_kind(document["kind"])
    assert definition is not None
    return list(_judged(_pruned(document["spec"]), crd.spec_schema(definition), ("spec",)))


def _judged(value: Any, schema: Mapping[str, Any], path: Path) -> Iterator[Verdict]:
    is_of_type = isinstance(value, _TYPES[schema.get("type", "")]) and (
        not isinstance(value, bool) or schema.get("type") == "boolean"
    )
    if not is_of_type or (isinstance(value, str) and len(value) > schema.get("maxLength", len(value))):
        return
    for rule in _rules(schema):
        yield _verdict(value, rule, path)
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in schema.get("properties", {}):
                yield from _judged(inner, schema["properties"][key], (*path, key))
            elif "additionalProperties" in schema:
                yield from _judged(inner, schema["additionalProperties"], (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _judged(inner, schema["items"], (*path, index))


def _verdict(value: Any, rule: Mapping[str, str], path: Path) -> Verdict:
    at = dotted(path)
    try:
        holds = compiled(rule["rule"]).eval(data={"self": value}).value() is True
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a value that CEL has no type for
        holds = False
    return Verdict(at, at + rule.get("fieldPath", ""), rule["message"], holds)


def _rules(schema: Mapping[str, Any]) -> list[Mapping[str, str]]:
    if schema.get("format") == "date-time":
        return []
    return [rule for rule in schema.get(RULES_KEY, ()) if not _lacks(rule["rule"])]


def _lacks(text: str) -> bool:
    return any(name in text for name in LACKED)


def _every() -> Iterator[Mapping[str, Any]]:
    for one in DEFINITIONS:
        yield from _schemas(crd.spec_schema(one))


def _schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if inner:
            yield from _schemas(inner)


@functools.cache
def compiled(text: str) -> Any:
    """The API server escapes field names that are reserved words of CEL (`__namespace__`); cel-cpp takes them plain."""
    return _environment().compile(text.replace("__namespace__", "namespace"))


@functools.cache
def _environment() -> Any:
    return cel.NewEnv(variables={"self": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])


def _pruned(value: Any) -> Any:
    """Without null fields, as the API server prunes them. And with another control character for NUL, where
    cel-expr-python 0.1.3 ends a text."""
    if isinstance(value, dict):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_pruned(inner) for inner in value]
    return value.replace("\0", "\1") if isinstance(value, str) else value
