"""What a plain YAML scalar means to kubectl, which reads YAML 1.1 by Go's rules and passes it on as JSON.

PyYAML's own rules differ where it hurts: an unquoted time becomes a datetime, `1e3` stays text, `12:30` is 750.
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
# A merge, and (to some readers) a default value.
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
    """Whether every reader takes the unquoted scalar for this very text."""
    return (
        value_of(text) == text
        and text not in _DOUBTFUL
        and _ODD_FLOAT.fullmatch(text) is None
        and text.isprintable()  # U+0085 and the like are line breaks to one reader, blanks to another
    )


def key_of(text: str) -> str:
    """The key that an unquoted scalar makes: what is no text becomes text again, in its own way of writing."""
    value = value_of(text)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if type(value) is int else text


def _integer(match: "re.Match[str]") -> int | float:
    bases = {"two": 2, "sixteen": 16, "eight": 8, "ten": 10}
    digits, base = next(((match[name], base) for name, base in bases.items() if match[name]), ("0", 10))
    value = int(match["sign"] + digits, base)
    return value if -(2**63) <= value < 2**63 else float(value)
