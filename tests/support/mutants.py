"""The checks with one mistake in each: whatever proves the checks has to notice."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from securetenant.checks import accounts, evaluator
from securetenant.checks.check import CheckSet
from securetenant.checks.targets import PODS, TARGETS, Document, Target
from securetenant.checks.variables import variables
from securetenant.controls.registry import CHECKS

#: Variables of parameters and of where the pod is have tests of their own (tests/checks/test_parameters.py).
_MUTATED: Final = ("containers", "exempted")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A check or a variable with another text. `name`: "runtime/privileged" or "variables.containers"."""

    name: str
    change: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"


def all_of() -> Iterator[Mutant]:
    """All mutants: each check without its finding, and each text with each part of it changed."""
    for checks in CHECKS:
        for check in checks.checks:
            yield Mutant(checks.identifier(check), "finds nothing", "[]")
            yield from changed(checks.identifier(check), check.found)
    own = {name for checks in CHECKS for name in checks.variables}
    every = {name: text for target in TARGETS for name, text in variables(target, CHECKS).items()}
    # Of the variables that are others for each target, those of pods.
    for name, text in {**every, **variables(PODS, CHECKS)}.items():
        if name in _MUTATED or name in own:
            yield from changed(f"variables.{name}", text)


#: What is looked for, and what it becomes.
_CHANGES: Final[Sequence[tuple[str, str, str]]] = (
    ("and for or", r" \|\| ", " && "),
    ("or for and", r" && ", " || "),
    ("true for false", r"\borValue\(false\)", "orValue(true)"),
    ("false for true", r"\borValue\(true\)", "orValue(false)"),
    ("equal for unequal", r" != ", " == "),
    ("unequal for equal", r" == ", " != "),
    ("all for exists", r"\.exists\(", ".all("),
    ("exists for all", r"\.all\(", ".exists("),
    ("contains for startsWith", r"\.startsWith\(", ".contains("),
    ("no not", r"(?<![\w'])!(?=[(\w])", ""),
    ("no list less", r" \+ variables\.spec\.\?(init|ephemeral)Containers\.orValue\(\[\]\)", ""),
    ("no boundary", r" \+ '/'", ""),
    ("one entry less", r"(?<=[\[ ])'[^']*', ", ""),
    ("the last entry less", r"(, |(?<=\[))'[^']*'(?=\])", ""),
    ("one part less", r" \+ variables\.\w+\.filter\(.*", ""),
    ("more than less", r"(?<!-) > ", " < "),
    ("no end", r"\$'\)", "')"),
    ("no start", r"'\^", "'"),
)


#: In the policies that tell accounts apart, as well.
_OF_POLICIES: Final[Sequence[tuple[str, str, str]]] = (("no rule", r" \? \[\] : ", " || true ? [] : "),)
#: Which accounts there are, and what a namespace says, have tests of their own (tests/checks/test_accounts.py,
#: test_parameters.py).
_APART: Final = (*accounts.variables(), "locksParameters", "unlocked", "foreign")


def of_policy(policy: Document) -> Iterator[Mutant]:
    """The mutants of a policy that tells accounts apart, by variable, condition and validation (see `policed`)."""
    spec = policy["spec"]
    named = [*spec["variables"], *spec.get("matchConditions", ())]
    texts = {one["name"]: one["expression"] for one in named if one["name"] not in _APART}
    for number, validation in enumerate(spec["validations"][1:]):
        texts[f"validation {number}"] = validation["expression"]
    for name, text in texts.items():
        yield from changed(name, text, (*_CHANGES, *_OF_POLICIES))


def changed(name: str, text: str, changes: Sequence[tuple[str, str, str]] = _CHANGES) -> Iterator[Mutant]:
    """A text with each part of it changed."""
    for change, pattern, instead in changes:
        for number, found in enumerate(re.finditer(pattern, text), 1):
            made = f"{text[: found.start()]}{found.expand(instead)}{text[found.end() :]}"
            yield Mutant(name, f"{change} ({number})", made)


def sets_with(mutant: Mutant) -> list[CheckSet]:
    """All checks, with the mutant in its place."""
    made = []
    for checks in CHECKS:
        mutated = [
            replace(check, found=mutant.text) if checks.identifier(check) == mutant.name else check
            for check in checks.checks
        ]
        name = mutant.name.removeprefix("variables.")
        own: Mapping[str, str] = checks.variables
        if name in own:
            own = {**own, name: mutant.text}
        made.append(replace(checks, checks=mutated, variables=own))
    return made


class Bent(evaluator.Evaluator):
    """An evaluator with a variable of all controls that is mutated."""

    def __init__(self, mutant: Mutant, target: Target, sets: Sequence[CheckSet]) -> None:
        super().__init__(target, sets)
        name = mutant.name.removeprefix("variables.")
        if name in _MUTATED:
            self._variables[name] = mutant.text
