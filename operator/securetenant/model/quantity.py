"""Kubernetes quantities ("500m", "1Gi", "2e3") in ResourceQuota and LimitRange: exact, and as the API server returns
them.

The server rounds twice: in the parser (k8s.io/apimachinery/pkg/api/resource, up to the next 1n) and in resource
lists (SetDefaults_ResourceList, up to the next 1m). Both round up, so one step to 1m does both.
Negative quantities and those above 2^63-1 are rejected: neither is meaningful in a quota or a limit, and what the
server returns for the latter is wrong.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, TypeAlias

Amount: TypeAlias = int | Fraction
Family: TypeAlias = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

MAX_LENGTH: Final = 32
LIMIT: Final = 2**63 - 1

# Go's parser also accepts signs, a bare dot ("1.", ".5") and exponents of three digits; nobody needs them, and an
# unbounded exponent could exhaust the memory.
PATTERN: Final = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"

_SYNTAX: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:([numkMGTPE])|([KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?", re.ASCII)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_SUFFIX: Final = {0: "", **{power: suffix for suffix, power in _BINARY.items()}}


def parse(text: str) -> Amount:
    """The value in units (cores, bytes, pieces), a whole number of thousandths; an int where it is whole.

    Raises ValueError if the text is no quantity, or is past 2^63-1.
    """
    return _simple(_read(text)[0])


def canonical(text: str) -> str:
    """The text that the API server returns for this quantity in a ResourceQuota or LimitRange.

    Raises ValueError as `parse` does.
    """
    return _write(*_read(text))


def from_units(value: Amount, like: str) -> str:
    """The canonical text of a value in units, with the suffix family of `like`; thousandths are rounded up.

    Raises ValueError for a negative value or one past 2^63-1.
    """
    return _write(_milli(Fraction(value)), _read(like)[1])


def compare(a: str, b: str) -> int:
    """-1, 0 or 1 as `a` is less than, equal to or more than `b`, in nanos."""
    left, right = nanos(a), nanos(b)
    return (left > right) - (left < right)


@lru_cache(maxsize=4096)
def nanos(text: str) -> int:
    """Billionths of a unit, rounded up: the precision of the parser, and so of CEL."""
    value, _ = _exact(text)
    return -(-value.numerator * 10**9 // value.denominator)


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[int, Family]:
    """Thousandths of a unit, and the suffix family."""
    value, family = _exact(text)
    return _milli(value), family


@lru_cache(maxsize=4096)
def _exact(text: str) -> tuple[Fraction, Family]:
    match = _SYNTAX.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(f'{text[:MAX_LENGTH]!r} is not a quantity: write a number with a suffix, e.g. "500m" or "2Gi"')
    whole, decimals, suffix, binary, exponent = match.groups(default="")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    if binary:
        return value * 1024 ** _BINARY[binary], "BinarySI"
    if exponent:
        return value * Fraction(10) ** int(exponent), "DecimalExponent"
    return value * Fraction(10) ** _DECIMAL[suffix], "DecimalSI"


def _milli(value: Fraction) -> int:
    """Thousandths, rounded up."""
    if not 0 <= value <= LIMIT:
        raise ValueError(f"{value} is out of range: a quantity lies between 0 and 2^63-1")
    return -(-value.numerator * 1000 // value.denominator)


def _simple(milli: int) -> Amount:
    return milli // 1000 if milli % 1000 == 0 else Fraction(milli, 1000)


def _write(milli: int, family: Family) -> str:
    if milli == 0:
        return "0"
    # Small and fractional numbers leave the binary family rather than being rounded.
    if family == "BinarySI" and milli % 1000 == 0 and milli >= 1024 * 1000:
        mantissa, power = _strip(milli // 1000, 1024)
        if power:
            return f"{mantissa}{_BINARY_SUFFIX[power]}"
        # Without a suffix it is read as a decimal quantity: 3031.25Ki becomes 3104000, and that 3104k.
    mantissa, thousands = _strip(milli, 1000)
    exponent = 3 * (thousands - 1)
    if family == "DecimalExponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"


def _strip(value: int, factor: int) -> tuple[int, int]:
    """The value divided by `factor` as often as possible, and how often that was."""
    times = 0
    while value % factor == 0:
        value //= factor
        times += 1
    return value, times
