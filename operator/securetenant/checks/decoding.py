"""Reads a manifest as Go decodes it into the types of k8s.io/api (`types.json`).

What is null, empty or not a field is absent there: checks on the manifest as it is written would take `hostPort: null`
for a port and `key: null` for the key of a toleration.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from securetenant.checks import gateway_api


class Malformed(ValueError):
    """What the API server refuses before any policy sees it.

    `path`: the field, as "spec.containers[0].image"; `message`: what is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}" if path else message)
        self.path = path
        self.message = message


def decoded(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a kind of `types.json`, without its status and managed fields. Raises `Malformed`."""
    try:
        made: dict[str, Any] = _reader(kind)(body)
    except Malformed as error:
        raise Malformed(error.path.removeprefix("."), error.message) from None
    return made


_Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is read. `zero`: what null is; `keeps_empty`: whether it is written if it is empty."""

    read: _Read
    zero: Any
    keeps_empty: bool


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", type(None): "null"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _scalar(what: str, *types: type, bits: int = 0) -> _Read:
    bound = 1 << (bits - 1) if bits else 0

    def read(value: Any) -> Any:
        if type(value) not in types:
            raise Malformed("", f"must be {what}, not {_type_name(value)}")
        if bits and not -bound <= value < bound:
            raise Malformed("", f"must be {what} of {bits} bits")
        if type(value) is str and "\0" in value:
            # cel-expr-python would end the text there and judge only what stands before it.
            raise Malformed("", "must not contain the character NUL")
        return value

    return read


_SCALARS: Final[Mapping[str, tuple[_Read, Any]]] = {
    "string": (_scalar("a string", str), ""),
    "bool": (_scalar("true or false", bool), False),
    "int32": (_scalar("an integer", int, bits=32), 0),
    "int64": (_scalar("an integer", int, bits=64), 0),
    "time": (_scalar("a time", str), None),
    "quantity": (_scalar("a quantity", str, int, float), "0"),
    "int-or-string": (_scalar("an integer or a string", str, int), 0),
    "any": (lambda value: value, None),
}
_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    **json.loads(resources.files("securetenant.checks").joinpath("types.json").read_text()),
    **gateway_api.TYPES,
}
_READERS: Final[dict[str, _Read]] = {}


def _reader(kind: str) -> _Read:
    """The function that decodes a type of `types.json`; kept."""
    if kind not in _READERS:
        _READERS[kind] = _made(kind)
    return _READERS[kind]


def _made(kind: str) -> _Read:
    if kind.startswith("[]"):
        return _list(kind.removeprefix("[]"))
    if kind.startswith("{}"):
        return _map(kind.removeprefix("{}"))
    if kind.startswith("*"):
        return _reader(kind.removeprefix("*"))
    return _SCALARS[kind][0] if kind in _SCALARS else _struct(kind)


def _zero(kind: str) -> Any:
    """What Go has where nothing is given."""
    if kind.startswith(("*", "[]", "{}")):
        return None
    return _SCALARS[kind][1] if kind in _SCALARS else {}


def _list(of: str) -> _Read:
    read, zero = _reader(of), _zero(of)

    def read_list(value: Any) -> Any:
        if not isinstance(value, list):
            raise Malformed("", f"must be a list, not {_type_name(value)}")
        made = []
        for index, item in enumerate(value):
            try:
                made.append(read(zero if item is None else item))
            except Malformed as error:
                raise _below(f"[{index}]", error) from None
        return made

    return read_list


def _map(of: str) -> _Read:
    read, zero = _reader(of), _zero(of)

    def read_map(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Malformed("", f"must be an object, not {_type_name(value)}")
        made = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Malformed(f"[{key}]", "has a key that is no string: quote it")
            try:
                made[key] = read(zero if item is None else item)
            except Malformed as error:
                raise _below(f"[{key}]", error) from None
        return made

    return read_map


def _struct(name: str) -> _Read:
    fields: dict[str, _Field] = {}
    always: dict[str, Any] = {}
    structs: list[tuple[str, _Read]] = []

    def read_struct(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Malformed("", f"must be an object, not {_type_name(value)}")
        made = dict(always)
        for key, given in value.items():
            field = fields.get(key)
            if field is None:
                continue
            try:
                decoded = field.zero if given is None else field.read(given)
            except Malformed as error:
                raise _below(f".{key}", error) from None
            if decoded or (field.keeps_empty and decoded is not None):
                made[key] = decoded
        for key, read in structs:
            if not made[key]:
                made[key] = read({})
        return made

    _READERS[name] = read_struct  # a type may hold itself
    for key, written in _TYPES[name].items():
        kind = written.removesuffix("!")
        fields[key] = _Field(_reader(kind), _zero(kind), kind.startswith("*") or kind != written)
        if kind != written:
            always[key] = _zero(kind)
            if kind in _TYPES:
                structs.append((key, _reader(kind)))
    return read_struct


def _below(step: str, error: Malformed) -> Malformed:
    return Malformed(step + error.path, error.message)
