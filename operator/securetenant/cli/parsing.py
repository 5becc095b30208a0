"""The text of a user's file as JSON values, as kubectl would read it: YAML or JSON, several documents.

What kubectl would misread silently (a duplicate key) is refused here, and so are tags that create language objects.
Nothing in a document is ever executed.

There are two readers. `_plain` builds values right from libyaml's events, and gives up on whatever is not usual: what
is refused, anchors, merges, tags. `_careful` reads everything, explains what it refuses and knows the line of each
value. It takes three times as long, so it runs for documents that `_plain` gave up, and once somebody asks for a line.

Why not ruamel.yaml (0.19), which has positions and detects duplicate keys: it reads scalars by YAML 1.1 or 1.2, and
kubectl by neither (in ruamel an unquoted time is no text, `12:30` is 750 or `010` is ten); it accepts `!custom`, an
anchor that contains itself and `{{ x }}` as a key, and does not bound what anchors expand to. So `scalars` and the
checks would still be needed, to save a dozen lines; and its loader with positions is written in Python: 24 ms for a
document of 3 KB, here 3 ms.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, Final, TypeAlias

import yaml

from securetenant.cli import scalars

Place: TypeAlias = tuple[str | int, ...]

_PLAIN: Final = "plain"  # our own tag for a scalar without quotes and without a tag
_TAG: Final = "tag:yaml.org,2002:"
# With anchors, a few lines may expand to any number of values. Without them there is less than one per character.
_MOST_FOR_SHORT_TEXTS: Final = 20_000
_DEEPEST: Final = 100

# Where a document begins, whatever stands before it: such a line can be within no value.
_BEGINNING: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
# What must be read as one: directives, which stand before the line that begins their document, and breaks that libyaml
# counts as lines besides "\n".
_UNDIVIDED: Final = re.compile(r"^%|\r(?!\n)|[\x85\u2028\u2029]", re.MULTILINE)

# Escapes in JSON: any backslash with what belongs to it, so that an escaped backslash hides none; group 1 is a pair.
_SURROGATES: Final = re.compile(
    r"(\\(?!u[dD][89a-fA-F])(?:.|\Z)|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)

key_of = lru_cache(10_000)(scalars.key_of)
value_of = lru_cache(10_000)(scalars.value_of)


class Refused(Exception):
    """A document that is not read; the message says why, `line` where."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Mark:
    """The line of a value (the first line is 1), and its text if it was a scalar without quotes."""

    line: int
    plain: str | None = None


Marks: TypeAlias = Mapping[Place, Mark]


@dataclass(frozen=True, slots=True)
class Parsed:
    """One YAML document: its value, its first line, and a function that finds the marks of all that is in it."""

    value: Any
    line: int
    marks: Callable[[], Marks]


def parse(text: str) -> Iterator[Parsed | Refused]:
    """The documents of a text, without empty ones. What is refused is given, not raised: others may stand after it."""
    most = max(len(text), _MOST_FOR_SHORT_TEXTS)
    for part, lines in _parts(text):
        try:
            values = _plain(part)
        except (_Unusual, yaml.YAMLError):
            values = None
        if values is None:
            yield from _carefully(part, lines, most)
            continue
        marks = cache(partial(_marks, part, lines, most))
        for index, (value, line) in enumerate(values):
            if value is not None:
                yield Parsed(value, line + lines, partial(_marks_of, marks, index))


def _parts(text: str) -> Iterator[tuple[str, int]]:
    """The text cut before each document, and the number of lines before each part."""
    if _UNDIVIDED.search(text):
        yield text, 0
        return
    at = lines = 0
    for found in _BEGINNING.finditer(text):
        if part := text[at : found.start()]:
            yield part, lines
            lines += part.count("\n")
            at = found.start()
    yield text[at:], lines


def _marks_of(marks: Callable[[], list[Marks]], index: int) -> Marks:
    return marks()[index]


def _marks(text: str, lines: int, most: int) -> list[Marks]:
    return [marks for _, _, marks in _careful(text, lines, most)]


# --- the usual


class _Unusual(Exception):
    """Something that only the careful reader reads, or refuses."""


_Base: Final[Any] = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader


def _plain(text: str) -> list[tuple[Any, int]]:
    """The value and the first line of each document. Raises _Unusual or YAMLError."""
    loader = _Base(text)
    following = loader.get_event
    made = []
    try:
        following()  # the beginning of the stream
        while type(following()) is yaml.DocumentStartEvent:
            event = following()
            made.append((_built(event, following, 0), event.start_mark.line + 1))
            following()  # the end of the document
    finally:
        loader.dispose()
    return made


def _built(event: Any, following: Callable[[], Any], depth: int) -> Any:
    kind = type(event)
    if kind is yaml.AliasEvent or event.anchor is not None or event.tag is not None or depth > _DEEPEST:
        raise _Unusual
    if kind is yaml.ScalarEvent:
        return value_of(event.value) if event.implicit[0] else event.value
    if kind is yaml.SequenceStartEvent:
        items = []
        while type(item := following()) is not yaml.SequenceEndEvent:
            items.append(_built(item, following, depth + 1))
        return items
    made: dict[str, Any] = {}
    while type(named := following()) is not yaml.MappingEndEvent:
        if type(named) is not yaml.ScalarEvent or named.anchor is not None or named.tag is not None:
            raise _Unusual
        key: str = named.value
        if named.implicit[0]:
            if key == "<<":
                raise _Unusual
            key = key_of(key)
        if key in made:
            raise _Unusual
        made[key] = _built(following(), following, depth + 1)
    return made


