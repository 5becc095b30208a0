"""Amounts of a ResourceQuota as whole numbers: thousandths of a unit, the finest that one holds."""

from fractions import Fraction
from functools import lru_cache
from typing import Final

from securetenant.model.objects import Json, JsonValue
from securetenant.model.quantity import LIMIT, from_units, parse

UNIT: Final = 1000
MOST: Final = LIMIT * UNIT


@lru_cache(maxsize=4096)
def amount(text: str) -> int:
    """Thousandths of a unit. Raises ValueError if the text is no quantity."""
    return int(parse(text) * UNIT)


def text(value: int, like: str) -> str:
    """The canonical quantity of an amount, in the family of `like`."""
    return from_units(Fraction(min(value, MOST), UNIT), like)


def mapping(value: JsonValue) -> Json:
    """A field that holds a mapping; {} if it holds none."""
    return value if isinstance(value, dict) else {}


def amounts(value: JsonValue) -> dict[str, int]:
    """Resource to amount, as a quota of the cluster has it."""
    return {resource: _seen(given) for resource, given in mapping(value).items() if isinstance(given, str)}


def _seen(given: str) -> int:
    """As `amount`. What another hand wrote may be past all bounds: then it is as good as no limit."""
    try:
        return amount(given)
    except ValueError:
        return MOST
