"""Amounts of a ResourceQuota as integers: thousandths of a unit, the finest precision that it has."""

from fractions import Fraction
from functools import lru_cache
from typing import Final

from securetenant.model.objects import Json, JsonValue
from securetenant.model.quantity import LIMIT, from_units, parse

UNIT: Final = 1000
MOST: Final = LIMIT * UNIT


@lru_cache(maxsize=4096)
def amount(text: str) -> int:
    """A quantity in thousandths of a unit. Raises ValueError if the text is no quantity."""
    return int(parse(text) * UNIT)


def text(value: int, like: str) -> str:
    """The canonical quantity for an amount, with the suffix family (decimal or binary) of `like`."""
    return from_units(Fraction(min(value, MOST), UNIT), like)


def mapping(value: JsonValue) -> Json:
    """A field that holds a mapping; {} if it holds none."""
    return value if isinstance(value, dict) else {}


def amounts(value: JsonValue) -> dict[str, int]:
    """Resource -> amount, from a quota in the cluster."""
    return {resource: _seen(given) for resource, given in mapping(value).items() if isinstance(given, str)}


def _seen(given: str) -> int:
    """Like `amount`, but a value beyond all bounds, as somebody else may have written it, counts as no limit."""
    try:
        return amount(given)
    except ValueError:
        return MOST
