"""Random pods: good ones with some of the corpus' changes, and a field of any kind with any value.

The same seed gives the same pod.
"""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox import apitypes
from tests.support import attacks

_TYPES: Final[Mapping[str, Mapping[str, str]]] = json.loads(apitypes.FILE.read_text())
_TEXTS: Final = (
    *("", "a", "A b", "0", "Localhost", "Unconfined", "RuntimeDefault", "Always", "ALL", "NET_BIND_SERVICE", "\u0430"),
    *("registry.bank.example/payments/x", "docker.io/x:latest", "/var/log/app", "windows", "tmp", "host", "Exists"),
)
_NUMBERS: Final = (0, 1, 80, 8080, -1, 1000, 65536, 1 << 31)
#: Of what type a value is not, now and then.
_WRONG: Final[tuple[Any, ...]] = (None, None, None, True, 1, 1.5, "true", [], {})
_DEPTH: Final = 3


def pod(seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """A pod, and the annotations of its namespace."""
    rng = random.Random(seed)
    body = attacks.pod(rng.choice((1, 1, 2, 5)))
    for _ in range(rng.randrange(4)):
        _change(rng, body)
    if rng.random() < 0.7:
        _mutate(rng, body["spec"], "PodSpec")
    return body, rng.choice(_parameters())


def _parameters() -> list[dict[str, str]]:
    found = {json.dumps(case.annotations, sort_keys=True): dict(case.annotations) for case in attacks.cases()}
    return [found[key] for key in sorted(found)]


def _change(rng: random.Random, body: dict[str, Any]) -> None:
    """One of the changes of the corpus, at any container. One that does not fit is left out."""
    pointer, value = rng.choice(attacks.changes())
    pointer = pointer.replace("@", rng.choice(tuple(attacks.PLACES.values())))
    try:
        if value is attacks.REMOVED:
            attacks.removed(body, pointer)
        else:
            attacks.changed(body, pointer, value)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return


def _mutate(rng: random.Random, at: Any, kind: str) -> None:
    """Give a field somewhere below another value."""
    while kind in _TYPES and isinstance(at, dict):
        fields = _TYPES[kind]
        there = [(key, fields[key]) for key in at if key in fields and at[key]]
        below = [one for one in there if one[1].strip("*[]{}!") in _TYPES]
        if not below or rng.random() < 0.3:
            key = rng.choice(sorted(fields))
            at[key] = _value(rng, fields[key].strip("!"), _DEPTH)
            return
        key, kind = rng.choice(below)
        at, kind = at[key], kind.strip("!*")
        if kind.startswith("[]") and isinstance(at, list):
            at, kind = rng.choice(at), kind.removeprefix("[]")


def _value(rng: random.Random, kind: str, depth: int) -> Any:
    if rng.random() < 0.15:
        return rng.choice(_WRONG)
    kind = kind.removeprefix("*")
    if kind.startswith("[]"):
        return [_value(rng, kind.removeprefix("[]"), depth - 1) for _ in range(rng.randrange(3))]
    if kind.startswith("{}"):
        return {rng.choice(_TEXTS): _value(rng, kind.removeprefix("{}"), depth - 1) for _ in range(rng.randrange(3))}
    if kind in _TYPES:
        return dict(_fields(rng, kind, depth)) if depth > 0 else {}
    if kind in ("int32", "int64"):
        return rng.choice(_NUMBERS)
    if kind == "bool":
        return rng.random() < 0.5
    return rng.choice(_TEXTS) if kind in ("string", "int-or-string") else "1"


def _fields(rng: random.Random, kind: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, of in _TYPES[kind].items():
        if rng.random() < (0.7 if of.endswith("!") else 0.25):
            yield key, _value(rng, of.strip("!"), depth - 1)
