"""Calico's selector language: `app == 'db' && !has(old) || tier in {'a', 'b'}`.

After libcalico-go/lib/selector (tokenizer.go, parser.go, ast.go): `||` binds least, an empty selector is `all()`, a
label that is absent passes `!=` and `not in`.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from securetenant.sets import matching
from securetenant.sets.matching import Known, Names, Truth

# The labels that hold a namespace's name.
NAME: Final = "projectcalico.org/name"
NAMESPACE: Final = "projectcalico.org/namespace"
_DEEPEST: Final = 32  # parentheses within each other
_LONGEST: Final = 4096  # characters

_BLANK: Final = " \t"
_LABEL: Final = r"[a-zA-Z0-9_./-]{1,512}"
_TOKEN: Final = re.compile(
    rf"""[\ \t]*(?:(?P<text>"[^"]*"|'[^']*')|(?P<sign>[(){{}},]|==|!=|!|&&|\|\|)
    |has\(\s*(?P<has>{_LABEL})\s*\)|(?P<all>all\(\s*\))|(?P<global>global\(\s*\))|(?P<label>{_LABEL}))""",
    re.VERBOSE,
)
_OPERATOR: Final = re.compile(
    r"[ \t]*(?:(?P<sign>==|!=)|(?P<contains>contains)|(?P<starts>starts\s*with)|(?P<ends>ends\s*with)"
    r"|(?P<notin>not\s*in\b)|(?P<in>in\b))"
)


class Term(NamedTuple):
    """A parsed selector. `matches`: whether it matches what has these labels; `named`: the names of the only
    namespaces where it can match, by these labels that hold one."""

    matches: Callable[[Known], Truth]
    named: Callable[[frozenset[str]], Names]


def _anywhere(keys: frozenset[str]) -> None:
    return


ALL: Final = Term(lambda known: True, _anywhere)
# Hosts and not pods, where Calico translates it; elsewhere Calico takes it for all().
_GLOBAL: Final = Term(matching.nothing, _anywhere)  # type: ignore[arg-type]


def parsed(text: str) -> Term:
    """Raises ValueError for what is no selector."""
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    if not text.strip(_BLANK):
        return ALL
    tokens = _Tokens(list(_tokens(text)))
    found = _either(tokens, 0)
    if tokens.next != ("end", ""):
        raise ValueError(f"unexpected {tokens.next[1]}")
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, is_label = 0, False
    while text[at:].strip(_BLANK):
        found = (_OPERATOR if is_label else _TOKEN).match(text, at)
        if found is None:
            raise ValueError(f"not understood from {text[at:].strip(_BLANK)[:20]!r} on")
        kind = str(found.lastgroup)
        yield kind, found[kind]
        at, is_label = found.end(), kind == "label"
    yield "end", ""


class _Tokens:
    def __init__(self, listed: list[tuple[str, str]]) -> None:
        self._listed = listed
        self._at = 0

    @property
    def next(self) -> tuple[str, str]:
        return self._listed[min(self._at, len(self._listed) - 1)]

    def take(self) -> tuple[str, str]:
        found = self.next
        self._at += 1
        return found

    def skip(self, sign: str) -> bool:
        """Whether the next one is this sign; then it is taken."""
        if self.next == ("sign", sign):
            self._at += 1
            return True
        return False


def _either(tokens: _Tokens, depth: int) -> Term:
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} parentheses within each other")
    terms = [_both(tokens, depth)]
    while tokens.skip("||"):
        terms.append(_both(tokens, depth))
    if len(terms) == 1:
        return terms[0]
    return Term(
        lambda known: matching.some(term.matches(known) for term in terms),
        lambda keys: _union([term.named(keys) for term in terms]),
    )


def _union(found: list[Names]) -> Names:
    return None if None in found else frozenset().union(*(one for one in found if one is not None))


def _both(tokens: _Tokens, depth: int) -> Term:
    terms = [_one(tokens, depth)]
    while tokens.skip("&&"):
        terms.append(_one(tokens, depth))
    if len(terms) == 1:
        return terms[0]

    def named(keys: frozenset[str]) -> Names:
        found: Names = None
        for term in terms:
            found = matching.common(found, term.named(keys))
        return found

    return Term(lambda known: matching.every(term.matches(known) for term in terms), named)


def _one(tokens: _Tokens, depth: int) -> Term:
    is_negated = False
    while tokens.skip("!"):
        is_negated = not is_negated
    if tokens.skip("("):
        found = _either(tokens, depth + 1)
        if not tokens.skip(")"):
            raise ValueError("a ) is missing")
    else:
        found = _operation(tokens)
    if is_negated:
        return Term(lambda known: matching.negated(found.matches(known)), _anywhere)
    return found


def _operation(tokens: _Tokens) -> Term:
    kind, value = tokens.take()
    if kind == "all":
        return ALL
    if kind == "global":
        return _GLOBAL
    if kind == "has":
        return _label(value, lambda have: have is not None)
    if kind != "label":
        raise ValueError(f"unexpected {value or 'end'}")
    operator, sign = tokens.take()
    if operator in ("in", "notin"):
        values = _set(tokens)
        if operator == "notin":
            return _label(value, lambda have: have not in values)
        return _label(value, lambda have: have in values, values)
    text = _text(tokens)
    if sign == "==":
        return _label(value, lambda have: have == text, frozenset({text}))
    if sign == "!=":
        return _label(value, lambda have: have != text)
    test = {"contains": str.__contains__, "starts": str.startswith, "ends": str.endswith}[operator]
    return _label(value, lambda have: have is not None and bool(test(have, text)))


def _label(key: str, test: Callable[[str | None], bool], values: Names = None) -> Term:
    return Term(
        partial(_tested, key=key, test=test),
        lambda keys: values if key in keys else None,
    )


def _tested(known: Known, key: str, test: Callable[[str | None], bool]) -> Truth:
    return matching.tested(known, key, test)


def _text(tokens: _Tokens) -> str:
    kind, value = tokens.take()
    if kind != "text":
        raise ValueError("a text in quotes is missing")
    return value[1:-1]


def _set(tokens: _Tokens) -> frozenset[str]:
    if not tokens.skip("{"):
        raise ValueError("a { is missing")
    found = set()
    while tokens.next[0] == "text":
        found.add(_text(tokens))
        if not tokens.skip(","):
            break
    if not tokens.skip("}"):
        raise ValueError("a } is missing")
    return frozenset(found)
