"""Reads users' files: YAML and JSON, several documents, Lists; each value with its line.

What kubectl would misread silently (a duplicate key) is an error here, and tags that create language objects are
refused. Nothing in a document is ever executed.

Why not ruamel.yaml (0.19), which has positions and detects duplicate keys: it reads scalars by YAML 1.1 or 1.2, and
kubectl by neither (in ruamel an unquoted time is no text, `12:30` is 750 or `010` is ten); it accepts `!custom`, an
anchor that contains itself and `{{ x }}` as a key, and does not bound what anchors expand to. So `scalars` and the
checks would still be needed, to save a dozen lines; and its loader with positions is written in Python: 24 ms for a
document of 3 KB, here 3 ms.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from securetenant.api import definitions
from securetenant.api.definitions import Definition
from securetenant.api.load import dotted
from securetenant.cli.scalars import key_of, value_of
from securetenant.model.kinds import SECURE_TENANT, Kind

Place: TypeAlias = tuple[str | int, ...]

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"

_PLAIN: Final = "plain"  # our own tag for a scalar without quotes and without a tag
_TAG: Final = "tag:yaml.org,2002:"
# With anchors, a few lines may expand to any number of values. Without them there is less than one per character.
_MOST_FOR_SHORT_TEXTS: Final = 20_000
_DEEPEST: Final = 100


class Unreadable(Exception):
    """A file or folder that cannot be read at all; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The line of a value (the first line is 1), and its text if it was a scalar without quotes."""

    line: int
    plain: str | None = None


@dataclass(frozen=True)
class Document:
    """One object from a file. `place`: its path in its YAML document: () or ("items", 2)."""

    source: str
    body: Any
    line: int
    place: Place = ()
    marks: Mapping[Place, Mark] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """metadata.name, or "" if there is none."""
        metadata = self.body.get("metadata") if isinstance(self.body, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else ""

    @property
    def at(self) -> str:
        return f"{self.source}:{self.line}"

    @property
    def kind(self) -> str:
        """Its kind, or "" if there is none."""
        kind = self.body.get("kind") if isinstance(self.body, dict) else None
        return kind if isinstance(kind, str) else ""

    @property
    def definition(self) -> Definition | None:
        """The definition of its kind, if that is one of ours."""
        return definitions.of_kind(self.kind)

    @property
    def is_ours(self) -> bool:
        """Whether it is, or is meant to be, one of our custom resources."""
        if not isinstance(self.body, dict):
            return False
        group = str(self.body.get("apiVersion") or "").partition("/")[0]
        return self.definition is not None or any(group == one.kind.group for one in definitions.DEFINITIONS)

    @property
    def is_namespace(self) -> bool:
        """Whether it is a Namespace."""
        return self.kind == "Namespace" and self.body.get("apiVersion") == "v1"

    def mark(self, path: str) -> Mark:
        """The mark of a field ("spec.network.ingress[0].name"); if it is absent, that of its nearest parent."""
        at = path
        while at and at not in self._by_path:
            cut = max(at.rfind("."), at.rfind("["))
            at = at[: max(cut, 0)]
        found = self._by_path.get(at, Mark(self.line))
        return found if at == path else Mark(found.line)

    @cached_property
    def _by_path(self) -> dict[str, Mark]:
        depth = len(self.place)
        return {dotted(place[depth:]): mark for place, mark in self.marks.items() if place[:depth] == self.place}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that prevents a document from being read."""

    source: str
    line: int
    message: str


@dataclass(slots=True)
class Found:
    """Everything in the given files."""

    files: int = 0
    documents: list[Document] = field(default_factory=list)  # of our kinds
    skipped: int = 0  # documents of other kinds
    namespaces: set[str] = field(default_factory=set)  # the names of the Namespaces in them
    faults: list[Fault] = field(default_factory=list)

    @property
    def others(self) -> Counter[Kind]:
        """How many documents there are of each of our kinds other than SecureTenant."""
        known = (document.definition for document in self.documents)
        return Counter(one.kind for one in known if one is not None and one.kind is not SECURE_TENANT)

    @property
    def tenants(self) -> int:
        """How many are SecureTenants, or of a kind of ours that is not known."""
        return len(self.documents) - self.others.total()


def read(paths: Sequence[str]) -> Found:
    """Read files, folders (all *.yaml, *.yml and *.json below) and "-" (stdin). Raises Unreadable."""
    found = Found()
    for source in _files(paths):
        found.files += 1
        try:
            for document in parse(_text(source), "stdin" if source == STDIN else source):
                if document.is_ours:
                    found.documents.append(document)
                else:
                    found.skipped += 1
                    if document.is_namespace:
                        found.namespaces.add(document.name)
        except _Refused as refused:
            found.faults.append(Fault("stdin" if source == STDIN else source, refused.line, str(refused)))
    return found


