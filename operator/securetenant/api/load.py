"""Parse a document of ours as users write it, and report all its errors at once, each with its field."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from securetenant.api import definitions
from securetenant.api.definitions import Definition
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant

Severity: TypeAlias = Literal["error", "warning"]
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where ("spec.network.ingress[0].name"; "" is the whole document), and what to write instead."""

    path: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def read(document: object) -> tuple[BaseModel | None, list[Problem]]:
    """The resource of a document, by the model of its kind, and no errors; or None and all errors.

    A valid document is validated only once.
    """
    if not isinstance(document, dict):
        kinds = " or ".join(definition.kind.name for definition in definitions.DEFINITIONS)
        return None, [Problem("", f"not a {kinds}: a document is a mapping with apiVersion, kind, metadata and spec")]
    definition = definitions.of_kind(str(document.get("kind")))
    found = _header(document, (definition,) if definition is not None else definitions.DEFINITIONS)
    if definition is None or found:
        return None, found
    given = _without_nulls(document)
    resource, invalid = _validated(given, definition)
    return resource, _errors(given, invalid, definition)


def _validated(document: object, definition: Definition) -> tuple[BaseModel | None, list[ErrorDetails]]:
    try:
        return definition.model.model_validate(document, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _header(document: dict[str, Any], known: Sequence[Definition]) -> list[Problem]:
    """The errors in apiVersion and kind, which must be those of a known resource."""
    expected = {
        "apiVersion": list(dict.fromkeys(definition.kind.api_version for definition in known)),
        "kind": [definition.kind.name for definition in known],
    }
    return [
        Problem(field, f"{document.get(field)!r} is not supported: write {' or '.join(map(repr, values))}")
        for field, values in expected.items()
        if document.get(field) not in values
    ]


def _without_nulls(value: Any) -> Any:
    """Without null fields, which the API server treats as absent; a null in a list is kept, and rejected later."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _errors(rest: dict[str, Any], invalid: list[ErrorDetails], definition: Definition) -> list[Problem]:
    """All errors, including those of rules that are checked only once their inputs are valid. `invalid`: the errors of
    the whole document.

    The invalid parts are removed (from `rest` itself) and the remainder is validated again, until nothing new is found.
    Errors caused by the removal (a missing required field, a rule whose inputs were removed) are not reported.
    """
    origin = _Origin()
    found: dict[tuple[Path, str], None] = {}
    cut: list[Path] = []
    while invalid:
        faulty: list[Path] = []
        for error in invalid:
            owner = _real(rest, error["loc"])
            context = error.get("ctx", {})
            path = origin.of(owner + tuple(context.get("path", ())))
            if not _is_consequence(error, origin.of(owner), path, cut):
                found.setdefault((path, _message(error, path, definition)))
            faulty.append(_real(rest, owner + tuple(context.get("path", ()))))
        cut += [origin.of(path) for path in faulty]
        if not _cut(rest, faulty, origin):
            break
        _, invalid = _validated(rest, definition)
    return [Problem(dotted(path), message) for path, message in sorted(found, key=lambda item: _order(item[0]))]


class _Origin:
    """The original indexes of the elements of lists from which elements were removed."""

    def __init__(self) -> None:
        self._kept: dict[Path, list[int]] = {}

    def of(self, path: Path) -> Path:
        made: Path = ()
        for depth, part in enumerate(path):
            kept = self._kept.get(path[:depth])
            made += (kept[part],) if kept and isinstance(part, int) and part < len(kept) else (part,)
        return made

    def remove(self, parent: Path, index: int, length: int) -> None:
        self._kept.setdefault(parent, list(range(length))).pop(index)
        moved = {}
        for path, kept in self._kept.items():
            below = path[: len(parent)] == parent and len(path) > len(parent)
            at = path[len(parent)] if below else None
            if not isinstance(at, int) or at < index:
                moved[path] = kept
            elif at > index:
                moved[(*parent, at - 1, *path[len(parent) + 1 :])] = kept
        self._kept = moved


def _real(document: Any, path: Sequence[str | int]) -> Path:
    """The part of an error's path that exists in the document (its last element may be an absent field)."""
    made: Path = ()
    at = document
    for part in path:
        if isinstance(at, dict):
            if part == "[key]":
                break
            made += (part,)
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            made += (part,)
            at = at[part]
        else:
            break
    return made


def _is_consequence(error: ErrorDetails, owner: Path, path: Path, cut: Iterable[Path]) -> bool:
    """Whether the error is caused by what was removed before."""
    inputs = error.get("ctx", {}).get("inputs")
    for gone in cut:
        if path == gone or (not inputs and gone[: len(path)] == path):
            return True
        below = gone[len(owner)] if gone[: len(owner)] == owner and len(gone) > len(owner) else None
        if inputs and below in inputs:
            return True
    return False


def _cut(document: Any, paths: Sequence[Path], origin: _Origin) -> bool:
    """Remove these parts, deepest and last first; for an absent one, its parent. False if nothing is left."""
    done = False
    if any(path[:1] == ("metadata",) for path in paths):
        document["metadata"], done = {"name": "placeholder"}, True
    paths = [path for path in paths if path[:1] != ("metadata",)]
    for path in sorted({_present(document, path) for path in paths}, key=_order, reverse=True):
        if not path:
            return False
        parent = document
        for part in path[:-1]:
            parent = parent[part]
        if isinstance(parent, list):
            origin.remove(path[:-1], int(path[-1]), len(parent))
        del parent[path[-1]]
        done = True
    return done


def _present(document: Any, path: Path) -> Path:
    """The path, or its nearest existing parent."""
    at = document
    for depth, part in enumerate(path):
        if isinstance(at, dict) and part not in at:
            return path[:depth]
        at = at[part]
    return path


def _message(error: ErrorDetails, path: Path, definition: Definition) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        return _unknown(path, definition)
    if kind == "missing":
        return "required field is missing: add it"
    if kind == "literal_error":
        return f"{error['input']!r} is not supported: write {error['ctx']['expected']}"
    if kind in ("string_type", "int_type", "bool_type"):
        return f"{error['input']!r} is of the wrong type: write {_WORDS[kind]}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{str(error['input'])[:60]!r} is of the wrong type: write a mapping (fields, indented below)"
    if kind == "too_short":
        return f"must have at least {_entries(error['ctx']['min_length'])}: add more"
    if kind == "too_long":
        return f"must have at most {_entries(error['ctx']['max_length'])}: remove some"
    if kind == "string_too_long":
        return f"longer than {error['ctx']['max_length']} characters: shorten it"
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"{error['input']!r} is out of range: {message.removeprefix('Input ')}"
    if kind.startswith("datetime_"):
        return f'{str(error["input"])[:60]!r} is not a time: write a time with a zone, e.g. "2027-03-31T00:00:00Z"'
    if kind == "timezone_aware":
        return 'the time has no zone: append Z, e.g. "2027-03-31T00:00:00Z"'
    if kind == "list_type":
        return f"{str(error['input'])[:60]!r} is of the wrong type: write a list (each entry begins with '- ')"
    return message


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"


_WORDS = {
    "string_type": "text, in quotes",
    "int_type": "a whole number, without quotes",
    "bool_type": "true or false, without quotes",
}


def _unknown(path: Path, definition: Definition) -> str:
    """The message for an unknown field, with the most similar known one."""
    import difflib

    near = difflib.get_close_matches(str(path[-1]), _fields(path[:-1], definition), n=1, cutoff=0.6)
    explained = f"kubectl explain {definition.kind.name.lower()}.spec"
    hint = f'did you mean "{near[0]}"?' if near else f"remove it, or see `{explained}`"
    return f'unknown field "{path[-1]}": {hint}'


def _fields(path: Path, definition: Definition) -> list[str]:
    """The known fields at this path."""
    from securetenant.api.crd import root_schema

    schema = root_schema(definition)
    for part in path:
        schema = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
    return list(schema.get("properties", {}))


def warnings(tenant: SecureTenant, now: datetime | None = None) -> list[Problem]:
    """What is valid but probably not intended. Warnings that depend on the time are given only with `now`."""
    empty = Problem("spec.namespaces", "no namespaces: nothing is enforced", "warning")
    made = [] if tenant.spec.namespaces else [empty]
    if now is None:
        return made
    network = tenant.spec.network
    sides: dict[str, Sequence[IngressRule | EgressRule]] = {"ingress": network.ingress, "egress": network.egress}
    for direction, rules in sides.items():
        for index, rule in enumerate(rules):
            if rule.expires is not None and rule.expires <= now:
                path = f"spec.network.{direction}[{index}].expires"
                message = f"rule {rule.name!r} expired at {_utc(rule.expires)} and is closed: remove it"
                made.append(Problem(path, message, "warning"))
    for index, use in enumerate(network.templates):
        if use.expires is not None and use.expires <= now:
            message = f"{use.called!r} expired at {_utc(use.expires)} and its rules are closed: remove it"
            made.append(Problem(f"spec.network.templates[{index}].expires", message, "warning"))
    return made


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def dotted(path: Path) -> str:
    """A path as users write it: "spec.namespaces[0].labels[example.com/a]"."""
    text = ""
    for part in path:
        plain = isinstance(part, str) and part.replace("_", "").replace("-", "").isalnum()
        text += f".{part}" if plain else f"[{part}]"
    return text.removeprefix(".")


def _order(path: Path) -> list[tuple[bool, str | int]]:
    return [(isinstance(part, int), part) for part in path]
