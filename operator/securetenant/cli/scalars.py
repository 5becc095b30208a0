"""How kubectl reads a plain YAML scalar: as YAML 1.1 by the rules of its Go library, then converted to JSON.

PyYAML's own rules differ in important cases: an unquoted time becomes a datetime, `1e3` stays text, `12:30` is 750.
"""

import re
from typing import Final

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "y", "Y", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "n", "N", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0b(?P<two>[01]+)|0x(?P<sixteen>[0-9a-fA-F]+)|0o?(?P<eight>[0-7]+)|0|(?P<ten>[1-9][0-9]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ODD_FLOAT: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER: Final = 64  # digits; Python refuses to read integers of thousands of them
# A merge key, and (for some parsers) a default value.
_DOUBTFUL: Final = frozenset(("<<", "="))


def value_of(text: str) -> bool | int | float | str | None:
    """The value of an unquoted scalar."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    plain = text.replace("_", "") if text[:1].isdigit() or text[:1] in "+-" else text
    if len(plain) > _LONGEST_NUMBER:
        return text
    if match := _INTEGER.fullmatch(plain):
        return _integer(match)
    if _FLOAT.fullmatch(plain):
        return float(plain)
    return text


def is_safe_unquoted(text: str) -> bool:
    """Whether every parser reads the unquoted scalar as exactly this text."""
    return (
        value_of(text) == text
        and text not in _DOUBTFUL
        and _ODD_FLOAT.fullmatch(text) is None
        and text.isprintable()  # U+0085 and others are line breaks to one parser, blanks to another
    )


def key_of(text: str) -> str:
    """The key for an unquoted scalar: a value that is no text becomes text again, in its canonical form."""
    value = value_of(text)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if type(value) is int else text


def _integer(match: "re.Match[str]") -> int | float:
    bases = {"two": 2, "sixteen": 16, "eight": 8, "ten": 10}
    digits, base = next(((match[name], base) for name, base in bases.items() if match[name]), ("0", 10))
    value = int(match["sign"] + digits, base)
    return value if -(2**63) <= value < 2**63 else float(value)
