"""Quantities: the text that the API server gives back (tests/cluster/test_quantity.py asks the server itself)."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.model import quantity
from tests.support.specs import quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("0Gi", "0"),
        ("0.0m", "0"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.500", "1500m"),
        ("1500m", "1500m"),
        ("007", "7"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1023Ki", "1023Ki"),
        ("0.5Ki", "512"),
        ("1Ki", "1Ki"),
        ("1024", "1024"),
        ("0.1Gi", "107374182400m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1e1", "10"),
        ("1000e3", "1e6"),
        ("1e-3", "1e-3"),
        ("100M", "100M"),
        ("1000M", "1G"),
        ("1E", "1E"),
        ("1Ei", "1Ei"),
        ("1n", "1m"),
        ("1.0000000001", "1001m"),
        ("100000u", "100m"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1 Gi", "-1", "+1", ".5", "1.", "1gi", "1K", "1mi", "Gi", "1e", "1e1000", "1e999999999", "0x10"),
        *("1,5", "٣", "1Gi\n", "1" * 33, "9223372036854775808", "8Ei", "1e19", "NaN", "inf"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity"):
        quantity.parse(text)


def test_parse_is_exact_and_whole_where_it_can_be() -> None:
    assert quantity.parse("40") == 40
    assert isinstance(quantity.parse("40"), int)
    assert quantity.parse("2500m") == Fraction(5, 2)
    assert quantity.parse("0.1Gi") == Fraction(1073741824, 10)


def test_from_units_keeps_the_family() -> None:
    assert quantity.from_units(3 * 2**30, "512Mi") == "3Gi"
    assert quantity.from_units(3 * 10**9, "1M") == "3G"
    assert quantity.from_units(3000, "1e3") == "3e3"
    assert quantity.from_units(Fraction(1, 3), "1") == "334m"
    with pytest.raises(ValueError, match="out of range"):
        quantity.from_units(-1, "1")


@given(quantities())
def test_canonical_keeps_the_value_and_is_a_fixed_point(text: str) -> None:
    canonical = quantity.canonical(text)
    assert quantity.canonical(canonical) == canonical
    assert quantity.parse(canonical) == quantity.parse(text)
    assert quantity.compare(canonical, text) in (0, 1)  # it may have been rounded up


def test_a_binary_one_without_a_binary_suffix_is_written_as_it_is_read_back() -> None:
    assert quantity.canonical("3031.25Ki") == "3104k"
    assert quantity.from_units(3_104_000, "1Gi") == "3104k"
    assert quantity.canonical("1025") == quantity.from_units(1025, "1Ki") == "1025"


def test_what_is_equal_when_it_is_written_may_still_be_in_order() -> None:
    """The API server's CEL compares what stands in the spec, to the billionth."""
    assert quantity.canonical("92u") == quantity.canonical("91999n") == "1m"
    assert quantity.compare("92u", "91999n") == 1
    assert quantity.compare("0.0000000001", "1n") == 0


@given(quantities(), quantities())
def test_order_agrees_with_the_values(a: str, b: str) -> None:
    left, right = quantity.parse(a), quantity.parse(b)
    assert left == right or quantity.compare(a, b) == (left > right) - (left < right)


@given(st.fractions(min_value=0, max_value=quantity.LIMIT), quantities())
def test_from_units_rounds_up_by_less_than_a_thousandth(value: Fraction, like: str) -> None:
    written = quantity.parse(quantity.from_units(value, like))
    assert 0 <= written - value < Fraction(1, 1000)