# --- everything


class _Loader(_Base):  # type: ignore[misc]
    """Composes nodes without resolving scalars: `scalars` does that."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)


class _Marks(dict[Place, Mark]):
    """The marks of one YAML document. `most` bounds their number; `before`: the lines before the text."""

    def __init__(self, most: int, before: int) -> None:
        super().__init__()
        self.most = most
        self.before = before

    def line(self, node: yaml.Node) -> int:
        line: int = node.start_mark.line
        return line + 1 + self.before


def _carefully(text: str, lines: int, most: int) -> Iterator[Parsed | Refused]:
    try:
        for value, line, marks in _careful(text, lines, most):
            if value is not None:
                yield Parsed(value, line, lambda marks=marks: marks)  # type: ignore[misc]
    except yaml.YAMLError as error:
        try:
            yield Parsed(_json(text, lines, error), 1 + lines, dict)
        except Refused as refused:
            yield refused
    except Refused as refused:
        yield refused


def _careful(text: str, lines: int, most: int) -> Iterator[tuple[Any, int, Marks]]:
    for node in list(yaml.compose_all(text, _Loader)):
        marks = _Marks(most, lines)
        yield _value(node, (), marks), marks.line(node), marks


def _json(text: str, lines: int, error: yaml.YAMLError) -> Any:
    """JSON that is not valid YAML (tabs between the tokens, escaped surrogates), without lines; otherwise refuses it
    with the YAML error."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise Refused(f"the key {key!r} stands twice in one mapping: remove one", 1 + lines)
            made[key] = value
        return made

    try:
        return json.loads(_SURROGATES.sub(_paired, text), object_pairs_hook=unique)
    except json.JSONDecodeError:
        message, line = _explained(error)
        raise Refused(message, line + lines) from error


def _paired(escapes: re.Match[str]) -> str:
    """Escaped surrogates of which each has its other half: what has none is U+FFFD, as for encoding/json of Go."""
    return escapes[0] if escapes[1] else "\\ufffd"


def _explained(error: yaml.YAMLError) -> tuple[str, int]:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"not YAML: {error}", 1
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {said}", mark.line + 1 if mark is not None else 1


def _value(node: yaml.Node, place: Place, marks: _Marks, above: tuple[int, ...] = ()) -> Any:
    """A node as a JSON value; adds the marks of everything in it to `marks`."""
    line = marks.line(node)
    if len(marks) > marks.most:
        raise Refused("too many values: its anchors stand for more than any document needs", line)
    if len(above) > _DEEPEST:
        raise Refused(f"nested deeper than {_DEEPEST} levels, which no document needs", line)
    if id(node) in above:
        raise Refused("an anchor holds itself: write the value out", line)
    within = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        marks.setdefault(place, Mark(line))
        marks[place] = Mark(marks[place].line, node.value if node.tag == _PLAIN else None)
        return _scalar(node, line)
    if node.tag != _TAG + ("seq" if isinstance(node, yaml.SequenceNode) else "map"):
        raise _tagged(node, line)
    marks.setdefault(place, Mark(line))
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), marks, within) for index, item in enumerate(node.value)]
    return _mapping(node, place, marks, within)


def _mapping(node: Any, place: Place, marks: _Marks, within: tuple[int, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    lines: dict[str, int] = {}
    merged: list[yaml.Node] = []
    for key_node, value_node in node.value:
        line = marks.line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise Refused("a key must be text, not a list or a mapping: is a value in {{ }} without quotes?", line)
        if key_node.tag == _PLAIN and key_node.value == "<<":
            merged.append(value_node)
            continue
        key = key_of(key_node.value) if key_node.tag == _PLAIN else key_node.value
        if key in made:
            raise Refused(f"the key {key!r} stands twice in one mapping, first in line {lines[key]}: remove one", line)
        lines[key] = line
        marks[(*place, key)] = Mark(line)  # a field's line is its key's
        made[key] = _value(value_node, (*place, key), marks, within)
    for source in merged:
        made = {**_merge(source, place, marks, within), **made}
    return made


def _merge(node: yaml.Node, place: Place, marks: _Marks, within: tuple[int, ...]) -> dict[str, Any]:
    """What `<<` merges: a mapping, or several, of which the first wins."""
    aside = _Marks(marks.most, marks.before)
    value = _value(node, place, aside, within)
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in several):
        raise Refused("<< must stand before a mapping, or a list of mappings", marks.line(node))
    for where, mark in aside.items():
        marks.setdefault(where, mark)
    return {key: inner for one in reversed(several) for key, inner in one.items()}


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    if node.tag == _PLAIN:
        return value_of(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind in ("str", "timestamp", "!"):
        return node.value
    value = value_of(node.value)
    if {"null": value is None, "bool": isinstance(value, bool), "int": type(value) is int}.get(kind):
        return value
    if kind == "float" and type(value) in (int, float):
        return value
    raise _tagged(node, line)


def _tagged(node: yaml.Node, line: int) -> Refused:
    return Refused(f"the tag {node.tag!r} is refused: write the plain value", line)
