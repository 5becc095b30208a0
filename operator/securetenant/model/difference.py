"""Where two JSON values differ."""

from collections.abc import Iterator
from dataclasses import dataclass

from securetenant.model.objects import JsonValue


@dataclass(frozen=True, slots=True)
class Field:
    """One field that differs; None: it is absent."""

    path: str
    old: JsonValue
    new: JsonValue


def differences(old: JsonValue, new: JsonValue, path: str = "") -> Iterator[Field]:
    """The leaves at which two JSON values differ, by dotted path. A list's elements are compared by position."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            here = f"{path}.{key}" if path else key
            if key not in old or key not in new:
                yield Field(here, old.get(key), new.get(key))
            else:
                yield from differences(old[key], new[key], here)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            here = f"{path}[{index}]"
            if index >= len(old) or index >= len(new):
                yield Field(here, old[index] if index < len(old) else None, new[index] if index < len(new) else None)
            else:
                yield from differences(old[index], new[index], here)
    elif old != new or type(old) is not type(new):
        yield Field(path, old, new)
