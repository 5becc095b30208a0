"""Reads users' files: which there are, and the objects in them, each with the lines of its fields."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from securetenant.api import definitions
from securetenant.api.definitions import Definition
from securetenant.api.load import dotted
from securetenant.checks import server_form
from securetenant.cli import parsing
from securetenant.cli.parsing import Mark, Marks, Place, Refused
from securetenant.model.kinds import SECURE_TENANT, Kind

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"


class Unreadable(Exception):
    """A file or folder that cannot be read at all; the message says which and why."""


@dataclass(frozen=True)
class Document:
    """One object from a file. `first`: the first line of its YAML document; `place`: its path in that: () or
    ("items", 2). `marks`: finds those of all that is in that, and takes its time."""

    source: str
    body: Any
    first: int
    place: Place = ()
    marks: Callable[[], Marks] = field(default=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """metadata.name, or "" if there is none."""
        return self._metadata("name")

    @property
    def namespace(self) -> str:
        """metadata.namespace, or "" if there is none."""
        return self._metadata("namespace")

    @cached_property
    def line(self) -> int:
        """Its first line."""
        return self.line_of(()) if self.place else self.first

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
    def is_workload(self) -> bool:
        """Whether it is a pod, or makes pods."""
        return isinstance(self.body, dict) and server_form.target_of(self.body) is not None

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

    def line_of(self, place: Place) -> int:
        """The line of a field, given as ("spec", "containers", 0); if it is absent, that of its nearest parent."""
        marks = self.marks()
        while place and (*self.place, *place) not in marks:
            place = place[:-1]
        return marks.get((*self.place, *place), Mark(self.first)).line

    @cached_property
    def _by_path(self) -> dict[str, Mark]:
        depth = len(self.place)
        return {dotted(place[depth:]): mark for place, mark in self.marks().items() if place[:depth] == self.place}

    def _metadata(self, key: str) -> str:
        metadata = self.body.get("metadata") if isinstance(self.body, dict) else None
        value = metadata.get(key) if isinstance(metadata, dict) else None
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that prevents a document from being read."""

    source: str
    line: int
    message: str


@dataclass(slots=True)
class Found:
    """Everything in the given files."""

    sources: list[str] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)  # of our kinds
    workloads: list[Document] = field(default_factory=list)  # pods, and what makes pods
    others: int = 0  # documents of other kinds
    kept: list[Document] = field(default_factory=list)  # those of other kinds, if asked for
    namespaces: set[str] = field(default_factory=set)  # the names of the Namespaces in them
    faults: list[Fault] = field(default_factory=list)

    @property
    def files(self) -> int:
        return len(self.sources)

    @property
    def resources(self) -> Counter[Kind]:
        """How many documents there are of each of our kinds other than SecureTenant."""
        known = (document.definition for document in self.documents)
        return Counter(one.kind for one in known if one is not None and one.kind is not SECURE_TENANT)

    @property
    def tenants(self) -> int:
        """How many are SecureTenants, or of a kind of ours that is not known."""
        return len(self.documents) - self.resources.total()


def read(paths: Sequence[str], *, keep: bool = False) -> Found:
    """Read files, folders (all *.yaml, *.yml and *.json below) and "-" (stdin). `keep`: documents of other kinds too.
    Raises Unreadable."""
    found = Found()
    for path in _files(paths):
        source = "stdin" if path == STDIN else path
        found.sources.append(source)
        for document in documents(_text(path), source):
            if isinstance(document, Fault):
                found.faults.append(document)
            elif document.is_ours:
                found.documents.append(document)
            elif document.is_workload:
                found.workloads.append(document)
            else:
                found.others += 1
                if keep:
                    found.kept.append(document)
                if document.is_namespace:
                    found.namespaces.add(document.name)
    return found


def documents(text: str, source: str) -> Iterator[Document | Fault]:
    """The documents in a text; the items of Lists one by one."""
    for parsed in parsing.parse(text):
        if isinstance(parsed, Refused):
            yield Fault(source, parsed.line, str(parsed))
        else:
            yield from _split(Document(source, parsed.value, parsed.line, (), parsed.marks))


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


def _split(document: Document) -> Iterator[Document]:
    """The document itself, or the items of a List."""
    body = document.body
    items = body.get("items") if isinstance(body, dict) else None
    of = document.kind.removesuffix("List")
    if not isinstance(items, list) or not _is_list(document, of):
        yield document
        return
    for index, item in enumerate(items):
        if of and isinstance(item, dict):
            # Items of a typed list need not have apiVersion and kind.
            item = {"apiVersion": body.get("apiVersion"), "kind": of, **item}
        place = (*document.place, "items", index)
        yield from _split(Document(document.source, item, document.first, place, document.marks))


def _is_list(document: Document, of: str) -> bool:
    """`of`: the kind without "List"."""
    if document.kind == "List" or of == document.kind:
        return document.kind == "List"
    item = Document(document.source, {"apiVersion": document.body.get("apiVersion"), "kind": of}, document.first)
    return item.definition is not None or item.is_workload