def _files(paths: Sequence[str]) -> list[str]:
    """The files to read, each once, in a fixed order."""
    found: dict[str, str] = {}
    for path in paths:
        if path == STDIN:
            found.setdefault(STDIN, STDIN)
            continue
        below = list(_below(path)) if os.path.isdir(path) else [path]
        if not below:
            raise Unreadable(f"{path}: no file below it ends in {', '.join(SUFFIXES)}")
        for file in below:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _below(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error

    for where, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(where, name)


def _text(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(f"{source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{source}: not UTF-8: {error}") from error


class _Refused(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Marks(dict[Place, Mark]):
    """The marks of one YAML document; `most` bounds their number."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most


class _Loader(yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader):  # type: ignore[misc]
    """Composes nodes without resolving scalars: `scalars` does that."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)


def parse(text: str, source: str) -> Iterator[Document]:
    """The documents in a text; the items of Lists one by one. Raises _Refused at the first that cannot be read."""
    try:
        nodes = list(yaml.compose_all(text, _Loader))
    except yaml.YAMLError as error:
        whole = _json(text, error)
        yield from _split(Document(source, whole, 1))
        return
    for node in nodes:
        marks = _Marks(max(len(text), _MOST_FOR_SHORT_TEXTS))
        body = _value(node, (), marks)
        if body is not None:
            yield from _split(Document(source, body, node.start_mark.line + 1, (), marks))


def _json(text: str, error: yaml.YAMLError) -> Any:
    """JSON that is not valid YAML (tabs between the tokens, escaped surrogates), without lines; otherwise raises the
    YAML error."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError:
        raise _Refused(*_explained(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _Refused(f"the key {key!r} stands twice in one mapping: remove one", 1)
        made[key] = value
    return made


def _explained(error: yaml.YAMLError) -> tuple[str, int]:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"not YAML: {error}", 1
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {said}", mark.line + 1 if mark is not None else 1


def _split(document: Document) -> Iterator[Document]:
    """The document itself, or the items of a List."""
    body = document.body
    items = body.get("items") if isinstance(body, dict) else None
    of = document.kind.removesuffix("List")
    is_list = document.kind == "List" or (of != document.kind and definitions.of_kind(of) is not None)
    if not is_list or not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        place = (*document.place, "items", index)
        mark = document.marks.get(place, Mark(document.line))
        if of and isinstance(item, dict):
            # Items of a typed list need not have apiVersion and kind.
            item = {"apiVersion": body.get("apiVersion"), "kind": of, **item}
        yield from _split(Document(document.source, item, mark.line, place, document.marks))


def _value(node: yaml.Node, place: Place, marks: _Marks, above: tuple[int, ...] = ()) -> Any:
    """A node as a JSON value; adds the marks of everything in it to `marks`."""
    line = node.start_mark.line + 1
    if len(marks) > marks.most:
        raise _Refused("too many values: its anchors stand for more than any document needs", line)
    if len(above) > _DEEPEST:
        raise _Refused(f"nested deeper than {_DEEPEST} levels, which no document needs", line)
    if id(node) in above:
        raise _Refused("an anchor holds itself: write the value out", line)
    within = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        marks.setdefault(place, Mark(line))
        marks[place] = Mark(marks[place].line, node.value if node.tag == _PLAIN else None)
        return _scalar(node)
    _only(node, "seq" if isinstance(node, yaml.SequenceNode) else "map")
    marks.setdefault(place, Mark(line))
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), marks, within) for index, item in enumerate(node.value)]
    return _mapping(node, place, marks, within)


def _mapping(node: Any, place: Place, marks: _Marks, within: tuple[int, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    lines: dict[str, int] = {}
    merged: list[yaml.Node] = []
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise _Refused("a key must be text, not a list or a mapping: is a value in {{ }} without quotes?", line)
        if key_node.tag == _PLAIN and key_node.value == "<<":
            merged.append(value_node)
            continue
        key = key_of(key_node.value) if key_node.tag == _PLAIN else key_node.value
        if key in made:
            raise _Refused(f"the key {key!r} stands twice in one mapping, first in line {lines[key]}: remove one", line)
        lines[key] = line
        marks[(*place, key)] = Mark(line)  # a field's line is its key's
        made[key] = _value(value_node, (*place, key), marks, within)
    for source in merged:
        made = {**_merge(source, place, marks, within), **made}
    return made


def _merge(node: yaml.Node, place: Place, marks: _Marks, within: tuple[int, ...]) -> dict[str, Any]:
    """What `<<` merges: a mapping, or several, of which the first wins."""
    aside = _Marks(marks.most)
    value = _value(node, place, aside, within)
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in several):
        raise _Refused("<< must stand before a mapping, or a list of mappings", node.start_mark.line + 1)
    for where, mark in aside.items():
        marks.setdefault(where, mark)
    return {key: inner for one in reversed(several) for key, inner in one.items()}


def _scalar(node: yaml.ScalarNode) -> Any:
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
    raise _Refused(f"the tag {node.tag!r} is refused: write the plain value", node.start_mark.line + 1)


def _only(node: yaml.Node, kind: str) -> None:
    if node.tag != _TAG + kind:
        raise _Refused(f"the tag {node.tag!r} is refused: write the plain value", node.start_mark.line + 1)
