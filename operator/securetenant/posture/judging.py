"""Judges one running object, as the API server returns it.

The evaluator is imported when the first object is judged: it takes 13 MB, which a standby does not need.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec

from securetenant.checks.targets import Target
from securetenant.controls.registry import CHECKS
from securetenant.model.kinds import Kind
from securetenant.posture.rules import checks_of

if TYPE_CHECKING:
    from securetenant.checks.evaluator import Evaluator, Failure

# The largest object that is judged (bytes, without status and managed fields): the time for one is bounded by its size
# and by cel-cpp, which gives up after 10,000 steps (0.05 s at this size).
LARGEST: Final = 256 * 1024

_NUL: Final = b"\\u0000"  # as Go and everybody else writes it in JSON

_parts: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Verdict(NamedTuple):
    """The checks that one object breaks or is exempted from, and those that could not be evaluated."""

    name: str
    failures: "list[Failure]"


# As `Judge.verdict`.
Judgement: TypeAlias = Callable[[Target, Kind, msgspec.Raw, Mapping[str, str], datetime], Verdict]


class Judge:
    """Keeps the compiled checks. The first object of each target takes 50 ms longer than the others."""

    def __init__(self) -> None:
        self._evaluators: dict[Target, Evaluator] = {}

    def verdict(
        self, target: Target, kind: Kind, raw: msgspec.Raw, annotations: Mapping[str, str], now: datetime
    ) -> Verdict:
        """Judge an object out of a list, in a namespace with these annotations. Raises msgspec.DecodeError.

        Everything is judged as it stands, with what the API server and controllers added to it. An exemption counts
        while it has not ended: not, as at admission, while it had not when the object was created.
        """
        parts = _parts(raw)
        metadata = _parts(parts.pop("metadata", msgspec.Raw(b"{}")))
        parts.pop("status", None)
        metadata.pop("managedFields", None)
        name = str(msgspec.json.decode(metadata.get("name", msgspec.Raw(b'""'))))
        texts = (*parts.values(), *metadata.values())
        if sum(map(len, texts)) > LARGEST:
            return Verdict(name, _none(target, f"the object is larger than {LARGEST // 1024} KiB"))
        body: dict[str, Any] = {key: msgspec.json.decode(text) for key, text in parts.items()}
        body |= {"apiVersion": kind.api_version, "kind": kind.name}
        body["metadata"] = {key: msgspec.json.decode(text) for key, text in metadata.items()}
        body["metadata"]["creationTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if any(_NUL in bytes(text) for text in texts) and _has_nul(body):
            # cel-expr-python would judge only what stands before it.
            return Verdict(name, _none(target, "a text in it contains the character NUL"))
        found = self._evaluator(target).findings(body, annotations)
        return Verdict(name, [failure for failure in found if not failure.check.at_creation])

    def _evaluator(self, target: Target) -> "Evaluator":
        from securetenant.checks.evaluator import Evaluator

        if target not in self._evaluators:
            # What is added between creation and now (the node's name) is no fault of the object.
            standing = replace(target, variables={**target.variables, "creating": "false"})
            self._evaluators[target] = Evaluator(standing, CHECKS)
        return self._evaluators[target]


def _none(target: Target, why: str) -> "list[Failure]":
    from securetenant.checks.evaluator import Failure

    return [Failure(checks.control, check, error=why) for checks, check in checks_of(target).values()]


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(map(_has_nul, value))
